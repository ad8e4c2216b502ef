//! The domain's plain types, as they are stored. The wire format is `api`'s.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use larder_runtime::{Digest, Exports, Grants, Limits};
use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::ids::*;

pub mod feeds;
pub use feeds::{Feed, FeedSettings, Progress};
pub mod upstreams;
pub use upstreams::{Upstream, UpstreamSettings};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            pub const WORDS: &'static [&'static str] = &[$($word),*];

            /// The word that stands for it in the database and on the wire.
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }

            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some($name::$variant),)* _ => None }
            }
        }
    };
}

#[derive(Clone, Debug)]
pub struct Partner {
    pub id: PartnerId,
    pub name: String,
    /// Grants that an upload widens are approved by another key than the one that uploaded it.
    pub approval_by_another: bool,
    /// Counts the changes of the partner and of its keys, functions, deployments and variables.
    pub version: i64,
    pub created_at_ms: Millis,
    pub updated_at_ms: Millis,
}

#[derive(Clone, Debug)]
pub struct ApiKey {
    pub id: KeyId,
    pub partner: PartnerId,
    pub name: String,
    /// SHA-256 of the whole key text, in hex.
    pub secret_hash: String,
    pub scopes: Vec<String>,
    pub created_at_ms: Millis,
    pub expires_at_ms: Option<Millis>,
}

words! {
    /// How often a trigger runs a function.
    Per {
        /// Once.
        Event = "event",
        /// Once for each active enrolment that it concerns.
        Enrolment = "enrolment",
    }
}

words! {
    /// Which enrolments a trigger concerns when a function runs per enrolment.
    Topics {
        /// Those whose topic equals the event's subject.
        Subject = "subject",
        All = "all",
    }
}

#[derive(Clone, Debug)]
pub struct Function {
    pub partner: PartnerId,
    pub id: FunctionId,
    pub name: String,
    /// Echoed as given.
    pub runtime: String,
    pub execute: Vec<String>,
    /// Patterns over the CloudEvents type, `*` for a segment.
    pub events: Vec<String>,
    /// Five-field cron; empty for none.
    pub schedule: String,
    /// IANA name.
    pub timezone: String,
    pub timeout_s: u32,
    pub enabled: bool,
    /// Off: logs and errors of executions are not kept.
    pub logging: bool,
    pub entrypoint: String,
    pub commands: String,
    pub scopes: Vec<String>,
    pub specification: String,
    pub deployment_retention: u32,
    pub per: Per,
    pub topics: Topics,
    /// Path prefixes that the web door serves from this function.
    pub routes: Vec<String>,
    pub limits: LimitSettings,
    /// In force: those of the active deployment, as approved.
    pub grants: Grants,
    /// The active deployment.
    pub deployment: Option<DeploymentId>,
    pub created_at_ms: Millis,
    pub updated_at_ms: Millis,
}

impl Function {
    /// One of which nothing is set.
    pub fn new(partner: PartnerId, id: FunctionId, now: Millis) -> Function {
        Function {
            partner,
            id,
            name: String::new(),
            runtime: String::new(),
            execute: vec![],
            events: vec![],
            schedule: String::new(),
            timezone: String::new(),
            timeout_s: 0,
            enabled: true,
            logging: true,
            entrypoint: String::new(),
            commands: String::new(),
            scopes: vec![],
            specification: String::new(),
            deployment_retention: 0,
            per: Per::Event,
            topics: Topics::Subject,
            routes: vec![],
            limits: LimitSettings::default(),
            grants: Grants::default(),
            deployment: None,
            created_at_ms: now,
            updated_at_ms: now,
        }
    }
}

/// The limits that a function sets itself; `None` is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitSettings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effects: Option<u32>,
    /// How long an answer that streams may take; `None`: as long as any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_s: Option<u32>,
    /// How often a queued execution is tried; `None` is `worker.attempts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
}

impl LimitSettings {
    const ATTEMPTS_MAX: u64 = 20;

    /// Names the first setting that is zero or above its ceiling.
    pub fn check(&self) -> Result<(), String> {
        let ceiling = Limits::CEILING;
        let all = [
            ("memoryBytes", self.memory_bytes, ceiling.memory_bytes),
            ("cpuMs", self.cpu_ms, ceiling.cpu.as_millis() as u64),
            ("logBytes", self.log_bytes, ceiling.log_bytes),
            ("responseBytes", self.response_bytes, ceiling.response_bytes),
            ("effects", self.effects.map(u64::from), u64::from(ceiling.effects)),
            ("streamS", self.stream_s.map(u64::from), ceiling.stream.unwrap_or_default().as_secs()),
            ("attempts", self.attempts.map(u64::from), Self::ATTEMPTS_MAX),
        ];
        match all.into_iter().find(|(_, value, most)| value.is_some_and(|v| v == 0 || v > *most)) {
            Some((name, value, most)) => {
                Err(format!("limits.{name} must be 1 to {most}, not {}", value.unwrap_or_default()))
            }
            None => Ok(()),
        }
    }

