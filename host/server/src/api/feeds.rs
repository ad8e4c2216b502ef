//! Feeds: outside services whose items become events, and the endpoint to which such services push.
//!
//! A partner sees its own feeds and, without their sources, those of the operator that list it. The secret of a push
//! endpoint is shown once.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use larder_model::ids::PartnerId;
use larder_model::time::Millis;
use larder_model::upstreams::is_name;
use larder_model::{Feed, FeedSettings, Progress};
use larder_platform::quotas::{Cap, Exceeded};
use larder_platform::standard_webhooks::{Secret, Signed};
use larder_platform::{backlog, feeds};
use larder_signals::Work;
use larder_wire::datetime;
use larder_wire::feeds::{FeedList, FeedObject, Lag, Own, Pushed, SecretRotation};
use larder_wire::scopes::Scope;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::requests::{self, Deleted, Ids};
use crate::app::App;
use crate::auth::{Caller, OfPartner, Operator};
use crate::problem::{Kind, Problem};

/// Of one push endpoint, including those that are being replaced.
const SECRETS_MAX: usize = 4;
const KEEP_SECONDS_DEFAULT: u32 = 86_400;
const KEEP_SECONDS_MAX: u32 = 30 * 86_400;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, delete))
        .routes(routes!(rotate))
        .routes(routes!(push))
        .routes(routes!(list_operators, create_operators))
        .routes(routes!(get_operators, update_operators, delete_operators))
        .routes(routes!(rotate_operators))
        .routes(routes!(push_operators))
}

/// `name` (create only) and the settings; `secret` where it begins to take pushes.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the document: it is read as a map, so that what is not given stays")]
struct FeedInput {
    name: Option<String>,
    /// The sender's own secret (Standard Webhooks); without it one is made, and told once.
    secret: Option<String>,
    /// Its members stand beside these (`document`).
    settings: FeedSettings,
}

/// Whose feeds a request is about; `None`: the operator's.
type Owner = Option<PartnerId>;

fn object(app: &App, asked_by: &Owner, feed: Feed, secret: Option<String>) -> FeedObject {
    let now = app.clock.now_ms();
    let seconds = |at: Option<Millis>| at.map(|at| (now - at) as f64 / 1_000.0);
    let (own, status) = (feed.owner == *asked_by, feed.status());
    let progress = feed.progress;
    FeedObject {
        owner: if feed.owner.is_some() { "partner" } else { "operator" }.into(),
        name: feed.name,
        created_at: datetime(feed.created_at_ms),
        updated_at: datetime(feed.updated_at_ms),
        status: status.into(),
        lag: Lag { good_seconds: seconds(progress.good_at_ms), newest_item_seconds: seconds(progress.newest_at_ms) },
        items: progress.items,
        duplicates: progress.duplicates,
        refused: progress.refused,
        failures: progress.failures,
        own: own.then_some(Own {
            settings: feed.settings,
            position: progress.cursor,
            next_poll_at: progress.due_at_ms.map(datetime),
            error: progress.error,
            last_refused: progress.last_refused,
        }),
        secret,
    }
}

/// What an owner sees: its own, and for a partner those of the operator that it gets, unless its own has that name.
async fn visible(app: &App, owner: &Owner) -> Result<Vec<Feed>, Problem> {
    let mut all = app.store.feeds(owner.as_ref()).await?;
    if let Some(partner) = owner {
        for shared in app.store.feeds(None).await? {
            if shared.settings.partners.contains(partner) && !all.iter().any(|own| own.name == shared.name) {
                all.push(shared);
            }
        }
    }
    Ok(all)
}

fn not_found() -> Problem {
    Problem::not_found(Kind::FeedNotFound, "Feed")
}

async fn own(app: &App, owner: &Owner, ids: &Ids) -> Result<Feed, Problem> {
    app.store.feed(owner.as_ref(), ids.text("name")?).await?.ok_or_else(not_found)
}

