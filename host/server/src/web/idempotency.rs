//! `Idempotency-Key` at the web endpoint: a repeated call with the same key gets the first answer and has no effects.
//!
//! The keys are those of the API (`api/idempotency`), with a namespace for each function. Answers are stored only for
//! functions that can change something, here or outside. Calls of other functions need no query.
//!
//! A key does not authenticate its sender. So credentials are part of the request that a key stands for: with other
//! credentials the key is refused.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use larder_model::ids::ExecutionId;
use larder_model::{EndUser, ExecutionStatus};
use larder_platform::bodies::AnswerBody;
use larder_platform::directory::FunctionView;
use larder_platform::execution::{self, Job};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::api::idempotency::{self, KEY, Looked, REPLAYED, Ticket};
use crate::app::App;
use crate::problem::{Kind, Problem};
use crate::web::{answer_body, head as heads, refuse_of, whole};

/// Headers that identify the caller.
const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "x-appwrite-jwt"];

/// An answer as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredAnswer {
    /// Names and values, these in Base64.
    headers: Vec<(String, String)>,
    body: String,
}

/// How a call under a key begins.
pub enum Begun {
    /// The call was answered before.
    Answered(Response<AnswerBody>),
    Go(Ticket),
}

/// Does the call have a key that must be honoured?
pub fn is_keyed(headers: &HeaderMap, view: &FunctionView, may_have_effects: bool) -> bool {
    let reaches_out = !view.grants.http.is_empty() || !view.grants.upstreams.is_empty();
    (may_have_effects || reaches_out) && headers.contains_key(KEY)
}

/// Claims the call's key.
pub async fn begin(
    app: &App,
    view: &FunctionView,
    head: &Parts,
    user: Option<&EndUser>,
    body: &Bytes,
) -> Result<Begun, Problem> {
    let key = idempotency::key(&head.headers, true)?.unwrap_or_default();
    let (partner, function) = (&view.function.partner, &view.function.id);
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut parts = vec![head.method.as_str().as_bytes(), target.as_bytes(), body];
    // A token that was renewed meanwhile is still theirs.
    parts.extend(user.map(|user| user.id.as_bytes()));
    for name in CREDENTIALS.into_iter().filter(|name| user.is_none() || *name == "cookie") {
        parts.push(name.as_bytes());
        parts.extend(head.headers.get_all(name).iter().map(HeaderValue::as_bytes));
    }
    let ticket = match idempotency::take(&app.idempotency, partner, &["web", function.as_str(), key], &parts).await? {
        Looked::Kept { subject, status, body } => return Ok(Begun::Answered(replayed(&subject, status, &body)?)),
        Looked::Go(ticket) => ticket,
    };
    if !ticket.again {
        return Ok(Begun::Go(ticket));
    }
    // The call was begun before. Its record has the result, if it ended.
    let record = app.store.execution(partner, function, &ticket.subject).await.map_err(Problem::from)?;
    let Some(record) = record else {
        if ticket.answered {
            let message =
                "the answer under this Idempotency-Key was too large to be stored, and there is no record of it";
            return Err(Problem::new(Kind::ExecutionNotFound, message));
        }
        return Ok(Begun::Go(ticket));
    };
    ticket.let_go(&app.idempotency, StatusCode::SERVICE_UNAVAILABLE).await;
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

/// Runs the call to its end even if the client disconnects, and stores the answer.
pub async fn run(
    app: &App,
    job: Job,
    permit: impl Send + 'static,
    ticket: Ticket,
    late: Kind,
) -> Result<Response<AnswerBody>, Problem> {
    let (sender, receiver) = oneshot::channel();
    let (own, id) = (app.clone(), ticket.subject.clone());
    app.life.spawn_work("call under a key", async move {
        let done = execution::execute(&own.executor, job).await;
        drop(permit);
        let ours = done.is_ours();
        let response = whole(done, &Default::default(), late);
        let response = if ours {
            // No effect is known to have been applied, so the call may be repeated.
            ticket.let_go(&own.idempotency, StatusCode::SERVICE_UNAVAILABLE).await;
            response
        } else {
            store(&own, &ticket, response).await
        };
        let _ = sender.send(response);
    });
    receiver.await.map_err(|_| Problem::outcome_unknown(&id))
}

/// Stores the answer under the ticket's key.
async fn store(app: &App, ticket: &Ticket, response: Response<AnswerBody>) -> Response<AnswerBody> {
    let (parts, body) = response.into_parts();
    let Ok(body) = body.collect().await.map(|whole| whole.to_bytes()) else { unreachable!("it is whole already") };
    let headers = parts.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), BASE64_STANDARD.encode(value.as_bytes()))).collect();
    let stored = StoredAnswer { headers, body: BASE64_STANDARD.encode(&body) };
    let stored = serde_json::to_string(&stored).expect("plain values serialise");
    ticket.keep(&app.idempotency, parts.status.as_u16(), &stored).await;
    let body = answer_body(&parts.headers, body);
    Response::from_parts(parts, body)
}

fn replayed(id: &ExecutionId, status: u16, stored: &str) -> Result<Response<AnswerBody>, Problem> {
    let broken = || Problem::internal(format!("the stored answer of the execution {id} cannot be read"));
    let stored: StoredAnswer = serde_json::from_str(stored).map_err(|_| broken())?;
    let mut headers = HeaderMap::new();
    for (name, value) in &stored.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| broken())?;
        let value = BASE64_STANDARD.decode(value).map_err(|_| broken())?;
        headers.append(name, HeaderValue::from_bytes(&value).map_err(|_| broken())?);
    }
    let body = answer_body(&headers, BASE64_STANDARD.decode(&stored.body).map_err(|_| broken())?.into());
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).map_err(|_| broken())?;
    *response.headers_mut() = headers;
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}
