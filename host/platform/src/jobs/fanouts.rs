//! Fan-outs → ranges of enrolments, which are run and committed as a whole ([`crate::execution::ranges`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use larder_model::Fanout;
use larder_model::fanouts::JUDGED_RUNS;
use larder_model::ids::{PartnerId, RangeId};
use larder_model::time::Millis;
use larder_signals::Work;
use larder_signals::crash::{self, Point};
use larder_store::{ClaimedRange, Queue, RANGES_AT_ONCE, RangeClaim, Waiting};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::common::Common;
use crate::execution::Executor;
use crate::execution::ranges::{self, SliceEnd};
use crate::fanouts;
use crate::jobs::driver::{Job, Next};
use crate::jobs::fairness;

/// Enrolments of a range.
const SIZE: u32 = 1_000;
/// Ranges of one partner that a process runs at once: while one is committed, the other is run.
const PER_PARTNER: usize = 2;
/// Partners among which the next one is chosen.
const PARTNERS: u32 = 32;
/// Fan-outs of a partner that are tried until there is a range to claim.
const FANOUTS: u32 = 8;
/// The CPU time that a claim counts for.
const CLAIM_COST: Duration = Duration::from_millis(1);
/// Enrolments up to which a fan-out's are counted for the operator.
const COUNTED_MAX: u64 = 10_000_000;

/// Claims and runs ranges of fan-outs.
#[derive(Clone)]
pub struct Fanouts {
    executor: Executor,
    held: HeldRanges,
    permits: Arc<Semaphore>,
}

impl Fanouts {
    pub fn new(executor: Executor, held: HeldRanges) -> Fanouts {
        Fanouts { executor, held, permits: Arc::new(Semaphore::new(RANGES_AT_ONCE)) }
    }
}

impl Job for Fanouts {
    const WORK: Work = Work::Fanouts;
    type Permit = OwnedSemaphorePermit;

    fn poll(&self) -> Duration {
        self.executor.settings.worker.poll
    }

    async fn acquire(&mut self) -> OwnedSemaphorePermit {
        self.permits.clone().acquire_owned().await.expect("never closed")
    }

    async fn step(&mut self, permit: OwnedSemaphorePermit) -> larder_store::Result<Next> {
        let Some(range) = claim(&self.executor, &self.held).await? else { return Ok(Next::Within(self.poll())) };
        // There may be more, for the other workers too.
        self.executor.signals.push(Work::Fanouts);
        let (executor, lease) = (self.executor.clone(), self.held.hold(&range));
        self.executor.life.spawn_work("range", async move {
            run(&executor, range).await;
            drop((permit, lease));
            executor.signals.push(Work::Fanouts);
        });
        Ok(Next::Now)
    }
}

/// Claims a range of the partner whose turn it is: the one that has used the least CPU time.
pub async fn claim(executor: &Executor, held: &HeldRanges) -> larder_store::Result<Option<ClaimedRange>> {
    let full = held.full(executor.settings.worker.executions_per_partner);
    let rests = |waiting: &Waiting| fanouts::is_held_back(executor, waiting);
    let mut partners = fairness::next(executor, Queue::Fanouts, full, PARTNERS, rests).await?;
    executor.fairness.by_turn(&mut partners);
    for partner in &partners {
        match claim_of(executor, partner).await {
            Ok(None) => {}
            Ok(claimed) => return Ok(claimed),
            // This affects only this partner.
            Err(
                err @ (larder_store::Error::Conflict { .. }
                | larder_store::Error::Statement { .. }
                | larder_store::Error::BadRow { .. }),
            ) => {
                tracing::error!(partner.id = %partner, error = %err, "no range of {partner} could be claimed");
            }
            Err(err) => return Err(err),
        }
    }
    Ok(None)
}

/// Claims a range of the partner's oldest fan-out that has one.
async fn claim_of(executor: &Executor, partner: &PartnerId) -> larder_store::Result<Option<ClaimedRange>> {
    let lease = executor.settings.worker.lease.as_millis() as Millis;
    for fanout in executor.store.running_fanouts(partner, FANOUTS).await? {
        match executor.store.claim_range(&fanout, &executor.holder, lease, SIZE, &executor.clock).await? {
            RangeClaim::Range(range) => {
                crash::point(Point::RangeClaimed);
                // So that turns are taken also by runs that use none.
                executor.fairness.spent(partner, CLAIM_COST);
                return Ok(Some(*range));
            }
            RangeClaim::Ended => ended(executor, &fanout),
            RangeClaim::Nothing => {}
        }
    }
    Ok(None)
}

fn ended(common: &Common, fanout: &Fanout) {
    metrics::counter!("larder_fanouts_ended_total").increment(1);
    tracing::info!(partner.id = %fanout.partner, fanout.id = %fanout.id, "a fan-out has ended");
    if let Some(tenant) = common.directory.tenant(&fanout.partner) {
        tenant.backlog.less();
    }
    common.fairness.make_room(common);
}

