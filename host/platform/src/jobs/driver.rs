//! The one loop of all jobs that poll the database for work.
//!
//! A job acquires what a step needs (a permit, or nothing) and takes a step. Then it polls again at once, or waits for the next
//! notification, but no longer than its poll interval. When the process drains, the job takes no further step.

use std::future::Future;
use std::time::Duration;

use larder_signals::Work;

use crate::common::Common;

/// When a job polls again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once: there was work.
    Now,
    /// At the next notification, or after this time.
    Within(Duration),
}

impl Next {
    /// At once if there was work, otherwise within the poll interval.
    pub fn after(found: bool, poll: Duration) -> Next {
        if found { Next::Now } else { Next::Within(poll) }
    }
}

/// One kind of work that is polled from the database.
pub trait Job: Send {
    /// The kind of notifications that wake the job.
    const WORK: Work;
    /// What a step acquires before it begins.
    type Permit: Send;

    /// The poll interval: the longest time between two steps.
    fn poll(&self) -> Duration;

    fn acquire(&mut self) -> impl Future<Output = Self::Permit> + Send;

    fn step(&mut self, permit: Self::Permit) -> impl Future<Output = larder_store::Result<Next>> + Send;
}

/// Runs the job until the process drains. A failed step is repeated at the next poll.
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
                tracing::debug!(?work, why, "lost a race; retrying");
                poll
            }
            Err(err) => {
                tracing::error!(?work, error = %err, "a step failed; retrying at the next poll");
                poll
            }
        };
        tokio::select! {
            () = common.signals.wait(work, until) => {}
            () = drain.cancelled() => {}
        }
    }
}
