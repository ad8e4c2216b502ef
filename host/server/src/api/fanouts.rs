//! Fan-outs: how far each is. They can be paused, resumed and cancelled, and what failed of one can be redriven together.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use larder_model::Fanout;
use larder_platform::{backlog, jobs};
use larder_signals::Work;
use larder_store::filters;
use larder_wire::datetime;
use larder_wire::dead_letters::{RedriveFanoutInput, RedrivenObject};
use larder_wire::fanouts::{FanoutList, FanoutObject};
use larder_wire::scopes::Scope;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::dead_letters::REDRIVEN_MAX;
use crate::api::queries::{self, ListParams};
use crate::api::wire::{self, BODY_MAX, Ids};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(cancel))
        .routes(routes!(redrive))
}

/// The fan-outs of all functions.
#[utoipa::path(get, path = "/v1/fanouts", tag = "fan-outs", operation_id = "listFanouts", params(ListParams),
    responses((status = 200, body = FanoutList)))]
async fn list(State(app): State<App>, caller: Caller, RawQuery(query): RawQuery) -> Result<Json<FanoutList>, Problem> {
    caller.may(Scope::ExecutionsRead)?;
    let query = queries::parse(query.as_deref(), filters::FANOUTS, &[])?;
    let page = app.store.list_fanouts(&caller.partner, &query.listing).await?;
    let mut fanouts = Vec::with_capacity(page.rows.len());
    for fanout in page.rows {
        fanouts.push(object(&app, &caller, fanout).await?);
    }
    Ok(Json(FanoutList { total: page.total, fanouts }))
}

#[utoipa::path(get, path = "/v1/fanouts/{fanoutId}", tag = "fan-outs", operation_id = "getFanout",
    responses((status = 200, body = FanoutObject)))]
async fn get(State(app): State<App>, caller: Caller, ids: Ids) -> Result<Json<FanoutObject>, Problem> {
    caller.may(Scope::ExecutionsRead)?;
    let fanout = find(&app, &caller, &ids).await?;
    Ok(Json(object(&app, &caller, fanout).await?))
}

/// Pauses a running fan-out. Runs in progress are committed; nothing more is begun until it is resumed.
#[utoipa::path(post, path = "/v1/fanouts/{fanoutId}/pause", tag = "fan-outs", operation_id = "pauseFanout",
    responses((status = 200, body = FanoutObject)))]
async fn pause(State(app): State<App>, caller: Caller, ids: Ids) -> Result<Json<FanoutObject>, Problem> {
    caller.may(Scope::ExecutionsWrite)?;
    let fanout = find(&app, &caller, &ids).await?;
    let paused = app.store.pause_fanout(&caller.partner, &fanout.id, None, app.clock.now_ms()).await;
    changed(&app, &caller, &ids, paused, "It is not running").await
}

/// Resumes a paused fan-out, also one that Larder has paused because too many of its runs failed.
#[utoipa::path(post, path = "/v1/fanouts/{fanoutId}/resume", tag = "fan-outs", operation_id = "resumeFanout",
    responses((status = 200, body = FanoutObject)))]
async fn resume(State(app): State<App>, caller: Caller, ids: Ids) -> Result<Json<FanoutObject>, Problem> {
    caller.may(Scope::ExecutionsWrite)?;
    let fanout = find(&app, &caller, &ids).await?;
    let resumed = app.store.resume_fanout(&caller.partner, &fanout.id, app.clock.now_ms()).await;
    let answer = changed(&app, &caller, &ids, resumed, "It is not paused").await?;
    app.signals.push(Work::Fanouts);
    Ok(answer)
}

/// Ends a fan-out for good. What is committed stays; runs in progress save nothing.
#[utoipa::path(post, path = "/v1/fanouts/{fanoutId}/cancel", tag = "fan-outs", operation_id = "cancelFanout",
    responses((status = 200, body = FanoutObject)))]
async fn cancel(State(app): State<App>, caller: Caller, ids: Ids) -> Result<Json<FanoutObject>, Problem> {
    caller.may(Scope::ExecutionsWrite)?;
    let fanout = find(&app, &caller, &ids).await?;
    let cancelled = app.store.cancel_fanout(&caller.partner, &fanout.id, app.clock.now_ms()).await;
    changed(&app, &caller, &ids, cancelled, "It has ended already").await
}

/// Redrives the dead letters of a fan-out, up to 500 of them at a time.
#[utoipa::path(post, path = "/v1/fanouts/{fanoutId}/redrive", tag = "fan-outs", operation_id = "redriveFanout",
    request_body = RedriveFanoutInput, responses((status = 202, body = RedrivenObject)))]
async fn redrive(
    State(app): State<App>,
    caller: Caller,
    ids: Ids,
    body: Body,
) -> Result<(StatusCode, Json<RedrivenObject>), Problem> {
    caller.may(Scope::ExecutionsWrite)?;
    let input: RedriveFanoutInput = wire::json(body, BODY_MAX).await?;
    let now = app.clock.now_ms();
    let before = match input.buried_before {
        Some(text) => wire::parse_datetime("buriedBefore", &text)?.timestamp_millis(),
        None => now,
    };
    let fanout = find(&app, &caller, &ids).await?;
    let most = backlog::admit_redriven(&app, &caller.tenant, REDRIVEN_MAX).await??;
    let redriven = app.store.redrive_fanout(&fanout, before, most, now).await?;
    if redriven.total > 0 {
        app.signals.push(Work::Executions);
    }
    let answer = RedrivenObject { total: redriven.total, more: redriven.more, buried_before: datetime(before) };
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

async fn find(app: &App, caller: &Caller, ids: &Ids) -> Result<Fanout, Problem> {
    let found = app.store.fanout(&caller.partner, &ids.get("fanoutId")?).await?;
    found.ok_or_else(|| Problem::not_found(Kind::FanoutNotFound, "Fan-out"))
}

/// The fan-out after a change of its status.
async fn changed(
    app: &App,
    caller: &Caller,
    ids: &Ids,
    done: larder_store::Result<()>,
    conflict: &str,
) -> Result<Json<FanoutObject>, Problem> {
    done.map_err(|err| Problem::or_taken(err, Kind::FanoutStatus, conflict))?;
    let fanout = find(app, caller, ids).await?;
    Ok(Json(object(app, caller, fanout).await?))
}

async fn object(app: &App, caller: &Caller, fanout: Fanout) -> Result<FanoutObject, Problem> {
    let progress = app.store.progress(&fanout).await?;
    let held_back = jobs::fanouts::is_held_back(app, &backlog::waiting(app, &caller.tenant).await?);
    Ok(FanoutObject::new(fanout, progress, held_back, app.clock.now_ms()))
}
