//! Named outside services: a partner's own, and those of the operator, which all partners share. What the credential's text
//! is goes in and never out.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use larder_egress::upstreams::Upstreams;
use larder_model::ids::PartnerId;
use larder_model::upstreams::{CredentialKind, is_name};
use larder_model::{Upstream, UpstreamSettings};
use larder_platform::quotas::{Cap, Exceeded};
use larder_store::Changer;
use larder_wire::datetime;
use larder_wire::scopes::Scope;
use larder_wire::upstreams::{UpstreamList, UpstreamObject};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::requests::{self, Deleted, Ids};
use crate::app::App;
use crate::auth::{Caller, Operator};
use crate::problem::{Kind, Problem};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, delete))
        .routes(routes!(list_operators, create_operators))
        .routes(routes!(get_operators, update_operators, delete_operators))
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

/// Whose upstreams a request is about.
type Owner = Option<PartnerId>;

async fn object(app: &App, asked_by: &Owner, upstream: Upstream) -> UpstreamObject {
    let own = upstream.owner == *asked_by;
    UpstreamObject {
        owner: if upstream.owner.is_some() { "partner" } else { "operator" }.into(),
        created_at: datetime(upstream.created_at_ms),
        updated_at: datetime(upstream.updated_at_ms),
        has_secret: upstream.sealed.is_some(),
        breaker_state: app.upstreams.breaker(asked_by.as_ref(), &upstream).await,
        name: upstream.name,
        settings: own.then_some(upstream.settings),
    }
}

/// What an owner sees: its own, and for a partner those of the operator.
async fn visible(app: &App, owner: &Owner) -> Result<Vec<Upstream>, Problem> {
    let mut all = app.store.upstreams(owner.as_ref()).await?;
    if owner.is_some() {
        all.extend(app.store.upstreams(None).await?);
    }
    Ok(all)
}

async fn list_of(app: &App, owner: Owner) -> Result<Json<UpstreamList>, Problem> {
    let mut upstreams = vec![];
    for upstream in visible(app, &owner).await? {
        upstreams.push(object(app, &owner, upstream).await);
    }
    Ok(Json(UpstreamList { total: upstreams.len(), upstreams }))
}

async fn get_of(app: &App, owner: Owner, ids: &Ids) -> Result<Json<UpstreamObject>, Problem> {
    let name = ids.text("name")?;
    let found = visible(app, &owner).await?.into_iter().find(|upstream| upstream.name == name);
    let found = found.ok_or(larder_store::Error::NotFound { what: "upstream" })?;
    Ok(Json(object(app, &owner, found).await))
}

async fn create_of(app: &App, by: By<'_>, body: Body) -> Result<(StatusCode, Json<UpstreamObject>), Problem> {
    let mut input: Map<String, Value> = requests::json(body, requests::BODY_MAX).await?;
    let (owner, changer) = (by.owner(), by.changer(app, &mut input)?);
    let name = requests::required("name", text(&mut input, "name")?)?;
    if !is_name(&name) {
        return Err(Problem::argument("name", "must be a DNS label: a-z, 0-9 and - between them, at most 63"));
    }
    let secret = text(&mut input, "secret")?;
    requests::required("url", input.get("url"))?;
    let settings = checked(requests::typed(Value::Object(input))?)?;
    let (most, has) = (app.settings.egress.upstreams_per_partner, app.store.upstreams(owner.as_ref()).await?.len());
    if has >= most {
        return Err(Exceeded::new(Cap::Upstreams, most as u64, has as u64).into());
    }
    let now = app.clock.now_ms();
    let secret_revision = app.clock.ulid();
    let (created_at_ms, updated_at_ms) = (now, now);
    let mut upstream = Upstream { owner, name, settings, sealed: None, secret_revision, created_at_ms, updated_at_ms };
    if upstream.settings.credential != CredentialKind::None || secret.is_some() {
        upstream.sealed = Some(seal(app, &upstream, &requests::required("secret", secret)?)?);
    }
    let taken = |err| {
        let operators = matches!(&err, larder_store::Error::Conflict { key } if key == larder_store::OPERATORS);
        let message = match operators {
            true => "The operator has an upstream with this name, which your functions call by it: choose another name",
            false => "An upstream with this name exists already",
        };
        Problem::or_taken(err, Kind::UpstreamExists, message)
    };
    app.store.insert_upstream(&upstream, &changer).await.map_err(taken)?;
    changed(app, &upstream.owner).await?;
    Ok((StatusCode::CREATED, Json(object(app, &upstream.owner.clone(), upstream).await)))
}

