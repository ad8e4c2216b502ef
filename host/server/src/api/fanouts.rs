//! Fan-outs: how far each is. They can be paused, resumed and cancelled, and what failed of one can be redriven together.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use larder_model::Fanout;
use larder_platform::common::Common;
use larder_platform::fanouts;
use larder_store::filters;
use larder_wire::datetime;
use larder_wire::dead_letters::{RedriveFanoutInput, RedrivenObject};
use larder_wire::fanouts::{FanoutList, FanoutObject};
use larder_wire::scopes::Scope;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::queries::{self, ListParams};
use crate::api::requests::{self, BODY_MAX, Ids};
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
async fn list(
    State(common): State<Common>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<FanoutList>, Problem> {
    caller.may(Scope::ExecutionsRead)?;
    let query = queries::parse(query.as_deref(), filters::FANOUTS, &[])?;
    let page = common.store.list_fanouts(&caller.partner, &query.listing).await?;
    let mut fanouts = Vec::with_capacity(page.rows.len());
    for fanout in page.rows {
        fanouts.push(object(&common, &caller, fanout).await?);
    }
    Ok(Json(FanoutList { total: page.total, fanouts }))
}

#[utoipa::path(get, path = "/v1/fanouts/{fanoutId}", tag = "fan-outs", operation_id = "getFanout",
    responses((status = 200, body = FanoutObject)))]
async fn get(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Json<FanoutObject>, Problem> {
    caller.may(Scope::ExecutionsRead)?;
    now(&common, &caller, &ids).await
}

/// Pauses a running fan-out. Runs in progress are committed; nothing more is begun until it is resumed.
#[utoipa::path(post, path = "/v1/fanouts/{fanoutId}/pause", tag = "fan-outs", operation_id = "pauseFanout",
    responses((status = 200, body = FanoutObject)))]
async fn pause(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Json<FanoutObject>, Problem> {
    caller.may(Scope::ExecutionsWrite)?;
    fanouts::pause(&common, &caller.partner, &ids.get("fanoutId")?).await?;
    now(&common, &caller, &ids).await
}

/// Resumes a paused fan-out, also one that Larder has paused because too many of its runs failed.
#[utoipa::path(post, path = "/v1/fanouts/{fanoutId}/resume", tag = "fan-outs", operation_id = "resumeFanout",
    responses((status = 200, body = FanoutObject)))]
async fn resume(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Json<FanoutObject>, Problem> {
    caller.may(Scope::ExecutionsWrite)?;
    fanouts::resume(&common, &caller.partner, &ids.get("fanoutId")?).await?;
    now(&common, &caller, &ids).await
}

/// Ends a fan-out for good. What is committed stays; runs in progress save nothing.
#[utoipa::path(post, path = "/v1/fanouts/{fanoutId}/cancel", tag = "fan-outs", operation_id = "cancelFanout",
    responses((status = 200, body = FanoutObject)))]
async fn cancel(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Json<FanoutObject>, Problem> {
    caller.may(Scope::ExecutionsWrite)?;
    fanouts::cancel(&common, &caller.partner, &ids.get("fanoutId")?).await?;
    now(&common, &caller, &ids).await
}

/// Redrives the dead letters of a fan-out, up to 500 of them at a time.
#[utoipa::path(post, path = "/v1/fanouts/{fanoutId}/redrive", tag = "fan-outs", operation_id = "redriveFanout",
    request_body = RedriveFanoutInput, responses((status = 202, body = RedrivenObject)))]
async fn redrive(
    State(common): State<Common>,
    caller: Caller,
    ids: Ids,
    body: Body,
) -> Result<(StatusCode, Json<RedrivenObject>), Problem> {
    caller.may(Scope::ExecutionsWrite)?;
    let input: RedriveFanoutInput = requests::json(body, BODY_MAX).await?;
    let before = match input.buried_before {
        Some(text) => requests::parse_datetime("buriedBefore", &text)?.timestamp_millis(),
        None => common.clock.now_ms(),
    };
    let fanout = find(&common, &caller, &ids).await?;
    let redriven = fanouts::redrive(&common, &caller.tenant, &fanout, before).await?;
    let answer = RedrivenObject { total: redriven.total, more: redriven.more, buried_before: datetime(before) };
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

async fn find(common: &Common, caller: &Caller, ids: &Ids) -> Result<Fanout, Problem> {
    let found = common.store.fanout(&caller.partner, &ids.get("fanoutId")?).await?;
    found.ok_or_else(|| Problem::not_found(Kind::FanoutNotFound, "Fan-out"))
}

/// The fan-out as it is now.
async fn now(common: &Common, caller: &Caller, ids: &Ids) -> Result<Json<FanoutObject>, Problem> {
    let fanout = find(common, caller, ids).await?;
    Ok(Json(object(common, caller, fanout).await?))
}

async fn object(common: &Common, caller: &Caller, fanout: Fanout) -> Result<FanoutObject, Problem> {
    let found = fanouts::found(common, &caller.tenant, fanout).await?;
    Ok(FanoutObject::new(found.fanout, found.progress, found.held_back, common.clock.now_ms()))
}
