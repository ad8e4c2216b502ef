//! The Execution object.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use larder_model::{Execution, ExecutionStatus};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::wire::{Header, datetime};

const UTF_8: &str = "utf-8";

/// An execution. The function's names of the formats before and from 2.0 stand side by side.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Execution)]
pub struct ExecutionObject {
    #[serde(rename = "$id")]
    id: String,
    #[serde(rename = "$createdAt")]
    created_at: String,
    #[serde(rename = "$updatedAt")]
    updated_at: String,
    #[serde(rename = "$permissions")]
    permissions: [String; 0],
    function_id: String,
    resource_id: String,
    resource_type: &'static str,
    deployment_id: String,
    /// `http`, `schedule` or `event`.
    trigger: &'static str,
    /// `scheduled`, `waiting`, `processing`, `completed` or `failed`.
    status: &'static str,
    request_method: String,
    request_path: String,
    request_headers: Vec<Header>,
    /// 0 until it has ended.
    response_status_code: u16,
    /// Only in the answer to a synchronous create.
    response_body: String,
    /// How `responseBody` is written: `utf-8`, or `base64` for an answer of other bytes.
    response_body_encoding: &'static str,
    response_headers: Vec<Header>,
    logs: String,
    errors: String,
    /// Seconds.
    duration: f64,
    scheduled_at: Option<String>,
    /// Which attempt this is or was, from 1; while it waits, how many have failed so far. Tries that only Larder was at
    /// fault for do not count.
    attempt: u32,
    /// Seconds.
    cpu_time: f64,
    memory_peak_bytes: u64,
    /// Whom it was for, or empty.
    enrolment_id: String,
    /// The event that triggered it, or empty.
    event_id: String,
    /// When the schedule wanted it, and how much later that was.
    nominal_at: Option<String>,
    late_ms: Option<i64>,
    /// When it was given up: it is a dead letter, and can be redriven.
    buried_at: Option<String>,
}

impl From<Execution> for ExecutionObject {
    fn from(e: Execution) -> ExecutionObject {
        let header = |(name, value)| Header { name, value };
        let request = e.request.recorded();
        ExecutionObject {
            id: e.id.into(),
            created_at: datetime(e.created_at_ms),
            updated_at: datetime(e.updated_at_ms),
            permissions: [],
            resource_id: e.function.to_string(),
            function_id: e.function.into(),
            resource_type: "functions",
            deployment_id: e.deployment.map(String::from).unwrap_or_default(),
            trigger: e.trigger.word(),
            status: e.status.word(),
            request_method: request.method,
            request_path: request.path,
            request_headers: request.headers.into_iter().map(header).collect(),
            response_status_code: e.response_status,
            response_body: String::new(),
            response_body_encoding: UTF_8,
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
            buried_at: e.buried_at_ms.map(datetime),
        }
    }
}

impl ExecutionObject {
    /// With the function's whole answer.
    pub fn answered(execution: Execution, headers: Option<&HeaderMap>, body: Vec<u8>) -> ExecutionObject {
        let mut object = ExecutionObject::from(execution);
        if let Some(headers) = headers {
            let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| Header {
                name: name.to_string(),
                value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
            };
            object.response_headers = headers.iter().map(header).collect();
            object.response_headers.retain(|header| header.name != "x-appwrite-execution-id");
        }
        let id = Header { name: "x-appwrite-execution-id".into(), value: object.id.clone() };
        object.response_headers.push(id);
        match String::from_utf8(body) {
            Ok(text) => object.response_body = text,
            // What was done is told as done, whatever it answered.
            Err(other) => {
                object.response_body = BASE64_STANDARD.encode(other.as_bytes());
                object.response_body_encoding = "base64";
            }
        }
        object
    }

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
