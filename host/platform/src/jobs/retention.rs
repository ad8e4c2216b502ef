//! Retention: removes what was deleted or is too old, a batch at a time. That is the rest of deleted functions and
//! enrolments; executions, events, stored answers, deployments, unfinished and orphaned uploads; and, in every process, artifacts beyond
//! the size of its cache, and programs in memory that are not called.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use larder_runtime::Runtime;
use larder_signals::crash::{self, Point};
use larder_store::Removal;
use larder_store::retention::{self, Aged, Cursor};
use tokio::time::Instant;

use crate::common::{Common, context};
use crate::objects::Objects;
use crate::stored;

context! {
    /// The context of retention.
    Retention {
        runtime: Arc<Runtime>,
        objects: Objects,
    }
}

const PERIOD: Duration = Duration::from_secs(60);
const UPLOADS_PERIOD: Duration = Duration::from_secs(3_600);
const UPLOAD_AGE_MIN: Duration = Duration::from_secs(24 * 3_600);
/// The memory of a program is given back within a minute of its last call.
const PROGRAMS_PERIOD: Duration = Duration::from_secs(15);
const PROGRAM_IDLE: Duration = Duration::from_secs(40);
/// Rows in one transaction, so that the writer is never blocked for long.
const BATCH: u32 = 200;
/// After each batch a sweep rests so many times as long as the batch took, and leaves the database to calls.
const RESTS: u32 = 3;
/// A sweep that takes longer rests no more: rows get too old faster than they are removed.
const RESTS_FOR: Duration = Duration::from_secs(3_600);
/// The interval at which rows of deleted things are looked for.
const REMOVALS_PERIOD: Duration = Duration::from_secs(2);
const REMOVALS_MAX: u32 = 100;
/// Batches that a deletion removes before it is answered. Most things are removed completely by then.
const BATCHES_AT_ONCE: u32 = 20;

/// The pace of a sweep in the background.
struct Pace {
    begun: Instant,
    batch: Instant,
}

impl Pace {
    fn new() -> Pace {
        let now = Instant::now();
        Pace { begun: now, batch: now }
    }

    /// Rests after a batch.
    async fn rest(&mut self) {
        if self.begun.elapsed() < RESTS_FOR {
            tokio::time::sleep(self.batch.elapsed() * RESTS).await;
        } else {
            tokio::task::yield_now().await;
        }
        self.batch = Instant::now();
    }
}

/// A periodic removal.
struct Sweep {
    /// What is removed, for the log.
    what: &'static str,
    metric: &'static str,
    period: Duration,
}

pub fn start(retention: &Retention) {
    let rows = Sweep { what: "expired rows", metric: "larder_retention_rows_total", period: PERIOD };
    retention.life.spawn("retention", every(retention.clone(), rows, async |retention| Ok(sweep(retention).await?)));
    let removed =
        Sweep { what: "rows of deleted things", metric: "larder_removed_rows_total", period: REMOVALS_PERIOD };
    retention
        .life
        .spawn("removals", every(retention.clone(), removed, async |retention| Ok(sweep_removals(retention).await?)));
    retention.life.spawn("count of stored bytes", stored::count(retention.common.clone()));
    let uploads = Sweep {
        what: "uploads that no deployment has",
        metric: "larder_orphaned_uploads_total",
        period: UPLOADS_PERIOD,
    };
    retention.life.spawn("uploads", every(retention.clone(), uploads, sweep_uploads));
}

/// Starts what every process does: evicting artifacts beyond `build.cache_bytes_max` from its data folder, and programs that are
/// not called from its memory.
pub fn start_own(retention: &Retention) {
    let artifacts = Sweep {
        what: "artifacts beyond build.cache_bytes_max",
        metric: "larder_artifacts_evicted_total",
        period: PERIOD,
    };
    let evict = async |retention: &Retention| {
        Ok(retention.runtime.evict_artifacts(retention.settings.build.cache_bytes_max).await?)
    };
    retention.life.spawn("artifacts", every(retention.clone(), artifacts, evict));
    let (idle, drain) = (retention.clone(), retention.life.drain());
    retention.life.spawn("idle programs", async move {
        while drain.run_until_cancelled(tokio::time::sleep(PROGRAMS_PERIOD)).await.is_some() {
            let gone = idle.runtime.forget_programs(PROGRAM_IDLE);
            metrics::counter!("larder_idle_programs_total").increment(gone);
        }
    });
}

/// Sweeps at once and then once in each period, until the process drains.
async fn every<F>(retention: Retention, sweep: Sweep, run: F)
where
    F: AsyncFn(&Retention) -> anyhow::Result<u64>,
{
    let (Sweep { what, metric, period }, drain) = (sweep, retention.life.drain());
    loop {
        match run(&retention).await {
            Ok(0) => {}
            Ok(gone) => {
                metrics::counter!(metric).increment(gone);
                tracing::info!(gone, "{gone} {what} were removed");
            }
            Err(err) => tracing::error!(error = %err, "{what} could not be removed; retrying in {period:?}"),
        }
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            () = drain.cancelled() => return,
        }
    }
}

