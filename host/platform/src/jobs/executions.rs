//! The worker's loop over executions: claim no more than may run at once, run each, keep the leases alive.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use larder_model::ids::{EnrolmentId, EventId, ExecutionId, PartnerId};
use larder_model::time::Millis;
use larder_model::{Enrolment, EnrolmentStatus, Execution, StoredEvent, Trigger, delivery_key};
use larder_signals::Work;
use larder_signals::crash::{self, Point};
use larder_store::{Claimed, Queue, Waiting};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::backlog;
use crate::common::Common;
use crate::execution::retries::Fate;
use crate::execution::{self, Executor, Job as Run, input};
use crate::jobs::driver::{Job, Next};
use crate::jobs::fairness;
use crate::jobs::shares::Shares;

/// Claims and runs executions; those that run when the process drains may finish.
pub struct Executions {
    executor: Executor,
    held: Held,
    permits: Arc<Semaphore>,
}

impl Executions {
    pub fn new(executor: Executor, held: Held) -> Executions {
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

/// Begins as many executions as there are permits for, the first of which is `first`.
async fn begin(
    executor: &Executor,
    held: &Held,
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
        // There may be more than this process has room for.
        executor.queue.push(Work::Executions);
    }
    current(executor, &claimed).await;
    let context = match Context::load(executor, &claimed).await {
        Ok(context) => Arc::new(context),
        Err(err) => {
            tracing::error!(error = %err, "claimed executions could not be begun; they come back when their leases end");
            return Ok(Next::Now);
        }
    };
    let mut first = Some(first);
    for claimed in claimed {
        let permit = match first.take() {
            Some(permit) => permit,
            None => permits.clone().acquire_owned().await.expect("never closed"),
        };
        let executor = executor.clone();
        let held = held.hold(&claimed.execution);
        let context = context.clone();
        executor.life.clone().spawn_work("execution", async move {
            step(&executor, &context, claimed).await;
            drop((permit, held));
            // There may be room now for one of the same partner.
            executor.queue.push(Work::Executions);
        });
    }
    Ok(Next::Now)
}

/// Claims for the partners whose turn it is, each its share. Those of a partner that rests because its functions emit
/// faster than events can be handed over are not begun.
async fn claim(executor: &Executor, held: &Held, free: u32, now: Millis) -> larder_store::Result<Vec<Claimed>> {
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
        executor.turns.make_room(executor);
    }
    Ok(claimed)
}

/// What runs must be what was deployed before it was claimed. A database that does not answer is not waited for.
async fn current(executor: &Executor, claimed: &[Claimed]) {
    let stolen = claimed.iter().filter(|claimed| claimed.stolen).count();
    if stolen > 0 {
        metrics::counter!("larder_leases_stolen_total").increment(stolen as u64);
        tracing::warn!(executions = stolen, "{stolen} executions are taken over: their leases ran out");
    }
    if executor.store.is_embedded() {
        return;
    }
    let partners: HashSet<&PartnerId> = claimed.iter().map(|claimed| &claimed.execution.partner).collect();
    for partner in partners {
        if let Err(err) = executor.directory.refresh(partner).await {
            tracing::warn!(partner.id = %partner, error = %err, "partner {partner} could not be read anew");
        }
    }
}

/// The poll, or less if another execution becomes due before. One that was due at that time and was not claimed is of a
/// partner that has its share: whichever ends next wakes this process.
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
        tracing::error!(execution.id = %execution_id, error = %err, "a claimed execution could not be begun; it comes back when its lease ends");
    }
}

/// What claimed executions are about, read for all of them at once.
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
        // Its rows went with the function; one that was made at that very moment goes now. Should only the directory lag
        // behind, nothing is removed and the lease brings the execution back.
        return executor.store.delete_orphan(partner, function, &execution.id).await;
    };
    let enrolment = execution.enrolment.as_ref().and_then(|id| context.enrolments.get(&(partner.clone(), id.clone())));
    let event = execution.event.as_ref().and_then(|row| context.events.get(&(partner.clone(), row.clone())));
    let refusal = if execution.lost > executor.settings.worker.attempts_lost {
        let why = format!("given up after {} attempts that did not come to an end", execution.lost - 1);
        Some((why, Fate::Buried))
    } else if execution.trigger != Trigger::Http && !view.function.enabled {
        Some(("the function was disabled before this run".into(), Fate::Ended))
    } else if execution.enrolment.is_some() && !enrolment.is_some_and(|e| e.status == EnrolmentStatus::Active) {
        Some(("the enrolment was paused or removed before this run".into(), Fate::Ended))
    } else if execution.event.is_some() && event.is_none() {
        Some(("the event is gone".into(), Fate::Ended))
    } else {
        None
    };
    let depth = event.map_or(0, |event| event.depth);
    let job = Run {
        input: input::of_claimed(&view, execution, event, body.clone()),
        view,
        enrolment: enrolment.cloned(),
        depth,
        root: root(execution, event),
        execution: execution.clone(),
        holder: Some(holder.clone()),
        stream: None,
        sanitize: None,
        wall_max: None,
        keyed: false,
    };
    match refusal {
        Some((why, fate)) => execution::refuse(executor, job, why, fate).await,
        None => execution::execute(executor, job).await,
    };
    Ok(())
}

/// What caused it in the first place: the first of the events that led to it, or the firing. `None`: a call, which is its
/// own cause.
fn root(execution: &Execution, event: Option<&StoredEvent>) -> Option<String> {
    match event {
        Some(event) => Some(event.root.clone().unwrap_or_else(|| event.row.to_string())),
        None => execution.nominal_at_ms.map(|at| delivery_key(&execution.function, None, Some(at))),
    }
}

/// The executions that this process runs. Only their leases are renewed: one whose run came to nothing, because the
/// database was away or the run panicked, is let go and comes back when its lease ends.
#[derive(Clone, Default)]
pub struct Held(Arc<DashMap<ExecutionId, PartnerId>>);

struct Hold {
    held: Held,
    id: ExecutionId,
}

impl Held {
    fn hold(&self, execution: &Execution) -> Hold {
        self.0.insert(execution.id.clone(), execution.partner.clone());
        Hold { held: self.clone(), id: execution.id.clone() }
    }

    /// How many are under way, by partner.
    fn by_partner(&self) -> HashMap<PartnerId, u32> {
        let mut counts = HashMap::new();
        for entry in self.0.iter() {
            *counts.entry(entry.value().clone()).or_default() += 1;
        }
        counts
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.held.0.remove(&self.id);
    }
}

/// Lengthens the leases of what is held in good time, for as long as the process lives.
pub async fn renew(common: Common, held: Held) {
    let lease = common.settings.worker.lease;
    loop {
        tokio::time::sleep(lease / 3).await;
        let until = common.clock.now_ms() + lease.as_millis() as i64;
        let ids: Vec<ExecutionId> = held.0.iter().map(|entry| entry.key().clone()).collect();
        if let Err(err) = common.store.renew_leases(&common.holder, &ids, until).await {
            tracing::error!(error = %err, "leases could not be renewed");
        }
    }
}
