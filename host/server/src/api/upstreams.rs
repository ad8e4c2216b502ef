//! Named external services: a partner's own, and those of the operator, which all partners share.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use larder_egress::upstreams::Upstreams;
use larder_model::time::Clock;
use larder_model::upstreams::is_name;
use larder_model::{Upstream, UpstreamSettings};
use larder_platform::common::{Common, Owner, Sealer};
use larder_platform::upstreams;
use larder_store::Changer;
use larder_wire::datetime;
use larder_wire::scopes::Scope;
use larder_wire::upstreams::{UpstreamList, UpstreamObject};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::owners;
use crate::api::requests::{self, Deleted, Ids};
use crate::app::App;
use crate::auth::Author;
use crate::problem::{Kind, Problem};

pub fn router() -> OpenApiRouter<App> {
    owners::router("Upstream", [routes!(list, create), routes!(get, update, delete)])
}

/// `name` (create only), the settings, and in `secret` the text of the credential.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the document: it is read as a map, so that what is not given stays")]
struct UpstreamInput {
    name: Option<String>,
    secret: Option<String>,
    /// Its members stand beside these (`document`).
    settings: UpstreamSettings,
    /// Of the operator's: functions that were granted it go on where it leads elsewhere now, without another yes.
    keep_approvals: Option<bool>,
}

async fn object(breakers: &Upstreams, asked_by: &Owner, upstream: Upstream) -> Json<UpstreamObject> {
    let own = upstream.owner == *asked_by;
    Json(UpstreamObject {
        owner: if upstream.owner.is_some() { "partner" } else { "operator" }.into(),
        created_at: datetime(upstream.created_at_ms),
        updated_at: datetime(upstream.updated_at_ms),
        has_secret: upstream.sealed.is_some(),
        breaker_state: breakers.breaker(asked_by.as_ref(), &upstream).await,
        name: upstream.name,
        settings: own.then_some(upstream.settings),
    })
}

/// The author of this change. `keepApprovals` is removed from its input.
fn changer<'a>(author: &'a Author, input: &mut Map<String, Value>, clock: &'a Clock) -> Result<Changer<'a>, Problem> {
    let keep = match input.remove("keepApprovals") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(keep)) => keep,
        Some(_) => return Err(Problem::argument("keepApprovals", "must be true or false")),
    };
    match author {
        Author::Partner(_) if keep => {
            Err(Problem::argument("keepApprovals", "applies only to upstreams of the operator"))
        }
        Author::Partner(caller) => Ok(caller.changer(clock)),
        Author::Operator => Ok(Changer { key: None, approves: keep, may_upload: false, names_feeds: keep, clock }),
    }
}

fn text(input: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Problem> {
    match input.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Problem::argument(name, "must be a string")),
    }
}

#[utoipa::path(get, path = "/v1/upstreams", tag = "upstreams", operation_id = "listUpstreams",
    responses((status = 200, body = UpstreamList)))]
async fn list(
    State(common): State<Common>,
    State(breakers): State<Upstreams>,
    author: Author,
) -> Result<Json<UpstreamList>, Problem> {
    author.may(Scope::UpstreamsRead)?;
    let owner = author.owner();
    let mut objects = vec![];
    for upstream in upstreams::visible(&common, &owner).await? {
        objects.push(object(&breakers, &owner, upstream).await.0);
    }
    Ok(Json(UpstreamList { total: objects.len(), upstreams: objects }))
}

#[utoipa::path(post, path = "/v1/upstreams", tag = "upstreams", operation_id = "createUpstream",
    request_body = UpstreamInput, responses((status = 201, body = UpstreamObject)))]
async fn create(
    State(sealer): State<Sealer>,
    State(breakers): State<Upstreams>,
    author: Author,
    body: Body,
) -> Result<(StatusCode, Json<UpstreamObject>), Problem> {
    author.may(Scope::UpstreamsWrite)?;
    let mut input: Map<String, Value> = requests::json(body, requests::BODY_MAX).await?;
    let by = changer(&author, &mut input, &sealer.clock)?;
    let name = requests::required("name", text(&mut input, "name")?)?;
    if !is_name(&name) {
        return Err(Problem::argument("name", "must be a DNS label: a-z, 0-9 and - between them, at most 63"));
    }
    let secret = text(&mut input, "secret")?;
    requests::required("url", input.get("url"))?;
    let settings = requests::typed(Value::Object(input))?;
    let owner = author.owner();
    let created = upstreams::create(&sealer, owner.clone(), name, settings, secret, &by).await?;
    Ok((StatusCode::CREATED, object(&breakers, &owner, created).await))
}

#[utoipa::path(get, path = "/v1/upstreams/{name}", tag = "upstreams", operation_id = "getUpstream",
    responses((status = 200, body = UpstreamObject)))]
async fn get(
    State(common): State<Common>,
    State(breakers): State<Upstreams>,
    author: Author,
    ids: Ids,
) -> Result<Json<UpstreamObject>, Problem> {
    author.may(Scope::UpstreamsRead)?;
    let (owner, name) = (author.owner(), ids.text("name")?);
    let found = upstreams::visible(&common, &owner).await?.into_iter().find(|upstream| upstream.name == name);
    let found = found.ok_or_else(|| Problem::not_found(Kind::UpstreamNotFound, "Upstream"))?;
    Ok(object(&breakers, &owner, found).await)
}

/// Replaces what is given; what is not stays.
#[utoipa::path(patch, path = "/v1/upstreams/{name}", tag = "upstreams", operation_id = "updateUpstream",
    request_body = UpstreamInput, responses((status = 200, body = UpstreamObject)))]
async fn update(
    State(sealer): State<Sealer>,
    State(breakers): State<Upstreams>,
    author: Author,
    ids: Ids,
    body: Body,
) -> Result<Json<UpstreamObject>, Problem> {
    author.may(Scope::UpstreamsWrite)?;
    let mut input: Map<String, Value> = requests::json(body, requests::BODY_MAX).await?;
    let by = changer(&author, &mut input, &sealer.clock)?;
    let secret = text(&mut input, "secret")?;
    let owner = author.owner();
    let old = upstreams::own(&sealer, &owner, ids.text("name")?).await?;
    let settings = requests::patched(&old.settings, input)?;
    let updated = upstreams::update(&sealer, &old, settings, secret, &by).await?;
    Ok(object(&breakers, &owner, updated).await)
}

#[utoipa::path(delete, path = "/v1/upstreams/{name}", tag = "upstreams", operation_id = "deleteUpstream",
    responses((status = 204)))]
async fn delete(State(common): State<Common>, author: Author, ids: Ids) -> Result<Deleted, Problem> {
    author.may(Scope::UpstreamsWrite)?;
    let by = changer(&author, &mut Map::new(), &common.clock)?;
    upstreams::delete(&common, &author.owner(), ids.text("name")?, &by).await?;
    Ok(Deleted)
}
