//! Ranges of fan-outs: how many workers share one.
//!
//! A worker claims the next enrolments behind the cursor of a fan-out as a range, under a lease. It runs them and commits them
//! with the range's own progress in one transaction ([`crate::ledger`]), under the holder and attempt of its claim. A range
//! whose lease has ended is claimed by another worker, from the last enrolment that is committed.

use std::collections::{BTreeMap, HashMap};

use larder_model::fanouts::{JUDGED_RUNS, Progress};
use larder_model::ids::{EnrolmentId, RangeId};
use larder_model::state::Version;
use larder_model::time::{Clock, Millis};
use larder_model::{Enrolment, ExecutionStatus, Fanout, FanoutStatus};

use crate::db::{Lock, Row, Tx, Value, one_of, parts};
use crate::{Error, Result, Store, args, enrolments, executions, fanouts};

/// A range that this process has claimed.
#[derive(Clone, Debug)]
pub struct ClaimedRange {
    pub fanout: Fanout,
    pub id: RangeId,
    /// Which range of the fan-out it is, from 0.
    pub ordinal: u32,
    /// The last enrolment that is committed; empty if none is.
    pub after: String,
    /// The last enrolment of the range.
    pub until: String,
    pub holder: String,
    pub attempt: u32,
    /// Consecutive claims, this one included, that have committed nothing.
    pub lost: u32,
}

/// The result of looking for a range.
#[derive(Clone, Debug)]
pub enum RangeClaim {
    Range(Box<ClaimedRange>),
    /// The fan-out has ended with this claim.
    Ended,
    /// Too many of its first runs have failed: it is paused now, for this reason.
    Paused(String),
    /// Other workers have all of it, or its first runs are not committed yet.
    Nothing,
}

/// Who claims, and how much.
#[derive(Clone, Copy, Debug)]
pub struct Claimant<'a> {
    pub holder: &'a str,
    /// How long the lease is.
    pub lease: Millis,
    /// Enrolments of a range.
    pub size: u32,
    /// The share of the first [`JUDGED_RUNS`] runs that may fail. 100: all of them.
    pub failures_percent: u32,
}

/// The stored state of enrolments: by name, values and versions.
pub type StateOf = HashMap<EnrolmentId, BTreeMap<String, (Vec<u8>, Version)>>;

impl Store {
    /// Claims a range of a fan-out: one whose lease has ended, or the next enrolments. The first [`JUDGED_RUNS`] runs are
    /// claimed alone: nothing follows until they are committed and judged. A fan-out of which everything is committed ends, and
    /// so does one whose function is disabled.
    pub async fn claim_range(&self, fanout: &Fanout, claimant: &Claimant<'_>, clock: &Clock) -> Result<RangeClaim> {
        const ENDED_LEASE: &str = "-- range_with_ended_lease
            SELECT id FROM fanout_ranges WHERE partner_id = ? AND fanout_id = ? AND due_at_ms <= ? ORDER BY due_at_ms LIMIT 1";
        // Outside of the transaction: a locking read of this index would lock its gaps against the ranges of other workers.
        let stale = self.db.row(ENDED_LEASE, args![&fanout.partner, &fanout.id, clock.now_ms()]).await?;
        let stale = stale.map(|row| row.id::<RangeId>(0, "fanout_ranges.id")).transpose()?;
        self.db
            .tx("claim_range", &(fanout, claimant, clock, stale), |tx, (fanout, claimant, clock, stale)| {
                Box::pin(async move {
                    let claiming = Claiming { fanout, claimant, now: clock.now_ms() };
                    if !claiming.is_enabled(tx).await? {
                        return claiming.cancel(tx).await;
                    }
                    if let Some(id) = stale
                        && let Some(range) = claiming.take_over(tx, id).await?
                    {
                        return Ok(RangeClaim::Range(Box::new(range)));
                    }
                    claiming.next(tx, clock).await
                })
            })
            .await
    }

