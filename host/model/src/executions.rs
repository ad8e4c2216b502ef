//! Executions: the record of one run of a function.

use serde::{Deserialize, Serialize};

use crate::ids::{DeploymentId, EnrolmentId, EventId, ExecutionId, FunctionId, PartnerId};
use crate::time::Millis;
use crate::words::words;

words! {
    Trigger { Http = "http", Event = "event", Schedule = "schedule", }
}

words! {
    ExecutionStatus {
        /// Runs at a later time that the caller chose.
        Scheduled = "scheduled",
        Waiting = "waiting",
        Processing = "processing",
        Completed = "completed",
        Failed = "failed",
    }
}

impl ExecutionStatus {
    pub fn has_ended(self) -> bool {
        matches!(self, ExecutionStatus::Completed | ExecutionStatus::Failed)
    }
}

/// One run of a function, as its record tells. Recorded once it ended, or from the start when it waits in the queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Execution {
    pub partner: PartnerId,
    pub id: ExecutionId,
    pub function: FunctionId,
    pub deployment: Option<DeploymentId>,
    pub trigger: Trigger,
    pub status: ExecutionStatus,
    /// Deduplicates triggers within the partner: see [`trigger_key`].
    pub trigger_key: Option<String>,
    pub event: Option<EventId>,
    pub enrolment: Option<EnrolmentId>,
    /// The firing's time by the schedule.
    pub nominal_at_ms: Option<Millis>,
    /// How much later than that it was fired.
    pub late_ms: Option<Millis>,
    /// The time that the caller of the API chose.
    pub scheduled_at_ms: Option<Millis>,
    pub request: RequestRecord,
    /// Claims so far. With the holder it fences: an outcome counts only under the attempt of its claim.
    pub attempt: u32,
    /// Attempts before this one that failed through the function's fault.
    pub failures: u32,
    /// Consecutive claims, the present one included, without an outcome.
    pub lost: u32,
    /// Since when it has failed through the host's fault alone.
    pub host_failing_since_ms: Option<Millis>,
    /// When it became a dead letter. Under the name of its column where processes tell each other.
    #[serde(rename = "buried_at_ms")]
    pub dead_lettered_at_ms: Option<Millis>,
    pub response_status: u16,
    /// Content type and length only.
    pub response_headers: Vec<(String, String)>,
    pub logs: String,
    pub errors: String,
    pub wall_us: u64,
    pub cpu_us: u64,
    pub memory_peak_bytes: u64,
    pub created_at_ms: Millis,
    pub updated_at_ms: Millis,
}

impl Execution {
    /// One that has not run.
    pub fn new(
        partner: PartnerId,
        id: ExecutionId,
        function: FunctionId,
        trigger: Trigger,
        status: ExecutionStatus,
        now: Millis,
    ) -> Execution {
        Execution {
            partner,
            id,
            function,
            deployment: None,
            trigger,
            status,
            trigger_key: None,
            event: None,
            enrolment: None,
            nominal_at_ms: None,
            late_ms: None,
            scheduled_at_ms: None,
            request: RequestRecord::default(),
            attempt: 0,
            failures: 0,
            lost: 0,
            host_failing_since_ms: None,
            dead_lettered_at_ms: None,
            response_status: 0,
            response_headers: vec![],
            logs: String::new(),
            errors: String::new(),
            wall_us: 0,
            cpu_us: 0,
            memory_peak_bytes: 0,
            created_at_ms: now,
            updated_at_ms: now,
        }
    }
}

/// What of a request is stored with its execution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    pub method: String,
    /// With the query.
    pub path: String,
    pub headers: Vec<(String, String)>,
}

impl RequestRecord {
    /// The headers that outlast the execution; the others, credentials among them, are stored only while it waits.
    const RECORDED: [&str; 5] = ["content-type", "user-agent", "content-length", "host", "x-appwrite-client-ip"];

    /// Without what must not be stored or shown.
    pub fn recorded(&self) -> RequestRecord {
        let headers =
            self.headers.iter().filter(|(name, _)| Self::RECORDED.contains(&name.as_str())).cloned().collect();
        RequestRecord { method: self.method.clone(), path: self.path.clone(), headers }
    }
}
