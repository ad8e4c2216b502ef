//! Money: minor units of one currency inside, decimal text at every interface.
//!
//! * [`Currency`]: a code of ISO 4217 that amounts can be in, of the present or withdrawn.
//! * [`Amount`]: read from decimal text, or from stored minor units, of a known currency.
//!
//! The rule: **amounts of two currencies are neither added nor compared.** Their sum is `None`, and both `<=` and `>` are
//! false between them. Hence a limit is checked by what it allows: `amount <= max`.

use std::cmp::Ordering;
use std::fmt;

/// The SDK's table.
#[path = "../../../sdk/rust/src/currencies.rs"]
pub mod currencies;

/// A currency of ISO 4217. In order of the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency {
    code: &'static str,
    decimals: u32,
}

impl Currency {
    /// The currency of amounts that exist already; it may have been withdrawn since. `None`: there never was such a currency,
    /// or it has no minor unit, such as gold.
    pub fn known(code: &str) -> Option<Currency> {
        currencies::find(code).map(Currency::of)
    }

    /// A currency in which amounts may be agreed and saved. The error says why any other is refused.
    pub fn current(code: &str) -> Result<Currency, String> {
        currencies::current(code).map(Currency::of)
    }

    fn of(fact: currencies::Fact) -> Currency {
        Currency { code: fact.code, decimals: fact.decimals }
    }

    /// Three capital letters.
    pub const fn code(self) -> &'static str {
        self.code
    }
}

/// The code.
impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

/// An amount of money. It prints as decimal text with all decimals of its currency: 1250 öre as `12.50`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    minor_units: i64,
    currency: Currency,
}

impl Amount {
    /// Reads decimal text of more than zero. Digits and one dot, nothing else: no sign, no exponent, no spaces, digits on
    /// both sides of the dot, no more decimals than the currency has.
    pub fn parse(text: &str, currency: Currency) -> Result<Amount, String> {
        let malformed = || format!("amount {text:?} is not decimal text such as \"12.50\"");
        let (whole, decimals) = match text.split_once('.') {
            Some((_, "")) => return Err(malformed()),
            Some(parts) => parts,
            None => (text, ""),
        };
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(decimals) {
            return Err(malformed());
        }
        let most = currency.decimals as usize;
        if decimals.len() > most {
            return Err(format!("amount {text:?} has more decimals than {currency} has ({most})"));
        }
        let minor_units: i64 =
            format!("{whole}{decimals:0<most$}").parse().map_err(|_| format!("amount {text:?} is too large"))?;
        if minor_units == 0 {
            return Err(format!("amount {text:?} is not more than zero"));
        }
        Ok(Amount { minor_units, currency })
    }

    /// The amount of so many of the currency's smallest unit, as it is stored.
    pub const fn from_minor_units(minor_units: i64, currency: Currency) -> Amount {
        Amount { minor_units, currency }
    }

    pub const fn minor_units(self) -> i64 {
        self.minor_units
    }

    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// The sum; `None` in two currencies, or if 64 bits cannot hold it.
    pub fn checked_add(self, other: Amount) -> Option<Amount> {
        if self.currency != other.currency {
            return None;
        }
        Some(Amount { minor_units: self.minor_units.checked_add(other.minor_units)?, ..self })
    }

    /// So many times the amount; `None` if 64 bits cannot hold it.
    pub fn checked_mul(self, times: u32) -> Option<Amount> {
        Some(Amount { minor_units: self.minor_units.checked_mul(times.into())?, ..self })
    }
}