async fn update_of(app: &App, by: By<'_>, ids: &Ids, body: Body) -> Result<Json<UpstreamObject>, Problem> {
    let mut input: Map<String, Value> = requests::json(body, requests::BODY_MAX).await?;
    let (owner, changer) = (by.owner(), by.changer(app, &mut input)?);
    let secret = text(&mut input, "secret")?;
    let name = ids.text("name")?;
    let found = app.store.upstreams(owner.as_ref()).await?.into_iter().find(|upstream| upstream.name == name);
    let old = found.ok_or(larder_store::Error::NotFound { what: "upstream" })?;
    let settings = checked(requests::patched(&old.settings, input)?)?;
    let updated_at_ms = app.clock.now_ms().max(old.updated_at_ms + 1);
    let mut new = Upstream { settings, updated_at_ms, ..old.clone() };
    new.sealed = match secret {
        Some(secret) => {
            // The same again is no change.
            if !is_sealed(app, &old, &secret) {
                new.secret_revision = app.clock.ulid();
            }
            Some(seal(app, &new, &secret)?)
        }
        None if new.settings.credential == CredentialKind::None => None,
        // Encrypted again: what was read may be under a master key that is being replaced.
        None if old.place() == new.place() => {
            old.sealed.as_deref().map(|sealed| reseal(app, &new, sealed)).transpose()?
        }
        None => {
            let why = "must be given again: it belongs to the origin of the old `url` and to its kind of credential";
            return Err(Problem::argument("secret", why));
        }
    };
    app.store.update_upstream(&old, &new, &changer).await?;
    changed(app, &owner).await?;
    Ok(Json(object(app, &owner, new).await))
}

async fn delete_of(app: &App, by: By<'_>, ids: &Ids) -> Result<Deleted, Problem> {
    let (owner, changer) = (by.owner(), by.changer(app, &mut Map::new())?);
    app.store.delete_upstream(owner.as_ref(), ids.text("name")?, &changer).await?;
    changed(app, &owner).await?;
    Ok(Deleted)
}

/// Who changes upstreams: a partner its own, the operator those that all partners share.
#[derive(Clone, Copy)]
enum By<'a> {
    Partner(&'a Caller),
    Operator,
}

impl<'a> By<'a> {
    fn owner(self) -> Owner {
        match self {
            By::Partner(caller) => Some(caller.partner.clone()),
            By::Operator => None,
        }
    }

    fn changer(self, app: &'a App, input: &mut Map<String, Value>) -> Result<Changer<'a>, Problem> {
        let keep = match input.remove("keepApprovals") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(keep)) => keep,
            Some(_) => return Err(Problem::argument("keepApprovals", "must be true or false")),
        };
        match self {
            By::Partner(_) if keep => {
                Err(Problem::argument("keepApprovals", "applies only to upstreams of the operator"))
            }
            By::Partner(caller) => Ok(caller.changer(&app.clock)),
            By::Operator => {
                Ok(Changer { key: None, approves: keep, may_upload: false, names_feeds: keep, clock: &app.clock })
            }
        }
    }
}

fn text(input: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Problem> {
    match input.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Problem::argument(name, "must be a string")),
    }
}

fn checked(settings: UpstreamSettings) -> Result<UpstreamSettings, Problem> {
    let checked = settings.check().and_then(|()| Upstreams::check(&settings));
    checked.map_err(|(name, why)| Problem::argument(name, why))?;
    Ok(settings)
}

fn seal(app: &App, upstream: &Upstream, secret: &str) -> Result<Vec<u8>, Problem> {
    upstream.settings.credential.check_secret(secret).map_err(|why| Problem::argument("secret", why))?;
    Ok(app.secrets.seal(&upstream.place().each_ref().map(String::as_str), secret.as_bytes()))
}

fn is_sealed(app: &App, upstream: &Upstream, secret: &str) -> bool {
    let place = upstream.place();
    let opened = upstream.sealed.as_ref().map(|sealed| app.secrets.open(&place.each_ref().map(String::as_str), sealed));
    opened.is_some_and(|opened| opened.is_ok_and(|text| text[..] == *secret.as_bytes()))
}

fn reseal(app: &App, upstream: &Upstream, sealed: &[u8]) -> Result<Vec<u8>, Problem> {
    let place = upstream.place();
    let place = place.each_ref().map(String::as_str);
    Ok(app.secrets.seal(&place, &app.secrets.open(&place, sealed)?))
}

