//! Enrolments: which end users take part in which functions.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use larder_model::ids::EnrolmentId;
use larder_model::{Enrolment, EnrolmentStatus, PausedBy};
use larder_platform::common::Common;
use larder_platform::enrolments;
use larder_store::filters;
use larder_wire::enrolments::{EnrolmentChange, EnrolmentList, EnrolmentObject, NewEnrolment};
use larder_wire::scopes::Scope;
use serde_json::value::RawValue;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::queries::{self, ListParams};
use crate::api::requests::{self, Deleted, Ids};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

const SETTINGS_BYTES_MAX: usize = 8 * 1024;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, update, delete))
}

/// Settings as JSON text, which they are handed on as.
pub fn settings(settings: Option<Box<RawValue>>) -> Result<String, Problem> {
    let text = settings.map_or_else(|| "{}".to_owned(), |raw| String::from(Box::<str>::from(raw)));
    if !text.starts_with('{') {
        return Err(Problem::argument("settings", "must be an object"));
    }
    if text.len() > SETTINGS_BYTES_MAX {
        return Err(Problem::argument("settings", format!("must have at most {SETTINGS_BYTES_MAX} bytes as JSON")));
    }
    Ok(text)
}

#[utoipa::path(get, path = "/v1/enrolments", tag = "enrolments", operation_id = "listEnrolments", params(ListParams),
    responses((status = 200, body = EnrolmentList)))]
async fn list(
    State(common): State<Common>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<EnrolmentList>, Problem> {
    caller.may(Scope::EnrolmentsRead)?;
    let query = queries::parse(query.as_deref(), filters::ENROLMENTS, &[])?;
    let page = common.store.list_enrolments(&caller.partner, &query.listing).await?;
    Ok(Json(EnrolmentList { total: page.total, enrolments: page.rows.into_iter().map(Into::into).collect() }))
}

#[utoipa::path(post, path = "/v1/enrolments", tag = "enrolments", operation_id = "createEnrolment",
    request_body = NewEnrolment, responses((status = 201, body = EnrolmentObject)))]
async fn create(
    State(common): State<Common>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<EnrolmentObject>), Problem> {
    caller.may(Scope::EnrolmentsWrite)?;
    let body: NewEnrolment = requests::json(body, requests::BODY_MAX).await?;
    let now = common.clock.now_ms();
    let enrolment = Enrolment {
        partner: caller.partner.clone(),
        id: EnrolmentId::generate(&common.clock),
        function: requests::id("functionId", &requests::required("functionId", body.function_id.or(body.function))?)?,
        end_user: requests::text("endUser", requests::required("endUser", body.end_user)?, 1..=128)?,
        topic: requests::text("topic", requests::required("topic", body.topic)?, 1..=255)?,
        settings: settings(body.settings)?,
        status: EnrolmentStatus::Active,
        paused_by: None,
        created_at_ms: now,
        updated_at_ms: now,
    };
    enrolments::create(&common, &caller.tenant, &enrolment, PausedBy::Partner).await?;
    Ok((StatusCode::CREATED, Json(enrolment.into())))
}

/// The status of this word.
pub fn status(word: Option<String>) -> Result<Option<EnrolmentStatus>, Problem> {
    let known = |word: String| {
        EnrolmentStatus::from_word(&word)
            .ok_or_else(|| Problem::argument("status", format!("must be one of {}", EnrolmentStatus::WORDS.join(", "))))
    };
    word.map(known).transpose()
}

async fn find(common: &Common, caller: &Caller, id: &EnrolmentId) -> Result<Enrolment, Problem> {
    let found = common.store.enrolment(&caller.partner, id).await?;
    found.ok_or_else(|| Problem::not_found(Kind::EnrolmentNotFound, "Enrolment"))
}

#[utoipa::path(get, path = "/v1/enrolments/{enrolmentId}", tag = "enrolments", operation_id = "getEnrolment",
    responses((status = 200, body = EnrolmentObject)))]
async fn get(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Json<EnrolmentObject>, Problem> {
    caller.may(Scope::EnrolmentsRead)?;
    Ok(Json(find(&common, &caller, &ids.get("enrolmentId")?).await?.into()))
}

/// Replaces what is given; what is not stays.
#[utoipa::path(patch, path = "/v1/enrolments/{enrolmentId}", tag = "enrolments", operation_id = "updateEnrolment",
    request_body = EnrolmentChange, responses((status = 200, body = EnrolmentObject)))]
async fn update(
    State(common): State<Common>,
    caller: Caller,
    ids: Ids,
    body: Body,
) -> Result<Json<EnrolmentObject>, Problem> {
    caller.may(Scope::EnrolmentsWrite)?;
    let id = ids.get("enrolmentId")?;
    let change: EnrolmentChange = requests::json(body, requests::BODY_MAX).await?;
    let (status, settings) = (status(change.status)?, change.settings.map(|text| settings(Some(text))).transpose()?);
    let old = find(&common, &caller, &id).await?;
    enrolments::update(&common, &caller.tenant, &old, status, settings.as_deref(), PausedBy::Partner).await?;
    Ok(Json(find(&common, &caller, &id).await?.into()))
}

/// Its state goes with it; its executions and transactions stay.
#[utoipa::path(delete, path = "/v1/enrolments/{enrolmentId}", tag = "enrolments", operation_id = "deleteEnrolment",
    responses((status = 204)))]
async fn delete(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Deleted, Problem> {
    caller.may(Scope::EnrolmentsWrite)?;
    enrolments::delete(&common, &caller.partner, &ids.get("enrolmentId")?, PausedBy::Partner).await?;
    Ok(Deleted)
}
