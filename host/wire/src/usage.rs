//! What functions have used.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A value at the beginning of an hour or a day.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Point {
    pub value: u64,
    pub date: String,
}

/// What functions have and have used within a range of time, as far as it is recorded. Executions are recorded for
/// `records.retention`. Times are seconds; megabyte seconds are by the memory that a function may have.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    pub range: String,
    /// Of all functions only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub functions_total: Option<u64>,
    pub deployments_total: u64,
    pub deployments_storage_total: u64,
    pub builds_total: u64,
    pub builds_success_total: u64,
    pub builds_failed_total: u64,
    pub builds_storage_total: u64,
    pub builds_time_total: u64,
    pub builds_time_average: u64,
    pub builds_mb_seconds_total: u64,
    pub executions_total: u64,
    pub executions_time_total: u64,
    pub executions_mb_seconds_total: u64,
    /// Of all functions only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub functions: Option<Vec<Point>>,
    pub deployments: Vec<Point>,
    pub deployments_storage: Vec<Point>,
    pub builds: Vec<Point>,
    pub builds_success: Vec<Point>,
    pub builds_failed: Vec<Point>,
    pub builds_storage: Vec<Point>,
    pub builds_time: Vec<Point>,
    pub builds_mb_seconds: Vec<Point>,
    pub executions: Vec<Point>,
    pub executions_time: Vec<Point>,
    pub executions_mb_seconds: Vec<Point>,
}
