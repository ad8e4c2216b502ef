//! Partners take turns at what is shared: routing, fan-outs, schedules, claims.
//!
//! Each kind of work has a [`Turn`], the place behind the partner that was last. [`next`] gives the partners whose turn it
//! is, without those that rest because too much of theirs waits elsewhere.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use larder_model::ids::PartnerId;
use larder_signals::Work;
use larder_store::{Queue, Waiting};

use crate::backlog;
use crate::common::Common;

/// Where the last turn of one kind of work ended, and whether it left out partners that rest.
#[derive(Default)]
struct Turn {
    place: Mutex<String>,
    rests: AtomicBool,
}

impl Turn {
    fn place(&self) -> String {
        self.place.lock().expect("no panic under the lock").clone()
    }

    fn ended_at(&self, partner: &PartnerId) {
        *self.place.lock().expect("no panic under the lock") = partner.to_string();
    }
}

/// Those of this process.
#[derive(Default)]
pub struct Turns {
    executions: Turn,
    events: Turn,
    fanouts: Turn,
    schedules: Turn,
}

impl Turns {
    fn of(&self, queue: Queue) -> &Turn {
        match queue {
            Queue::Executions => &self.executions,
            Queue::Events => &self.events,
            Queue::Fanouts => &self.fanouts,
            Queue::Schedules => &self.schedules,
        }
    }

    /// Something of some partner does not wait any more: what rested because of that is looked at again.
    pub fn make_room(&self, common: &Common) {
        for (queue, work) in [
            (Queue::Executions, Work::Executions),
            (Queue::Events, Work::Events),
            (Queue::Fanouts, Work::Fanouts),
            (Queue::Schedules, Work::Schedules),
        ] {
            if self.of(queue).rests.swap(false, Ordering::Relaxed) {
                common.queue.push(work);
            }
        }
    }
}

/// Up to `limit` partners that have such work and whose turn is next, without these and without those that `rest`.
pub async fn next(
    common: &Common,
    queue: Queue,
    mut without: Vec<PartnerId>,
    limit: u32,
    rests: impl Fn(&Waiting) -> bool,
) -> larder_store::Result<Vec<PartnerId>> {
    let turn = common.turns.of(queue);
    loop {
        let found = common.store.partners_with(queue, common.clock.now_ms(), &turn.place(), &without, limit).await?;
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
                turn.ended_at(last);
            }
            return Ok(found);
        }
        turn.rests.store(true, Ordering::Relaxed);
        without.extend(resting);
    }
}
