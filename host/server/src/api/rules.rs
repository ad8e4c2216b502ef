//! Proxy rules: domains by which a partner's functions and API are called.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use larder_egress::Client;
use larder_model::ids::FunctionId;
use larder_model::rules::Reaches;
use larder_platform::common::Common;
use larder_platform::domains::{self, Domains};
use larder_platform::rules;
use larder_store::{ListedRule, filters};
use larder_wire::rules::{NewApiRule, NewRule, NewSiteRule, RuleList, RuleObject};
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

fn object(common: &Common, listed: ListedRule) -> RuleObject {
    let ListedRule { rule, deployment, certificate } = listed;
    let renew_at_ms = certificate.as_ref().and_then(|found| found.not_after_ms.map(|_| found.due_at_ms));
    let missing = certificate.map(|found| found.error);
    RuleObject::new(rule, deployment, &common.settings.server.functions_domain, (missing, renew_at_ms))
}

/// Makes a rule for a domain.
async fn insert(
    (common, egress): (Common, Client),
    caller: &Caller,
    domain: Option<String>,
    reaches: Reaches,
) -> Result<(StatusCode, Json<RuleObject>), Problem> {
    let domain = requests::chars("domain", requests::required("domain", domain)?, 1..=DOMAIN_CHARS_MAX)?;
    let id = requests::new_id("ruleId", UNIQUE, &common.clock)?;
    let domains = Domains { common, egress };
    let rule = rules::create(&domains, &caller.partner, id, reaches, &domain).await?;
    Ok((StatusCode::CREATED, Json(object(&domains, rule))))
}

fn no_branch(branch: Option<String>) -> Result<(), Problem> {
    match branch.is_some_and(|branch| !branch.is_empty()) {
        true => Err(Problem::argument("branch", "there is no version control here")),
        false => Ok(()),
    }
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
    State(egress): State<Client>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<RuleObject>), Problem> {
    caller.may(Scope::RulesWrite)?;
    let input: NewRule = requests::json(body, requests::BODY_MAX).await?;
    let domain = requests::required("domain", input.domain)?;
    let function: FunctionId = requests::id("functionId", &requests::required("functionId", input.function_id)?)?;
    no_branch(input.branch)?;
    insert((common, egress), &caller, Some(domain), Reaches::Function(function)).await
}

/// A domain of the project's own for its API. Networks of `doors.api` reach it there, as at `P-api.ROOT`.
#[utoipa::path(post, path = "/v1/proxy/rules/api", tag = "rules", operation_id = "createAPIRule",
    request_body = NewApiRule, responses((status = 201, body = RuleObject)))]
async fn create_api(
    State(common): State<Common>,
    State(egress): State<Client>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<RuleObject>), Problem> {
    caller.may(Scope::RulesWrite)?;
    let input: NewApiRule = requests::json(body, requests::BODY_MAX).await?;
    insert((common, egress), &caller, input.domain, Reaches::Api).await
}

/// A domain of the project's own for its functions by their routes, as at `P.ROOT`: they are its one site.
#[utoipa::path(post, path = "/v1/proxy/rules/site", tag = "rules", operation_id = "createSiteRule",
    request_body = NewSiteRule, responses((status = 201, body = RuleObject)))]
async fn create_site(
    State(common): State<Common>,
    State(egress): State<Client>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<RuleObject>), Problem> {
    caller.may(Scope::RulesWrite)?;
    let input: NewSiteRule = requests::json(body, requests::BODY_MAX).await?;
    no_branch(input.branch)?;
    if input.site_id.is_some_and(|id| !id.is_empty() && id != caller.partner.as_str()) {
        let message = "The project has one site, its functions by their routes, whose ID is the project's";
        return Err(Problem::new(Kind::RuleResourceNotFound, message));
    }
    insert((common, egress), &caller, input.domain, Reaches::Functions).await
}

/// Not offered.
#[utoipa::path(post, path = "/v1/proxy/rules/redirect", tag = "rules", operation_id = "createRedirectRule",
    responses((status = 405, body = problem::Error)))]
async fn create_redirect(caller: Caller) -> Result<(), Problem> {
    caller.may(Scope::RulesWrite)?;
    Err(Problem::new(Kind::NotImplemented, "Redirects are not offered: a function may answer with one"))
}

async fn find(common: &Common, caller: &Caller, ids: &Ids) -> Result<ListedRule, Problem> {
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

/// Looks for the proof that the domain is the project's. Without it the answer says which record is missing. A domain below the
/// domain of functions needs none.
#[utoipa::path(patch, path = "/v1/proxy/rules/{ruleId}/status", tag = "rules", operation_id = "updateRuleStatus",
    responses((status = 200, body = RuleObject)))]
async fn verify(
    State(common): State<Common>,
    State(egress): State<Client>,
    caller: Caller,
    ids: Ids,
) -> Result<Json<RuleObject>, Problem> {
    caller.may(Scope::RulesWrite)?;
    let found = find(&common, &caller, &ids).await?;
    let domains = Domains { common, egress };
    domains::verify(&domains, &found.rule).await?;
    Ok(Json(object(&domains, find(&domains, &caller, &ids).await?)))
}

/// The older path of the same.
#[utoipa::path(patch, path = "/v1/proxy/rules/{ruleId}/verification", tag = "rules",
    operation_id = "updateRuleVerification", responses((status = 200, body = RuleObject)))]
async fn verify_by_older_path(
    common: State<Common>,
    egress: State<Client>,
    caller: Caller,
    ids: Ids,
) -> Result<Json<RuleObject>, Problem> {
    verify(common, egress, caller, ids).await
}
