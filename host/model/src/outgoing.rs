//! Outgoing HTTP calls of a function: what they carry, and why there is no answer.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Uri};
use http_body_util::combinators::UnsyncBoxBody;

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
