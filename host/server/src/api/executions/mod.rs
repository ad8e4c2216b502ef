//! Executions: `input` has the rules for what callers ask for, `object` the answer to a synchronous one.

mod input;
mod object;
mod tail;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::{Extension, Json};
use bytes::Bytes;
use larder_model::identities::may_execute;
use larder_model::ids::FunctionId;
use larder_model::{End, Enrolment, EnrolmentStatus, Failure, LimitKind, Per, Trigger};
use larder_platform::common::Common;
use larder_platform::directory::{FunctionView, Tenant};
use larder_platform::execution::{self, Body as InputBody, Executor, Finished, Input, Job, request};
use larder_platform::idempotency_keys::Idempotency;
use larder_platform::{admission, executions};
use larder_store::{NewExecution, filters};
use larder_wire::executions::{ExecutionInput, ExecutionList, ExecutionObject};
use larder_wire::scopes::Scope;
use tokio::sync::oneshot;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::input::Wanted;
use crate::api::functions;
use crate::api::idempotency::{self, Begun, Made, Ticket};
use crate::api::queries::{self, ListParams};
use crate::api::requests::{self, Deleted, Ids};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

/// JSON around a body of 10,485,760 characters, with room for escapes.
const BODY_MAX: usize = 16 << 20;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, delete)).routes(routes!(tail::tail))
}

#[utoipa::path(get, path = "/v1/functions/{functionId}/executions", tag = "executions", operation_id = "listExecutions",
    params(ListParams), responses((status = 200, body = ExecutionList)))]
async fn list(
    State(executor): State<Executor>,
    caller: Caller,
    ids: Ids,
    RawQuery(query): RawQuery,
) -> Result<Json<ExecutionList>, Problem> {
    caller.may(Scope::ExecutionsRead)?;
    let function = ids.get("functionId")?;
    let query = queries::parse(query.as_deref(), filters::EXECUTIONS, &[])?;
    functions::find(&executor, &caller.partner, &function).await?;
    executor.ledger.settle_all(&caller.partner).await.map_err(Problem::unavailable)?;
    let page = executor.store.list_executions(&caller.partner, &function, &query.listing).await?;
    let executions = page.rows.into_iter().map(ExecutionObject::from).collect();
    Ok(Json(ExecutionList { total: page.total, executions }))
}

#[utoipa::path(get, path = "/v1/functions/{functionId}/executions/{executionId}", tag = "executions",
    operation_id = "getExecution", responses((status = 200, body = ExecutionObject)))]
async fn get(State(executor): State<Executor>, caller: Caller, ids: Ids) -> Result<Json<ExecutionObject>, Problem> {
    caller.may(Scope::ExecutionsRead)?;
    let (function, id) = (ids.get("functionId")?, ids.get("executionId")?);
    functions::find(&executor, &caller.partner, &function).await?;
    let found = executions::find(&executor, &caller.partner, &function, &id).await?;
    Ok(Json(found.ok_or_else(|| Problem::not_found(Kind::ExecutionNotFound, "Execution"))?.into()))
}

/// Removes an execution that has ended, or cancels one that was to run later or to be tried again.
#[utoipa::path(delete, path = "/v1/functions/{functionId}/executions/{executionId}", tag = "executions",
    operation_id = "deleteExecution", responses((status = 204)))]
async fn delete(State(executor): State<Executor>, caller: Caller, ids: Ids) -> Result<Deleted, Problem> {
    caller.may(Scope::ExecutionsWrite)?;
    let (function, id) = (ids.get("functionId")?, ids.get("executionId")?);
    functions::find(&executor, &caller.partner, &function).await?;
    executions::delete(&executor, &caller.partner, &function, &id).await?;
    Ok(Deleted)
}

/// Runs a function, at once or in the queue. A function that lets anyone execute it needs no key.
#[utoipa::path(post, path = "/v1/functions/{functionId}/executions", tag = "executions", operation_id = "createExecution",
    security((), ("key" = []), ("token" = [])), request_body = ExecutionInput,
    params(("Idempotency-Key" = Option<String>, Header, description = idempotency::DESCRIPTION)),
    responses((status = 201, description = "It ran, well or not", body = ExecutionObject),
        (status = 202, description = "It will run", body = ExecutionObject)))]
