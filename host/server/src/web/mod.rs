//! The web endpoint: end users' requests to a partner's HTTP functions.
//!
//! At a partner's host, or a domain of its own, the longest route wins; at a domain of a function ([`by_domain`]) that function receives everything. The
//! function receives the original request. The answer of a function that may have effects is
//! buffered until they are committed. A function without effects may stream. A fault of the guest is never a 500.

mod by_domain;
mod compression;
mod head;
mod idempotency;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::response::IntoResponse;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version, header};
use http_body::Body as _;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use larder_model::doors::Host;
use larder_model::identities::may_execute;
use larder_model::ids::{ExecutionId, PartnerId};
use larder_model::{End, EndUser, Failure, LimitKind, RequestRecord, Trigger};
use larder_platform::admission;
use larder_platform::bodies::{self, Account, AnswerBody, Fault};
use larder_platform::directory::{FunctionView, Tenant};
use larder_platform::execution::{self, Body, Finished, Input, Job, TakesTrailers, told};
use tokio::sync::oneshot;

use crate::app::App;
use crate::auth;
use crate::client_body::ClientBody;
use crate::problem::{Kind, Problem};
use crate::web::compression::Wish;

/// How long the function of a streamed answer may take.
#[derive(Clone, Copy)]
pub struct Streams(pub Duration);

/// Request bodies up to this size are read before the call even where they could stream: it is cheaper.
const WHOLE_BODY_MAX: u64 = 64 * 1024;
/// Request headers that are stored in the record.
const RECORDED_HEADERS: [HeaderName; 4] =
    [header::CONTENT_TYPE, header::USER_AGENT, header::CONTENT_LENGTH, header::HOST];

/// Where a request arrives.
pub enum At {
    /// The web endpoint of a partner; `None`: the host names no partner.
    Partner(Option<PartnerId>),
    /// A domain of a function, or what could be one.
    Domain(String),
}

/// Answers one request.
pub async fn serve(app: &App, at: At, peer: SocketAddr, request: Request<ClientBody>) -> Response<AnswerBody> {
    match answer(app, at, peer, request).await {
        Ok(response) => response,
        Err(problem) => refuse(problem),
    }
}

/// A function that serves a request, with its partner and the end user who calls.
type Found = (Arc<Tenant>, Arc<FunctionView>, Option<EndUser>);

/// The function whose route is the longest prefix of the path, if it lets the caller in.
async fn by_route(app: &App, partner: Option<PartnerId>, path: &str, headers: &HeaderMap) -> Result<Found, Problem> {
    let partner = partner.ok_or_else(|| {
        let message = "this address names no partner: use P.ROOT, or the header X-Larder-Partner";
        Problem::new(Kind::PartnerNotFound, message)
    })?;
    let mut tenant = app.directory.tenant(&partner);
    if tenant.as_ref().is_none_or(|tenant| tenant.route(path).is_none()) {
        // It may have been deployed a moment ago.
        app.directory.refresh_soon().await;
        tenant = app.directory.tenant(&partner);
    }
    let tenant = tenant.ok_or_else(|| Problem::new(Kind::PartnerNotFound, "there is no such partner"))?;
    app.rates.take_partner(&tenant.rate, partner.as_str()).await?;
    let view =
        tenant.route(path).ok_or_else(|| Problem::new(Kind::RouteNotFound, "no function serves this path"))?.clone();
    // Without roles it is open by its routes, and the credentials of its callers are its own matter.
    let user = if view.function.execute.is_empty() { None } else { caller(app, &tenant, &view, headers).await? };
    Ok((tenant, view, user))
}

