//! How the end users of a partner prove who they are.

use larder_model::IdentitySettings;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Identity)]
pub struct IdentityObject {
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    #[serde(rename = "$updatedAt")]
    pub updated_at: String,
    pub keys: IdentityKeys,
    #[serde(flatten)]
    pub settings: Option<IdentitySettings>,
}

/// The keys of the issuer, as the process that answers has them.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityKeys {
    /// The ids of those that are used.
    pub ids: Vec<String>,
    /// When they were fetched, or empty: never yet.
    pub fetched_at: String,
    /// How old they are.
    pub age_seconds: Option<f64>,
    /// When it was last tried to fetch them, or empty.
    pub tried_at: String,
    /// Why that failed, or empty. The last good keys are used then.
    pub error: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct TokenInput {
    /// A token of an end user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// What Larder makes of a token, for those who may read the settings.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenCheck {
    pub valid: bool,
    /// Why it is refused, or empty: the first reason of several.
    pub reason: String,
    /// The end user that it names, or empty.
    pub end_user: String,
    pub verified: bool,
    pub labels: Vec<String>,
}