    /// Extends this holder's leases on those of these ranges that it still holds.
    pub async fn renew_ranges(&self, holder: &str, ids: &[RangeId], until: Millis) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        self.db
            .tx("renew_ranges", &(holder, ids, until), |tx, (holder, ids, until)| {
                Box::pin(async move {
                    let ids = one_of(ids.iter().map(Value::from));
                    let sql = format!(
                        "-- renew_ranges
                        UPDATE fanout_ranges SET due_at_ms = ? WHERE holder = ? AND due_at_ms IS NOT NULL AND id IN ({})",
                        ids.marks
                    );
                    tx.run(&sql, [args![*until, *holder], ids.args].concat()).await.map(|_| ())
                })
            })
            .await
    }

    /// Gives up the rest of a range: it may be claimed again from this time. `lost`: this claim counts as one that its process
    /// has not survived.
    pub async fn release_range(&self, range: &ClaimedRange, at: Millis, lost: bool) -> Result<()> {
        const RELEASE: &str = "-- release_range
            UPDATE fanout_ranges SET due_at_ms = ?, lost = ? WHERE partner_id = ? AND id = ? AND holder = ? AND attempt = ?
            AND due_at_ms IS NOT NULL";
        let lost = if lost { range.lost } else { 0 };
        let args = args![at, lost, &range.fanout.partner, &range.id, &range.holder, range.attempt];
        let _ = self.db.run(RELEASE, args).await?;
        Ok(())
    }

    /// Turns the rest of a range into waiting executions, so that a run that keeps killing its process is found out.
    pub async fn split_range(&self, range: &ClaimedRange, clock: &Clock) -> Result<()> {
        let rest = self.enrolments_of_range(range, u32::MAX, usize::MAX).await?;
        self.db
            .tx("split_range", &(range, rest, clock), |tx, (range, rest, clock)| {
                Box::pin(async move {
                    if !lock(tx, range, &range.after).await? {
                        return Ok(());
                    }
                    let now = clock.now_ms();
                    let waiting = rest
                        .iter()
                        .map(|one| (range.fanout.execution(range.ordinal, &one.id, ExecutionStatus::Waiting, now), now))
                        .collect::<Vec<_>>();
                    executions::insert_waiting(tx, &waiting).await?;
                    let failed = Progress { failed: waiting.len() as u64, ..Progress::default() };
                    advance(tx, range, &range.until, failed, None).await
                })
            })
            .await
    }

    /// The active enrolments of a range that are not committed, in order, up to `limit` of them and to about `bytes`.
    pub async fn enrolments_of_range(&self, range: &ClaimedRange, limit: u32, bytes: usize) -> Result<Vec<Enrolment>> {
        let fanout = &range.fanout;
        let topic = if fanout.topic.is_some() { "AND topic = ?" } else { "" };
        let sql = format!(
            "-- enrolments_of_range
            SELECT {} FROM enrolments WHERE partner_id = ? AND function_id = ? {topic} AND status = 'active'
            AND id > ? AND id <= ? AND created_at_ms <= ? ORDER BY id LIMIT ?",
            enrolments::COLUMNS
        );
        let args = |limit: u32| {
            let mut args = args![&fanout.partner, &fanout.function];
            args.extend(fanout.topic.as_deref().map(Into::into));
            args.extend(args![&range.after, &range.until, fanouts::until(fanout), limit]);
            args
        };
        let rows = match self.db.page(&sql, args(limit), bytes).await {
            Err(Error::PageTooLarge { rows }) => self.db.rows(&sql, args(rows.max(1) as u32)).await?,
            rows => rows?,
        };
        rows.iter().map(enrolments::enrolment).collect()
    }

    /// All state of these enrolments of a range, which are in order. `None` if they have more than `limit` keys or more than
    /// `bytes`.
    pub async fn state_of_range(
        &self,
        fanout: &Fanout,
        enrolments: &[Enrolment],
        limit: u32,
        bytes: usize,
    ) -> Result<Option<StateOf>> {
        let (Some(first), Some(last)) = (enrolments.first(), enrolments.last()) else {
            return Ok(Some(StateOf::new()));
        };
        let place = args![&fanout.partner, &fanout.function];
        // Enrolments of a topic have others between them, so only those of all topics are a range of the key.
        let looks: Vec<(String, Vec<Value>)> = match &fanout.topic {
            None => vec![("enrolment_id >= ? AND enrolment_id <= ?".into(), args![&first.id, &last.id])],
            Some(_) => parts(enrolments.iter().map(|one| Value::from(&one.id)))
                .into_iter()
                .map(|part| (format!("enrolment_id IN ({})", part.marks), part.args))
                .collect(),
        };
        let (mut found, mut count) = (StateOf::new(), 0);
        for (which, args) in looks {
            let sql = format!(
                "-- state_of_range
                SELECT enrolment_id, name, value, version FROM state WHERE partner_id = ? AND function_id = ? AND {which}
                ORDER BY enrolment_id, name LIMIT {limit}"
            );
            let rows = match self.db.page(&sql, [place.clone(), args].concat(), bytes).await {
                Err(Error::PageTooLarge { .. }) => return Ok(None),
                rows => rows?,
            };
            count += rows.len();
            if count >= limit as usize {
                return Ok(None);
            }
            for row in rows {
                let of: &mut BTreeMap<_, _> = found.entry(row.id(0, "state.enrolment_id")?).or_default();
                of.insert(row.text(1)?, (row.bytes(2)?, row.text(3)?));
            }
        }
        Ok(Some(found))
    }
}

