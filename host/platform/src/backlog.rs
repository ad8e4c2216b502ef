//! Admission of queued work: limits of waiting executions, fan-outs and events.
//!
//! Counting uses an index, stops at the limits, and happens at most a few times a second in each process
//! (`directory/backlog`). So its cost depends neither on callers nor on the number of rows.

use std::time::Duration;

use larder_model::ids::PartnerId;
use larder_store::Waiting;

use crate::admission;
use crate::common::Common;
use crate::directory::Tenant;
use crate::quotas::{Cap, Exceeded};

/// How old a count may be that admits or holds back work, and one that refuses it.
const COUNTED: Duration = Duration::from_millis(250);
const REFUSED: Duration = Duration::from_millis(50);

/// Admits an execution to the queue, due at once or later. It counts as a call in this minute.
pub async fn admit_execution(
    common: &Common,
    tenant: &Tenant,
    due: bool,
) -> larder_store::Result<Result<(), Exceeded>> {
    if let Err(exceeded) = admission::check_rate(common, tenant) {
        return Ok(Err(exceeded));
    }
    let more = Waiting { executions: 1, due: due.into(), ..Waiting::default() };
    let room = room(common, tenant, Cap::ExecutionsWaiting, executions).await?;
    Ok(room.map(|_| {
        admission::count(common, tenant);
        tenant.backlog.add(more);
    }))
}

/// How many of these dead letters may be queued again, at least one.
pub async fn admit_redriven(
    common: &Common,
    tenant: &Tenant,
    most: u32,
) -> larder_store::Result<Result<u32, Exceeded>> {
    let room = room(common, tenant, Cap::ExecutionsWaiting, executions).await?;
    Ok(room.map(|room| {
        let admitted = room.min(most.into());
        tenant.backlog.add(Waiting { executions: admitted, due: admitted, ..Waiting::default() });
        admitted as u32
    }))
}

/// Admits a batch of events. The whole batch is admitted if there is room for one event: otherwise a large one never would be.
pub async fn admit_events(
    common: &Common,
    tenant: &Tenant,
    count: usize,
) -> larder_store::Result<Result<(), Exceeded>> {
    let room = room(common, tenant, Cap::EventsWaiting, |waiting| waiting.events).await?;
    Ok(room.map(|_| tenant.backlog.add(Waiting { events: count as u64, ..Waiting::default() })))
}

/// Checks the limit for a call that would emit this many events. Only such calls are checked, so that other calls need no
/// query.
pub async fn emits(common: &Common, partner: &PartnerId, count: usize) -> Option<Exceeded> {
    let tenant = common.directory.tenant(partner)?;
    // If the database does not answer, the ledger reports it.
    let waiting = waiting(common, &tenant).await.ok()?;
    if emits_too_much(common, &waiting) {
        let limit = Cap::EventsWaiting.limit(&common.settings);
        return Some(Exceeded::new(Cap::EventsWaiting, limit, waiting.events));
    }
    tenant.backlog.add(Waiting { events: count as u64, ..Waiting::default() });
    None
}

/// How many more are admitted, at least one.
async fn room(
    common: &Common,
    tenant: &Tenant,
    cap: Cap,
    used: impl Fn(&Waiting) -> u64,
) -> larder_store::Result<Result<u64, Exceeded>> {
    let limit = cap.limit(&common.settings);
    let mut known = used(&known(common, tenant, COUNTED).await?);
    if known >= limit {
        known = used(&self::known(common, tenant, REFUSED).await?);
    }
    Ok(if known < limit { Ok(limit - known) } else { Err(Exceeded::new(cap, limit, known)) })
}

/// The partner's backlog as of a moment ago.
pub async fn waiting(common: &Common, tenant: &Tenant) -> larder_store::Result<Waiting> {
    known(common, tenant, COUNTED).await
}

/// The partner's backlog as of now.
pub async fn count_waiting(common: &Common, tenant: &Tenant) -> larder_store::Result<Waiting> {
    known(common, tenant, Duration::ZERO).await
}

async fn known(common: &Common, tenant: &Tenant, within: Duration) -> larder_store::Result<Waiting> {
    if let Some(known) = tenant.backlog.known(within) {
        return Ok(known);
    }
    let (executions, events) =
        (Cap::ExecutionsWaiting.limit(&common.settings), Cap::EventsWaiting.limit(&common.settings));
    let due = common.settings.worker.due_max.into();
    let most = Waiting { executions, due, fanouts: executions, events: EMITTED_TIMES * events };
    let counted = common.store.waiting(&tenant.partner.id, common.clock.now_ms(), &most).await?;
    tenant.backlog.counted(counted);
    Ok(counted)
}

/// The number that `worker.waiting_per_partner` limits.
pub fn executions(waiting: &Waiting) -> u64 {
    waiting.executions + waiting.fanouts
}

/// Has the partner reached its limit of waiting executions and fan-outs?
pub fn is_full(common: &Common, waiting: &Waiting) -> bool {
    executions(waiting) >= Cap::ExecutionsWaiting.limit(&common.settings)
}

/// Has the partner reached its limit of waiting events?
pub fn takes_no_events(common: &Common, waiting: &Waiting) -> bool {
    waiting.events >= Cap::EventsWaiting.limit(&common.settings)
}

/// Events that functions emit are stored beyond `worker.events_per_partner`, up to this many times the limit.
const EMITTED_TIMES: u64 = 2;

/// Do so many events wait that no execution may emit more? Then executions are held back, and events are routed however many
/// executions wait. So one of the two always makes progress.
pub fn emits_too_much(common: &Common, waiting: &Waiting) -> bool {
    waiting.events >= EMITTED_TIMES * Cap::EventsWaiting.limit(&common.settings)
}
