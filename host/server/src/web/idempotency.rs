//! `Idempotency-Key` at the web door: a call sent again under its key gets the first answer and does nothing again.
//!
//! As at the API (`api/idempotency`), whose keys these are, with a place of their own for each function. Only calls of functions
//! that can change something, here or outside, are kept: others do nothing that could be done twice, and stay without a query.
//!
//! A key is no proof of who asks, and end users share addresses. So what says who they are is part of the request: with other
//! credentials the key is refused instead of answered.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use larder_model::ExecutionStatus;
use larder_model::ids::ExecutionId;
use larder_platform::bodies::AnswerBody;
use larder_platform::directory::FunctionView;
use larder_platform::execution::{self, Job};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::api::idempotency::{self, KEY, Looked, REPLAYED, Ticket};
use crate::app::App;
use crate::problem::{Kind, Problem};
use crate::web::{answer_body, head as heads, refuse_of, whole};

/// Headers that say who asks.
const CREDENTIALS: [&str; 2] = ["authorization", "cookie"];

/// An answer as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Names and values, these in Base64.
    headers: Vec<(String, String)>,
    body: String,
}

/// How a call under a key begins.
pub enum Begun {
    /// It is answered already.
    Answered(Response<AnswerBody>),
    Go(Ticket),
}

/// Does the call have a key that counts?
pub fn is_keyed(headers: &HeaderMap, view: &FunctionView, may_have_effects: bool) -> bool {
    let reaches_out = !view.grants.http.is_empty() || !view.grants.upstreams.is_empty();
    (may_have_effects || reaches_out) && headers.contains_key(KEY)
}

/// Takes the call's key.
pub async fn begin(app: &App, view: &FunctionView, head: &Parts, body: &Bytes) -> Result<Begun, Problem> {
    let key = idempotency::key(&head.headers, true)?.unwrap_or_default();
    let (partner, function) = (&view.function.partner, &view.function.id);
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut parts = vec![head.method.as_str().as_bytes(), target.as_bytes(), body];
    for name in CREDENTIALS {
        parts.push(name.as_bytes());
        parts.extend(head.headers.get_all(name).iter().map(HeaderValue::as_bytes));
    }
    let ticket = match idempotency::take(app, partner, &["web", function.as_str(), key], &parts).await? {
        Looked::Kept { subject, status, body } => return Ok(Begun::Answered(replayed(&subject, status, &body)?)),
        Looked::Go(ticket) => ticket,
    };
    if !ticket.again {
        return Ok(Begun::Go(ticket));
    }
    // It was begun before: its record tells what became of it, if it came to an end.
    let record = app.store.execution(partner, function, &ticket.subject).await.map_err(Problem::from)?;
    let Some(record) = record else {
        if ticket.answered {
            let message =
                "the answer under this Idempotency-Key was too large to be kept, and there is no record of it";
            return Err(Problem::new(Kind::ExecutionNotFound, message));
        }
        return Ok(Begun::Go(ticket));
    };
    ticket.let_go(app, StatusCode::SERVICE_UNAVAILABLE).await;
    let mut response = match record.status {
        ExecutionStatus::Completed => {
            let mut response = Response::new(answer_body(&HeaderMap::new(), Bytes::new()));
            *response.status_mut() = StatusCode::from_u16(record.response_status).unwrap_or(StatusCode::OK);
            heads::mark(response.headers_mut(), &record.id);
            response
        }
        _ => refuse_of(Problem::new(Kind::FunctionFailed, "the function failed"), &record.id),
    };
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("record"));
    Ok(Begun::Answered(response))
}

/// Runs the call to its end, whatever its client does, and keeps what is answered.
pub async fn run(
    app: &App,
    job: Job,
    permit: impl Send + 'static,
    ticket: Ticket,
) -> Result<Response<AnswerBody>, Problem> {
    let (tell, told) = oneshot::channel();
    let (own, id) = (app.clone(), ticket.subject.clone());
    app.life.spawn_work("call under a key", async move {
        let done = execution::execute(&own.executor, job).await;
        drop(permit);
        let ours = done.is_ours();
        let response = whole(done, &Default::default());
        let response = if ours {
            // Nothing is known to have happened, so that it may be made again.
            ticket.let_go(&own, StatusCode::SERVICE_UNAVAILABLE).await;
            response
        } else {
            keep(&own, &ticket, response).await
        };
        let _ = tell.send(response);
    });
    told.await.map_err(|_| Problem::outcome_unknown(&id))
}

async fn keep(app: &App, ticket: &Ticket, response: Response<AnswerBody>) -> Response<AnswerBody> {
    let (parts, body) = response.into_parts();
    let Ok(body) = body.collect().await.map(|whole| whole.to_bytes()) else { unreachable!("it is whole already") };
    let headers = parts.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), BASE64_STANDARD.encode(value.as_bytes()))).collect();
    let kept = Kept { headers, body: BASE64_STANDARD.encode(&body) };
    let kept = serde_json::to_string(&kept).expect("plain values serialise");
    ticket.keep(app, parts.status.as_u16(), &kept).await;
    let body = answer_body(&parts.headers, body);
    Response::from_parts(parts, body)
}

fn replayed(id: &ExecutionId, status: u16, kept: &str) -> Result<Response<AnswerBody>, Problem> {
    let broken = || Problem::internal(format!("the kept answer of the execution {id} cannot be read"));
    let kept: Kept = serde_json::from_str(kept).map_err(|_| broken())?;
    let mut headers = HeaderMap::new();
    for (name, value) in &kept.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| broken())?;
        let value = BASE64_STANDARD.decode(value).map_err(|_| broken())?;
        headers.append(name, HeaderValue::from_bytes(&value).map_err(|_| broken())?);
    }
    let body = answer_body(&headers, BASE64_STANDARD.decode(&kept.body).map_err(|_| broken())?.into());
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).map_err(|_| broken())?;
    *response.headers_mut() = headers;
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}