async fn create(
    State(executor): State<Executor>,
    State(keys): State<Idempotency>,
    caller: Caller,
    peer: Option<Extension<SocketAddr>>,
    ids: Ids,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if !caller.is_guest() {
        caller.may(Scope::ExecutionsWrite)?;
    }
    let function: FunctionId = ids.get("functionId")?;
    if caller.is_guest() {
        // Whom it does not let in must not leave a key behind either.
        current(&executor, &caller, &function).await?;
        admission::check(&executor, &caller.tenant)?;
    }
    let body = requests::bytes(body, BODY_MAX).await?;
    let peer = peer.map(|Extension(peer)| peer.ip());
    let parts = [b"POST".as_slice(), b"/v1/functions/", function.as_str().as_bytes(), b"/executions", &body];
    let ticket = match idempotency::begin(&keys, &caller, peer, &headers, &parts).await? {
        Begun::Answered(response) => return Ok(response),
        Begun::Go(ticket) => ticket,
    };
    let made = make(&executor, &caller, peer, &function, &body, &ticket).await;
    ticket.end(&keys, made).await
}

async fn make(
    executor: &Executor,
    caller: &Caller,
    peer: Option<IpAddr>,
    function: &FunctionId,
    body: &[u8],
    ticket: &Ticket,
) -> Result<Made<ExecutionObject>, Problem> {
    let shown = |object: ExecutionObject| if caller.is_guest() { object.without_logs() } else { object };
    let input: ExecutionInput = requests::parse_json(body)?;
    let wanted = input::check(input, executor, peer, caller.user.as_ref())?;
    let status = if wanted.asynchronous { StatusCode::ACCEPTED } else { StatusCode::CREATED };
    if ticket.again {
        match executions::find(executor, &caller.partner, function, &ticket.subject).await? {
            Some(made) => return Ok(Made { status, body: shown(made.into()), from_record: true }),
            None if ticket.answered => {
                let message =
                    "The answer under this Idempotency-Key was too large to be kept, and there is no record of it";
                return Err(Problem::new(Kind::ExecutionNotFound, message));
            }
            None => {}
        }
    }
    let view = current(executor, caller, function).await?;
    let enrolment = enrolment(executor, caller, &view, &wanted).await?;
    let object = if wanted.asynchronous {
        enqueue(executor, caller, &view, wanted, enrolment, ticket).await?
    } else {
        run(executor, caller, view, wanted, enrolment, ticket).await?
    };
    Ok(Made::now(status, shown(object)))
}

/// The function, if this caller may execute it and it has something that runs.
async fn current(executor: &Executor, caller: &Caller, function: &FunctionId) -> Result<Arc<FunctionView>, Problem> {
    match executable(&caller.tenant, caller, function) {
        Ok(view) => Ok(view),
        // Another process may have deployed it a moment ago.
        Err(_) => {
            executor.directory.refresh_soon().await;
            let tenant = executor.directory.tenant(&caller.partner);
            executable(tenant.as_ref().unwrap_or(&caller.tenant), caller, function)
        }
    }
}

/// The same by this snapshot.
fn executable(tenant: &Tenant, caller: &Caller, id: &FunctionId) -> Result<Arc<FunctionView>, Problem> {
    let not_found = || Problem::not_found(Kind::FunctionNotFound, "Function");
    let view = tenant.functions.get(id).ok_or_else(not_found)?;
    let function = &view.function;
    if caller.is_guest() {
        // A disabled function does not exist for guests.
        if !function.enabled {
            return Err(not_found());
        }
        if !may_execute(&function.execute, caller.user.as_ref()) {
            let whom = if caller.user.is_some() { "this end user" } else { "guests" };
            return Err(Problem::new(Kind::Unauthorized, format!("This function does not let {whom} execute it")));
        }
    }
    match (&view.active, &function.deployment) {
        (Some(_), _) => Ok(view.clone()),
        (None, Some(_)) => Err(Problem::new(Kind::BuildNotReady, "The active deployment is not ready")),
        (None, None) => Err(Problem::new(Kind::DeploymentNotFound, "The function has no active deployment")),
    }
}

