//! Grants: which are effective, which a deployment requests, and their approval.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use larder_model::grants::{Difference, Leads, UncheckedGrants, check};
use larder_model::ids::KeyId;
use larder_model::{Deployment, Function, Grants, Partner};
use larder_platform::common::Common;
use larder_platform::grants;
use larder_store::filters;
use larder_store::listing::Listing;
use larder_wire::datetime;
use larder_wire::grants::{ApprovalObject, AskedObject, GrantChangeList, GrantsObject, NewApproval, shown};
use larder_wire::known::Known;
use larder_wire::scopes::Scope;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::queries::{self, ListParams};
use crate::api::requests::{self, Ids};
use crate::api::{deployments, functions};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get, set))
        .routes(routes!(get_of_deployment))
        .routes(routes!(approve))
        .routes(routes!(list_changes))
}

fn asked(function: &Function, leads: &Leads, d: Deployment) -> AskedObject {
    let in_force = leads.complete(&function.grants);
    let wanted = d.grants.as_ref().unwrap_or(&function.grants);
    let new = leads.bind(wanted);
    // A yes to what names led to before is none to what they lead to now.
    let approved = d.approval.is_some() && d.grants.as_ref().is_some_and(|approved| leads.are_of(approved));
    AskedObject {
        waits: !approved && !larder_model::grants::covers(&in_force, &leads.inherit(&in_force, wanted)),
        difference: Difference::between(&in_force, &new).into(),
        digest: check::digest(&in_force, &new),
        deployment_id: d.id.into(),
        status: d.status.word().into(),
        uploaded_by: d.uploader.map(String::from).unwrap_or_default(),
        approved_at: d.approval.as_ref().map(|approval| datetime(approval.at_ms)).unwrap_or_default(),
        approved_by: d.approval.map(|approval| approval.by.into()).unwrap_or_default(),
        grants: d.grants.map(|grants| Known::Known(shown(grants))),
    }
}

/// The grants of a function and what a deployment of it asks for.
pub async fn object(
    common: &Common,
    function: Function,
    deployment: Option<Deployment>,
) -> Result<GrantsObject, Problem> {
    let leads = common.store.leads(&function.partner, &function.id).await?;
    Ok(GrantsObject {
        moved: Difference::between(&leads.complete(&function.grants), &leads.bind(&function.grants)).extensions,
        deployment: deployment.map(|deployment| asked(&function, &leads, deployment)),
        function_id: function.id.into(),
        grants: Known::Known(shown(function.grants)),
    })
}

/// What is granted, in words.
pub fn in_words(grants: &Grants) -> Vec<String> {
    let all = Difference::between(&Grants::default(), grants).extensions;
    all.into_iter().map(|line| line.replacen("may now ", "may ", 1)).collect()
}

/// Grants as somebody sends them.
pub fn parse(body: &[u8]) -> Result<Grants, Problem> {
    let sent: UncheckedGrants = requests::parse_json(body)?;
    check::check(sent).map_err(|complaints| {
        let all: Vec<String> =
            complaints.iter().map(|complaint| format!("`{}`: {}", complaint.key, complaint.why)).collect();
        Problem::new(Kind::ArgumentInvalid, format!("Invalid {}", all.join("; ")))
    })
}

/// Why a deployment cannot become active, who can change that, and how.
pub fn not_approved(partner: &Partner, function: &Function, d: &Deployment) -> Problem {
    let asked = shown(d.grants.as_ref().unwrap_or(&function.grants).clone());
    let extensions = Difference::between(&function.grants, &asked).extensions;
    let another = if partner.approval_by_another { ", another one than the uploader's," } else { "" };
    let message = format!(
        "The function {}: that is not granted. A key with the scope grants.write{another} can approve it: \
         larder grants approve {} {}",
        extensions.join("; "),
        function.id,
        d.id
    );
    Problem::new(Kind::GrantsNotApproved, message)
}

/// The caller's key; whoever has a scope has one.
fn key(caller: &Caller) -> Result<&KeyId, Problem> {
    caller.key.as_ref().ok_or_else(|| Problem::internal("a guest with a scope"))
}

