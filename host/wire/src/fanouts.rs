//! Fan-outs: one trigger for many enrolments, and how far it is.

use larder_model::Fanout;
use larder_model::fanouts::Progress;
use larder_model::time::Millis;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::datetime;
use crate::pages::{Row, page};

/// A fan-out: one event or firing that runs a function once for each enrolment.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Fanout)]
pub struct FanoutObject {
    #[serde(rename = "$id")]
    pub id: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    /// When its status last changed.
    #[serde(rename = "$updatedAt")]
    pub updated_at: String,
    pub function_id: String,
    /// `event` or `schedule`.
    pub trigger: String,
    /// The event that triggered it, or empty.
    pub event_id: String,
    /// The time of the firing by the schedule.
    pub nominal_at: Option<String>,
    /// Only enrolments with this topic take part; `null` for all.
    pub topic: Option<String>,
    /// `running`, `paused`, `completed` or `cancelled`.
    pub status: String,
    /// Why Larder has paused or cancelled it, or empty.
    pub reason: String,
    /// How many enrolments take part; `null` until they are counted.
    pub enrolments: Option<u64>,
    /// Runs that succeeded.
    pub done: u64,
    /// Runs whose first attempt failed. Those that are tried again are executions of their own, and so are dead letters.
    pub failed: u64,
    /// Runs that lost a race for their state. They are executions of their own, too.
    pub conflicts: u64,
    /// Nothing of it is claimed for now, because too many executions or events of the partner wait.
    pub held_back: bool,
    /// Runs in a second, from its creation until it ended or now.
    pub rate: f64,
    /// When it will have ended at this rate, if it is running.
    pub expected_end: Option<String>,
}

page!(FanoutList { total: u64, fanouts: FanoutObject });

impl Row for FanoutObject {
    fn id(&self) -> &str {
        &self.id
    }
}

impl FanoutObject {
    pub fn new(fanout: Fanout, progress: Progress, held_back: bool, now: Millis) -> FanoutObject {
        let ended = fanout.status.is_ended();
        let until = if ended { fanout.updated_at_ms } else { now };
        let seconds = (until - fanout.created_at_ms).max(1) as f64 / 1_000.0;
        let rate = progress.runs() as f64 / seconds;
        let left = fanout.expected.unwrap_or_default().saturating_sub(progress.runs());
        let running = fanout.status == larder_model::FanoutStatus::Running;
        let ends = (running && rate > 0.0).then(|| now + (left as f64 / rate * 1_000.0) as Millis);
        FanoutObject {
            id: fanout.id.into(),
            created_at: datetime(fanout.created_at_ms),
            updated_at: datetime(fanout.updated_at_ms),
            function_id: fanout.function.into(),
            trigger: fanout.trigger.word().into(),
            event_id: fanout.event.map(String::from).unwrap_or_default(),
            nominal_at: fanout.nominal_at_ms.map(datetime),
            topic: fanout.topic,
            status: fanout.status.word().into(),
            reason: fanout.reason.unwrap_or_default(),
            enrolments: fanout.expected,
            done: progress.done,
            failed: progress.failed,
            conflicts: progress.conflicts,
            held_back,
            rate: (rate * 10.0).round() / 10.0,
            expected_end: ends.map(datetime),
        }
    }
}

#[cfg(test)]
mod tests {
    use larder_model::{FanoutStatus, Trigger};

    use super::*;

    #[test]
    fn rate_and_end_follow_from_the_runs_so_far() {
        let (partner, id, function) = ("p".parse().unwrap(), "x".parse().unwrap(), "f".parse().unwrap());
        let mut fanout = Fanout::new(partner, id, function, Trigger::Event, 10_000);
        fanout.expected = Some(1_000);
        let progress = Progress { done: 300, failed: 80, conflicts: 20 };
        let object = FanoutObject::new(fanout.clone(), progress, true, 14_000);
        assert_eq!((object.rate, object.held_back), (100.0, true));
        assert_eq!(object.expected_end, Some(datetime(20_000)));
        // Once it has ended, time does not slow it down.
        fanout = Fanout { status: FanoutStatus::Completed, updated_at_ms: 20_000, ..fanout };
        let object = FanoutObject::new(fanout.clone(), Progress { done: 1_000, ..progress }, false, 900_000);
        assert_eq!((object.rate, object.expected_end), (110.0, None));
        // Nothing has run yet.
        let fresh = Fanout { status: FanoutStatus::Running, expected: None, ..fanout };
        let object = FanoutObject::new(fresh, Progress::default(), false, 10_000);
        assert_eq!((object.rate, object.expected_end), (0.0, None));
    }
}
