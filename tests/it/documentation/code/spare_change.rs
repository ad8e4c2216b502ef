//! The function of README.md.

use larder_sdk::prelude::*;

#[derive(Deserialize)]
struct Purchase {
    #[serde(flatten)]
    price: Money, // "amount": "42.50", "currency": "SEK"
}

fn spare_change(purchase: Event<Purchase>, run: &mut Run) -> Result<(), Error> {
    let price = purchase.data.price;
    let spare = price.round_up_to(Decimal::TEN)?.minus(price)?;
    if spare.is_positive() {
        run.save(spare.memo("Spare change"))?;
    }
    Ok(())
}

larder_sdk::function!(spare_change);
