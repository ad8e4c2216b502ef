//! What callers ask of an execution, and the rules for it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use larder_model::ids::EnrolmentId;
use larder_model::time::Millis;
use larder_model::{EndUser, RequestRecord};
use larder_platform::common::Common;
use larder_platform::execution::told::{self, CLIENT_IP, USER_ID};
use larder_wire::executions::{ExecutionInput, Headers};

use crate::api::requests;
use crate::problem::{Kind, Problem};

const BODY_CHARS_MAX: usize = 10_485_760;
const HEADERS_MAX: usize = 100;
const HEADER_BYTES_MAX: usize = 16_384;
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"];
const MINUTE_MS: Millis = 60_000;

/// An execution that may be made, as far as its parameters go.
#[derive(Debug)]
pub struct Wanted {
    pub request: RequestRecord,
    pub body: Bytes,
    pub asynchronous: bool,
    pub scheduled_at_ms: Option<Millis>,
    pub enrolment: Option<EnrolmentId>,
}

pub fn check(
    input: ExecutionInput,
    common: &Common,
    peer: Option<IpAddr>,
    user: Option<&EndUser>,
) -> Result<Wanted, Problem> {
    let host = common.settings.server.root_url.split("://").last().unwrap_or_default().trim_end_matches('/').to_owned();
    let mut wanted = check_at(input, common.clock.now_ms(), &host, peer)?;
    wanted.request.headers.extend(user.map(|user| (USER_ID.as_str().to_owned(), told::user_id(user))));
    Ok(wanted)
}

fn check_at(input: ExecutionInput, now: Millis, host: &str, peer: Option<IpAddr>) -> Result<Wanted, Problem> {
    let body = requests::chars("body", input.body.unwrap_or_default(), 0..=BODY_CHARS_MAX)?;
    let asynchronous = input.r#async.unwrap_or(false);
    let method = input.method.filter(|method| !method.is_empty()).unwrap_or_else(|| "POST".into());
    if !METHODS.contains(&method.as_str()) {
        return Err(Problem::argument("method", format!("must be one of {}", METHODS.join(", "))));
    }
    let mut headers = match input.headers {
        Some(Headers::Object(headers)) => check_headers(headers)?,
        Some(Headers::Empty(_)) | None => vec![],
    };
    if let Some((_, host)) = headers.iter().find(|(name, _)| name == "host")
        && !is_host(host)
    {
        let why = format!("host is {host:?}, which names no host: write shop.example or shop.example:8443");
        return Err(Problem::new(Kind::BadHeaders, format!("Invalid `headers`: {why}")));
    }
    if !headers.iter().any(|(name, _)| name == "host") {
        headers.push(("host".into(), host.to_owned()));
    }
    headers.retain(|(name, _)| name != "content-length");
    headers.push(("content-length".into(), body.len().to_string()));
    headers.extend(peer.map(|ip| (CLIENT_IP.as_str().to_owned(), ip.to_string())));
    Ok(Wanted {
        request: RequestRecord { method, path: path(input.path.unwrap_or_default())?, headers },
        body: body.into(),
        asynchronous,
        scheduled_at_ms: scheduled_at(input.scheduled_at, asynchronous, now)?,
        enrolment: match input.enrolment_id.filter(|id| !id.is_empty()) {
            Some(id) => Some(requests::id("enrolmentId", &id)?),
            None => None,
        },
    })
}

/// Path and query; a missing slash in front is forgiven.
fn path(text: String) -> Result<String, Problem> {
    let path = if text.starts_with('/') { text } else { format!("/{text}") };
    let path = requests::chars("path", path, 1..=2_048)?;
    match path.parse::<http::uri::PathAndQuery>() {
        Ok(fine) if fine.as_str() == path => Ok(path),
        _ => Err(Problem::argument("path", "is not a path and query as HTTP writes them")),
    }
}

/// `host` or `host:port` as a Host header has it (RFC 9110, section 7.2): what is none cannot be handed to a guest.
fn is_host(text: &str) -> bool {
    const HOST_BYTES_MAX: usize = 255;
    let Ok(authority) = text.parse::<http::uri::Authority>() else { return false };
    let port = match text.strip_prefix(authority.host()) {
        Some("") => true,
        Some(rest) => rest.strip_prefix(':').is_some_and(|digits| {
            digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok_and(|port| port > 0)
        }),
        None => false,
    };
    port && text.is_ascii() && !text.contains(['@', ',']) && (1..=HOST_BYTES_MAX).contains(&authority.host().len())
}

fn check_headers(headers: BTreeMap<String, String>) -> Result<Vec<(String, String)>, Problem> {
    let wrong = |why: String| Problem::new(Kind::BadHeaders, format!("Invalid `headers`: {why}"));
    if headers.len() > HEADERS_MAX {
        return Err(wrong(format!("there may be at most {HEADERS_MAX}")));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes >= HEADER_BYTES_MAX {
        return Err(wrong(format!("together they must have less than {HEADER_BYTES_MAX} bytes")));
    }
    let mut checked: Vec<(String, String)> = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        let is_name = !lower.is_empty()
            && lower.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !lower.starts_with('-')
            && !lower.ends_with('-');
        if !is_name {
            return Err(wrong(format!("{name:?} is not a name of letters, digits and - in between")));
        }
        if lower.starts_with("x-appwrite-") || lower.starts_with("x-larder-") {
            return Err(wrong(format!("{name} is set by the platform")));
        }
        if http::HeaderValue::from_str(&value).is_err() {
            return Err(wrong(format!("the value of {name} has characters that are not allowed in a header")));
        }
        if checked.iter().any(|(known, _)| *known == lower) {
            return Err(wrong(format!("{name} occurs twice")));
        }
        checked.push((lower, value));
    }
    Ok(checked)
}