async fn list_of(app: &App, owner: Owner) -> Result<Json<FeedList>, Problem> {
    let feeds: Vec<FeedObject> =
        visible(app, &owner).await?.into_iter().map(|feed| object(app, &owner, feed, None)).collect();
    Ok(Json(FeedList { total: feeds.len(), feeds }))
}

async fn get_of(app: &App, owner: Owner, ids: &Ids) -> Result<Json<FeedObject>, Problem> {
    let name = ids.text("name")?;
    let found = visible(app, &owner).await?.into_iter().find(|feed| feed.name == name).ok_or_else(not_found)?;
    Ok(Json(object(app, &owner, found, None)))
}

async fn create_of(app: &App, owner: Owner, body: Body) -> Result<(StatusCode, Json<FeedObject>), Problem> {
    let mut input: Map<String, Value> = requests::json(body, requests::BODY_MAX).await?;
    let name = match input.remove("name") {
        Some(Value::String(name)) if is_name(&name) => name,
        Some(_) => {
            return Err(Problem::argument("name", "must be a DNS label: a-z, 0-9 and - between them, at most 63"));
        }
        None => return Err(Problem::argument("name", "is required")),
    };
    let given = given(&mut input)?;
    let settings = checked(app, &owner, requests::typed(Value::Object(input))?)?;
    let (most, has) = (app.settings.feeds.per_partner, app.store.feeds(owner.as_ref()).await?.len());
    if has >= most {
        return Err(Exceeded::new(Cap::Feeds, most as u64, has as u64).into());
    }
    let now = app.clock.now_ms();
    let due_at_ms = settings.poll.as_ref().map(|_| now);
    let progress = Progress { due_at_ms, ..Progress::default() };
    let lead = lead(app, &owner, &settings).await?;
    let mut feed = Feed { owner, name, settings, sealed: None, lead, progress, created_at_ms: now, updated_at_ms: now };
    let secret = match (feed.settings.push, given) {
        (true, given) => renew(app, &mut feed, given, vec![]),
        (false, None) => None,
        (false, Some(_)) => {
            return Err(Problem::argument("secret", "applies only to a feed that accepts pushes: set `push`"));
        }
    };
    let taken = |err| Problem::or_taken(err, Kind::FeedExists, "A feed with this name exists already");
    app.store.insert_feed(&feed).await.map_err(taken)?;
    app.signals.push(Work::Feeds);
    Ok((StatusCode::CREATED, Json(object(app, &feed.owner.clone(), feed, secret))))
}

async fn update_of(app: &App, owner: Owner, ids: &Ids, body: Body) -> Result<Json<FeedObject>, Problem> {
    let mut input: Map<String, Value> = requests::json(body, requests::BODY_MAX).await?;
    input.remove("name");
    let given = given(&mut input)?;
    let old = own(app, &owner, ids).await?;
    let settings = checked(app, &owner, requests::patched(&old.settings, input)?)?;
    let now = app.clock.now_ms();
    let lead = lead(app, &owner, &settings).await?;
    let mut new = Feed { settings, lead, updated_at_ms: now.max(old.updated_at_ms + 1), ..old.clone() };
    new.progress.due_at_ms = new.settings.poll.as_ref().map(|_| now);
    // A cursor and a tag belong to what was asked for.
    let asks = |feed: &Feed| feed.settings.poll.clone().map(|poll| (poll.upstream, poll.path, poll.cursor));
    if asks(&old) != asks(&new) {
        (new.progress.cursor, new.progress.etag) = (None, None);
    }
    if given.is_some() && (old.settings.push || !new.settings.push) {
        let why = "can be set only when a feed starts to accept pushes; afterwards use POST /v1/feeds/NAME/secret";
        return Err(Problem::argument("secret", why));
    }
    let mut secret = None;
    if !new.settings.push {
        new.sealed = None;
    } else if old.settings.push {
        new.sealed = Some(seal(app, &new, &secrets(app, &old)?));
    } else {
        secret = renew(app, &mut new, given, vec![]);
    }
    app.store.update_feed(&old, &new).await?;
    app.signals.push(Work::Feeds);
    Ok(Json(object(app, &owner, new, secret)))
}

