//! Fan-outs: one trigger for many enrolments.

use crate::executions::Trigger;
use crate::ids::{EventId, FanoutId, FunctionId, PartnerId};
use crate::time::Millis;
use crate::trigger_key::delivery_key;

/// One trigger for many enrolments: a cursor over them.
#[derive(Clone, Debug)]
pub struct Fanout {
    pub partner: PartnerId,
    pub id: FanoutId,
    pub function: FunctionId,
    pub trigger: Trigger,
    pub event: Option<EventId>,
    pub nominal_at_ms: Option<Millis>,
    pub late_ms: Option<Millis>,
    /// Only enrolments with this topic; `None` for all.
    pub topic: Option<String>,
    /// The last enrolment that has its execution, empty at first.
    pub cursor: String,
    /// Enrolments made later do not take part.
    pub created_at_ms: Millis,
}

impl Fanout {
    pub fn trigger_key(&self) -> String {
        delivery_key(&self.function, self.event.as_ref(), self.nominal_at_ms)
    }
}
