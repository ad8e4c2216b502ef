//! Executions, and the dead letters among them.

use std::collections::BTreeMap;

use larder_model::{Execution, ExecutionStatus};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::datetime;
use crate::pages::{Row, page};

const UTF_8: &str = "utf-8";

/// A header as the wire has them.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Header {
    pub name: String,
    pub value: String,
}

/// An execution. The function's names of the formats before and from 2.0 stand side by side.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Execution)]
pub struct ExecutionObject {
    #[serde(rename = "$id")]
    pub id: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    #[serde(rename = "$updatedAt")]
    pub updated_at: String,
    #[serde(rename = "$permissions")]
    #[schema(value_type = [String; 0])]
    pub permissions: Vec<String>,
    pub function_id: String,
    pub resource_id: String,
    pub resource_type: String,
    pub deployment_id: String,
    /// `http`, `schedule` or `event`.
    pub trigger: String,
    /// `scheduled`, `waiting`, `processing`, `completed` or `failed`.
    pub status: String,
    pub request_method: String,
    pub request_path: String,
    pub request_headers: Vec<Header>,
    /// 0 until it has ended.
    pub response_status_code: u16,
    /// Only in the answer to a synchronous create.
    pub response_body: String,
    /// How `responseBody` is written: `utf-8`, or `base64` for an answer of other bytes.
    pub response_body_encoding: String,
    pub response_headers: Vec<Header>,
    pub logs: String,
    pub errors: String,
    /// Seconds.
    pub duration: f64,
    pub scheduled_at: Option<String>,
    /// Which attempt this is or was, from 1; while it waits, how many have failed so far. Tries that only Larder was at
    /// fault for do not count.
    pub attempt: u32,
    /// Seconds.
    pub cpu_time: f64,
    pub memory_peak_bytes: u64,
    /// Whom it was for, or empty.
    pub enrolment_id: String,
    /// The event that triggered it, or empty.
    pub event_id: String,
    /// When the schedule wanted it, and how much later that was.
    pub nominal_at: Option<String>,
    pub late_ms: Option<i64>,
    /// When it was given up: it is a dead letter, and can be redriven.
    pub buried_at: Option<String>,
}

page!(ExecutionList { total: u64, executions: ExecutionObject });

impl Row for ExecutionObject {
    fn id(&self) -> &str {
        &self.id
    }
}

impl From<Execution> for ExecutionObject {
    fn from(e: Execution) -> ExecutionObject {
        let header = |(name, value)| Header { name, value };
        let request = e.request.recorded();
        ExecutionObject {
            id: e.id.into(),
            created_at: datetime(e.created_at_ms),
            updated_at: datetime(e.updated_at_ms),
            permissions: vec![],
            resource_id: e.function.to_string(),
            function_id: e.function.into(),
            resource_type: "functions".into(),
            deployment_id: e.deployment.map(String::from).unwrap_or_default(),
            trigger: e.trigger.word().into(),
            status: e.status.word().into(),
            request_method: request.method,
            request_path: request.path,
            request_headers: request.headers.into_iter().map(header).collect(),
            response_status_code: e.response_status,
            response_body: String::new(),
            response_body_encoding: UTF_8.into(),
            response_headers: e.response_headers.into_iter().map(header).collect(),
            logs: e.logs,
            errors: e.errors,
            duration: seconds(e.wall_us),
            scheduled_at: e.scheduled_at_ms.map(datetime),
            attempt: e.failures + u32::from(!matches!(e.status, ExecutionStatus::Scheduled | ExecutionStatus::Waiting)),
            cpu_time: seconds(e.cpu_us),
            memory_peak_bytes: e.memory_peak_bytes,
            enrolment_id: e.enrolment.map(String::from).unwrap_or_default(),
            event_id: e.event.map(String::from).unwrap_or_default(),
            nominal_at: e.nominal_at_ms.map(datetime),
            late_ms: e.late_ms,
            buried_at: e.dead_lettered_at_ms.map(datetime),
        }
    }
}

impl ExecutionObject {
    /// Guests are not told what the function logged.
    pub fn without_logs(mut self) -> ExecutionObject {
        self.logs.clear();
        self.errors.clear();
        self
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionInput {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Answer at once, run in the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#async: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Headers>,
    /// At least a minute ahead, and only with `async`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled_at: Option<String>,
    /// Whom to run it for: required by a function that runs per enrolment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enrolment_id: Option<String>,
}

/// One client sends an empty object as an empty array.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Headers {
    Object(BTreeMap<String, String>),
    Empty([(); 0]),
}
