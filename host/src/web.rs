//! The web door: end users' requests to a partner's HTTP functions.
//!
//! The longest route wins and the function receives the real request. One that may have effects answers from a buffer
//! after they have committed; one that may not may stream. A guest's fault is never a 500.

mod idempotency;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use larder_runtime::{End, Failure, LimitKind};
use tokio::sync::oneshot;

use crate::api::problem::Problem;
use crate::app::App;
use crate::bodies::{self, Account, ClientBody, Fault};
use crate::ids::{ExecutionId, PartnerId};
use crate::model::{RequestRecord, Trigger};
use crate::quotas::Exceeded;
use crate::usage;
use crate::workers::execute::{self, Body, Done, Input, Job};
use crate::workers::request;

pub type AnswerBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Request bodies up to this size are read before the call even where they could stream: it is cheaper.
const WHOLE_BODY_MAX: u64 = 64 * 1024;
/// Request headers that are kept in the record.
const RECORDED_HEADERS: [HeaderName; 4] =
    [header::CONTENT_TYPE, header::USER_AGENT, header::CONTENT_LENGTH, header::HOST];
/// About one connection, not about the message (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [&str; 7] =
    ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];
/// What would change the browser's view of more than this answer: the platform's to set, not a function's.
const NOT_A_FUNCTIONS: [&str; 5] =
    ["clear-site-data", "service-worker-allowed", "alt-svc", "strict-transport-security", "public-key-pins"];

/// Answers one request at a partner's web door; `None` for a host that names no partner.
pub async fn serve(
    app: &App,
    partner: Option<PartnerId>,
    peer: SocketAddr,
    request: Request<ClientBody>,
) -> Response<AnswerBody> {
    match answer(app, partner, peer, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn answer(
    app: &App,
    partner: Option<PartnerId>,
    peer: SocketAddr,
    request: Request<ClientBody>,
) -> Result<Response<AnswerBody>, Refusal> {
    let partner = partner.ok_or_else(|| {
        Refusal::new(
            StatusCode::NOT_FOUND,
            "project_not_found",
            "this address names no partner: use P.ROOT, or the header X-Larder-Partner",
        )
    })?;
    let path = request.uri().path();
    let mut tenant = app.directory.tenant(&partner);
    if tenant.as_ref().is_none_or(|tenant| tenant.route(path).is_none()) {
        // It may have been deployed a moment ago.
        app.directory.look_again().await;
        tenant = app.directory.tenant(&partner);
    }
    let tenant =
        tenant.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "project_not_found", "there is no such partner"))?;
    let view = tenant
        .route(path)
        .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "general_route_not_found", "no function serves this path"))?
        .clone();
    let may_have_effects = execute::may_have_effects(app, &view).await.map_err(|_| Refusal::unavailable())?;

    let (mut head, body) = request.into_parts();
    let keyed = idempotency::is_keyed(&head.headers, &view, may_have_effects);
    let streams = !may_have_effects && !keyed;
    let record = record(&head, peer);
    let broken = Arc::default();
    usage::check(app, &tenant)?;
    body.account().belongs_to(&tenant.bodies, false);
    let body = read(app, body, streams, &broken).await?;
    // Only now: a slow client must not hold the partner's room.
    let permit = usage::admit(app, &tenant, view.limits.memory_bytes)?;
    let ticket = match &body {
        Body::Whole(body) if keyed => match idempotency::begin(app, &view, &head, body).await? {
            idempotency::Begun::Answered(response) => return Ok(response),
            idempotency::Begun::Go(ticket) => Some(ticket),
        },
        Body::Whole(_) | Body::Stream(_) => None,
    };
    let id = ticket.as_ref().map_or_else(|| ExecutionId::generate(&app.clock), |ticket| ticket.subject.clone());
    prepare(&mut head.headers, &id, peer);
    let mut job = Job::new(app, id.clone(), view, Trigger::Http, record, Input::Http { head, body });
    job.wall_max = Some(app.settings.server.call_timeout);
    if let Some(ticket) = ticket {
        job.keyed = true;
        return idempotency::run(app, job, permit, ticket).await;
    }
    let head = streams.then(|| {
        let (stream, head) = oneshot::channel();
        job.stream = Some(stream);
        head
    });
    let mut call = Call::begin(app, job, permit);
    let Some(mut head) = head else { return Ok(whole(call.end().await, &broken)) };
    let streamed = tokio::select! {
        biased;
        done = call.end() => match (&done.end, head.try_recv()) {
            // The guest ended in the same moment in which it handed over its head.
            (End::Streamed { .. }, Ok(response)) => response,
            _ => return Ok(whole(done, &broken)),
        },
        Ok(response) = &mut head => response,
    };
    drop(call); // if it has not ended, it goes on
    let (mut parts, body) = streamed.into_parts();
    polish(&mut parts.headers, &id);
    Ok(Response::from_parts(parts, body.boxed_unsync()))
}

