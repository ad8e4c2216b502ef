//! The environment of a command: RFC 3875, section 4.1.

use std::borrow::Cow;

use http::request::Parts;
use http::{HeaderMap, HeaderName, header};

use crate::backends::Variables;

/// They tell of the request, or are not set. Variables of the function with these names are hidden: a program that finds
/// `REMOTE_USER` takes it for somebody who signed in.
const META: [&str; 20] = [
    "AUTH_TYPE",
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "GATEWAY_INTERFACE",
    "HTTPS",
    "PATH_INFO",
    "PATH_TRANSLATED",
    "QUERY_STRING",
    "REMOTE_ADDR",
    "REMOTE_HOST",
    "REMOTE_IDENT",
    "REMOTE_USER",
    "REQUEST_METHOD",
    "REQUEST_SCHEME",
    "REQUEST_URI",
    "SCRIPT_NAME",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "SERVER_SOFTWARE",
];
/// The header in which the platform tells who the client is.
const CLIENT: &str = "x-larder-client-ip";

/// The environment for a request whose body has so many bytes: what the function has, and what the request says. An error says
/// why no environment can say it.
pub(crate) fn variables(own: &Variables, request: &Parts, length: Option<u64>) -> Result<Variables, String> {
    let (uri, headers) = (&request.uri, &request.headers);
    let text = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let is_https = uri.scheme_str() == Some("https");
    let authority = uri.authority().map(|authority| authority.to_string()).or_else(|| text("host")).unwrap_or_default();
    let (host, port) = split(&authority);
    let content_length = match length {
        Some(0) => text("content-length").map(|_| "0".to_owned()),
        Some(length) => Some(length.to_string()),
        None => text("content-length"),
    };
    let meta = [
        ("GATEWAY_INTERFACE", Some("CGI/1.1".to_owned())),
        ("SERVER_SOFTWARE", Some("larder".into())),
        ("SERVER_PROTOCOL", Some(format!("{:?}", request.version))),
        ("SERVER_NAME", Some(host.to_owned())),
        ("SERVER_PORT", Some(port.unwrap_or(if is_https { "443" } else { "80" }).to_owned())),
        ("REQUEST_METHOD", Some(request.method.to_string())),
        ("REQUEST_SCHEME", Some(if is_https { "https" } else { "http" }.to_owned())),
        ("HTTPS", is_https.then(|| "on".to_owned())),
        ("REQUEST_URI", Some(uri.path_and_query().map_or("/", |path| path.as_str()).to_owned())),
        ("SCRIPT_NAME", Some(String::new())),
        ("PATH_INFO", Some(decoded(uri.path())?)),
        ("QUERY_STRING", Some(uri.query().unwrap_or_default().to_owned())),
        ("REMOTE_ADDR", text(CLIENT)),
        ("CONTENT_TYPE", text("content-type")),
        ("CONTENT_LENGTH", content_length),
    ];
    let mut all: Variables = own.iter().filter(|(name, _)| !META.contains(&name.as_ref())).cloned().collect();
    let configured = all.len();
    for name in headers.keys() {
        if let Some(variable) = variable(name)
            && !all[..configured].iter().any(|(own, _)| *own == variable)
        {
            all.push((Cow::Owned(variable), Cow::Owned(joined(headers, name))));
        }
    }
    all.extend(meta.into_iter().filter_map(|(name, value)| Some((Cow::Borrowed(name), Cow::Owned(value?)))));
    match all[configured..].iter().find(|(_, value)| value.contains('\0')) {
        Some((name, _)) => Err(format!("{name} would have a NUL, which no environment can hold")),
        None => Ok(all),
    }
}

/// The variable of a header, unless it has none: `Proxy` would be taken for the configuration of a client (CVE-2016-5385), and
/// a name with another character than `-` for a header that only the platform sets.
fn variable(name: &HeaderName) -> Option<String> {
    let is_plain = name.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let has_own = *name == header::CONTENT_TYPE || *name == header::CONTENT_LENGTH;
    (is_plain && !has_own && name.as_str() != "proxy")
        .then(|| format!("HTTP_{}", name.as_str().to_ascii_uppercase().replace('-', "_")))
}

