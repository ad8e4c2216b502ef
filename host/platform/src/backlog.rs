//! Admission of what waits: may this be queued, may these events come in, must that rest?
//!
//! Counting goes by an index and no further than the bounds, at most a few times a second in each process
//! (`partners/backlog`), whatever callers ask for and however many rows there are.

use std::time::Duration;

use larder_model::ids::PartnerId;
use larder_store::Waiting;

use crate::admission;
use crate::app::App;
use crate::directory::Tenant;
use crate::quotas::{Cap, Exceeded};

/// How old a count may be by which something is let in or rests, and by which something is refused.
const COUNTED: Duration = Duration::from_millis(250);
const REFUSED: Duration = Duration::from_millis(50);

/// May an execution be queued, due at once or later? It is a call of this minute like any other.
pub async fn admit_execution(app: &App, tenant: &Tenant, due: bool) -> larder_store::Result<Result<(), Exceeded>> {
    if let Err(exceeded) = admission::check_rate(app, tenant) {
        return Ok(Err(exceeded));
    }
    let more = Waiting { executions: 1, due: due.into(), ..Waiting::default() };
    let room = room(app, tenant, Cap::ExecutionsWaiting, executions).await?;
    Ok(room.map(|_| {
        admission::count(app, tenant);
        tenant.backlog.add(more);
    }))
}

/// How many of these dead letters may be queued again? At least one.
pub async fn admit_redriven(app: &App, tenant: &Tenant, most: u32) -> larder_store::Result<Result<u32, Exceeded>> {
    let room = room(app, tenant, Cap::ExecutionsWaiting, executions).await?;
    Ok(room.map(|room| {
        let admitted = room.min(most.into());
        tenant.backlog.add(Waiting { executions: admitted, due: admitted, ..Waiting::default() });
        admitted as u32
    }))
}

/// May these events be taken in? A batch is taken whole while there is room for one: otherwise a large one never were.
pub async fn admit_events(app: &App, tenant: &Tenant, count: usize) -> larder_store::Result<Result<(), Exceeded>> {
    let room = room(app, tenant, Cap::EventsWaiting, |waiting| waiting.events).await?;
    Ok(room.map(|_| tenant.backlog.add(Waiting { events: count as u64, ..Waiting::default() })))
}

/// A call would emit so many events: why that is too many, if it is. Counted only for what emits, so that other calls make no
/// query.
pub async fn emits(app: &App, partner: &PartnerId, count: usize) -> Option<Exceeded> {
    let tenant = app.directory.tenant(partner)?;
    // Where the database does not answer, the ledger will say so.
    let waiting = waiting(app, &tenant).await.ok()?;
    if emits_too_much(app, &waiting) {
        let limit = Cap::EventsWaiting.limit(&app.settings);
        return Some(Exceeded::new(Cap::EventsWaiting, limit, waiting.events));
    }
    tenant.backlog.add(Waiting { events: count as u64, ..Waiting::default() });
    None
}

/// How many more there may be, one at least.
async fn room(
    app: &App,
    tenant: &Tenant,
    cap: Cap,
    used: impl Fn(&Waiting) -> u64,
) -> larder_store::Result<Result<u64, Exceeded>> {
    let limit = cap.limit(&app.settings);
    let mut known = used(&known(app, tenant, COUNTED).await?);
    if known >= limit {
        known = used(&self::known(app, tenant, REFUSED).await?);
    }
    Ok(if known < limit { Ok(limit - known) } else { Err(Exceeded::new(cap, limit, known)) })
}

/// How much of the partner waits, as of a moment ago. Counting goes by an index and no further than the bounds, at most a few
/// times a second in each process, whatever callers ask for and however many rows there are.
pub async fn waiting(app: &App, tenant: &Tenant) -> larder_store::Result<Waiting> {
    known(app, tenant, COUNTED).await
}

/// The same as of now.
pub async fn count_waiting(app: &App, tenant: &Tenant) -> larder_store::Result<Waiting> {
    known(app, tenant, Duration::ZERO).await
}

async fn known(app: &App, tenant: &Tenant, within: Duration) -> larder_store::Result<Waiting> {
    if let Some(known) = tenant.backlog.known(within) {
        return Ok(known);
    }
    let (executions, events) = (Cap::ExecutionsWaiting.limit(&app.settings), Cap::EventsWaiting.limit(&app.settings));
    let due = app.settings.worker.due_max.into();
    let most = Waiting { executions, due, fanouts: executions, events: EMITTED_TIMES * events };
    let counted = app.store.waiting(&tenant.partner.id, app.clock.now_ms(), &most).await?;
    tenant.backlog.counted(counted);
    Ok(counted)
}

/// What counts for `worker.waiting_per_partner`.
pub fn executions(waiting: &Waiting) -> u64 {
    waiting.executions + waiting.fanouts
}

/// Do as many executions and fan-outs wait as may?
pub fn is_full(app: &App, waiting: &Waiting) -> bool {
    executions(waiting) >= Cap::ExecutionsWaiting.limit(&app.settings)
}

/// Do as many events wait as may?
pub fn takes_no_events(app: &App, waiting: &Waiting) -> bool {
    waiting.events >= Cap::EventsWaiting.limit(&app.settings)
}

/// What functions emit is stored beyond `worker.events_per_partner`, up to so many times as much.
const EMITTED_TIMES: u64 = 2;

/// Do so many events wait that no execution shall emit more? Then executions rest and events go on being handed over, however
/// many executions wait: one of the two always goes on.
pub fn emits_too_much(app: &App, waiting: &Waiting) -> bool {
    waiting.events >= EMITTED_TIMES * Cap::EventsWaiting.limit(&app.settings)
}
