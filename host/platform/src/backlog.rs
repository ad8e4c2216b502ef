//! Admission of what waits: may this be queued, may these events come in, must that rest?
//!
//! Counting goes by an index and no further than the bounds, at most a few times a second in each process
//! (`partners/backlog`), whatever callers ask for and however many rows there are.

use std::time::Duration;

use larder_model::ids::PartnerId;
use larder_store::Waiting;

use crate::admission;
use crate::common::Common;
use crate::directory::Tenant;
use crate::quotas::{Cap, Exceeded};

/// How old a count may be by which something is let in or rests, and by which something is refused.
const COUNTED: Duration = Duration::from_millis(250);
const REFUSED: Duration = Duration::from_millis(50);

/// May an execution be queued, due at once or later? It is a call of this minute like any other.
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

/// How many of these dead letters may be queued again? At least one.
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

/// May these events be taken in? A batch is taken whole while there is room for one: otherwise a large one never were.
pub async fn admit_events(
    common: &Common,
    tenant: &Tenant,
    count: usize,
) -> larder_store::Result<Result<(), Exceeded>> {
    let room = room(common, tenant, Cap::EventsWaiting, |waiting| waiting.events).await?;
    Ok(room.map(|_| tenant.backlog.add(Waiting { events: count as u64, ..Waiting::default() })))
}

/// A call would emit so many events: why that is too many, if it is. Counted only for what emits, so that other calls make no
/// query.
pub async fn emits(common: &Common, partner: &PartnerId, count: usize) -> Option<Exceeded> {
    let tenant = common.directory.tenant(partner)?;
    // Where the database does not answer, the ledger will say so.
    let waiting = waiting(common, &tenant).await.ok()?;
    if emits_too_much(common, &waiting) {
        let limit = Cap::EventsWaiting.limit(&common.settings);
        return Some(Exceeded::new(Cap::EventsWaiting, limit, waiting.events));
    }
    tenant.backlog.add(Waiting { events: count as u64, ..Waiting::default() });
    None
}

/// How many more there may be, one at least.
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

/// How much of the partner waits, as of a moment ago. Counting goes by an index and no further than the bounds, at most a few
/// times a second in each process, whatever callers ask for and however many rows there are.
pub async fn waiting(common: &Common, tenant: &Tenant) -> larder_store::Result<Waiting> {
    known(common, tenant, COUNTED).await
}

/// The same as of now.
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

/// What counts for `worker.waiting_per_partner`.
pub fn executions(waiting: &Waiting) -> u64 {
    waiting.executions + waiting.fanouts
}

/// Do as many executions and fan-outs wait as may?
pub fn is_full(common: &Common, waiting: &Waiting) -> bool {
    executions(waiting) >= Cap::ExecutionsWaiting.limit(&common.settings)
}

/// Do as many events wait as may?
pub fn takes_no_events(common: &Common, waiting: &Waiting) -> bool {
    waiting.events >= Cap::EventsWaiting.limit(&common.settings)
}

/// What functions emit is stored beyond `worker.events_per_partner`, up to so many times as much.
const EMITTED_TIMES: u64 = 2;

/// Do so many events wait that no execution shall emit more? Then executions rest and events go on being handed over, however
/// many executions wait: one of the two always goes on.
pub fn emits_too_much(common: &Common, waiting: &Waiting) -> bool {
    waiting.events >= EMITTED_TIMES * Cap::EventsWaiting.limit(&common.settings)
}
