//! Rounds each card purchase up and saves the difference, at most so much per calendar month.
//!
//! Runs once for each enrolment whose topic is the card. What was saved in a month is kept in state under the month
//! (`2026-11`, UTC, by the time of the purchase), so the cap holds however many purchases arrive at once: two runs
//! that read the same sum cannot both commit.

use larder_sdk::prelude::*;

#[derive(Deserialize)]
struct Purchase {
    #[serde(flatten)]
    price: Money,
    merchant: String,
}

/// `to`: round up to a multiple of it. `monthlyCap`: none if absent. Both in the currency of the purchase.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    #[serde(default = "ten")]
    to: Decimal,
    monthly_cap: Option<Decimal>,
}

fn ten() -> Decimal {
    Decimal::TEN
}

fn round_up(purchase: Event<Purchase>, run: &mut Run) -> Result<(), Error> {
    let Purchase { price, merchant } = &purchase.data;
    if !price.is_positive() {
        return Ok(()); // a refund
    }
    let settings: Settings = run.enrolment()?.settings()?;
    let difference = price.round_up_to(settings.to)?.minus(*price)?;

    let key = format!("{}/{}", purchase.month()?, price.currency());
    let nothing = Money::new(Decimal::ZERO, price.currency());
    let saved = run.state().get(&key)?.unwrap_or(nothing);
    let saving = match settings.monthly_cap {
        Some(cap) => difference.at_most(Money::new(cap, price.currency()).minus(saved)?)?,
        None => difference,
    };
    if saving.is_positive() {
        run.state().set(&key, &saved.plus(saving)?)?;
        let merchant: String = merchant.chars().filter(|c| !c.is_control()).take(100).collect();
        run.save(saving.memo(format!("Round-up at {merchant}")))?;
    }
    Ok(())
}

larder_sdk::function!(round_up);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use larder_sdk::serde_json;
    use larder_sdk::testing::{Ended, TestEvent, TestRun};

    fn saver(settings: Value) -> TestRun {
        TestRun::new().enrolment("anna", "card-001", settings)
    }

    fn buy(saver: &mut TestRun, amount: &str, currency: &str, time: &str) -> Ended {
        let data = json!({ "amount": amount, "currency": currency, "merchant": "ICA Nära" });
        saver.handle(round_up, TestEvent::new("card.purchase", data).subject("card-001").time(time))
    }

    #[test]
    fn saves_the_difference_to_the_next_ten() {
        let ended = saver(json!({})).handle(round_up, TestEvent::from_json(include_str!("../event.json")));
        assert_eq!(ended.saved(), ["7.50 SEK"]);
        assert_eq!(ended.transactions[0].memo.as_deref(), Some("Round-up at Espresso House"));
    }

    #[test]
    fn rounds_to_what_the_saver_chose_and_leaves_round_amounts_and_refunds_alone() {
        let once = |settings: Value, amount| buy(&mut saver(settings), amount, "SEK", "2026-11-02T08:00:00Z").saved();
        assert_eq!(once(json!({ "to": "100" }), "259.90"), ["40.10 SEK"]);
        assert_eq!(once(json!({}), "60.00"), [""; 0]);
        assert_eq!(once(json!({}), "-42.50"), [""; 0]);
    }

    #[test]
    fn stops_at_the_cap_and_starts_again_next_month_and_in_each_currency() {
        let mut anna = saver(json!({ "monthlyCap": "12.00" }));
        assert_eq!(buy(&mut anna, "52.00", "SEK", "2026-11-02T08:00:00Z").saved(), ["8.00 SEK"]);
        assert_eq!(buy(&mut anna, "52.00", "SEK", "2026-11-30T23:59:59Z").saved(), ["4.00 SEK"]);
        assert_eq!(buy(&mut anna, "52.00", "SEK", "2026-11-30T23:59:59Z").saved(), [""; 0]);
        assert_eq!(buy(&mut anna, "5.20", "EUR", "2026-11-30T23:59:59Z").saved(), ["4.80 EUR"]);
        assert_eq!(buy(&mut anna, "52.00", "SEK", "2026-12-01T00:00:00Z").saved(), ["8.00 SEK"]);
        assert_eq!(anna.stored("2026-11/SEK"), Some(json!({ "amount": "12.00", "currency": "SEK" })));
    }

    #[test]
    fn settings_and_data_that_make_no_sense_are_rejected_and_change_nothing() {
        let mut anna = saver(json!({ "to": "0" }));
        let ended = buy(&mut anna, "52.00", "SEK", "2026-11-02T08:00:00Z");
        assert_eq!(ended.result, Err(Error::reject("cannot round up to a multiple of 0")));
        let ended = buy(&mut saver(json!({ "monthlycap": "1" })), "52.00", "SEK", "2026-11-02T08:00:00Z");
        assert!(matches!(ended.result, Err(Error::Reject(why)) if why.contains("unknown field `monthlycap`")));
        let ended = buy(&mut saver(json!({})), "52.00", "kr", "2026-11-02T08:00:00Z");
        assert!(matches!(ended.result, Err(Error::Reject(why)) if why.contains("\"kr\" is not a currency")));
    }

    #[test]
    fn the_batch_in_examples_comes_to_what_its_readme_says() {
        let savers: Vec<Value> = serde_json::from_str(include_str!("../../events/savers.json")).unwrap();
        let purchases: Vec<Value> = serde_json::from_str(include_str!("../../events/purchases.json")).unwrap();
        let (mut count, mut totals) = (0, BTreeMap::<String, Decimal>::new());
        for saver in &savers {
            let settings = json!({ "monthlyCap": saver["monthlyCap"] });
            let mut world = TestRun::new().enrolment(saver["endUser"].as_str().unwrap(), "", settings);
            for purchase in purchases.iter().filter(|purchase| purchase["subject"] == saver["card"]) {
                for saved in world.handle(round_up, TestEvent::from_json(&purchase.to_string())).transactions {
                    count += 1;
                    *totals.entry(saved.currency).or_default() += saved.amount.parse::<Decimal>().unwrap();
                }
            }
        }
        let totals: Vec<String> = totals.iter().map(|(currency, total)| format!("{total} {currency}")).collect();
        assert_eq!((count, totals.join(", ").as_str()), (53, "2.00 DKK, 5.65 EUR, 180.79 SEK"));
    }
}
