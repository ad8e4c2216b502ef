//! Feeds: external services whose items become events, and the endpoint to which such services push.
//!
//! A partner sees its own feeds and, without their sources, those of the operator that list it. The secret of a push
//! endpoint is shown once.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use larder_model::time::Millis;
use larder_model::upstreams::is_name;
use larder_model::{Feed, FeedSettings};
use larder_platform::common::{Common, Owner, Sealer};
use larder_platform::feeds::{self, Changed};
use larder_platform::standard_webhooks::Secret;
use larder_wire::datetime;
use larder_wire::feeds::{FeedList, FeedObject, Lag, Own, Pushed, SecretRotation};
use larder_wire::scopes::Scope;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::owners;
use crate::api::requests::{self, Deleted, Ids};
use crate::app::App;
use crate::auth::{Addressed, Author};
use crate::problem::{Kind, Problem};

const KEEP_SECONDS_DEFAULT: u32 = 86_400;
const KEEP_SECONDS_MAX: u32 = 30 * 86_400;

pub fn router() -> OpenApiRouter<App> {
    owners::router("Feed", [routes!(list, create), routes!(get, update, delete), routes!(rotate), routes!(push)])
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

fn object(common: &Common, asked_by: &Owner, feed: Feed, secret: Option<String>) -> FeedObject {
    let now = common.clock.now_ms();
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

fn changed(common: &Common, owner: &Owner, Changed { feed, secret }: Changed) -> Json<FeedObject> {
    Json(object(common, owner, feed, secret))
}

/// The sender's own secret, if the body has one.
fn given(input: &mut Map<String, Value>) -> Result<Option<Secret>, Problem> {
    match input.remove("secret") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => secret(&text).map(Some),
        Some(_) => Err(Problem::argument("secret", "must be a string")),
    }
}

fn secret(text: &str) -> Result<Secret, Problem> {
    Secret::given(text).map_err(|why| Problem::argument("secret", why))
}

#[utoipa::path(get, path = "/v1/feeds", tag = "feeds", operation_id = "listFeeds",
    responses((status = 200, body = FeedList)))]
async fn list(State(common): State<Common>, author: Author) -> Result<Json<FeedList>, Problem> {
    author.may(Scope::FeedsRead)?;
    let owner = author.owner();
    let visible = feeds::visible(&common, &owner).await?;
    let feeds: Vec<FeedObject> = visible.into_iter().map(|feed| object(&common, &owner, feed, None)).collect();
    Ok(Json(FeedList { total: feeds.len(), feeds }))
}

#[utoipa::path(post, path = "/v1/feeds", tag = "feeds", operation_id = "createFeed",
    request_body = FeedInput, responses((status = 201, body = FeedObject)))]
async fn create(
    State(sealer): State<Sealer>,
    author: Author,
    body: Body,
) -> Result<(StatusCode, Json<FeedObject>), Problem> {
    author.may(Scope::FeedsWrite)?;
    let mut input: Map<String, Value> = requests::json(body, requests::BODY_MAX).await?;
    let name = match input.remove("name") {
        Some(Value::String(name)) if is_name(&name) => name,
        Some(_) => {
            return Err(Problem::argument("name", "must be a DNS label: a-z, 0-9 and - between them, at most 63"));
        }
        None => return Err(Problem::argument("name", "is required")),
    };
    let given = given(&mut input)?;
    let settings = requests::typed(Value::Object(input))?;
    let owner = author.owner();
    let created = feeds::create(&sealer, owner.clone(), name, settings, given).await?;
    Ok((StatusCode::CREATED, changed(&sealer, &owner, created)))
}

#[utoipa::path(get, path = "/v1/feeds/{name}", tag = "feeds", operation_id = "getFeed",
    responses((status = 200, body = FeedObject)))]
async fn get(State(common): State<Common>, author: Author, ids: Ids) -> Result<Json<FeedObject>, Problem> {
    author.may(Scope::FeedsRead)?;
    let (owner, name) = (author.owner(), ids.text("name")?);
    let found = feeds::visible(&common, &owner).await?.into_iter().find(|feed| feed.name == name);
    let found = found.ok_or_else(|| Problem::not_found(Kind::FeedNotFound, "Feed"))?;
    Ok(Json(object(&common, &owner, found, None)))
}

/// Replaces what is given; what is not stays. A poll that is in progress has no effect.
#[utoipa::path(patch, path = "/v1/feeds/{name}", tag = "feeds", operation_id = "updateFeed",
    request_body = FeedInput, responses((status = 200, body = FeedObject)))]
async fn update(
    State(sealer): State<Sealer>,
    author: Author,
    ids: Ids,
    body: Body,
) -> Result<Json<FeedObject>, Problem> {
    author.may(Scope::FeedsWrite)?;
    let mut input: Map<String, Value> = requests::json(body, requests::BODY_MAX).await?;
    input.remove("name");
    let given = given(&mut input)?;
    let owner = author.owner();
    let old = feeds::own(&sealer, &owner, ids.text("name")?).await?;
    let settings = requests::patched(&old.settings, input)?;
    Ok(changed(&sealer, &owner, feeds::update(&sealer, &old, settings, given).await?))
}

#[utoipa::path(delete, path = "/v1/feeds/{name}", tag = "feeds", operation_id = "deleteFeed",
    responses((status = 204)))]
async fn delete(State(common): State<Common>, author: Author, ids: Ids) -> Result<Deleted, Problem> {
    author.may(Scope::FeedsWrite)?;
    feeds::delete(&common, &author.owner(), ids.text("name")?).await?;
    Ok(Deleted)
}

/// Makes a new secret for the push endpoint; the present one stays valid for a while.
#[utoipa::path(post, path = "/v1/feeds/{name}/secret", tag = "feeds", operation_id = "rotateFeedSecret",
    request_body = SecretRotation, responses((status = 200, body = FeedObject)))]
async fn rotate(
    State(sealer): State<Sealer>,
    author: Author,
    ids: Ids,
    body: Body,
) -> Result<Json<FeedObject>, Problem> {
    author.may(Scope::FeedsWrite)?;
    let input: SecretRotation = requests::json(body, requests::BODY_MAX).await?;
    let given = input.secret.as_deref().map(secret).transpose()?;
    let keep = input.keep_seconds.unwrap_or(KEEP_SECONDS_DEFAULT);
    if keep > KEEP_SECONDS_MAX {
        return Err(Problem::argument("keepSeconds", format!("must be at most {KEEP_SECONDS_MAX}")));
    }
    let owner = author.owner();
    let old = feeds::own(&sealer, &owner, ids.text("name")?).await?;
    let rotated = feeds::rotate_secret(&sealer, &old, given, Duration::from_secs(keep.into())).await?;
    Ok(changed(&sealer, &owner, rotated))
}

/// For the service itself: `webhook-id`, `webhook-timestamp` and `webhook-signature` (Standard Webhooks) and no key. The
/// body is a page as a poll would get it.
#[utoipa::path(post, path = "/v1/feeds/{name}/push", tag = "feeds", operation_id = "pushToFeed", security(()),
    request_body = serde_json::Value, responses((status = 200, body = Pushed)))]
async fn push(
    State(sealer): State<Sealer>,
    Addressed(owner): Addressed,
    ids: Ids,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Pushed>, Problem> {
    let (received, last_refused) = feeds::push::take(&sealer, &owner, ids.text("name")?, &headers, body).await?;
    Ok(Json(Pushed { new: received.new, duplicates: received.duplicates, refused: received.refused, last_refused }))
}
