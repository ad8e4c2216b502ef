//! Decides whether a response may be cached and how long it is fresh. It implements the part of RFC 9111 that upstreams need;
//! section numbers refer to it.
//!
//! Everything here is a pure function of headers and times, so the tests are tables.

use http::header::{self, HeaderMap};
use larder_model::fields;
use larder_model::time::Millis;

/// Request headers that are directed to this cache or differ from call to call. They are not part of the cache key, so
/// [`compared`] removes them: a header that is not in the key must not be forwarded, or its sender could influence the responses
/// of others. A response that varies by one of them (section 4.1) is not cached.
pub const NOT_COMPARED: [&str; 12] = [
    "accept-encoding",
    "baggage",
    "cache-control",
    "connection",
    "content-length",
    "host",
    "idempotency-key",
    "pragma",
    "te",
    "traceparent",
    "tracestate",
    "transfer-encoding",
];

/// The headers of a cacheable request that are forwarded to the service: exactly those of its cache key.
pub fn compared(headers: &HeaderMap) -> HeaderMap {
    let mut compared = headers.clone();
    for name in NOT_COMPARED {
        compared.remove(name);
    }
    compared
}

/// The statuses that are cacheable (section 3, RFC 9110 section 15.1), except those of ranges.
const STATUSES: [u16; 8] = [200, 203, 204, 300, 301, 308, 404, 410];
/// Longer lifetimes are reduced to this one.
const LIFETIME_MAX_S: u64 = 31_536_000;

/// The directives of Cache-Control (section 5.2).
pub struct Directives(Vec<(String, Option<String>)>);

impl Directives {
    pub fn of(headers: &HeaderMap) -> Directives {
        let all = fields::directives(headers, header::CACHE_CONTROL);
        // Section 5.4: the form of older clients.
        if all.is_empty() && fields::tokens(headers, header::PRAGMA).iter().any(|said| said == "no-cache") {
            return Directives(vec![("no-cache".into(), None)]);
        }
        Directives(all)
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// The smallest of several values. A value that is not a number counts as 0, which is stale (section 4.2.1).
    pub fn seconds(&self, name: &str) -> Option<u64> {
        let named = self.0.iter().filter(|(known, _)| known == name);
        let seconds = |argument: &Option<String>| fields::seconds(argument.as_deref()?);
        named.map(|(_, argument)| seconds(argument).unwrap_or(0).min(LIFETIME_MAX_S)).min()
    }
}

/// How long a response may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// Without revalidation (section 4.2.1).
    pub fresh_s: u64,
    /// After that, when revalidation fails (RFC 5861, section 4).
    pub stale_if_error_s: u64,
}

/// Returns how long the response to a GET may be used, or `None` if it must not be cached (section 3). `max_age_s` overrides the
/// stated freshness. This is a shared cache, so `private` forbids caching. The credential belongs to the upstream and is the same
/// for everybody who can read an entry, so section 3.5 requires nothing more.
pub fn usable(status: u16, headers: &HeaderMap, max_age_s: Option<u32>, received_ms: Millis) -> Option<Use> {
    let said = Directives::of(headers);
    if !STATUSES.contains(&status)
        || said.has("no-store")
        || said.has("private")
        || !varies_by_what_is_compared(headers)
    {
        return None;
    }
    let asked_each_time = said.has("no-cache");
    let stated = max_age_s.filter(|_| status < 400).map(u64::from);
    let fresh_s = match stated {
        _ if asked_each_time => 0,
        Some(seconds) => seconds,
        None => {
            let told = said.seconds("s-maxage").or(said.seconds("max-age"));
            told.or_else(|| by_expires(headers, received_ms)).unwrap_or(0)
        }
    };
    let strict = asked_each_time || ["must-revalidate", "proxy-revalidate", "s-maxage"].iter().any(|d| said.has(d));
    let stale_if_error_s = if strict { 0 } else { said.seconds("stale-if-error").unwrap_or(0) };
    let worth_it = fresh_s > 0 || stale_if_error_s > 0 || has_validator(headers);
    worth_it.then_some(Use { fresh_s, stale_if_error_s })
}

/// Section 5.3. An invalid date counts as past. Without a `Date`, the time of receipt is used (RFC 9110, section 6.6.1).
fn by_expires(headers: &HeaderMap, received_ms: Millis) -> Option<u64> {
    headers.get(header::EXPIRES)?;
    let date = fields::date_ms(headers, header::DATE).unwrap_or(received_ms);
    let left_ms = fields::date_ms(headers, header::EXPIRES).map_or(0, |expires| expires.saturating_sub(date));
    Some(u64::try_from(left_ms / 1_000).unwrap_or(0).min(LIFETIME_MAX_S))
}

