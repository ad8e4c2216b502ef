//! What goes into an execution: the [`Call`] that the guest answers and the [`Run`] around it.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::combinators::UnsyncBoxBody;
use larder_model::grants::Grants;
use larder_model::{Event, Limits};
use tokio::sync::oneshot;

use crate::backends::Backends;
use crate::fairness::Lane;
use crate::stream::StreamedBody;

/// The body of a request on its way to a guest. An error ends the guest's reading with an error of its own.
pub type RequestBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// What the guest is asked. Each goes to the export made for it; see [`crate::Program::run`].
///
/// ```
/// use http_body_util::{BodyExt, Empty};
/// use larder_runtime::{Answer, Call};
///
/// let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
/// let request = http::Request::get("http://acme.example/hello").body(body).unwrap();
/// let call = Call::Http { request, answer: Answer::Buffered, sanitize: None };
/// # drop(call);
/// ```
pub enum Call {
    /// The real request, for `wasi:http/incoming-handler`, or for `wasi:cli/run` as CGI. It needs an authority or a Host header.
    /// A CGI program learns the length of the body only if the body knows it, or a Content-Length says it.
    Http { request: http::Request<RequestBody>, answer: Answer, sanitize: Option<Sanitize> },
    /// For `larder:function/handler`; a program without that export receives it as
    /// `POST /` in CloudEvents binary mode (CloudEvents HTTP binding 1.0.2, section 3.1), with these headers beside those of the
    /// event.
    Event { event: Event, headers: HeaderMap },
}

/// Removes from an answer's headers what a function must not set; returns a line for the run's log for each removal.
pub type Sanitize = Arc<dyn Fn(&mut HeaderMap) -> Vec<String> + Send + Sync>;

/// How the answer to an HTTP call leaves.
///
/// ```no_run
/// use http_body_util::{BodyExt, Empty};
/// use larder_runtime::{Answer, Call, End, Program, Run};
///
/// async fn relay(program: &Program, run: Run) -> End {
///     let (head, answer) = tokio::sync::oneshot::channel();
///     let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
///     let request = http::Request::get("http://acme.example/feed").body(body).unwrap();
///     let call = Call::Http { request, answer: Answer::Streamed(head), sanitize: None };
///     let reader = async {
///         // `None`: it was short and comes whole, with the outcome.
///         let streamed = answer.await.ok()?;
///         // An error if the guest fails in the middle of it.
///         streamed.into_body().collect().await.ok()
///     };
///     let (outcome, _body) = tokio::join!(program.run(call, run), reader);
///     outcome.end
/// }
/// ```
pub enum Answer {
    /// Whole, in [`larder_model::End::Answered`].
    Buffered,
    /// Whole as well if it is complete soon and small; otherwise its head and a body that goes on come through this
    /// channel while the guest still runs, and the outcome is [`larder_model::End::Streamed`].
    Streamed(oneshot::Sender<http::Response<StreamedBody>>),
}

/// An extension of a request whose client reads trailers. Those of a streamed answer are sent.
#[derive(Clone, Copy, Debug)]
pub struct TakesTrailers;

/// Everything around one call.
pub struct Run {
    /// The execution's id. Ids of transactions and events are made of it and an ordinal, so that a re-run makes the same.
    pub execution: String,
    pub limits: Limits,
    /// Shared by the runs of one tenant, so that no tenant keeps the others from computing.
    pub lane: Arc<Lane>,
    pub grants: Arc<Grants>,
    /// Answers to everything that the guest asks.
    pub backends: Backends,
}
