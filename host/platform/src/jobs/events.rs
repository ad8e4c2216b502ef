//! Events → executions and fan-outs of the functions that listen to them.

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

/// Events of one transaction.
const BATCH: u32 = 100;
/// Partners that share it.
const PARTNERS: u32 = 20;
/// Rows that it may come to; the event with which it has more is the last.
const ROWS_MAX: usize = 1_000;

/// Hands stored events over to the functions that take them.
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

/// Hands waiting events over, as many of each partner. An event is delivered to the functions that are enabled and
/// deployed at this moment. The events of a partner that has as many executions waiting as it may wait.
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
        // One of them is at fault, perhaps: it must not hold the others up. It is looked at again with the next wake-up or poll.
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
                        tracing::error!(event.row = %event.row, error = %err, "event {} could not be handed over", event.row);
                    }
                }
            }
            Ok(routed)
        }
        Err(err) => Err(err),
    }
}

/// Hands these over, as the newest snapshots want it; gives whether there may be more to do at once. A partner that changes
/// at this moment is read anew, and holds up no other.
async fn route(common: &Common, events: &[WaitingEvent]) -> larder_store::Result<bool> {
    let mut changed: BTreeSet<PartnerId> = BTreeSet::new();
    loop {
        let mut all = Triggered::default();
        let mut routed: Vec<RoutedEvent<'_>> = Vec::with_capacity(events.len());
        // The versions first: if one of them changes from here on, the transaction below sees it.
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
                    common.turns.make_room(common);
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

/// What the functions that listen to an event are to do.
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

/// What sets functions going.
pub struct Cause<'a> {
    pub trigger: Trigger,
    /// The event's row and subject.
    pub event: Option<(&'a EventId, Option<&'a str>)>,
    /// A firing's nominal time, and how much later it is.
    pub nominal: Option<(Millis, Option<Millis>)>,
}

/// The rows that a cause comes to.
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
            // A firing has no subject: it concerns everyone.
            (Per::Enrolment, Topics::Subject, _) if cause.trigger == Trigger::Schedule => None,
            (Per::Enrolment, Topics::Subject, Some(subject)) => Some(subject.to_owned()),
            // Without a subject there is nobody whom the event concerns.
            (Per::Enrolment, Topics::Subject, None) => return,
        };
        self.fanouts.push(Fanout {
            partner: function.partner.clone(),
            id: FanoutId::generate(&common.clock),
            function: function.id.clone(),
            trigger: cause.trigger,
            event,
            nominal_at_ms,
            late_ms,
            topic,
            cursor: String::new(),
            created_at_ms: now,
        });
    }

    pub fn is_empty(&self) -> bool {
        self.executions.is_empty() && self.fanouts.is_empty()
    }

    /// They wait from now on.
    pub fn counts(&self, common: &Common) {
        let executions = self.executions.iter().map(|new| (&new.partner, 1, 0));
        for (partner, executions, fanouts) in executions.chain(self.fanouts.iter().map(|new| (&new.partner, 0, 1))) {
            if let Some(tenant) = common.directory.tenant(partner) {
                tenant.backlog.add(Waiting { executions, due: executions, fanouts, events: 0 });
            }
        }
    }

    pub fn wake(&self, common: &Common) {
        if !self.executions.is_empty() {
            common.queue.push(Work::Executions);
        }
        if !self.fanouts.is_empty() {
            common.queue.push(Work::Fanouts);
        }
    }
}
