//! The HTTP request of an API execution, synchronous or queued: the platform makes it from the record.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use larder_model::ids::ExecutionId;
use larder_model::time::rfc3339;
use larder_model::{EndUser, Event, Execution, Trigger};

use crate::directory::FunctionView;
use crate::execution::{Body, Input};

pub const CLIENT_IP: HeaderName = HeaderName::from_static("x-appwrite-client-ip");
/// The end user that called, percent-encoded where it is not printable ASCII.
pub const USER_ID: HeaderName = HeaderName::from_static("x-appwrite-user-id");
const TRIGGER: HeaderName = HeaderName::from_static("x-appwrite-trigger");
const EXECUTION: HeaderName = HeaderName::from_static("x-appwrite-execution-id");

/// The input of an execution without event or schedule. A function that exports only the typed handler gets the body as the
/// data of a `larder.execution` event.
pub fn from_request(view: &FunctionView, execution: &Execution, body: Bytes) -> Input {
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
    platform_headers(&mut head.headers, execution.trigger, &execution.id, None);
    Input::Http { head, body: Body::Whole(body) }
}

/// The value of [`USER_ID`]: what a header cannot carry is percent-encoded.
pub fn user_id(user: &EndUser) -> String {
    let mut text = String::with_capacity(user.id.len());
    for byte in user.id.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'%' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

pub fn user_header(user: &EndUser) -> Option<(HeaderName, HeaderValue)> {
    Some((USER_ID, HeaderValue::from_str(&user_id(user)).ok()?))
}

/// Headers in which the platform describes the run to the guest. Guests may rely on them: nobody else can send them.
pub fn platform_headers(headers: &mut HeaderMap, trigger: Trigger, id: &ExecutionId, client: Option<IpAddr>) {
    headers.insert(TRIGGER, HeaderValue::from_static(trigger.word()));
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert(EXECUTION, id);
    }
    if let Some(client) = client.and_then(|ip| HeaderValue::from_str(&ip.to_string()).ok()) {
        headers.insert(CLIENT_IP, client);
    }
}