/// Does the response vary only by headers that are part of the cache key?
fn varies_by_what_is_compared(headers: &HeaderMap) -> bool {
    // `Accept-Encoding` is set by the host and always the same.
    let compared = |name: &String| name == "accept-encoding" || name != "*" && !NOT_COMPARED.contains(&name.as_str());
    fields::tokens(headers, header::VARY).iter().all(compared)
}

pub fn has_validator(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED)
}

/// The age of a response when it was received (section 4.2.3), in milliseconds.
pub fn initial_age_ms(headers: &HeaderMap, requested_ms: Millis, received_ms: Millis) -> Millis {
    let apparent = fields::date_ms(headers, header::DATE).map_or(0, |date| (received_ms - date).max(0));
    let told = fields::age_s(headers).unwrap_or(0).min(LIFETIME_MAX_S);
    let corrected = told as Millis * 1_000 + (received_ms - requested_ms).max(0);
    apparent.max(corrected)
}

/// May a response of this age be used for a request with these directives (sections 4.2, 5.2.1)?
pub fn satisfies(request: &Directives, fresh_s: u64, age_ms: Millis) -> bool {
    let (fresh_ms, age_ms) = (fresh_s.saturating_mul(1_000), age_ms.max(0) as u64);
    let left = fresh_ms.saturating_sub(age_ms);
    left > 0
        && !request.has("no-cache")
        && request.seconds("max-age").is_none_or(|most| age_ms <= most.saturating_mul(1_000))
        && request.seconds("min-fresh").is_none_or(|least| left >= least * 1_000)
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

    const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    /// Seven seconds after that.
    const RECEIVED: Millis = 784_111_784_000;

    #[test]
    fn headers_outside_the_cache_key_are_not_forwarded() {
        let lines: Vec<(&str, &str)> = NOT_COMPARED.iter().map(|name| (*name, "x")).collect();
        assert!(compared(&headers(&lines)).is_empty());
        let others = [("accept", "a"), ("x-any", "b"), ("x-any", "c")];
        assert_eq!(compared(&headers(&[&lines[..], &others].concat())), headers(&others));
    }

    #[test]
    fn cacheability_and_lifetimes() {
        /// Headers, and for how many seconds what has them is fresh, and then still good in place of an error.
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<(u64, u64)>);
        let table: &[Case<'_>] = &[
            (&[], None),
            (&[("cache-control", "max-age=60")], Some((60, 0))),
            (&[("Cache-Control", "public, MAX-AGE=60")], Some((60, 0))),
            (&[("cache-control", "max-age=\"60\"")], Some((60, 0))),
            (&[("cache-control", "max-age=60, s-maxage=5")], Some((5, 0))),
            (&[("cache-control", "max-age=60"), ("cache-control", "max-age=5")], Some((5, 0))),
            (&[("cache-control", "no-store, max-age=60")], None),
            (&[("cache-control", "private, max-age=60")], None),
            (&[("cache-control", "private=\"set-cookie\", max-age=60")], None),
            (&[("cache-control", "no-cache, max-age=60")], None),
            (&[("cache-control", "no-cache, max-age=60"), ("etag", "\"a\"")], Some((0, 0))),
            (&[("cache-control", "max-age=0")], None),
            (&[("cache-control", "max-age=-1")], None),
            (&[("cache-control", "max-age=x"), ("etag", "\"a\"")], Some((0, 0))),
            (&[("cache-control", "max-age=99999999999999999999")], Some((LIFETIME_MAX_S, 0))),
            (&[("cache-control", "community=\"max-age=60, x\", max-age=7")], Some((7, 0))),
            (&[("etag", "\"a\"")], Some((0, 0))),
            (&[("last-modified", DATE.1)], Some((0, 0))),
            (&[DATE, ("expires", "Sun, 06 Nov 1994 08:50:37 GMT")], Some((60, 0))),
            (&[DATE, ("expires", "Sunday, 06-Nov-94 08:50:37 GMT")], Some((60, 0))),
            (&[DATE, ("expires", "Sun, 06 Nov 1994 08:48:37 GMT")], None),
            (&[DATE, ("expires", "0")], None),
            (&[("expires", "Sun, 06 Nov 1994 08:50:37 GMT")], Some((53, 0))),
            (&[("expires", "Sun, 06 Nov 1994 08:50:37 GMT"), ("date", "today")], Some((53, 0))),
            (&[("expires", "Sun, 06 Nov 1994 08:49:44 GMT")], None),
            (&[("expires", "Sun, 06 Nov 1994 08:50:37 GMT"), ("expires", "0")], None),
            (&[("cache-control", "community=\"a\\\", no-store\", max-age=7")], Some((7, 0))),
            (&[("cache-control", "max-age= 60")], None),
            (&[("cache-control", "max-age=60"), ("vary", "accept, , *")], None),
            (&[DATE, ("expires", "Sun, 06 Nov 1994 08:50:37 GMT"), ("cache-control", "max-age=5")], Some((5, 0))),
            (&[("cache-control", "max-age=60"), ("vary", "Accept-Language, X-Any")], Some((60, 0))),
            (&[("cache-control", "max-age=60"), ("vary", "Accept-Encoding")], Some((60, 0))),
            (&[("cache-control", "max-age=60"), ("vary", "*")], None),
            (&[("cache-control", "max-age=60"), ("vary", "accept, Idempotency-Key")], None),
            (&[("cache-control", "max-age=60, stale-if-error=30")], Some((60, 30))),
            (&[("cache-control", "max-age=0, stale-if-error=30")], Some((0, 30))),
            (&[("cache-control", "max-age=60, stale-if-error=30, must-revalidate")], Some((60, 0))),
            (&[("cache-control", "s-maxage=60, stale-if-error=30")], Some((60, 0))),
        ];
        for (lines, expected) in table {
            let found =
                usable(200, &headers(lines), None, RECEIVED).map(|found| (found.fresh_s, found.stale_if_error_s));
            assert_eq!(found, *expected, "{lines:?}");
        }
        let fresh = headers(&[("cache-control", "max-age=60")]);
        for (status, kept) in
            [(200, true), (404, true), (201, false), (206, false), (302, false), (304, false), (500, false)]
        {
            assert_eq!(usable(status, &fresh, None, RECEIVED).is_some(), kept, "{status}");
        }
    }

    #[test]
    fn max_age_setting_overrides_only_the_stated_lifetime() {
        let fresh_s = |status, lines: &[(&str, &str)]| {
            usable(status, &headers(lines), Some(10), RECEIVED).map(|found| found.fresh_s)
        };
        assert_eq!(fresh_s(200, &[]), Some(10));
        assert_eq!(fresh_s(200, &[("cache-control", "max-age=60")]), Some(10));
        assert_eq!(fresh_s(200, &[("cache-control", "no-store")]), None);
        assert_eq!(fresh_s(200, &[("cache-control", "private")]), None);
        assert_eq!(fresh_s(200, &[("cache-control", "no-cache"), ("etag", "\"a\"")]), Some(0));
        assert_eq!(fresh_s(200, &[("vary", "*")]), None);
        assert_eq!(fresh_s(404, &[]), None);
    }

    #[test]
    fn age_is_the_larger_of_apparent_and_stated_age() {
        let date = 784_111_777_000;
        for (lines, requested, received, expected) in [
            (&[DATE][..], date, date + 1_000, 1_000),
            (&[DATE], date - 9_000, date - 5_000, 4_000),
            (&[DATE, ("age", "30")], date, date + 1_000, 31_000),
            (&[DATE, ("age", "3")], date + 60_000, date + 60_000, 60_000),
            (&[DATE, ("age", "old")], date, date, 0),
            (&[DATE, ("age", "7200, 0")], date, date, 7_200_000),
            (&[DATE, ("age", "7200"), ("age", "0")], date, date, 7_200_000),
            (&[], date, date + 500, 500),
        ] {
            assert_eq!(
                initial_age_ms(&headers(lines), requested, received),
                expected,
                "{lines:?} {requested} {received}"
            );
        }
    }

    #[test]
    fn request_directives_can_require_fresher_responses() {
        for (line, age_ms, expected) in [
            ("", 59_999, true),
            ("", 60_000, false),
            ("no-cache", 0, false),
            ("max-age=10", 10_000, true),
            ("max-age=10", 10_001, false),
            ("max-age=0", 1, false),
            ("min-fresh=30", 30_000, true),
            ("min-fresh=30", 30_001, false),
            ("max-stale=100", 70_000, false),
        ] {
            assert_eq!(
                satisfies(&Directives::of(&headers(&[("cache-control", line)])), 60, age_ms),
                expected,
                "{line} {age_ms}"
            );
        }
        assert!(!satisfies(&Directives::of(&headers(&[("pragma", "no-cache")])), 60, 0));
    }
}