async fn delete_of(app: &App, owner: Owner, ids: &Ids) -> Result<Deleted, Problem> {
    app.store.delete_feed(owner.as_ref(), ids.text("name")?).await?;
    Ok(Deleted)
}

async fn rotate_of(app: &App, owner: Owner, ids: &Ids, body: Body) -> Result<Json<FeedObject>, Problem> {
    let input: SecretRotation = requests::json(body, requests::BODY_MAX).await?;
    let given = input.secret.as_deref().map(read_secret).transpose()?;
    let keep = input.keep_seconds.unwrap_or(KEEP_SECONDS_DEFAULT);
    if keep > KEEP_SECONDS_MAX {
        return Err(Problem::argument("keepSeconds", format!("must be at most {KEEP_SECONDS_MAX}")));
    }
    let old = own(app, &owner, ids).await?;
    if !old.settings.push {
        return Err(Problem::new(Kind::BadRequest, "This feed does not accept pushes: set `push`"));
    }
    let now = app.clock.now_ms();
    let until = now + Millis::from(keep) * 1_000;
    let kept = secrets(app, &old)?
        .into_iter()
        .map(|secret| Secret { until_ms: Some(secret.until_ms.map_or(until, |known| known.min(until))), ..secret });
    let kept = kept.filter(|secret| secret.until_ms.is_none_or(|until| now < until)).take(SECRETS_MAX - 1).collect();
    let mut new = Feed { updated_at_ms: now.max(old.updated_at_ms + 1), ..old.clone() };
    let secret = renew(app, &mut new, given, kept);
    app.store.update_feed(&old, &new).await?;
    Ok(Json(object(app, &owner, new, secret)))
}

/// Where the upstream that the feed names leads. Feeds of the operator poll upstreams of the operator.
async fn lead(app: &App, owner: &Owner, settings: &FeedSettings) -> Result<Option<String>, Problem> {
    match (owner, &settings.poll) {
        (Some(partner), Some(poll)) => Ok(Some(app.store.lead_of_upstream(partner, &poll.upstream).await?)),
        _ => Ok(None),
    }
}

/// Puts a new secret in front of those that the feed keeps. Returns its text if it was made here; a caller that gave one has it.
fn renew(app: &App, feed: &mut Feed, given: Option<Secret>, mut kept: Vec<Secret>) -> Option<String> {
    let made = given.is_none();
    let secret = given.unwrap_or_else(Secret::generate);
    let text = made.then(|| secret.text.clone());
    // The same one again is good for as long as the new one.
    kept.retain(|known| known.text != secret.text);
    kept.insert(0, secret);
    feed.sealed = Some(seal(app, feed, &kept));
    text
}

/// The sender's own secret, if the body has one.
fn given(input: &mut Map<String, Value>) -> Result<Option<Secret>, Problem> {
    match input.remove("secret") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => read_secret(&text).map(Some),
        Some(_) => Err(Problem::argument("secret", "must be a string")),
    }
}

fn read_secret(text: &str) -> Result<Secret, Problem> {
    Secret::given(text).map_err(|why| Problem::argument("secret", why))
}

fn seal(app: &App, feed: &Feed, secrets: &[Secret]) -> Vec<u8> {
    app.secrets.seal(&feed.place(), larder_model::json(&secrets).as_bytes())
}

/// The secrets of its push endpoint, the newest first.
fn secrets(app: &App, feed: &Feed) -> Result<Vec<Secret>, Problem> {
    let Some(sealed) = &feed.sealed else { return Ok(vec![]) };
    let opened = app.secrets.open(&feed.place(), sealed)?;
    serde_json::from_slice(&opened).map_err(Problem::internal)
}

fn checked(app: &App, owner: &Owner, settings: FeedSettings) -> Result<FeedSettings, Problem> {
    settings.check(owner.is_none()).map_err(|(name, why)| Problem::argument(&name, why))?;
    let tenants = app.directory.tenants();
    if let Some(unknown) = settings.partners.iter().find(|partner| !tenants.contains_key(partner)) {
        return Err(Problem::argument("partners", format!("there is no partner {unknown}")));
    }
    Ok(settings)
}

