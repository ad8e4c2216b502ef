//! Partners and their keys: the operator's.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use larder_model::Partner;
use larder_model::ids::{KeyId, PartnerId};
use larder_platform::common::Common;
use larder_platform::{keys, partners};
use larder_wire::partners::{KeyList, KeyObject, NewKey, NewPartner, PartnerList, PartnerObject, PartnerPatch};
use larder_wire::scopes::{Scope, is_scope};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::requests::{self, Deleted, Ids};
use crate::app::App;
use crate::auth::Operator;
use crate::problem::{Kind, Problem};

const SCOPES_MAX: usize = 100;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update))
        .routes(routes!(list_keys, create_key))
        .routes(routes!(delete_key))
}

async fn find(common: &Common, ids: &Ids) -> Result<Partner, Problem> {
    let id: PartnerId = ids.get("partnerId")?;
    let found = common.store.partners().await?.into_iter().find(|partner| partner.id == id);
    found.ok_or_else(|| Problem::not_found(Kind::PartnerNotFound, "Partner"))
}

#[utoipa::path(get, path = "/v1/partners", tag = "partners", operation_id = "listPartners", security(("operator" = [])),
    responses((status = 200, body = PartnerList)))]
async fn list(State(common): State<Common>, _: Operator) -> Result<Json<PartnerList>, Problem> {
    let partners: Vec<PartnerObject> = common.store.partners().await?.into_iter().map(Into::into).collect();
    Ok(Json(PartnerList { total: partners.len(), partners }))
}

#[utoipa::path(post, path = "/v1/partners", tag = "partners", operation_id = "createPartner", security(("operator" = [])),
    request_body = NewPartner, responses((status = 201, body = PartnerObject)))]
async fn create(
    State(common): State<Common>,
    _: Operator,
    body: Body,
) -> Result<(StatusCode, Json<PartnerObject>), Problem> {
    let body: NewPartner = requests::json(body, requests::BODY_MAX).await?;
    let id: PartnerId = requests::id("partnerId", &requests::required("partnerId", body.partner_id)?)?;
    if !id.is_label() {
        let why = "must be a DNS label of at most 30 of a-z 0-9 - that does not end in - or -api";
        return Err(Problem::argument("partnerId", why));
    }
    let name = requests::text("name", requests::required("name", body.name)?, 1..=128)?;
    let partner = partners::create(&common, &id, &name).await?;
    Ok((StatusCode::CREATED, Json(partner.into())))
}

#[utoipa::path(get, path = "/v1/partners/{partnerId}", tag = "partners", operation_id = "getPartner",
    security(("operator" = [])), responses((status = 200, body = PartnerObject)))]
async fn get(State(common): State<Common>, _: Operator, ids: Ids) -> Result<Json<PartnerObject>, Problem> {
    Ok(Json(find(&common, &ids).await?.into()))
}

#[utoipa::path(patch, path = "/v1/partners/{partnerId}", tag = "partners", operation_id = "updatePartner",
    security(("operator" = [])), request_body = PartnerPatch, responses((status = 200, body = PartnerObject)))]
async fn update(
    State(common): State<Common>,
    _: Operator,
    ids: Ids,
    body: Body,
) -> Result<Json<PartnerObject>, Problem> {
    let body: PartnerPatch = requests::json(body, requests::BODY_MAX).await?;
    let name = body.name.map(|name| requests::text("name", name, 1..=128)).transpose()?;
    let mut partner = find(&common, &ids).await?;
    partner.name = name.unwrap_or(partner.name);
    partner.approval_by_another = body.approval_by_another.unwrap_or(partner.approval_by_another);
    partners::update(&common, &mut partner).await?;
    Ok(Json(partner.into()))
}

#[utoipa::path(get, path = "/v1/partners/{partnerId}/keys", tag = "partners", operation_id = "listKeys",
    security(("operator" = [])), responses((status = 200, body = KeyList)))]
async fn list_keys(State(common): State<Common>, _: Operator, ids: Ids) -> Result<Json<KeyList>, Problem> {
    let partner = find(&common, &ids).await?;
    let keys = common.store.keys(&partner.id).await?;
    let keys: Vec<KeyObject> = keys.into_iter().map(|key| KeyObject::new(key, None)).collect();
    Ok(Json(KeyList { total: keys.len(), keys }))
}

/// The answer has the key's text, which is told this once and kept nowhere.
#[utoipa::path(post, path = "/v1/partners/{partnerId}/keys", tag = "partners", operation_id = "createKey",
    security(("operator" = [])), request_body = NewKey, responses((status = 201, body = KeyObject)))]
async fn create_key(
    State(common): State<Common>,
    _: Operator,
    ids: Ids,
    body: Body,
) -> Result<(StatusCode, Json<KeyObject>), Problem> {
    let body: NewKey = requests::json(body, requests::BODY_MAX).await?;
    let scopes = requests::required("scopes", body.scopes)?;
    if scopes.len() > SCOPES_MAX {
        return Err(Problem::argument("scopes", format!("may have at most {SCOPES_MAX} values")));
    }
    if let Some(unknown) = scopes.iter().find(|scope| !is_scope(scope)) {
        let known: Vec<&str> = Scope::ALL.iter().map(|scope| scope.words()[0]).collect();
        return Err(Problem::argument(
            "scopes",
            format!("{unknown:?} is not a scope of a key; there are {}", known.join(", ")),
        ));
    }
    let name = requests::text("name", body.name.unwrap_or_default(), 0..=128)?;
    let expires_at_ms = match body.expire.filter(|text| !text.is_empty()) {
        Some(text) => Some(requests::parse_datetime("expire", &text)?.timestamp_millis()),
        None => None,
    };
    if expires_at_ms.is_some_and(|at| at <= common.clock.now_ms()) {
        return Err(Problem::argument("expire", "is in the past"));
    }
    let of = body.administrator_id.filter(|id| !id.is_empty());
    let of = of.map(|id| requests::id("administratorId", &id)).transpose()?;
    let partner = find(&common, &ids).await?;
    let new = keys::NewKey { name, scopes, expires_at_ms, of };
    let (key, text) = keys::create(&common, &partner.id, new).await?;
    Ok((StatusCode::CREATED, Json(KeyObject::new(key, Some(text)))))
}

#[utoipa::path(delete, path = "/v1/partners/{partnerId}/keys/{keyId}", tag = "partners", operation_id = "deleteKey",
    security(("operator" = [])), responses((status = 204)))]
async fn delete_key(State(common): State<Common>, _: Operator, ids: Ids) -> Result<Deleted, Problem> {
    let id: KeyId = ids.get("keyId")?;
    let partner = find(&common, &ids).await?;
    keys::delete(&common, &partner.id, &id).await?;
    Ok(Deleted)
}
