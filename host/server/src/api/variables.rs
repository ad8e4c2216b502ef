//! Variables of functions and, by the same handlers, of the project: every function has these that has none of that key
//! itself. A secret one can be replaced, never read or made plain again.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use larder_model::Variable;
use larder_model::grants::check;
use larder_model::ids::FunctionId;
use larder_platform::common::Sealer;
use larder_platform::variables::{self, NewVariable, VariableChange};
use larder_store::filters;
use larder_wire::datetime;
use larder_wire::scopes::Scope;
use larder_wire::variables::{VariableInput, VariableList, VariableObject};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use crate::api::functions;
use crate::api::owners;
use crate::api::queries::{self, ListParams};
use crate::api::requests::{self, Deleted, Ids};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

const VALUE_CHARS_MAX: usize = 8_192;

pub fn router() -> OpenApiRouter<App> {
    let (all, one) = (routes!(list, create), routes!(get, update, delete));
    OpenApiRouter::new().routes(of_project(all.clone())).routes(of_project(one.clone())).routes(all).routes(one)
}

/// The same operations on the variables of the project.
fn of_project(routes: UtoipaMethodRouter<App>) -> UtoipaMethodRouter<App> {
    let (from, to) = ("/v1/functions/{functionId}/variables", "/v1/project/variables");
    owners::elsewhere(routes, ("Variable", "ProjectVariable"), |path| path.replacen(from, to, 1))
}

/// Whose variables a request is about, if the caller may do this with them: a function's or, with `None`, the project's.
struct Owner<'i>(Option<&'i Ids>);

impl<'i> Owner<'i> {
    fn of(caller: &Caller, ids: &'i Ids, function: Scope, project: Scope) -> Result<Owner<'i>, Problem> {
        let of_function = ids.has("functionId");
        caller.may(if of_function { function } else { project })?;
        Ok(Owner(of_function.then_some(ids)))
    }

    fn read(caller: &Caller, ids: &'i Ids) -> Result<Owner<'i>, Problem> {
        Owner::of(caller, ids, Scope::FunctionsRead, Scope::ProjectRead)
    }

    fn write(caller: &Caller, ids: &'i Ids) -> Result<Owner<'i>, Problem> {
        Owner::of(caller, ids, Scope::FunctionsWrite, Scope::ProjectWrite)
    }

    /// The function, which exists.
    async fn find(&self, sealer: &Sealer, caller: &Caller) -> Result<Option<FunctionId>, Problem> {
        let Some(ids) = self.0 else { return Ok(None) };
        let function = ids.get("functionId")?;
        functions::find(sealer, &caller.partner, &function).await?;
        Ok(Some(function))
    }

    async fn find_variable(&self, sealer: &Sealer, caller: &Caller, ids: &Ids) -> Result<Variable, Problem> {
        let id = ids.get("variableId")?;
        let function = self.find(sealer, caller).await?;
        let found = sealer.store.variable(&caller.partner, function.as_ref(), &id).await?;
        found.ok_or_else(|| Problem::not_found(Kind::VariableNotFound, "Variable"))
    }
}

pub fn object(sealer: &Sealer, v: Variable) -> VariableObject {
    let value = if v.secret { String::new() } else { shown(sealer, &v) };
    VariableObject {
        id: v.id.into(),
        created_at: datetime(v.created_at_ms),
        updated_at: datetime(v.updated_at_ms),
        key: v.name,
        value,
        secret: v.secret,
        resource_type: if v.function.is_some() { "function" } else { "project" }.into(),
        resource_id: v.function.map(String::from).unwrap_or_default(),
    }
}

fn shown(sealer: &Sealer, v: &Variable) -> String {
    match sealer.secrets.open(&v.place(), &v.sealed) {
        Ok(value) => value.text().to_string(),
        Err(err) => {
            let function = v.function.as_ref().map_or("", FunctionId::as_str);
            tracing::error!(function.id = function, variable.id = %v.id, error = %err, "a variable cannot be shown");
            String::new()
        }
    }
}

fn key(key: String) -> Result<String, Problem> {
    check::check_variable(&key).map_err(|why| Problem::argument("key", why))?;
    Ok(key)
}

fn value(value: String) -> Result<String, Problem> {
    if value.contains('\0') {
        return Err(Problem::argument("value", "must not contain NUL"));
    }
    requests::chars("value", value, 0..=VALUE_CHARS_MAX)
}

#[utoipa::path(get, path = "/v1/functions/{functionId}/variables", tag = "variables", operation_id = "listVariables",
    params(ListParams), responses((status = 200, body = VariableList)))]
async fn list(
    State(sealer): State<Sealer>,
    caller: Caller,
    ids: Ids,
    RawQuery(query): RawQuery,
) -> Result<Json<VariableList>, Problem> {
    let owner = Owner::read(&caller, &ids)?;
    let query = queries::parse(query.as_deref(), filters::VARIABLES, &[])?;
    let function = owner.find(&sealer, &caller).await?;
    let page = sealer.store.list_variables(&caller.partner, function.as_ref(), &query.listing).await?;
    let variables = page.rows.into_iter().map(|variable| object(&sealer, variable)).collect();
    Ok(Json(VariableList { total: page.total, variables }))
}

#[utoipa::path(post, path = "/v1/functions/{functionId}/variables", tag = "variables", operation_id = "createVariable",
    request_body = VariableInput, responses((status = 201, body = VariableObject)))]
