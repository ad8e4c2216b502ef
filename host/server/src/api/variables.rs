//! Variables of functions. A secret one can be replaced, never read or made plain again.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use larder_model::Variable;
use larder_model::grants::check;
use larder_model::ids::FunctionId;
use larder_store::filters;
use larder_wire::datetime;
use larder_wire::scopes::Scope;
use larder_wire::variables::{VariableInput, VariableList, VariableObject};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::functions::{self, changed};
use crate::api::queries::{self, ListParams};
use crate::api::requests::{self, Deleted, Ids};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

const VALUE_CHARS_MAX: usize = 8_192;
/// Of one function; together they are the guest's environment.
const VARIABLES_MAX: u64 = 100;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, update, delete))
}

pub fn object(app: &App, v: Variable) -> VariableObject {
    let value = if v.secret { String::new() } else { shown(app, &v) };
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

fn shown(app: &App, v: &Variable) -> String {
    match app.secrets.open(&place(v), &v.sealed) {
        Ok(value) => value.text().to_string(),
        Err(err) => {
            tracing::error!(function.id = %v.function, variable.id = %v.id, error = %err, "a variable cannot be shown");
            String::new()
        }
    }
}

/// What a value is sealed for; the directory and `larder_store::sealed` have the same.
fn place(v: &Variable) -> [&str; 3] {
    [v.partner.as_str(), v.function.as_str(), v.name.as_str()]
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

fn taken(err: larder_store::Error) -> Problem {
    Problem::or_taken(err, Kind::VariableExists, "A variable of this function has this ID or key already")
}

#[utoipa::path(get, path = "/v1/functions/{functionId}/variables", tag = "variables", operation_id = "listVariables",
    params(ListParams), responses((status = 200, body = VariableList)))]
async fn list(
    State(app): State<App>,
    caller: Caller,
    ids: Ids,
    RawQuery(query): RawQuery,
) -> Result<Json<VariableList>, Problem> {
    caller.may(Scope::FunctionsRead)?;
    let function = ids.get("functionId")?;
    let query = queries::parse(query.as_deref(), filters::VARIABLES, &[])?;
    functions::find(&app, &caller.partner, &function).await?;
    let page = app.store.list_variables(&caller.partner, &function, &query.listing).await?;
    let variables = page.rows.into_iter().map(|variable| object(&app, variable)).collect();
    Ok(Json(VariableList { total: page.total, variables }))
}

#[utoipa::path(post, path = "/v1/functions/{functionId}/variables", tag = "variables", operation_id = "createVariable",
    request_body = VariableInput, responses((status = 201, body = VariableObject)))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    ids: Ids,
    body: Body,
) -> Result<(StatusCode, Json<VariableObject>), Problem> {
    caller.may(Scope::FunctionsWrite)?;
    let function: FunctionId = ids.get("functionId")?;
    let input: VariableInput = requests::json(body, requests::BODY_MAX).await?;
    // Formats before 1.9.4 leave the id out.
    let id = requests::new_id("variableId", input.variable_id.as_deref().unwrap_or(larder_wire::UNIQUE), &app.clock)?;
    let name = key(requests::required("key", input.key)?)?;
    let value = value(requests::required("value", input.value)?)?;
    functions::find(&app, &caller.partner, &function).await?;
    if app.store.variables(&caller.partner, Some(&function)).await?.len() as u64 >= VARIABLES_MAX {
        return Err(Problem::new(Kind::BadRequest, format!("A function has at most {VARIABLES_MAX} variables")));
    }
    let now = app.clock.now_ms();
    let mut variable = Variable {
        partner: caller.partner.clone(),
        id,
        sealed: vec![],
        function: function.clone(),
        name,
        secret: input.secret.unwrap_or(true),
        revision: app.clock.ulid(),
        created_at_ms: now,
        updated_at_ms: now,
    };
    variable.sealed = app.secrets.seal(&place(&variable), value.as_bytes());
    app.store.insert_variable(&variable, &caller.changer(&app.clock)).await.map_err(taken)?;
    changed(&app, &caller.partner, &function).await?;
    Ok((StatusCode::CREATED, Json(object(&app, variable))))
}

async fn find(app: &App, caller: &Caller, ids: &Ids) -> Result<Variable, Problem> {
    let (function, id) = (ids.get("functionId")?, ids.get("variableId")?);
    functions::find(app, &caller.partner, &function).await?;
    let found = app.store.variable(&caller.partner, &function, &id).await?;
    found.ok_or_else(|| Problem::not_found(Kind::VariableNotFound, "Variable"))
}

#[utoipa::path(get, path = "/v1/functions/{functionId}/variables/{variableId}", tag = "variables",
    operation_id = "getVariable", responses((status = 200, body = VariableObject)))]
async fn get(State(app): State<App>, caller: Caller, ids: Ids) -> Result<Json<VariableObject>, Problem> {
    caller.may(Scope::FunctionsRead)?;
    let variable = find(&app, &caller, &ids).await?;
    Ok(Json(object(&app, variable)))
}

#[utoipa::path(put, path = "/v1/functions/{functionId}/variables/{variableId}", tag = "variables",
    operation_id = "updateVariable", request_body = VariableInput, responses((status = 200, body = VariableObject)))]
async fn update(State(app): State<App>, caller: Caller, ids: Ids, body: Body) -> Result<Json<VariableObject>, Problem> {
    caller.may(Scope::FunctionsWrite)?;
    let input: VariableInput = requests::json(body, requests::BODY_MAX).await?;
    if input.key.is_none() && input.value.is_none() && input.secret.is_none() {
        return Err(Problem::argument("key", "or `value` or `secret` must be given"));
    }
    let new_key = input.key.map(key).transpose()?;
    let new_value = input.value.map(value).transpose()?;
    let found = find(&app, &caller, &ids).await?;
    let mut variable = found.clone();
    if variable.secret && input.secret == Some(false) {
        return Err(Problem::new(Kind::UnsetSecret, "A secret variable cannot be made plain again"));
    }
    // Encrypted again in any case: the key is part of what the value is bound to.
    let old = match app.secrets.open(&place(&variable), &variable.sealed) {
        Ok(old) => Some(old),
        // What does not open can be replaced.
        Err(err) => new_value.is_none().then_some(Err(err)).transpose()?,
    };
    variable.name = new_key.unwrap_or(variable.name);
    let value = new_value.as_deref().map(str::as_bytes).or(old.as_deref()).unwrap_or_default();
    variable.sealed = app.secrets.seal(&place(&variable), value);
    variable.secret |= input.secret.unwrap_or(false);
    variable.updated_at_ms = app.clock.now_ms();
    // The same again is no change: deploys write what they have.
    let same = old.as_deref() == Some(value) && (&variable.name, variable.secret) == (&found.name, found.secret);
    if !same {
        variable.revision = app.clock.ulid();
    }
    app.store.update_variable(&found, &variable, &caller.changer(&app.clock)).await.map_err(taken)?;
    changed(&app, &caller.partner, &variable.function).await?;
    Ok(Json(object(&app, variable)))
}

#[utoipa::path(delete, path = "/v1/functions/{functionId}/variables/{variableId}", tag = "variables",
    operation_id = "deleteVariable", responses((status = 204)))]
async fn delete(State(app): State<App>, caller: Caller, ids: Ids) -> Result<Deleted, Problem> {
    caller.may(Scope::FunctionsWrite)?;
    let variable = find(&app, &caller, &ids).await?;
    app.store.delete_variable(&variable, &caller.changer(&app.clock)).await?;
    changed(&app, &caller.partner, &variable.function).await?;
    Ok(Deleted)
}
