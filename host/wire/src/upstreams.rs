//! Upstreams: named outside services.

use larder_model::UpstreamSettings;
use larder_model::breakers::BreakerStatus;
use larder_model::upstreams::CredentialKind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::pages::{Row, page};

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Upstream)]
pub struct UpstreamObject {
    pub name: String,
    /// `partner` or `operator`.
    pub owner: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    #[serde(rename = "$updatedAt")]
    pub updated_at: String,
    /// Is there the text of a credential? It is never told.
    pub has_secret: bool,
    pub breaker_state: BreakerStatus,
    /// Not told to partners of one of the operator's.
    #[serde(flatten)]
    pub settings: Option<UpstreamSettings>,
}

page!(UpstreamList { total: usize, upstreams: UpstreamObject });

impl Row for UpstreamObject {
    fn id(&self) -> &str {
        &self.name
    }
}

/// What a client sends to create or change an upstream. What is left out has its default, or stays.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The text of the credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_minute: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheChange>,
}

/// What is given of how answers are kept.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheChange {
    pub enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u32>,
}
