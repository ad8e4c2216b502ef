//! Answers that echo the credential.
//!
//! A service may repeat what it was sent: an echo in a test system, an error page with the request, a redirect with the
//! query. A function sees the answer, so the credential is taken out first: as it is, percent-encoded, escaped as in JSON,
//! in base64 at any offset and in hexadecimal. Answers are whole before they are looked through, so no border between their
//! parts can hide anything.
//!
//! What stands in its place is [`MARK`]. A service that hands the credential out in a form of its own (encrypted, reversed,
//! compressed) cannot be found out; one that compresses is refused by whoever calls this.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

pub const MARK: &[u8] = b"[credential]";

pub struct Scrubber {
    /// The credential's text, and what is sent where that is another text (basic, query).
    secrets: Vec<Vec<u8>>,
    /// What their base64 has in common wherever they stand in what is encoded.
    encoded: Vec<Vec<u8>>,
}

/// A text as it is meant, and where in the original each of its bytes stands.
struct View {
    bytes: Vec<u8>,
    spans: Vec<(usize, usize)>,
}

impl Scrubber {
    pub fn new(secrets: Vec<Vec<u8>>) -> Scrubber {
        let secrets: Vec<Vec<u8>> = secrets.into_iter().filter(|secret| !secret.is_empty()).collect();
        let mut encoded: Vec<Vec<u8>> = secrets.iter().flat_map(|secret| base64s(secret)).collect();
        encoded.sort();
        encoded.dedup();
        Scrubber { secrets, encoded }
    }

    pub fn has_secrets(&self) -> bool {
        !self.secrets.is_empty()
    }

    /// The same bytes, unless they have the credential in them.
    pub fn clean(&self, bytes: Bytes) -> Bytes {
        match self.cleaned(&bytes) {
            Some(clean) => clean.into(),
            None => bytes,
        }
    }

    /// Headers with the credential in their name go, those with it in their value are cleaned.
    pub fn clean_headers(&self, headers: HeaderMap) -> HeaderMap {
        if !self.has_secrets() {
            return headers;
        }
        let lower: Vec<Vec<u8>> = self.secrets.iter().map(|secret| secret.to_ascii_lowercase()).collect();
        let mut clean = HeaderMap::with_capacity(headers.len());
        for (name, value) in &headers {
            if lower.iter().any(|secret| find(name.as_str().as_bytes(), secret).next().is_some()) {
                continue;
            }
            let value =
                self.cleaned(value.as_bytes()).map_or(Ok(value.clone()), |clean| HeaderValue::from_bytes(&clean));
            if let Ok(value) = value {
                clean.append(name.clone(), value);
            }
        }
        clean
    }

    /// `None`: there is nothing to take out.
    fn cleaned(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut spans: Vec<(usize, usize)> = vec![];
        for view in [percent_decoded(bytes), unescaped(bytes)].into_iter().flatten() {
            let found =
                self.secrets.iter().flat_map(|secret| find(&view.bytes, secret).map(|at| (at, at + secret.len())));
            spans.extend(found.map(|(from, to)| (view.spans[from].0, view.spans[to - 1].1)));
        }
        let plain = self.secrets.iter().chain(&self.encoded);
        spans.extend(plain.flat_map(|text| find(bytes, text).map(|at| (at, at + text.len()))));
        // Hexadecimal comes in both cases.
        if self.has_secrets() {
            let lower = bytes.to_ascii_lowercase();
            let hex = self.secrets.iter().map(|secret| crate::model::hex(secret).into_bytes());
            spans.extend(hex.flat_map(|text| find(&lower, &text).map(|at| (at, at + text.len())).collect::<Vec<_>>()));
        }
        if spans.is_empty() {
            return None;
        }
        spans.sort_unstable();
        let (mut clean, mut at) = (Vec::with_capacity(bytes.len()), 0);
        for (from, to) in spans {
            if from >= at {
                clean.extend_from_slice(&bytes[at..from]);
                clean.extend_from_slice(MARK);
            }
            at = at.max(to);
        }
        clean.extend_from_slice(&bytes[at..]);
        Some(clean)
    }
}

/// Where `needle` begins in `hay`.
fn find<'a>(hay: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    memchr::memmem::find_iter(hay, needle)
}

/// For each of the three offsets at which the text can begin in a group of three bytes, the characters that depend on it
/// alone. The few bits at both ends that mix with its neighbours stay, which is less than one byte at each.
fn base64s(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![];
    for offset in 0..3 {
        let padded = [&vec![0; offset][..], secret].concat();
        let whole = padded.len() * 8 / 6;
        let from = (offset * 8).div_ceil(6);
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            all.push(engine.encode(&padded).as_bytes()[from..whole].to_vec());
        }
    }
    all
}

