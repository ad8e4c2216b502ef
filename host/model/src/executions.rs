//! Executions: the record of one run of a function.

use serde::{Deserialize, Serialize};

use crate::ids::{DeploymentId, EnrolmentId, EventId, ExecutionId, FunctionId, PartnerId};
use crate::text::cleaned;
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

/// Characters of a reason.
const REASON_CHARS: usize = 160;
/// A word with so many digits names one case of many: an id, a time, a number of bytes.
const DIGITS: usize = 4;

impl Execution {
    /// What it failed for, the same for executions that failed for the same: the first line of its errors, without how often it was
    /// tried and without words that differ from run to run.
    pub fn reason(&self) -> String {
        const NONE: &str = "no error was recorded";
        let line = self.errors.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or(NONE);
        let why =
            line.strip_prefix("given up after ").and_then(|rest| rest.split_once(": ")).map_or(line, |(_, why)| why);
        let why: String = why.chars().take(REASON_CHARS * 4).collect();
        let mut reason = String::new();
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
        for word in cleaned(&why).split_inclusive(|c| !is_word(c)) {
            let (word, end) = match word.chars().last().filter(|c| !is_word(*c)) {
                Some(last) => word.split_at(word.len() - last.len_utf8()),
                None => (word, ""),
            };
            let digits = word.chars().filter(char::is_ascii_digit).count();
            reason.push_str(if digits >= DIGITS { "…" } else { word });
            reason.push_str(end);
        }
        let reason = reason.trim().chars().take(REASON_CHARS).collect::<String>();
        if reason.is_empty() { NONE.to_owned() } else { reason.trim_end().to_owned() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_that_failed_for_the_same_have_one_reason() {
        let (partner, id, function) = ("p".parse().unwrap(), "x".parse().unwrap(), "f".parse().unwrap());
        let new = Execution::new(partner, id, function, Trigger::Event, ExecutionStatus::Failed, 0);
        let reason = |errors: &str| Execution { errors: errors.into(), ..new.clone() }.reason();
        assert_eq!(reason("given up after 3 attempts: trapped: unreachable\nat main"), "trapped: unreachable");
        assert_eq!(
            reason("rejected: order 01K9Z4ABCD of 2026-11-30 has 12 lines"),
            "rejected: order … of … has 12 lines"
        );
        assert_eq!(reason("the function answered 503"), "the function answered 503");
        let host = "given up after 1day of host failures (worker.retry_host_failures_for): no program";
        assert_eq!((reason(host).as_str(), reason("").as_str()), ("no program", "no error was recorded"));
        assert_eq!(reason(&"ä".repeat(1_000)).chars().count(), REASON_CHARS);
    }
}
