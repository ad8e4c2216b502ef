//! The function of sdk/README.md, and its test.

use larder_sdk::prelude::*;

#[derive(Deserialize)]
struct Purchase {
    #[serde(flatten)]
    price: Money, // "amount": "42.50", "currency": "SEK"
}

#[derive(Deserialize)]
struct Settings {
    percent: Decimal,
}

fn share(purchase: Event<Purchase>, run: &mut Run) -> Result<(), Error> {
    let settings: Settings = run.enrolment()?.settings()?;
    let share = purchase.data.price.percent(settings.percent)?;
    run.save(share.memo("A share of a purchase"))?;
    run.state().increment("purchases", 1)
}

larder_sdk::function!(share);

#[test]
fn the_sample_saves_a_share() {
    use larder_sdk::testing::{TestEvent, TestRun};

    let mut anna = TestRun::new().enrolment("anna", "card-1", json!({ "percent": "5" }));
    let ended = anna.handle(share, TestEvent::from_json(include_str!("../event.json")));
    assert_eq!(ended.saved(), ["10.00 SEK"]);
    assert_eq!(anna.stored("purchases"), Some(json!(1)));
}
