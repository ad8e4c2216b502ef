//! The input of a queued execution: the event, the schedule's firing or the request that triggered it.

use std::collections::BTreeMap;

use bytes::Bytes;
use larder_model::time::{Millis, instant, rfc3339};
use larder_model::{Event, Execution, StoredEvent, delivery_key};
use serde_json::json;

use crate::directory::FunctionView;
use crate::execution::Input;

/// The input of a claimed execution.
pub fn from_queue(view: &FunctionView, execution: &Execution, event: Option<&StoredEvent>, body: Vec<u8>) -> Input {
    match (event, execution.nominal_at_ms) {
        (Some(event), _) => Input::Event(Event {
            id: event.id.clone(),
            source: event.source.clone(),
            kind: event.kind.clone(),
            subject: event.subject.clone(),
            time: event.time.clone(),
            data_content_type: event.data_content_type.clone(),
            data: event.data.clone(),
            attributes: event.attributes.clone(),
        }),
        (None, Some(nominal)) => Input::Event(firing(view, nominal, execution.late_ms)),
        (None, None) => crate::execution::request::from_request(view, execution, body.into(), true),
    }
}

/// The root cause: the first of the events that led to the execution, or the firing. `None`: a call, which is its own
/// cause.
pub fn root(execution: &Execution, event: Option<&StoredEvent>) -> Option<String> {
    match event {
        Some(event) => Some(event.root.clone().unwrap_or_else(|| event.row.to_string())),
        None => execution.nominal_at_ms.map(|at| delivery_key(&execution.function, None, Some(at))),
    }
}

/// A schedule's firing as an event. Its time is the nominal time in UTC; the data has it in the function's time zone.
fn firing(view: &FunctionView, nominal: Millis, late_ms: Option<Millis>) -> Event {
    let local = view.timezone.rules().local(instant(nominal));
    let data = json!({ "nominal": local.to_rfc3339(), "timezone": view.timezone.name(), "lateMs": late_ms });
    Event {
        id: format!("{}-{nominal}", view.function.id),
        source: format!("/functions/{}/schedule", view.function.id),
        kind: "larder.schedule".into(),
        subject: None,
        time: rfc3339(nominal),
        data_content_type: "application/json".into(),
        data: Bytes::from(data.to_string()),
        attributes: BTreeMap::new(),
    }
}
