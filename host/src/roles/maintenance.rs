//! Retention: what is older than `records.retention` goes, a batch at a time.

use std::time::Duration;

use crate::app::App;
use crate::store;

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
    let before = app.clock.now_ms() - app.settings.records.retention.as_millis() as i64;
    let mut rows = 0;
    loop {
        let deleted =
            app.store.delete_old_executions(before, BATCH).await? + app.store.delete_old_events(before, BATCH).await?;
        rows += deleted;
        if deleted == 0 || app.life.is_draining() {
            return Ok(rows);
        }
        tokio::task::yield_now().await;
    }
}
