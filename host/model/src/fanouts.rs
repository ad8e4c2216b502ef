//! Fan-outs: one trigger for many enrolments.

use serde::{Deserialize, Serialize};

use crate::executions::{Execution, ExecutionStatus, Trigger};
use crate::ids::{EnrolmentId, EventId, ExecutionId, FanoutId, FunctionId, PartnerId};
use crate::time::{Millis, derived_ulid};
use crate::trigger_key::delivery_key;
use crate::words::words;

words! {
    FanoutStatus {
        /// Its ranges are claimed and run.
        Running = "running",
        /// Nothing of it is claimed until somebody resumes it.
        Paused = "paused",
        Completed = "completed",
        Cancelled = "cancelled",
    }
}

/// The runs of a fan-out whose failures decide whether it goes on.
pub const JUDGED_RUNS: u64 = 1_000;

/// One trigger for many enrolments. Workers claim it in ranges of enrolments.
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
    /// The last enrolment that is in a range, empty at first.
    pub cursor: String,
    pub status: FanoutStatus,
    /// Why it is paused or cancelled, if Larder did it.
    pub reason: Option<String>,
    /// How many enrolments take part. `None` until they are counted.
    pub expected: Option<u64>,
    /// The committed runs, once it has ended.
    pub progress: Progress,
    /// Enrolments made later do not take part.
    pub created_at_ms: Millis,
    pub updated_at_ms: Millis,
}

impl FanoutStatus {
    /// Has it ended for good?
    pub fn is_ended(self) -> bool {
        matches!(self, FanoutStatus::Completed | FanoutStatus::Cancelled)
    }
}

/// How many runs of a fan-out have been committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Runs that succeeded.
    pub done: u64,
    /// Runs whose first attempt failed. Those that may be tried again are executions of their own since.
    pub failed: u64,
    /// Runs that lost a race for their state. They are executions of their own since.
    pub conflicts: u64,
}

impl Progress {
    pub fn runs(self) -> u64 {
        self.done + self.failed + self.conflicts
    }
}

impl std::ops::AddAssign for Progress {
    fn add_assign(&mut self, more: Progress) {
        self.done += more.done;
        self.failed += more.failed;
        self.conflicts += more.conflicts;
    }
}

impl Fanout {
    /// One that nobody has claimed anything of.
    pub fn new(partner: PartnerId, id: FanoutId, function: FunctionId, trigger: Trigger, now: Millis) -> Fanout {
        Fanout {
            partner,
            id,
            function,
            trigger,
            event: None,
            nominal_at_ms: None,
            late_ms: None,
            topic: None,
            cursor: String::new(),
            status: FanoutStatus::Running,
            reason: None,
            expected: None,
            progress: Progress::default(),
            created_at_ms: now,
            updated_at_ms: now,
        }
    }

    pub fn trigger_key(&self) -> String {
        delivery_key(&self.function, self.event.as_ref(), self.nominal_at_ms)
    }

    /// The execution for this enrolment, before it runs. Its id is the same however often its range is run again: with it the
    /// ids of its transactions, and the keys under which outside systems recognise a repeated call. The ids of a range, the
    /// fan-out's `ordinal`th, sort together, so that its rows are written to the same pages.
    pub fn execution(&self, ordinal: u32, enrolment: &EnrolmentId, status: ExecutionStatus, now: Millis) -> Execution {
        let id = derived_ulid(self.created_at_ms, ordinal, &["fanout", self.id.as_str(), enrolment.as_str()]);
        let id = ExecutionId::try_from(id).expect("a ULID is an id");
        Execution {
            event: self.event.clone(),
            enrolment: Some(enrolment.clone()),
            nominal_at_ms: self.nominal_at_ms,
            late_ms: self.late_ms,
            ..Execution::new(self.partner.clone(), id, self.function.clone(), self.trigger, status, now)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_of_an_enrolment_has_the_same_id_each_time() {
        let fanout = |id: &str| {
            let (partner, function) = ("p".parse().unwrap(), "f".parse().unwrap());
            Fanout::new(partner, id.parse().unwrap(), function, Trigger::Event, 1_795_262_400_007)
        };
        let id = |fanout: &Fanout, enrolment: &str, now| {
            fanout.execution(0, &enrolment.parse().unwrap(), ExecutionStatus::Waiting, now).id
        };
        let (one, two) = (fanout("one"), fanout("two"));
        assert_eq!(id(&one, "anna", 1), id(&one, "anna", 2));
        let all = [id(&one, "anna", 1), id(&one, "bea", 1), id(&two, "anna", 1)];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
        assert_eq!(crate::time::origin(all[0].as_str()).unwrap().0, 1_795_262_400_007);
    }
}
