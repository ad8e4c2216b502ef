//! Events: as a function is given them and emits them, and as they are stored.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::ids::{EventId, ExecutionId, FunctionId, PartnerId};
use crate::time::Millis;

/// A CloudEvents 1.0 envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    pub source: String,
    pub kind: String,
    pub subject: Option<String>,
    /// RFC 3339, UTC.
    pub time: String,
    pub data_content_type: String,
    pub data: Bytes,
    /// The other attributes of its envelope, by name: `dataschema` and extensions.
    pub attributes: BTreeMap<String, String>,
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

impl StoredEvent {
    /// The source of what a function emits.
    pub fn source_of(function: &FunctionId) -> String {
        format!("{SOURCES}{function}")
    }

    /// The run that emitted it: its id names the run, and its place among what the run saved and emitted.
    pub fn caused_by(&self) -> Option<(FunctionId, ExecutionId)> {
        // What comes from outside has no other cause, whatever its source says.
        self.root.as_ref()?;
        let function = self.source.strip_prefix(SOURCES)?.parse().ok()?;
        let (run, _) = self.id.rsplit_once('-')?;
        Some((function, run.parse().ok()?))
    }
}

const SOURCES: &str = "/functions/";
