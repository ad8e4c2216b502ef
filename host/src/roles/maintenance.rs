//! What is too old goes, a batch at a time: executions, events, kept answers, deployments, uploads that are nobody's; and,
//! in every process, artifacts beyond what its cache may have.

use std::time::Duration;

use futures::StreamExt;

use crate::app::App;
use crate::crash::{self, Point};
use crate::store;

const PERIOD: Duration = Duration::from_secs(60);
const UPLOADS_PERIOD: Duration = Duration::from_secs(3_600);
const UPLOAD_AGE_MIN: Duration = Duration::from_secs(24 * 3_600);
/// Rows of one transaction, so that the writer is never held for long.
const BATCH: u32 = 500;

/// Something that goes away now and then.
struct Sweep {
    /// What goes, for people.
    what: &'static str,
    metric: &'static str,
    period: Duration,
}

pub fn start(app: &App) {
    let rows = Sweep {
        what: "rows that were kept as long as they are to be",
        metric: "larder_retention_rows_total",
        period: PERIOD,
    };
    app.life.spawn("retention", every(app.clone(), rows, async |app| Ok(sweep(app).await?)));
    let uploads = Sweep {
        what: "uploads that no deployment has",
        metric: "larder_orphaned_uploads_total",
        period: UPLOADS_PERIOD,
    };
    app.life.spawn("uploads", every(app.clone(), uploads, sweep_uploads));
}

/// What every process does: keeps the artifacts of its data folder within `build.cache_bytes_max`.
pub fn start_own(app: &App) {
    let artifacts = Sweep {
        what: "artifacts beyond build.cache_bytes_max",
        metric: "larder_artifacts_evicted_total",
        period: PERIOD,
    };
    let evict = async |app: &App| Ok(app.runtime.evict_artifacts(app.settings.build.cache_bytes_max).await?);
    app.life.spawn("artifacts", every(app.clone(), artifacts, evict));
}

/// Sweeps at once and then once in each period, until the process drains.
async fn every<F>(app: App, sweep: Sweep, run: F)
where
    F: AsyncFn(&App) -> anyhow::Result<u64>,
{
    let (Sweep { what, metric, period }, drain) = (sweep, app.life.drain());
    loop {
        match run(&app).await {
            Ok(0) => {}
            Ok(gone) => {
                metrics::counter!(metric).increment(gone);
                tracing::info!(gone, "{gone} {what} are gone");
            }
            Err(err) => tracing::error!(error = %err, "{what} could not be removed; trying again in {period:?}"),
        }
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            () = drain.cancelled() => return,
        }
    }
}

/// How long the mark of the last commit of a process is kept: longer than any commit is looked up.
const COMMITS_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// What is too old goes from every table; gives how many rows.
async fn sweep(app: &App) -> store::Result<u64> {
    let (now, records) = (app.clock.now_ms(), &app.settings.records);
    let before = |age: Duration| now - age.as_millis() as i64;
    let mut rows = app.store.delete_old_commits(now - COMMITS_KEPT.as_millis() as i64).await?;
    loop {
        let deleted = app.store.delete_old_executions(before(records.retention), BATCH).await?
            + app.store.delete_old_events(before(records.events_kept()), BATCH).await?
            + app.store.delete_old_event_roots(before(records.events_kept()), BATCH).await?
            + app.store.delete_old_idempotency_keys(before(records.idempotency_keys), BATCH).await?
            + app.store.delete_old_deployments(now, BATCH).await?;
        rows += deleted;
        if deleted > 0 {
            crash::point(Point::Swept);
        }
        if deleted == 0 || app.life.is_draining() {
            return Ok(rows);
        }
        tokio::task::yield_now().await;
    }
}

/// Removes uploads that no deployment has any more, or never had because the process that took it died.
async fn sweep_uploads(app: &App) -> anyhow::Result<u64> {
    // An upload is there before its deployment is; a day is longer than any request takes.
    let before = app.clock.now_ms() - UPLOAD_AGE_MIN.as_millis() as i64;
    let mut older = std::pin::pin!(app.objects.older(before));
    let mut gone = 0;
    while let Some(digest) = older.next().await {
        let digest = digest?;
        if app.life.is_draining() {
            break;
        }
        if !app.store.is_deployed(&digest).await? && app.objects.delete_older(&digest, before).await? {
            gone += 1;
        }
    }
    Ok(gone)
}
