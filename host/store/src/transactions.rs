//! Transactions: the savings that functions created. They are read here and written only by [`crate::ledger`].

use larder_model::ids::{FunctionId, PartnerId};
use larder_model::time::Millis;
use larder_model::{Amount, Currency, Transaction};

use crate::db::Row;
use crate::listing::{self, Column, Kind, Listing, Page, Source};
use crate::{Result, Store};

pub(super) const COLUMNS: &str =
    "partner_id, id, execution_id, function_id, enrolment_id, end_user, amount_minor, currency, memo, created_at_ms";
pub(super) const SOURCE: Source = Source {
    name: "transactions",
    table: "transactions",
    columns: COLUMNS,
    id: "id",
    indexed: &["execution_id"],
    by_time: true,
    long: &[],
};

/// Of one end user, by the index `transactions_by_user`.
pub(super) const MINE: Source = Source { name: "my_transactions", indexed: &[], ..SOURCE };

/// The columns by which lists of transactions can be filtered.
pub const FILTERS: &[Column] = &[
    Column { attribute: "$id", column: "id", kind: Kind::Text },
    Column { attribute: "$createdAt", column: "created_at_ms", kind: Kind::Time },
    Column { attribute: "functionId", column: "function_id", kind: Kind::Text },
    Column { attribute: "executionId", column: "execution_id", kind: Kind::Text },
    Column { attribute: "enrolmentId", column: "enrolment_id", kind: Kind::Text },
    Column { attribute: "endUser", column: "end_user", kind: Kind::Text },
    Column { attribute: "currency", column: "currency", kind: Kind::Text },
];

/// The same for end users, of their own.
pub const MY_FILTERS: &[Column] = &[
    Column { attribute: "$id", column: "id", kind: Kind::Text },
    Column { attribute: "$createdAt", column: "created_at_ms", kind: Kind::Time },
    Column { attribute: "functionId", column: "function_id", kind: Kind::Text },
    Column { attribute: "enrolmentId", column: "enrolment_id", kind: Kind::Text },
    Column { attribute: "currency", column: "currency", kind: Kind::Text },
];

/// What was saved in one currency by one function.
pub struct Saved {
    pub function: FunctionId,
    pub amount: Amount,
    pub count: u64,
    pub last_at_ms: Millis,
}

impl Store {
    pub async fn transaction(&self, partner: &PartnerId, id: &str) -> Result<Option<Transaction>> {
        listing::one(&self.db, &SOURCE, vec![("partner_id", partner.into())], id, transaction).await
    }

    pub async fn list_transactions(&self, partner: &PartnerId, listing: &Listing) -> Result<Page<Transaction>> {
        listing::list(&self.lists, &SOURCE, vec![("partner_id", partner.into())], listing, transaction).await
    }

    /// The transactions of one end user.
    pub async fn list_transactions_of(
        &self,
        partner: &PartnerId,
        end_user: &str,
        listing: &Listing,
    ) -> Result<Page<Transaction>> {
        let scope = vec![("partner_id", partner.into()), ("end_user", end_user.into())];
        listing::list(&self.lists, &MINE, scope, listing, transaction).await
    }

    /// Sums by function and currency over the transactions that a listing selects, whatever its page, within the deadline of
    /// lists. A span of time selects by the index `transactions_by_time`.
    pub async fn sum_transactions(&self, partner: &PartnerId, listing: &Listing) -> Result<Vec<Saved>> {
        let scope = vec![("partner_id", partner.into())];
        listing::groups(&self.lists, &SOURCE, scope, listing, SUMS, "function_id, currency", sum).await
    }

    /// Sums over those transactions of one end user that a listing selects, whatever its page. It reads the end user's rows,
    /// within the deadline of lists.
    pub async fn sum_transactions_of(
        &self,
        partner: &PartnerId,
        end_user: &str,
        listing: &Listing,
    ) -> Result<Vec<Saved>> {
        let scope = vec![("partner_id", partner.into()), ("end_user", end_user.into())];
        listing::groups(&self.lists, &MINE, scope, listing, SUMS, "function_id, currency", sum).await
    }
}

/// A sum of amounts in two columns, of their high and low halves, so that no number of rows overflows 64 bits. [`summed`] reads it.
macro_rules! sum_of_amounts {
    () => {
        "CAST(SUM(amount_minor >> 32) AS SIGNED INTEGER), CAST(SUM(amount_minor & 4294967295) AS SIGNED INTEGER)"
    };
}
pub(super) use sum_of_amounts;

/// A sum from its two columns, the first of which is at `at`; at most what an amount can be.
pub(super) fn summed(row: &Row, at: usize, currency: Currency) -> Result<Amount> {
    let sum = (i128::from(row.int(at)?) << 32) + i128::from(row.int(at + 1)?);
    Ok(Amount::from_minor_units(i64::try_from(sum).unwrap_or(i64::MAX), currency))
}

const SUMS: &str = concat!("function_id, currency, ", sum_of_amounts!(), ", COUNT(*), MAX(created_at_ms)");

fn sum(row: &Row) -> Result<Saved> {
    let currency = row.parse(1, "transactions.currency", Currency::known)?;
    Ok(Saved {
        function: row.id(0, "transactions.function_id")?,
        amount: summed(row, 2, currency)?,
        count: row.int(4)? as u64,
        last_at_ms: row.int(5)?,
    })
}

fn transaction(row: &Row) -> Result<Transaction> {
    Ok(Transaction {
        partner: row.id(0, "transactions.partner_id")?,
        id: row.text(1)?,
        execution: row.id(2, "transactions.execution_id")?,
        function: row.id(3, "transactions.function_id")?,
        enrolment: row.maybe_id(4, "transactions.enrolment_id")?,
        end_user: row.text(5)?,
        amount: Amount::from_minor_units(row.int(6)?, row.parse(7, "transactions.currency", Currency::known)?),
        memo: row.maybe_text(8)?,
        created_at_ms: row.int(9)?,
    })
}
