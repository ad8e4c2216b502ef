//! The loop of jobs that look for one piece of work at a time.

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
