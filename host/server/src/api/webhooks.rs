//! Webhooks, as objects: nothing is delivered yet.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use larder_model::Webhook;
use larder_platform::common::{Common, Sealer};
use larder_platform::webhooks::{self, WebhookSettings};
use larder_store::filters;
use larder_wire::scopes::Scope;
use larder_wire::webhooks::{NewWebhookSecret, WebhookInput, WebhookList, WebhookObject};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::queries::{self, ListParams};
use crate::api::requests::{self, Deleted, Ids};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

const CREDENTIAL_CHARS_MAX: usize = 256;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, update, delete)).routes(routes!(rotate))
}

fn object(webhook: Webhook) -> WebhookObject {
    WebhookObject::new(webhook, String::new())
}

/// What is given in either spelling.
fn settings(input: WebhookInput) -> Result<WebhookSettings, Problem> {
    let credential = |name, value: Option<String>| {
        value.map(|value| requests::chars(name, value, 0..=CREDENTIAL_CHARS_MAX)).transpose()
    };
    Ok(WebhookSettings {
        name: requests::text("name", requests::required("name", input.name)?, 1..=128)?,
        url: requests::required("url", input.url)?,
        events: requests::required("events", input.events)?,
        enabled: input.enabled.unwrap_or(true),
        tls: input.tls.or(input.security).unwrap_or(false),
        auth_username: credential("authUsername", input.auth_username.or(input.http_user))?.unwrap_or_default(),
        auth_password: credential("authPassword", input.auth_password.or(input.http_pass))?,
    })
}

#[utoipa::path(get, path = "/v1/webhooks", tag = "webhooks", operation_id = "listWebhooks",
    params(ListParams), responses((status = 200, body = WebhookList)))]
async fn list(
    State(common): State<Common>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<WebhookList>, Problem> {
    caller.may(Scope::WebhooksRead)?;
    let query = queries::parse(query.as_deref(), filters::WEBHOOKS, &[])?;
    let page = common.store.list_webhooks(&caller.partner, &query.listing).await?;
    Ok(Json(WebhookList { total: page.total, webhooks: page.rows.into_iter().map(object).collect() }))
}

/// The answer has the secret, which is told this once.
#[utoipa::path(post, path = "/v1/webhooks", tag = "webhooks", operation_id = "createWebhook",
    request_body = WebhookInput, responses((status = 201, body = WebhookObject)))]
async fn create(
    State(sealer): State<Sealer>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<WebhookObject>), Problem> {
    caller.may(Scope::WebhooksWrite)?;
    let mut input: WebhookInput = requests::json(body, requests::BODY_MAX).await?;
    let id = requests::new_id("webhookId", &requests::required("webhookId", input.webhook_id.take())?, &sealer.clock)?;
    let secret = input.secret.take();
    let (webhook, secret) = webhooks::create(&sealer, &caller.partner, id, settings(input)?, secret).await?;
    Ok((StatusCode::CREATED, Json(WebhookObject::new(webhook, secret))))
}

async fn find(common: &Common, caller: &Caller, ids: &Ids) -> Result<Webhook, Problem> {
    let found = common.store.webhook(&caller.partner, &ids.get("webhookId")?).await?;
    found.ok_or_else(|| Problem::not_found(Kind::WebhookNotFound, "Webhook"))
}

#[utoipa::path(get, path = "/v1/webhooks/{webhookId}", tag = "webhooks", operation_id = "getWebhook",
    responses((status = 200, body = WebhookObject)))]
async fn get(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Json<WebhookObject>, Problem> {
    caller.may(Scope::WebhooksRead)?;
    Ok(Json(object(find(&common, &caller, &ids).await?)))
}

/// Replaces the webhook. Its secret stays, and so does the password if none is given.
#[utoipa::path(put, path = "/v1/webhooks/{webhookId}", tag = "webhooks", operation_id = "updateWebhook",
    request_body = WebhookInput, responses((status = 200, body = WebhookObject)))]
async fn update(
    State(sealer): State<Sealer>,
    caller: Caller,
    ids: Ids,
    body: Body,
) -> Result<Json<WebhookObject>, Problem> {
    caller.may(Scope::WebhooksWrite)?;
    let settings = settings(requests::json(body, requests::BODY_MAX).await?)?;
    let mut webhook = find(&sealer, &caller, &ids).await?;
    webhooks::update(&sealer, &mut webhook, settings).await?;
    Ok(Json(object(webhook)))
}

/// Replaces the secret, which the answer tells this once.
#[utoipa::path(patch, path = "/v1/webhooks/{webhookId}/secret", tag = "webhooks", operation_id = "updateWebhookSecret",
    request_body = NewWebhookSecret, responses((status = 200, body = WebhookObject)))]
async fn rotate(
    State(sealer): State<Sealer>,
    caller: Caller,
    ids: Ids,
    body: Body,
) -> Result<Json<WebhookObject>, Problem> {
    caller.may(Scope::WebhooksWrite)?;
    let input: NewWebhookSecret = requests::json(body, requests::BODY_MAX).await?;
    let mut webhook = find(&sealer, &caller, &ids).await?;
    let secret = webhooks::rotate(&sealer, &mut webhook, input.secret).await?;
    Ok(Json(WebhookObject::new(webhook, secret)))
}

#[utoipa::path(delete, path = "/v1/webhooks/{webhookId}", tag = "webhooks", operation_id = "deleteWebhook",
    responses((status = 204)))]
async fn delete(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Deleted, Problem> {
    caller.may(Scope::WebhooksWrite)?;
    webhooks::delete(&common, &caller.partner, &ids.get("webhookId")?).await?;
    Ok(Deleted)
}
