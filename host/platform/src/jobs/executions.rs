//! The worker: claims no more executions than may run at once, runs each, and renews the leases.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use larder_model::ids::{EnrolmentId, EventId, PartnerId};
use larder_model::retries::RetryDecision;
use larder_model::time::Millis;
use larder_model::{Enrolment, EnrolmentStatus, StoredEvent, Trigger};
use larder_runtime::Class;
use larder_signals::Work;
use larder_signals::crash::{self, Point};
use larder_store::ledger::Origin;
use larder_store::{Claimed, Queue, Waiting};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::backlog;
use crate::execution::{self, Executor, Job as Run};
use crate::jobs::driver::{Job, Next};
use crate::jobs::fairness;
use crate::jobs::leases::HeldExecutions;
use crate::jobs::shares::Shares;

/// Claims and runs executions. Executions in progress may finish when the process drains.
pub struct Executions {
    executor: Executor,
    held: HeldExecutions,
    permits: Arc<Semaphore>,
}

impl Executions {
    pub fn new(executor: Executor, held: HeldExecutions) -> Executions {
        let permits = Arc::new(Semaphore::new(executor.settings.worker.executions_max as usize));
        Executions { executor, held, permits }
    }
}

impl Job for Executions {
    const WORK: Work = Work::Executions;
    type Permit = OwnedSemaphorePermit;

    fn poll(&self) -> Duration {
        self.executor.settings.worker.poll
    }

    async fn acquire(&mut self) -> OwnedSemaphorePermit {
        self.permits.clone().acquire_owned().await.expect("never closed")
    }

    async fn step(&mut self, first: OwnedSemaphorePermit) -> larder_store::Result<Next> {
        begin(&self.executor, &self.held, &self.permits, first).await
    }
}

/// Begins as many executions as there are permits. `first` is the first of them.
async fn begin(
    executor: &Executor,
    held: &HeldExecutions,
    permits: &Arc<Semaphore>,
    first: OwnedSemaphorePermit,
) -> larder_store::Result<Next> {
    let free = permits.available_permits() as u32 + 1;
    let now = executor.clock.now_ms();
    let claimed = claim(executor, held, free, now).await?;
    if claimed.is_empty() {
        drop(first);
        return Ok(Next::Within(until_next(executor, now).await));
    }
    crash::point(Point::Claimed);
    if claimed.len() == free as usize {
        // There may be more than this process has permits for.
        executor.signals.push(Work::Executions);
    }
    current(executor, &claimed).await;
    let context = match Context::load(executor, &claimed).await {
        Ok(context) => Arc::new(context),
        Err(err) => {
            tracing::error!(error = %err, "claimed executions could not be started; they are claimed again when their leases expire");
            return Ok(Next::Now);
        }
    };
    let mut first = Some(first);
    for claimed in claimed {
        let permit = match first.take() {
            Some(permit) => permit,
            None => permits.clone().acquire_owned().await.expect("never closed"),
        };
        let partner = &claimed.execution.partner;
        let (lane, held) = (executor.directory.lane(partner), held.hold(&claimed.execution.id, partner));
        let (own, context) = (executor.clone(), context.clone());
        executor.spawn_batch("execution", &lane, Class::Queued, async move {
            step(&own, &context, claimed).await;
            drop((permit, held));
            // Another execution of the same partner may start now.
            own.signals.push(Work::Executions);
        });
    }
    Ok(Next::Now)
}

/// Claims executions for the partners that are next, each its share. A partner whose functions emit events faster than they
/// can be routed is skipped.
async fn claim(
    executor: &Executor,
    held: &HeldExecutions,
    free: u32,
    now: Millis,
) -> larder_store::Result<Vec<Claimed>> {
    let worker = &executor.settings.worker;
    let shares = Shares::new(free, worker.executions_per_partner, held.by_partner());
    let rests = |waiting: &Waiting| backlog::emits_too_much(executor, waiting);
    let partners = fairness::next(executor, Queue::Executions, shares.full(), free, rests).await?;
    if partners.is_empty() {
        return Ok(vec![]);
    }
    let lease_until = now + worker.lease.as_millis() as Millis;
    let claimed =
        executor.store.claim_executions(&executor.holder, now, lease_until, &shares.share_out(&partners)).await?;
    for claimed in &claimed {
        if let Some(tenant) = executor.directory.tenant(&claimed.execution.partner) {
            tenant.backlog.less();
        }
    }
    if !claimed.is_empty() {
        executor.fairness.make_room(executor);
    }
    Ok(claimed)
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
async fn step(executor: &Executor, context: &Context, claimed: Claimed) {
    let execution_id = claimed.execution.id.clone();
    if let Err(err) = run(executor, context, claimed).await {
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

async fn run(executor: &Executor, context: &Context, claimed: Claimed) -> larder_store::Result<()> {
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
    let job = Run::queued(view, execution, origin, event, enrolment.cloned(), body.clone());
    match refusal {
        Some((why, decision)) => execution::refuse(executor, job, why, decision).await,
        None => execution::execute(executor, job).await,
    };
    Ok(())
}
