//! Events → executions and fan-outs of the functions that subscribe to them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use larder_model::grants::covers_type;
use larder_model::ids::{EventId, ExecutionId, FanoutId, PartnerId};
use larder_model::time::Millis;
use larder_model::{Fanout, Function, Per, RequestRecord, Topics, Trigger, delivery_key};
use larder_signals::Work;
use larder_signals::crash::{self, Point};
use larder_store::{NewExecution, Queue, Routed, RoutedEvent, Waiting, WaitingEvent};

use crate::backlog;
use crate::common::Common;
use crate::jobs::driver::{Job, Next};
use crate::jobs::fairness;

/// Events in one transaction.
const BATCH: u32 = 100;
/// Partners that share a transaction.
const PARTNERS: u32 = 20;
/// Rows of one transaction. The event that exceeds this is its last.
const ROWS_MAX: usize = 1_000;

/// Routes stored events to the functions that subscribe to them.
pub struct Events(pub Common);

impl Job for Events {
    const WORK: Work = Work::Events;
    type Permit = ();

    fn poll(&self) -> Duration {
        self.0.settings.worker.poll
    }

    async fn acquire(&mut self) {}

    async fn step(&mut self, (): ()) -> larder_store::Result<Next> {
        Ok(Next::after(step(&self.0).await?, self.poll()))
    }
}

/// Routes waiting events, the same number for each partner. An event is delivered to the functions that are enabled and
/// deployed at this moment. Events of a partner that has reached its limit of waiting executions are held back.
pub async fn step(common: &Common) -> larder_store::Result<bool> {
    let rests = |waiting: &Waiting| backlog::is_full(common, waiting) && !backlog::emits_too_much(common, waiting);
    let partners = fairness::next(common, Queue::Events, vec![], PARTNERS, rests).await?;
    let each = BATCH / u32::try_from(partners.len().max(1)).unwrap_or(PARTNERS);
    let mut events = Vec::new();
    for partner in &partners {
        events.extend(common.store.waiting_events(partner, each).await?);
    }
    if events.is_empty() {
        return Ok(false);
    }
    match route(common, &events).await {
        Ok(routed) => Ok(routed),
        // One event may be at fault and must not block the others. It is retried at the next notification or poll.
        Err(
            larder_store::Error::Conflict { .. }
            | larder_store::Error::Statement { .. }
            | larder_store::Error::BadRow { .. },
        ) => {
            let mut routed = false;
            for event in &events {
                match route(common, std::slice::from_ref(event)).await {
                    Ok(one) => routed |= one,
                    Err(err) => {
                        tracing::error!(event.row = %event.row, error = %err, "event {} could not be routed", event.row);
                    }
                }
            }
            Ok(routed)
        }
        Err(err) => Err(err),
    }
}

/// Routes these events by the newest snapshots. Returns whether there may be more to do at once. A partner that changes at
/// this moment is reloaded and does not block the others.
async fn route(common: &Common, events: &[WaitingEvent]) -> larder_store::Result<bool> {
    let mut changed: BTreeSet<PartnerId> = BTreeSet::new();
    loop {
        let mut all = Triggered::default();
        let mut routed: Vec<RoutedEvent<'_>> = Vec::with_capacity(events.len());
        // Versions are read first: the transaction below notices any later change.
        let mut versions = BTreeMap::new();
        for event in events.iter().filter(|event| !changed.contains(&event.partner)) {
            if all.executions.len() + all.fanouts.len() >= ROWS_MAX {
                break;
            }
            versions.entry(&event.partner).or_insert_with(|| common.directory.version(&event.partner));
            let triggered = triggered(common, event);
            all.executions.extend_from_slice(&triggered.executions);
            all.fanouts.extend_from_slice(&triggered.fanouts);
            routed.push(RoutedEvent { event, executions: triggered.executions, fanouts: triggered.fanouts });
        }
        if routed.is_empty() {
            return Ok(true);
        }
        crash::point(Point::EventMatched);
        let versions: Vec<_> = versions.into_iter().collect();
        match common.store.route_events(&routed, &versions).await? {
            Routed::Done(count) => {
                crash::point(Point::EventRouted);
                if count > 0 {
                    all.counts(common);
                    all.wake(common);
                    common.fairness.make_room(common);
                }
                return Ok(count > 0 || !changed.is_empty());
            }
            Routed::Stale(partner) => {
                common.directory.refresh(&partner).await?;
                changed.insert(partner);
            }
        }
    }
}