async fn changed(app: &App, owner: &Owner) -> Result<(), Problem> {
    match owner {
        Some(partner) => app.directory.reload(partner).await?,
        None => app.directory.reload_all().await?,
    }
    Ok(())
}

#[utoipa::path(get, path = "/v1/upstreams", tag = "upstreams", operation_id = "listUpstreams",
    responses((status = 200, body = UpstreamList)))]
async fn list(State(app): State<App>, caller: Caller) -> Result<Json<UpstreamList>, Problem> {
    caller.may(Scope::UpstreamsRead)?;
    list_of(&app, Some(caller.partner)).await
}

#[utoipa::path(post, path = "/v1/upstreams", tag = "upstreams", operation_id = "createUpstream",
    request_body = UpstreamInput, responses((status = 201, body = UpstreamObject)))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<UpstreamObject>), Problem> {
    caller.may(Scope::UpstreamsWrite)?;
    create_of(&app, By::Partner(&caller), body).await
}

#[utoipa::path(get, path = "/v1/upstreams/{name}", tag = "upstreams", operation_id = "getUpstream",
    responses((status = 200, body = UpstreamObject)))]
async fn get(State(app): State<App>, caller: Caller, ids: Ids) -> Result<Json<UpstreamObject>, Problem> {
    caller.may(Scope::UpstreamsRead)?;
    get_of(&app, Some(caller.partner), &ids).await
}

/// Replaces what is given; what is not stays.
#[utoipa::path(patch, path = "/v1/upstreams/{name}", tag = "upstreams", operation_id = "updateUpstream",
    request_body = UpstreamInput, responses((status = 200, body = UpstreamObject)))]
async fn update(State(app): State<App>, caller: Caller, ids: Ids, body: Body) -> Result<Json<UpstreamObject>, Problem> {
    caller.may(Scope::UpstreamsWrite)?;
    update_of(&app, By::Partner(&caller), &ids, body).await
}

#[utoipa::path(delete, path = "/v1/upstreams/{name}", tag = "upstreams", operation_id = "deleteUpstream",
    responses((status = 204)))]
async fn delete(State(app): State<App>, caller: Caller, ids: Ids) -> Result<Deleted, Problem> {
    caller.may(Scope::UpstreamsWrite)?;
    delete_of(&app, By::Partner(&caller), &ids).await
}

#[utoipa::path(get, path = "/v1/operator/upstreams", tag = "upstreams", operation_id = "listOperatorUpstreams",
    security(("operator" = [])), responses((status = 200, body = UpstreamList)))]
async fn list_operators(State(app): State<App>, _: Operator) -> Result<Json<UpstreamList>, Problem> {
    list_of(&app, None).await
}

#[utoipa::path(post, path = "/v1/operator/upstreams", tag = "upstreams", operation_id = "createOperatorUpstream",
    security(("operator" = [])), request_body = UpstreamInput, responses((status = 201, body = UpstreamObject)))]
async fn create_operators(
    State(app): State<App>,
    _: Operator,
    body: Body,
) -> Result<(StatusCode, Json<UpstreamObject>), Problem> {
    create_of(&app, By::Operator, body).await
}

#[utoipa::path(get, path = "/v1/operator/upstreams/{name}", tag = "upstreams", operation_id = "getOperatorUpstream",
    security(("operator" = [])), responses((status = 200, body = UpstreamObject)))]
async fn get_operators(State(app): State<App>, _: Operator, ids: Ids) -> Result<Json<UpstreamObject>, Problem> {
    get_of(&app, None, &ids).await
}

/// Replaces what is given; what is not stays.
#[utoipa::path(patch, path = "/v1/operator/upstreams/{name}", tag = "upstreams", operation_id = "updateOperatorUpstream",
    security(("operator" = [])), request_body = UpstreamInput, responses((status = 200, body = UpstreamObject)))]
async fn update_operators(
    State(app): State<App>,
    _: Operator,
    ids: Ids,
    body: Body,
) -> Result<Json<UpstreamObject>, Problem> {
    update_of(&app, By::Operator, &ids, body).await
}

#[utoipa::path(delete, path = "/v1/operator/upstreams/{name}", tag = "upstreams",
    operation_id = "deleteOperatorUpstream", security(("operator" = [])), responses((status = 204)))]
async fn delete_operators(State(app): State<App>, _: Operator, ids: Ids) -> Result<Deleted, Problem> {
    delete_of(&app, By::Operator, &ids).await
}
