//! Round robin over the partners for shared work: claims, routing, fan-outs, schedules.
//!
//! Each kind of work has a [`Position`], the partner that was served last. [`next`] returns the partners after it, without
//! those that are held back because too much of theirs waits elsewhere.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use larder_model::ids::PartnerId;
use larder_signals::Work;
use larder_store::{Queue, Waiting};

use crate::backlog;
use crate::common::Common;

/// The partner that was served last with one kind of work, and whether partners were skipped.
#[derive(Default)]
struct Position {
    last: Mutex<String>,
    skipped: AtomicBool,
}

impl Position {
    fn last(&self) -> String {
        self.last.lock().expect("no panic under the lock").clone()
    }

    fn set_last(&self, partner: &PartnerId) {
        *self.last.lock().expect("no panic under the lock") = partner.to_string();
    }
}

/// The positions of this process.
#[derive(Default)]
pub struct Fairness {
    executions: Position,
    events: Position,
    fanouts: Position,
    schedules: Position,
}

impl Fairness {
    fn of(&self, queue: Queue) -> &Position {
        match queue {
            Queue::Executions => &self.executions,
            Queue::Events => &self.events,
            Queue::Fanouts => &self.fanouts,
            Queue::Schedules => &self.schedules,
        }
    }

    /// Some partner's backlog has shrunk: skipped partners are considered again.
    pub fn make_room(&self, common: &Common) {
        for (queue, work) in [
            (Queue::Executions, Work::Executions),
            (Queue::Events, Work::Events),
            (Queue::Fanouts, Work::Fanouts),
            (Queue::Schedules, Work::Schedules),
        ] {
            if self.of(queue).skipped.swap(false, Ordering::Relaxed) {
                common.signals.push(work);
            }
        }
    }
}

/// The next partners that have such work, up to `limit`, except those in `without` and those that are held back (`rests`).
pub async fn next(
    common: &Common,
    queue: Queue,
    mut without: Vec<PartnerId>,
    limit: u32,
    rests: impl Fn(&Waiting) -> bool,
) -> larder_store::Result<Vec<PartnerId>> {
    let position = common.fairness.of(queue);
    loop {
        let found = common.store.partners_with(queue, common.clock.now_ms(), &position.last(), &without, limit).await?;
        let mut resting = Vec::new();
        for partner in &found {
            if let Some(tenant) = common.directory.tenant(partner)
                && rests(&backlog::waiting(common, &tenant).await?)
            {
                resting.push(partner.clone());
            }
        }
        if resting.is_empty() {
            if let Some(last) = found.last() {
                position.set_last(last);
            }
            return Ok(found);
        }
        position.skipped.store(true, Ordering::Relaxed);
        without.extend(resting);
    }
}
