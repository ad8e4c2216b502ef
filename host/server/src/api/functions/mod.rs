//! Functions: `object` makes their objects, `input` has the rules for what callers set.

pub(super) mod input;
mod object;
mod scopes;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use larder_model::ids::{DeploymentId, FunctionId, PartnerId};
use larder_model::{BuildStatus, Function};
use larder_platform::jobs::retention;
use larder_store::listing::Listing;
use larder_store::{Removal, Removed, filters};
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
}

/// The function, or 404.
pub async fn find(app: &App, partner: &PartnerId, id: &FunctionId) -> Result<Function, Problem> {
    app.store.function(partner, id).await?.ok_or_else(not_found)
}

fn not_found() -> Problem {
    Problem::not_found(Kind::FunctionNotFound, "Function")
}

/// Lets a change of a function, its deployments or variables take effect: before it is answered, in this process.
pub async fn changed(app: &App, partner: &PartnerId, id: &FunctionId) -> Result<(), Problem> {
    Ok(larder_platform::deployments::changed(app, partner, id).await?)
}

async fn object(app: &App, function: Function) -> Result<Json<FunctionObject>, Problem> {
    let mut context = Context::read(app, &function.partner, std::slice::from_ref(&function)).await?;
    Ok(Json(context.object(function)))
}

#[utoipa::path(get, path = "/v1/functions", tag = "functions", operation_id = "listFunctions",
    params(ListParams, ("search" = Option<String>, Query, description = "Part of the id, name or runtime")),
    responses((status = 200, body = FunctionList)))]
async fn list(
    State(app): State<App>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<FunctionList>, Problem> {
    caller.may(Scope::FunctionsRead)?;
    let query = queries::parse(query.as_deref(), filters::FUNCTIONS, &["id", "name", "runtime"])?;
    let page = app.store.list_functions(&caller.partner, &query.listing).await?;
    let mut context = Context::read(&app, &caller.partner, &page.rows).await?;
    let functions = page.rows.into_iter().map(|function| context.object(function)).collect();
    Ok(Json(FunctionList { total: page.total, functions }))
}

#[utoipa::path(post, path = "/v1/functions", tag = "functions", operation_id = "createFunction",
    request_body = FunctionInput, responses((status = 201, body = FunctionObject)))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<FunctionObject>), Problem> {
    caller.may(Scope::FunctionsWrite)?;
    let mut input: FunctionInput = requests::json(body, requests::BODY_MAX).await?;
    let id = requests::new_id("functionId", &requests::required("functionId", input.function_id.take())?, &app.clock)?;
    let mut function = fresh(&app, &caller.partner, id);
    input::apply(input, &app, &mut function)?;
    // What is beyond would be missing in the directory's snapshot.
    if caller.tenant.functions.len() >= Listing::LIMIT_MAX as usize {
        return Err(Problem::new(Kind::BadRequest, format!("A project has at most {} functions", Listing::LIMIT_MAX)));
    }
    insert(&app, &function).await?;
    changed(&app, &function.partner, &function.id).await?;
    Ok((StatusCode::CREATED, object(&app, function).await?))
}

async fn insert(app: &App, function: &Function) -> Result<(), Problem> {
    let taken = |err| Problem::or_taken(err, Kind::FunctionExists, "A function with this ID exists already");
    match app.store.insert_function(function).await {
        // What is left of the old one goes now, if it is not much.
        Err(larder_store::Error::BeingRemoved(id)) => {
            let removal = Removal { partner: function.partner.clone(), what: Removed::Function(id) };
            retention::sweep_at_once(app, &removal).await;
            app.store.insert_function(function).await.map_err(taken)
        }
        done => done.map_err(taken),
    }
}

/// A function of which nothing is set.
fn fresh(app: &App, partner: &PartnerId, id: FunctionId) -> Function {
    let specification = crate::api::runtimes::SPECIFICATION_DEFAULT.to_owned();
    Function { specification, ..Function::new(partner.clone(), id, app.clock.now_ms()) }
}

#[utoipa::path(get, path = "/v1/functions/{functionId}", tag = "functions", operation_id = "getFunction",
    responses((status = 200, body = FunctionObject)))]
