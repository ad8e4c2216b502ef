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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_apart_by_their_lengths() {
        // SHA-256 of nothing.
        assert_eq!(trigger_key(&[]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let all = [&["ab", "c"][..], &["a", "bc"], &["abc"], &["abc", ""], &["", "abc"], &["c", "ab"]].map(trigger_key);
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert!(all.iter().all(|key| key.len() == 64));
    }

    #[test]
    fn a_delivery_has_one_key_by_event_or_by_nominal_time() {
        let (f, g): (FunctionId, FunctionId) = ("f".parse().unwrap(), "g".parse().unwrap());
        let (one, two): (EventId, EventId) = ("1".parse().unwrap(), "2".parse().unwrap());
        let all = [
            delivery_key(&f, Some(&one), None),
            delivery_key(&g, Some(&one), None),
            delivery_key(&f, Some(&two), None),
            delivery_key(&f, None, Some(1)),
            delivery_key(&f, None, Some(2)),
            delivery_key(&g, None, Some(1)),
        ];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
        // An event has one key in a function, whenever it was due.
        assert_eq!(delivery_key(&f, Some(&one), Some(1)), all[0]);
    }
}