    pub fn limits(&self, timeout_s: u32) -> Limits {
        let default = Limits::DEFAULT;
        Limits {
            memory_bytes: self.memory_bytes.unwrap_or(default.memory_bytes),
            cpu: self.cpu_ms.map_or(default.cpu, Duration::from_millis),
            wall: Duration::from_secs(u64::from(timeout_s)),
            stream: self.stream_s.map(|seconds| Duration::from_secs(u64::from(seconds))),
            log_bytes: self.log_bytes.unwrap_or(default.log_bytes),
            response_bytes: self.response_bytes.unwrap_or(default.response_bytes),
            effects: self.effects.unwrap_or(default.effects),
        }
    }
}

/// What a deployment asks of its function's settings. What is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FunctionSettings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub per: Option<Per>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub topics: Option<Topics>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<String>>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logging: Option<bool>,
    /// All of them at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitSettings>,
}

impl FunctionSettings {
    pub fn apply(&self, function: &mut Function) {
        fn put<T: Clone>(place: &mut T, value: Option<&T>) {
            if let Some(value) = value {
                place.clone_from(value);
            }
        }
        put(&mut function.name, self.name.as_ref());
        put(&mut function.per, self.per.as_ref());
        put(&mut function.topics, self.topics.as_ref());
        put(&mut function.events, self.events.as_ref());
        put(&mut function.schedule, self.schedule.as_ref());
        put(&mut function.timezone, self.timezone.as_ref());
        put(&mut function.routes, self.routes.as_ref());
        put(&mut function.timeout_s, self.timeout.as_ref());
        put(&mut function.enabled, self.enabled.as_ref());
        put(&mut function.logging, self.logging.as_ref());
        put(&mut function.limits, self.limits.as_ref());
    }
}

words! {
    /// Where a deployment's build stands.
    BuildStatus {
        Waiting = "waiting",
        Processing = "processing",
        Building = "building",
        Ready = "ready",
        Failed = "failed",
        Canceled = "canceled",
    }
}

#[derive(Clone, Debug)]
pub struct Deployment {
    pub partner: PartnerId,
    pub id: DeploymentId,
    pub function: FunctionId,
    pub status: BuildStatus,
    /// Becomes the active one when it is ready, unless a newer one did.
    pub activate: bool,
    /// `manual` or `cli`.
    pub kind: String,
    pub entrypoint: String,
    /// Of the uploaded bytes.
    pub digest: Digest,
    pub source_bytes: u64,
    pub build_bytes: u64,
    pub build_ms: u64,
    pub build_logs: String,
    /// How often a build was begun and came to no end.
    pub build_lost: u32,
    /// Known once it is ready.
    pub exports: Option<Exports>,
    /// What it asks for; `None`: whatever the function has.
    pub grants: Option<Grants>,
    /// Of its function, from the moment on in which it becomes active; `None`: they stay as they are.
    pub settings: Option<FunctionSettings>,
    /// The project that it was uploaded from, as the client tells it.
    pub origin: Option<String>,
    /// The key that uploaded it.
    pub uploader: Option<KeyId>,
    /// Of what it asks for, if that was needed.
    pub approval: Option<Approval>,
    pub created_at_ms: Millis,
    pub updated_at_ms: Millis,
}

/// Somebody's yes to the grants that a deployment asks for.
#[derive(Clone, Debug)]
pub struct Approval {
    pub by: KeyId,
    pub at_ms: Millis,
}

words! {
    /// How a function's grants came to change.
    GrantChangeKind {
        /// A key set them.
        Set = "set",
        /// A key approved what a deployment asks for; they are in force once it is active.
        Approved = "approved",
        /// A deployment became active that asks for other ones.
        Activated = "activated",
        /// An upstream was changed.
        Upstream = "upstream",
        /// A variable was changed.
        Variable = "variable",
    }
}

/// One line of the history of grants.
#[derive(Clone, Debug)]
pub struct GrantChange {
    pub partner: PartnerId,
    pub id: String,
    /// `None`: what was changed is no function's.
    pub function: Option<FunctionId>,
    pub kind: GrantChangeKind,
    pub deployment: Option<DeploymentId>,
    /// Who did it; `None`: a build that ended, or the operator.
    pub key: Option<KeyId>,
    pub old: Grants,
    pub new: Grants,
    /// What happened to what a name leads to; else empty.
    pub note: String,
    pub created_at_ms: Millis,
}

