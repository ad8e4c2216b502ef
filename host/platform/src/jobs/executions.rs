//! The worker: claims executions, runs each in a slot of this process, and gives back what has waited too long for one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use larder_model::ids::{EnrolmentId, EventId, ExecutionId, PartnerId};
use larder_model::retries::RetryDecision;
use larder_model::time::Millis;
use larder_model::{Enrolment, EnrolmentStatus, StoredEvent, Trigger};
use larder_runtime::Class;
use larder_signals::Work;
use larder_signals::crash::{self, Point};
use larder_store::ledger::Origin;
use larder_store::{Claimed, Queue, Waiting};
use tokio::time::Instant;

use crate::backlog;
use crate::execution::on_drop::OnDrop;
use crate::execution::{self, Executor, Job as Run};
use crate::jobs::driver::{self, Job, Next};
use crate::jobs::fairness;
use crate::jobs::leases::{HeldExecutions, Lease};
use crate::jobs::slots::Slots;

/// Executions that have waited in this process for so long are given back, so that others can run them.
const WAITS_MAX: Duration = Duration::from_secs(1);

/// Claims and runs executions. Those that have begun may finish when the process drains. Clones share their state.
#[derive(Clone)]
pub struct Executions {
    executor: Executor,
    held: HeldExecutions,
    slots: Arc<Slots<Ready>>,
}

/// A claimed execution that waits for a slot.
struct Ready {
    claimed: Claimed,
    context: Arc<Context>,
    lease: Lease<ExecutionId>,
}

impl Job for Executions {
    const WORK: Work = Work::Executions;
    type Permit = ();

    fn poll(&self) -> Duration {
        self.executor.settings.worker.poll
    }

    async fn acquire(&mut self) {}

    async fn step(&mut self, (): ()) -> larder_store::Result<Next> {
        self.give_back_late(WAITS_MAX).await;
        let executor = &self.executor;
        let now = executor.clock.now_ms();
        let claimed = self.claim(now).await?;
        if claimed.is_empty() {
            let next = until_next(executor, now).await;
            return Ok(Next::Within(if self.slots.any_waits() { next.min(WAITS_MAX) } else { next }));
        }
        crash::point(Point::Claimed);
        current(executor, &claimed).await;
        let context = match Context::load(executor, &claimed).await {
            Ok(context) => Arc::new(context),
            Err(err) => {
                self.give_back(claimed.iter()).await;
                return Err(err);
            }
        };
        for claimed in claimed {
            let (partner, stolen) = (claimed.execution.partner.clone(), claimed.stolen);
            let lease = self.held.hold(&claimed.execution.id, &partner);
            self.slots.add(&partner, stolen, Ready { claimed, context: context.clone(), lease }, Instant::now());
        }
        self.begin();
        Ok(Next::Now)
    }
}

impl Executions {
    pub fn new(executor: Executor, held: HeldExecutions) -> Executions {
        let worker = &executor.settings.worker;
        let slots = Arc::new(Slots::new(worker.executions_max, worker.executions_per_partner));
        Executions { executor, held, slots }
    }

    /// Claims and runs executions until the process drains. What has not begun then is given back.
    pub async fn drive(self) {
        driver::drive(self.executor.common.clone(), self.clone()).await;
        self.give_back_late(Duration::ZERO).await;
    }

    /// Claims executions for the partners that are next. A partner whose functions emit events faster than they can be routed
    /// is skipped.
    async fn claim(&self, now: Millis) -> larder_store::Result<Vec<Claimed>> {
        let (executor, worker) = (&self.executor, &self.executor.settings.worker);
        let rests = |waiting: &Waiting| backlog::emits_too_much(executor, waiting);
        let full = self.slots.full(Instant::now());
        let partners = fairness::next(executor, Queue::Executions, full, worker.executions_max, rests).await?;
        let wanted = self.slots.wanted(&partners, Instant::now());
        if wanted.is_empty() {
            return Ok(vec![]);
        }
        let lease_until = now + worker.lease.as_millis() as Millis;
        let claimed = executor.store.claim_executions(&executor.holder, now, lease_until, &wanted).await?;
        for claimed in &claimed {
            if let Some(tenant) = executor.directory.tenant(&claimed.execution.partner) {
                tenant.backlog.less();
            }
        }
        if !claimed.is_empty() {
            executor.fairness.make_room(executor);
        }
        if claimed.len() as u32 == wanted.iter().map(|wanted| wanted.count).sum::<u32>() {
            // There may be more than this process can run.
            executor.signals.push(Work::Executions);
        }
        Ok(claimed)
    }

    /// Begins as many of the claimed executions as there are slots.
    fn begin(&self) {
        if self.executor.life.drain().is_cancelled() {
            return;
        }
        for (partner, ready) in self.slots.begin() {
            let lane = self.executor.directory.lane(&partner);
            let slot = OnDrop::new({
                let (own, partner) = (self.clone(), partner.clone());
                move || own.ran(&partner)
            });
            let written = OnDrop::new({
                let (slots, partner) = (self.slots.clone(), partner.clone());
                move || slots.written(&partner)
            });
            let executor = self.executor.clone();
            self.executor.spawn_batch("execution", &lane, Class::Queued, async move {
                let Ready { claimed, context, lease } = ready;
                step(&executor, &context, claimed, slot).await;
                drop((lease, written));
            });
        }
    }

    /// A run has ended: others of its partner may be run and claimed.
    fn ran(&self, partner: &PartnerId) {
        let more = self.slots.ran(partner);
        self.begin();
        if more {
            self.executor.signals.wake(Work::Executions);
        }
    }

