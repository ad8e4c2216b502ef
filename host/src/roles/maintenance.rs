//! What is too old goes, a batch at a time: executions, events, kept answers, deployments, uploads that are nobody's; and,
//! in every process, artifacts beyond what its cache may have.

use std::time::Duration;

use futures::StreamExt;

use crate::app::App;
use crate::crash::{self, Point};
use crate::store;

/// Events are kept at least that long, however short the retention: their keys make a repeated one a duplicate.
const EVENTS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
const PERIOD: Duration = Duration::from_secs(60);
const UPLOADS_PERIOD: Duration = Duration::from_secs(3_600);
const UPLOAD_AGE_MIN: Duration = Duration::from_secs(24 * 3_600);
/// Rows of one transaction, so that the writer is never held for long.
const BATCH: u32 = 500;

pub fn start(app: &App) {
    app.life.spawn("retention", retention(app.clone()));
    app.life.spawn("uploads", uploads(app.clone()));
}

async fn retention(app: App) {
    let drain = app.life.drain();
    loop {
        match sweep(&app).await {
            Ok(0) => {}
            Ok(rows) => {
                metrics::counter!("larder_retention_rows_total").increment(rows);
                tracing::info!(rows, "{rows} rows were kept for as long as they are to be and are gone");
            }
            Err(err) => tracing::error!(error = %err, "retention failed; trying again in a minute"),
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = drain.cancelled() => return,
        }
    }
}

/// What is too old goes from every table; gives how many rows.
async fn sweep(app: &App) -> store::Result<u64> {
    let (now, records) = (app.clock.now_ms(), &app.settings.records);
    let before = |age: Duration| now - age.as_millis() as i64;
    let mut rows = 0;
    loop {
        let deleted = app.store.delete_old_executions(before(records.retention), BATCH).await?
            + app.store.delete_old_events(before(records.retention.max(EVENTS_KEPT)), BATCH).await?
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
async fn uploads(app: App) {
    let drain = app.life.drain();
    loop {
        match sweep_uploads(&app).await {
            Ok(0) => {}
            Ok(uploads) => {
                metrics::counter!("larder_orphaned_uploads_total").increment(uploads);
                tracing::info!(uploads, "{uploads} uploads that no deployment has are gone");
            }
            Err(err) => tracing::error!(error = %err, "uploads could not be looked through; trying again in an hour"),
        }
        tokio::select! {
            () = tokio::time::sleep(UPLOADS_PERIOD) => {}
            () = drain.cancelled() => return,
        }
    }
}

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

/// Keeps the artifacts of this process's data folder within `build.cache_bytes_max`.
pub async fn artifacts(app: App) {
    let drain = app.life.drain();
    loop {
        match app.runtime.evict_artifacts(app.settings.build.cache_bytes_max).await {
            Ok(0) => {}
            Ok(evicted) => {
                metrics::counter!("larder_artifacts_evicted_total").increment(evicted);
                tracing::info!(
                    artifacts = evicted,
                    "{evicted} artifacts beyond build.cache_bytes_max are gone from the cache"
                );
            }
            Err(err) => tracing::error!(error = %err, "the cache of artifacts could not be looked through"),
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = drain.cancelled() => return,
        }
    }
}
