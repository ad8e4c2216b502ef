//! Removes the credential from responses that echo it.
//!
//! A service may repeat what it was sent: an echo in a test system, an error page with the request, a redirect with the query.
//! A function sees the response, so the credential is removed first: in plain text, in either case, percent-encoded, escaped as
//! in JSON, HTML or quoted-printable, in UTF-16, as base64 or base32 at any offset, and as hexadecimal or decimal bytes, each
//! of them nested up to [`LEVELS`] times. Responses are buffered before they are scrubbed, so no boundary between parts can
//! hide a match. The caller refuses partial and compressed responses.
//!
//! [`MARK`] replaces each match. A credential in a form of the service's own (encrypted, reversed, split) cannot be detected.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use larder_model::upstreams::SECRET_BYTES_MIN;

pub const MARK: &[u8] = b"[credential]";
/// The maximum number of nested escapings.
const LEVELS: usize = 3;

/// The patterns of one credential. Each list is searched for in its own view of the text.
pub struct Scrubber {
    /// The credential's text, and what is sent where that is another text (basic, query), in lower case.
    plain: Vec<Vec<u8>>,
    /// What their base64 has in common wherever they stand in what is encoded.
    base64: Vec<Vec<u8>>,
    /// Their base32, and lists of the numbers of their bytes, in lower case.
    spread: Vec<Vec<u8>>,
    hex: Vec<Vec<u8>>,
}

/// How many bytes a code takes, and the byte that it stands for, if any.
type Code = (usize, Option<u8>);

impl Scrubber {
    pub fn new(secrets: Vec<Vec<u8>>) -> Scrubber {
        let secrets: Vec<Vec<u8>> = secrets.into_iter().filter(|secret| !secret.is_empty()).collect();
        // Unescaping a text also unescapes the credential in it.
        let mut plain: Vec<Vec<u8>> = secrets.clone();
        for secret in &secrets {
            let mut read = secret.clone();
            for _ in 0..LEVELS {
                let Some(again) = view(&read, unescape) else { break };
                plain.extend(Some(again.clone()).filter(|text| text.len() >= SECRET_BYTES_MIN));
                read = again;
            }
            if secret.contains(&b' ') {
                plain.push(secret.iter().map(|byte| if *byte == b' ' { b'+' } else { *byte }).collect());
            }
        }
        let numbers = |secret: &Vec<u8>| secret.iter().map(u8::to_string).collect::<Vec<_>>().join(",").into_bytes();
        Scrubber {
            base64: once(secrets.iter().flat_map(|secret| base64s(secret)).collect()),
            spread: once(
                secrets.iter().flat_map(|secret| base32s(secret)).chain(secrets.iter().map(numbers)).collect(),
            ),
            hex: once(secrets.iter().map(|secret| hex::encode(secret).into_bytes()).collect()),
            plain: once(plain.iter().map(|text| text.to_ascii_lowercase()).collect()),
        }
    }

    pub fn has_secrets(&self) -> bool {
        !self.plain.is_empty()
    }

    /// Returns the bytes with each match replaced.
    pub fn clean(&self, bytes: Bytes) -> Bytes {
        match self.cleaned(&bytes) {
            Some(clean) => clean.into(),
            None => bytes,
        }
    }

