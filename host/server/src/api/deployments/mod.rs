//! Deployments: `upload` takes them in, whole or in `chunks`, and `download` gives them back.

mod chunks;
mod download;
mod upload;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use larder_model::ids::{DeploymentId, FunctionId, PartnerId};
use larder_model::{Deployment, Digest, Function};
use larder_platform::common::Common;
use larder_platform::deployments::{self, NewDeployment};
use larder_store::filters;
use larder_wire::deployments::{BuildObject, DeploymentList, DeploymentObject, Duplicate};
use larder_wire::problem;
use larder_wire::scopes::Scope;
use serde::Serialize;
use serde_json::Value as JsonValue;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::functions;
use crate::api::queries::{self, ListParams};
use crate::api::requests::{self, Deleted, Ids};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, upload::create))
        .routes(routes!(duplicate))
        .routes(routes!(template))
        .routes(routes!(vcs))
        .routes(routes!(get, delete))
        .routes(routes!(download::download))
        .routes(routes!(cancel))
        .routes(routes!(build, cancel_build))
        .routes(routes!(build_again))
}

/// A [`DeploymentList`] whose objects may have only some of their members.
#[derive(Serialize)]
struct Selected {
    total: u64,
    deployments: Vec<JsonValue>,
}

/// The deployment of this function, or 404.
pub async fn find(
    common: &Common,
    partner: &PartnerId,
    function: &FunctionId,
    id: &DeploymentId,
) -> Result<Deployment, Problem> {
    let found = common.store.deployment(partner, function, id).await?;
    found.ok_or_else(|| Problem::not_found(Kind::DeploymentNotFound, "Deployment"))
}

pub async fn find_by_path(common: &Common, caller: &Caller, ids: &Ids) -> Result<Deployment, Problem> {
    let (function, id) = (ids.get("functionId")?, ids.get("deploymentId")?);
    functions::find(common, &caller.partner, &function).await?;
    find(common, &caller.partner, &function, &id).await
}

/// Stores a deployment of these bytes and has it built.
async fn begin(common: &Common, function: &Function, new: NewDeployment) -> Result<Deployment, Problem> {
    let id = requests::new_id("deploymentId", larder_wire::UNIQUE, &common.clock)?;
    Ok(deployments::begin(common, function, id, new).await?)
}

#[utoipa::path(get, path = "/v1/functions/{functionId}/deployments", tag = "deployments", operation_id = "listDeployments",
    params(ListParams, ("search" = Option<String>, Query, description = "Part of the id or entrypoint")),
    responses((status = 200, body = DeploymentList)))]
async fn list(
    State(common): State<Common>,
    caller: Caller,
    ids: Ids,
    RawQuery(query): RawQuery,
) -> Result<Json<Selected>, Problem> {
    caller.may(Scope::FunctionsRead)?;
    let function = ids.get("functionId")?;
    let query = queries::parse(query.as_deref(), filters::DEPLOYMENTS, &["id", "entrypoint"])?;
    functions::find(&common, &caller.partner, &function).await?;
    let page = common.store.list_deployments(&caller.partner, &function, &query.listing).await?;
    let deployments = page.rows.into_iter().map(|row| selected(row.into(), query.select.as_deref()));
    Ok(Json(Selected { total: page.total, deployments: deployments.collect::<Result<_, _>>()? }))
}

/// Keeps the attributes that `select` names, and those that begin with `$`.
fn selected(deployment: DeploymentObject, select: Option<&[String]>) -> Result<JsonValue, Problem> {
    let mut object = serde_json::to_value(deployment).map_err(Problem::internal)?;
    if let (Some(members), Some(select)) = (object.as_object_mut(), select)
        && !select.iter().any(|name| name == "*")
    {
        members.retain(|name, _| name.starts_with('$') || select.contains(name));
    }
    Ok(object)
}

#[utoipa::path(get, path = "/v1/functions/{functionId}/deployments/{deploymentId}", tag = "deployments",
    operation_id = "getDeployment", responses((status = 200, body = DeploymentObject)))]
async fn get(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Json<DeploymentObject>, Problem> {
    caller.may(Scope::FunctionsRead)?;
    Ok(Json(find_by_path(&common, &caller, &ids).await?.into()))
}

#[utoipa::path(delete, path = "/v1/functions/{functionId}/deployments/{deploymentId}", tag = "deployments",
    operation_id = "deleteDeployment", responses((status = 204)))]
async fn delete(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Deleted, Problem> {
    caller.may(Scope::FunctionsWrite)?;
    let deployment = find_by_path(&common, &caller, &ids).await?;
    deployments::delete(&common, &deployment).await?;
    Ok(Deleted)
}

/// Ends a build that has not ended.
#[utoipa::path(patch, path = "/v1/functions/{functionId}/deployments/{deploymentId}/status", tag = "deployments",
    operation_id = "updateDeploymentStatus", responses((status = 200, body = DeploymentObject)))]
