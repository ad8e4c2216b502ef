//! Events → executions and fan-outs of the functions that listen to them.

use crate::app::App;
use crate::clock::Millis;
use crate::ids::{EventId, ExecutionId, FanoutId};
use crate::model::{Fanout, Function, Per, RequestRecord, Topics, Trigger, delivery_key};
use crate::queue::Work;
use crate::store::{self, NewExecution};

/// Hands waiting events over. An event is delivered to the functions that are enabled and deployed at this moment.
pub async fn step(app: App) -> store::Result<bool> {
    let events = app.store.waiting_events(100).await?;
    let mut failed = 0;
    for event in &events {
        let listening: Vec<_> = app
            .directory
            .tenant(&event.partner)
            .iter()
            .flat_map(|tenant| tenant.functions.values())
            .filter(|view| view.function.enabled && view.active.is_some())
            .filter(|view| view.function.events.iter().any(|pattern| matches(pattern, &event.kind)))
            .cloned()
            .collect();
        let mut triggered = Triggered::default();
        for view in &listening {
            let cause =
                Cause { trigger: Trigger::Event, event: Some((&event.row, event.subject.as_deref())), nominal: None };
            triggered.add(&app, &view.function, cause);
        }
        match app.store.route_event(event, &triggered.executions, &triggered.fanouts).await {
            Ok(true) => triggered.wake(&app),
            Ok(false) => {}
            // It must not hold the others up; it is looked at again with the next wake-up or poll.
            Err(err) => {
                failed += 1;
                tracing::error!(event.row = %event.row, error = %err, "event {} could not be handed over", event.row);
            }
        }
    }
    Ok(events.len() > failed)
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
    pub fn add(&mut self, app: &App, function: &Function, cause: Cause<'_>) {
        let now = app.clock.now_ms();
        let event = cause.event.map(|(row, _)| row.clone());
        let (nominal_at_ms, late_ms) = cause.nominal.map_or((None, None), |(nominal, late)| (Some(nominal), late));
        let subject = cause.event.and_then(|(_, subject)| subject);
        let topic = match (function.per, function.topics, subject) {
            (Per::Event, ..) => {
                self.executions.push(NewExecution {
                    partner: function.partner.clone(),
                    id: ExecutionId::generate(&app.clock),
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
            id: FanoutId::generate(&app.clock),
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

    pub fn wake(&self, app: &App) {
        if !self.executions.is_empty() {
            app.queue.push(Work::Executions);
        }
        if !self.fanouts.is_empty() {
            app.queue.push(Work::Fanouts);
        }
    }
}

/// Does a pattern (`card.*`, `*` for a whole segment) cover this type?
fn matches(pattern: &str, kind: &str) -> bool {
    let (mut pattern, mut kind) = (pattern.split('.'), kind.split('.'));
    loop {
        match (pattern.next(), kind.next()) {
            (None, None) => return true,
            (Some(wanted), Some(segment)) if wanted == "*" || wanted == segment => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_is_one_segment() {
        for (pattern, kind, expected) in [
            ("card.purchase", "card.purchase", true),
            ("card.*", "card.purchase", true),
            ("*.purchase", "card.purchase", true),
            ("card.*", "card", false),
            ("card.*", "card.purchase.refund", false),
            ("*", "card.purchase", false),
            ("card.purchase", "card.Purchase", false),
        ] {
            assert_eq!(matches(pattern, kind), expected, "{pattern} {kind}");
        }
    }
}
