//! Partners and their keys.

use larder_model::{ApiKey, Partner};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::datetime;
use crate::pages::{Row, page};

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Partner)]
pub struct PartnerObject {
    #[serde(rename = "$id")]
    pub id: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    #[serde(rename = "$updatedAt")]
    pub updated_at: String,
    pub name: String,
    /// Grants that an upload extends are approved by another key than the one that uploaded it.
    pub approval_by_another: bool,
}

page!(PartnerList { total: usize, partners: PartnerObject });

impl Row for PartnerObject {
    fn id(&self) -> &str {
        &self.id
    }
}

impl From<Partner> for PartnerObject {
    fn from(p: Partner) -> PartnerObject {
        PartnerObject {
            id: p.id.into(),
            created_at: datetime(p.created_at_ms),
            updated_at: datetime(p.updated_at_ms),
            name: p.name,
            approval_by_another: p.approval_by_another,
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewPartner {
    /// A DNS label; it becomes the partner's subdomain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partner_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartnerPatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval_by_another: Option<bool>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = Key)]
pub struct KeyObject {
    #[serde(rename = "$id")]
    pub id: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    pub name: String,
    pub scopes: Vec<String>,
    /// Or empty: it does not expire.
    pub expire: String,
    /// The key's text, told once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

page!(KeyList { total: usize, keys: KeyObject });

impl Row for KeyObject {
    fn id(&self) -> &str {
        &self.id
    }
}

impl KeyObject {
    pub fn new(key: ApiKey, secret: Option<String>) -> KeyObject {
        KeyObject {
            id: key.id.into(),
            created_at: datetime(key.created_at_ms),
            name: key.name,
            scopes: key.scopes,
            expire: key.expires_at_ms.map(datetime).unwrap_or_default(),
            secret,
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewKey {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire: Option<String>,
    /// The person who uses it, who has a role in the partner: where two persons are needed, they are not another than their key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub administrator_id: Option<String>,
}
