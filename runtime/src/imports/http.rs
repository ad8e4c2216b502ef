//! Outgoing `wasi:http`: the one door through which a guest reaches the network.
//!
//! Many toolchains import it out of habit, so it is always linked; without a [`Backend`] every call is refused. What may
//! be called, and how, is the backend's to know.
//!
//! The rules: **nothing outlives its run** (what drives a call is handed to wasi:http, which drops it with the store),
//! **a body that looks complete is complete**, and **why there is no answer stands in the run's log**, because a guest
//! gets a mere code.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use http::{Method, Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;
use wasmtime_wasi_http::{Error as Code, RequestOptions, Result, WasiBody, WasiHttpHooks};

use super::logs::{Collector, Stream};

/// A body on its way out or in.
pub type Body = UnsyncBoxBody<Bytes, Error>;

/// Frames of an answer that wait for the guest.
const FRAMES_WAITING: usize = 2;

/// Where the outgoing requests of one run go.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Sends one request of the guest, the run's `ordinal`th; a run that does the same counts the same. Whatever this
    /// starts ends when its future and the answer's body are dropped.
    async fn send(
        &self,
        ordinal: u32,
        request: Request<Body>,
        times: Times,
    ) -> std::result::Result<Response<Body>, Error>;
}

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

    fn code(&self) -> Code {
        match self {
            Error::Denied(_) => Code::HttpRequestDenied,
            Error::BadUri(_) => Code::HttpRequestUriInvalid,
            Error::BadMethod(_) => Code::HttpRequestMethodInvalid,
            Error::Prohibited(_) => Code::DestinationIpProhibited,
            Error::Crowded(_) => Code::ConnectionLimitReached,
            Error::RequestTooLarge(_) => Code::HttpRequestBodySize(None),
            Error::ResponseTooLarge(_) => Code::HttpResponseBodySize(None),
            Error::Dns(_) => Code::DnsError { rcode: None, info_code: None },
            Error::Unreachable(_) => Code::ConnectionRefused,
            Error::Tls(_) => Code::TlsProtocolError,
            Error::ConnectTimeout(_) => Code::ConnectionTimeout,
            Error::Timeout(_) => Code::HttpResponseTimeout,
            Error::Incomplete(_) => Code::HttpResponseIncomplete,
            Error::Protocol(_) => Code::HttpProtocolError,
            Error::Unavailable(_) => Code::DestinationUnavailable,
            Error::Host(_) => Code::InternalError(None),
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

pub struct Egress {
    backend: Option<Arc<dyn Backend>>,
    logs: Arc<Collector>,
    calls: u32,
    /// Of one write to a body.
    pub(super) chunk_bytes: usize,
}

impl Egress {
    pub(crate) fn new(backend: Option<Arc<dyn Backend>>, logs: Arc<Collector>) -> Egress {
        Egress { backend, logs, calls: 0, chunk_bytes: crate::answer::CHUNK_BYTES }
    }
}

type Connection = Box<dyn Future<Output = Result<()>> + Send>;

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Connection,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Connection)>> + Send> {
        // Counted here and not where the request is worked on: requests that the guest sends at once overtake each other.
        self.calls = self.calls.saturating_add(1);
        let (backend, ordinal) = (self.backend.clone(), self.calls);
        let times = options.map_or(Times::default(), |options| Times {
            connect: options.connect_timeout,
            first_byte: options.first_byte_timeout,
            between_bytes: options.between_bytes_timeout,
        });
        let told = Told { logs: self.logs.clone(), what: Asked::of(&request) };
        let request = request.map(|body| {
            body.map_err(|err| Error::Protocol(format!("the function gave up its request's body: {err}")))
                .boxed_unsync()
        });
        Box::new(async move {
            let answer = match backend {
                Some(backend) => backend.send(ordinal, request, times).await,
                None => Err(Error::not_granted(request.method(), request.uri())),
            };
            let (head, body) = answer.map_err(|err| told.tell(&err))?.into_parts();
            let (feed, body) = relay(body, told);
            Ok((Response::from_parts(head, body), Box::new(feed) as Connection))
        })
    }

    /// Bounds what one write to a body makes the host keep.
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        self.chunk_bytes
    }
}

/// Moves an answer to its guest. It goes on while the guest does something else, such as sending the rest of its
/// request, which a backend moves with the answer.
fn relay(body: Body, told: Told) -> (impl Future<Output = Result<()>> + Send, WasiBody) {
    let (feed, frames) = mpsc::channel(FRAMES_WAITING);
    let moving = async move {
        let mut body = pin!(body);
        loop {
            let frame = body.frame().await.map(|frame| frame.map_err(|err| told.tell(&err)));
            let last = !matches!(frame, Some(Ok(_)));
            if feed.send(frame).await.is_err() || last {
                return Ok(());
            }
        }
    };
    // A channel that ends without the answer's own end was cut off.
    let frames = stream::unfold(Some(frames), |frames| async move {
        let mut frames = frames?;
        match frames.recv().await {
            Some(Some(Ok(frame))) => Some((Ok(frame), Some(frames))),
            Some(Some(Err(code))) => Some((Err(code), None)),
            Some(None) => None,
            None => Some((Err(Code::HttpResponseIncomplete), None)),
        }
    });
    (moving, BodyExt::boxed_unsync(StreamBody::new(frames)))
}

/// The run's log, and what the guest asked for.
struct Told {
    logs: Arc<Collector>,
    what: Asked,
}

impl Told {
    fn tell(&self, err: &Error) -> Code {
        let how = if err.is_refusal() { "refused" } else { "failed" };
        self.logs.write(Stream::Stderr, format!("larder: {} {how}: {err}\n", self.what).as_bytes());
        err.code()
    }
}

/// Without its query, which may carry what is nobody's business.
struct Asked {
    method: Method,
    uri: Uri,
}

impl Asked {
    fn of(request: &Request<WasiBody>) -> Asked {
        Asked { method: request.method().clone(), uri: request.uri().clone() }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Asked { method, uri } = self;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        write!(f, "{method} {}://{authority}{}", uri.scheme_str().unwrap_or("https"), uri.path())
    }
}
