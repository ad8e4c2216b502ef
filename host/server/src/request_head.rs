//! Checks of the head that every request must pass, at each endpoint.
//!
//! The HTTP library does parsing and framing. These checks refuse what it accepts and Larder cannot serve: a transfer coding
//! that is not decoded, another protocol, a target that is not a path.

use http::request::Parts;
use http::{HeaderValue, Method, header};
use larder_model::fields::tokens;
use larder_model::net::hop_by_hop::is_coded;

use crate::problem::{Kind, Problem};

/// The methods that are served somewhere, which an answer with 405 must name (RFC 9110, section 15.5.6).
pub const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// After an error the connection must be closed: what follows on it cannot be distinguished from the body.
pub fn check(head: &Parts) -> Result<(), Problem> {
    let not_offered = |what: &str| Problem::new(Kind::NotOffered, format!("{what} is not served here"));
    if [Method::CONNECT, Method::TRACE].contains(&head.method) {
        return Err(Problem::new(Kind::NotImplemented, format!("The method {} is served nowhere here", head.method)));
    }
    if head.method == Method::OPTIONS && head.uri.path() == "*" {
        return Err(not_offered("OPTIONS of the whole server"));
    }
    let is_http = head.uri.scheme().is_none_or(|scheme| ["http", "https"].contains(&scheme.as_str()));
    if !head.uri.path().starts_with('/') || !is_http {
        return Err(Problem::new(Kind::BadRequest, "The request's target is no path of this server"));
    }
    if is_coded(&head.headers) {
        return Err(not_offered("A transfer coding other than chunked"));
    }
    if tokens(&head.headers, header::TRANSFER_ENCODING).len() > 1 {
        return Err(Problem::new(Kind::BadRequest, "The body is chunked more than once"));
    }
    if tokens(&head.headers, header::EXPECT).iter().any(|what| what != "100-continue") {
        return Err(Problem::new(Kind::ExpectationFailed, "Only 100-continue may be expected"));
    }
    // A server may ignore other upgrades (RFC 9110, section 7.8). A WebSocket client has no use for a plain HTTP answer.
    let protocols = tokens(&head.headers, header::UPGRADE);
    if protocols.iter().any(|protocol| protocol.split('/').next() == Some("websocket")) {
        return Err(not_offered("WebSocket"));
    }
    Ok(())
}
