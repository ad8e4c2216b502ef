//! What a front says of a request to the core: who its client is, and whether that speaks TLS.
//!
//! The rule: **it is read from connections of fronts only**, and clients cannot say it: a front writes it last.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use larder_platform::bodies::AnswerBody;

use crate::problem::{Kind, Problem};

const CLIENT: HeaderName = HeaderName::from_static("larder-front-client");
const SCHEME: HeaderName = HeaderName::from_static("larder-front-scheme");
/// Of an answer: nobody has looked at the request, so it may be sent to another core.
const NOT_BEGUN: HeaderName = HeaderName::from_static("larder-front-not-begun");

/// What a front adds to a head at most.
pub const FIELDS_MAX: usize = 4;
pub const BYTES_MAX: usize = 512;

pub struct Told {
    pub client: SocketAddr,
    /// It speaks TLS.
    pub is_secure: bool,
}

/// Writes it over whatever the client has written there.
pub fn write(headers: &mut HeaderMap, told: &Told) {
    let client = HeaderValue::try_from(told.client.to_string()).expect("an address is text");
    headers.insert(CLIENT, client);
    headers.insert(SCHEME, HeaderValue::from_static(if told.is_secure { "https" } else { "http" }));
}

/// Reads and removes it.
pub fn read(headers: &mut HeaderMap) -> Result<Told, Problem> {
    let mut only = |name: HeaderName| {
        let is_one = headers.get_all(&name).iter().count() == 1;
        headers.remove(name).filter(|_| is_one).and_then(|value| value.to_str().map(str::to_owned).ok())
    };
    let (client, scheme) = (only(CLIENT), only(SCHEME));
    let is_secure = match scheme.as_deref() {
        Some("https") => Some(true),
        Some("http") => Some(false),
        _ => None,
    };
    match (client.and_then(|client| client.parse().ok()), is_secure) {
        (Some(client), Some(is_secure)) => Ok(Told { client, is_secure }),
        _ => Err(Problem::new(Kind::BadRequest, "A front has to say who the client is")),
    }
}

/// The answer of a core that is about to end.
pub fn not_begun() -> Response<AnswerBody> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(NOT_BEGUN, HeaderValue::from_static("1"));
    response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Of an answer to something that was begun.
pub fn begun(headers: &mut HeaderMap) {
    headers.remove(NOT_BEGUN);
}

pub fn is_not_begun(headers: &HeaderMap) -> bool {
    headers.contains_key(NOT_BEGUN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_says_it_once_and_completely() {
        let mut headers = HeaderMap::new();
        headers.append(CLIENT, HeaderValue::from_static("10.0.0.1:1"));
        write(&mut headers, &Told { client: "[2001:db8::1]:70".parse().unwrap(), is_secure: true });
        let told = read(&mut headers).unwrap();
        assert_eq!((told.client.to_string().as_str(), told.is_secure), ("[2001:db8::1]:70", true));
        assert!(headers.is_empty());
        for wrong in [
            &[(CLIENT, "192.0.2.1:1")][..],
            &[(SCHEME, "https")],
            &[(CLIENT, "192.0.2.1"), (SCHEME, "https")],
            &[(CLIENT, "192.0.2.1:1"), (SCHEME, "ftp")],
            &[(CLIENT, "192.0.2.1:1"), (CLIENT, "192.0.2.2:1"), (SCHEME, "https")],
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in wrong {
                headers.append(name, HeaderValue::from_static(value));
            }
            assert!(read(&mut headers).is_err(), "{wrong:?}");
        }
    }
}
