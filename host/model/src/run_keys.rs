//! Keys of runs: with one a function calls the API while it runs.

use crate::ids::{ExecutionId, FunctionId, PartnerId};
use crate::time::Millis;

/// The key of one run, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunKey {
    pub partner: PartnerId,
    pub execution: ExecutionId,
    pub function: FunctionId,
    /// SHA-256 of the whole key text, in hex.
    pub secret_hash: String,
    pub created_at_ms: Millis,
    pub expires_at_ms: Millis,
}
