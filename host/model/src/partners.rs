//! Tenants and their API keys.

use crate::ids::{KeyId, PartnerId};
use crate::time::Millis;

#[derive(Clone, Debug)]
pub struct Partner {
    pub id: PartnerId,
    pub name: String,
    /// Grants that an upload extends are approved by another key than the one that uploaded it.
    pub approval_by_another: bool,
    /// Counts the changes of the partner and of its keys, functions, deployments and variables.
    pub version: i64,
    pub created_at_ms: Millis,
    pub updated_at_ms: Millis,
}

#[derive(Clone, Debug)]
pub struct ApiKey {
    pub id: KeyId,
    pub partner: PartnerId,
    pub name: String,
    /// SHA-256 of the whole key text, in hex.
    pub secret_hash: String,
    pub scopes: Vec<String>,
    pub created_at_ms: Millis,
    pub expires_at_ms: Option<Millis>,
}
