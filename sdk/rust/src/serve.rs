//! Answering HTTP requests.
//!
//! A handler is a function of a [`Request`] and a [`Run`](crate::Run), and one line makes a component of it:
//!
//! ```
//! use larder_sdk::prelude::*;
//! use larder_sdk::serve::{Request, Response};
//!
//! fn greet(request: &Request, _run: &mut Run) -> Result<Response, Error> {
//!     match (request.method(), request.path()) {
//!         ("GET", "/hello") => Ok(Response::text("Hello!\n")),
//!         (method, path) => Ok(Response::text(format!("no {method} {path} here\n")).status(404)),
//!     }
//! }
//!
//! larder_sdk::http!(greet);
//!
//! # fn main() {
//! // And its test, without Larder:
//! use larder_sdk::testing::TestRun;
//! let ended = TestRun::new().serve(greet, Request::new("GET", "/hello"));
//! assert_eq!(ended.result.unwrap().bytes(), b"Hello!\n");
//! # }
//! ```
//!
//! The component exports the standard `wasi:http/incoming-handler` and runs without an executor of its own: it answers one
//! request, and waiting blocks that request alone.
//!
//! A handler that returns an error answers 503 for [`Error::Retry`] and 500 for [`Error::Reject`], without a body; the reason
//! goes to the log of the run. A request that carries an event (header `ce-id`) is answered 422 in place of 500, with the
//! reason, so that Larder does not run it again. If the body could not be read, the handler's error is no answer: Larder tells
//! the client what was wrong with it (408, 413). **Nothing of a run that ends like this is applied.**

use std::borrow::Cow;
use std::cell::OnceCell;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;
#[cfg(target_arch = "wasm32")]
use wasm::Source;

/// A request to be answered. Headers and body are read when they are asked for.
#[derive(Debug)]
pub struct Request {
    method: Cow<'static, str>,
    /// Path and query.
    target: String,
    body: OnceCell<Vec<u8>>,
    source: Source,
}

impl Request {
    pub fn method(&self) -> &str {
        &self.method
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// What follows the `?`, as it was sent.
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<String> {
        self.source.header(name)
    }

    /// All headers, by name in lower case.
    pub fn headers(&self) -> Vec<(String, String)> {
        self.source.headers()
    }

    /// The body, whole. It may be as large as Larder and the function's memory allow.
    pub fn body(&self) -> Result<&[u8], Error> {
        if let Some(body) = self.body.get() {
            return Ok(body);
        }
        let body = self.source.body()?;
        Ok(self.body.get_or_init(|| body))
    }

    /// The body, read into a type of yours.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Ok(serde_json::from_slice(self.body()?)?)
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    status: u16,
    headers: Vec<(Cow<'static, str>, Vec<u8>)>,
    body: Cow<'static, [u8]>,
}

impl Response {
    /// An answer of this status without a body.
    pub fn new(status: u16) -> Response {
        Response { status, headers: Vec::new(), body: Cow::Borrowed(&[]) }
    }

    /// Plain text, with status 200.
    pub fn text(text: impl Into<Cow<'static, str>>) -> Response {
        let body = match text.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Response { body, ..Response::new(200) }.header("content-type", "text/plain; charset=utf-8")
    }

    /// A value as JSON, with status 200.
    pub fn json(value: &impl Serialize) -> Result<Response, Error> {
        let body = serde_json::to_vec(value)?;
        Ok(Response::new(200).header("content-type", "application/json").body(body))
    }

    pub fn status(mut self, status: u16) -> Response {
        self.status = status;
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<Cow<'static, str>>, value: impl AsRef<[u8]>) -> Response {
        self.headers.push((name.into(), value.as_ref().to_owned()));
        self
    }

    pub fn body(mut self, body: impl Into<Cow<'static, [u8]>>) -> Response {
        self.body = body.into();
        self
    }

    /// The status that was set.
    pub fn code(&self) -> u16 {
        self.status
    }

    /// The body that was set.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// What a handler's error is answered with. `is_event`: the request carries an event.
    #[cfg(any(target_arch = "wasm32", test))]
    pub(crate) fn of_error(error: &Error, is_event: bool) -> Response {
        match error {
            Error::Retry(_) => Response::new(503),
            Error::Reject(why) if is_event => Response::text(why.clone()).status(422),
            Error::Reject(_) => Response::new(500),
        }
    }
}

/// Makes a component of a handler of HTTP requests: once in a crate of type `cdylib`. The same crate may have a
/// [`function!`](crate::function) for events as well.
///
/// The handler has the form `fn(&serve::Request, &mut Run) -> Result<serve::Response, Error>`. On targets other than WebAssembly
/// its type is checked and nothing is exported.
#[macro_export]
macro_rules! http {
    ($handler:path) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Server;
            impl $crate::serve::Guest for Server {
                fn handle(request: $crate::serve::IncomingRequest, out: $crate::serve::ResponseOutparam) {
                    $crate::serve::handle(request, out, $handler)
                }
            }
    $crate::serve::wasip2::http::proxy::export!(Server with_types_in $crate::serve::wasip2);
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = $crate::serve::check($handler);
    };
}

/// What a handler looks like, for the targets that only check it.
#[doc(hidden)]
pub const fn check(_: fn(&Request, &mut crate::Run) -> Result<Response, Error>) {}

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use wasm::{Guest, IncomingRequest, ResponseOutparam, handle, wasip2};

/// Where the parts of a request come from in a test.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug, Default)]
struct Source {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

#[cfg(not(target_arch = "wasm32"))]
impl Source {
    fn header(&self, name: &str) -> Option<String> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    }