/// Whom the execution is for. A function that runs once for each enrolment runs for one only.
async fn enrolment(
    executor: &Executor,
    caller: &Caller,
    view: &FunctionView,
    wanted: &Wanted,
) -> Result<Option<Enrolment>, Problem> {
    let Some(id) = &wanted.enrolment else {
        return match view.function.per {
            Per::Event => Ok(None),
            Per::Enrolment => Err(Problem::argument("enrolmentId", "is required: this function runs per enrolment")),
        };
    };
    if view.function.per == Per::Event {
        return Err(Problem::argument("enrolmentId", "must not be given: this function does not run per enrolment"));
    }
    if caller.is_guest() {
        return Err(Problem::new(Kind::Unauthorized, "Only a key may name an enrolment"));
    }
    let found = executor.store.enrolment(&caller.partner, id).await?;
    let enrolment = found
        .filter(|enrolment| enrolment.function == view.function.id)
        .ok_or_else(|| Problem::not_found(Kind::EnrolmentNotFound, "Enrolment"))?;
    if enrolment.status != EnrolmentStatus::Active {
        return Err(Problem::new(Kind::BadRequest, format!("The enrolment is {}", enrolment.status.word())));
    }
    Ok(Some(enrolment))
}

async fn enqueue(
    common: &Common,
    caller: &Caller,
    view: &FunctionView,
    wanted: Wanted,
    enrolment: Option<Enrolment>,
    ticket: &Ticket,
) -> Result<ExecutionObject, Problem> {
    let new = NewExecution {
        partner: view.function.partner.clone(),
        id: ticket.subject.clone(),
        function: view.function.id.clone(),
        trigger: if wanted.scheduled_at_ms.is_some() { Trigger::Schedule } else { Trigger::Http },
        trigger_key: None,
        event: None,
        enrolment: enrolment.map(|enrolment| enrolment.id),
        nominal_at_ms: None,
        late_ms: None,
        scheduled_at_ms: wanted.scheduled_at_ms,
        request: wanted.request,
        body: Some(wanted.body.into()),
        now: common.clock.now_ms(),
    };
    Ok(executions::enqueue(common, &caller.tenant, &new, ticket.again).await?.into())
}

async fn run(
    executor: &Executor,
    caller: &Caller,
    view: Arc<FunctionView>,
    wanted: Wanted,
    enrolment: Option<Enrolment>,
    ticket: &Ticket,
) -> Result<ExecutionObject, Problem> {
    let permit = admission::admit(executor, &caller.tenant, view.limits.memory_bytes)?;
    let call_timeout = executor.settings.server.call_timeout;
    let capped = view.limits.wall > call_timeout;
    let no_input = Input::Http { head: http::Request::new(()).into_parts().0, body: InputBody::Whole(Bytes::new()) };
    let mut job = Job::new(executor, ticket.subject.clone(), view, Trigger::Http, wanted.request, no_input);
    job.input = request::from_request(&job.view, &job.execution, wanted.body, false);
    job.execution.request = job.execution.request.recorded();
    job.execution.enrolment = enrolment.as_ref().map(|enrolment| enrolment.id.clone());
    job.enrolment = enrolment;
    job.wall_max = Some(call_timeout);
    job.keyed = ticket.is_keyed();
    ticket.begins();
    let id = job.execution.id.clone();
    // On its own, so that it ends and is recorded also when the caller hangs up.
    let (tell, told) = oneshot::channel();
    let task = executor.clone();
    executor.life.spawn_work("synchronous execution", async move {
        let done = execution::execute(&task, job).await;
        drop(permit);
        let _ = tell.send(done);
    });
    let done = told.await.map_err(|_| Problem::outcome_unknown(&id))?;
    if done.unknown {
        tracing::warn!(execution.id = %done.execution.id, "it is not known whether an execution was applied");
        return Err(Problem::outcome_unknown(&done.execution.id));
    }
    if let End::Failed(Failure::Host(why)) = &done.end {
        return Err(Problem::unavailable(format!("execution {}: {why}", done.execution.id)));
    }
    if let End::Failed(Failure::Limit(exceeded)) = &done.end
        && capped
        && exceeded.limit == LimitKind::WallMs
    {
        let message = format!(
            "The execution {} took longer than {} s, the most for a synchronous one: use async",
            done.execution.id,
            call_timeout.as_secs()
        );
        return Err(Problem::new(Kind::SynchronousTimeout, message));
    }
    Ok(answered(done))
}

/// The record, with the whole answer of the function in it.
fn answered(done: Finished) -> ExecutionObject {
    let (headers, body) = match done.end {
        End::Answered(response) => {
            let (head, body) = response.into_parts();
            (Some(head.headers), body.into())
        }
        End::Returned(Some(body)) => (None, body),
        End::Returned(None) | End::Streamed { .. } | End::Retry(_) | End::Reject(_) | End::Failed(_) => (None, vec![]),
    };
    object::answered(done.execution, headers.as_ref(), body)
}
