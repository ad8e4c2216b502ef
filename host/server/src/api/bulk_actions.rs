//! Bulk actions on dead letters: asked for, paused, resumed and cancelled. Each is done in the background, a batch at a time.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use larder_model::{BulkAction, BulkKind};
use larder_platform::bulk_actions::{self, Chosen};
use larder_platform::common::Common;
use larder_store::filters;
use larder_wire::bulk_actions::{BulkActionInput, BulkActionList, BulkActionObject};
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
        .routes(routes!(list, create))
        .routes(routes!(get))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(cancel))
}

#[utoipa::path(get, path = "/v1/bulk-actions", tag = "bulk actions", operation_id = "listBulkActions", params(ListParams),
    responses((status = 200, body = BulkActionList)))]
async fn list(
    State(common): State<Common>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<BulkActionList>, Problem> {
    caller.may(Scope::ExecutionsRead)?;
    let query = queries::parse(query.as_deref(), filters::BULK_ACTIONS, &[])?;
    let page = common.store.list_bulk_actions(&caller.partner, &query.listing).await?;
    let bulk_actions = page.rows.into_iter().map(BulkActionObject::from).collect();
    Ok(Json(BulkActionList { total: page.total, bulk_actions }))
}

/// Redrives or discards many dead letters: those of a group, or those named. It begins after `worker.bulk_undo`, until when it can
/// be cancelled as if it had not been asked for.
#[utoipa::path(post, path = "/v1/bulk-actions", tag = "bulk actions", operation_id = "createBulkAction",
    request_body = BulkActionInput, responses((status = 202, body = BulkActionObject)))]
async fn create(
    State(common): State<Common>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<BulkActionObject>), Problem> {
    caller.may(Scope::ExecutionsWrite)?;
    let input: BulkActionInput = requests::json(body, BODY_MAX).await?;
    let kind = kind(&requests::required("action", input.action)?)?;
    let before = input.buried_before.map(|text| requests::parse_datetime("buriedBefore", &text)).transpose()?;
    let ids = input.ids.unwrap_or_default();
    let chosen = Chosen {
        function: input.function_id.map(|id| requests::id("functionId", &id)).transpose()?,
        reason: input.reason,
        ids: ids.iter().map(|id| requests::id("ids", id)).collect::<Result<_, _>>()?,
    };
    let by = caller.key.as_ref().map_or("", |key| key.as_str());
    let before = before.map(|at| at.timestamp_millis());
    let begun = bulk_actions::begin(&common, &caller.tenant, by, kind, chosen, before).await?;
    Ok((StatusCode::ACCEPTED, Json(begun.into())))
}

/// The action with this word.
pub fn kind(word: &str) -> Result<BulkKind, Problem> {
    let known = || Problem::argument("action", format!("must be one of {}", BulkKind::WORDS.join(", ")));
    BulkKind::from_word(word).ok_or_else(known)
}

#[utoipa::path(get, path = "/v1/bulk-actions/{bulkActionId}", tag = "bulk actions", operation_id = "getBulkAction",
    responses((status = 200, body = BulkActionObject)))]
async fn get(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Json<BulkActionObject>, Problem> {
    caller.may(Scope::ExecutionsRead)?;
    Ok(Json(find(&common, &caller, &ids).await?.into()))
}

/// Does nothing more of it until it is resumed.
#[utoipa::path(post, path = "/v1/bulk-actions/{bulkActionId}/pause", tag = "bulk actions", operation_id = "pauseBulkAction",
    responses((status = 200, body = BulkActionObject)))]
async fn pause(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Json<BulkActionObject>, Problem> {
    caller.may(Scope::ExecutionsWrite)?;
    bulk_actions::pause(&common, &caller.partner, &ids.get("bulkActionId")?).await?;
    Ok(Json(find(&common, &caller, &ids).await?.into()))
}

/// Goes on with a paused bulk action.
#[utoipa::path(post, path = "/v1/bulk-actions/{bulkActionId}/resume", tag = "bulk actions", operation_id = "resumeBulkAction",
    responses((status = 200, body = BulkActionObject)))]
async fn resume(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Json<BulkActionObject>, Problem> {
    caller.may(Scope::ExecutionsWrite)?;
    bulk_actions::resume(&common, &caller.partner, &ids.get("bulkActionId")?).await?;
    Ok(Json(find(&common, &caller, &ids).await?.into()))
}

/// Ends it for good. What it has done stays; before `beginsAt` that is nothing.
#[utoipa::path(post, path = "/v1/bulk-actions/{bulkActionId}/cancel", tag = "bulk actions", operation_id = "cancelBulkAction",
    responses((status = 200, body = BulkActionObject)))]
async fn cancel(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Json<BulkActionObject>, Problem> {
    caller.may(Scope::ExecutionsWrite)?;
    bulk_actions::cancel(&common, &caller.partner, &ids.get("bulkActionId")?).await?;
    Ok(Json(find(&common, &caller, &ids).await?.into()))
}

pub async fn find(common: &Common, caller: &Caller, ids: &Ids) -> Result<BulkAction, Problem> {
    let found = common.store.bulk_action(&caller.partner, &ids.get("bulkActionId")?).await?;
    found.ok_or_else(|| Problem::not_found(Kind::BulkActionNotFound, "Bulk action"))
}