/// Within one currency.
impl PartialOrd for Amount {
    fn partial_cmp(&self, other: &Amount) -> Option<Ordering> {
        (self.currency == other.currency).then(|| self.minor_units.cmp(&other.minor_units))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = self.currency.decimals as usize;
        let sign = if self.minor_units < 0 { "-" } else { "" };
        let digits = format!("{:0>width$}", self.minor_units.unsigned_abs(), width = decimals + 1);
        let (major, decimals) = digits.split_at(digits.len() - decimals);
        write!(f, "{sign}{major}{}{decimals}", if decimals.is_empty() { "" } else { "." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn currency(code: &str) -> Currency {
        Currency::known(code).unwrap()
    }

    fn amount(minor_units: i64, code: &str) -> Amount {
        Amount::from_minor_units(minor_units, currency(code))
    }

    #[test]
    fn decimal_text_is_read_to_minor_units() {
        let read = |text: &str, code: &str| Amount::parse(text, currency(code)).map(Amount::minor_units);
        let sek = |text| read(text, "SEK");
        assert_eq!(sek("12.5"), Ok(1250));
        assert_eq!(sek("0.01"), Ok(1));
        assert_eq!(sek("007"), Ok(700));
        assert_eq!(sek("92233720368547758.07"), Ok(i64::MAX));
        assert_eq!(read("12", "JPY"), Ok(12));
        assert_eq!(read("1.234", "KWD"), Ok(1234));
        assert_eq!(Amount::parse("12.5", currency("SEK")), Ok(amount(1250, "SEK")));
        assert_eq!(sek("92233720368547758.08").unwrap_err(), "amount \"92233720368547758.08\" is too large");
        assert_eq!(sek("1.001").unwrap_err(), "amount \"1.001\" has more decimals than SEK has (2)");
        assert_eq!(read("1.0", "JPY").unwrap_err(), "amount \"1.0\" has more decimals than JPY has (0)");
        assert_eq!(sek("0.00").unwrap_err(), "amount \"0.00\" is not more than zero");
        for malformed in ["", ".", "1.", ".5", "-1", "+1", "1e3", " 1", "1,5", "1.2.3", "١", "NaN"] {
            assert_eq!(
                sek(malformed).unwrap_err(),
                format!("amount {malformed:?} is not decimal text such as \"12.50\"")
            );
        }
    }

    #[test]
    fn decimals_follow_the_currency() {
        for (minor_units, code, text) in [
            (1250, "SEK", "12.50"),
            (5, "EUR", "0.05"),
            (-5, "EUR", "-0.05"),
            (700, "JPY", "700"),
            (-7, "JPY", "-7"),
            (0, "JPY", "0"),
            (1, "KWD", "0.001"),
            (0, "SEK", "0.00"),
            (123_456_789, "SEK", "1234567.89"),
            (-123_456_789, "KWD", "-123456.789"),
            (i64::MIN, "SEK", "-92233720368547758.08"),
        ] {
            assert_eq!(amount(minor_units, code).to_string(), text);
            assert_eq!((amount(minor_units, code).minor_units(), currency(code).code()), (minor_units, code));
            if minor_units > 0 {
                assert_eq!(Amount::parse(text, currency(code)), Ok(amount(minor_units, code)));
            }
        }
        for unknown in ["XXX", "XAU", "sek", ""] {
            assert_eq!(Currency::known(unknown), None);
        }
    }

    #[test]
    fn sums_stay_within_one_currency_and_64_bits() {
        let (most, one) = (amount(i64::MAX, "SEK"), amount(1, "SEK"));
        assert_eq!(amount(1250, "SEK").checked_add(amount(-50, "SEK")), Some(amount(1200, "SEK")));
        assert_eq!(amount(i64::MAX - 1, "SEK").checked_add(one), Some(most));
        assert_eq!(most.checked_add(one), None);
        assert_eq!(one.checked_add(amount(1, "EUR")), None);
        assert_eq!(one.checked_add(amount(1, "JPY")), None);
        assert_eq!(amount(250, "SEK").checked_mul(3), Some(amount(750, "SEK")));
        assert_eq!(amount(i64::MAX / 2 + 1, "SEK").checked_mul(2), None);
    }

    #[test]
    fn only_amounts_of_one_currency_compare() {
        let (less, more, other) = (amount(1, "SEK"), amount(2, "SEK"), amount(1, "EUR"));
        assert_eq!(less.partial_cmp(&more), Some(Ordering::Less));
        assert_eq!(more.partial_cmp(&less), Some(Ordering::Greater));
        assert_eq!(less.partial_cmp(&less), Some(Ordering::Equal));
        assert_eq!(less.partial_cmp(&other), None);
        assert_ne!(less, other);
    }

    #[test]
    fn what_is_withdrawn_is_refused_by_day_and_successor_and_what_is_there_stays_readable() {
        for (code, on, successor) in
            [("BGN", "2026-01-01", "EUR"), ("HRK", "2023-01-01", "EUR"), ("ANG", "2025-03-31", "XCG")]
        {
            let why = Currency::current(code).unwrap_err();
            assert!(why.contains(on) && why.ends_with(&format!("use {successor}")), "{why}");
            assert_eq!(amount(1250, code).to_string(), "12.50");
        }
        assert!(Currency::current("CLF").unwrap_err().contains("unit of account"));
        assert_eq!(amount(12_345, "CLF").to_string(), "1.2345");
        assert_eq!(Currency::current("SEK"), Ok(currency("SEK")));
    }

    #[test]
    fn the_table_is_sound() {
        use currencies::Standing;
        let facts: Vec<_> = currencies::all().collect();
        for fact in &facts {
            assert!(fact.code.len() == 3 && fact.code.bytes().all(|b| b.is_ascii_uppercase()), "{fact:?}");
            assert_eq!(facts.iter().filter(|other| other.code == fact.code).count(), 1, "{fact:?}");
            if let Standing::Withdrawn { on, successor } = fact.standing {
                assert!(Currency::current(successor).is_ok(), "{fact:?}");
                assert!((7..=10).contains(&on.len()) && on.as_bytes()[4] == b'-' && on < "2027", "{fact:?}");
            }
        }
        // The standard is amended a few times a year.
        let year = crate::time::rfc3339(crate::time::Clock::System.now_ms())[..4].parse::<i32>().unwrap();
        let as_of = currencies::AS_OF[..4].parse::<i32>().unwrap();
        assert!(
            year - as_of < 2,
            "compare sdk/rust/src/currencies.rs with ISO 4217 again: it is of {}",
            currencies::AS_OF
        );
    }
}
