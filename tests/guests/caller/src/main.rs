//! A wasi:http component without effects that calls what it is told to, and tells what came of it.
//!
//! The body of its request is a list of [`Call`]s, which it makes one after the other, or with `/at-once` all at once
//! before it looks at the first answer. It answers with a list of what [`finish`] tells of each; with `/fail` as a failure.

use hostile::{answer, read, target};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingRequest, IncomingResponse, InputStream, Method, OutgoingBody,
    OutgoingRequest, OutputStream, RequestOptions, ResponseOutparam, Scheme, http_error_code,
};
use wasip2::io::streams::StreamError;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Call {
    method: String,
    scheme: String,
    authority: String,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
    /// So many bytes of body instead.
    body_bytes: usize,
    /// Each is sent when the one before has come back.
    dialogue: Vec<String>,
    connect_ms: Option<u64>,
    first_byte_ms: Option<u64>,
    between_bytes_ms: Option<u64>,
    /// Wait for the answer's head, and keep the answer unread until the run ends.
    keep: bool,
    /// Do not even wait for the head.
    forget: bool,
}

impl Default for Call {
    fn default() -> Call {
        Call {
            method: "GET".into(),
            scheme: "http".into(),
            authority: String::new(),
            path: "/".into(),
            headers: vec![],
            body: String::new(),
            body_bytes: 0,
            dialogue: vec![],
            connect_ms: None,
            first_byte_ms: None,
            between_bytes_ms: None,
            keep: false,
            forget: false,
        }
    }
}

/// A call on its way. Children before their parents.
struct Sent {
    upload: Option<(OutputStream, OutgoingBody)>,
    answer: FutureIncomingResponse,
    call: Call,
}

struct Caller;

wasip2::http::proxy::export!(Caller);

fn main() {}

impl Guest for Caller {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let (path, _) = target(&request);
        let mut body = Vec::new();
        read(&request, |piece| body.extend(piece)).expect("a request");
        let calls: Vec<Call> = serde_json::from_slice(&body).expect("calls");
        let told: Vec<Value> = if path.ends_with("/at-once") {
            let sent: Vec<_> = calls.into_iter().map(send).collect();
            sent.into_iter().map(finish).collect()
        } else {
            calls.into_iter().map(|call| finish(send(call))).collect()
        };
        let status = if path.ends_with("/fail") { 500 } else { 200 };
        answer(out, status, &Value::from(told).to_string());
    }
}

fn send(call: Call) -> Result<Sent, Value> {
    let refused = |what: &str| json!({ "refused": what });
    let headers = Fields::new();
    for (name, value) in &call.headers {
        headers.append(name, value.as_bytes()).map_err(|err| refused(&format!("{name}: {err:?}")))?;
    }
    let request = OutgoingRequest::new(headers);
    let method = match call.method.as_str() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        other => Method::Other(other.into()),
    };
    let scheme = match call.scheme.as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.into()),
    };
    request.set_method(&method).map_err(|()| refused("method"))?;
    request.set_scheme(Some(&scheme)).map_err(|()| refused("scheme"))?;
    request.set_authority(Some(&call.authority)).map_err(|()| refused("authority"))?;
    request.set_path_with_query(Some(&call.path)).map_err(|()| refused("path"))?;
    let options = RequestOptions::new();
    let nanoseconds = |ms: Option<u64>| ms.map(|ms| ms * 1_000_000);
    options.set_connect_timeout(nanoseconds(call.connect_ms)).expect("a timeout");
    options.set_first_byte_timeout(nanoseconds(call.first_byte_ms)).expect("a timeout");
    options.set_between_bytes_timeout(nanoseconds(call.between_bytes_ms)).expect("a timeout");
    let has_body = !call.body.is_empty() || call.body_bytes > 0 || !call.dialogue.is_empty();
    let upload = has_body.then(|| {
        let body = request.body().expect("the first body");
        (body.write().expect("the first stream"), body)
    });
    let answer = outgoing_handler::handle(request, Some(options)).map_err(|code| error(&code))?;
    let mut sent = Sent { upload, answer, call };
    if sent.call.dialogue.is_empty()
        && let Some((stream, body)) = sent.upload.take()
    {
        let bytes = match sent.call.body_bytes {
            0 => sent.call.body.clone().into_bytes(),
            many => vec![b'x'; many],
        };
        // Whether somebody reads it shows in the answer.
        let _ = bytes.chunks(4096).all(|part| stream.blocking_write_and_flush(part).is_ok());
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
    Ok(sent)
}

fn finish(sent: Result<Sent, Value>) -> Value {
    let sent = match sent {
        Ok(sent) => sent,
        Err(told) => return told,
    };
    if sent.call.forget {
        std::mem::forget(sent);
        return json!({ "forgotten": true });
    }
    sent.answer.subscribe().block();
    let answer = match sent.answer.get().expect("it is ready").expect("the first look") {
        Ok(answer) => answer,
        Err(code) => return error(&code),
    };
    let mut told = Map::new();
    told.insert("status".into(), answer.status().into());
    let headers = answer.headers().entries();
    let headers: Map<String, Value> =
        headers.into_iter().map(|(name, value)| (name, String::from_utf8_lossy(&value).into())).collect();
    told.insert("headers".into(), headers.into());
    if sent.call.keep {
        std::mem::forget((answer, sent));
        return told.into();
    }
    receive(answer, sent, &mut told);
    told.into()
}

fn receive(answer: IncomingResponse, sent: Sent, told: &mut Map<String, Value>) {
    let body = answer.consume().expect("the first body");
    let stream = body.stream().expect("the first stream");
    if let Some((upload, body)) = sent.upload {
        for part in &sent.call.dialogue {
            upload.blocking_write_and_flush(part.as_bytes()).expect("somebody reads");
            let mut echo = Vec::new();
            while echo.len() < part.len() {
                echo.extend(stream.blocking_read(64 << 10).expect("an echo"));
            }
            assert_eq!(echo, part.as_bytes());
        }
        drop(upload);
        OutgoingBody::finish(body, None).expect("a complete body");
    }
    let (mut bytes, mut begin) = (0, Vec::new());
    let ended = pieces(&stream, |piece| {
        bytes += piece.len();
        begin.extend(piece.iter().take(4096usize.saturating_sub(begin.len())));
    });
    told.insert("bytes".into(), bytes.into());
    told.insert("text".into(), String::from_utf8_lossy(&begin).into());
    if let Err(why) = ended {
        told.insert("bodyError".into(), why.into());
    }
}

fn pieces(stream: &InputStream, mut piece: impl FnMut(&[u8])) -> Result<(), String> {
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(bytes) => piece(&bytes),
            Err(StreamError::Closed) => return Ok(()),
            Err(StreamError::LastOperationFailed(err)) => {
                return Err(http_error_code(&err).map_or_else(|| err.to_debug_string(), |code| name(&code)));
            }
        }
    }
}

fn error(code: &ErrorCode) -> Value {
    json!({ "error": name(code) })
}

/// `DnsError` of `ErrorCode::DnsError(…)`.
fn name(code: &ErrorCode) -> String {
    let text = format!("{code:?}");
    let text = text.trim_start_matches("ErrorCode::");
    text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_owned()
}
