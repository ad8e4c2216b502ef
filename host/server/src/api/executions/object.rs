//! The Execution object of an execution that was run for its caller.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use larder_model::Execution;
use larder_wire::executions::{ExecutionObject, Header};

const EXECUTION_ID: &str = "x-appwrite-execution-id";

/// With the function's whole answer.
pub fn answered(execution: Execution, headers: Option<&HeaderMap>, body: Vec<u8>) -> ExecutionObject {
    let mut object = ExecutionObject::from(execution);
    if let Some(headers) = headers {
        let header = |(name, value): (&HeaderName, &HeaderValue)| Header {
            name: name.to_string(),
            value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        };
        object.response_headers = headers.iter().map(header).collect();
        object.response_headers.retain(|header| header.name != EXECUTION_ID);
    }
    object.response_headers.push(Header { name: EXECUTION_ID.into(), value: object.id.clone() });
    match String::from_utf8(body) {
        Ok(text) => object.response_body = text,
        // The execution succeeded, so it is reported as such whatever bytes it answered with.
        Err(other) => {
            object.response_body = BASE64_STANDARD.encode(other.as_bytes());
            object.response_body_encoding = "base64".into();
        }
    }
    object
}
