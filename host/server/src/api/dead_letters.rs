//! Dead letters: executions that were given up. They can be read, redriven and discarded.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use larder_model::ids::FunctionId;
use larder_platform::common::Common;
use larder_platform::dead_letters;
use larder_store::listing::Listing;
use larder_store::{LetterGroup, filters};
use larder_wire::datetime;
use larder_wire::dead_letters::{DeadLetterList, LetterGroupList, LetterGroupObject, RedriveInput, RedrivenObject};
use larder_wire::executions::ExecutionObject;
use larder_wire::scopes::Scope;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::functions;
use crate::api::queries::{self, ListParams};
use crate::api::requests::{self, BODY_MAX, Deleted, Ids};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

/// Groups of a page.
const GROUPS: usize = 25;
const GROUPS_MAX: usize = 100;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(groups))
        .routes(routes!(redrive_all))
        .routes(routes!(get, discard))
        .routes(routes!(redrive))
}

/// The dead letters of all functions.
#[utoipa::path(get, path = "/v1/dead-letters", tag = "dead letters", operation_id = "listDeadLetters", params(ListParams),
    responses((status = 200, body = DeadLetterList)))]
async fn list(
    State(common): State<Common>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<DeadLetterList>, Problem> {
    caller.may(Scope::ExecutionsRead)?;
    let query = queries::parse(query.as_deref(), filters::DEAD_LETTERS, &[])?;
    let page = common.store.list_dead_letters(&caller.partner, &query.listing).await?;
    let dead_letters = page.rows.into_iter().map(ExecutionObject::from).collect();
    Ok(Json(DeadLetterList { total: page.total, dead_letters }))
}

/// Where a page of groups begins.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the handler reads")]
struct GroupParams {
    /// How many; 25 if it is not given, at most 100.
    limit: Option<usize>,
    /// The reason of the last group of the page before.
    after_reason: Option<String>,
    /// Its function.
    after_function: Option<String>,
}

/// The dead letters by function and by what they were given up for.
#[utoipa::path(get, path = "/v1/dead-letters/groups", tag = "dead letters", operation_id = "listDeadLetterGroups", params(GroupParams),
    responses((status = 200, body = LetterGroupList)))]
async fn groups(
    State(common): State<Common>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<LetterGroupList>, Problem> {
    caller.may(Scope::ExecutionsRead)?;
    let (mut limit, mut after) = (GROUPS, (None, String::new()));
    for (name, value) in queries::pairs(query.as_deref().unwrap_or_default()) {
        match name.as_str() {
            "limit" => {
                let given = value.parse().ok().filter(|given| (1..=GROUPS_MAX).contains(given));
                limit = given.ok_or_else(|| Problem::argument("limit", format!("must be 1 to {GROUPS_MAX}")))?;
            }
            "afterReason" => after.0 = Some(value),
            "afterFunction" => after.1 = value,
            _ => {}
        }
    }
    let after = after.0.map(|reason| (reason, after.1));
    let (groups, more) = dead_letters::groups(&common, &caller.tenant, after, limit).await?;
    let object = |group: LetterGroup| LetterGroupObject {
        function_id: group.function.into(),
        reason: group.reason.unwrap_or_default(),
        count: group.count,
        at_least: group.count >= Listing::COUNT_MAX.into(),
        oldest_at: datetime(group.oldest_at_ms),
        newest_at: datetime(group.newest_at_ms),
        example_id: group.example.into(),
    };
    Ok(Json(LetterGroupList { groups: groups.into_iter().map(object).collect(), more }))
}

#[utoipa::path(get, path = "/v1/dead-letters/{executionId}", tag = "dead letters", operation_id = "getDeadLetter",
    responses((status = 200, body = ExecutionObject)))]
async fn get(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Json<ExecutionObject>, Problem> {
    caller.may(Scope::ExecutionsRead)?;
    let found = common.store.dead_letter(&caller.partner, &ids.get("executionId")?).await?;
    Ok(Json(found.ok_or_else(|| Problem::not_found(Kind::DeadLetterNotFound, "Dead letter"))?.into()))
}

/// Puts a dead letter back into the queue, with all its attempts before it.
#[utoipa::path(post, path = "/v1/dead-letters/{executionId}/redrive", tag = "dead letters", operation_id = "redriveDeadLetter",
    responses((status = 202, body = ExecutionObject)))]
async fn redrive(
    State(common): State<Common>,
    caller: Caller,
    ids: Ids,
) -> Result<(StatusCode, Json<ExecutionObject>), Problem> {
    caller.may(Scope::ExecutionsWrite)?;
    let redriven = dead_letters::redrive(&common, &caller.tenant, &ids.get("executionId")?).await?;
    Ok((StatusCode::ACCEPTED, Json(redriven.into())))
}

/// Redrives the dead letters of a function, up to 500 of them at a time.
#[utoipa::path(post, path = "/v1/dead-letters/redrive", tag = "dead letters", operation_id = "redriveDeadLetters",
    request_body = RedriveInput, responses((status = 202, body = RedrivenObject)))]
async fn redrive_all(
    State(common): State<Common>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<RedrivenObject>), Problem> {
    caller.may(Scope::ExecutionsWrite)?;
    let input: RedriveInput = requests::json(body, BODY_MAX).await?;
    let function: FunctionId = requests::id("functionId", &requests::required("functionId", input.function_id)?)?;
    let before = match input.buried_before {
        Some(text) => requests::parse_datetime("buriedBefore", &text)?.timestamp_millis(),
        None => common.clock.now_ms(),
    };
    functions::find(&common, &caller.partner, &function).await?;
    let redriven = dead_letters::redrive_all(&common, &caller.tenant, &function, before).await?;
    let answer = RedrivenObject { total: redriven.total, more: redriven.more, buried_before: datetime(before) };
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// Makes a dead letter a failed execution like any other.
#[utoipa::path(delete, path = "/v1/dead-letters/{executionId}", tag = "dead letters", operation_id = "discardDeadLetter",
    responses((status = 204)))]
async fn discard(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Deleted, Problem> {
    caller.may(Scope::ExecutionsWrite)?;
    dead_letters::discard(&common, &caller.partner, &ids.get("executionId")?).await?;
    Ok(Deleted)
}
