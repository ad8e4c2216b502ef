//! An event for a program that only speaks HTTP: CloudEvents HTTP binding 1.0.2, section 3.1 (binary mode).

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use larder_model::outcome::End;
use larder_model::{Event, attributes};

use crate::call::RequestBody;

/// How much of a refusal's body becomes its reason.
const REASON_CHARS_MAX: usize = 1_000;

/// `headers` stand beside those of the event, which have other names.
pub fn request(event: Event, headers: HeaderMap) -> Result<Request<RequestBody>, http::Error> {
    let mut request = Request::builder();
    if let Some(own) = request.headers_mut() {
        *own = headers;
    }
    request = request
        .method(Method::POST)
        .uri("http://larder.local/")
        .header(header::HOST, "larder.local")
        .header("ce-specversion", "1.0")
        .header("ce-id", encoded(&event.id)?)
        .header("ce-source", encoded(&event.source)?)
        .header("ce-type", encoded(&event.kind)?)
        .header("ce-time", encoded(&event.time)?)
        .header(header::CONTENT_LENGTH, event.data.len());
    if let Some(subject) = &event.subject {
        request = request.header("ce-subject", encoded(subject)?);
    }
    for (name, value) in &event.attributes {
        request = request.header(format!("ce-{name}"), encoded(value)?);
    }
    if !event.data_content_type.is_empty() {
        request = request.header(header::CONTENT_TYPE, HeaderValue::from_str(&event.data_content_type)?);
    }
    request.body(Full::new(event.data).map_err(|never| match never {}).boxed_unsync())
}

fn encoded(text: &str) -> Result<HeaderValue, http::Error> {
    Ok(HeaderValue::from_str(&attributes::encode(text))?)
}

/// What the answer says about the event: done, later, or never.
pub fn end(response: Response<Bytes>) -> End {
    let (parts, body) = response.into_parts();
    let status = parts.status.as_u16();
    match status {
        200..=299 => End::Returned((!body.is_empty()).then(|| body.into())),
        408 | 425 | 429 | 500..=599 => End::Retry(reason(status, &body)),
        _ => End::Reject(reason(status, &body)),
    }
}

fn reason(status: u16, body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body).trim().chars().take(REASON_CHARS_MAX).collect();
    if text.is_empty() { format!("status {status}") } else { format!("status {status}: {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_become_headers() {
        let event = Event {
            id: "7".into(),
            source: "/cards".into(),
            kind: "card.purchase".into(),
            subject: Some("Zoë \"100%\"".into()),
            time: "2026-01-02T03:04:05Z".into(),
            data_content_type: "application/json".into(),
            data: Bytes::from_static(b"{}"),
            attributes: [("traceparent".into(), "00-1-2-01".into()), ("dataschema".into(), "https://x/ä".into())]
                .into(),
        };
        let told = [("x-told", "1")].map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let request = request(event, told.into_iter().collect()).unwrap();
        assert_eq!(request.headers()["x-told"], "1");
        assert_eq!(request.headers()["ce-subject"], "Zo%C3%AB%20%22100%25%22");
        assert_eq!(request.headers()["ce-traceparent"], "00-1-2-01");
        assert_eq!(request.headers()["ce-dataschema"], "https://x/%C3%A4");
        assert_eq!(request.headers()["ce-type"], "card.purchase");
        assert_eq!(request.headers()["content-type"], "application/json");
        assert_eq!(request.uri().path(), "/");
    }

    #[test]
    fn status_decides_how_the_run_ended() {
        let ended = |status: u16, body: &'static str| {
            end(Response::builder().status(status).body(Bytes::from_static(body.as_bytes())).unwrap())
        };
        assert!(matches!(ended(204, ""), End::Returned(None)));
        assert!(matches!(ended(200, "ok"), End::Returned(Some(body)) if body == b"ok"));
        assert!(matches!(ended(503, "busy"), End::Retry(why) if why == "status 503: busy"));
        assert!(matches!(ended(429, ""), End::Retry(_)));
        assert!(matches!(ended(422, "no"), End::Reject(why) if why == "status 422: no"));
        assert!(matches!(ended(302, ""), End::Reject(_)));
    }
}