async fn answer(
    app: &App,
    at: At,
    peer: SocketAddr,
    request: Request<ClientBody>,
) -> Result<Response<AnswerBody>, Problem> {
    let (uri, headers) = (request.uri(), request.headers());
    let wish = Wish::of(&request);
    let beside_console = matches!(at, At::Partner(_)) && is_beside_console(app, headers);
    if beside_console && head::is_service_worker(headers) {
        let message = "no service worker is served at the host of a console: give the function a domain of its own";
        return Err(Problem::new(Kind::RouteNotFound, message));
    }
    let ((tenant, view, user), domain) = match at {
        At::Partner(partner) => (by_route(app, partner, uri.path(), headers).await?, None),
        At::Domain(domain) => (by_domain::find(app, &domain, headers).await?, Some(domain)),
    };
    // As the clients of the replaced platform know it.
    let late = if domain.is_some() { Kind::SynchronousTimeout } else { Kind::FunctionTimeout };
    let may_have_effects = execution::may_have_effects(&app.executor, &view).await.map_err(Problem::unavailable)?;

    let (mut head, body) = request.into_parts();
    let keyed = idempotency::is_keyed(&head.headers, &view, may_have_effects);
    let streams = !may_have_effects && !keyed;
    if takes_trailers(&head) {
        head.extensions.insert(TakesTrailers);
    }
    let announces = head.extensions.get::<TakesTrailers>().is_some();
    let mut record = record(&head, peer);
    record.headers.extend(user.as_ref().map(|user| (told::USER_ID.as_str().to_owned(), told::user_id(user))));
    let broken = Arc::default();
    admission::check(app, &tenant)?;
    body.account().belongs_to(&tenant.bodies, false);
    // A CGI program takes a body without a length for none.
    let is_command = view.active.as_ref().is_some_and(|active| active.exports.command);
    let body_streams = streams && !(is_command && body.size_hint().exact().is_none());
    let body = read(app, body, body_streams, &broken).await?;
    // After the body: a slow client must not hold one of the partner's permits.
    let permit = admission::admit(app, &tenant, view.limits.memory_bytes)?;
    let ticket = match &body {
        Body::Whole(body) if keyed => match idempotency::begin(app, &view, &head, user.as_ref(), body).await? {
            idempotency::Begun::Answered(response) => return Ok(wish.grant(&tenant, response).await),
            idempotency::Begun::Go(ticket) => Some(ticket),
        },
        Body::Whole(_) | Body::Stream(_) => None,
    };
    let id = ticket.as_ref().map_or_else(|| ExecutionId::generate(&app.clock), |ticket| ticket.subject.clone());
    head::prepare(&mut head.headers, &id, peer, user.as_ref());
    let (own, host) = (app.clone(), head.headers.get(header::HOST).cloned());
    let mut job = Job::new(app, id.clone(), view, Trigger::Http, record, Input::Http { head, body });
    job.wall_max = Some(app.settings.server.call_timeout);
    job.sanitize = Some(Arc::new(move |headers: &mut HeaderMap| {
        let mut report =
            head::sanitize_response(headers, announces, || domain.clone().or_else(|| own_host(&own, host.as_ref()?)));
        report.extend(beside_console.then(|| head::part_from_console(headers)).flatten());
        report
    }));
    if let Some(ticket) = ticket {
        job.keyed = true;
        let response = idempotency::run(app, job, permit, ticket, late).await?;
        return Ok(wish.grant(&tenant, response).await);
    }
    let head = streams.then(|| {
        let (stream, head) = oneshot::channel();
        job.stream = Some(stream);
        head
    });
    let stream = job.view.limits.stream;
    let mut call = Call::begin(app, job, permit);
    let Some(mut head) = head else {
        let response = whole(call.end().await, &broken, late);
        return Ok(wish.grant(&tenant, response).await);
    };
    let streamed = tokio::select! {
        biased;
        done = call.end() => match (&done.end, head.try_recv()) {
            // The guest ended in the same moment in which it handed over its head.
            (End::Streamed { .. }, Ok(response)) => response,
            _ => {
                let response = whole(done, &broken, late);
                return Ok(wish.grant(&tenant, response).await);
            }
        },
        Ok(response) = &mut head => response,
    };
    drop(call); // if it has not ended, it continues in the background
    let (mut parts, body) = streamed.into_parts();
    head::mark(&mut parts.headers, &id);
    if let Some(most) = stream {
        parts.extensions.insert(Streams(most));
    }
    Ok(Response::from_parts(parts, body.boxed_unsync()))
}

/// Will the client read what comes after a body? In HTTP/1.1 it says so (RFC 9110, section 6.5.1).
fn takes_trailers(head: &http::request::Parts) -> bool {
    let says = |value: &HeaderValue| {
        let words = value.to_str().unwrap_or_default().split(',');
        words.into_iter().any(|word| word.trim().eq_ignore_ascii_case("trailers"))
    };
    head.version == Version::HTTP_2 || head.headers.get_all(header::TE).iter().any(says)
}

/// The end user that calls a function, if its `execute` lets them. `None`: a guest, whom it lets in, too.
async fn caller(
    app: &App,
    tenant: &Tenant,
    view: &FunctionView,
    headers: &HeaderMap,
) -> Result<Option<EndUser>, Problem> {
    let user = match &tenant.identity {
        Some(identity) => auth::end_user(app, identity, headers).await?,
        None => None,
    };
    match may_execute(&view.function.execute, user.as_ref()) {
        true => Ok(user),
        false => {
            let whom = if user.is_some() {
                "this end user"
            } else {
                "everybody: its execute roles hold neither any nor guests"
            };
            Err(Problem::new(Kind::ExecutePermission, format!("the function may not be called by {whom}")))
        }
    }
}

/// A call in progress. It always runs to its end: when it is dropped, because its head was sent or its client has
/// disconnected, it continues in the background. So its usage and effects are always recorded.
struct Call {
    app: App,
    run: Option<Pin<Box<dyn Future<Output = Finished> + Send>>>,
}

impl Call {
    fn begin(app: &App, job: Job, permit: impl Send + 'static) -> Call {
        let own = app.clone();
        let run = async move {
            let done = execution::execute(&own.executor, job).await;
            drop(permit);
            done
        };
        Call { app: app.clone(), run: Some(Box::pin(run)) }
    }

