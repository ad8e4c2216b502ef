//! Functions, their limits, and what a deployment asks of their settings.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event_schemas::EventSchemas;
use crate::grants::Grants;
use crate::ids::{DeploymentId, FunctionId, PartnerId};
use crate::limits::Limits;
use crate::settings_schema::SettingsSchema;
use crate::time::Millis;
use crate::words::words;

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

words! {
    /// Who may enrol end users in a function.
    EnrolBy {
        /// The partner, by a key.
        Partner = "partner",
        /// End users themselves, too.
        EndUsers = "self",
    }
}

/// How end users come to take part in a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolling {
    pub by: EnrolBy,
    /// The topics that end users may choose. `{user}` stands for their id, `*` at the end for anything. None: their id.
    pub topics: Vec<String>,
    /// What settings must be, whoever enrols.
    pub schema: SettingsSchema,
}

impl Default for Enrolling {
    fn default() -> Enrolling {
        Enrolling { by: EnrolBy::Partner, topics: vec![], schema: SettingsSchema::default() }
    }
}

impl Enrolling {
    const USER: &str = "{user}";

    /// May end users join, and change what they have joined?
    pub fn is_open(&self) -> bool {
        self.by == EnrolBy::EndUsers
    }

    /// Is this a text of `topics`?
    pub fn check_topic(text: &str) -> Result<(), &'static str> {
        let before = text.strip_suffix('*').unwrap_or(text);
        if !(1..=255).contains(&text.chars().count()) {
            return Err("must have 1 to 255 characters");
        }
        if before.contains('*') {
            return Err("may have a * at its end only");
        }
        // The id of one end user may begin with that of another.
        if before != text && before.ends_with(Self::USER) {
            return Err("must not have a * behind {user}");
        }
        crate::text::check(text)
    }

    /// The topics for this end user, as they are shown.
    pub fn topics_of(&self, end_user: &str) -> Vec<String> {
        match &self.topics[..] {
            [] => vec![end_user.to_owned()],
            topics => topics.iter().map(|topic| topic.replace(Self::USER, end_user)).collect(),
        }
    }

    /// The topic under which this end user joins: the chosen one, if they may, or the only one that there is.
    pub fn topic(&self, end_user: &str, chosen: Option<String>) -> Result<String, String> {
        let own = [Self::USER.to_owned()];
        let topics = if self.topics.is_empty() { &own[..] } else { &self.topics };
        let may = |chosen: &str| {
            topics.iter().any(|topic| match topic.strip_suffix('*') {
                Some(before) => chosen.starts_with(&before.replace(Self::USER, end_user)),
                None => *chosen == topic.replace(Self::USER, end_user),
            })
        };
        match (chosen, topics) {
            (None, [only]) if !only.ends_with('*') => Ok(only.replace(Self::USER, end_user)),
            (Some(chosen), _) if may(&chosen) => Ok(chosen),
            (chosen, _) => {
                let all = self.topics_of(end_user).join(", ");
                let what = if chosen.is_some() { "must be" } else { "is required:" };
                Err(format!("{what} one of {all}"))
            }
        }
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
    /// Path prefixes that the web endpoint serves from this function.
    pub routes: Vec<String>,
    pub limits: LimitSettings,
    pub enrolling: Enrolling,
    /// What the data of events that it takes or emits must be.
    pub event_schemas: EventSchemas,
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
            enrolling: Enrolling::default(),
            event_schemas: EventSchemas::default(),
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
    /// Who may execute it by a token or without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execute: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub enrol: Option<EnrolBy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrol_topics: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub settings_schema: Option<SettingsSchema>,
    /// All of them at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub event_schemas: Option<EventSchemas>,
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
        put(&mut function.execute, self.execute.as_ref());
        put(&mut function.enrolling.by, self.enrol.as_ref());
        put(&mut function.enrolling.topics, self.enrol_topics.as_ref());
        put(&mut function.enrolling.schema, self.settings_schema.as_ref());
        put(&mut function.event_schemas, self.event_schemas.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_users_choose_among_the_topics_that_are_theirs() {
        let of = |topics: &[&str]| Enrolling {
            topics: topics.iter().map(|t| (*t).to_owned()).collect(),
            ..Enrolling::default()
        };
        let topic = |topics: &[&str], chosen: Option<&str>| of(topics).topic("anna", chosen.map(str::to_owned)).ok();
        for (topics, chosen, found) in [
            (&[][..], None, Some("anna")),
            (&[], Some("anna"), Some("anna")),
            (&[], Some("bo"), None),
            (&["card-{user}"], None, Some("card-anna")),
            (&["card-{user}"], Some("card-bo"), None),
            (&["team:*"], None, None),
            (&["team:*"], Some("team:AIK"), Some("team:AIK")),
            (&["team:*"], Some("card-bo"), None),
            (&["a", "b"], Some("b"), Some("b")),
            (&["a", "b"], None, None),
            (&["{user}/*"], Some("anna/x"), Some("anna/x")),
            (&["{user}/*"], Some("annabel/x"), None),
        ] {
            assert_eq!(topic(topics, chosen).as_deref(), found, "{topics:?} {chosen:?}");
        }
        // An id that looks like a pattern is none.
        assert!(of(&[]).topic("*", Some("anyone".into())).is_err());
        for (text, fine) in
            [("a", true), ("{user}", true), ("a*", true), ("*", true), ("", false), ("a*b", false), ("x{user}*", false)]
        {
            assert_eq!(Enrolling::check_topic(text).is_ok(), fine, "{text}");
        }
    }
}
