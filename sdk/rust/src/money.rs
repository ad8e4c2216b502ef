//! Decimal money.
//!
//! * [`Currency`]: an ISO 4217 code and how many decimals its amounts have.
//! * [`Money`]: an amount in one; arithmetic between two currencies is an error, and so is overflow.
//!
//! The rule: **what is computed is never more than was asked for** ([`Money::percent`] rounds down to the currency's
//! smallest unit). Binary floating point appears nowhere.

use std::fmt;
use std::str::FromStr;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Saving, currencies};

/// An ISO 4217 currency.
///
/// ```
/// use larder_sdk::Currency;
///
/// let yen: Currency = "JPY".parse()?;
/// assert_eq!((yen.code(), yen.decimals()), ("JPY", 0));
/// assert!("jpy".parse::<Currency>().is_err());
/// # Ok::<(), larder_sdk::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency {
    code: &'static str,
    decimals: u32,
}

impl Currency {
    pub fn code(self) -> &'static str {
        self.code
    }

    /// How many decimals its amounts have: 2 for `SEK`, 0 for `JPY`, 3 for `KWD`.
    pub fn decimals(self) -> u32 {
        self.decimals
    }
}

/// The text is not a current ISO 4217 code in capital letters. The message names the successor of a withdrawn currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownCurrency(String);

impl fmt::Display for UnknownCurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnknownCurrency {}

impl FromStr for Currency {
    type Err = UnknownCurrency;

    fn from_str(code: &str) -> Result<Currency, UnknownCurrency> {
        currencies::current(code)
            .map(|fact| Currency { code: fact.code, decimals: fact.decimals })
            .map_err(UnknownCurrency)
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Currency, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

/// An amount of money in major units. In JSON `{"amount": "12.50", "currency": "SEK"}`; an amount may also be a JSON
/// number, but only text is exact.
///
/// ```
/// use larder_sdk::{Currency, Money};
/// use larder_sdk::rust_decimal::Decimal;
///
/// let sek: Currency = "SEK".parse()?;
/// let price = Money::from_minor_units(5_990, sek);
/// let change = price.round_up_to(Decimal::TEN)?.minus(price)?;
/// assert_eq!(change.to_string(), "0.10 SEK");
/// // Rounded down: a saving is never more than was asked for.
/// assert_eq!(change.percent(Decimal::from(55))?.minor_units()?, 5);
/// assert!(price.plus(Money::from_minor_units(1, "EUR".parse()?)).is_err());
/// # Ok::<(), larder_sdk::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    amount: Decimal,
    currency: Currency,
}

impl Money {
    pub const fn new(amount: Decimal, currency: Currency) -> Money {
        Money { amount, currency }
    }

    /// From the currency's smallest unit: 1250 öre are 12.50 kronor.
    pub fn from_minor_units(units: i64, currency: Currency) -> Money {
        Money { amount: Decimal::new(units, currency.decimals), currency }
    }

    /// In the currency's smallest unit. An error for an amount that is no whole number of them.
    pub fn minor_units(self) -> Result<i64, Error> {
        Decimal::from(10u64.pow(self.currency.decimals))
            .checked_mul(self.amount)
            .filter(|units| units.fract().is_zero())
            .and_then(|units| i64::try_from(units.trunc()).ok())
            .ok_or_else(|| Error::Reject(format!("{self} is not a whole number of the smallest unit")))
    }

    pub fn amount(self) -> Decimal {
        self.amount
    }

    pub fn currency(self) -> Currency {
        self.currency
    }

    pub fn is_positive(self) -> bool {
        self.amount > Decimal::ZERO
    }

    /// The smallest multiple of `step` that is not less than the amount: 59.90 becomes 60 for a step of 10; 60 stays.
    pub fn round_up_to(self, step: Decimal) -> Result<Money, Error> {
        if step <= Decimal::ZERO {
            return Err(Error::Reject(format!("cannot round up to a multiple of {step}")));
        }
        let steps = self.amount.checked_div(step).map(|steps| steps.ceil());
        self.with(steps.and_then(|steps| steps.checked_mul(step)))
    }

    /// This percentage of it, rounded down to the currency's smallest unit.
    pub fn percent(self, percent: Decimal) -> Result<Money, Error> {
        let share = self.amount.checked_mul(percent).and_then(|share| share.checked_div(Decimal::ONE_HUNDRED));
        self.with(share.map(|s| s.round_dp_with_strategy(self.currency.decimals, RoundingStrategy::ToNegativeInfinity)))
    }

    pub fn plus(self, other: Money) -> Result<Money, Error> {
        self.same_currency(other)?;
        self.with(self.amount.checked_add(other.amount))
    }

    pub fn minus(self, other: Money) -> Result<Money, Error> {
        self.same_currency(other)?;
        self.with(self.amount.checked_sub(other.amount))
    }

    /// The smaller of the two.
    pub fn at_most(self, cap: Money) -> Result<Money, Error> {
        self.same_currency(cap)?;
        Ok(Money { amount: self.amount.min(cap.amount), ..self })
    }

