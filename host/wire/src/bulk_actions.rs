//! Bulk actions: what somebody asked to be done with many dead letters, and how far it is.

use larder_model::{BulkAction, Letters};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::datetime;
use crate::pages::{Row, page};

/// What is asked for: `functionId` with `reason` for a group of dead letters, or `ids`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BulkActionInput {
    /// `redrive` or `discard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_id: Option<String>,
    /// As `GET /v1/dead-letters/groups` says it; empty: those whose reason is not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Up to 500 dead letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// Only those that became dead letters before then; the present time if it is not given or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buried_before: Option<String>,
}

/// Something that is done with many dead letters, a batch at a time.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BulkAction)]
pub struct BulkActionObject {
    #[serde(rename = "$id")]
    pub id: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    #[serde(rename = "$updatedAt")]
    pub updated_at: String,
    /// `redrive` or `discard`.
    pub action: String,
    /// Empty if the dead letters are named by `ids`.
    pub function_id: String,
    /// Empty if it is not recorded, or the dead letters are named by `ids`.
    pub reason: String,
    pub ids: Vec<String>,
    pub buried_before: String,
    /// `waiting` (it has not begun and can be undone), `running`, `paused`, `completed` or `cancelled`.
    pub status: String,
    /// Until then it can be cancelled before anything of it is done.
    pub begins_at: String,
    /// Why nothing of it is done for now, or empty.
    pub held_back: String,
    /// How many dead letters there were, counted up to 5000: then there may be more.
    pub expected: u64,
    pub done: u64,
    /// Those that were no dead letters any more, or could not be read.
    pub failed: u64,
    /// The key that asked for it, or `admin-…` for a person.
    pub asked_by: String,
}

page!(BulkActionList { total: u64, bulk_actions: BulkActionObject } as "bulkActions");

impl Row for BulkActionObject {
    fn id(&self) -> &str {
        &self.id
    }
}

impl From<BulkAction> for BulkActionObject {
    fn from(action: BulkAction) -> BulkActionObject {
        let (function, reason, ids) = match action.letters {
            Letters::Group { function, reason } => (function.into(), reason.unwrap_or_default(), vec![]),
            Letters::These(ids) => (String::new(), String::new(), ids.into_iter().map(String::from).collect()),
        };
        BulkActionObject {
            id: action.id.into(),
            created_at: datetime(action.created_at_ms),
            updated_at: datetime(action.updated_at_ms),
            action: action.kind.word().into(),
            function_id: function,
            reason,
            ids,
            buried_before: datetime(action.before_ms),
            status: action.status.word().into(),
            begins_at: datetime(action.begins_at_ms),
            held_back: action.held_back.unwrap_or_default(),
            expected: action.expected,
            done: action.done,
            failed: action.failed,
            asked_by: action.asked_by,
        }
    }
}
