//! Headers at the web endpoint: what a function sees of a request's head, and a client of an answer's.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use larder_model::ids::ExecutionId;
use larder_model::net::hop_by_hop;
use larder_model::{EndUser, Trigger};
use larder_platform::execution::told::{self, Told, User};

use crate::{auth, console};

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
const PLATFORM_PREFIXES: [&str; 6] =
    ["larder-front-", "x-accel-", "x-appwrite-", "x-forwarded-", "x-larder-", "x-reproxy-"];
/// A function that streams may ask a proxy not to wait for more.
const ALLOWED: &str = "x-accel-buffering";

/// Prepares a request's headers for the guest: hop-by-hop headers and forged platform headers are removed.
/// The guest is told of the end user whom a role of the function let in, and is given their token.
pub fn prepare(headers: &mut HeaderMap, id: &ExecutionId, peer: SocketAddr, user: Option<&EndUser>) {
    let jwt = user.and_then(|_| auth::token(headers)?.ok()).unwrap_or_default().to_owned();
    let user = user.map(told::user_id);
    let user = user.as_deref().map(|id| User { id, jwt: &jwt });
    hop_by_hop::strip(headers);
    // The server has answered it.
    headers.remove(header::EXPECT);
    remove(headers, is_the_platforms);
    hide_sessions(headers);
    let client = Some(peer.ip());
    Told { trigger: Trigger::Http, execution: id, client, event: None, user }.put(headers);
}

/// Takes the cookies of people's sessions out of a request: at an address that the API shares with functions, browsers send them
/// to both.
fn hide_sessions(headers: &mut HeaderMap) {
    if !headers.contains_key(header::COOKIE) {
        return;
    }
    let is_ours = |pair: &&str| pair.trim().split('=').next().is_some_and(is_a_sessions);
    let all: Vec<HeaderValue> = headers.get_all(header::COOKIE).iter().cloned().collect();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    if !all.iter().any(|value| text(value).split(';').any(|pair| is_ours(&pair))) {
        return;
    }
    headers.remove(header::COOKIE);
    for value in all {
        let kept: Vec<String> = text(&value).split(';').filter(|pair| !is_ours(pair)).map(str::to_owned).collect();
        if let Ok(kept) = HeaderValue::from_str(kept.join(";").trim())
            && !kept.is_empty()
        {
            headers.append(header::COOKIE, kept);
        }
    }
}

/// Is this the name of a cookie with a session of somebody who signs in here?
fn is_a_sessions(name: &str) -> bool {
    name.trim().starts_with("a_session_") || console::is_cookie(name)
}

/// Only the platform says this of a run. Guests that read headers as variables cannot tell `_` from `-`.
fn is_the_platforms(name: &str) -> bool {
    let same = |(a, b): (u8, u8)| a == if b == b'_' { b'-' } else { b };
    ["x-appwrite-", "x-larder-"]
        .into_iter()
        .any(|prefix| name.len() >= prefix.len() && prefix.bytes().zip(name.bytes()).all(same))
}

/// Removes from an answer the headers that a function must not set, and returns what was removed. `own_host` is the host of
/// the partner's endpoint as the client names it, if no other partner shares it; only cookies need it. `announces`: the client
/// reads trailers, and is told which.
pub fn sanitize_response(
    headers: &mut HeaderMap,
    announces: bool,
    own_host: impl FnOnce() -> Option<String>,
) -> Vec<String> {
    let announced = headers.get(header::TRAILER).filter(|_| announces).cloned();
    hop_by_hop::strip(headers);
    headers.extend(announced.map(|names| (header::TRAILER, names)));
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
            report.push(format!("the cookie {name:?}, which is a session's or whose Domain is not this host alone"));
        }
    }
    report
}

/// Removes what would let the pages of a function keep hold of a window in which somebody opens the console at the same host,
/// and returns what was removed (ADR 0055).
pub fn part_from_console(headers: &mut HeaderMap) -> Option<String> {
    let removed = headers.remove(header::HeaderName::from_static("cross-origin-opener-policy"));
    removed.map(|_| "cross-origin-opener-policy, which only the platform sets at the host of a console".to_owned())
}

/// Does a browser ask for a script that would stand between its pages and this host from then on?
pub fn is_service_worker(headers: &HeaderMap) -> bool {
    let is_dest = headers.get("sec-fetch-dest").is_some_and(|dest| dest == "serviceworker");
    is_dest || headers.contains_key("service-worker")
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

/// Is it no session of ours, and does every Domain attribute name this host alone? An empty one is ignored (RFC 6265, section 5.2.3).
fn is_for(cookie: &HeaderValue, own_host: Option<&str>) -> bool {
    let name = cookie.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
    if is_a_sessions(&String::from_utf8_lossy(name)) {
        return false;
    }
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
    fn sessions_of_people_are_hidden() {
        let hidden = |cookies: &[&str]| {
            let all = cookies.iter().map(|value| (header::COOKIE, HeaderValue::from_str(value).unwrap()));
            let mut headers: HeaderMap = all.collect();
            hide_sessions(&mut headers);
            headers.get_all(header::COOKIE).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(hidden(&["a=b; c=d"]), ["a=b; c=d"]);
        assert_eq!(hidden(&["a=b; a_session_console=x; c=d", "a_session_console=y"]), ["a=b; c=d"]);
        assert_eq!(hidden(&["__Host-Http-larder_console=x; a=b; larder_look=y", "larder_console=z"]), ["a=b"]);
        assert!(!is_for(&HeaderValue::from_static("__HOST-http-larder_console=x"), None));
        assert_eq!(hidden(&["a_session_console_legacy = x;b=a_session_console=x"]), ["b=a_session_console=x"]);
        assert!(!is_for(&HeaderValue::from_static("a_session_console=x; Path=/"), Some("acme.larder.test")));
    }

    #[test]
    fn nobody_else_speaks_for_the_platform() {
        for name in ["x-appwrite-user-id", "x-larder-partner", "x_appwrite_user_id", "x-appwrite_key", "x_larder-x"] {
            assert!(is_the_platforms(name), "{name}");
        }
        for name in ["x-appwrite", "x-appwritekey", "x-larders", "xx-appwrite-key", "appwrite-key"] {
            assert!(!is_the_platforms(name), "{name}");
        }
    }

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