/// Takes what a service pushes, if it is signed by Standard Webhooks under a secret of the feed: that is the credential.
/// Answers when it is stored, once, however often it is sent.
async fn take(app: &App, owner: Owner, ids: &Ids, headers: &HeaderMap, body: Body) -> Result<Json<Pushed>, Problem> {
    // One answer to all, whether or not there is such a feed.
    let refused = || {
        Problem::new(
            Kind::SignatureInvalid,
            "The push is not signed, its timestamp is not current, or it is not signed with a secret of this feed",
        )
    };
    let now = app.clock.now_ms();
    let signed = Signed::read(headers, now).map_err(|_| refused())?;
    // Before the body is read: a request without a feed or a signature costs nothing.
    let feed = app.store.feed(owner.as_ref(), ids.text("name")?).await?.ok_or_else(refused)?;
    let secrets = secrets(app, &feed)?;
    if secrets.is_empty() {
        return Err(refused());
    }
    let body = requests::bytes(body, app.settings.feeds.bytes_max).await?;
    if let Err(why) = signed.verify(&body, &secrets, now) {
        tracing::warn!(feed.name = %feed.name, feed.owner = feeds::owner(&feed), %why, "a push to feed {} was refused", feed.name);
        return Err(refused());
    }
    let page = feeds::read(app, &feed, &body).map_err(|why| Problem::argument("body", why))?;
    if let Some(tenant) = feed.owner.as_ref().and_then(|partner| app.directory.tenant(partner)) {
        backlog::admit_events(app, &tenant, 0).await??;
    }
    let taken = feeds::take(app, &feed, &page, None).await?.ok_or_else(refused)?;
    let (new, duplicates, refused) = (taken.new, taken.duplicates, taken.refused);
    Ok(Json(Pushed { new, duplicates, refused, last_refused: page.last_refused }))
}

#[utoipa::path(get, path = "/v1/feeds", tag = "feeds", operation_id = "listFeeds",
    responses((status = 200, body = FeedList)))]
async fn list(State(app): State<App>, caller: Caller) -> Result<Json<FeedList>, Problem> {
    caller.may(Scope::FeedsRead)?;
    list_of(&app, Some(caller.partner)).await
}

#[utoipa::path(post, path = "/v1/feeds", tag = "feeds", operation_id = "createFeed",
    request_body = FeedInput, responses((status = 201, body = FeedObject)))]
async fn create(State(app): State<App>, caller: Caller, body: Body) -> Result<(StatusCode, Json<FeedObject>), Problem> {
    caller.may(Scope::FeedsWrite)?;
    create_of(&app, Some(caller.partner), body).await
}

#[utoipa::path(get, path = "/v1/feeds/{name}", tag = "feeds", operation_id = "getFeed",
    responses((status = 200, body = FeedObject)))]
async fn get(State(app): State<App>, caller: Caller, ids: Ids) -> Result<Json<FeedObject>, Problem> {
    caller.may(Scope::FeedsRead)?;
    get_of(&app, Some(caller.partner), &ids).await
}

/// Replaces what is given; what is not stays. A poll that is under way comes to nothing.
#[utoipa::path(patch, path = "/v1/feeds/{name}", tag = "feeds", operation_id = "updateFeed",
    request_body = FeedInput, responses((status = 200, body = FeedObject)))]
async fn update(State(app): State<App>, caller: Caller, ids: Ids, body: Body) -> Result<Json<FeedObject>, Problem> {
    caller.may(Scope::FeedsWrite)?;
    update_of(&app, Some(caller.partner), &ids, body).await
}

#[utoipa::path(delete, path = "/v1/feeds/{name}", tag = "feeds", operation_id = "deleteFeed",
    responses((status = 204)))]
async fn delete(State(app): State<App>, caller: Caller, ids: Ids) -> Result<Deleted, Problem> {
    caller.may(Scope::FeedsWrite)?;
    delete_of(&app, Some(caller.partner), &ids).await
}

