//! How much of a partner waits, as far as this process knows.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use larder_store::Waiting;

/// How old a count may be when some of it has left since.
const LESS: Duration = Duration::from_millis(50);

/// What was counted last, with what this process added since.
#[derive(Default)]
pub struct Backlog(Mutex<Option<Counted>>);

#[derive(Clone, Copy)]
struct Counted {
    at: Instant,
    waiting: Waiting,
    /// Some of it has left.
    less: bool,
}

impl Backlog {
    /// What is known, if it was counted within this time.
    pub fn known(&self, within: Duration) -> Option<Waiting> {
        let counted = (*self.0.lock().expect("no panic under the lock"))?;
        let within = if counted.less { within.min(LESS) } else { within };
        (counted.at.elapsed() <= within).then_some(counted.waiting)
    }

    /// What the database says now.
    pub fn counted(&self, waiting: Waiting) {
        *self.0.lock().expect("no panic under the lock") = Some(Counted { at: Instant::now(), waiting, less: false });
    }

    /// This process adds so much.
    pub fn add(&self, more: Waiting) {
        if let Some(Counted { waiting, .. }) = &mut *self.0.lock().expect("no panic under the lock") {
            waiting.executions += more.executions;
            waiting.due += more.due;
            waiting.fanouts += more.fanouts;
            waiting.events += more.events;
        }
    }

    /// This process took some of it on. How much is left is counted again soon, as a count that ends at a bound does not tell.
    pub fn less(&self) {
        if let Some(counted) = &mut *self.0.lock().expect("no panic under the lock") {
            counted.less = true;
        }
    }
}