    fn headers(&self) -> Vec<(String, String)> {
        self.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect()
    }

    fn body(&self) -> Result<Vec<u8>, Error> {
        Ok(self.body.clone())
    }
}

/// Requests for tests.
#[cfg(not(target_arch = "wasm32"))]
impl Request {
    /// `target` is a path, and a query if there is one.
    pub fn new(method: &str, target: &str) -> Request {
        let method = Cow::Owned(method.to_owned());
        Request { method, target: target.to_owned(), body: OnceCell::new(), source: Source::default() }
    }

    pub fn with_header(mut self, name: &str, value: &str) -> Request {
        self.source.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Request {
        self.source.body = body.into();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_reach_the_client_as_a_status_and_the_sender_of_an_event_with_their_reason() {
        let (retry, reject) = (Error::retry("later"), Error::reject("no such card"));
        assert_eq!(Response::of_error(&retry, false), Response::new(503));
        assert_eq!(Response::of_error(&retry, true), Response::new(503));
        assert_eq!(Response::of_error(&reject, false), Response::new(500));
        assert_eq!(Response::of_error(&reject, true), Response::text("no such card").status(422));
    }

    #[test]
    fn a_target_is_a_path_and_perhaps_a_query() {
        let parts = |target: &str| {
            let request = Request::new("GET", target);
            (request.path().to_owned(), request.query().map(str::to_owned))
        };
        assert_eq!(parts("/a"), ("/a".to_owned(), None));
        assert_eq!(parts("/a?b=1?c"), ("/a".to_owned(), Some("b=1?c".to_owned())));
        assert_eq!(parts("/?"), ("/".to_owned(), Some(String::new())));
    }
}

#[cfg(target_arch = "wasm32")]
mod wasm {
    use std::borrow::Cow;
    use std::cell::{Cell, OnceCell};

    pub use wasip2;
    pub use wasip2::exports::http::incoming_handler::Guest;
    use wasip2::http::types::{ErrorCode, Fields, Method, OutgoingBody, OutgoingResponse};
    pub use wasip2::http::types::{IncomingRequest, ResponseOutparam};
    use wasip2::io::streams::StreamError;

    use super::{Request, Response};
    use crate::{Error, Run};

    const READ_BYTES: u64 = 64 * 1_024;
    const UNREAD: &str = "the body of the request cannot be read";

    #[derive(Debug)]
    pub(super) struct Source {
        request: IncomingRequest,
        /// The body could not be read.
        unread: Cell<bool>,
    }

    impl Source {
        pub fn header(&self, name: &str) -> Option<String> {
            self.request.headers().get(name).into_iter().next().map(text)
        }

        pub fn headers(&self) -> Vec<(String, String)> {
            self.request.headers().entries().into_iter().map(|(name, value)| (name, text(value))).collect()
        }

        pub fn body(&self) -> Result<Vec<u8>, Error> {
            let unread = || {
                self.unread.set(true);
                Error::reject(UNREAD)
            };
            let incoming = self.request.consume().map_err(|()| unread())?;
            let stream = incoming.stream().map_err(|()| unread())?;
            let mut body = Vec::new();
            loop {
                match stream.blocking_read(READ_BYTES) {
                    Ok(bytes) if body.is_empty() => body = bytes,
                    Ok(bytes) => body.extend(bytes),
                    Err(StreamError::Closed) => return Ok(body),
                    Err(StreamError::LastOperationFailed(_)) => return Err(unread()),
                }
            }
        }
    }

    fn text(value: Vec<u8>) -> String {
        String::from_utf8(value).unwrap_or_else(|err| String::from_utf8_lossy(err.as_bytes()).into_owned())
    }

    /// Answers one request.
    pub fn handle(
        incoming: IncomingRequest,
        out: ResponseOutparam,
        handler: impl FnOnce(&Request, &mut Run) -> Result<Response, Error>,
    ) {
        let source = Source { request: incoming, unread: Cell::new(false) };
        let request = Request {
            method: method(source.request.method()),
            target: source.request.path_with_query().unwrap_or_default(),
            body: OnceCell::new(),
            source,
        };
        match handler(&request, &mut Run::current()) {
            Ok(response) => send(response, out),
            // Larder knows what is wrong with the body, and tells the client.
            Err(_) if request.source.unread.get() => fail(out, UNREAD.to_owned()),
            Err(error) => {
                eprintln!("{error}");
                send(Response::of_error(&error, request.header("ce-id").is_some()), out);
            }
        }
    }

    fn method(method: Method) -> Cow<'static, str> {
        Cow::Borrowed(match method {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Connect => "CONNECT",
            Method::Options => "OPTIONS",
            Method::Trace => "TRACE",
            Method::Patch => "PATCH",
            Method::Other(other) => return Cow::Owned(other),
        })
    }

    fn send(response: Response, out: ResponseOutparam) {
        let Response { status, headers, body } = response;
        let headers: Vec<_> = headers.into_iter().map(|(name, value)| (name.into_owned(), value)).collect();
        let outgoing = match Fields::from_list(&headers) {
            Ok(fields) => OutgoingResponse::new(fields),
            Err(err) => return fail(out, format!("a header of the answer is not allowed: {err:?}")),
        };
        if status != 200 && outgoing.set_status_code(status).is_err() {
            return fail(out, format!("{status} is not a status"));
        }
        let Ok(sink) = outgoing.body() else { return fail(out, "the answer has no body".to_owned()) };
        ResponseOutparam::set(out, Ok(outgoing));
        // Where writing fails nobody reads the answer any more.
        if body.is_empty() || write(&sink, &body).is_ok() {
            let _ = OutgoingBody::finish(sink, None);
        }
    }

    fn write(sink: &OutgoingBody, mut body: &[u8]) -> Result<(), StreamError> {
        let stream = sink.write().map_err(|()| StreamError::Closed)?;
        while !body.is_empty() {
            let room = stream.check_write()?;
            if room == 0 {
                stream.subscribe().block();
                continue;
            }
            let (now, later) = body.split_at(body.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            stream.write(now)?;
            body = later;
        }
        Ok(())
    }

    fn fail(out: ResponseOutparam, why: String) {
        ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some(why))));
    }
}
