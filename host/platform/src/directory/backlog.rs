//! A partner's waiting executions, fan-outs and events, as far as this process knows.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use larder_store::Waiting;

/// How old a count may be if the backlog has shrunk since.
const LESS: Duration = Duration::from_millis(50);

/// The last count, plus what this process has added since.
#[derive(Default)]
pub struct Backlog(Mutex<Option<Counted>>);

#[derive(Clone, Copy)]
struct Counted {
    at: Instant,
    waiting: Waiting,
    /// The backlog has shrunk since.
    less: bool,
}

impl Backlog {
    /// The count, if it is no older than this.
    pub fn known(&self, within: Duration) -> Option<Waiting> {
        let counted = (*self.0.lock().expect("no panic under the lock"))?;
        let within = if counted.less { within.min(LESS) } else { within };
        (counted.at.elapsed() <= within).then_some(counted.waiting)
    }

    /// Stores a count from the database.
    pub fn counted(&self, waiting: Waiting) {
        *self.0.lock().expect("no panic under the lock") = Some(Counted { at: Instant::now(), waiting, less: false });
    }

    /// Adds what this process has queued.
    pub fn add(&self, more: Waiting) {
        if let Some(Counted { waiting, .. }) = &mut *self.0.lock().expect("no panic under the lock") {
            waiting.executions += more.executions;
            waiting.due += more.due;
            waiting.fanouts += more.fanouts;
            waiting.events += more.events;
        }
    }

    /// This process has taken some of the backlog. The rest is counted again soon: a count that stops at a bound does not say
    /// how much is left.
    pub fn less(&self) {
        if let Some(counted) = &mut *self.0.lock().expect("no panic under the lock") {
            counted.less = true;
        }
    }
}
