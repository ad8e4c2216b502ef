//! Header fields about one connection and not about the message (RFC 9110, section 7.6.1).
//!
//! Whoever passes a message on removes them, in both directions: requests of clients and responses of functions at the web
//! endpoint, requests of functions and responses of outside services in `larder_egress`.

use http::{HeaderMap, HeaderName, header};

use crate::fields;

const FIELDS: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
const FIELDS_TOO: [&str; 3] = ["keep-alive", "proxy-connection", "http2-settings"];
/// Without these a message is another one, or none: no `Connection` removes them.
const KEPT: [HeaderName; 2] = [header::HOST, header::CONTENT_LENGTH];

/// Removes them, and with them what `Connection` names.
pub fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = fields::tokens(headers, header::CONNECTION)
        .iter()
        .filter_map(|name| name.parse().ok())
        .filter(|name| !KEPT.contains(name))
        .collect();
    for name in FIELDS.iter().chain(&named) {
        headers.remove(name);
    }
    for name in FIELDS_TOO {
        headers.remove(name);
    }
}

/// Does the body have a coding that nobody here decodes (RFC 9112, section 6.1)? Framing is the library's, which looks for
/// `chunked` at the end only.
pub fn is_coded(headers: &HeaderMap) -> bool {
    fields::tokens(headers, header::TRANSFER_ENCODING).iter().any(|coding| coding != "chunked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_the_connection_goes_and_nothing_else() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Hop ,, host"),
            ("connection", "content-length,x-hop-too,\u{e4}"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("proxy-authenticate", "Basic"),
            ("proxy-authorization", "Basic x"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("http2-settings", "x"),
            ("x-hop", "internal"),
            ("x-hop", "internal"),
            ("x-hop-too", "internal"),
            ("host", "acme.test"),
            ("content-length", "5"),
            ("x-kept", "1"),
        ] {
            headers.append(name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        strip(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "host", "x-kept"]);
    }

    #[test]
    fn every_coding_but_chunked_is_one_that_nobody_undoes() {
        for (lines, coded) in [
            (&[][..], false),
            (&["chunked"], false),
            (&["Chunked"], false),
            (&["gzip, chunked"], true),
            (&["gzip", "chunked"], true),
            (&["identity"], true),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::TRANSFER_ENCODING, http::HeaderValue::from_static(line));
            }
            assert_eq!(is_coded(&headers), coded, "{lines:?}");
        }
    }
}
