//! Dead letters: executions that were given up. They can be read, redriven and discarded.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use larder_model::ids::FunctionId;
use larder_platform::backlog;
use larder_signals::Work;
use larder_store::filters;
use larder_wire::datetime;
use larder_wire::dead_letters::{DeadLetterList, RedriveInput, RedrivenObject};
use larder_wire::executions::ExecutionObject;
use larder_wire::scopes::Scope;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::functions;
use crate::api::queries::{self, ListParams};
use crate::api::requests::{self, BODY_MAX, Deleted, Ids};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

/// Dead letters that one call redrives.
const REDRIVEN_MAX: u32 = 500;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(redrive_all))
        .routes(routes!(get, discard))
        .routes(routes!(redrive))
}

/// The dead letters of all functions.
#[utoipa::path(get, path = "/v1/dead-letters", tag = "dead letters", operation_id = "listDeadLetters", params(ListParams),
    responses((status = 200, body = DeadLetterList)))]
async fn list(
    State(app): State<App>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<DeadLetterList>, Problem> {
    caller.may(Scope::ExecutionsRead)?;
    let query = queries::parse(query.as_deref(), filters::DEAD_LETTERS, &[])?;
    let page = app.store.list_dead_letters(&caller.partner, &query.listing).await?;
    let dead_letters = page.rows.into_iter().map(ExecutionObject::from).collect();
    Ok(Json(DeadLetterList { total: page.total, dead_letters }))
}

#[utoipa::path(get, path = "/v1/dead-letters/{executionId}", tag = "dead letters", operation_id = "getDeadLetter",
    responses((status = 200, body = ExecutionObject)))]
async fn get(State(app): State<App>, caller: Caller, ids: Ids) -> Result<Json<ExecutionObject>, Problem> {
    caller.may(Scope::ExecutionsRead)?;
    let found = app.store.dead_letter(&caller.partner, &ids.get("executionId")?).await?;
    Ok(Json(found.ok_or_else(|| Problem::not_found(Kind::DeadLetterNotFound, "Dead letter"))?.into()))
}

/// Puts a dead letter back into the queue, with all its attempts before it.
#[utoipa::path(post, path = "/v1/dead-letters/{executionId}/redrive", tag = "dead letters", operation_id = "redriveDeadLetter",
    responses((status = 202, body = ExecutionObject)))]
async fn redrive(
    State(app): State<App>,
    caller: Caller,
    ids: Ids,
) -> Result<(StatusCode, Json<ExecutionObject>), Problem> {
    caller.may(Scope::ExecutionsWrite)?;
    backlog::admit_redriven(&app, &caller.tenant, 1).await??;
    let redriven = app.store.redrive(&caller.partner, &ids.get("executionId")?, app.clock.now_ms()).await?;
    app.signals.push(Work::Executions);
    Ok((StatusCode::ACCEPTED, Json(redriven.into())))
}

/// Redrives the dead letters of a function, up to 500 of them at a time.
#[utoipa::path(post, path = "/v1/dead-letters/redrive", tag = "dead letters", operation_id = "redriveDeadLetters",
    request_body = RedriveInput, responses((status = 202, body = RedrivenObject)))]
async fn redrive_all(
    State(app): State<App>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<RedrivenObject>), Problem> {
    caller.may(Scope::ExecutionsWrite)?;
    let input: RedriveInput = requests::json(body, BODY_MAX).await?;
    let function: FunctionId = requests::id("functionId", &requests::required("functionId", input.function_id)?)?;
    let now = app.clock.now_ms();
    let before = match input.buried_before {
        Some(text) => requests::parse_datetime("buriedBefore", &text)?.timestamp_millis(),
        None => now,
    };
    functions::find(&app, &caller.partner, &function).await?;
    let most = backlog::admit_redriven(&app, &caller.tenant, REDRIVEN_MAX).await??;
    let redriven = app.store.redrive_all(&caller.partner, &function, before, most, now).await?;
    if redriven.total > 0 {
        app.signals.push(Work::Executions);
    }
    let answer = RedrivenObject { total: redriven.total, more: redriven.more, buried_before: datetime(before) };
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// Makes a dead letter a failed execution like any other.
#[utoipa::path(delete, path = "/v1/dead-letters/{executionId}", tag = "dead letters", operation_id = "discardDeadLetter",
    responses((status = 204)))]
async fn discard(State(app): State<App>, caller: Caller, ids: Ids) -> Result<Deleted, Problem> {
    caller.may(Scope::ExecutionsWrite)?;
    app.store.discard_dead_letter(&caller.partner, &ids.get("executionId")?, app.clock.now_ms()).await?;
    Ok(Deleted)
}
