//! Variables of functions. A secret one can be replaced, never read or made plain again.

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
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::functions;
use crate::api::queries::{self, ListParams};
use crate::api::requests::{self, Deleted, Ids};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

const VALUE_CHARS_MAX: usize = 8_192;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, update, delete))
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
        resource_type: "function".into(),
        resource_id: v.function.into(),
    }
}

fn shown(sealer: &Sealer, v: &Variable) -> String {
    match sealer.secrets.open(&v.place(), &v.sealed) {
        Ok(value) => value.text().to_string(),
        Err(err) => {
            tracing::error!(function.id = %v.function, variable.id = %v.id, error = %err, "a variable cannot be shown");
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
    caller.may(Scope::FunctionsRead)?;
    let function = ids.get("functionId")?;
    let query = queries::parse(query.as_deref(), filters::VARIABLES, &[])?;
    functions::find(&sealer, &caller.partner, &function).await?;
    let page = sealer.store.list_variables(&caller.partner, &function, &query.listing).await?;
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
    caller.may(Scope::FunctionsWrite)?;
    let function: FunctionId = ids.get("functionId")?;
    let input: VariableInput = requests::json(body, requests::BODY_MAX).await?;
    // Formats before 1.9.4 leave the id out.
    let id =
        requests::new_id("variableId", input.variable_id.as_deref().unwrap_or(larder_wire::UNIQUE), &sealer.clock)?;
    let name = key(requests::required("key", input.key)?)?;
    let value = value(requests::required("value", input.value)?)?;
    functions::find(&sealer, &caller.partner, &function).await?;
    let partner = caller.partner.clone();
    let new = NewVariable { partner, function, id, name, value, secret: input.secret.unwrap_or(true) };
    let variable = variables::create(&sealer, new, &caller.changer(&sealer.clock)).await?;
    Ok((StatusCode::CREATED, Json(object(&sealer, variable))))
}

async fn find(sealer: &Sealer, caller: &Caller, ids: &Ids) -> Result<Variable, Problem> {
    let (function, id) = (ids.get("functionId")?, ids.get("variableId")?);
    functions::find(sealer, &caller.partner, &function).await?;
    let found = sealer.store.variable(&caller.partner, &function, &id).await?;
    found.ok_or_else(|| Problem::not_found(Kind::VariableNotFound, "Variable"))
}

#[utoipa::path(get, path = "/v1/functions/{functionId}/variables/{variableId}", tag = "variables",
    operation_id = "getVariable", responses((status = 200, body = VariableObject)))]
async fn get(State(sealer): State<Sealer>, caller: Caller, ids: Ids) -> Result<Json<VariableObject>, Problem> {
    caller.may(Scope::FunctionsRead)?;
    let variable = find(&sealer, &caller, &ids).await?;
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
    caller.may(Scope::FunctionsWrite)?;
    let input: VariableInput = requests::json(body, requests::BODY_MAX).await?;
    if input.key.is_none() && input.value.is_none() && input.secret.is_none() {
        return Err(Problem::argument("key", "or `value` or `secret` must be given"));
    }
    let change = VariableChange {
        name: input.key.map(key).transpose()?,
        value: input.value.map(value).transpose()?,
        secret: input.secret,
    };
    let old = find(&sealer, &caller, &ids).await?;
    let variable = variables::update(&sealer, &old, change, &caller.changer(&sealer.clock)).await?;
    Ok(Json(object(&sealer, variable)))
}

#[utoipa::path(delete, path = "/v1/functions/{functionId}/variables/{variableId}", tag = "variables",
    operation_id = "deleteVariable", responses((status = 204)))]
async fn delete(State(sealer): State<Sealer>, caller: Caller, ids: Ids) -> Result<Deleted, Problem> {
    caller.may(Scope::FunctionsWrite)?;
    let variable = find(&sealer, &caller, &ids).await?;
    variables::delete(&sealer, &variable, &caller.changer(&sealer.clock)).await?;
    Ok(Deleted)
}
