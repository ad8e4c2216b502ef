//! What works through the queue: one file per kind of task.
//!
//! * [`execute`]: the one way to run a function, and the worker's step for claimed executions. [`input`]: what it is given.
//!   [`retries`]: what becomes of it then.
//! * [`build`]: uploads → artifacts. [`route`]: events → executions and fan-outs. [`expand`]: fan-outs → executions.
//! * [`turns`]: whose turn it is at each of these. [`shares`]: how the slots of a process are shared out.
//! * [`capabilities`]: the runtime's backends over the store. [`gates`]: how a run that keeps losing races gets to finish.

pub mod build;
pub mod capabilities;
pub mod claim;
pub mod execute;
pub mod expand;
pub mod gates;
pub mod input;
pub mod request;
pub mod retries;
pub mod route;
pub mod shares;
pub mod turns;

use std::future::Future;
use std::time::Duration;

use larder_signals::Work;

use crate::app::App;

/// Runs `step` until the process drains: again at once while it finds work, else at the next wake-up or poll.
pub async fn drive<F>(app: App, work: Work, poll: Duration, step: impl Fn(App) -> F)
where
    F: Future<Output = larder_store::Result<bool>>,
{
    let drain = app.life.drain();
    while !drain.is_cancelled() {
        match step(app.clone()).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(larder_store::Error::Contended(why)) => tracing::debug!(?work, why, "lost a race; trying again"),
            Err(err) => tracing::error!(?work, error = %err, "a step failed; trying again at the next poll"),
        }
        tokio::select! {
            () = app.queue.wait(work, poll) => {}
            () = drain.cancelled() => {}
        }
    }
}