/// The rows that an event triggers in the functions that subscribe to it.
fn triggered(common: &Common, event: &WaitingEvent) -> Triggered {
    let mut triggered = Triggered::default();
    let Some(tenant) = common.directory.tenant(&event.partner) else { return triggered };
    for view in tenant.functions.values().filter(|view| view.function.enabled && view.active.is_some()) {
        if view.function.events.iter().any(|pattern| covers_type(pattern, &event.kind)) {
            let cause =
                Cause { trigger: Trigger::Event, event: Some((&event.row, event.subject.as_deref())), nominal: None };
            triggered.add(common, &view.function, cause);
        }
    }
    triggered
}

/// The cause that triggers functions.
pub struct Cause<'a> {
    pub trigger: Trigger,
    /// The event's row and subject.
    pub event: Option<(&'a EventId, Option<&'a str>)>,
    /// A firing's nominal time, and its delay if it is late.
    pub nominal: Option<(Millis, Option<Millis>)>,
}

/// The rows that a cause triggers.
#[derive(Default)]
pub struct Triggered {
    pub executions: Vec<NewExecution>,
    pub fanouts: Vec<Fanout>,
}

impl Triggered {
    pub fn add(&mut self, common: &Common, function: &Function, cause: Cause<'_>) {
        let now = common.clock.now_ms();
        let event = cause.event.map(|(row, _)| row.clone());
        let (nominal_at_ms, late_ms) = cause.nominal.map_or((None, None), |(nominal, late)| (Some(nominal), late));
        let subject = cause.event.and_then(|(_, subject)| subject);
        let topic = match (function.per, function.topics, subject) {
            (Per::Event, ..) => {
                self.executions.push(NewExecution {
                    partner: function.partner.clone(),
                    id: ExecutionId::generate(&common.clock),
                    function: function.id.clone(),
                    trigger: cause.trigger,
                    trigger_key: Some(delivery_key(&function.id, event.as_ref(), nominal_at_ms)),
                    event,
                    enrolment: None,
                    nominal_at_ms,
                    late_ms,
                    scheduled_at_ms: None,
                    request: RequestRecord::default(),
                    body: None,
                    now,
                });
                return;
            }
            (Per::Enrolment, Topics::All, _) => None,
            // A firing has no subject, so it concerns every enrolment.
            (Per::Enrolment, Topics::Subject, _) if cause.trigger == Trigger::Schedule => None,
            (Per::Enrolment, Topics::Subject, Some(subject)) => Some(subject.to_owned()),
            // An event without a subject concerns no enrolment.
            (Per::Enrolment, Topics::Subject, None) => return,
        };
        let (partner, id) = (function.partner.clone(), FanoutId::generate(&common.clock));
        self.fanouts.push(Fanout {
            event,
            nominal_at_ms,
            late_ms,
            topic,
            ..Fanout::new(partner, id, function.id.clone(), cause.trigger, now)
        });
    }

    pub fn is_empty(&self) -> bool {
        self.executions.is_empty() && self.fanouts.is_empty()
    }

    /// Adds the rows to their partners' backlogs.
    pub fn counts(&self, common: &Common) {
        let executions = self.executions.iter().map(|new| (&new.partner, 1, 0));
        for (partner, executions, fanouts) in executions.chain(self.fanouts.iter().map(|new| (&new.partner, 0, 1))) {
            if let Some(tenant) = common.directory.tenant(partner) {
                tenant.backlog.add(Waiting { executions, due: executions, fanouts, events: 0 });
            }
        }
    }

    /// Notifies the workers.
    pub fn wake(&self, common: &Common) {
        if !self.executions.is_empty() {
            common.signals.push(Work::Executions);
        }
        if !self.fanouts.is_empty() {
            common.signals.push(Work::Fanouts);
        }
    }
}