/// A call under way. Nothing stops it before its end: if nobody waits for it any more, because its head has left or its
/// client has gone, it goes on by itself. So what it used and did is recorded whatever the client does.
struct Call {
    app: App,
    run: Option<Pin<Box<dyn Future<Output = Done> + Send>>>,
}

impl Call {
    fn begin(app: &App, job: Job, permit: impl Send + 'static) -> Call {
        let own = app.clone();
        let run = async move {
            let done = execute::execute(&own, job).await;
            drop(permit);
            done
        };
        Call { app: app.clone(), run: Some(Box::pin(run)) }
    }

    async fn end(&mut self) -> Done {
        let Some(run) = &mut self.run else { unreachable!("a call ends once") };
        let done = run.await;
        self.run = None;
        done
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(run) = self.run.take() {
            self.app.life.spawn_work("call", async move { drop(run.await) });
        }
    }
}

/// What was wrong with a body that streamed into the function.
type Broken = Arc<OnceLock<Fault>>;

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        match fault {
            Fault::TooLarge { max } => Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "general_argument_invalid",
                format!("the body has more than {max} bytes"),
            ),
            Fault::TooSlow => {
                Refusal::new(StatusCode::REQUEST_TIMEOUT, "general_bad_request", "the body came too slowly")
            }
            Fault::BrokeOff => Refusal::new(StatusCode::BAD_REQUEST, "general_bad_request", "the body broke off"),
            Fault::Exceeded(why) => why.into(),
            Fault::Full => Refusal::unavailable(),
        }
    }
}

impl From<Exceeded> for Refusal {
    fn from(why: Exceeded) -> Refusal {
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, "general_rate_limit_exceeded", why.to_string())
            .retry_after(why.retry_after_s)
    }
}

