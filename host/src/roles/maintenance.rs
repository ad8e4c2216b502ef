//! Retention: what is older than `records.retention` goes, a batch at a time.

use std::time::Duration;

use crate::app::App;
use crate::crash::{self, Point};
use crate::store;

/// Events are kept at least that long, however short the retention: their keys make a repeated one a duplicate.
const EVENTS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
const PERIOD: Duration = Duration::from_secs(60);
/// Rows of one transaction, so that the writer is never held for long.
const BATCH: u32 = 500;

pub fn start(app: &App) {
    app.life.spawn("retention", retention(app.clone()));
}

async fn retention(app: App) {
    let drain = app.life.drain();
    loop {
        match sweep(&app).await {
            Ok(0) => {}
            Ok(rows) => {
                metrics::counter!("larder_retention_rows_total").increment(rows);
                tracing::info!(rows, "{rows} rows were older than records.retention and are gone");
            }
            Err(err) => tracing::error!(error = %err, "retention failed; trying again in a minute"),
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = drain.cancelled() => return,
        }
    }
}

async fn sweep(app: &App) -> store::Result<u64> {
    let now = app.clock.now_ms();
    let retention = app.settings.records.retention;
    let before = now - retention.as_millis() as i64;
    let events_before = now - retention.max(EVENTS_KEPT).as_millis() as i64;
    let mut rows = 0;
    loop {
        let deleted = app.store.delete_old_executions(before, BATCH).await?
            + app.store.delete_old_events(events_before, BATCH).await?;
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
