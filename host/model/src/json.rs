//! JSON of our own values.

/// JSON text of a plain value of ours, which always has one.
pub fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("plain values serialise")
}