/// `%41` is `A`; `None` if nothing is encoded.
fn percent_decoded(bytes: &[u8]) -> Option<View> {
    bytes.contains(&b'%').then(|| {
        decoded(bytes, |rest| match rest {
            [b'%', high, low, ..] => Some((3, hex_digit(*high)? << 4 | hex_digit(*low)?)),
            _ => None,
        })
    })
}

/// `\u0041` is `A`, `\/` is `/`; `None` if nothing is escaped.
fn unescaped(bytes: &[u8]) -> Option<View> {
    bytes.contains(&b'\\').then(|| {
        decoded(bytes, |rest| match rest {
            [b'\\', b'u', b'0', b'0', high, low, ..] => Some((6, hex_digit(*high)? << 4 | hex_digit(*low)?)),
            [b'\\', c @ (b'"' | b'\\' | b'/'), ..] => Some((2, *c)),
            _ => None,
        })
    })
}

/// `code` gives how many bytes a code at the beginning takes, and what it stands for.
fn decoded(bytes: &[u8], code: impl Fn(&[u8]) -> Option<(usize, u8)>) -> View {
    let mut view = View { bytes: Vec::with_capacity(bytes.len()), spans: Vec::with_capacity(bytes.len()) };
    let mut at = 0;
    while at < bytes.len() {
        let (length, byte) = code(&bytes[at..]).unwrap_or((1, bytes[at]));
        view.bytes.push(byte);
        view.spans.push((at, at + length));
        at += length;
    }
    view
}

fn hex_digit(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const SECRET: &str = "s3cr3t/key+42\"x";

    fn clean(text: impl AsRef<[u8]>) -> String {
        let scrubber = Scrubber::new(vec![SECRET.into()]);
        String::from_utf8(scrubber.clean(Bytes::copy_from_slice(text.as_ref())).to_vec()).unwrap()
    }

    #[test]
    fn every_form_is_found() {
        assert_eq!(clean("nothing here: 100% \\ fine"), "nothing here: 100% \\ fine");
        assert_eq!(clean(format!("a {SECRET} b {SECRET}")), "a [credential] b [credential]");
        let percent: String = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
        assert_eq!(clean(format!("?k={percent}&x=%20")), "?k=[credential]&x=%20");
        let all_percent: String = SECRET.bytes().map(|byte| format!("%{byte:02x}")).collect();
        assert_eq!(clean(all_percent), "[credential]");
        assert_eq!(clean(serde_json::json!({ "k": SECRET }).to_string()), r#"{"k":"[credential]"}"#);
        let escaped: String = SECRET.bytes().map(|byte| format!("\\u{byte:04X}")).collect();
        assert_eq!(clean(format!("\"{escaped}\"")), "\"[credential]\"");
        assert_eq!(clean(crate::model::hex(SECRET.as_bytes()).to_uppercase()), "[credential]");
    }

    #[test]
    fn base64_is_found_at_every_offset() {
        for before in ["", "a", "ab", "abc", "user:"] {
            for after in ["", "x", "xy", "xyz"] {
                let plain = format!("{before}{SECRET}{after}");
                for text in [STANDARD.encode(&plain), URL_SAFE_NO_PAD.encode(&plain)] {
                    let found = clean(&text);
                    assert!(found.contains("[credential]"), "{plain} {text}");
                    // What is left of it does not give a single byte of the middle back.
                    assert!(
                        found.len() <= "[credential]".len() + 4 * (before.len() + after.len()).div_ceil(3) + 8,
                        "{found}"
                    );
                }
            }
        }
    }

    #[test]
    fn headers_are_cleaned_and_names_that_carry_it_go() {
        let scrubber = Scrubber::new(vec![b"abcdefgh1".to_vec()]);
        let mut headers = HeaderMap::new();
        headers.append("location", HeaderValue::from_static("https://x/?key=abcdefgh1&a=b"));
        headers.append("x-abcdefgh1", HeaderValue::from_static("1"));
        headers.append("x-fine", HeaderValue::from_static("a"));
        headers.append("x-fine", HeaderValue::from_static("b"));
        let clean = scrubber.clean_headers(headers);
        assert_eq!(clean["location"], "https://x/?key=[credential]&a=b");
        assert_eq!(clean.get_all("x-fine").iter().count(), 2);
        assert_eq!(clean.len(), 3);
    }

    #[test]
    fn overlapping_finds_are_one() {
        let scrubber = Scrubber::new(vec![b"aaaaaaaa".to_vec(), b"aaaaaaaabbbb".to_vec()]);
        assert_eq!(scrubber.clean(Bytes::from_static(b"-aaaaaaaabbbb-")), Bytes::from_static(b"-[credential]-"));
    }
}