/// The position of a fan-out.
struct Locked {
    cursor: String,
    /// Every enrolment is in a range.
    claimed_all: bool,
    /// The number of ranges so far.
    ranges: u32,
    /// It was paused because too many of its first runs failed.
    judged: bool,
}

/// One claim.
struct Claiming<'a> {
    fanout: &'a Fanout,
    claimant: &'a Claimant<'a>,
    now: Millis,
}

impl Claiming<'_> {
    /// Takes over a range whose lease has ended, unless another process is doing so.
    async fn take_over(&self, tx: &mut Tx<'_>, id: &RangeId) -> Result<Option<ClaimedRange>> {
        const RANGE: &str = "-- range_to_take_over
            SELECT after_id, until_id, attempt, lost, ordinal FROM fanout_ranges WHERE partner_id = ? AND id = ? AND due_at_ms <= ?";
        const TAKE: &str = "-- take_over_range
            UPDATE fanout_ranges SET holder = ?, attempt = attempt + 1, lost = lost + 1, due_at_ms = ? WHERE partner_id = ? AND id = ?";
        let partner = &self.fanout.partner;
        let rows = tx.locked(Lock::Skip, RANGE, args![partner, id, self.now]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        tx.run(TAKE, args![self.claimant.holder, self.lease_until(), partner, id]).await?.exactly_one("range")?;
        let (attempt, lost) = (row.int(2)? as u32 + 1, row.int(3)? as u32 + 1);
        let range = self.range(id.clone(), row.int(4)? as u32, row.text(0)?, row.text(1)?);
        Ok(Some(ClaimedRange { attempt, lost, ..range }))
    }

    fn lease_until(&self) -> Millis {
        self.now + self.claimant.lease
    }

    async fn is_enabled(&self, tx: &mut Tx<'_>) -> Result<bool> {
        const FUNCTION: &str = "-- function_of_fanout
            SELECT enabled FROM functions WHERE partner_id = ? AND id = ?";
        let found = tx.locked(Lock::Shared, FUNCTION, args![&self.fanout.partner, &self.fanout.function]).await?;
        found.first().map_or(Ok(false), |row| row.flag(0))
    }

    /// The position of the fan-out, locked. `None` while another process claims of it, and unless it is running.
    async fn lock(&self, tx: &mut Tx<'_>) -> Result<Option<Locked>> {
        const LOCK: &str = "-- lock_fanout
            SELECT cursor_id, claimed_all, ranges, judged FROM fanouts WHERE partner_id = ? AND id = ? AND waiting = 1";
        let rows = tx.locked(Lock::Skip, LOCK, args![&self.fanout.partner, &self.fanout.id]).await?;
        let locked = |row: &Row| {
            let (cursor, ranges) = (row.text(0)?, row.int(2)? as u32);
            Ok(Locked { cursor, claimed_all: row.flag(1)?, ranges, judged: row.flag(3)? })
        };
        rows.first().map(locked).transpose()
    }

    /// Ends the fan-out of a function that is disabled or deleted.
    async fn cancel(&self, tx: &mut Tx<'_>) -> Result<RangeClaim> {
        if self.lock(tx).await?.is_none() {
            return Ok(RangeClaim::Nothing);
        }
        let (Fanout { partner, id, .. }, why) = (self.fanout, Some("the function was disabled"));
        fanouts::end(tx, partner, id, FanoutStatus::Cancelled, why, self.now).await?;
        Ok(RangeClaim::Ended)
    }

    /// Claims the next enrolments, or ends the fan-out.
    async fn next(&self, tx: &mut Tx<'_>, clock: &Clock) -> Result<RangeClaim> {
        const OPEN: &str = "-- open_ranges
            SELECT 1 FROM fanout_ranges WHERE partner_id = ? AND fanout_id = ? AND due_at_ms IS NOT NULL LIMIT 1";
        const MOVE: &str = "-- move_fanout
            UPDATE fanouts SET cursor_id = ?, claimed_all = ?, ranges = ? WHERE partner_id = ? AND id = ?";
        const JUDGED: &str = "-- judge_fanout
            UPDATE fanouts SET judged = 1 WHERE partner_id = ? AND id = ?";
        let Fanout { partner, id, .. } = self.fanout;
        let Some(Locked { cursor, claimed_all, ranges, judged }) = self.lock(tx).await? else {
            return Ok(RangeClaim::Nothing);
        };
        let open = tx.row(OPEN, args![partner, id]).await?.is_some();
        if !claimed_all && open && ranges == 1 {
            return Ok(RangeClaim::Nothing);
        }
        let size = if ranges == 0 { JUDGED_RUNS as u32 } else { self.claimant.size };
        let enrolments = if claimed_all { vec![] } else { self.enrolments(tx, &cursor, size).await? };
        let Some(last) = enrolments.last() else {
            if open {
                tx.run(MOVE, args![&cursor, true, ranges, partner, id]).await?.exactly_one("fan-out")?;
                return Ok(RangeClaim::Nothing);
            }
            fanouts::end(tx, partner, id, FanoutStatus::Completed, None, self.now).await?;
            return Ok(RangeClaim::Ended);
        };
        if ranges == 1
            && !judged
            && let Some(reason) = self.verdict(tx).await?
        {
            tx.run(JUDGED, args![partner, id]).await?.exactly_one("fan-out")?;
            fanouts::set_status(tx, partner, id, FanoutStatus::Paused, Some(&reason), self.now).await?;
            return Ok(RangeClaim::Paused(reason));
        }
        let all = enrolments.len() < size as usize;
        tx.run(MOVE, args![last, all, ranges + 1, partner, id]).await?.exactly_one("fan-out")?;
        let range = self.range(RangeId::generate(clock), ranges, cursor, last.to_string());
        self.insert(tx, &range).await?;
        Ok(RangeClaim::Range(Box::new(range)))
    }

    /// Why a fan-out, whose first runs are committed, must not go on; `None` if it may.
    async fn verdict(&self, tx: &mut Tx<'_>) -> Result<Option<String>> {
        const FIRST: &str = "-- progress_of_first_range
            SELECT done, failed, conflicts FROM fanout_ranges WHERE partner_id = ? AND fanout_id = ?";
        let percent = self.claimant.failures_percent;
        let row = tx.row(FIRST, args![&self.fanout.partner, &self.fanout.id]).await?;
        let progress = row.map_or(Ok(Progress::default()), |row| fanouts::progress(&row, 0))?;
        let (failed, runs) = (progress.failed, progress.runs());
        let bad = percent < 100 && failed * 100 > u64::from(percent) * JUDGED_RUNS;
        Ok(bad
            .then(|| format!("{failed} of its first {runs} runs failed (worker.fanout_failures_percent is {percent})")))
    }

    async fn enrolments(&self, tx: &mut Tx<'_>, cursor: &str, size: u32) -> Result<Vec<EnrolmentId>> {
        const NEXT: &str = "-- next_enrolments
            SELECT id FROM enrolments WHERE partner_id = ? AND function_id = ? AND topic = ? AND status = 'active'
            AND id > ? AND created_at_ms <= ? ORDER BY id LIMIT ?";
        const NEXT_OF_ALL: &str = "-- next_enrolments_of_all_topics
            SELECT id FROM enrolments WHERE partner_id = ? AND function_id = ? AND status = 'active'
            AND id > ? AND created_at_ms <= ? ORDER BY id LIMIT ?";
        let (f, until) = (self.fanout, fanouts::until(self.fanout));
        let rows = match &f.topic {
            Some(topic) => tx.rows(NEXT, args![&f.partner, &f.function, topic, cursor, until, size]).await?,
            None => tx.rows(NEXT_OF_ALL, args![&f.partner, &f.function, cursor, until, size]).await?,
        };
        rows.iter().map(|row| row.id(0, "enrolments.id")).collect()
    }

    async fn insert(&self, tx: &mut Tx<'_>, range: &ClaimedRange) -> Result<()> {
        let row = args![
            &self.fanout.partner,
            &range.id,
            &self.fanout.id,
            &self.fanout.function,
            range.ordinal,
            &range.after,
            &range.until,
            &range.holder,
            range.attempt,
            range.lost,
            self.lease_until(),
            0,
            0,
            0
        ];
        tx.insert(
            "-- insert_range
            INSERT INTO fanout_ranges (partner_id, id, fanout_id, function_id, ordinal, after_id, until_id, holder, attempt, lost, due_at_ms,
                done, failed, conflicts)",
            vec![row],
        )
        .await
    }

    fn range(&self, id: RangeId, ordinal: u32, after: String, until: String) -> ClaimedRange {
        let (fanout, holder) = (self.fanout.clone(), self.claimant.holder.to_owned());
        ClaimedRange { fanout, id, ordinal, after, until, holder, attempt: 1, lost: 1 }
    }
}

