//! Wake-ups between the parts of Larder. They carry nothing: the database is the queue of record, and whoever wakes
//! looks there. A lost wake-up costs the time to the next poll.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

/// What there may be something of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Executions,
    Events,
    Fanouts,
    Builds,
    Schedules,
    /// Something of a partner's snapshot has changed.
    Tenants,
}

/// Wake-ups within one process.
#[derive(Clone, Default)]
pub struct Queue(Arc<[Notify; 6]>);

impl Queue {
    /// Wakes whoever waits for this kind of work, or the next one who comes to wait.
    pub fn push(&self, work: Work) {
        self.0[work as usize].notify_one();
    }

    /// Until there may be work of this kind, `poll` at most.
    pub async fn wait(&self, work: Work, poll: Duration) {
        let _ = tokio::time::timeout(poll, self.0[work as usize].notified()).await;
    }
}