#[utoipa::path(get, path = "/v1/functions/{functionId}/grants", tag = "grants", operation_id = "getGrants",
    responses((status = 200, body = GrantsObject)))]
async fn get(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Json<GrantsObject>, Problem> {
    caller.may(Scope::GrantsRead)?;
    let function = functions::find(&common, &caller.partner, &ids.get("functionId")?).await?;
    newest(&common, function).await
}

async fn newest(common: &Common, function: Function) -> Result<Json<GrantsObject>, Problem> {
    let newest = common.store.list_deployments(&function.partner, &function.id, &Listing::newest(1)).await?.rows.pop();
    Ok(Json(object(common, function, newest).await?))
}

/// Puts grants in force, all of them at once. What they take away is enforced from the answer on.
#[utoipa::path(put, path = "/v1/functions/{functionId}/grants", tag = "grants", operation_id = "updateGrants",
    request_body = Object, responses((status = 200, body = GrantsObject)))]
async fn set(
    State(common): State<Common>,
    caller: Caller,
    ids: Ids,
    body: Body,
) -> Result<Json<GrantsObject>, Problem> {
    caller.may(Scope::GrantsWrite)?;
    let id = ids.get("functionId")?;
    let new = parse(&requests::bytes(body, requests::BODY_MAX).await?)?;
    let present = functions::find(&common, &caller.partner, &id).await?;
    grants::set(&common, &present, &new, key(&caller)?, caller.has(Scope::FunctionsWrite)).await?;
    newest(&common, functions::find(&common, &caller.partner, &id).await?).await
}

#[utoipa::path(get, path = "/v1/functions/{functionId}/deployments/{deploymentId}/grants", tag = "grants",
    operation_id = "getDeploymentGrants", responses((status = 200, body = GrantsObject)))]
async fn get_of_deployment(
    State(common): State<Common>,
    caller: Caller,
    ids: Ids,
) -> Result<Json<GrantsObject>, Problem> {
    caller.may(Scope::GrantsRead)?;
    Ok(Json(read(&common, &caller, &ids).await?))
}

async fn read(common: &Common, caller: &Caller, ids: &Ids) -> Result<GrantsObject, Problem> {
    let deployment = deployments::find_by_path(common, caller, ids).await?;
    let function = functions::find(common, &caller.partner, &deployment.function).await?;
    object(common, function, Some(deployment)).await
}

/// Says yes to what the deployment asks for, as it was read. If it was uploaded to become active, it does.
#[utoipa::path(post, path = "/v1/functions/{functionId}/deployments/{deploymentId}/grants/approval", tag = "grants",
    operation_id = "createGrantApproval", request_body = NewApproval, responses((status = 200, body = ApprovalObject)))]
async fn approve(
    State(common): State<Common>,
    caller: Caller,
    ids: Ids,
    body: Body,
) -> Result<Json<ApprovalObject>, Problem> {
    caller.may(Scope::GrantsWrite)?;
    let body: NewApproval = requests::json(body, requests::BODY_MAX).await?;
    let digest = requests::required("digest", body.digest)?;
    let d = deployments::find_by_path(&common, &caller, &ids).await?;
    let function = functions::find(&common, &caller.partner, &d.function).await?;
    let active = grants::approve(&common, &function, &d, &digest, key(&caller)?).await?;
    Ok(Json(ApprovalObject { grants: read(&common, &caller, &ids).await?, active }))
}

/// Who changed or approved what, also of functions that are gone.
#[utoipa::path(get, path = "/v1/grants/changes", tag = "grants", operation_id = "listGrantChanges",
    params(ListParams), responses((status = 200, body = GrantChangeList)))]
async fn list_changes(
    State(common): State<Common>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<GrantChangeList>, Problem> {
    caller.may(Scope::GrantsRead)?;
    let query = queries::parse(query.as_deref(), filters::GRANT_CHANGES, &[])?;
    let page = common.store.list_grant_changes(&caller.partner, &query.listing).await?;
    Ok(Json(GrantChangeList { total: page.total, grant_changes: page.rows.into_iter().map(Into::into).collect() }))
}
