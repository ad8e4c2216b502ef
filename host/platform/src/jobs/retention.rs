//! What was deleted or is too old goes, a batch at a time: what is left of functions and enrolments; executions, events, kept
//! answers, deployments, uploads that are nobody's; and, in every process, artifacts beyond what its cache may have.

use std::time::Duration;

use futures::StreamExt;
use larder_signals::crash::{self, Point};
use larder_store::Removal;
use larder_store::retention::{self, Aged, Place};

use crate::app::App;
use crate::stored;

const PERIOD: Duration = Duration::from_secs(60);
const UPLOADS_PERIOD: Duration = Duration::from_secs(3_600);
const UPLOAD_AGE_MIN: Duration = Duration::from_secs(24 * 3_600);
/// Rows of one transaction, so that the writer is never held for long.
const BATCH: u32 = 500;
/// Between two looks for what others have deleted and not removed.
const REMOVALS_PERIOD: Duration = Duration::from_secs(2);
const REMOVALS_MAX: u32 = 100;
/// Batches that a deletion removes before it is answered: most things are gone with the answer.
const BATCHES_AT_ONCE: u32 = 8;

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
    let removed =
        Sweep { what: "rows of what was deleted", metric: "larder_removed_rows_total", period: REMOVALS_PERIOD };
    app.life.spawn("removals", every(app.clone(), removed, async |app| Ok(sweep_removals(app).await?)));
    app.life.spawn("count of stored bytes", stored::count(app.clone()));
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
/// Removes what is left of something that was just deleted, if it is not much; the rest goes in the background.
pub async fn sweep_at_once(app: &App, removal: &Removal) {
    for _ in 0..BATCHES_AT_ONCE {
        match app.store.sweep_removal(removal, BATCH).await {
            Ok(swept) if swept.done => return,
            Ok(_) => {}
            Err(err) => {
                tracing::warn!(error = %err, "rows of what was deleted are left; they go in the background");
                return;
            }
        }
    }
}

/// A batch of each removal in turn, so that a large one holds up no small one.
async fn sweep_removals(app: &App) -> larder_store::Result<u64> {
    let mut rows = 0;
    let mut left = app.store.removals(REMOVALS_MAX).await?;
    while !left.is_empty() {
        let mut unfinished = Vec::new();
        for removal in left {
            if app.life.is_draining() {
                return Ok(rows);
            }
            let swept = app.store.sweep_removal(&removal, BATCH).await?;
            rows += swept.rows;
            if swept.rows > 0 {
                crash::point(Point::Swept);
            }
            if !swept.done {
                unfinished.push(removal);
            }
            tokio::task::yield_now().await;
        }
        left = unfinished;
    }
    Ok(rows)
}

/// What is too old goes from every table; gives how many rows.
async fn sweep(app: &App) -> larder_store::Result<u64> {
    let (now, records) = (app.clock.now_ms(), &app.settings.records);
    let before = |age: Duration| now - age.as_millis() as i64;
    let mut rows = app.store.delete_old_commits(now - COMMITS_KEPT.as_millis() as i64).await?;
    loop {
        let deleted = app.store.delete_old_executions(before(records.retention), BATCH).await?
            + app.store.delete_old_event_roots(before(records.events_kept()), BATCH).await?
            + app.store.delete_old_idempotency_keys(before(records.idempotency_keys), BATCH).await?
            + app.store.delete_old_deployments(now, BATCH).await?;
        rows += deleted;
        if deleted > 0 {
            crash::point(Point::Swept);
        }
        if deleted == 0 || app.life.is_draining() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let aged = before(records.events_kept());
    Ok(rows + sweep_aged(app, &retention::FANOUTS, aged).await? + sweep_aged(app, &retention::EVENTS, aged).await?)
}

async fn sweep_aged(app: &App, aged: &Aged, before: i64) -> larder_store::Result<u64> {
    let (mut rows, mut place) = (0, Some(Place::default()));
    while let Some(from) = place.take_if(|_| !app.life.is_draining()) {
        let (gone, next) = app.store.delete_aged(aged, before, &from, BATCH).await?;
        rows += gone;
        if gone > 0 {
            crash::point(Point::Swept);
        }
        place = next;
        tokio::task::yield_now().await;
    }
    Ok(rows)
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