    /// A saving of it with a text for the end user to read.
    pub fn memo(self, memo: impl Into<String>) -> Saving {
        Saving::from(self).memo(memo)
    }

    /// Decimal text with as many decimals as the currency has, or more if the amount does.
    pub(crate) fn amount_text(self) -> String {
        let mut amount = self.amount.normalize();
        amount.rescale(amount.scale().max(self.currency.decimals));
        amount.to_string()
    }

    fn same_currency(self, other: Money) -> Result<(), Error> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(Error::Reject(format!("{self} and {other} are in different currencies")))
        }
    }

    fn with(self, amount: Option<Decimal>) -> Result<Money, Error> {
        match amount {
            Some(amount) => Ok(Money { amount, ..self }),
            None => Err(Error::Reject(format!("{self} is too large to compute with"))),
        }
    }
}

/// `12.50 SEK`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount_text(), self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(amount: &str, currency: &str) -> Money {
        Money::new(amount.parse().unwrap(), currency.parse().unwrap())
    }

    fn text(result: Result<Money, Error>) -> String {
        result.map_or_else(|err| err.to_string(), |money| money.to_string())
    }

    #[test]
    fn rounds_up_to_multiples() {
        let up = |amount: &str, step: &str| text(money(amount, "SEK").round_up_to(step.parse().unwrap()));
        assert_eq!(up("59.90", "10"), "60.00 SEK");
        assert_eq!(up("60.00", "10"), "60.00 SEK");
        assert_eq!(up("60.01", "10"), "70.00 SEK");
        assert_eq!(up("0.10", "0.25"), "0.25 SEK");
        assert_eq!(up("1", "0.3"), "1.20 SEK");
        assert_eq!(up("-5", "10"), "0.00 SEK");
        assert_eq!(up("1", "0"), "reject: cannot round up to a multiple of 0");
        assert_eq!(up("1", "-10"), "reject: cannot round up to a multiple of -10");
        assert!(up("79228162514264337593543950335", "0.01").starts_with("reject: 79228162514264337593543950335"));
    }

    #[test]
    fn a_share_is_rounded_down_to_what_the_currency_can_express() {
        let share = |amount, currency, percent: &str| text(money(amount, currency).percent(percent.parse().unwrap()));
        assert_eq!(share("32000", "SEK", "5"), "1600.00 SEK");
        assert_eq!(share("99.99", "SEK", "3.5"), "3.49 SEK");
        assert_eq!(share("1999", "JPY", "10"), "199 JPY");
        assert_eq!(share("1.999", "KWD", "50"), "0.999 KWD");
        assert_eq!(share("-0.99", "SEK", "1"), "-0.01 SEK");
    }

    #[test]
    fn minor_units_go_both_ways_and_refuse_what_they_cannot_say() {
        assert_eq!(money("12.50", "SEK").minor_units(), Ok(1250));
        assert_eq!(Money::from_minor_units(1250, "SEK".parse().unwrap()), money("12.5", "SEK"));
        assert_eq!(Money::from_minor_units(1250, "JPY".parse().unwrap()).to_string(), "1250 JPY");
        assert_eq!(
            money("0.005", "SEK").minor_units(),
            Err(Error::reject("0.005 SEK is not a whole number of the smallest unit"))
        );
        assert!(money("92233720368547758.08", "SEK").minor_units().is_err(), "i64::MAX + 1");
    }

    #[test]
    fn currencies_do_not_mix() {
        let (sek, eur) = (money("1", "SEK"), money("1", "EUR"));
        assert_eq!(text(sek.plus(eur)), "reject: 1.00 SEK and 1.00 EUR are in different currencies");
        assert!(sek.minus(eur).is_err() && sek.at_most(eur).is_err());
        assert_eq!(text(sek.minus(money("3", "SEK"))), "-2.00 SEK");
        assert_eq!(text(sek.at_most(money("0.5", "SEK"))), "0.50 SEK");
    }

    #[test]
    fn reads_amounts_as_text_and_as_number_and_names_what_is_wrong() {
        let read = |json: &str| serde_json::from_str::<Money>(json).map_err(|err| err.to_string());
        assert_eq!(read(r#"{"amount":"59.90","currency":"SEK"}"#), Ok(money("59.9", "SEK")));
        assert_eq!(read(r#"{"amount":59.9,"currency":"SEK"}"#), Ok(money("59.9", "SEK")));
        assert!(read(r#"{"amount":"59,90","currency":"SEK"}"#).is_err());
        assert!(read(r#"{"amount":"1","currency":"sek"}"#).unwrap_err().contains("\"sek\" is not a currency"));
        assert_eq!(serde_json::to_string(&money("59.90", "SEK")).unwrap(), r#"{"amount":"59.90","currency":"SEK"}"#);
    }

    #[test]
    fn a_withdrawn_currency_names_its_successor() {
        let why = "BGN".parse::<Currency>().unwrap_err().to_string();
        assert_eq!(why, "\"BGN\" is no currency any more: it was withdrawn (2026-01-01), use EUR");
        assert_eq!("KWD".parse::<Currency>().unwrap().decimals(), 3);
    }
}
