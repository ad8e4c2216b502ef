//! Bulk actions: what somebody asked to be done with many dead letters.

use serde::{Deserialize, Serialize};

use crate::ids::{BulkActionId, ExecutionId, FunctionId, PartnerId};
use crate::time::Millis;
use crate::words::words;

words! {
    BulkKind {
        /// Back into the queue, with all attempts before them.
        Redrive = "redrive",
        /// Failed executions for good.
        Discard = "discard",
    }
}

words! {
    BulkStatus {
        /// It has not begun, so that whoever asked can think again.
        Waiting = "waiting",
        Running = "running",
        /// Nothing is done until somebody resumes it.
        Paused = "paused",
        Completed = "completed",
        Cancelled = "cancelled",
    }
}

impl BulkStatus {
    /// Has it ended for good?
    pub fn is_ended(self) -> bool {
        matches!(self, BulkStatus::Completed | BulkStatus::Cancelled)
    }
}

/// Which dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letters {
    /// Those of a function with this reason; `None`: given up by a version that recorded none.
    Group { function: FunctionId, reason: Option<String> },
    /// These, in the order of their ids.
    These(Vec<ExecutionId>),
}

/// Something that is done with many dead letters, a batch at a time.
#[derive(Clone, Debug)]
pub struct BulkAction {
    pub partner: PartnerId,
    pub id: BulkActionId,
    pub kind: BulkKind,
    pub letters: Letters,
    /// Only those that became dead letters before then: what fails again is not taken again.
    pub before_ms: Millis,
    /// The key, or `admin-…` for a person.
    pub asked_by: String,
    pub status: BulkStatus,
    /// Until then it can be cancelled before anything of it is done.
    pub begins_at_ms: Millis,
    /// Why nothing of it is done for now, though it is running.
    pub held_back: Option<String>,
    /// How many there were when it was asked for, counted up to a bound.
    pub expected: u64,
    pub done: u64,
    /// Those that were no dead letters any more, or could not be read.
    pub failed: u64,
    pub created_at_ms: Millis,
    pub updated_at_ms: Millis,
}
