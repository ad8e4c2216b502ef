//! Dead letters: executions that were given up.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::executions::ExecutionObject;
use crate::pages::page;

page!(DeadLetterList { total: u64, dead_letters: ExecutionObject } as "deadLetters");

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedriveInput {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_id: Option<String>,
    /// Only those that became dead letters before then; the present time if it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buried_before: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedriveFanoutInput {
    /// Only those that were buried before then; the present time if it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buried_before: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedrivenObject {
    /// How many were redriven.
    pub total: u64,
    /// There are more: call again, with this `buriedBefore`, so that what fails again meanwhile is not redriven for ever.
    pub more: bool,
    pub buried_before: String,
}

/// Dead letters of one function that were given up for the same.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LetterGroupObject {
    pub function_id: String,
    /// Without what differs from run to run; empty if a version gave them up that recorded none.
    pub reason: String,
    /// Counted up to 5000.
    pub count: u64,
    /// `count` is a lower bound: there are as many or more.
    pub at_least: bool,
    pub oldest_at: String,
    pub newest_at: String,
    /// The newest of them.
    pub example_id: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LetterGroupList {
    /// By reason and function; those without a recorded reason last.
    pub groups: Vec<LetterGroupObject>,
    /// There are more after the last of these: name it by `afterReason` and `afterFunction`.
    pub more: bool,
}
