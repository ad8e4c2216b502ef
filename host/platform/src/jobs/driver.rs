//! The one loop of everything that looks for work in the database.
//!
//! A job acquires what a step needs (a permit, or nothing), takes a step, and then looks again at once, or waits for the next
//! notification, but no longer than until its poll. When the process drains, it takes no further step.

use std::future::Future;
use std::time::Duration;

use larder_signals::Work;

use crate::common::Common;

/// When a job looks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once: there was work.
    Now,
    /// At the next notification, or after so long.
    Within(Duration),
}

impl Next {
    /// At once if there was work, else within the poll.
    pub fn after(found: bool, poll: Duration) -> Next {
        if found { Next::Now } else { Next::Within(poll) }
    }
}

/// One kind of work that is looked for in the database.
pub trait Job: Send {
    /// Whose notifications wake it.
    const WORK: Work;
    /// What a step takes before it begins.
    type Permit: Send;

    /// The longest time between two looks.
    fn poll(&self) -> Duration;

    fn acquire(&mut self) -> impl Future<Output = Self::Permit> + Send;

    fn step(&mut self, permit: Self::Permit) -> impl Future<Output = larder_store::Result<Next>> + Send;
}

/// Runs the job until the process drains. A step that fails is taken again at the next poll.
pub async fn drive<J: Job>(common: Common, mut job: J) {
    let (work, poll) = (J::WORK, job.poll());
    let drain = common.life.drain();
    while !drain.is_cancelled() {
        let permit = tokio::select! {
            permit = job.acquire() => permit,
            () = drain.cancelled() => return,
        };
        let until = match job.step(permit).await {
            Ok(Next::Now) => continue,
            Ok(Next::Within(until)) => until,
            Err(larder_store::Error::Contended(why)) => {
                tracing::debug!(?work, why, "lost a race; trying again");
                poll
            }
            Err(err) => {
                tracing::error!(?work, error = %err, "a step failed; trying again at the next poll");
                poll
            }
        };
        tokio::select! {
            () = common.queue.wait(work, until) => {}
            () = drain.cancelled() => {}
        }
    }
}
