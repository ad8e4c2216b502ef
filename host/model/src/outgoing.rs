//! Outgoing HTTP calls of a function: what they carry, and why there is no answer.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Uri};
use http_body_util::combinators::UnsyncBoxBody;

use crate::Scheme;
use crate::net::authority::{Authority, Host};
use crate::net::http_rule::METHODS;

/// A body on its way out or in.
pub type Body = UnsyncBoxBody<Bytes, Error>;

/// What the guest is willing to wait; `None`: as long as the host does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub connect: Option<Duration>,
    pub first_byte: Option<Duration>,
    pub between_bytes: Option<Duration>,
}

/// Why there is no answer. Guests get the nearest `error-code` of wasi:http; the text is for the function's owner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No grant covers it, or its bounds are used up.
    #[error("{0}")]
    Denied(String),
    /// Not an address that has one meaning.
    #[error("{0}")]
    BadUri(String),
    #[error("{0}")]
    BadMethod(String),
    /// The name leads to an address that must not be reached.
    #[error("{0}")]
    Prohibited(String),
    /// Too many connections are open.
    #[error("{0}")]
    Crowded(String),
    #[error("{0}")]
    RequestTooLarge(String),
    #[error("{0}")]
    ResponseTooLarge(String),
    /// The name is not known, or nobody can say.
    #[error("{0}")]
    Dns(String),
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}")]
    Tls(String),
    #[error("{0}")]
    ConnectTimeout(String),
    #[error("{0}")]
    Timeout(String),
    /// The connection ended before the answer did.
    #[error("{0}")]
    Incomplete(String),
    /// The answer is not HTTP as it should be.
    #[error("{0}")]
    Protocol(String),
    /// Known to be out of order, so not asked.
    #[error("{0}")]
    Unavailable(String),
    /// The host's own fault.
    #[error("{0}")]
    Host(String),
}

/// Hosts below it are upstreams, by their names.
const UPSTREAM: &str = ".upstream";

/// Where a request goes, before any grant is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An upstream of this name.
    Upstream(String),
    Host(Scheme, Authority),
}

impl Target {
    /// Errors: a method or an address that no grant can cover.
    pub fn of(method: &Method, uri: &Uri) -> Result<Target, Error> {
        if !METHODS.contains(method) {
            return Err(Error::BadMethod(format!("{method} is none of the methods {METHODS:?}")));
        }
        let scheme = match uri.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            other => {
                return Err(Error::BadUri(format!("the scheme {} is neither https nor http", other.unwrap_or(""))));
            }
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let to: Authority = authority.parse().map_err(|err| Error::BadUri(format!("{err}")))?;
        match &to.host {
            Host::Name(name) if let Some(name) = name.strip_suffix(UPSTREAM) => Ok(Target::Upstream(name.to_owned())),
            _ => Ok(Target::Host(scheme, to)),
        }
    }
}

impl Error {
    /// A word for it, for counters.
    pub fn kind(&self) -> &'static str {
        match self {
            Error::Denied(_) => "denied",
            Error::BadUri(_) => "bad_uri",
            Error::BadMethod(_) => "bad_method",
            Error::Prohibited(_) => "prohibited",
            Error::Crowded(_) => "crowded",
            Error::RequestTooLarge(_) => "request_too_large",
            Error::ResponseTooLarge(_) => "response_too_large",
            Error::Dns(_) => "dns",
            Error::Unreachable(_) => "unreachable",
            Error::Tls(_) => "tls",
            Error::ConnectTimeout(_) => "connect_timeout",
            Error::Timeout(_) => "timeout",
            Error::Incomplete(_) => "incomplete",
            Error::Protocol(_) => "protocol",
            Error::Unavailable(_) => "unavailable",
            Error::Host(_) => "host",
        }
    }

    /// Was it ours to say no? Otherwise the other side, or the way to it, failed.
    pub fn is_refusal(&self) -> bool {
        match self {
            Error::Denied(_)
            | Error::BadUri(_)
            | Error::BadMethod(_)
            | Error::Prohibited(_)
            | Error::Crowded(_)
            | Error::RequestTooLarge(_)
            | Error::ResponseTooLarge(_)
            | Error::Unavailable(_) => true,
            Error::Dns(_)
            | Error::Unreachable(_)
            | Error::Tls(_)
            | Error::ConnectTimeout(_)
            | Error::Timeout(_)
            | Error::Incomplete(_)
            | Error::Protocol(_)
            | Error::Host(_) => false,
        }
    }

    /// What no grant covers, and what to ask for.
    pub fn not_granted(method: &Method, uri: &Uri) -> Error {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let scheme = if uri.scheme_str() == Some("http") { " scheme = \"http\"" } else { "" };
        let methods = match *method {
            Method::GET | Method::HEAD => String::new(),
            _ => format!(" methods = [\"{method}\"]"),
        };
        Error::Denied(format!(
            "no grant covers it; add to larder.toml: [[grants.http]]{scheme} hosts = [\"{authority}\"]{methods}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_to_an_upstream_or_a_host() {
        let of = |method: Method, uri: &str| Target::of(&method, &uri.parse().unwrap());
        assert_eq!(of(Method::GET, "http://Rates.upstream/a"), Ok(Target::Upstream("rates".into())));
        let host = Authority { host: Host::Name("a.example".into()), port: Some(8443) };
        assert_eq!(of(Method::GET, "https://a.example:8443/"), Ok(Target::Host(Scheme::Https, host)));
        assert!(matches!(of(Method::TRACE, "https://a.example/"), Err(Error::BadMethod(_))));
        assert!(matches!(of(Method::GET, "ftp://a.example/"), Err(Error::BadUri(_))));
        assert!(matches!(of(Method::GET, "/a"), Err(Error::BadUri(_))));
    }
}
