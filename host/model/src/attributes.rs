//! Attributes of an event that have no place of their own in its envelope: `dataschema`, and extensions such as
//! `traceparent` and `partitionkey`.
//!
//! Whoever takes an event in checks them here, and every guest is given all of them: as `ce-` headers, or as a list by
//! `larder:function/attributes`.

use std::collections::BTreeMap;

use crate::text;

/// Of one event.
const MOST: usize = 32;
const NAME_CHARS_MAX: usize = 64;
const VALUE_CHARS_MAX: usize = 2_048;
/// Of all of them as headers. The other attributes have some 22 KiB at most, and wasi:http gives a request's headers 32.
const HEADER_BYTES_MAX: usize = 6 << 10;
/// `ce-`, and what a header takes beside its name and value.
const HEADER_BYTES: usize = 8;
/// Those that have a place, and those by which others could be forged.
const RESERVED: [&str; 9] =
    ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data", "database64"];

/// Which attribute cannot be taken, and why.
pub fn check(attributes: &BTreeMap<String, String>) -> Result<(), (String, String)> {
    let mut header_bytes = 0;
    for (name, value) in attributes {
        let wrong = |why: String| Err((name.clone(), why));
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            return wrong("is not a name of an attribute: those are of a-z and 0-9".into());
        }
        if RESERVED.contains(&name.as_str()) {
            return wrong("is not a name of an extension".into());
        }
        if name.len() > NAME_CHARS_MAX {
            return wrong(format!("has a name of more than {NAME_CHARS_MAX} characters"));
        }
        if value.chars().count() > VALUE_CHARS_MAX {
            return wrong(format!("has more than {VALUE_CHARS_MAX} characters"));
        }
        if let Err(why) = text::check(value) {
            return wrong(why.into());
        }
        header_bytes += name.len() + encode(value).len() + HEADER_BYTES;
        if header_bytes > HEADER_BYTES_MAX {
            return wrong(format!(
                "is too much: extensions may have {HEADER_BYTES_MAX} bytes as headers, all together"
            ));
        }
    }
    match attributes.keys().nth(MOST) {
        Some(name) => Err((name.clone(), format!("is one too many: an event may have {MOST} extensions"))),
        None => Ok(()),
    }
}

/// The value of a `ce-` header (CloudEvents HTTP binding 1.0.2, section 3.1.3.2): what is not printable ASCII, and space,
/// `"` and `%`, is percent-encoded.
pub fn encode(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'%' => value.push_str(&format!("%{byte:02X}")),
            0x21..=0x7e => value.push(byte.into()),
            _ => value.push_str(&format!("%{byte:02X}")),
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_taken_is_named() {
        let one = |name: &str, value: &str| check(&[(name.to_owned(), value.to_owned())].into());
        for name in ["traceparent", "dataschema", "partitionkey", "a1"] {
            assert_eq!(one(name, "Zoë \"1\""), Ok(()), "{name}");
        }
        assert_eq!(one("a", ""), Ok(()));
        for (name, value, why) in [
            ("", "x", "not a name"),
            ("my_ext", "x", "not a name"),
            ("Ext", "x", "not a name"),
            ("data", "x", "not a name of an extension"),
            ("a", "x\n", "control"),
            ("a", &"x".repeat(2_049), "2048 characters"),
            ("a", &"ä".repeat(1_100), "6144 bytes"),
            (&"a".repeat(65), "x", "64 characters"),
        ] {
            let (named, told) = one(name, value).unwrap_err();
            assert!(named == name && told.contains(why), "{name} {value}: {told}");
        }
        let many: BTreeMap<String, String> = (0..33).map(|at| (format!("a{at}"), "x".into())).collect();
        assert!(check(&many).unwrap_err().1.contains("32 extensions"));
    }

    #[test]
    fn bounds_are_inclusive_and_the_bytes_of_all_headers_are_added_up() {
        let all = |all: &[(String, usize)]| {
            let all: BTreeMap<String, String> =
                all.iter().map(|(name, len)| (name.clone(), "x".repeat(*len))).collect();
            check(&all).err().map(|(name, why)| format!("{name} {why}"))
        };
        assert_eq!(all(&[("a".repeat(NAME_CHARS_MAX), VALUE_CHARS_MAX)]), None);
        let many = |count: usize| (0..count).map(|at| (format!("a{at:02}"), 1)).collect::<Vec<_>>();
        assert_eq!(all(&many(MOST)), None);
        assert!(all(&many(MOST + 1)).is_some_and(|why| why.starts_with("a32 is one too many")));
        // Three headers: the names have a byte each, the values what is left of all bytes.
        let left = HEADER_BYTES_MAX - 3 * (1 + HEADER_BYTES) - 2 * VALUE_CHARS_MAX;
        let three =
            |last: usize| all(&[("a".into(), VALUE_CHARS_MAX), ("b".into(), VALUE_CHARS_MAX), ("c".into(), last)]);
        assert_eq!(three(left), None);
        assert!(three(left + 1).is_some_and(|why| why.starts_with("c is too much")));
    }

    #[test]
    fn a_header_value_is_printable_ascii() {
        assert_eq!(encode("!Az~-\u{7f}"), "!Az~-%7F");
        assert_eq!(encode("100% \"é\"\n"), "100%25%20%22%C3%A9%22%0A");
    }
}