/// Locks a range until the transaction ends. `false` if its claim is lost, or if this part of it is committed already.
pub(super) async fn lock(tx: &mut Tx<'_>, range: &ClaimedRange, after: &str) -> Result<bool> {
    const LOCK: &str = "-- lock_range
        SELECT 1 FROM fanout_ranges WHERE partner_id = ? AND id = ? AND holder = ? AND attempt = ? AND after_id = ? AND due_at_ms IS NOT NULL";
    let args = args![&range.fanout.partner, &range.id, &range.holder, range.attempt, after];
    Ok(!tx.locked(Lock::Exclusive, LOCK, args).await?.is_empty())
}

/// Moves a locked range past `to`, with the runs that are committed. `lease_until` is `None` if nothing of it is left.
pub(super) async fn advance(
    tx: &mut Tx<'_>,
    range: &ClaimedRange,
    to: &str,
    more: Progress,
    lease_until: Option<Millis>,
) -> Result<()> {
    const ADVANCE: &str = "-- advance_range
        UPDATE fanout_ranges SET after_id = ?, lost = 0, due_at_ms = ?, done = done + ?, failed = failed + ?, conflicts = conflicts + ?
        WHERE partner_id = ? AND id = ?";
    let args = args![to, lease_until, more.done, more.failed, more.conflicts, &range.fanout.partner, &range.id];
    tx.run(ADVANCE, args).await?.exactly_one("range")
}

