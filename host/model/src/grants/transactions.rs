//! Grants of transactions, at most one for each currency.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::amount::{Amount, Currency};

/// Transactions in one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionGrant {
    max: Amount,
    sum: Amount,
    period: Period,
}

impl TransactionGrant {
    /// `None` if the two amounts are in different currencies.
    pub fn new(max: Amount, sum: Amount, period: Period) -> Option<TransactionGrant> {
        (max.currency() == sum.currency()).then_some(TransactionGrant { max, sum, period })
    }

    pub const fn currency(&self) -> Currency {
        self.max.currency()
    }

    /// The largest single amount.
    pub const fn max(&self) -> Amount {
        self.max
    }

    /// What the function may save for one end user within the period.
    pub const fn sum(&self) -> Amount {
        self.sum
    }

    pub const fn period(&self) -> Period {
        self.period
    }
}

/// The grants of transactions by currency. In JSON, for example,
/// `{"SEK": {"max": "500.00", "sum": "1000.00", "period": "day"}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, UncheckedTransactionGrant>", into = "BTreeMap<String, UncheckedTransactionGrant>")]
pub struct TransactionGrants(BTreeMap<Currency, TransactionGrant>);

impl TransactionGrants {
    pub fn get(&self, currency: Currency) -> Option<&TransactionGrant> {
        self.0.get(&currency)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In order of the currencies' codes.
    pub fn iter(&self) -> impl Iterator<Item = &TransactionGrant> {
        self.0.values()
    }
}

impl FromIterator<TransactionGrant> for TransactionGrants {
    fn from_iter<I: IntoIterator<Item = TransactionGrant>>(all: I) -> TransactionGrants {
        TransactionGrants(all.into_iter().map(|grant| (grant.currency(), grant)).collect())
    }
}

/// Transactions in one currency, as they are sent and stored: amounts are decimal text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UncheckedTransactionGrant {
    pub max: String,
    pub sum: String,
    pub period: Period,
}

impl From<TransactionGrants> for BTreeMap<String, UncheckedTransactionGrant> {
    fn from(grants: TransactionGrants) -> Self {
        let text = |grant: &TransactionGrant| UncheckedTransactionGrant {
            max: grant.max.to_string(),
            sum: grant.sum.to_string(),
            period: grant.period,
        };
        grants.iter().map(|grant| (grant.currency().to_string(), text(grant))).collect()
    }
}

/// What is stored may be in a currency that was withdrawn since it was granted.
impl TryFrom<BTreeMap<String, UncheckedTransactionGrant>> for TransactionGrants {
    type Error = String;

    fn try_from(all: BTreeMap<String, UncheckedTransactionGrant>) -> Result<TransactionGrants, String> {
        let read = |(code, text): (String, UncheckedTransactionGrant)| {
            let currency = Currency::known(&code).ok_or_else(|| format!("transactions.{code}: unknown currency"))?;
            let amount =
                |text: &str| Amount::parse(text, currency).map_err(|why| format!("transactions.{code}: {why}"));
            Ok(TransactionGrant { max: amount(&text.max)?, sum: amount(&text.sum)?, period: text.period })
        };
        all.into_iter().map(read).collect()
    }
}

/// Back from the moment at which a transaction is booked: a rolling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// 24 hours.
    Day,
    /// 7 days.
    Week,
    /// 30 days.
    Month,
}

impl Period {
    pub const fn days(self) -> u32 {
        match self {
            Period::Day => 1,
            Period::Week => 7,
            Period::Month => 30,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_grants_are_read_and_written_byte_for_byte() {
        for stored in [
            "{}",
            r#"{"SEK":{"max":"500.00","sum":"1000.50","period":"day"}}"#,
            r#"{"EUR":{"max":"0.01","sum":"10000000000000.00","period":"month"},"JPY":{"max":"7","sum":"7","period":"week"},"KWD":{"max":"1.234","sum":"1.234","period":"day"}}"#,
            // Granted before the currency was withdrawn.
            r#"{"BGN":{"max":"1.00","sum":"2.00","period":"day"}}"#,
        ] {
            let grants: TransactionGrants = serde_json::from_str(stored).unwrap();
            assert_eq!(serde_json::to_string(&grants).unwrap(), stored);
            assert_eq!(grants.is_empty(), stored == "{}");
        }
    }

    #[test]
    fn stored_grants_that_cannot_be_read_are_an_error() {
        for (code, grant, why) in [
            ("XXX", r#"{"max":"1.00","sum":"1.00","period":"day"}"#, "transactions.XXX: unknown currency"),
            ("SEK", r#"{"max":"-1.00","sum":"1.00","period":"day"}"#, "transactions.SEK: amount \"-1.00\""),
            ("SEK", r#"{"max":"1.00","sum":"1.001","period":"day"}"#, "transactions.SEK: amount \"1.001\""),
            ("SEK", r#"{"max":"1.00","sum":"1.00","period":"year"}"#, "unknown variant `year`"),
            ("SEK", r#"{"max":"1.00","sum":"1.00","period":"day","min":"1.00"}"#, "unknown field `min`"),
            ("SEK", r#"{"max":"1.00","period":"day"}"#, "missing field `sum`"),
        ] {
            let read = serde_json::from_str::<TransactionGrants>(&format!(r#"{{"{code}":{grant}}}"#));
            let told = read.unwrap_err().to_string();
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn a_grant_is_in_one_currency() {
        let amount = |minor_units, code| Amount::from_minor_units(minor_units, Currency::known(code).unwrap());
        assert_eq!(TransactionGrant::new(amount(1, "SEK"), amount(2, "EUR"), Period::Day), None);
        let grant = TransactionGrant::new(amount(1, "SEK"), amount(2, "SEK"), Period::Week).unwrap();
        assert_eq!((grant.max(), grant.sum(), grant.period()), (amount(1, "SEK"), amount(2, "SEK"), Period::Week));
        let grants = TransactionGrants::from_iter([grant]);
        assert_eq!(grants.iter().collect::<Vec<_>>(), [&grant]);
        assert_eq!(grants.get(Currency::known("SEK").unwrap()), Some(&grant));
        assert_eq!(grants.get(Currency::known("EUR").unwrap()), None);
    }

    #[test]
    fn periods_are_rolling_days() {
        assert_eq!([Period::Day, Period::Week, Period::Month].map(Period::days), [1, 7, 30]);
    }
}
