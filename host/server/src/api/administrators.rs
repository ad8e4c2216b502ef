//! Administrators, as the operator manages them.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use larder_model::administrators::{Administrator, RoleIn};
use larder_platform::administrator_links::{self, Made};
use larder_platform::administrators::{self, Administration, AdministratorChange, NewAdministrator};
use larder_platform::common::Common;
use larder_wire::administrators::{AdministratorInput, AdministratorList, AdministratorObject, LinkObject, RoleObject};
use larder_wire::datetime;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::requests::{self, Deleted, Ids};
use crate::app::App;
use crate::auth::Operator;
use crate::letters;
use crate::problem::{Kind, Problem};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, update, delete)).routes(routes!(link))
}

fn roles(roles: Vec<RoleObject>) -> Result<Vec<RoleIn>, Problem> {
    roles.iter().map(RoleObject::read).collect::<Result<_, _>>().map_err(|why| Problem::argument("roles", why))
}

async fn find(common: &Common, ids: &Ids) -> Result<Administrator, Problem> {
    let found = common.store.administrator(&ids.get("administratorId")?).await?;
    found.ok_or_else(|| Problem::not_found(Kind::AdministratorNotFound, "Administrator"))
}

#[utoipa::path(get, path = "/v1/operator/administrators", tag = "administrators", operation_id = "listAdministrators",
    security(("operator" = [])), responses((status = 200, body = AdministratorList)))]
async fn list(State(common): State<Common>, _: Operator) -> Result<Json<AdministratorList>, Problem> {
    let all = common.store.administrators().await?;
    let administrators: Vec<AdministratorObject> = all.into_iter().map(Into::into).collect();
    Ok(Json(AdministratorList { total: administrators.len(), administrators }))
}

/// The address counts as verified: the operator vouches for it.
#[utoipa::path(post, path = "/v1/operator/administrators", tag = "administrators", operation_id = "createAdministrator",
    security(("operator" = [])), request_body = AdministratorInput, responses((status = 201, body = AdministratorObject)))]
async fn create(
    State(administration): State<Administration>,
    _: Operator,
    body: Body,
) -> Result<(StatusCode, Json<AdministratorObject>), Problem> {
    let input: AdministratorInput = requests::json(body, requests::BODY_MAX).await?;
    let new = NewAdministrator {
        email: requests::required("email", input.email)?,
        name: requests::text("name", input.name.unwrap_or_default(), 0..=128)?,
        password: input.password,
        roles: roles(requests::required("roles", input.roles)?)?,
    };
    let created = administrators::create(&administration, new).await?;
    Ok((StatusCode::CREATED, Json(created.into())))
}

#[utoipa::path(get, path = "/v1/operator/administrators/{administratorId}", tag = "administrators",
    operation_id = "getAdministrator", security(("operator" = [])), responses((status = 200, body = AdministratorObject)))]
async fn get(State(common): State<Common>, _: Operator, ids: Ids) -> Result<Json<AdministratorObject>, Problem> {
    Ok(Json(find(&common, &ids).await?.into()))
}

/// Replaces what is given; what is not stays. A new password ends all sessions, and whatever attempts have failed before.
#[utoipa::path(patch, path = "/v1/operator/administrators/{administratorId}", tag = "administrators",
    operation_id = "updateAdministrator", security(("operator" = [])), request_body = AdministratorInput,
    responses((status = 200, body = AdministratorObject)))]
async fn update(
    State(administration): State<Administration>,
    _: Operator,
    ids: Ids,
    body: Body,
) -> Result<Json<AdministratorObject>, Problem> {
    let input: AdministratorInput = requests::json(body, requests::BODY_MAX).await?;
    let change = AdministratorChange {
        email: input.email,
        name: input.name.map(|name| requests::text("name", name, 0..=128)).transpose()?,
        password: input.password,
        roles: input.roles.map(roles).transpose()?,
        no_second_factor: match input.mfa {
            Some(true) => return Err(Problem::argument("mfa", "is set up by the person alone, in the console")),
            sent => sent.is_some(),
        },
    };
    let mut administrator = find(&administration, &ids).await?;
    administrators::update(&administration, &mut administrator, change).await?;
    Ok(Json(administrator.into()))
}

/// Makes a link with which the person sets a password. It is mailed to them if there is mail here; otherwise the operator hands it
/// over.
#[utoipa::path(post, path = "/v1/operator/administrators/{administratorId}/link", tag = "administrators",
    operation_id = "createAdministratorLink", security(("operator" = [])), responses((status = 201, body = LinkObject)))]
async fn link(
    State(administration): State<Administration>,
    _: Operator,
    ids: Ids,
) -> Result<(StatusCode, Json<LinkObject>), Problem> {
    let administrator = find(&administration, &ids).await?;
    let now = administration.clock.now_ms();
    let letter = |made: &Made| letters::invitation(&administration.settings, &administrator, made, now);
    let (made, mailed) = administrator_links::invite(&administration, &administrator, letter).await?;
    Ok((StatusCode::CREATED, Json(LinkObject { url: made.url, expires_at: datetime(made.expires_at_ms), mailed })))
}

/// Deletes an administrator, whose sessions end.
#[utoipa::path(delete, path = "/v1/operator/administrators/{administratorId}", tag = "administrators",
    operation_id = "deleteAdministrator", security(("operator" = [])), responses((status = 204)))]
async fn delete(State(common): State<Common>, _: Operator, ids: Ids) -> Result<Deleted, Problem> {
    administrators::delete(&common, &ids.get("administratorId")?).await?;
    Ok(Deleted)
}