    /// Returns the executions that have waited for so long.
    async fn give_back_late(&self, waited: Duration) {
        let late = self.slots.take_back(waited, Instant::now());
        self.give_back(late.iter().map(|ready| &ready.claimed)).await;
    }

    /// Returns claimed executions that have not begun to the queue. If that fails, their leases expire.
    async fn give_back(&self, claimed: impl ExactSizeIterator<Item = &Claimed>) {
        let count = claimed.len();
        if count == 0 {
            return;
        }
        let ids = claimed.map(|claimed| (&claimed.execution.partner, &claimed.execution.id));
        let now = self.executor.clock.now_ms();
        match self.executor.store.give_back_executions(&self.executor.holder, ids, now).await {
            Ok(()) => tracing::debug!(executions = count, "claimed executions are given back"),
            Err(err) => {
                tracing::warn!(error = %err, executions = count, "claimed executions could not be given back; their leases expire")
            }
        }
    }
}

/// Refreshes the partners' snapshots, so that deployments made before the claim take effect. If the database does not answer,
/// the executions run with the snapshots of before.
async fn current(executor: &Executor, claimed: &[Claimed]) {
    let stolen = claimed.iter().filter(|claimed| claimed.stolen).count();
    if stolen > 0 {
        metrics::counter!("larder_leases_stolen_total").increment(stolen as u64);
        tracing::warn!(executions = stolen, "{stolen} executions are taken over: their leases expired");
    }
    if executor.store.is_embedded() {
        return;
    }
    let partners: HashSet<&PartnerId> = claimed.iter().map(|claimed| &claimed.execution.partner).collect();
    for partner in partners {
        if let Err(err) = executor.directory.refresh(partner).await {
            tracing::warn!(partner.id = %partner, error = %err, "partner {partner} could not be refreshed");
        }
    }
}

/// The poll interval, or less if another execution becomes due earlier. An execution that was due and not claimed belongs to a
/// partner that has its share. The next execution that ends wakes this process.
async fn until_next(executor: &Executor, now: Millis) -> Duration {
    let poll = executor.settings.worker.poll;
    match executor.store.next_due(now).await {
        Ok(Some(due)) => poll.min(Duration::from_millis((due - executor.clock.now_ms()).max(0) as u64)),
        _ => poll,
    }
}

/// Runs one claimed execution to its end.
async fn step(executor: &Executor, context: &Context, claimed: Claimed, slot: OnDrop) {
    let execution_id = claimed.execution.id.clone();
    if let Err(err) = run(executor, context, claimed, slot).await {
        tracing::error!(execution.id = %execution_id, error = %err, "a claimed execution could not be started; it is claimed again when its lease expires");
    }
}

/// The events and enrolments of claimed executions, read for all of them at once.
struct Context {
    events: HashMap<(PartnerId, EventId), StoredEvent>,
    enrolments: HashMap<(PartnerId, EnrolmentId), Enrolment>,
}

impl Context {
    async fn load(executor: &Executor, claimed: &[Claimed]) -> larder_store::Result<Context> {
        let executions = || claimed.iter().map(|claimed| &claimed.execution);
        let events = executions().filter_map(|e| Some((&e.partner, e.event.as_ref()?)));
        let enrolments = executions().filter_map(|e| Some((&e.partner, e.enrolment.as_ref()?)));
        let (events, enrolments) = (executor.store.events(events).await?, executor.store.enrolments(enrolments).await?);
        Ok(Context {
            events: events.into_iter().map(|event| ((event.partner.clone(), event.row.clone()), event)).collect(),
            enrolments: enrolments.into_iter().map(|one| ((one.partner.clone(), one.id.clone()), one)).collect(),
        })
    }
}

async fn run(executor: &Executor, context: &Context, claimed: Claimed, slot: OnDrop) -> larder_store::Result<()> {
    let Claimed { execution, body, holder, stolen: _ } = &claimed;
    let (partner, function) = (&execution.partner, &execution.function);
    let Some(view) = executor.directory.function(partner, function) else {
        // The function's rows were deleted with it. A row that was created at that moment is deleted now. If only the directory
        // is outdated, nothing is deleted and the execution is claimed again when its lease expires.
        return executor.store.delete_orphan(partner, function, &execution.id).await;
    };
    let enrolment = execution.enrolment.as_ref().and_then(|id| context.enrolments.get(&(partner.clone(), id.clone())));
    let event = execution.event.as_ref().and_then(|row| context.events.get(&(partner.clone(), row.clone())));
    let refusal = if execution.lost > executor.settings.worker.attempts_lost {
        let why = format!("given up after {} attempts that did not finish", execution.lost - 1);
        Some((why, RetryDecision::DeadLetter))
    } else if execution.trigger != Trigger::Http && !view.function.enabled {
        Some(("the function was disabled before this run".into(), RetryDecision::Final))
    } else if execution.enrolment.is_some() && !enrolment.is_some_and(|e| e.status == EnrolmentStatus::Active) {
        Some(("the enrolment was paused or removed before this run".into(), RetryDecision::Final))
    } else if execution.event.is_some() && event.is_none() {
        Some(("the event is gone".into(), RetryDecision::Final))
    } else {
        None
    };
    let (execution, origin) = (execution.clone(), Origin::Row(holder.clone()));
    let mut job = Run::queued(view, execution, origin, event, enrolment.cloned(), body.clone());
    job.slot = Some(slot);
    match refusal {
        Some((why, decision)) => execution::refuse(executor, job, why, decision).await,
        None => execution::execute(executor, job).await,
    };
    Ok(())
}
