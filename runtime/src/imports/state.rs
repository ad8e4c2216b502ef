//! `larder:function/state`: values that outlive a run.

use async_trait::async_trait;

/// Names the write that made a value; two writes never share one.
pub type Version = String;

/// Where a run's state is read from. One backend serves one scope (partner, function, enrolment). It only reads: what
/// the guest writes stays in the run and comes out as [`crate::Effect`]s.
#[async_trait]
pub trait Backend: Send + Sync {
    async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, BackendError>;
    /// Keys that begin with `prefix`, behind `after`, in byte order.
    async fn list(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<(String, Vec<u8>, Version)>, BackendError>;
}

/// The backend could not answer. The run ends with [`crate::Failure::Host`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BackendError(pub String);

/// What a run depended on. The ledger applies its effects only if every read would give the same again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The version that stood under the key, `None` for nothing.
    Key { key: String, version: Option<Version> },
    /// All that a list call saw of the backend: the keys and versions it was given for these arguments.
    List { prefix: String, after: Option<String>, limit: u32, seen: Vec<(String, Version)> },
}
