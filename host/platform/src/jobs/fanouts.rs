//! Fan-outs → ranges of enrolments, which are run and committed as a whole ([`crate::execution::ranges`]).

use std::sync::Arc;
use std::time::Duration;

use larder_model::Fanout;
use larder_model::ids::PartnerId;
use larder_model::time::Millis;
use larder_runtime::Class;
use larder_signals::Work;
use larder_signals::crash::{self, Point};
use larder_store::{Claimant, ClaimedRange, Queue, RANGES_AT_ONCE, RangeClaim, Waiting};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::common::Common;
use crate::execution::Executor;
use crate::execution::ranges::{self, SliceEnd};
use crate::fanouts;
use crate::jobs::driver::{Job, Next};
use crate::jobs::fairness;
use crate::jobs::leases::HeldRanges;

/// Enrolments of a range.
const SIZE: u32 = 1_000;
/// Ranges of one partner that a process runs at once: while one is committed, the other is run.
const PER_PARTNER: u32 = 2;
/// Partners among which the next one is chosen.
const PARTNERS: u32 = 32;
/// Fan-outs of a partner that are tried until a range is claimed: other processes may be faster.
const FANOUTS: u32 = 8;
/// The CPU time that a claim is charged.
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
        let partner = &range.fanout.partner;
        let (lane, lease) = (self.executor.directory.lane(partner), self.held.hold(&range.id, partner));
        let executor = self.executor.clone();
        self.executor.spawn_batch("range", &lane, Class::FanOut, async move {
            run(&executor, range).await;
            drop((permit, lease));
            executor.signals.push(Work::Fanouts);
        });
        Ok(Next::Now)
    }
}

/// Claims a range of the partner whose turn it is: the one that has used the least CPU time.
pub async fn claim(executor: &Executor, held: &HeldRanges) -> larder_store::Result<Option<ClaimedRange>> {
    let most = PER_PARTNER.min(executor.settings.worker.executions_per_partner);
    let full = held.by_partner().into_iter().filter(|(_, count)| *count >= most).map(|(partner, _)| partner).collect();
    let rests = |waiting: &Waiting| fanouts::is_held_back(executor, waiting);
    let mut partners = fairness::next(executor, Queue::Fanouts, full, PARTNERS, rests).await?;
    partners.sort_by_cached_key(|partner| executor.runtime.batch().used(&executor.directory.lane(partner)));
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
    let worker = &executor.settings.worker;
    let claimant = Claimant {
        holder: &executor.holder,
        lease: worker.lease.as_millis() as Millis,
        size: SIZE,
        failures_percent: worker.fanout_failures_percent,
    };
    for fanout in executor.store.claimable_fanouts(partner, executor.clock.now_ms(), FANOUTS).await? {
        match executor.store.claim_range(&fanout, &claimant, &executor.clock).await? {
            RangeClaim::Range(range) => {
                crash::point(Point::RangeClaimed);
                // So that turns are taken also by runs that use none.
                executor.runtime.batch().charge(&executor.directory.lane(partner), Class::FanOut, CLAIM_COST);
                return Ok(Some(*range));
            }
            RangeClaim::Ended => ended(executor, &fanout),
            RangeClaim::Paused(why) => {
                metrics::counter!("larder_fanouts_paused_total").increment(1);
                tracing::error!(partner.id = %partner, fanout.id = %fanout.id, "a fan-out is paused: {why}");
            }
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
    let runs = executor.settings.worker.executions_per_partner / PER_PARTNER;
    // By the first range only: a count may take longer than many ranges.
    if range.ordinal == 0 && fanout.expected.is_none() {
        let (common, fanout) = (executor.common.clone(), fanout.clone());
        executor.life.spawn_work("count", async move { count(&common, &fanout).await });
    }
    let ended = match ranges::run(executor, range.clone(), runs as usize).await {
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
}

/// Counts the enrolments of a new fan-out, which takes long if there are millions.
async fn count(common: &Common, fanout: &Fanout) {
    if let Err(err) = common.store.count_enrolments_of(fanout, COUNTED_MAX).await {
        tracing::warn!(fanout.id = %fanout.id, error = %err, "the enrolments of a fan-out could not be counted");
    }
}
