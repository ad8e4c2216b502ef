//! Functions: `object` makes their objects, `input` has the rules for what callers set.

pub(super) mod input;
mod object;
mod scopes;
mod usage;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use larder_model::Function;
use larder_model::ids::{DeploymentId, FunctionId, PartnerId};
use larder_platform::common::{Common, Sealer};
use larder_platform::{deployments, functions};
use larder_store::filters;
use larder_wire::functions::{Activation, FunctionInput, FunctionList, FunctionObject};
use larder_wire::scopes::Scope;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::object::Context;
use crate::api::queries::{self, ListParams};
use crate::api::requests::{self, Deleted, Ids};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, delete))
        .routes(routes!(activate))
        .routes(routes!(activate_by_path))
        .routes(routes!(usage::all))
        .routes(routes!(usage::one))
}

/// The function, or 404.
pub async fn find(common: &Common, partner: &PartnerId, id: &FunctionId) -> Result<Function, Problem> {
    common.store.function(partner, id).await?.ok_or_else(not_found)
}

fn not_found() -> Problem {
    Problem::not_found(Kind::FunctionNotFound, "Function")
}

async fn object(sealer: &Sealer, function: Function) -> Result<Json<FunctionObject>, Problem> {
    let mut context = Context::read(sealer, &function.partner, std::slice::from_ref(&function)).await?;
    Ok(Json(context.object(function)))
}

#[utoipa::path(get, path = "/v1/functions", tag = "functions", operation_id = "listFunctions",
    params(ListParams, ("search" = Option<String>, Query, description = "Part of the id, name or runtime")),
    responses((status = 200, body = FunctionList)))]
async fn list(
    State(sealer): State<Sealer>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<FunctionList>, Problem> {
    caller.may(Scope::FunctionsRead)?;
    let query = queries::parse(query.as_deref(), filters::FUNCTIONS, &["id", "name", "runtime"])?;
    let page = sealer.store.list_functions(&caller.partner, &query.listing).await?;
    let mut context = Context::read(&sealer, &caller.partner, &page.rows).await?;
    let functions = page.rows.into_iter().map(|function| context.object(function)).collect();
    Ok(Json(FunctionList { total: page.total, functions }))
}

#[utoipa::path(post, path = "/v1/functions", tag = "functions", operation_id = "createFunction",
    request_body = FunctionInput, responses((status = 201, body = FunctionObject)))]
async fn create(
    State(sealer): State<Sealer>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<FunctionObject>), Problem> {
    caller.may(Scope::FunctionsWrite)?;
    let mut input: FunctionInput = requests::json(body, requests::BODY_MAX).await?;
    let id =
        requests::new_id("functionId", &requests::required("functionId", input.function_id.take())?, &sealer.clock)?;
    let mut function = fresh(&sealer, &caller.partner, id);
    input::apply(input, &sealer, &mut function)?;
    functions::create(&sealer, &caller.tenant, &function).await?;
    Ok((StatusCode::CREATED, object(&sealer, function).await?))
}

/// A function of which nothing is set.
fn fresh(common: &Common, partner: &PartnerId, id: FunctionId) -> Function {
    let specification = crate::api::runtimes::SPECIFICATION_DEFAULT.to_owned();
    Function { specification, ..Function::new(partner.clone(), id, common.clock.now_ms()) }
}

#[utoipa::path(get, path = "/v1/functions/{functionId}", tag = "functions", operation_id = "getFunction",
    responses((status = 200, body = FunctionObject)))]
async fn get(State(sealer): State<Sealer>, caller: Caller, ids: Ids) -> Result<Json<FunctionObject>, Problem> {
    caller.may(Scope::FunctionsRead)?;
    let id: FunctionId = ids.get("functionId")?;
    match sealer.store.function(&caller.partner, &id).await? {
        Some(function) => object(&sealer, function).await,
        // Paths of the replaced platform that are nothing here; a function may have such an id all the same.
        None if matches!(id.as_str(), "usage" | "templates") => Err(Problem::no_such_route()),
        None => Err(not_found()),
    }
}

#[utoipa::path(put, path = "/v1/functions/{functionId}", tag = "functions", operation_id = "updateFunction",
    request_body = FunctionInput, responses((status = 200, body = FunctionObject)))]
async fn update(
    State(sealer): State<Sealer>,
    caller: Caller,
    ids: Ids,
    body: Body,
) -> Result<Json<FunctionObject>, Problem> {
    caller.may(Scope::FunctionsWrite)?;
    let id = ids.get("functionId")?;
    let input: FunctionInput = requests::json(body, requests::BODY_MAX).await?;
    let present = sealer.store.function(&caller.partner, &id).await?;
    // Wrong parameters are reported before a missing function, so they are applied to a fresh one if there is none.
    let mut function = present.clone().unwrap_or_else(|| {
        let runtime = input.runtime.clone().filter(|runtime| !runtime.is_empty());
        Function { runtime: runtime.unwrap_or_else(|| "wasi-0.2".into()), ..fresh(&sealer, &caller.partner, id) }
    });
    input::apply(input, &sealer, &mut function)?;
    present.ok_or_else(not_found)?;
    functions::update(&sealer, &mut function).await?;
    let function = find(&sealer, &function.partner, &function.id).await?;
    object(&sealer, function).await
}

#[utoipa::path(delete, path = "/v1/functions/{functionId}", tag = "functions", operation_id = "deleteFunction",
    responses((status = 204)))]
async fn delete(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Deleted, Problem> {
    caller.may(Scope::FunctionsWrite)?;
    functions::delete(&common, &caller.partner, &ids.get("functionId")?).await?;
    Ok(Deleted)
}

#[utoipa::path(patch, path = "/v1/functions/{functionId}/deployment", tag = "functions",
    operation_id = "updateFunctionDeployment", request_body = Activation, responses((status = 200, body = FunctionObject)))]
async fn activate(
    State(sealer): State<Sealer>,
    caller: Caller,
    ids: Ids,
    body: Body,
) -> Result<Json<FunctionObject>, Problem> {
    caller.may(Scope::FunctionsWrite)?;
    let function = ids.get("functionId")?;
    let body: Activation = requests::json(body, requests::BODY_MAX).await?;
    let deployment = requests::id("deploymentId", &requests::required("deploymentId", body.deployment_id)?)?;
    make_active(&sealer, &caller, &function, &deployment).await
}

/// The older path of the same.
#[utoipa::path(patch, path = "/v1/functions/{functionId}/deployments/{deploymentId}", tag = "functions",
    operation_id = "updateDeployment", responses((status = 200, body = FunctionObject)))]
async fn activate_by_path(
    State(sealer): State<Sealer>,
    caller: Caller,
    ids: Ids,
) -> Result<Json<FunctionObject>, Problem> {
    caller.may(Scope::FunctionsWrite)?;
    make_active(&sealer, &caller, &ids.get("functionId")?, &ids.get("deploymentId")?).await
}

async fn make_active(
    sealer: &Sealer,
    caller: &Caller,
    function: &FunctionId,
    deployment: &DeploymentId,
) -> Result<Json<FunctionObject>, Problem> {
    let partner = &caller.partner;
    find(sealer, partner, function).await?;
    let deployment = crate::api::deployments::find(sealer, partner, function, deployment).await?;
    if !deployments::activate(sealer, &deployment, caller.key.as_ref()).await? {
        let present = find(sealer, partner, function).await?;
        return Err(crate::api::grants::not_approved(&caller.tenant.partner, &present, &deployment));
    }
    object(sealer, find(sealer, partner, function).await?).await
}
