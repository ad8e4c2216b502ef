//! Transactions: the savings that functions created. They are read here and written only by [`crate::ledger`].

use larder_model::ids::PartnerId;
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
    long: &[],
};

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

impl Store {
    pub async fn transaction(&self, partner: &PartnerId, id: &str) -> Result<Option<Transaction>> {
        listing::one(&self.db, &SOURCE, vec![("partner_id", partner.into())], id, transaction).await
    }

    pub async fn list_transactions(&self, partner: &PartnerId, listing: &Listing) -> Result<Page<Transaction>> {
        listing::list(&self.lists, &SOURCE, vec![("partner_id", partner.into())], listing, transaction).await
    }
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
