//! Webhooks.

use larder_model::Webhook;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::datetime;
use crate::pages::{Row, page};

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Webhook)]
pub struct WebhookObject {
    #[serde(rename = "$id")]
    pub id: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    #[serde(rename = "$updatedAt")]
    pub updated_at: String,
    pub name: String,
    pub url: String,
    pub events: Vec<String>,
    pub tls: bool,
    pub auth_username: String,
    /// Never told: empty.
    pub auth_password: String,
    /// Told once, when it is new; empty otherwise.
    pub secret: String,
    pub enabled: bool,
    pub logs: String,
    pub attempts: u32,
    /// The same as `tls`, as older clients know it.
    pub security: bool,
    pub http_user: String,
    pub http_pass: String,
    pub signature_key: String,
}

page!(WebhookList { total: u64, webhooks: WebhookObject });

impl Row for WebhookObject {
    fn id(&self) -> &str {
        &self.id
    }
}

impl WebhookObject {
    pub fn new(w: Webhook, secret: String) -> WebhookObject {
        WebhookObject {
            id: w.id.into(),
            created_at: datetime(w.created_at_ms),
            updated_at: datetime(w.updated_at_ms),
            name: w.name,
            url: w.url,
            events: w.events,
            tls: w.tls,
            security: w.tls,
            http_user: w.auth_username.clone(),
            auth_username: w.auth_username,
            signature_key: secret.clone(),
            secret,
            enabled: w.enabled,
            logs: "Nothing is delivered yet".into(),
            ..WebhookObject::default()
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookInput {
    /// Your own id or `unique()`; create only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<String>>,
    /// Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_password: Option<String>,
    /// Create only; without it, one is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// `tls`, `authUsername` and `authPassword` as older clients know them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_pass: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct NewWebhookSecret {
    /// 8 to 256 characters; without it, one is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}