/// Values of one name as one: RFC 9110, section 5.3, and RFC 6265, section 5.4.
fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let separator = if *name == header::COOKIE { "; " } else { ", " };
    let values: Vec<Cow<'_, str>> =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    values.join(separator)
}

/// Host and port of an authority.
fn split(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => (host, Some(port)),
        _ => (authority, None),
    }
}

fn decoded(path: &str) -> Result<String, String> {
    let wrong = || format!("the path {path:?} is not percent-encoded UTF-8, which PATH_INFO needs");
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or_else(wrong);
        bytes.push((digit()? * 16 + digit()?) as u8);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(own: &[(&'static str, &'static str)], request: http::request::Builder, length: Option<u64>) -> Vec<String> {
        let own = own.iter().map(|(name, value)| (Cow::Borrowed(*name), Cow::Borrowed(*value))).collect();
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let all = variables(&own, &parts, length).unwrap();
        all.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn a_request_becomes_an_environment() {
        let request = http::Request::post("/a%20b/c?x=%20&y")
            .header("host", "acme.larder.test:8080")
            .header("content-type", "text/plain")
            .header("content-length", "3")
            .header("accept", "a")
            .header("accept", "b")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("x-larder-client-ip", "10.0.0.7");
        let all = of(&[("GREETING", "hi")], request, Some(3));
        for expected in [
            "GREETING=hi",
            "GATEWAY_INTERFACE=CGI/1.1",
            "SERVER_PROTOCOL=HTTP/1.1",
            "SERVER_NAME=acme.larder.test",
            "SERVER_PORT=8080",
            "REQUEST_METHOD=POST",
            "REQUEST_URI=/a%20b/c?x=%20&y",
            "SCRIPT_NAME=",
            "PATH_INFO=/a b/c",
            "QUERY_STRING=x=%20&y",
            "REMOTE_ADDR=10.0.0.7",
            "CONTENT_TYPE=text/plain",
            "CONTENT_LENGTH=3",
            "HTTP_ACCEPT=a, b",
            "HTTP_COOKIE=a=1; b=2",
            "HTTP_HOST=acme.larder.test:8080",
        ] {
            assert!(all.iter().any(|it| it == expected), "{expected}: {all:#?}");
        }
        assert!(!all.iter().any(|it| it.starts_with("HTTP_CONTENT") || it.starts_with("HTTPS=")), "{all:#?}");
    }

    #[test]
    fn a_request_replaces_nothing_and_forges_nothing() {
        let request = http::Request::get("/")
            .header("api-key", "forged")
            .header("proxy", "http://evil")
            .header("x_larder_user_id", "anna")
            .header("x.y", "z")
            .header("path", "/bin");
        let own = [("HTTP_API_KEY", "real"), ("PATH", "/own"), ("REMOTE_USER", "root"), ("CONTENT_LENGTH", "7")];
        let all = of(&own, request, Some(0));
        assert!(all.contains(&"HTTP_API_KEY=real".into()) && all.contains(&"PATH=/own".into()), "{all:#?}");
        for never in ["forged", "HTTP_PROXY", "LARDER_USER", "REMOTE_USER", "CONTENT_LENGTH", "HTTP_X"] {
            assert!(!all.iter().any(|it| it.contains(never)), "{never}: {all:#?}");
        }
        let names: std::collections::HashSet<&str> = all.iter().filter_map(|it| Some(it.split_once('=')?.0)).collect();
        assert_eq!(names.len(), all.len(), "{all:#?}");
    }

    #[test]
    fn what_no_environment_can_say_is_refused() {
        for (path, why) in
            [("/a%00b", "NUL"), ("/%ff", "UTF-8"), ("/%4", "percent"), ("/%zz", "percent"), ("/%+1", "percent")]
        {
            let (parts, ()) = http::Request::get(path).body(()).unwrap().into_parts();
            let refused = variables(&Variables::new(), &parts, None).unwrap_err();
            assert!(refused.contains(why), "{path}: {refused}");
        }
        assert_eq!((split("a:1"), split("[::1]:8"), split("[::1]"), split("a:")), {
            (("a", Some("1")), ("[::1]", Some("8")), ("[::1]", None), ("a:", None))
        });
    }
}