    /// Removes headers whose name contains the credential, and replaces matches in header values.
    pub fn clean_headers(&self, headers: HeaderMap) -> HeaderMap {
        if !self.has_secrets() {
            return headers;
        }
        let mut clean = HeaderMap::with_capacity(headers.len());
        for (name, value) in &headers {
            let name_bytes = name.as_str().as_bytes();
            // Header names are always in lower case.
            let folded = |text: &Vec<u8>| find(name_bytes, &text.to_ascii_lowercase()).next().is_some();
            if self.cleaned(name_bytes).is_some() || self.base64.iter().any(folded) {
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

    /// Returns `None` if there is no match.
    fn cleaned(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        if !self.has_secrets() {
            return None;
        }
        let spans = self.found(bytes, 0);
        if spans.is_empty() {
            return None;
        }
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

    /// The positions of the matches, in order.
    fn found(&self, bytes: &[u8], level: usize) -> Vec<(usize, usize)> {
        let lower = bytes.to_ascii_lowercase();
        let mut spans = all(&lower, &self.plain);
        spans.extend(self.within(bytes, &self.base64, close_up));
        spans.extend(self.within(&lower, &self.spread, close_up));
        spans.extend(self.within(&lower, &self.hex, digits_close_up));
        if level < LEVELS
            && let Some(read) = view(bytes, unescape)
        {
            spans.extend(placed(bytes, unescape, self.found(&read, level + 1)));
        }
        spans.sort_unstable();
        spans
    }

    /// What stands in a view of the bytes, by where it stands in them.
    fn within(&self, bytes: &[u8], wanted: &[Vec<u8>], code: impl Fn(&[u8]) -> Code + Copy) -> Vec<(usize, usize)> {
        match view(bytes, code) {
            None => all(bytes, wanted),
            Some(view) => {
                let mut spans = all(&view, wanted);
                spans.sort_unstable();
                placed(bytes, code, spans)
            }
        }
    }
}

fn once(mut all: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    all.sort();
    all.dedup();
    all
}

fn all(bytes: &[u8], wanted: &[Vec<u8>]) -> Vec<(usize, usize)> {
    wanted.iter().flat_map(|text| find(bytes, text).map(|at| (at, at + text.len()))).collect()
}

/// Where `needle` begins in `hay`.
fn find<'a>(hay: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    memchr::memmem::find_iter(hay, needle)
}

/// A text as it is meant; `None` if that is how it stands there.
fn view(bytes: &[u8], code: impl Fn(&[u8]) -> Code + Copy) -> Option<Vec<u8>> {
    let (mut view, mut at, mut same) = (Vec::with_capacity(bytes.len()), 0, true);
    while at < bytes.len() {
        let (length, byte) = code(&bytes[at..]);
        view.extend(byte);
        same &= length == 1 && byte == Some(bytes[at]);
        at += length;
    }
    (!same).then_some(view)
}

/// Where in the original what was found in its view stands. `found` is in order.
fn placed(bytes: &[u8], code: impl Fn(&[u8]) -> Code + Copy, found: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    if found.is_empty() {
        return found;
    }
    let mut wanted: Vec<usize> = found.iter().flat_map(|(from, to)| [*from, to - 1]).collect();
    wanted.sort_unstable();
    wanted.dedup();
    // The start and end of the codes of exactly these bytes.
    let mut codes = Vec::with_capacity(wanted.len());
    let (mut at, mut seen, mut next) = (0, 0, wanted.iter().peekable());
    while at < bytes.len() && next.peek().is_some() {
        let (length, byte) = code(&bytes[at..]);
        if byte.is_some() {
            if next.next_if(|wanted| **wanted == seen).is_some() {
                codes.push((at, at + length));
            }
            seen += 1;
        }
        at += length;
    }
    let place = |at: usize| codes[wanted.binary_search(&at).expect("it was asked for")];
    found.into_iter().map(|(from, to)| (place(from).0, place(to - 1).1)).collect()
}

/// Reads escapes: `%41`, `\u0041` `\x41` `\/`, `&#65;` `&#x41;` `&amp;`, `=41`; and leaves out what UTF-16 adds.
fn unescape(rest: &[u8]) -> Code {
    let plain = (1, Some(rest[0]));
    match rest {
        [0, ..] => (1, None),
        [b'%' | b'=', high, low, ..] => pair(*high, *low).map_or(plain, |byte| (3, Some(byte))),
        [b'\\', b'u' | b'U', b'0', b'0', high, low, ..] => pair(*high, *low).map_or(plain, |byte| (6, Some(byte))),
        [b'\\', b'x' | b'X', high, low, ..] => pair(*high, *low).map_or(plain, |byte| (4, Some(byte))),
        [b'\\', c @ (b'"' | b'\'' | b'\\' | b'/'), ..] => (2, Some(*c)),
        [b'\\', b'n' | b'r' | b't', ..] => (2, Some(b'\n')),
        [b'&', ..] => entity(rest).unwrap_or(plain),
        _ => plain,
    }
}

fn entity(rest: &[u8]) -> Option<Code> {
    const NAMED: [(&[u8], u8); 8] = [
        (b"amp", b'&'),
        (b"lt", b'<'),
        (b"gt", b'>'),
        (b"quot", b'"'),
        (b"apos", b'\''),
        (b"sol", b'/'),
        (b"plus", b'+'),
        (b"equals", b'='),
    ];
    let end = rest.iter().take(12).position(|byte| *byte == b';')?;
    let name = &rest[1..end];
    let byte = match name {
        [b'#', b'x' | b'X', digits @ ..] => u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?,
        [b'#', digits @ ..] => std::str::from_utf8(digits).ok()?.parse().ok()?,
        _ => NAMED.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?.1,
    };
    Some((end + 1, Some(byte)))
}

/// Leaves out white space: what is long is broken into lines.
fn close_up(rest: &[u8]) -> Code {
    (1, Some(rest[0]).filter(|byte| !byte.is_ascii_whitespace()))
}

/// Leaves out what stands between the digits of a dump.
fn digits_close_up(rest: &[u8]) -> Code {
    match rest {
        [b'0', b'x', ..] => (2, None),
        [b':' | b'-' | b',', ..] => (1, None),
        _ => close_up(rest),
    }
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

/// The same for base32, whose groups have five bytes.
fn base32s(secret: &[u8]) -> Vec<Vec<u8>> {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let encoded = |offset: usize| {
        let bit = |at: usize| (at / 8).checked_sub(offset).map_or(0, |byte| secret[byte] >> (7 - at % 8) & 1);
        let digit = |at: usize| (0..5).fold(0, |digit, of| digit << 1 | usize::from(bit(at * 5 + of)));
        let whole = (offset + secret.len()) * 8 / 5;
        ((offset * 8).div_ceil(5)..whole).map(|at| ALPHABET[digit(at)]).collect()
    };
    (0..5).map(encoded).collect()
}

fn pair(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| (digit as char).to_digit(16).map(|value| value as u8);
    Some(digit(high)? << 4 | digit(low)?)
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
    fn every_encoding_is_found() {
        assert_eq!(clean("nothing here: 100% \\ fine"), "nothing here: 100% \\ fine");
        assert_eq!(clean(format!("a {SECRET} b {SECRET}")), "a [credential] b [credential]");
        let percent: String = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
        assert_eq!(clean(format!("?k={percent}&x=%20")), "?k=[credential]&x=%20");
        let all_percent: String = SECRET.bytes().map(|byte| format!("%{byte:02x}")).collect();
        assert_eq!(clean(all_percent), "[credential]");
        assert_eq!(clean(serde_json::json!({ "k": SECRET }).to_string()), r#"{"k":"[credential]"}"#);
        let escaped: String = SECRET.bytes().map(|byte| format!("\\u{byte:04X}")).collect();
        assert_eq!(clean(format!("\"{escaped}\"")), "\"[credential]\"");
        assert_eq!(clean(hex::encode(SECRET.as_bytes()).to_uppercase()), "[credential]");
    }

    /// Each form, alone and in each other, and within a text of its own.
    #[test]
    fn nested_encodings_are_found() {
        type Form = (&'static str, fn(&str) -> String);
        const FORMS: [Form; 9] = [
            ("plain", |text| text.into()),
            ("percent", |text| text.bytes().map(|byte| format!("%{byte:02X}")).collect()),
            ("json", |text| serde_json::Value::from(text).to_string()),
            ("\\x", |text| text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()),
            ("html", |text| text.bytes().map(|byte| format!("&#{byte};")).collect()),
            ("html, hex", |text| text.bytes().map(|byte| format!("&#x{byte:X};")).collect()),
            ("quoted-printable", |text| text.bytes().map(|byte| format!("={byte:02X}")).collect()),
            ("utf-16", |text| text.bytes().flat_map(|byte| [char::from(byte), '\0']).collect()),
            ("upper case", |text| text.to_uppercase()),
        ];
        for (inner, one) in FORMS {
            for (outer, other) in FORMS {
                let text = other(&one(SECRET));
                let found = clean(&text);
                assert!(found.contains("[credential]"), "{inner} within {outer}: {text} {found}");
                assert!(found.len() <= "[credential]".len() + 24, "{inner} within {outer}: {found}");
            }
        }
    }

    #[test]
    fn byte_dumps_are_found() {
        let dump = |between: &str, of: fn(u8) -> String| SECRET.bytes().map(of).collect::<Vec<_>>().join(between);
        for text in [
            dump(" ", |byte| format!("{byte:02x}")),
            dump(":", |byte| format!("{byte:02X}")),
            dump(", ", |byte| format!("0x{byte:02x}")),
            dump("\n", |byte| format!("{byte:02x}")),
            dump(",", |byte| byte.to_string()),
            dump(", ", |byte| byte.to_string()),
        ] {
            assert_eq!(clean(format!("<{text}>")).replace("0x", ""), "<[credential]>", "{text}");
        }
        let lines: Vec<String> = STANDARD
            .encode(format!("0123456789{SECRET}"))
            .as_bytes()
            .chunks(8)
            .map(|c| String::from_utf8_lossy(c).into())
            .collect();
        let found = clean(lines.join("\r\n"));
        assert!(found.contains("[credential]") && found.len() < 36, "{found}");
        // Test vectors of RFC 4648, section 10.
        assert_eq!(base32s(b"foobar")[0], b"mzxw6ytbo");
        for offset in 0..5 {
            let inside = String::from_utf8(base32s(SECRET.as_bytes())[offset].clone()).unwrap();
            assert_eq!(clean(format!("..{}..", inside.to_uppercase())), "..[credential]..");
        }
    }

    #[test]
    fn text_that_only_looks_escaped_is_unchanged() {
        for text in
            ["a=b&c=0d&x=%zz", "\\u12", "&#; &#x; &amp &nope; &#999;", "%", "\\", "0x", "=\r\n", "100 %25 of it"]
        {
            assert_eq!(clean(text), text);
        }
        let odd = Scrubber::new(vec![b"100%41&amp;\\/xyz".to_vec()]);
        for text in
            ["100%41&amp;\\/xyz", "100%2541&amp;\\/xyz", "100%41&amp;amp;\\/xyz", "100%41&amp;\\\\\\/xyz", "100A&/xyz"]
        {
            let found = odd.clean(Bytes::copy_from_slice(format!("<{text}>").as_bytes()));
            assert_eq!(found, Bytes::from_static(b"<[credential]>"), "{text}");
        }
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
    fn header_values_are_scrubbed_and_matching_names_removed() {
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
    fn overlapping_matches_are_merged() {
        let scrubber = Scrubber::new(vec![b"aaaaaaaa".to_vec(), b"aaaaaaaabbbb".to_vec()]);
        assert_eq!(scrubber.clean(Bytes::from_static(b"-aaaaaaaabbbb-")), Bytes::from_static(b"-[credential]-"));
    }
}
