//! Outgoing `wasi:http`: the only way by which a guest reaches the network.
//!
//! Many toolchains import it out of habit, so it is always linked; without a [backend](backends::Http) every call is refused. What may
//! be called, and how, is the backend's to know.
//!
//! The rules: **nothing outlives its run** (what drives a call is handed to wasi:http, which drops it with the store),
//! **a body that looks complete is complete**, and **the reason for a missing answer is in the run's log**, because the
//! guest gets only a code.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use futures::stream;
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, StreamBody};
use larder_model::outgoing::{Body, Error, Times};
use tokio::sync::mpsc;
use wasmtime_wasi_http::{Error as Code, RequestOptions, Result, WasiBody, WasiHttpHooks};

use crate::backends;
use crate::logs::{Collector, Stream};
use crate::stream::CHUNK_BYTES;

/// Frames of an answer that wait for the guest.
const FRAMES_WAITING: usize = 2;

pub struct Egress {
    backend: Option<Arc<dyn backends::Http>>,
    logs: Arc<Collector>,
    calls: u32,
    /// Of one write to a body.
    pub(super) chunk_bytes: usize,
}

impl Egress {
    pub(crate) fn new(backend: Option<Arc<dyn backends::Http>>, logs: Arc<Collector>) -> Egress {
        Egress { backend, logs, calls: 0, chunk_bytes: CHUNK_BYTES }
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
        let reporter = Reporter { logs: self.logs.clone(), request: RequestName::of(&request) };
        let request = request.map(|body| {
            body.map_err(|err| Error::Protocol(format!("the function gave up its request's body: {err}")))
                .boxed_unsync()
        });
        Box::new(async move {
            let answer = match backend {
                Some(backend) => backend.send(ordinal, request, times).await,
                None => Err(Error::not_granted(request.method(), request.uri())),
            };
            let (head, body) = answer.map_err(|err| reporter.report(&err))?.into_parts();
            let (feed, body) = relay(body, reporter);
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
fn relay(body: Body, reporter: Reporter) -> (impl Future<Output = Result<()>> + Send, WasiBody) {
    let (feed, frames) = mpsc::channel(FRAMES_WAITING);
    let moving = async move {
        let mut body = pin!(body);
        loop {
            let frame = body.frame().await.map(|frame| frame.map_err(|err| reporter.report(&err)));
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

/// The nearest `error-code` of wasi:http.
fn code(err: &Error) -> Code {
    match err {
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

/// Writes to the run's log why a request has no answer.
struct Reporter {
    logs: Arc<Collector>,
    request: RequestName,
}

impl Reporter {
    fn report(&self, err: &Error) -> Code {
        let how = if err.is_refusal() { "refused" } else { "failed" };
        self.logs.write(Stream::Stderr, format!("larder: {} {how}: {err}\n", self.request).as_bytes());
        code(err)
    }
}

/// Without its query, which may be confidential.
struct RequestName {
    method: Method,
    uri: Uri,
}

impl RequestName {
    fn of(request: &Request<WasiBody>) -> RequestName {
        RequestName { method: request.method().clone(), uri: request.uri().clone() }
    }
}

impl fmt::Display for RequestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RequestName { method, uri } = self;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        write!(f, "{method} {}://{authority}{}", uri.scheme_str().unwrap_or("https"), uri.path())
    }
}