#[derive(Clone, Debug)]
pub struct Variable {
    pub partner: PartnerId,
    pub id: VariableId,
    pub function: FunctionId,
    pub name: String,
    /// See `secrets`.
    pub sealed: Vec<u8>,
    pub secret: bool,
    /// Another one for each key and value that it was given.
    pub revision: String,
    pub created_at_ms: Millis,
    pub updated_at_ms: Millis,
}

words! {
    EnrolmentStatus { Active = "active", Paused = "paused", }
}

/// An end user's part in a function.
#[derive(Clone, Debug)]
pub struct Enrolment {
    pub partner: PartnerId,
    pub id: EnrolmentId,
    pub function: FunctionId,
    /// The partner's own id of the end user; guests see a pseudonym.
    pub end_user: String,
    pub topic: String,
    /// A JSON object as text.
    pub settings: String,
    pub status: EnrolmentStatus,
    pub created_at_ms: Millis,
    pub updated_at_ms: Millis,
}

/// A CloudEvent as it was accepted.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    pub partner: PartnerId,
    pub row: EventId,
    pub id: String,
    pub source: String,
    pub kind: String,
    pub subject: Option<String>,
    /// RFC 3339.
    pub time: String,
    pub data_content_type: String,
    pub data: Bytes,
    /// The other attributes of its envelope, by name: `dataschema` and extensions.
    pub attributes: BTreeMap<String, String>,
    /// 0 from outside; one more than that of the event or run that caused it when a function emitted it.
    pub depth: u32,
    /// What caused it in the first place; `None` for one from outside, which is that itself.
    pub root: Option<String>,
    pub created_at_ms: Millis,
}

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
    /// Claims in a row, the present one included, that came to no outcome.
    pub lost: u32,
    /// Since when it has failed through the host's fault alone.
    pub host_failing_since_ms: Option<Millis>,
    /// When it was given up: it is a dead letter then.
    pub buried_at_ms: Option<Millis>,
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
            buried_at_ms: None,
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

/// What of a request is kept with its execution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    pub method: String,
    /// With the query.
    pub path: String,
    pub headers: Vec<(String, String)>,
}

impl RequestRecord {
    /// The headers that outlast the execution; the others, credentials among them, are kept only while it waits.
    const RECORDED: [&str; 5] = ["content-type", "user-agent", "content-length", "host", "x-appwrite-client-ip"];

    /// Without what is not to be kept or shown.
    pub fn recorded(&self) -> RequestRecord {
        let headers =
            self.headers.iter().filter(|(name, _)| Self::RECORDED.contains(&name.as_str())).cloned().collect();
        RequestRecord { method: self.method.clone(), path: self.path.clone(), headers }
    }
}

#[derive(Clone, Debug)]
pub struct Transaction {
    pub partner: PartnerId,
    /// `{execution}-{ordinal}`.
    pub id: String,
    pub execution: ExecutionId,
    pub function: FunctionId,
    pub enrolment: Option<EnrolmentId>,
    pub end_user: String,
    pub amount_minor: i64,
    pub currency: String,
    pub memo: Option<String>,
    pub created_at_ms: Millis,
}

/// One trigger for many enrolments: a cursor over them.
#[derive(Clone, Debug)]
pub struct Fanout {
    pub partner: PartnerId,
    pub id: FanoutId,
    pub function: FunctionId,
    pub trigger: Trigger,
    pub event: Option<EventId>,
    pub nominal_at_ms: Option<Millis>,
    pub late_ms: Option<Millis>,
    /// Only enrolments with this topic; `None` for all.
    pub topic: Option<String>,
    /// The last enrolment that has its execution, empty at first.
    pub cursor: String,
    /// Enrolments made later do not take part.
    pub created_at_ms: Millis,
}

impl Fanout {
    pub fn trigger_key(&self) -> String {
        delivery_key(&self.function, self.event.as_ref(), self.nominal_at_ms)
    }
}

/// The key of what an event's row or a firing's nominal time triggers in a function.
pub fn delivery_key(function: &FunctionId, event: Option<&EventId>, nominal_at_ms: Option<Millis>) -> String {
    match (event, nominal_at_ms) {
        (Some(row), _) => trigger_key(&["event", function.as_str(), row.as_str()]),
        (None, nominal) => trigger_key(&["schedule", function.as_str(), &nominal.unwrap_or_default().to_string()]),
    }
}

/// The key under which a trigger takes effect once: SHA-256 over its parts, each with its length, in hex.
pub fn trigger_key(parts: &[&str]) -> String {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hex(&hash.finalize())
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != N * 2 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
