//! Fronts: processes before the core that pass requests on to it.

use larder_model::fronts::Front;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::datetime;
use crate::pages::{Row, page};

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Front)]
pub struct FrontObject {
    /// The name.
    #[serde(rename = "$id")]
    pub id: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    /// SHA-256 of its public key, in hex.
    pub key_hash: String,
    /// Hosts that it serves, each exact or `*.` and a domain; none: all that end users reach.
    pub names: Vec<String>,
    /// When its newest certificate ends. It renews it by itself before.
    pub not_after: String,
    /// Its certificate and that of the authority, in PEM. Only the answer to the enrolment has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

page!(FrontList { total: usize, fronts: FrontObject });

impl Row for FrontObject {
    fn id(&self) -> &str {
        &self.id
    }
}

impl From<Front> for FrontObject {
    fn from(front: Front) -> FrontObject {
        FrontObject {
            id: front.name,
            created_at: datetime(front.created_at_ms),
            key_hash: front.key_hash,
            names: front.names,
            not_after: datetime(front.not_after_ms),
            certificate: None,
        }
    }
}

/// What enrols a front.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewFront {
    /// 1 to 63 of a-z, 0-9 and `-`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required)]
    pub name: Option<String>,
    /// On the curve P-256, in PEM, as `larder front request` prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required)]
    pub public_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
}