async fn create(
    State(sealer): State<Sealer>,
    caller: Caller,
    ids: Ids,
    body: Body,
) -> Result<(StatusCode, Json<VariableObject>), Problem> {
    let owner = Owner::write(&caller, &ids)?;
    let input: VariableInput = requests::json(body, requests::BODY_MAX).await?;
    // Formats before 1.9.4 leave the id out.
    let id =
        requests::new_id("variableId", input.variable_id.as_deref().unwrap_or(larder_wire::UNIQUE), &sealer.clock)?;
    let name = key(requests::required("key", input.key)?)?;
    let value = value(requests::required("value", input.value)?)?;
    let function = owner.find(&sealer, &caller).await?;
    let partner = caller.partner.clone();
    let new = NewVariable { partner, function, id, name, value, secret: input.secret.unwrap_or(true) };
    let variable = variables::create(&sealer, new, &caller.changer(&sealer.clock)).await?;
    Ok((StatusCode::CREATED, Json(object(&sealer, variable))))
}

#[utoipa::path(get, path = "/v1/functions/{functionId}/variables/{variableId}", tag = "variables",
    operation_id = "getVariable", responses((status = 200, body = VariableObject)))]
async fn get(State(sealer): State<Sealer>, caller: Caller, ids: Ids) -> Result<Json<VariableObject>, Problem> {
    let variable = Owner::read(&caller, &ids)?.find_variable(&sealer, &caller, &ids).await?;
    Ok(Json(object(&sealer, variable)))
}

#[utoipa::path(put, path = "/v1/functions/{functionId}/variables/{variableId}", tag = "variables",
    operation_id = "updateVariable", request_body = VariableInput, responses((status = 200, body = VariableObject)))]
async fn update(
    State(sealer): State<Sealer>,
    caller: Caller,
    ids: Ids,
    body: Body,
) -> Result<Json<VariableObject>, Problem> {
    let owner = Owner::write(&caller, &ids)?;
    let input: VariableInput = requests::json(body, requests::BODY_MAX).await?;
    if input.key.is_none() && input.value.is_none() && input.secret.is_none() {
        return Err(Problem::argument("key", "or `value` or `secret` must be given"));
    }
    let change = VariableChange {
        name: input.key.map(key).transpose()?,
        value: input.value.map(value).transpose()?,
        secret: input.secret,
    };
    let old = owner.find_variable(&sealer, &caller, &ids).await?;
    let variable = variables::update(&sealer, &old, change, &caller.changer(&sealer.clock)).await?;
    Ok(Json(object(&sealer, variable)))
}

#[utoipa::path(delete, path = "/v1/functions/{functionId}/variables/{variableId}", tag = "variables",
    operation_id = "deleteVariable", responses((status = 204)))]
async fn delete(State(sealer): State<Sealer>, caller: Caller, ids: Ids) -> Result<Deleted, Problem> {
    let variable = Owner::write(&caller, &ids)?.find_variable(&sealer, &caller, &ids).await?;
    variables::delete(&sealer, &variable, &caller.changer(&sealer.clock)).await?;
    Ok(Deleted)
}
