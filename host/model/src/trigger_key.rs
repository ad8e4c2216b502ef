//! Keys that make a trigger take effect once.

use crate::ids::{EventId, FunctionId};
use crate::time::Millis;

/// The key of what an event's row or a firing's nominal time triggers in a function.
pub fn delivery_key(function: &FunctionId, event: Option<&EventId>, nominal_at_ms: Option<Millis>) -> String {
    match (event, nominal_at_ms) {
        (Some(row), _) => trigger_key(&["event", function.as_str(), row.as_str()]),
        (None, nominal) => trigger_key(&["schedule", function.as_str(), &nominal.unwrap_or_default().to_string()]),
    }
}

/// The key under which a trigger takes effect once: SHA-256 over its parts, each with its length, in hex.
pub fn trigger_key(parts: &[&str]) -> String {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())
}