/// Makes a new secret for the push door; the present one stays good for a while.
#[utoipa::path(post, path = "/v1/feeds/{name}/secret", tag = "feeds", operation_id = "rotateFeedSecret",
    request_body = SecretRotation, responses((status = 200, body = FeedObject)))]
async fn rotate(State(app): State<App>, caller: Caller, ids: Ids, body: Body) -> Result<Json<FeedObject>, Problem> {
    caller.may(Scope::FeedsWrite)?;
    rotate_of(&app, Some(caller.partner), &ids, body).await
}

/// For the service itself: `webhook-id`, `webhook-timestamp` and `webhook-signature` (Standard Webhooks) and no key. The
/// body is a page as a poll would get it.
#[utoipa::path(post, path = "/v1/feeds/{name}/push", tag = "feeds", operation_id = "pushToFeed", security(()),
    request_body = serde_json::Value, responses((status = 200, body = Pushed)))]
async fn push(
    State(app): State<App>,
    OfPartner(partner): OfPartner,
    ids: Ids,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Pushed>, Problem> {
    take(&app, Some(partner), &ids, &headers, body).await
}

#[utoipa::path(get, path = "/v1/operator/feeds", tag = "feeds", operation_id = "listOperatorFeeds",
    security(("operator" = [])), responses((status = 200, body = FeedList)))]
async fn list_operators(State(app): State<App>, _: Operator) -> Result<Json<FeedList>, Problem> {
    list_of(&app, None).await
}

#[utoipa::path(post, path = "/v1/operator/feeds", tag = "feeds", operation_id = "createOperatorFeed",
    security(("operator" = [])), request_body = FeedInput, responses((status = 201, body = FeedObject)))]
async fn create_operators(
    State(app): State<App>,
    _: Operator,
    body: Body,
) -> Result<(StatusCode, Json<FeedObject>), Problem> {
    create_of(&app, None, body).await
}

#[utoipa::path(get, path = "/v1/operator/feeds/{name}", tag = "feeds", operation_id = "getOperatorFeed",
    security(("operator" = [])), responses((status = 200, body = FeedObject)))]
async fn get_operators(State(app): State<App>, _: Operator, ids: Ids) -> Result<Json<FeedObject>, Problem> {
    get_of(&app, None, &ids).await
}

/// Replaces what is given; what is not stays. A poll that is under way comes to nothing.
#[utoipa::path(patch, path = "/v1/operator/feeds/{name}", tag = "feeds", operation_id = "updateOperatorFeed",
    security(("operator" = [])), request_body = FeedInput, responses((status = 200, body = FeedObject)))]
async fn update_operators(
    State(app): State<App>,
    _: Operator,
    ids: Ids,
    body: Body,
) -> Result<Json<FeedObject>, Problem> {
    update_of(&app, None, &ids, body).await
}

#[utoipa::path(delete, path = "/v1/operator/feeds/{name}", tag = "feeds", operation_id = "deleteOperatorFeed",
    security(("operator" = [])), responses((status = 204)))]
async fn delete_operators(State(app): State<App>, _: Operator, ids: Ids) -> Result<Deleted, Problem> {
    delete_of(&app, None, &ids).await
}

/// Makes a new secret for the push door; the present one stays good for a while.
#[utoipa::path(post, path = "/v1/operator/feeds/{name}/secret", tag = "feeds",
    operation_id = "rotateOperatorFeedSecret", security(("operator" = [])), request_body = SecretRotation,
    responses((status = 200, body = FeedObject)))]
async fn rotate_operators(
    State(app): State<App>,
    _: Operator,
    ids: Ids,
    body: Body,
) -> Result<Json<FeedObject>, Problem> {
    rotate_of(&app, None, &ids, body).await
}

/// As at a partner's feed, for one of the operator's.
#[utoipa::path(post, path = "/v1/operator/feeds/{name}/push", tag = "feeds", operation_id = "pushToOperatorFeed",
    security(()), request_body = serde_json::Value, responses((status = 200, body = Pushed)))]
async fn push_operators(
    State(app): State<App>,
    ids: Ids,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Pushed>, Problem> {
    take(&app, None, &ids, &headers, body).await
}
