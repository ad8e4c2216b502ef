//! What goes into an execution: the [`Call`] that the guest answers and the [`Run`] around it.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::combinators::UnsyncBoxBody;
use larder_model::grants::Grants;
use larder_model::{Event, Limits};
use tokio::sync::oneshot;

use crate::imports::{http as outgoing, savings, signing, state};
use crate::stream::StreamedBody;
use crate::turns::Lane;

/// The body of a request on its way to a guest. An error ends the guest's reading with an error of its own.
pub type RequestBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// What the guest is asked. Each goes to the export made for it; see [`crate::Program::run`].
pub enum Call {
    /// The real request, for `wasi:http/incoming-handler`. It needs an authority or a Host header.
    Http { request: http::Request<RequestBody>, answer: Answer, sanitize: Option<Sanitize> },
    /// For `larder:function/handler`; a program that exports only `wasi:http/incoming-handler` receives it as
    /// `POST /` in CloudEvents binary mode (CloudEvents HTTP binding 1.0.2, section 3.1).
    Event(Event),
}

/// Takes out of an answer's headers what a function has no business to say; gives a line for the run's log for each thing.
pub type Sanitize = Arc<dyn Fn(&mut HeaderMap) -> Vec<String> + Send + Sync>;

/// How the answer to an HTTP call leaves.
pub enum Answer {
    /// Whole, in [`larder_model::End::Answered`].
    Buffered,
    /// Whole as well if it is complete soon and small; otherwise its head and a body that goes on come through this
    /// channel while the guest still runs, and the outcome is [`larder_model::End::Streamed`].
    Streamed(oneshot::Sender<http::Response<StreamedBody>>),
}

/// Whom a run is for, as the guest may know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// A pseudonym.
    pub end_user: String,
    pub topic: String,
    /// JSON text.
    pub settings: String,
}

/// Everything around one call.
pub struct Run {
    /// The execution's id. Ids of transactions and events are made of it and an ordinal, so that a re-run makes the same.
    pub execution: String,
    pub limits: Limits,
    /// What the runs of one tenant share, so that no tenant keeps the others from computing.
    pub lane: Arc<Lane>,
    pub grants: Arc<Grants>,
    /// The guest's whole environment.
    pub variables: Arc<Vec<(String, String)>>,
    pub enrolment: Option<Enrolment>,
    pub state: Arc<dyn state::Backend>,
    pub savings: Arc<dyn savings::Backend>,
    /// `None`: every outgoing request is refused.
    pub http: Option<Arc<dyn outgoing::Backend>>,
    /// `None`: nothing is signed.
    pub signing: Option<Arc<dyn signing::Backend>>,
}