/// How long the mark of a process's last commit is stored: longer than any commit is looked up.
const COMMITS_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the key of a run is stored whose process died: longer than any run takes.
const RUN_KEYS_KEPT: Duration = Duration::from_secs(60 * 60);

/// Removes what is left of something that was just deleted, up to a few batches. The rest is removed in the background.
pub async fn sweep_at_once(common: &Common, removal: &Removal) {
    for _ in 0..BATCHES_AT_ONCE {
        match common.store.sweep_removal(removal, BATCH).await {
            Ok(swept) if swept.done => return,
            Ok(_) => {}
            Err(err) => {
                tracing::warn!(error = %err, "rows of deleted things are left; they are removed in the background");
                return;
            }
        }
    }
}

/// Removes a batch of each removal in turn, so that a large one does not block a small one.
async fn sweep_removals(retention: &Retention) -> larder_store::Result<u64> {
    let (mut rows, mut pace) = (0, Pace::new());
    let mut left = retention.store.removals(REMOVALS_MAX).await?;
    while !left.is_empty() {
        let mut unfinished = Vec::new();
        for removal in left {
            if retention.life.is_draining() {
                return Ok(rows);
            }
            let swept = retention.store.sweep_removal(&removal, BATCH).await?;
            rows += swept.rows;
            if swept.rows > 0 {
                crash::point(Point::Swept);
            }
            if !swept.done {
                unfinished.push(removal);
            }
            pace.rest().await;
        }
        left = unfinished;
    }
    Ok(rows)
}

/// Removes what is too old from every table. Returns the number of rows.
async fn sweep(retention: &Retention) -> larder_store::Result<u64> {
    let (now, records) = (retention.clock.now_ms(), &retention.settings.records);
    let before = |age: Duration| now - age.as_millis() as i64;
    let mut rows = retention.store.delete_old_commits(now - COMMITS_KEPT.as_millis() as i64).await?;
    let mut pace = Pace::new();
    loop {
        let deleted = retention.store.delete_old_executions(before(records.retention), BATCH).await?
            + retention.store.delete_old_event_roots(before(records.events_kept()), BATCH).await?
            + retention.store.delete_old_idempotency_keys(before(records.idempotency_keys), BATCH).await?
            + retention.store.delete_old_sessions(now, BATCH).await?
            + retention.store.delete_old_deployments(now, BATCH).await?
            + retention
                .store
                .delete_unfinished_uploads(before(retention.settings.build.unfinished_uploads), BATCH)
                .await?;
        rows += deleted;
        if deleted > 0 {
            crash::point(Point::Swept);
        }
        if deleted == 0 || retention.life.is_draining() {
            break;
        }
        pace.rest().await;
    }
    if let Some(age) = records.audit_kept() {
        rows += sweep_aged(retention, &retention::AUDIT_RECORDS, before(age)).await?;
    }
    let aged = before(records.events_kept());
    Ok(rows
        + sweep_aged(retention, &retention::PACKS, before(records.retention)).await?
        + sweep_aged(retention, &retention::RUN_KEYS, before(RUN_KEYS_KEPT)).await?
        + sweep_aged(retention, &retention::FANOUTS, aged).await?
        + sweep_aged(retention, &retention::BULK_ACTIONS, aged).await?
        + sweep_aged(retention, &retention::EVENTS, aged).await?)
}

async fn sweep_aged(retention: &Retention, aged: &Aged, before: i64) -> larder_store::Result<u64> {
    let (mut rows, mut cursor, mut pace) = (0, Some(Cursor::default()), Pace::new());
    while let Some(from) = cursor.take_if(|_| !retention.life.is_draining()) {
        let (gone, next) = retention.store.delete_aged(aged, before, &from, BATCH).await?;
        rows += gone;
        if gone > 0 {
            crash::point(Point::Swept);
        }
        cursor = next;
        pace.rest().await;
    }
    Ok(rows)
}

/// Removes uploads that no deployment has any more, or never had because the receiving process died.
async fn sweep_uploads(retention: &Retention) -> anyhow::Result<u64> {
    // An upload exists before its deployment. A day is longer than any request takes.
    let before = retention.clock.now_ms() - UPLOAD_AGE_MIN.as_millis() as i64;
    let mut older = std::pin::pin!(retention.objects.older(before));
    let mut gone = 0;
    while let Some(digest) = older.next().await {
        let digest = digest?;
        if retention.life.is_draining() {
            break;
        }
        if !retention.store.is_deployed(&digest).await? && retention.objects.delete_older(&digest, before).await? {
            gone += 1;
        }
    }
    Ok(gone)
}
