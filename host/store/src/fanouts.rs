//! Fan-outs: a trigger for many enrolments is one row. Workers claim ranges of it ([`crate::ranges`]).

use larder_model::fanouts::Progress;
use larder_model::ids::{FanoutId, FunctionId, PartnerId};
use larder_model::time::{Millis, SKEW_MS};
use larder_model::{Fanout, FanoutStatus, Trigger};

use crate::db::{Lock, Row, Tx};
use crate::listing::{self, Column, Kind, Listing, Page, Source};
use crate::{Error, Redriven, Result, Store, args};

const COLUMNS: &str = "partner_id, id, function_id, trigger_kind, event_row, nominal_at_ms, late_ms, topic, cursor_id, status, reason, \
    expected, done, failed, conflicts, created_at_ms, updated_at_ms";
pub(super) const SOURCE: Source = Source {
    name: "fanouts",
    table: "fanouts",
    columns: COLUMNS,
    id: "id",
    indexed: &["event_row"],
    by_time: false,
    long: &[],
};

/// The columns by which lists of fan-outs can be filtered.
pub const FILTERS: &[Column] = &[
    Column { attribute: "$id", column: "id", kind: Kind::Text },
    Column { attribute: "$createdAt", column: "created_at_ms", kind: Kind::Time },
    Column { attribute: "functionId", column: "function_id", kind: Kind::Text },
    Column { attribute: "eventId", column: "event_row", kind: Kind::Text },
    Column { attribute: "trigger", column: "trigger_kind", kind: Kind::Text },
    Column { attribute: "status", column: "status", kind: Kind::Text },
];

impl Store {
    /// Running fan-outs of a partner of which something can be claimed, or that can end; oldest first.
    pub async fn claimable_fanouts(&self, partner: &PartnerId, now: Millis, limit: u32) -> Result<Vec<Fanout>> {
        let sql = format!(
            "-- claimable_fanouts
            SELECT {COLUMNS} FROM fanouts f /*! FORCE INDEX (fanouts_by_waiting) */
            WHERE waiting = 1 AND partner_id = ? AND ((claimed_all = 0 AND ranges > 1)
                OR NOT EXISTS (SELECT 1 FROM fanout_ranges r WHERE r.partner_id = f.partner_id AND r.fanout_id = f.id AND r.due_at_ms IS NOT NULL)
                OR EXISTS (SELECT 1 FROM fanout_ranges r WHERE r.partner_id = f.partner_id AND r.fanout_id = f.id AND r.due_at_ms <= ?))
            ORDER BY created_at_ms LIMIT ?"
        );
        self.db.rows(&sql, args![partner, now, limit]).await?.iter().map(fanout).collect()
    }

    pub async fn fanout(&self, partner: &PartnerId, id: &FanoutId) -> Result<Option<Fanout>> {
        listing::one(&self.db, &SOURCE, vec![("partner_id", partner.into())], id, fanout).await
    }

    pub async fn list_fanouts(&self, partner: &PartnerId, listing: &Listing) -> Result<Page<Fanout>> {
        listing::list(&self.lists, &SOURCE, vec![("partner_id", partner.into())], listing, fanout).await
    }

    /// The runs of a fan-out that have been committed.
    pub async fn progress(&self, fanout: &Fanout) -> Result<Progress> {
        const OF_RANGES: &str = "-- progress_of_ranges
            SELECT CAST(SUM(done) AS SIGNED INTEGER), CAST(SUM(failed) AS SIGNED INTEGER), CAST(SUM(conflicts) AS SIGNED INTEGER)
            FROM fanout_ranges WHERE partner_id = ? AND fanout_id = ?";
        if fanout.status.is_ended() {
            return Ok(fanout.progress);
        }
        let ranges = self.db.row(OF_RANGES, args![&fanout.partner, &fanout.id]).await?;
        let sum = ranges.as_ref().map_or(Ok(Progress::default()), |row| progress(row, 0))?;
        if sum.runs() > 0 {
            return Ok(sum);
        }
        // It may have ended since it was read.
        Ok(self.fanout(&fanout.partner, &fanout.id).await?.map_or(sum, |now| now.progress))
    }

