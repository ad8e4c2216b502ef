//! Calling outside services.
//!
//! A function reaches what it is granted: `http://NAME.upstream/path` for an upstream, or the hosts of an `http` grant. A
//! call goes out when it is made and cannot be taken back: when the run is made again, so is the call. Larder gives it
//! an `Idempotency-Key` that is the same each time.
//!
//! A temporary failure (no answer, or a status of 408, 425, 429, or 500 and above where success was needed) is an
//! [`Error::Retry`]. A request that would be refused again is an [`Error::Reject`].

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

const BODY_BYTES_MAX: usize = 1 << 20;

/// A request to be sent with [`Run::send`](crate::Run::send).
///
/// ```
/// use larder_sdk::prelude::*;
/// use larder_sdk::testing::{TestEvent, TestRun};
///
/// fn book(event: Event<Value>, run: &mut Run) -> Result<(), Error> {
///     let request = Request::post("http://ledger.upstream/bookings").json(&event.data)?;
///     run.send(&request)?.ok()?;
///     Ok(())
/// }
///
/// let mut run = TestRun::new().answers("POST http://ledger.upstream/bookings", 503, json!({}));
/// let ended = run.handle(book, TestEvent::new("saved", json!({ "amount": "25.00" })));
/// // 503 is temporary: the run is retried.
/// assert!(matches!(ended.result, Err(Error::Retry(_))));
/// assert_eq!(ended.requests.len(), 1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) bytes_max: usize,
}

impl Request {
    pub fn new(method: &str, url: &str) -> Request {
        let (method, url) = (method.to_owned(), url.to_owned());
        Request { method, url, headers: Vec::new(), body: Vec::new(), bytes_max: BODY_BYTES_MAX }
    }

    pub fn get(url: &str) -> Request {
        Request::new("GET", url)
    }

    pub fn post(url: &str) -> Request {
        Request::new("POST", url)
    }

    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Request {
        self.body = body.into();
        self
    }

    pub fn json(self, body: &impl Serialize) -> Result<Request, Error> {
        let body = serde_json::to_vec(body)?;
        Ok(self.header("content-type", "application/json").body(body))
    }

    /// Bytes of the answer's body that are read, 1 MiB if nothing is said; a longer one is an error.
    pub fn bytes_max(mut self, bytes: usize) -> Request {
        self.bytes_max = bytes;
        self
    }

    /// Method and address, as errors and tests name it.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method, self.url)
    }
}

/// An answer, read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What was asked.
    pub(crate) of: String,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// This answer if its status is 2xx, otherwise the error that it stands for.
    pub fn ok(self) -> Result<Response, Error> {
        match self.status {
            200..=299 => Ok(self),
            status @ (408 | 425 | 429 | 500..) => Err(Error::Retry(format!("{} was answered {status}", self.of))),
            status => Err(Error::Reject(format!("{} was answered {status}", self.of))),
        }
    }

    /// The body of an answer with a status of 2xx, read into a type of yours.
    pub fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let Response { body, of, .. } = self.ok()?;
        serde_json::from_slice(&body).map_err(|err| Error::Reject(format!("the answer to {of} does not fit: {err}")))
    }
}

#[cfg(target_arch = "wasm32")]
pub(crate) mod wasm {
    use wasip2::http::outgoing_handler;
    use wasip2::http::types::{
        ErrorCode, Fields, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme, http_error_code,
    };
    use wasip2::io::streams::StreamError;

    use super::{Request, Response};
    use crate::Error;

    const CHUNK_BYTES: usize = 4_096;
    const READ_BYTES: u64 = 64 * 1_024;

    pub fn send(request: &Request) -> Result<Response, Error> {
        let outgoing = outgoing(request)?;
        let unusable = |what: &str| Error::Reject(format!("{}: {what}", request.name()));
        let body = outgoing.body().map_err(|()| unusable("it has no body"))?;
        let pending = outgoing_handler::handle(outgoing, None).map_err(|code| failed(request, &code))?;
        // Where this fails, so does the answer, which says why.
        let _ = write(body, &request.body);
        pending.subscribe().block();
        let answer = pending.get().and_then(Result::ok).ok_or_else(|| unusable("there is no answer"))?;
        read(request, &answer.map_err(|code| failed(request, &code))?)
    }

