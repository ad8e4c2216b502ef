//! What one execution may use ([`Limits`]), which of it ran out ([`Exceeded`]), and what it did use ([`Usage`]).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What one execution may use. Every value has a default ([`Limits::DEFAULT`]) and a ceiling ([`Limits::CEILING`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes over all linear memories and tables of the component together (a table element counts 8 bytes).
    pub memory_bytes: u64,
    /// CPU time of the thread while it polls the guest; waiting is free.
    pub cpu: Duration,
    /// Wall-clock time of instantiation and call together.
    pub wall: Duration,
    /// Wall-clock time of a run whose answer streams, instead of `wall` from the moment at which its head leaves.
    pub stream: Option<Duration>,
    /// Bytes kept of stdout and stderr together. What exceeds them is dropped and counted; the guest goes on.
    pub log_bytes: u64,
    /// Bytes of a response body or a handler's answer.
    pub response_bytes: u64,
    /// Number of effects: state writes, transactions and emitted events together.
    pub effects: u32,
}

impl Limits {
    pub const DEFAULT: Limits = Limits {
        memory_bytes: 64 << 20,
        cpu: Duration::from_millis(1_000),
        wall: Duration::from_secs(15),
        stream: None,
        log_bytes: 1 << 20,
        response_bytes: 8 << 20,
        effects: 1_000,
    };
    pub const CEILING: Limits = Limits {
        memory_bytes: 256 << 20,
        cpu: Duration::from_secs(60),
        wall: Duration::from_secs(900),
        stream: Some(Duration::from_secs(900)),
        log_bytes: 4 << 20,
        response_bytes: 32 << 20,
        effects: 10_000,
    };
}

/// Which limit ended an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    MemoryBytes,
    CpuMs,
    WallMs,
    StreamMs,
    ResponseBytes,
    Effects,
    /// Things the host holds for the guest: handles, resource table entries, bytes in host calls, header bytes, random bytes.
    HostResources,
    /// Depth of the guest's call stack, in bytes.
    StackBytes,
}

impl LimitKind {
    /// The name under which the limit is set and reported.
    pub fn name(self) -> &'static str {
        match self {
            LimitKind::MemoryBytes => "memory_bytes",
            LimitKind::CpuMs => "cpu_ms",
            LimitKind::WallMs => "wall_ms",
            LimitKind::StreamMs => "stream_ms",
            LimitKind::ResponseBytes => "response_bytes",
            LimitKind::Effects => "effects",
            LimitKind::HostResources => "host_resources",
            LimitKind::StackBytes => "stack_bytes",
        }
    }
}

/// A limit that ended an execution: its value, and what was used or asked for when it did, in the limit's unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exceeded {
    pub limit: LimitKind,
    pub value: u64,
    pub used: u64,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit {} of {} exceeded: used {}", self.limit.name(), self.value, self.used)
    }
}

/// What an execution used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub wall: Duration,
    pub cpu: Duration,
    /// Highest sum over memories and tables.
    pub memory_peak_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exceeded_limit_is_told_by_the_name_under_which_it_is_set() {
        use LimitKind::*;
        for (limit, name) in [
            (MemoryBytes, "memory_bytes"),
            (CpuMs, "cpu_ms"),
            (WallMs, "wall_ms"),
            (StreamMs, "stream_ms"),
            (ResponseBytes, "response_bytes"),
            (Effects, "effects"),
            (HostResources, "host_resources"),
            (StackBytes, "stack_bytes"),
        ] {
            assert_eq!(serde_json::to_value(limit).unwrap(), name);
            let exceeded = Exceeded { limit, value: 10, used: 11 };
            assert_eq!(exceeded.to_string(), format!("limit {name} of 10 exceeded: used 11"));
        }
    }

    #[test]
    fn every_default_is_more_than_nothing_and_within_its_ceiling() {
        let of = |limits: Limits| {
            let ms = |duration: Duration| duration.as_millis() as u64;
            [
                limits.memory_bytes,
                ms(limits.cpu),
                ms(limits.wall),
                limits.log_bytes,
                limits.response_bytes,
                limits.effects.into(),
            ]
        };
        for (default, ceiling) in of(Limits::DEFAULT).into_iter().zip(of(Limits::CEILING)) {
            assert!((1..=ceiling).contains(&default), "{default} of at most {ceiling}");
        }
    }
}
