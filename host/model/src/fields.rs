//! Values of HTTP fields, each read by its grammar. Section numbers are RFC 9110's where no other is named.
//!
//! * [`members`], [`tokens`]: lists, over all lines of a field. * [`directives`]: members with an argument (Cache-Control).
//! * [`date_ms`], [`seconds`], [`age_s`], [`retry_after`]: times. * [`Tag`]: entity tags.
//!
//! The rule: **nobody else takes a field's value apart**. Where a value cannot be read the answer is `None`, and what that
//! means is the caller's to say: for a lifetime it is none at all, for a wish it is that nobody wished.

use std::time::{Duration, SystemTime};

use http::header::{self, AsHeaderName, HeaderMap};

use crate::time::Millis;

/// The members of a list (section 5.6.1): several lines are one list, and a comma within a quoted string parts nothing.
pub fn members(headers: &HeaderMap, name: impl AsHeaderName) -> Vec<String> {
    let mut all = vec![];
    for line in headers.get_all(name) {
        let (mut member, mut quoted, mut escaped) = (String::new(), false, false);
        for c in String::from_utf8_lossy(line.as_bytes()).chars() {
            match c {
                ',' if !quoted => all.push(std::mem::take(&mut member)),
                _ => member.push(c),
            }
            quoted ^= c == '"' && !escaped;
            escaped = quoted && c == '\\' && !escaped;
        }
        all.push(member);
    }
    // Section 5.6.1.2: empty members are none.
    all.iter().map(|member| member.trim_matches([' ', '\t']).to_owned()).filter(|member| !member.is_empty()).collect()
}

/// A list of names, in lower case.
pub fn tokens(headers: &HeaderMap, name: impl AsHeaderName) -> Vec<String> {
    members(headers, name).into_iter().map(|member| member.to_ascii_lowercase()).collect()
}

/// A list of `name` and `name=argument` (RFC 9111, section 5.2). Names are in lower case; an argument is unquoted.
pub fn directives(headers: &HeaderMap, name: impl AsHeaderName) -> Vec<(String, Option<String>)> {
    let directive = |member: String| match member.split_once('=') {
        None => (member.to_ascii_lowercase(), None),
        Some((name, argument)) => {
            let trimmed = name.trim_end().to_ascii_lowercase();
            // There is no space around the sign: such an argument is none that can be read.
            let argument = unquoted(argument).filter(|_| trimmed.len() == name.len());
            (trimmed, Some(argument.unwrap_or_default()))
        }
    };
    members(headers, name).into_iter().map(directive).collect()
}

/// A token, or what stands in a quoted string (section 5.6.4).
pub fn unquoted(text: &str) -> Option<String> {
    let Some(rest) = text.strip_prefix('"') else {
        return Some(text.to_owned()).filter(|text| !text.contains(['"', ' ', '\t']));
    };
    let (mut plain, mut chars) = (String::new(), rest.chars());
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(plain),
            '\\' => plain.push(chars.next()?),
            c => plain.push(c),
        }
    }
}

/// The value of a field that has one (section 5.5); `None` as well if it is there more than once.
pub fn single(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    let mut lines = headers.get_all(name).into_iter();
    let only = lines.next()?.to_str().ok()?;
    lines.next().is_none().then(|| only.trim_matches([' ', '\t']))
}

/// A number of seconds (RFC 9111, section 1.2.2); one too large for us is the largest.
pub fn seconds(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// A date in one of the three forms (section 5.6.7).
pub fn date_ms(headers: &HeaderMap, name: impl AsHeaderName) -> Option<Millis> {
    parse_date_ms(single(headers, name)?)
}

fn parse_date_ms(text: &str) -> Option<Millis> {
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis() as Millis)
}

/// What an answer says its age is. Of several values the first counts (RFC 9111, section 5.1).
pub fn age_s(headers: &HeaderMap) -> Option<u64> {
    seconds(members(headers, header::AGE).first()?)
}

/// How long from now on a service wants to be left alone (section 10.2.3): a number of seconds, or a date.
pub fn retry_after(headers: &HeaderMap, now: Millis) -> Option<Duration> {
    let text = single(headers, header::RETRY_AFTER)?;
    seconds(text).map(Duration::from_secs).or_else(|| {
        let left_ms = parse_date_ms(text)?.saturating_sub(now);
        Some(Duration::from_millis(u64::try_from(left_ms).unwrap_or(0)))
    })
}

/// An entity tag (section 8.8.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    pub weak: bool,
    opaque: String,
}

