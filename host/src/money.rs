//! Amounts: minor units inside, decimal text at every door.

/// The SDK's table.
#[path = "../../sdk/rust/src/currencies.rs"]
pub mod currencies;

/// Decimals of amounts that are there, of currencies that were withdrawn too. `None`: there never was such a currency, or
/// it has no minor unit, such as gold.
pub fn exponent(currency: &str) -> Option<u32> {
    currencies::find(currency).map(|fact| fact.decimals)
}

/// Decimals of a currency in which amounts may be agreed and saved; why not, in words, of any other.
pub fn current(currency: &str) -> Result<u32, String> {
    currencies::current(currency).map(|fact| fact.decimals)
}

/// The largest amount that can be granted, in minor units. Sums of what is granted are far from the end of 64 bits, and every
/// program that reads JSON has the number exactly.
pub const MINOR_MAX: i64 = 1_000_000_000_000_000;

/// Minor units of decimal text that is more than zero: `12.5` in SEK is 1250.
pub fn minor(text: &str, currency: &str) -> Result<i64, String> {
    let exponent = exponent(currency).ok_or_else(|| format!("{currency:?} is no currency"))?;
    Ok(larder_runtime::imports::savings::parse_amount(text, exponent, currency)?.1)
}

/// Decimal text of an amount, with all decimals of its currency: `1250` in SEK is `12.50`.
pub fn decimal(minor: i64, currency: &str) -> String {
    let exponent = exponent(currency).unwrap_or(0) as usize;
    if exponent == 0 {
        return minor.to_string();
    }
    let digits = format!("{:0>width$}", minor.unsigned_abs(), width = exponent + 1);
    let (major, decimals) = digits.split_at(digits.len() - exponent);
    format!("{}{major}.{decimals}", if minor < 0 { "-" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_follow_the_currency() {
        for (minor, currency, text) in
            [(1250, "SEK", "12.50"), (5, "EUR", "0.05"), (-5, "EUR", "-0.05"), (700, "JPY", "700"), (1, "KWD", "0.001")]
        {
            assert_eq!(decimal(minor, currency), text);
        }
        assert_eq!(exponent("SEK"), Some(2));
        assert_eq!(exponent("XXX"), None);
        assert_eq!(exponent("sek"), None);
    }

    #[test]
    fn what_is_withdrawn_is_refused_by_day_and_successor_and_what_is_there_stays_readable() {
        for (code, on, successor) in
            [("BGN", "2026-01-01", "EUR"), ("HRK", "2023-01-01", "EUR"), ("ANG", "2025-03-31", "XCG")]
        {
            let why = current(code).unwrap_err();
            assert!(why.contains(on) && why.ends_with(&format!("use {successor}")), "{why}");
            assert_eq!(decimal(1250, code), "12.50");
        }
        assert!(current("CLF").unwrap_err().contains("unit of account"));
        assert_eq!(decimal(12_345, "CLF"), "1.2345");
        assert_eq!(current("SEK"), Ok(2));
    }

    #[test]
    fn the_table_is_sound() {
        use currencies::Standing;
        let facts: Vec<_> = currencies::all().collect();
        for fact in &facts {
            assert!(fact.code.len() == 3 && fact.code.bytes().all(|b| b.is_ascii_uppercase()), "{fact:?}");
            assert_eq!(facts.iter().filter(|other| other.code == fact.code).count(), 1, "{fact:?}");
            if let Standing::Withdrawn { on, successor } = fact.standing {
                assert!(current(successor).is_ok(), "{fact:?}");
                assert!((7..=10).contains(&on.len()) && on.as_bytes()[4] == b'-' && on < "2027", "{fact:?}");
            }
        }
        // The standard is amended a few times a year.
        let year = crate::clock::rfc3339(crate::clock::Clock::System.now_ms())[..4].parse::<i32>().unwrap();
        let as_of = currencies::AS_OF[..4].parse::<i32>().unwrap();
        assert!(
            year - as_of < 2,
            "compare sdk/rust/src/currencies.rs with ISO 4217 again: it is of {}",
            currencies::AS_OF
        );
    }
}