    /// Counts the enrolments that take part, up to `limit`, and stores their number. `TooSlow` if that takes longer than a list
    /// may.
    pub async fn count_enrolments_of(&self, fanout: &Fanout, limit: u64) -> Result<()> {
        const STORE: &str = "-- expect_of_fanout
            UPDATE fanouts SET expected = ? WHERE partner_id = ? AND id = ? AND expected IS NULL";
        let topic = if fanout.topic.is_some() { "AND topic = ?" } else { "" };
        let count = format!(
            "-- enrolments_of_fanout
            SELECT COUNT(*) FROM (SELECT 1 FROM enrolments WHERE partner_id = ? AND function_id = ? {topic} AND status = 'active'
                AND created_at_ms <= ? LIMIT {limit}) AS counted"
        );
        let mut args = args![&fanout.partner, &fanout.function];
        args.extend(fanout.topic.as_deref().map(Into::into));
        args.extend(args![until(fanout)]);
        let expected = self.lists.row(&count, args).await?.map_or(Ok(0), |row| row.int(0))?;
        let _ = self.db.run(STORE, args![expected, &fanout.partner, &fanout.id]).await?;
        Ok(())
    }

    /// Pauses a running fan-out. Runs in progress end and are committed; nothing more is claimed. `Conflict` unless it is
    /// running.
    pub async fn pause_fanout(&self, partner: &PartnerId, id: &FanoutId, now: Millis) -> Result<()> {
        self.change_status(partner, id, &[FanoutStatus::Running], FanoutStatus::Paused, now).await
    }

    /// `Conflict` unless it is paused.
    pub async fn resume_fanout(&self, partner: &PartnerId, id: &FanoutId, now: Millis) -> Result<()> {
        self.change_status(partner, id, &[FanoutStatus::Paused], FanoutStatus::Running, now).await
    }

    /// Ends a fan-out that is running or paused; otherwise `Conflict`. Runs that are not committed yet save nothing.
    pub async fn cancel_fanout(&self, partner: &PartnerId, id: &FanoutId, now: Millis) -> Result<()> {
        let from = [FanoutStatus::Running, FanoutStatus::Paused];
        self.change_status(partner, id, &from, FanoutStatus::Cancelled, now).await
    }

    async fn change_status(
        &self,
        partner: &PartnerId,
        id: &FanoutId,
        from: &[FanoutStatus],
        to: FanoutStatus,
        now: Millis,
    ) -> Result<()> {
        const NOW: &str = "-- status_of_fanout
            SELECT status FROM fanouts WHERE partner_id = ? AND id = ?";
        self.db
            .tx("change_status_of_fanout", &(partner, id, from, to, now), |tx, (partner, id, from, to, now)| {
                Box::pin(async move {
                    let rows = tx.locked(Lock::Exclusive, NOW, args![*partner, *id]).await?;
                    let row = rows.first().ok_or(Error::NotFound { what: "fan-out" })?;
                    let status = row.parse(0, "fanouts.status", FanoutStatus::from_word)?;
                    if !from.contains(&status) {
                        return Err(Error::Conflict { key: format!("a fan-out that is {}", status.word()) });
                    }
                    match to {
                        FanoutStatus::Cancelled => end(tx, partner, id, *to, None, *now).await,
                        _ => set_status(tx, partner, id, *to, None, *now).await,
                    }
                })
            })
            .await
    }

    /// Redrives up to `limit` dead letters of a fan-out that were dead-lettered before the given time, oldest first.
    pub async fn redrive_fanout(&self, fanout: &Fanout, before: Millis, limit: u32, now: Millis) -> Result<Redriven> {
        let (column, cause) = match (&fanout.event, fanout.nominal_at_ms) {
            (Some(event), _) => ("event_row", event.into()),
            (None, nominal) => ("nominal_at_ms", nominal.into()),
        };
        self.redrive_dead_letters(&fanout.partner, &fanout.function, Some((column, cause)), before, limit, now).await
    }
}

/// From three columns.
pub(super) fn progress(row: &Row, at: usize) -> Result<Progress> {
    let count = |column| Ok(row.maybe_int(at + column)?.unwrap_or_default() as u64);
    Ok(Progress { done: count(0)?, failed: count(1)?, conflicts: count(2)? })
}

/// Whether a fan-out waits, as its column says: for workers, or for somebody to resume it.
fn waiting(status: FanoutStatus) -> i64 {
    match status {
        FanoutStatus::Running => 1,
        FanoutStatus::Paused => 2,
        FanoutStatus::Completed | FanoutStatus::Cancelled => 0,
    }
}