/// Runs a claimed range for its slice.
async fn run(executor: &Executor, range: ClaimedRange) {
    let (fanout, id) = (&range.fanout, range.id.clone());
    if range.lost > 1 {
        metrics::counter!("larder_leases_stolen_total").increment(1);
        tracing::warn!(range.id = %id, fanout.id = %fanout.id, "a range is taken over: its claim before committed nothing");
    }
    if !executor.store.is_embedded()
        && let Err(err) = executor.directory.refresh(&fanout.partner).await
    {
        tracing::warn!(partner.id = %fanout.partner, error = %err, "partner {} could not be refreshed", fanout.partner);
    }
    let runs = executor.settings.worker.executions_per_partner as usize / PER_PARTNER;
    if fanout.expected.is_none() {
        let (common, fanout) = (executor.common.clone(), fanout.clone());
        executor.life.spawn_work("count", async move { count(&common, &fanout).await });
    }
    let ended = match ranges::run(executor, range.clone(), runs).await {
        Ok(ended) => ended,
        Err(err) => {
            tracing::error!(range.id = %id, error = %err, "a range could not be run; it is claimed again when its lease ends");
            return;
        }
    };
    if let SliceEnd::Released { at, lost } = ended
        && let Err(err) = executor.store.release_range(&range, at, lost).await
    {
        tracing::warn!(range.id = %id, error = %err, "a range could not be released; its lease ends");
    }
    if let Err(err) = judge(executor, &range).await {
        tracing::warn!(fanout.id = %fanout.id, error = %err, "the failures of a fan-out could not be counted");
    }
}

/// Counts the enrolments of a new fan-out, which takes long if there are millions.
async fn count(common: &Common, fanout: &Fanout) {
    if let Err(err) = common.store.count_enrolments_of(fanout, COUNTED_MAX).await {
        tracing::warn!(fanout.id = %fanout.id, error = %err, "the enrolments of a fan-out could not be counted");
    }
}

/// Pauses a fan-out of whose first runs too many have failed. Nothing more is claimed before the verdict.
async fn judge(executor: &Executor, range: &ClaimedRange) -> larder_store::Result<()> {
    let (store, fanout) = (&executor.store, &range.fanout);
    let percent = u64::from(executor.settings.worker.fanout_failures_percent);
    if range.ordinal > 0 || percent >= 100 {
        return Ok(());
    }
    let Some(fanout) = store.fanout(&fanout.partner, &fanout.id).await? else { return Ok(()) };
    let progress = store.progress(&fanout).await?;
    if fanout.claimed_all || progress.failed * 100 <= percent * JUDGED_RUNS {
        return Ok(());
    }
    let (failed, runs) = (progress.failed, progress.runs());
    let reason = format!("{failed} of its first {runs} runs failed (worker.fanout_failures_percent is {percent})");
    tracing::error!(partner.id = %fanout.partner, fanout.id = %fanout.id, "a fan-out is paused: {reason}");
    match store.pause_fanout(&fanout.partner, &fanout.id, Some(&reason), executor.clock.now_ms()).await {
        // It has ended, or somebody has paused it.
        Err(larder_store::Error::Conflict { .. }) => Ok(()),
        done => {
            metrics::counter!("larder_fanouts_paused_total").increment(1);
            done
        }
    }
}

/// The ranges that this process runs. Only their leases are renewed.
#[derive(Clone, Default)]
pub struct HeldRanges(Arc<DashMap<RangeId, PartnerId>>);

/// The lease of one range. Dropping it ends the renewals.
struct Lease {
    held: HeldRanges,
    id: RangeId,
}

impl HeldRanges {
    fn hold(&self, range: &ClaimedRange) -> Lease {
        self.0.insert(range.id.clone(), range.fanout.partner.clone());
        Lease { held: self.clone(), id: range.id.clone() }
    }

    /// The partners that have as many ranges as one may have that may have this many executions.
    fn full(&self, executions: u32) -> Vec<PartnerId> {
        let most = PER_PARTNER.min(executions as usize);
        let mut counts: HashMap<PartnerId, usize> = HashMap::new();
        for entry in self.0.iter() {
            *counts.entry(entry.value().clone()).or_default() += 1;
        }
        counts.into_iter().filter(|(_, count)| *count >= most).map(|(partner, _)| partner).collect()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.held.0.remove(&self.id);
    }
}

/// Renews the leases in good time, for as long as the process lives.
pub async fn renew(common: Common, held: HeldRanges) {
    let lease = common.settings.worker.lease;
    loop {
        tokio::time::sleep(lease / 3).await;
        let until = common.clock.now_ms() + lease.as_millis() as Millis;
        let ids: Vec<RangeId> = held.0.iter().map(|entry| entry.key().clone()).collect();
        if let Err(err) = common.store.renew_ranges(&common.holder, &ids, until).await {
            tracing::error!(error = %err, "leases of ranges could not be renewed");
        }
    }
}
