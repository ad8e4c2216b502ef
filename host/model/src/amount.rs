//! Amounts: minor units inside, decimal text at every interface.

/// The SDK's table.
#[path = "../../../sdk/rust/src/currencies.rs"]
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
    Ok(parse_amount(text, exponent, currency)?.1)
}

/// `12.5` of a currency with two decimals is `("12.50", 1250)`. Digits and one dot, nothing else: no sign, no
/// exponent, no spaces, digits on both sides of the dot.
pub fn parse_amount(text: &str, exponent: u32, currency: &str) -> Result<(String, i64), String> {
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
    let exponent = exponent as usize;
    if decimals.len() > exponent {
        return Err(format!("amount {text:?} has more decimals than {currency} has ({exponent})"));
    }
    let minor: i64 =
        format!("{whole}{decimals:0<exponent$}").parse().map_err(|_| format!("amount {text:?} is too large"))?;
    if minor == 0 {
        return Err(format!("amount {text:?} is not more than zero"));
    }
    let canonical = format!("{minor:0>width$}", width = exponent + 1);
    let (whole, decimals) = canonical.split_at(canonical.len() - exponent);
    Ok((if exponent == 0 { whole.into() } else { format!("{whole}.{decimals}") }, minor))
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
    fn amounts() {
        let sek = |text| parse_amount(text, 2, "SEK");
        assert_eq!(sek("12.5"), Ok(("12.50".into(), 1250)));
        assert_eq!(sek("0.01"), Ok(("0.01".into(), 1)));
        assert_eq!(sek("007"), Ok(("7.00".into(), 700)));
        assert_eq!(sek("92233720368547758.07"), Ok(("92233720368547758.07".into(), i64::MAX)));
        assert_eq!(parse_amount("12", 0, "JPY"), Ok(("12".into(), 12)));
        assert_eq!(parse_amount("1.234", 3, "KWD"), Ok(("1.234".into(), 1234)));
        assert!(sek("92233720368547758.08").unwrap_err().contains("too large"));
        assert!(sek("1.001").unwrap_err().contains("more decimals than SEK"));
        assert!(parse_amount("1.0", 0, "JPY").unwrap_err().contains("more decimals"));
        assert!(sek("0.00").unwrap_err().contains("not more than zero"));
        for malformed in ["", ".", "1.", ".5", "-1", "+1", "1e3", " 1", "1,5", "1.2.3", "١", "NaN"] {
            assert!(sek(malformed).is_err(), "{malformed:?}");
        }
    }

    #[test]
    fn decimals_follow_the_currency() {
        for (minor, currency, text) in [
            (1250, "SEK", "12.50"),
            (5, "EUR", "0.05"),
            (-5, "EUR", "-0.05"),
            (700, "JPY", "700"),
            (1, "KWD", "0.001"),
            (0, "SEK", "0.00"),
            (123_456_789, "SEK", "1234567.89"),
            (-123_456_789, "KWD", "-123456.789"),
            (i64::MIN, "SEK", "-92233720368547758.08"),
        ] {
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
        let year = crate::time::rfc3339(crate::time::Clock::System.now_ms())[..4].parse::<i32>().unwrap();
        let as_of = currencies::AS_OF[..4].parse::<i32>().unwrap();
        assert!(
            year - as_of < 2,
            "compare sdk/rust/src/currencies.rs with ISO 4217 again: it is of {}",
            currencies::AS_OF
        );
    }
}
