//! Transactions: the savings that functions create.

use crate::amount::Amount;
use crate::ids::{EnrolmentId, ExecutionId, FunctionId, PartnerId};
use crate::time::Millis;

#[derive(Clone, Debug)]
pub struct Transaction {
    pub partner: PartnerId,
    /// `{execution}-{ordinal}`.
    pub id: String,
    pub execution: ExecutionId,
    pub function: FunctionId,
    pub enrolment: Option<EnrolmentId>,
    pub end_user: String,
    pub amount: Amount,
    pub memo: Option<String>,
    pub created_at_ms: Millis,
}