/// A body with the account that it is charged to, for as long as anybody has a part of it.
struct Charged(Bytes, #[expect(dead_code, reason = "dropping it gives the bytes back")] Account);

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The request's body, whole or as a stream, with its bound. What goes wrong with a stream later is told to `broken`.
async fn read(app: &App, body: ClientBody, streams: bool, broken: &Broken) -> Result<Body, Refusal> {
    let max = app.settings.server.body_bytes_max;
    if body.is_end_stream() {
        return Ok(Body::Whole(Bytes::new()));
    }
    bodies::check_length(&body, max)?;
    if streams && body.size_hint().upper().is_none_or(|upper| upper > WHOLE_BODY_MAX) {
        body.account().streams();
        let broken = broken.clone();
        let body = Limited::new(body, max).map_err(move |err| {
            let fault = if err.is::<LengthLimitError>() { Fault::TooLarge { max } } else { Fault::behind(&*err) };
            let _ = broken.set(fault);
            err
        });
        return Ok(Body::Stream(body.boxed()));
    }
    let account = body.account().clone();
    Ok(Body::Whole(Bytes::from_owner(Charged(bodies::whole(body, max).await?, account))))
}

fn record(head: &http::request::Parts, peer: SocketAddr) -> RequestRecord {
    let kept = RECORDED_HEADERS.iter().filter_map(|name| {
        let value = head.headers.get(name)?.to_str().ok()?;
        Some((name.as_str().to_owned(), value.chars().take(1_024).collect()))
    });
    let client = (request::CLIENT_IP.as_str().to_owned(), peer.ip().to_string());
    RequestRecord {
        method: head.method.to_string(),
        path: head.uri.path_and_query().map_or("/", |path| path.as_str()).chars().take(2_048).collect(),
        headers: kept.chain([client]).collect(),
    }
}

/// What the guest sees: no header about the connection, none that pretends to come from the platform.
fn prepare(headers: &mut HeaderMap, id: &ExecutionId, peer: SocketAddr) {
    strip(headers);
    request::platform_headers(headers, Trigger::Http, id, Some(peer.ip()));
}

/// Removes what is about the connection or pretends to come from the platform, in either direction.
fn strip(headers: &mut HeaderMap) {
    let forged: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-appwrite-") || name.as_str().starts_with("x-larder-"))
        .cloned()
        .collect();
    for name in forged.iter().map(HeaderName::as_str).chain(HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// What the client sees of the guest's headers.
fn polish(headers: &mut HeaderMap, id: &ExecutionId) {
    strip(headers);
    for name in NOT_A_FUNCTIONS {
        headers.remove(name);
    }
    if headers.contains_key(header::SET_COOKIE) {
        // A cookie for a parent domain would reach other partners.
        let kept: Vec<HeaderValue> =
            headers.get_all(header::SET_COOKIE).iter().filter(|cookie| !has_domain(cookie)).cloned().collect();
        headers.remove(header::SET_COOKIE);
        for cookie in kept {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert("x-appwrite-execution-id", id);
    }
}

/// Has the cookie a Domain attribute (RFC 6265, section 5.2)?
fn has_domain(cookie: &HeaderValue) -> bool {
    cookie.as_bytes().split(|byte| *byte == b';').skip(1).any(|attribute| {
        let name = attribute.split(|byte| *byte == b'=').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"domain")
    })
}

fn whole(done: Done, broken: &Broken) -> Response<AnswerBody> {
    let id = done.execution.id;
    if done.unknown {
        tracing::warn!(execution.id = %id, "it is not known whether a call was applied");
        return Refusal::from(Problem::outcome_unknown(&id)).of(id).into_response();
    }
    let refusal = match done.end {
        End::Answered(response) => {
            let (mut parts, body) = response.into_parts();
            polish(&mut parts.headers, &id);
            return Response::from_parts(parts, Full::new(body).map_err(|never| match never {}).boxed_unsync());
        }
        // The function failed over a body that the client sent wrongly.
        End::Failed(_) if let Some(fault) = broken.get() => (*fault).into(),
        End::Failed(Failure::Host(_)) => Refusal::unavailable(),
        End::Failed(failure @ Failure::BadRequest(_)) => {
            Refusal::new(StatusCode::BAD_REQUEST, "general_bad_request", failure.to_string())
        }
        End::Failed(Failure::Limit(limit)) if matches!(limit.limit, LimitKind::WallMs | LimitKind::CpuMs) => {
            Refusal::new(StatusCode::GATEWAY_TIMEOUT, "function_timeout", "the function did not answer in time")
        }
        End::Failed(_) => Refusal::new(StatusCode::BAD_GATEWAY, "function_failed", "the function failed"),
        // Answers to events: an HTTP call never ends so.
        End::Returned(_) | End::Streamed { .. } | End::Retry(_) | End::Reject(_) => {
            Refusal::new(StatusCode::BAD_GATEWAY, "function_failed", "the function gave no HTTP answer")
        }
    };
    refusal.of(id).into_response()
}

/// An answer that does not come from a function. It tells the end user nothing about the function's inside.
struct Refusal {
    status: StatusCode,
    kind: &'static str,
    message: String,
    retry_after: Option<u32>,
    execution: Option<ExecutionId>,
}

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { status, kind, message: message.into(), retry_after: None, execution: None }
    }

    fn unavailable() -> Refusal {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "general_server_error", "try again in a moment").retry_after(1)
    }

    fn retry_after(mut self, seconds: u32) -> Refusal {
        self.retry_after = Some(seconds);
        self
    }

    fn of(mut self, execution: ExecutionId) -> Refusal {
        self.execution = Some(execution);
        self
    }

    fn into_response(self) -> Response<AnswerBody> {
        let mut body = serde_json::json!({
            "message": self.message, "code": self.status.as_u16(), "type": self.kind, "version": crate::VERSION,
        });
        if let Some(id) = &self.execution {
            body["executionId"] = id.as_str().into();
        }
        let mut response = Response::new(Full::from(body.to_string()).map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(id) = self.execution {
            polish(headers, &id);
        }
        response
    }
}

/// Something of ours broke off.
pub fn unavailable() -> Response<AnswerBody> {
    Refusal::unavailable().into_response()
}

/// A host that is not one of ours (RFC 9110, section 15.5.20).
pub fn misdirected(method: &Method) -> Response<AnswerBody> {
    tracing::debug!(%method, "a request for a host that is not served here");
    Refusal::new(StatusCode::MISDIRECTED_REQUEST, "general_route_not_found", "this host is not served here")
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_for_a_parent_domain_is_known_however_it_is_written() {
        for (cookie, expected) in [
            ("a=b; Domain=larder.test", true),
            ("a=b;domain =larder.test", true),
            ("a=b; Path=/;\tDOMAIN", true),
            ("a=domain=x; Path=/", false),
            ("domain=x", false),
        ] {
            assert_eq!(has_domain(&HeaderValue::from_static(cookie)), expected, "{cookie}");
        }
        assert!(has_domain(&HeaderValue::from_bytes(b"a=\xff; domain=x").unwrap()));
    }
}
