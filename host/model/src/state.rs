//! State of functions: the rule for numbers, and what a run read.

/// Bytes of a whole number's text: that of the least of 64 bits.
pub const NUMBER_BYTES_MAX: usize = 20;

/// A stored value as a whole number of 64 bits: decimal text, perhaps with a minus, and nothing else. Whoever increments reads it
/// by this rule, so a run and the host that applies what it did agree on what is a number.
pub fn whole_number(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= NUMBER_BYTES_MAX)?;
    // `parse` takes a leading plus, which is not decimal text as the contract means it.
    if text.starts_with('+') { None } else { text.parse().ok() }
}

/// Names the write that made a value; two writes never share one.
pub type Version = String;

/// What a run depended on. The ledger applies its effects only if every read would give the same again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The version that stood under the key, `None` for nothing.
    Key { key: String, version: Option<Version> },
    /// All that a list call saw of the backend: the keys and versions it was given for these arguments.
    List { prefix: String, after: Option<String>, limit: u32, seen: Vec<(String, Version)> },
}

impl Read {
    /// What keeping it costs, about.
    pub fn bytes(&self) -> u64 {
        let texts = match self {
            Read::Key { key, version } => key.len() + version.as_ref().map_or(0, String::len),
            Read::List { prefix, after, seen, .. } => {
                let seen: usize =
                    seen.iter().map(|(key, version)| key.len() + version.len() + size_of::<(String, Version)>()).sum();
                prefix.len() + after.as_ref().map_or(0, String::len) + seen
            }
        };
        (texts + size_of::<Read>()) as u64
    }
}