/// Changes the status of a fan-out, whose row is locked.
pub(super) async fn set_status(
    tx: &mut Tx<'_>,
    partner: &PartnerId,
    id: &FanoutId,
    status: FanoutStatus,
    reason: Option<&str>,
    now: Millis,
) -> Result<()> {
    const SET: &str = "-- set_status_of_fanout
        UPDATE fanouts SET status = ?, waiting = ?, reason = ?, updated_at_ms = ? WHERE partner_id = ? AND id = ?";
    let args = args![status.word(), waiting(status), reason, now, partner, id];
    tx.run(SET, args).await?.exactly_one("fan-out")
}

/// Ends a fan-out, whose row is locked. Its ranges are folded into its row and deleted, so that none of them can be committed
/// any more.
pub(super) async fn end(
    tx: &mut Tx<'_>,
    partner: &PartnerId,
    id: &FanoutId,
    status: FanoutStatus,
    reason: Option<&str>,
    now: Millis,
) -> Result<()> {
    const LOCKED: &str = "-- ranges_of_fanout
        SELECT done, failed, conflicts FROM fanout_ranges WHERE partner_id = ? AND fanout_id = ?";
    const DELETE: &str = "-- delete_ranges_of_fanout
        DELETE FROM fanout_ranges WHERE partner_id = ? AND fanout_id = ?";
    const END: &str = "-- fold_progress
        UPDATE fanouts SET done = ?, failed = ?, conflicts = ? WHERE partner_id = ? AND id = ?";
    let mut sum = Progress::default();
    // Locked, so that what a worker commits at this moment is counted.
    for row in tx.locked(Lock::Exclusive, LOCKED, args![partner, id]).await? {
        sum += progress(&row, 0)?;
    }
    let _ = tx.run(DELETE, args![partner, id]).await?;
    tx.run(END, args![sum.done, sum.failed, sum.conflicts, partner, id]).await?.exactly_one("fan-out")?;
    set_status(tx, partner, id, status, reason, now).await
}

/// Enrolments made later do not take part. The two times may come from different machines, so an enrolment that seems up to
/// [`SKEW_MS`] newer takes part too: nobody misses an event after their enrolment is confirmed.
pub(super) fn until(fanout: &Fanout) -> Millis {
    fanout.created_at_ms + SKEW_MS
}

pub(super) async fn insert_new(tx: &mut Tx<'_>, fanouts: &[Fanout]) -> Result<()> {
    let rows = fanouts
        .iter()
        .map(|f| {
            args![
                &f.partner,
                &f.id,
                &f.function,
                f.trigger_key(),
                f.trigger.word(),
                f.event.as_ref(),
                f.nominal_at_ms,
                f.late_ms,
                f.topic.as_ref(),
                &f.cursor,
                f.status.word(),
                waiting(f.status),
                f.created_at_ms,
                f.updated_at_ms
            ]
        })
        .collect();
    tx.insert(
        "-- insert_fanouts
        INSERT INTO fanouts (partner_id, id, function_id, trigger_key, trigger_kind, event_row, nominal_at_ms, late_ms, topic,
            cursor_id, status, waiting, created_at_ms, updated_at_ms)",
        rows,
    )
    .await
}

fn fanout(row: &Row) -> Result<Fanout> {
    Ok(Fanout {
        partner: row.id(0, "fanouts.partner_id")?,
        id: row.id(1, "fanouts.id")?,
        function: row.id::<FunctionId>(2, "fanouts.function_id")?,
        trigger: row.parse(3, "fanouts.trigger_kind", Trigger::from_word)?,
        event: row.maybe_id(4, "fanouts.event_row")?,
        nominal_at_ms: row.maybe_int(5)?,
        late_ms: row.maybe_int(6)?,
        topic: row.maybe_text(7)?,
        cursor: row.text(8)?,
        status: row.parse(9, "fanouts.status", FanoutStatus::from_word)?,
        reason: row.maybe_text(10)?,
        expected: row.maybe_int(11)?.map(|count| count as u64),
        progress: progress(row, 12)?,
        created_at_ms: row.int(15)?,
        updated_at_ms: row.int(16)?,
    })
}
