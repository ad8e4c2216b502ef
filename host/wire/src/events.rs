//! Events: what was accepted, and what became of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct AcceptedEvent {
    #[serde(rename = "$id")]
    pub row: String,
    pub id: String,
    pub source: String,
    /// An event with this source and id was accepted before; this one changes nothing, and `$id` is that one's.
    pub duplicate: bool,
    /// A duplicate that says something else: its type, subject, content type or data is not that of the accepted one, which
    /// alone takes effect. Send it under an id of its own.
    pub differs: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    pub total: usize,
    pub events: Vec<AcceptedEvent>,
}

/// An event without its data, and what became of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Event)]
pub struct EventObject {
    #[serde(rename = "$id")]
    pub row: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    pub id: String,
    pub source: String,
    pub r#type: String,
    /// Or empty.
    pub subject: String,
    pub time: String,
    /// `waiting`: it was not handed to functions yet. `processing`: something of it waits or runs. `done`: all of it ended.
    pub status: String,
    /// How many functions it reached.
    pub functions: usize,
    /// For how many enrolments they run.
    pub enrolments: u64,
    pub executions: Counts,
    /// More than 10,000 executions came of it, and no more are counted.
    pub more: bool,
    pub deliveries: Vec<DeliveryObject>,
}

/// What one function got of an event.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EventDelivery)]
pub struct DeliveryObject {
    pub function_id: String,
    /// `event` or `enrolment`, as the function ran when the event came.
    pub per: String,
    /// Enrolments that it runs for; 0 with `per: enrolment`: none has the event's subject as its topic.
    pub enrolments: u64,
    pub executions: Counts,
}

/// Executions by where they stand.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = ExecutionCounts)]
pub struct Counts {
    pub waiting: u64,
    pub processing: u64,
    pub completed: u64,
    pub failed: u64,
}

impl Counts {
    pub fn all(self) -> u64 {
        self.open() + self.completed + self.failed
    }

    /// Those that have not ended.
    pub fn open(self) -> u64 {
        self.waiting + self.processing
    }

    pub fn plus(self, other: Counts) -> Counts {
        Counts {
            waiting: self.waiting + other.waiting,
            processing: self.processing + other.processing,
            completed: self.completed + other.completed,
            failed: self.failed + other.failed,
        }
    }
}
