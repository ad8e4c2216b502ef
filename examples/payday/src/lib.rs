//! Saves a share of the salary on payday: the 25th, or the last business day (Monday to Friday) before it.
//!
//! The schedule fires on every day that can be payday, the 23rd to the 25th, and the function decides. It takes the
//! day from the firing's nominal time, which is in the time zone of the function: six in the morning in Stockholm may
//! be another day in UTC. The month that was paid is kept in state, so a month saves once even if it is also sent by
//! hand.

use chrono::{Datelike, Days, NaiveDate, Weekday};
use larder_sdk::prelude::*;

/// `salary` after tax and the `percent` of it to save, in `currency` (SEK).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    salary: Decimal,
    percent: Decimal,
    currency: Option<Currency>,
}

fn payday(event: Event<Firing>, run: &mut Run) -> Result<(), Error> {
    let today: NaiveDate = event.data.date()?.parse()?;
    if today != payday_of(today) {
        return Ok(());
    }
    let key = format!("paid/{}-{:02}", today.year(), today.month());
    if run.state().get::<bool>(&key)?.is_some() {
        return Ok(());
    }
    let Settings { salary, percent, currency } = run.enrolment()?.settings()?;
    if percent > Decimal::ONE_HUNDRED {
        return Err(Error::reject(format!("{percent} percent of the salary is more than all of it")));
    }
    let salary = Money::new(salary, currency.map_or_else(|| "SEK".parse(), Ok)?);
    run.save(salary.percent(percent)?.memo(format!("{percent} % of your salary")))?;
    run.state().set(&key, &true)
}

/// The payday of the month that `day` lies in.
fn payday_of(day: NaiveDate) -> NaiveDate {
    let nominal = day.with_day(25).expect("every month has a 25th");
    match nominal.weekday() {
        Weekday::Sat => nominal - Days::new(1),
        Weekday::Sun => nominal - Days::new(2),
        _ => nominal,
    }
}

larder_sdk::function!(payday);

#[cfg(test)]
mod tests {
    use super::*;
    use larder_sdk::serde_json;
    use larder_sdk::testing::{Ended, TestEvent, TestRun};

    fn earner() -> TestRun {
        TestRun::new().enrolment("anna", "", json!({ "salary": "32000.00", "percent": "5" }))
    }

    fn fire(earner: &mut TestRun, nominal: &str) -> Ended {
        earner.handle(payday, TestEvent::new("test", json!({ "nominal": nominal, "timezone": "Europe/Stockholm" })))
    }

    #[test]
    fn saves_the_share_on_the_day() {
        let ended = earner().handle(payday, TestEvent::from_json(include_str!("../event.json")));
        assert_eq!(ended.saved(), ["1600.00 SEK"]);
        assert_eq!(ended.transactions[0].memo.as_deref(), Some("5 % of your salary"));
    }

    #[test]
    fn of_the_days_that_fire_one_is_payday() {
        let paid = |month: &str| {
            let days = ["23", "24", "25"];
            let mut paid = days
                .iter()
                .filter(|day| !fire(&mut earner(), &format!("{month}-{day}T06:00:00+01:00")).saved().is_empty());
            (paid.next().copied(), paid.next().copied())
        };
        assert_eq!(paid("2026-11"), (Some("25"), None), "a Wednesday");
        assert_eq!(paid("2026-04"), (Some("24"), None), "the 25th is a Saturday");
        assert_eq!(paid("2026-10"), (Some("23"), None), "the 25th is a Sunday");
    }

    #[test]
    fn the_day_is_the_one_of_the_time_zone() {
        // In UTC it is still the 24th, and on the 25th already the 26th.
        assert_eq!(fire(&mut earner(), "2026-11-25T00:30:00+01:00").saved(), ["1600.00 SEK"]);
        assert_eq!(fire(&mut earner(), "2026-11-25T20:30:00-05:00").saved(), ["1600.00 SEK"]);
    }

    #[test]
    fn a_month_saves_once_and_the_next_again() {
        let mut anna = earner();
        assert_eq!(fire(&mut anna, "2026-11-25T06:00:00+01:00").saved(), ["1600.00 SEK"]);
        assert_eq!(fire(&mut anna, "2026-11-25T06:00:00+01:00").saved(), [""; 0]);
        assert_eq!(fire(&mut anna, "2026-12-25T06:00:00+01:00").saved(), ["1600.00 SEK"]);
    }

    #[test]
    fn what_makes_no_sense_is_rejected() {
        let rejected =
            |settings: Value, nominal| match fire(&mut TestRun::new().enrolment("bo", "", settings), nominal).result {
                Err(Error::Reject(why)) => why,
                other => panic!("{other:?}"),
            };
        let day = "2026-11-25T06:00:00+01:00";
        assert!(rejected(json!({ "salary": "100", "percent": "101" }), day).contains("more than all of it"));
        assert!(rejected(json!({ "salary": "100", "percent": "-1" }), day).contains("not more than zero"));
        assert!(rejected(json!({ "salary": "100" }), day).contains("missing field `percent`"));
        let settings = json!({ "salary": "100", "percent": "1" });
        assert!(rejected(settings.clone(), "2026-02-30T06:00:00+01:00").contains("out of range"));
        assert!(rejected(settings, "the 25th").contains("\"the 25th\" is not an RFC 3339 time"));
    }

    #[test]
    fn the_batch_in_examples_comes_to_what_its_readme_says() {
        let savers: Vec<Value> = serde_json::from_str(include_str!("../../events/savers.json")).unwrap();
        let total: Decimal = savers
            .iter()
            .map(|saver| {
                let settings = json!({ "salary": saver["salary"], "percent": saver["percent"] });
                let mut earner = TestRun::new().enrolment(saver["endUser"].as_str().unwrap(), "", settings);
                let ended = earner.handle(payday, TestEvent::from_json(include_str!("../event.json")));
                ended.transactions[0].amount.parse::<Decimal>().unwrap()
            })
            .sum();
        assert_eq!((savers.len(), total.to_string().as_str()), (300, "707212.75"));
    }
}