fn scheduled_at(text: Option<String>, asynchronous: bool, now: Millis) -> Result<Option<Millis>, Problem> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let wrong = |why: &str| Problem::new(Kind::BadRequest, format!("Invalid `scheduledAt`: {why}"));
    if !asynchronous {
        return Err(wrong("needs `async`"));
    }
    let at =
        requests::parse_datetime("scheduledAt", &text).map_err(|err| Problem::new(Kind::BadRequest, err.message))?;
    // Minutes are the precision: the minute after the present one is far enough.
    let at = at.timestamp_millis();
    if at.div_euclid(MINUTE_MS) <= now.div_euclid(MINUTE_MS) {
        return Err(wrong("must be at least a minute ahead"));
    }
    Ok(Some(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_762_335_000_000;

    fn check(json: &str) -> Result<Wanted, Problem> {
        let input: ExecutionInput = serde_json::from_str(json).unwrap();
        check_at(input, NOW, "larder.test", Some([127, 0, 0, 1].into()))
    }

    #[test]
    fn nothing_asks_for_a_post_to_the_root() {
        let wanted = check("{}").unwrap();
        assert_eq!((wanted.request.method.as_str(), wanted.request.path.as_str()), ("POST", "/"));
        assert_eq!(
            wanted.request.headers,
            [("host", "larder.test"), ("content-length", "0"), ("x-appwrite-client-ip", "127.0.0.1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert!(!wanted.asynchronous && wanted.scheduled_at_ms.is_none() && wanted.enrolment.is_none());
        assert_eq!(check(r#"{"headers":[]}"#).unwrap().request.headers.len(), 3);
    }

    #[test]
    fn headers_cannot_pretend_to_be_the_platforms() {
        let wanted = check(r#"{"headers":{"X-Mine":"1","Content-Length":"999","Host":"h"},"body":"äb"}"#).unwrap();
        let value = |name: &str| {
            wanted.request.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect::<Vec<_>>()
        };
        assert_eq!((value("x-mine"), value("content-length"), value("host")), (vec!["1"], vec!["3"], vec!["h"]));
        for headers in [
            r#"{"X-Appwrite-Client-Ip":"1"}"#,
            r#"{"x-larder-trigger":"1"}"#,
            r#"{"-a":"1"}"#,
            r#"{"a b":"1"}"#,
            r#"{"":"1"}"#,
            r#"{"a":"1\r\nb: 2"}"#,
            r#"{"a":"1","A":"2"}"#,
        ] {
            let problem = check(&format!(r#"{{"headers":{headers}}}"#)).unwrap_err();
            assert_eq!(problem.kind, Kind::BadHeaders, "{headers}");
        }
        let many: BTreeMap<String, String> = (0..101).map(|n| (format!("h{n}"), String::new())).collect();
        assert!(check_headers(many).unwrap_err().message.contains("at most 100"));
        let large = BTreeMap::from([("a".to_owned(), "x".repeat(HEADER_BYTES_MAX))]);
        assert!(check_headers(large).unwrap_err().message.contains("less than"));
    }

    #[test]
    fn methods_and_paths() {
        assert_eq!(check(r#"{"path":"a?b=1"}"#).unwrap().request.path, "/a?b=1");
        for (json, named) in [
            (r#"{"method":"post"}"#, "method"),
            (r#"{"method":"TRACE"}"#, "method"),
            (r##"{"path":"/a#b"}"##, "path"),
            (r#"{"path":"/a b"}"#, "path"),
            (r#"{"enrolmentId":"-"}"#, "enrolmentId"),
        ] {
            let problem = check(json).unwrap_err();
            assert!(problem.kind == Kind::ArgumentInvalid && problem.message.contains(named), "{problem}");
        }
        assert!(check(&format!(r#"{{"path":"/{}"}}"#, "x".repeat(2_048))).is_err());
    }

    #[test]
    fn later_means_the_next_minute_at_least_and_the_queue() {
        let at = check(r#"{"async":true,"scheduledAt":"2025-11-05T09:31:00.000+00:00"}"#).unwrap();
        assert_eq!(at.scheduled_at_ms, Some(NOW + MINUTE_MS));
        for json in [
            r#"{"scheduledAt":"2025-11-05T09:31:00.000+00:00"}"#,
            r#"{"async":true,"scheduledAt":"2025-11-05T09:30:59.000+00:00"}"#,
            r#"{"async":true,"scheduledAt":"2020-11-05T09:30:59.000+00:00"}"#,
            r#"{"async":true,"scheduledAt":"soon"}"#,
        ] {
            assert_eq!(check(json).unwrap_err().kind, Kind::BadRequest, "{json}");
        }
    }
}
