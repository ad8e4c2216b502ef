//! Transactions: the savings that functions created.

use larder_model::Transaction;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::datetime;
use crate::pages::{Row, page};

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Transaction)]
pub struct TransactionObject {
    #[serde(rename = "$id")]
    pub id: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    pub function_id: String,
    pub execution_id: String,
    /// Or empty.
    pub enrolment_id: String,
    pub end_user: String,
    /// Decimal text, such as `12.50`.
    pub amount: String,
    pub currency: String,
    /// Or empty.
    pub memo: String,
}

page!(TransactionList { total: u64, transactions: TransactionObject });

impl Row for TransactionObject {
    fn id(&self) -> &str {
        &self.id
    }
}

impl From<Transaction> for TransactionObject {
    fn from(t: Transaction) -> TransactionObject {
        TransactionObject {
            id: t.id,
            created_at: datetime(t.created_at_ms),
            function_id: t.function.into(),
            execution_id: t.execution.into(),
            enrolment_id: t.enrolment.map(String::from).unwrap_or_default(),
            end_user: t.end_user,
            amount: t.amount.to_string(),
            currency: t.amount.currency().to_string(),
            memo: t.memo.unwrap_or_default(),
        }
    }
}
