//! Starts and stops the tasks of the process. Every task is tracked.
//!
//! * *Drain*: the process takes no new work and finishes the work it holds. The first SIGTERM or SIGINT, or a failed task,
//!   starts it.
//! * *Abort*: after the grace period, or at a second signal, the remaining tasks are dropped. The database and its leases make
//!   that safe at any line.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The time limit for the final step, which runs after all tasks have ended.
const LAST: Duration = Duration::from_secs(10);

/// The tasks of the process and its shutdown state. Clones share them.
#[derive(Clone, Default)]
pub struct Lifecycle {
    drain: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
    failed: Arc<AtomicBool>,
    aborted: Arc<AtomicBool>,
}

impl Lifecycle {
    /// Runs a long-lived task until it ends or everything is aborted. If it panics, the process drains and fails.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let life = self.clone();
        self.spawn_tracked(task, move || {
            tracing::error!(task = name, "task {name} panicked; draining");
            life.fail();
        });
    }

    /// Runs one piece of work, such as a connection or an execution, until it ends or everything is aborted. If it
    /// panics, only it is lost.
    pub fn spawn_work(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.spawn_tracked(work, move || {
            metrics::counter!("larder_panics_total", "work" => name).increment(1);
            tracing::error!(work = name, "{name} panicked");
        });
    }

    /// One task for each piece of work: most requests are one.
    fn spawn_tracked(&self, work: impl Future<Output = ()> + Send + 'static, panicked: impl FnOnce() + Send + 'static) {
        let (abort, aborted) = (self.abort.clone(), self.aborted.clone());
        self.tasks.spawn(async move {
            let mut work = std::pin::pin!(AssertUnwindSafe(work).catch_unwind());
            let mut abort = std::pin::pin!(abort.cancelled());
            let mut is_heard = false;
            let ended = poll_fn(|cx| {
                // Asking the token takes a lock that all tasks share. It is asked once, and then wakes this task: a task has one
                // waker. Later polls look at a flag.
                if !std::mem::replace(&mut is_heard, true) && abort.as_mut().poll(cx).is_ready()
                    || aborted.load(Ordering::Acquire)
                {
                    return Poll::Ready(None);
                }
                work.as_mut().poll(cx).map(Some)
            });
            if let Some(Err(_)) = ended.await {
                panicked();
            }
        });
    }

    /// Runs a task that the other tasks need until they have ended. The process does not wait for it.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    pub fn spawn_last(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let life = self.clone();
        tokio::spawn(async move {
            if let Err(err) = tokio::spawn(task).await
                && err.is_panic()
            {
                tracing::error!(task = name, "task {name} panicked; draining");
                life.fail();
            }
        });
    }

    /// A token that is cancelled when no new work may be taken.
    pub fn drain(&self) -> CancellationToken {
        self.drain.clone()
    }

    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Drains the process and makes it exit with a failure.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
        self.drain.cancel();
    }

    /// Waits for a signal or a failure, then drains for at most `grace`. Afterwards it runs `last`, the final step, such as
    /// flushing recorded data.
    pub async fn run(self, grace: Duration, last: impl Future<Output = ()>) -> ExitCode {
        let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            tracing::error!("the signal handlers cannot be installed");
            return ExitCode::FAILURE;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = self.drain.cancelled() => {}
        }
        tracing::info!(grace_s = grace.as_secs(), "draining: no new work is taken, running work may finish");
        self.drain.cancel();
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => tracing::info!("drained"),
            () = tokio::time::sleep(grace) => tracing::warn!(tasks = self.tasks.len(), "the grace period is over: aborting"),
            _ = terminate.recv() => tracing::warn!("second signal: aborting"),
            _ = interrupt.recv() => tracing::warn!("second signal: aborting"),
        }
        self.aborted.store(true, Ordering::Release);
        self.abort.cancel();
        if tokio::time::timeout(LAST, last).await.is_err() {
            tracing::error!("the final writes did not complete in time");
            self.failed.store(true, Ordering::SeqCst);
        }
        if self.failed.load(Ordering::SeqCst) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_panics_is_reported_and_what_waits_is_dropped() {
        let life = Lifecycle::default();
        let (held, dropped) = tokio::sync::oneshot::channel::<()>();
        life.spawn_work("one that waits", async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        life.spawn("one that panics", async { panic!("as a test") });
        life.drain().cancelled().await;
        life.aborted.store(true, Ordering::Release);
        life.abort.cancel();
        assert!(dropped.await.is_err(), "it was dropped where it waited");
    }
}