async fn cancel(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Json<DeploymentObject>, Problem> {
    caller.may(Scope::FunctionsWrite)?;
    let mut deployment = find_by_path(&common, &caller, &ids).await?;
    deployments::cancel(&common, &mut deployment).await?;
    Ok(Json(deployment.into()))
}

/// Builds the same upload again, with the settings and grants that it asks for; it becomes active when it is ready.
#[utoipa::path(post, path = "/v1/functions/{functionId}/deployments/duplicate", tag = "deployments",
    operation_id = "createDuplicateDeployment", request_body = Duplicate, responses((status = 202, body = DeploymentObject)))]
async fn duplicate(
    State(common): State<Common>,
    caller: Caller,
    ids: Ids,
    body: Body,
) -> Result<(StatusCode, Json<DeploymentObject>), Problem> {
    caller.may(Scope::FunctionsWrite)?;
    let function = ids.get("functionId")?;
    let body: Duplicate = requests::json(body, requests::BODY_MAX).await?;
    let id = requests::id("deploymentId", &requests::required("deploymentId", body.deployment_id)?)?;
    Ok((StatusCode::ACCEPTED, Json(rebuild(&common, &caller, &function, &id).await?.into())))
}

/// Begins another build of an upload.
async fn rebuild(
    common: &Common,
    caller: &Caller,
    function: &FunctionId,
    id: &DeploymentId,
) -> Result<Deployment, Problem> {
    let function = functions::find(common, &caller.partner, function).await?;
    let source = find(common, &caller.partner, &function.id, id).await?;
    if source.source_digest == Digest::UNKNOWN {
        return Err(chunks::unfinished());
    }
    let new = NewDeployment {
        activate: true,
        kind: source.kind,
        entrypoint: if function.entrypoint.is_empty() { source.entrypoint } else { function.entrypoint.clone() },
        source_format: source.source_format,
        source_digest: source.source_digest,
        source_bytes: source.source_bytes,
        grants: source.grants,
        settings: source.settings,
        origin: source.origin,
        uploader: caller.key.clone(),
    };
    begin(common, &function, new).await
}

/// The same as a duplicate, as older clients ask for it.
#[utoipa::path(post, path = "/v1/functions/{functionId}/deployments/{deploymentId}/build", tag = "deployments",
    operation_id = "createBuild", responses((status = 204)))]
async fn build(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Deleted, Problem> {
    caller.may(Scope::FunctionsWrite)?;
    rebuild(&common, &caller, &ids.get("functionId")?, &ids.get("deploymentId")?).await?;
    Ok(Deleted)
}

/// The same as a duplicate, as still older clients ask for it. A deployment has one build, whatever its id.
#[utoipa::path(post, path = "/v1/functions/{functionId}/deployments/{deploymentId}/builds/{buildId}", tag = "deployments",
    operation_id = "retryBuild", responses((status = 204)))]
async fn build_again(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Deleted, Problem> {
    caller.may(Scope::FunctionsWrite)?;
    let (function, deployment) = (ids.get("functionId")?, ids.get("deploymentId")?);
    let _: DeploymentId = ids.get("buildId")?;
    rebuild(&common, &caller, &function, &deployment).await?;
    Ok(Deleted)
}

/// Ends a build that has not ended, as older clients ask for it.
#[utoipa::path(patch, path = "/v1/functions/{functionId}/deployments/{deploymentId}/build", tag = "deployments",
    operation_id = "updateDeploymentBuild", responses((status = 200, body = BuildObject)))]
async fn cancel_build(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Json<BuildObject>, Problem> {
    caller.may(Scope::FunctionsWrite)?;
    let mut deployment = find_by_path(&common, &caller, &ids).await?;
    deployments::cancel(&common, &mut deployment).await?;
    Ok(Json(deployment.into()))
}

fn not_offered(caller: &Caller, what: &str) -> Result<(), Problem> {
    caller.may(Scope::FunctionsWrite)?;
    Err(Problem::new(Kind::NotImplemented, format!("Deployments from {what} are not offered: upload a component")))
}

/// Not offered.
#[utoipa::path(post, path = "/v1/functions/{functionId}/deployments/template", tag = "deployments",
    operation_id = "createTemplateDeployment", responses((status = 405, body = problem::Error)))]
async fn template(caller: Caller) -> Result<(), Problem> {
    not_offered(&caller, "templates")
}

/// Not offered.
#[utoipa::path(post, path = "/v1/functions/{functionId}/deployments/vcs", tag = "deployments",
    operation_id = "createVcsDeployment", responses((status = 405, body = problem::Error)))]
async fn vcs(caller: Caller) -> Result<(), Problem> {
    not_offered(&caller, "version control")
}
