//! Money by the vectors that the other SDKs are tested with too. Text that is no amount is refused elsewhere: by the reader of decimals,
//! and by the host.

use larder_sdk::prelude::*;

fn money(amount: &str, currency: &str) -> Money {
    Money::new(amount.parse().expect("an amount"), currency.parse().expect("a currency"))
}

/// The vectors of one operation, as text.
fn vectors(name: &str) -> Vec<Vec<String>> {
    let all: Value = larder_sdk::serde_json::from_str(include_str!("../../vectors/money.json")).expect("JSON");
    let found: Vec<Vec<Value>> = larder_sdk::serde_json::from_value(all[name].clone()).expect(name);
    assert!(!found.is_empty(), "{name}");
    let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    found.into_iter().map(|one| one.into_iter().map(text).collect()).collect()
}

#[test]
fn calculations_come_to_what_the_vectors_say() {
    for one in vectors("texts") {
        assert_eq!(money(&one[0], &one[1]).to_string(), format!("{} {}", one[2], one[1]));
    }
    for one in vectors("round_up") {
        let up = money(&one[0], &one[1]).round_up_to(one[2].parse().unwrap()).unwrap();
        assert_eq!(up.to_string(), format!("{} {}", one[3], one[1]), "{one:?}");
    }
    for one in vectors("percent") {
        let share = money(&one[0], &one[1]).percent(one[2].parse().unwrap()).unwrap();
        assert_eq!(share.to_string(), format!("{} {}", one[3], one[1]), "{one:?}");
    }
    for (name, operation) in
        [("plus", Money::plus as fn(Money, Money) -> _), ("minus", Money::minus), ("at_most", Money::at_most)]
    {
        for one in vectors(name) {
            let found = operation(money(&one[0], "SEK"), money(&one[1], "SEK")).unwrap();
            assert_eq!(found.to_string(), format!("{} SEK", one[2]), "{name} {one:?}");
        }
    }
}
