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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_decimal_text_of_64_bits() {
        for (text, number) in [
            ("0", Some(0)),
            ("42", Some(42)),
            ("-42", Some(-42)),
            ("007", Some(7)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("00000000000000000007", Some(7)),
            ("000000000000000000007", None),
            ("9223372036854775808", None),
            ("+1", None),
            ("", None),
            ("-", None),
            (" 1", None),
            ("1.0", None),
            ("1e3", None),
            ("١", None),
        ] {
            assert_eq!(whole_number(text.as_bytes()), number, "{text:?}");
        }
        assert_eq!(whole_number(b"\xff"), None);
        assert_eq!(i64::MIN.to_string().len(), NUMBER_BYTES_MAX);
    }

    #[test]
    fn a_read_costs_every_text_that_is_stored_of_it() {
        let base = size_of::<Read>() as u64;
        let key = |version: Option<&str>| Read::Key { key: "goals".into(), version: version.map(Into::into) }.bytes();
        assert_eq!((key(None), key(Some("v-1"))), (base + 5, base + 8));
        let seen = |count: usize| vec![("ab".to_owned(), "v-1".to_owned()); count];
        let list = |after: Option<&str>, count| {
            Read::List { prefix: "goal".into(), after: after.map(Into::into), limit: 10, seen: seen(count) }.bytes()
        };
        let each = 5 + size_of::<(String, Version)>() as u64;
        assert_eq!((list(None, 0), list(Some("ab"), 0)), (base + 4, base + 6));
        assert_eq!((list(None, 1), list(None, 3)), (base + 4 + each, base + 4 + 3 * each));
    }
}