async fn get(State(app): State<App>, caller: Caller, ids: Ids) -> Result<Json<FunctionObject>, Problem> {
    caller.may(Scope::FunctionsRead)?;
    let id: FunctionId = ids.get("functionId")?;
    match app.store.function(&caller.partner, &id).await? {
        Some(function) => object(&app, function).await,
        // Paths of the replaced platform that are nothing here; a function may have such an id all the same.
        None if matches!(id.as_str(), "usage" | "templates") => Err(Problem::no_such_route()),
        None => Err(not_found()),
    }
}

#[utoipa::path(put, path = "/v1/functions/{functionId}", tag = "functions", operation_id = "updateFunction",
    request_body = FunctionInput, responses((status = 200, body = FunctionObject)))]
async fn update(State(app): State<App>, caller: Caller, ids: Ids, body: Body) -> Result<Json<FunctionObject>, Problem> {
    caller.may(Scope::FunctionsWrite)?;
    let id = ids.get("functionId")?;
    let input: FunctionInput = requests::json(body, requests::BODY_MAX).await?;
    let present = app.store.function(&caller.partner, &id).await?;
    // Wrong parameters are reported before a missing function, so they are applied to a fresh one if there is none.
    let mut function = present.clone().unwrap_or_else(|| {
        let runtime = input.runtime.clone().filter(|runtime| !runtime.is_empty());
        Function { runtime: runtime.unwrap_or_else(|| "wasi-0.2".into()), ..fresh(&app, &caller.partner, id) }
    });
    input::apply(input, &app, &mut function)?;
    present.ok_or_else(not_found)?;
    function.updated_at_ms = app.clock.now_ms();
    app.store.update_function(&function).await?;
    changed(&app, &function.partner, &function.id).await?;
    let function = find(&app, &function.partner, &function.id).await?;
    object(&app, function).await
}

#[utoipa::path(delete, path = "/v1/functions/{functionId}", tag = "functions", operation_id = "deleteFunction",
    responses((status = 204)))]
async fn delete(State(app): State<App>, caller: Caller, ids: Ids) -> Result<Deleted, Problem> {
    caller.may(Scope::FunctionsWrite)?;
    let id = ids.get("functionId")?;
    let removal = app.store.delete_function(&caller.partner, &id, app.clock.now_ms()).await?;
    changed(&app, &caller.partner, &id).await?;
    retention::sweep_at_once(&app, &removal).await;
    Ok(Deleted)
}

#[utoipa::path(patch, path = "/v1/functions/{functionId}/deployment", tag = "functions",
    operation_id = "updateFunctionDeployment", request_body = Activation, responses((status = 200, body = FunctionObject)))]
async fn activate(
    State(app): State<App>,
    caller: Caller,
    ids: Ids,
    body: Body,
) -> Result<Json<FunctionObject>, Problem> {
    caller.may(Scope::FunctionsWrite)?;
    let function = ids.get("functionId")?;
    let body: Activation = requests::json(body, requests::BODY_MAX).await?;
    let deployment = requests::id("deploymentId", &requests::required("deploymentId", body.deployment_id)?)?;
    make_active(&app, &caller, &function, &deployment).await
}

/// The older path of the same.
#[utoipa::path(patch, path = "/v1/functions/{functionId}/deployments/{deploymentId}", tag = "functions",
    operation_id = "updateDeployment", responses((status = 200, body = FunctionObject)))]
async fn activate_by_path(State(app): State<App>, caller: Caller, ids: Ids) -> Result<Json<FunctionObject>, Problem> {
    caller.may(Scope::FunctionsWrite)?;
    make_active(&app, &caller, &ids.get("functionId")?, &ids.get("deploymentId")?).await
}

async fn make_active(
    app: &App,
    caller: &Caller,
    function: &FunctionId,
    deployment: &DeploymentId,
) -> Result<Json<FunctionObject>, Problem> {
    let partner = &caller.partner;
    find(app, partner, function).await?;
    let deployment = crate::api::deployments::find(app, partner, function, deployment).await?;
    if deployment.status != BuildStatus::Ready {
        let status = deployment.status.word();
        return Err(Problem::new(Kind::BuildNotReady, format!("The build of this deployment is {status}, not ready")));
    }
    if !larder_platform::deployments::activate(app, &deployment, caller.key.as_ref()).await? {
        let present = find(app, partner, function).await?;
        return Err(crate::api::grants::not_approved(&caller.tenant.partner, &present, &deployment));
    }
    object(app, find(app, partner, function).await?).await
}