/// Where a range stands: the last committed enrolment, if this claim still has it.
pub(super) async fn position(tx: &mut Tx<'_>, range: &ClaimedRange) -> Result<Option<String>> {
    const POSITION: &str = "-- position_of_range
        SELECT after_id FROM fanout_ranges WHERE partner_id = ? AND id = ? AND holder = ? AND attempt = ?";
    let args = args![&range.fanout.partner, &range.id, &range.holder, range.attempt];
    let rows = tx.locked(Lock::Exclusive, POSITION, args).await?;
    rows.first().map(|row: &Row| row.text(0)).transpose()
}

/// Whose ranges have leases: for a process that ends, and for one that has the database to itself.
impl Store {
    /// Releases this holder's ranges, none of which it runs any more.
    pub async fn end_range_leases(&self, holder: &str, now: Millis) -> Result<()> {
        const END: &str = "-- end_range_leases
            UPDATE fanout_ranges SET due_at_ms = ? WHERE holder = ? AND due_at_ms > ?";
        self.db.run(END, args![now, holder, now]).await.map(|_| ())
    }

    /// Ends all leases of ranges at once. Only a process that has the database to itself may do so: all other holders are dead.
    pub async fn end_all_range_leases(&self, now: Millis) -> Result<()> {
        const END: &str = "-- end_all_range_leases
            UPDATE fanout_ranges SET due_at_ms = ? WHERE due_at_ms > ?";
        self.db.run(END, args![now, now]).await.map(|_| ())
    }
}
