//! Proxy rules: domains by which functions are called ([`crate::web`]).

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use larder_model::ids::FunctionId;
use larder_platform::common::Common;
use larder_platform::rules;
use larder_store::{DeployedRule, filters};
use larder_wire::rules::{NewRule, RuleList, RuleObject};
use larder_wire::scopes::Scope;
use larder_wire::{UNIQUE, problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::queries::{self, ListParams};
use crate::api::requests::{self, Deleted, Ids};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

const DOMAIN_CHARS_MAX: usize = 253;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(create))
        .routes(routes!(create_api))
        .routes(routes!(create_redirect))
        .routes(routes!(create_site))
        .routes(routes!(get, delete))
        .routes(routes!(verify))
        .routes(routes!(verify_by_older_path))
}

fn object(common: &Common, (rule, deployment): DeployedRule) -> RuleObject {
    RuleObject::new(rule, deployment, &common.settings.server.functions_domain)
}

#[utoipa::path(get, path = "/v1/proxy/rules", tag = "rules", operation_id = "listRules",
    params(ListParams, ("search" = Option<String>, Query, description = "Part of the id or domain")),
    responses((status = 200, body = RuleList)))]
async fn list(
    State(common): State<Common>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<RuleList>, Problem> {
    caller.may(Scope::RulesRead)?;
    let query = queries::parse(query.as_deref(), filters::RULES, &["id", "domain"])?;
    let page = common.store.list_rules(&caller.partner, &query.listing).await?;
    let rules = page.rows.into_iter().map(|row| object(&common, row)).collect();
    Ok(Json(RuleList { total: page.total, rules }))
}

#[utoipa::path(post, path = "/v1/proxy/rules/function", tag = "rules", operation_id = "createFunctionRule",
    request_body = NewRule, responses((status = 201, body = RuleObject)))]
async fn create(
    State(common): State<Common>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<RuleObject>), Problem> {
    caller.may(Scope::RulesWrite)?;
    let input: NewRule = requests::json(body, requests::BODY_MAX).await?;
    let domain = requests::chars("domain", requests::required("domain", input.domain)?, 1..=DOMAIN_CHARS_MAX)?;
    let function: FunctionId = requests::id("functionId", &requests::required("functionId", input.function_id)?)?;
    if input.branch.is_some_and(|branch| !branch.is_empty()) {
        return Err(Problem::argument("branch", "there is no version control here"));
    }
    let id = requests::new_id("ruleId", UNIQUE, &common.clock)?;
    let rule = rules::create(&common, &caller.partner, id, function, &domain).await?;
    Ok((StatusCode::CREATED, Json(object(&common, rule))))
}

fn not_offered(caller: &Caller, what: &str) -> Result<(), Problem> {
    caller.may(Scope::RulesWrite)?;
    Err(Problem::new(Kind::NotImplemented, format!("Domains of {what} are not offered: only functions have domains")))
}

/// Not offered.
#[utoipa::path(post, path = "/v1/proxy/rules/api", tag = "rules", operation_id = "createAPIRule",
    responses((status = 405, body = problem::Error)))]
async fn create_api(caller: Caller) -> Result<(), Problem> {
    not_offered(&caller, "the API")
}

/// Not offered.
#[utoipa::path(post, path = "/v1/proxy/rules/redirect", tag = "rules", operation_id = "createRedirectRule",
    responses((status = 405, body = problem::Error)))]
async fn create_redirect(caller: Caller) -> Result<(), Problem> {
    not_offered(&caller, "redirects")
}

/// Not offered.
#[utoipa::path(post, path = "/v1/proxy/rules/site", tag = "rules", operation_id = "createSiteRule",
    responses((status = 405, body = problem::Error)))]
async fn create_site(caller: Caller) -> Result<(), Problem> {
    not_offered(&caller, "sites")
}

async fn find(common: &Common, caller: &Caller, ids: &Ids) -> Result<DeployedRule, Problem> {
    let found = common.store.rule(&caller.partner, &ids.get("ruleId")?).await?;
    found.ok_or_else(|| Problem::not_found(Kind::RuleNotFound, "Rule"))
}

#[utoipa::path(get, path = "/v1/proxy/rules/{ruleId}", tag = "rules", operation_id = "getRule",
    responses((status = 200, body = RuleObject)))]
async fn get(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Json<RuleObject>, Problem> {
    caller.may(Scope::RulesRead)?;
    Ok(Json(object(&common, find(&common, &caller, &ids).await?)))
}

#[utoipa::path(delete, path = "/v1/proxy/rules/{ruleId}", tag = "rules", operation_id = "deleteRule",
    responses((status = 204)))]
async fn delete(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Deleted, Problem> {
    caller.may(Scope::RulesWrite)?;
    rules::delete(&common, &caller.partner, &ids.get("ruleId")?).await?;
    Ok(Deleted)
}

/// Verifies the domain again. A domain below the domain of functions is always verified.
#[utoipa::path(patch, path = "/v1/proxy/rules/{ruleId}/status", tag = "rules", operation_id = "updateRuleStatus",
    responses((status = 200, body = RuleObject)))]
async fn verify(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Json<RuleObject>, Problem> {
    caller.may(Scope::RulesWrite)?;
    Ok(Json(object(&common, find(&common, &caller, &ids).await?)))
}

/// The older path of the same.
#[utoipa::path(patch, path = "/v1/proxy/rules/{ruleId}/verification", tag = "rules",
    operation_id = "updateRuleVerification", responses((status = 200, body = RuleObject)))]
async fn verify_by_older_path(common: State<Common>, caller: Caller, ids: Ids) -> Result<Json<RuleObject>, Problem> {
    verify(common, caller, ids).await
}
