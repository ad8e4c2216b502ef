//! Fronts of the installation, as the operator sees them.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use larder_platform::common::Common;
use larder_platform::fronts::{self, Fronts};
use larder_wire::fronts::{FrontList, FrontObject, NewFront};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::queries::{self, ListParams};
use crate::api::requests::{self, Ids};
use crate::app::App;
use crate::auth::Operator;
use crate::problem::{Kind, Problem};

/// Bytes of an enrolment.
const BODY_MAX: usize = 64 * 1024;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(enrol)).routes(routes!(list)).routes(routes!(get)).routes(routes!(remove))
}

/// Enrols a front by its public key. The same once more gives it another certificate.
#[utoipa::path(post, path = "/v1/operator/fronts", tag = "fronts", operation_id = "enrolFront",
    security(("operator" = [])), request_body = NewFront, responses((status = 201, body = FrontObject)))]
async fn enrol(
    State(service): State<Fronts>,
    _: Operator,
    body: Body,
) -> Result<(StatusCode, Json<FrontObject>), Problem> {
    let body: NewFront = requests::json(body, BODY_MAX).await?;
    let new = fronts::NewFront {
        name: requests::required("name", body.name)?,
        public_key: requests::required("publicKey", body.public_key)?,
        names: body.names.unwrap_or_default(),
    };
    let (front, certificate) = fronts::enrol(&service, new).await?;
    Ok((StatusCode::CREATED, Json(FrontObject { certificate: Some(certificate), ..front.into() })))
}

/// In order of the names; there are at most 64.
#[utoipa::path(get, path = "/v1/operator/fronts", tag = "fronts", operation_id = "listFronts",
    security(("operator" = [])), params(ListParams), responses((status = 200, body = FrontList)))]
async fn list(
    State(common): State<Common>,
    _: Operator,
    RawQuery(query): RawQuery,
) -> Result<Json<FrontList>, Problem> {
    let query = queries::parse(query.as_deref(), &[], &[])?;
    let after = match &query.listing.cursor {
        Some((after, false)) => after.as_str(),
        Some((_, true)) => return Err(Problem::argument("queries", "cursorBefore is not offered for fronts")),
        None => "",
    };
    let all = common.store.fronts().await?;
    let total = all.len();
    let rows = all.into_iter().filter(|front| front.name.as_str() > after).take(query.listing.limit as usize);
    Ok(Json(FrontList { total, fronts: rows.map(Into::into).collect() }))
}

#[utoipa::path(get, path = "/v1/operator/fronts/{name}", tag = "fronts", operation_id = "getFront",
    security(("operator" = [])), responses((status = 200, body = FrontObject)))]
async fn get(State(common): State<Common>, _: Operator, ids: Ids) -> Result<Json<FrontObject>, Problem> {
    let name = ids.text("name")?;
    let found = common.store.fronts().await?.into_iter().find(|front| front.name == name);
    Ok(Json(found.ok_or_else(|| Problem::not_found(Kind::FrontNotFound, "Front"))?.into()))
}

/// Refuses a front from now on, its running connections too.
#[utoipa::path(delete, path = "/v1/operator/fronts/{name}", tag = "fronts", operation_id = "removeFront",
    security(("operator" = [])), responses((status = 204)))]
async fn remove(State(service): State<Fronts>, _: Operator, ids: Ids) -> Result<StatusCode, Problem> {
    fronts::remove(&service, ids.text("name")?).await?;
    Ok(StatusCode::NO_CONTENT)
}