    fn outgoing(request: &Request) -> Result<OutgoingRequest, Error> {
        let refused = |what: &str| Error::Reject(format!("{}: {what} cannot be sent", request.name()));
        let headers = Fields::new();
        for (name, value) in &request.headers {
            headers.append(name, value.as_bytes()).map_err(|_| refused(&format!("header {name:?}")))?;
        }
        let (scheme, rest) = request.url.split_once("://").ok_or_else(|| refused("an address without a scheme"))?;
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => Scheme::Other(other.to_owned()),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let method = match request.method.as_str() {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            "PATCH" => Method::Patch,
            "OPTIONS" => Method::Options,
            other => Method::Other(other.to_owned()),
        };
        let outgoing = OutgoingRequest::new(headers);
        outgoing.set_method(&method).map_err(|()| refused("its method"))?;
        outgoing.set_scheme(Some(&scheme)).map_err(|()| refused("its scheme"))?;
        outgoing.set_authority(Some(authority)).map_err(|()| refused("its host"))?;
        outgoing.set_path_with_query(Some(&path)).map_err(|()| refused("its path"))?;
        Ok(outgoing)
    }

    fn write(body: OutgoingBody, bytes: &[u8]) -> Option<()> {
        {
            let stream = body.write().ok()?;
            for chunk in bytes.chunks(CHUNK_BYTES) {
                stream.blocking_write_and_flush(chunk).ok()?;
            }
        }
        OutgoingBody::finish(body, None).ok()
    }

    fn read(request: &Request, answer: &IncomingResponse) -> Result<Response, Error> {
        let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
        let headers = answer.headers().entries().into_iter().map(|(name, value)| (name, text(value))).collect();
        let unread = || Error::Reject(format!("the answer to {} has no body to read", request.name()));
        let incoming = answer.consume().map_err(|()| unread())?;
        let stream = incoming.stream().map_err(|()| unread())?;
        let mut body = Vec::new();
        loop {
            match stream.blocking_read(READ_BYTES) {
                Ok(bytes) => body.extend(bytes),
                Err(StreamError::Closed) => break,
                Err(StreamError::LastOperationFailed(err)) => {
                    let code = http_error_code(&err).unwrap_or(ErrorCode::HttpResponseIncomplete);
                    return Err(failed(request, &code));
                }
            }
            if body.len() > request.bytes_max {
                let most = request.bytes_max;
                return Err(Error::Reject(format!("the answer to {} has more than {most} bytes", request.name())));
            }
        }
        Ok(Response { status: answer.status(), headers, body, of: request.name() })
    }

    /// Is it worth trying again?
    fn failed(request: &Request, code: &ErrorCode) -> Error {
        let word = format!("{code:?}").replace("ErrorCode::", "");
        match code {
            ErrorCode::HttpRequestDenied
            | ErrorCode::DestinationIpProhibited
            | ErrorCode::HttpRequestMethodInvalid
            | ErrorCode::HttpRequestUriInvalid
            | ErrorCode::HttpRequestUriTooLong
            | ErrorCode::HttpRequestBodySize(_)
            | ErrorCode::HttpRequestHeaderSectionSize(_)
            | ErrorCode::HttpRequestHeaderSize(_)
            | ErrorCode::HttpResponseBodySize(_)
            | ErrorCode::HttpResponseHeaderSectionSize(_)
            | ErrorCode::HttpResponseHeaderSize(_) => {
                Error::Reject(format!("{} was refused: {word}; the log of the run says why", request.name()))
            }
            _ => Error::Retry(format!("{} failed: {word}; the log of the run says why", request.name())),
        }
    }
}
