//! Variables of functions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::pages::{Row, page};

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Variable)]
pub struct VariableObject {
    #[serde(rename = "$id")]
    pub id: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    #[serde(rename = "$updatedAt")]
    pub updated_at: String,
    pub key: String,
    /// Empty for a secret one.
    pub value: String,
    pub secret: bool,
    pub resource_type: String,
    pub resource_id: String,
}

page!(VariableList { total: u64, variables: VariableObject });

impl Row for VariableObject {
    fn id(&self) -> &str {
        &self.id
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VariableInput {
    /// Your own id or `unique()`; create only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variable_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<bool>,
}
