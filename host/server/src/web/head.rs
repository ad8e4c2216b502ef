//! Headers at the web endpoint: what a function sees of a request's head, and a client of an answer's.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use larder_model::Trigger;
use larder_model::ids::ExecutionId;
use larder_model::net::hop_by_hop;
use larder_platform::execution::request;

/// Headers that only the platform may set, because they affect more than this one answer: what a client stores for the whole
/// host (`nel`, `accept-ch`), where it goes next (`refresh`), what a proxy in front of us does (`x-accel-redirect`).
const PLATFORM_HEADERS: [&str; 29] = [
    "accept-ch",
    "alt-svc",
    "cache-status",
    "cdn-loop",
    "clear-site-data",
    "critical-ch",
    "date",
    "expect",
    "expect-ct",
    "forwarded",
    "host",
    "nel",
    "origin-agent-cluster",
    "proxy-status",
    "public-key-pins",
    "public-key-pins-report-only",
    "refresh",
    "report-to",
    "reporting-endpoints",
    "server",
    "service-worker-allowed",
    "set-cookie2",
    "strict-transport-security",
    "surrogate-control",
    "via",
    "x-lighttpd-send-file",
    "x-real-ip",
    "x-request-id",
    "x-sendfile",
];
const PLATFORM_PREFIXES: [&str; 5] = ["x-accel-", "x-appwrite-", "x-forwarded-", "x-larder-", "x-reproxy-"];
/// A function that streams may ask a proxy not to wait for more.
const ALLOWED: &str = "x-accel-buffering";

/// Prepares a request's headers for the guest: hop-by-hop headers and forged platform headers are removed.
pub fn prepare(headers: &mut HeaderMap, id: &ExecutionId, peer: SocketAddr) {
    hop_by_hop::strip(headers);
    // The server has answered it.
    headers.remove(header::EXPECT);
    remove(headers, |name| name.starts_with("x-appwrite-") || name.starts_with("x-larder-"));
    request::platform_headers(headers, Trigger::Http, id, Some(peer.ip()));
}

/// Removes from an answer the headers that a function must not set, and returns what was removed. `own_host` is the host of
/// the partner's endpoint as the client names it, if no other partner shares it; only cookies need it.
pub fn sanitize_response(headers: &mut HeaderMap, own_host: impl FnOnce() -> Option<String>) -> Vec<String> {
    hop_by_hop::strip(headers);
    let mut report = Vec::new();
    let removed = remove(headers, |name| {
        PLATFORM_HEADERS.contains(&name)
            || (name != ALLOWED && PLATFORM_PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
    });
    if !removed.is_empty() {
        let names: Vec<&str> = removed.iter().map(HeaderName::as_str).collect();
        report.push(format!("headers that only the platform sets: {}", names.join(", ")));
    }
    if headers.contains_key(header::SET_COOKIE) {
        let own_host = own_host();
        // A cookie for a parent domain would reach other partners.
        let (kept, wide): (Vec<HeaderValue>, Vec<HeaderValue>) =
            headers.get_all(header::SET_COOKIE).iter().cloned().partition(|cookie| is_for(cookie, own_host.as_deref()));
        headers.remove(header::SET_COOKIE);
        for cookie in kept {
            headers.append(header::SET_COOKIE, cookie);
        }
        for cookie in wide {
            let name = cookie.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
            let name = String::from_utf8_lossy(&name[..name.len().min(64)]).into_owned();
            report.push(format!("the cookie {name:?}, whose Domain is not this host alone"));
        }
    }
    report
}

/// Adds the id of the execution.
pub fn mark(headers: &mut HeaderMap, id: &ExecutionId) {
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert("x-appwrite-execution-id", id);
    }
}

fn remove(headers: &mut HeaderMap, is: impl Fn(&str) -> bool) -> Vec<HeaderName> {
    let names: Vec<HeaderName> = headers.keys().filter(|name| is(name.as_str())).cloned().collect();
    for name in &names {
        headers.remove(name);
    }
    names
}

/// Does every Domain attribute name this host alone? An empty one is ignored (RFC 6265, section 5.2.3).
fn is_for(cookie: &HeaderValue, own_host: Option<&str>) -> bool {
    cookie.as_bytes().split(|byte| *byte == b';').skip(1).all(|attribute| {
        let (name, value) = match attribute.iter().position(|byte| *byte == b'=') {
            Some(at) => (&attribute[..at], attribute[at + 1..].trim_ascii()),
            None => (attribute, &b""[..]),
        };
        let domain = value.strip_prefix(b".").unwrap_or(value);
        !name.trim_ascii().eq_ignore_ascii_case(b"domain")
            || value.is_empty()
            || own_host.is_some_and(|host| domain.eq_ignore_ascii_case(host.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_stays_with_its_host_however_it_is_written() {
        let own = Some("acme.larder.test");
        for (cookie, kept) in [
            ("a=b; Domain=larder.test", false),
            ("a=b;domain =larder.test", false),
            ("a=b; Path=/;\tDOMAIN = .larder.test ", false),
            ("a=b; Domain=other.larder.test", false),
            ("a=b; Domain=acme.larder.test; Domain=larder.test", false),
            ("a=b; Domain=larder.test; Domain=", false),
            ("a=b; Domain=acme.larder.test.", false),
            ("a=b; Domain=\"acme.larder.test\"", false),
            ("a=b; Domain=..acme.larder.test", false),
            ("a=b; Domain", true),
            ("a=b; Domain=", true),
            ("a=b; Domain= ; Path=/", true),
            ("a=b; Domain=Acme.Larder.Test", true),
            ("a=b; Domain=.acme.larder.test", true),
            ("a=domain=x; Path=/", true),
            ("domain=x", true),
        ] {
            assert_eq!(is_for(&HeaderValue::from_static(cookie), own), kept, "{cookie}");
        }
        assert!(!is_for(&HeaderValue::from_bytes(b"a=\xff; domain=x").unwrap(), own));
        // At an address that partners share a Domain of it would reach them all.
        assert!(!is_for(&HeaderValue::from_static("a=b; Domain=localhost"), None));
    }
}
