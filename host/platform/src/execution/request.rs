//! The HTTP request of an API execution, synchronous or queued: the platform makes it from the record.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use larder_model::time::rfc3339;
use larder_model::{Event, Execution};

use crate::directory::FunctionView;
use crate::execution::told::Told;
use crate::execution::{Body, Input};

/// The input of an execution without event or schedule. A function that exports only the typed handler gets the body as the
/// data of a `larder.execution` event. `queued`: nobody waits for it.
pub fn from_request(view: &FunctionView, execution: &Execution, body: Bytes, queued: bool) -> Input {
    let record = &execution.request;
    if !view.active.as_ref().is_some_and(|active| active.exports.http) {
        let content_type =
            record.headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.clone());
        return Input::Event(Event {
            id: execution.id.to_string(),
            source: format!("/functions/{}/executions", view.function.id),
            kind: "larder.execution".into(),
            subject: None,
            time: rfc3339(execution.created_at_ms),
            data_content_type: content_type.unwrap_or_else(|| "application/json".into()),
            data: body,
            attributes: BTreeMap::new(),
        });
    }
    let (mut head, ()) = http::Request::new(()).into_parts();
    // Both were checked when the execution was created. A corrupt row falls back to `POST /`.
    head.method = record.method.parse().unwrap_or(http::Method::POST);
    head.uri = record.path.parse().unwrap_or_else(|_| http::Uri::from_static("/"));
    for (name, value) in &record.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            head.headers.append(name, value);
        }
    }
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    head.headers.entry(header::HOST).or_insert(HeaderValue::from_static("larder.local"));
    let event = queued.then_some("");
    Told { trigger: execution.trigger, execution: &execution.id, client: None, event, user: None }
        .put(&mut head.headers);
    Input::Http { head, body: Body::Whole(body) }
}
