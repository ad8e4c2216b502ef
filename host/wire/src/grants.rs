//! Grants: what is in force, what deployments ask for, and the history.

use std::collections::BTreeMap;

use larder_model::grants::Difference;
use larder_model::{GrantChange, Grants};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::datetime;
use crate::known::Known;
use crate::pages::{Row, page};

/// What changes, in sentences about the function.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = GrantDifference)]
pub struct DifferenceObject {
    /// Needs a yes.
    pub widens: Vec<String>,
    pub narrows: Vec<String>,
}

/// What a deployment asks for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AskedObject {
    pub deployment_id: String,
    pub status: String,
    /// Null: it was uploaded without, and has whatever the function has.
    #[schema(value_type = Option<Object>)]
    pub grants: Option<Known<Grants>>,
    /// From what is in force to what it asks for.
    pub difference: DifferenceObject,
    /// It cannot become active before somebody says yes.
    pub waits: bool,
    /// Names what is in force and what is asked for: a yes to it is one to just this.
    pub digest: String,
    pub uploaded_by: String,
    pub approved_by: String,
    pub approved_at: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantsObject {
    pub function_id: String,
    /// In force.
    #[schema(value_type = Object)]
    pub grants: Known<Grants>,
    /// What of it waits for another yes, because its name leads elsewhere than was approved.
    pub moved: Vec<String>,
    /// The newest deployment, or the one that was asked for; null if there is none.
    pub deployment: Option<AskedObject>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalObject {
    #[serde(flatten)]
    pub grants: GrantsObject,
    /// The deployment runs now. Otherwise it becomes active when it is built, or when somebody activates it.
    pub active: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct NewApproval {
    /// As it was read with the grants of the deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// One line of the history.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantChangeObject {
    #[serde(rename = "$id")]
    pub id: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    /// Or empty, if it concerns none.
    pub function_id: String,
    /// `set`, `approved` or `activated`; `upstream` or `variable`: what a name leads to was changed.
    pub kind: String,
    /// Or empty.
    pub deployment_id: String,
    /// Who did it; empty: a build that ended, or the operator.
    pub key_id: String,
    /// What was done to an upstream or variable, or empty.
    pub note: String,
    pub difference: DifferenceObject,
    #[schema(value_type = Object)]
    pub grants: Known<Grants>,
}

page!(GrantChangeList { total: u64, grant_changes: GrantChangeObject } as "grantChanges");

impl Row for GrantChangeObject {
    fn id(&self) -> &str {
        &self.id
    }
}

impl From<Difference> for DifferenceObject {
    fn from(Difference { extensions, reductions }: Difference) -> DifferenceObject {
        DifferenceObject { widens: extensions, narrows: reductions }
    }
}

impl From<GrantChange> for GrantChangeObject {
    fn from(change: GrantChange) -> GrantChangeObject {
        GrantChangeObject {
            id: change.id,
            created_at: datetime(change.created_at_ms),
            function_id: change.function.map(String::from).unwrap_or_default(),
            kind: change.kind.word().into(),
            deployment_id: change.deployment.map(String::from).unwrap_or_default(),
            key_id: change.key.map(String::from).unwrap_or_default(),
            note: change.note,
            difference: Difference::between(&change.old, &change.new).into(),
            grants: Known::Known(shown(change.new)),
        }
    }
}

/// Grants as they are sent; what their names lead to is told in words.
pub fn shown(grants: Grants) -> Grants {
    Grants { leads: BTreeMap::new(), ..grants }
}