    async fn end(&mut self) -> Finished {
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

/// The fault of a body that streamed into the function.
type Broken = Arc<OnceLock<Fault>>;

/// A body with the account that it is charged to. The charge lasts until the last part of the body is dropped.
struct Charged(Bytes, #[expect(dead_code, reason = "dropping it releases the bytes")] Account);

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The request's body, whole or as a stream, with its bound. A later fault of a stream is reported in `broken`.
async fn read(app: &App, body: ClientBody, streams: bool, broken: &Broken) -> Result<Body, Problem> {
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

/// The host of the partner's endpoint, which cookies may name too; `None` at an address that partners share.
fn own_host(app: &App, host: &HeaderValue) -> Option<String> {
    let host = host.to_str().ok()?;
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host).to_ascii_lowercase();
    let is_own = match host.strip_suffix(app.settings.root_host()?.as_str()) {
        Some(above) => above.ends_with('.'),
        None => matches!(app.directory.host(&host), Host::Domain(_)),
    };
    is_own.then_some(host)
}

/// Is a console of this installation at the same host? None is at a partner's own domains.
fn is_beside_console(app: &App, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let host = host.rsplit_once(':').map_or(&*host, |(host, _)| host);
    let above = app.settings.root_host().and_then(|root| host.strip_suffix(root.as_str()).map(str::to_owned));
    above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
}

fn record(head: &http::request::Parts, peer: SocketAddr) -> RequestRecord {
    let recorded = RECORDED_HEADERS.iter().filter_map(|name| {
        let value = head.headers.get(name)?.to_str().ok()?;
        Some((name.as_str().to_owned(), cut(value, 1_024)))
    });
    let client = (told::CLIENT_IP.as_str().to_owned(), peer.ip().to_string());
    RequestRecord {
        method: head.method.to_string(),
        path: cut(head.uri.path_and_query().map_or("/", |path| path.as_str()), 2_048),
        headers: recorded.chain([client]).collect(),
    }
}

/// The first characters of a text.
fn cut(text: &str, chars: usize) -> String {
    // Fewer bytes than that are no more characters.
    if text.len() <= chars { text.to_owned() } else { text.chars().take(chars).collect() }
}

/// The answer of a call that has ended. `late` is the kind of the problem if the time was up.
fn whole(done: Finished, broken: &Broken, late: Kind) -> Response<AnswerBody> {
    let id = done.execution.id;
    if done.unknown {
        tracing::warn!(execution.id = %id, "it is not known whether a call was applied");
        return refuse_of(Problem::outcome_unknown(&id), &id);
    }
    let problem = match done.end {
        End::Answered(response) => {
            let (mut parts, body) = response.into_parts();
            head::mark(&mut parts.headers, &id);
            let body = answer_body(&parts.headers, body);
            return Response::from_parts(parts, body);
        }
        // The function failed because of an invalid body.
        End::Failed(_) if let Some(fault) = broken.get() => (*fault).into(),
        End::Failed(Failure::Host(why)) => Problem::unavailable(format!("execution {id}: {why}")),
        End::Failed(failure @ Failure::BadRequest(_)) => Problem::new(Kind::BadRequest, failure.to_string()),
        End::Failed(Failure::Limit(limit)) if matches!(limit.limit, LimitKind::WallMs | LimitKind::CpuMs) => {
            Problem::new(late, "the function did not answer in time")
        }
        End::Failed(_) => Problem::new(Kind::FunctionFailed, "the function failed"),
        // Ends of events, and a streamed answer that was sent: an HTTP call does not end like this here.
        End::Returned(_) | End::Streamed { .. } | End::Retry(_) | End::Reject(_) => {
            Problem::new(Kind::FunctionFailed, "the function gave no HTTP answer")
        }
    };
    refuse_of(problem, &id)
}

/// The body of an answer with this head. An empty body with a length in the head belongs to HEAD or 304: the length is that
/// of another answer, and the library would remove it if it knew that the body is empty.
fn answer_body(head: &HeaderMap, body: Bytes) -> AnswerBody {
    match body.is_empty() && head.contains_key(header::CONTENT_LENGTH) {
        true => Bodiless.boxed_unsync(),
        false => Full::new(body).map_err(|never| match never {}).boxed_unsync(),
    }
}

struct Bodiless;

impl http_body::Body for Bodiless {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(None)
    }
}

/// An answer that does not come from a function. It reveals nothing of the function's internals to the end user.
pub fn refuse(problem: Problem) -> Response<AnswerBody> {
    problem.into_response().map(|body| body.map_err(Into::into).boxed_unsync())
}

/// The same, with the id of the execution.
fn refuse_of(problem: Problem, id: &ExecutionId) -> Response<AnswerBody> {
    let mut response = refuse(Problem { execution: Some(id.clone()), ..problem });
    head::mark(response.headers_mut(), id);
    response
}
