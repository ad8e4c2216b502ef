//! Amounts: minor units inside, decimal text at every door.

use iso_currency::Currency;

/// Decimals of a currency's amounts (ISO 4217). `None`: no such currency, or one without a minor unit, such as gold.
pub fn exponent(currency: &str) -> Option<u32> {
    Currency::from_code(currency)?.exponent().map(u32::from)
}

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
}