impl Tag {
    pub fn parse(text: &str) -> Option<Tag> {
        let (weak, rest) = text.strip_prefix("W/").map_or((false, text), |rest| (true, rest));
        let opaque = rest.strip_prefix('"')?.strip_suffix('"')?;
        let plain = opaque.bytes().all(|byte| byte == 0x21 || (0x23..=0x7e).contains(&byte) || byte >= 0x80);
        plain.then(|| Tag { weak, opaque: opaque.to_owned() })
    }

    /// That of a message.
    pub fn of(headers: &HeaderMap) -> Option<Tag> {
        Tag::parse(single(headers, header::ETAG)?)
    }

    /// The weak comparison (section 8.8.3.2).
    pub fn is_like(&self, other: &Tag) -> bool {
        self.opaque == other.opaque
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn lists() {
        for (lines, expected) in [
            (&["a, b"][..], &["a", "b"][..]),
            (&[" a ,\t,, b,"], &["a", "b"]),
            (&["a", "b, c"], &["a", "b", "c"]),
            (&["a=\"x, y\", b"], &["a=\"x, y\"", "b"]),
            (&[r#"a="x\", y", b"#], &[r#"a="x\", y""#, "b"]),
            (&[r#"a="x\\", y, b"#], &[r#"a="x\\""#, "y", "b"]),
            (&["a\"", "b, c"], &["a\"", "b", "c"]),
            (&[""], &[]),
            (&[], &[]),
        ] {
            let lines: Vec<_> = lines.iter().map(|value| ("x-list", *value)).collect();
            assert_eq!(members(&headers(&lines), "x-list"), expected, "{lines:?}");
        }
        assert_eq!(tokens(&headers(&[("vary", "Accept, X-Any")]), "vary"), ["accept", "x-any"]);
    }

    #[test]
    fn directives_have_arguments_in_both_forms() {
        let read = |value: &str| directives(&headers(&[("cache-control", value)]), "cache-control");
        let pair = |name: &str, argument: Option<&str>| (name.to_owned(), argument.map(str::to_owned));
        assert_eq!(
            read("No-Store, max-age=\"60\", a=b"),
            [pair("no-store", None), pair("max-age", Some("60")), pair("a", Some("b"))]
        );
        assert_eq!(read(r#"x="a\"b, no-store""#), [pair("x", Some("a\"b, no-store"))]);
        for odd in ["max-age =60", "max-age= 60", "max-age=\"60", "max-age=6\"0"] {
            assert_eq!(read(odd)[0], pair("max-age", Some("")), "{odd}");
        }
        // What forbids is heard however it is written.
        assert_eq!(read("no-store =x")[0].0, "no-store");
    }

    #[test]
    fn times_in_all_forms() {
        const AT: Millis = 784_111_777_000;
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(date_ms(&headers(&[("date", text)]), "date"), Some(AT), "{text}");
            let at = headers(&[("retry-after", text)]);
            assert_eq!(retry_after(&at, AT - 90_000), Some(Duration::from_secs(90)), "{text}");
            assert_eq!(retry_after(&at, AT + 90_000), Some(Duration::ZERO), "{text}");
        }
        for (text, expected) in [
            ("0", Some(0)),
            (" 120\t", Some(120)),
            ("99999999999999999999", Some(u64::MAX)),
            ("+1", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
        ] {
            let read = retry_after(&headers(&[("retry-after", text)]), AT).map(|wait| wait.as_secs());
            assert_eq!(read, expected, "{text:?}");
        }
        let twice = headers(&[("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("date", "Sun, 06 Nov 1994 08:49:38 GMT")]);
        assert_eq!(date_ms(&twice, "date"), None);
        for (lines, expected) in [
            (&["7200, 0"][..], Some(7_200)),
            (&["7200", "0"], Some(7_200)),
            (&[" 5 "], Some(5)),
            (&["old, 5"], None),
            (&["-1"], None),
            (&[], None),
        ] {
            let lines: Vec<_> = lines.iter().map(|value| ("age", *value)).collect();
            assert_eq!(age_s(&headers(&lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn entity_tags() {
        let tag = |text: &str| Tag::parse(text);
        assert!(tag("\"a\"").unwrap().is_like(&tag("W/\"a\"").unwrap()));
        assert_ne!(tag("\"a\""), tag("W/\"a\""));
        assert!(!tag("\"a\"").unwrap().is_like(&tag("\"b\"").unwrap()));
        assert_eq!(Tag::of(&headers(&[("etag", " W/\"a\" ")])), tag("W/\"a\""));
        assert_eq!(Tag::of(&headers(&[("etag", "\"a\""), ("etag", "\"b\"")])), None);
        assert!(tag("\"\"").is_some() && tag("\"a,b\"").is_some());
        for bad in ["a", "\"a", "w/\"a\"", "\"a\" ", "\"a\"b\"", "\"a b\"", "W/a", "\""] {
            assert_eq!(tag(bad), None, "{bad}");
        }
    }
}
