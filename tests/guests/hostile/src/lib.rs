//! An HTTP answer in steps, so that a guest can stop in the middle of it; and what requests ask for.

use wasip2::http::types::{
    Fields, IncomingRequest, InputStream, OutgoingBody, OutgoingResponse, OutputStream, ResponseOutparam,
};
use wasip2::io::streams::StreamError;

/// What one blocking write takes.
const WRITE_BYTES_MAX: usize = 4096;

/// A body whose head has been sent.
pub struct Body {
    // Dropped first: it is a child of the body.
    stream: OutputStream,
    body: OutgoingBody,
}

impl Body {
    pub fn begin(out: ResponseOutparam, status: u16, headers: Fields) -> Body {
        let response = OutgoingResponse::new(headers);
        response.set_status_code(status).expect("a status code");
        let body = response.body().expect("the first body");
        let stream = body.write().expect("the first stream");
        ResponseOutparam::set(out, Ok(response));
        Body { body, stream }
    }

    /// Returns when the host has taken all of it, `false` if nobody wants it any more.
    pub fn write(&self, bytes: &[u8]) -> bool {
        bytes.chunks(WRITE_BYTES_MAX).all(|part| self.stream.blocking_write_and_flush(part).is_ok())
    }

    pub fn finish(self) {
        drop(self.stream);
        OutgoingBody::finish(self.body, None).expect("a complete body");
    }
}

pub fn answer(out: ResponseOutparam, status: u16, text: &str) {
    let body = Body::begin(out, status, Fields::new());
    body.write(text.as_bytes());
    body.finish();
}

/// Path and query, `/` if there is none.
pub fn target(request: &IncomingRequest) -> (String, String) {
    let target = request.path_with_query().unwrap_or_else(|| "/".into());
    match target.split_once('?') {
        Some((path, query)) => (path.into(), query.into()),
        None => (target, String::new()),
    }
}

/// Hands over the request's body piece by piece, as it comes; an error is why it ended too early.
pub fn read(request: &IncomingRequest, mut piece: impl FnMut(&[u8])) -> Result<(), String> {
    let body = request.consume().expect("the first body");
    let stream: InputStream = body.stream().expect("the first stream");
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(bytes) => piece(&bytes),
            Err(StreamError::Closed) => return Ok(()),
            Err(StreamError::LastOperationFailed(err)) => return Err(err.to_debug_string()),
        }
    }
}

/// Endless, and the optimiser does not see it.
pub fn spin() -> ! {
    let mut count = 0u32;
    loop {
        count = std::hint::black_box(count).wrapping_add(1);
    }
}

/// Takes memory until there is none.
pub fn grow() -> ! {
    loop {
        std::mem::forget(std::hint::black_box(vec![1u8; 256 << 10]));
    }
}

/// Deeper than any stack.
pub fn recurse(depth: u32) -> u32 {
    if depth == u32::MAX {
        return 0;
    }
    std::hint::black_box(recurse(std::hint::black_box(depth + 1))) + 1
}

/// A trap without a message.
pub fn trap() -> ! {
    std::process::abort()
}

/// An answer of so many bytes of a pattern, written in the way that some toolchain writes: `?WAY,BYTES`.
pub fn write_as(query: &str, out: ResponseOutparam) {
    let (way, bytes) = query.split_once(',').expect("a way and a number");
    let bytes: usize = bytes.parse().expect("a number");
    let pattern: Vec<u8> = (0..bytes).map(|at| b'a' + (at / 4096 % 26) as u8).collect();
    let headers = Fields::new();
    if way == "with-a-length" {
        headers.append("content-length", bytes.to_string().as_bytes()).expect("a header");
    }
    let response = OutgoingResponse::new(headers);
    let body = response.body().expect("the first body");
    let stream = body.write().expect("the first stream");
    let mut out = Some((out, response));
    let mut head = || {
        if let Some((out, response)) = out.take() {
            ResponseOutparam::set(out, Ok(response));
        }
    };
    if way != "before-its-head" {
        head();
    }
    let mut rest = &pattern[..];
    while !rest.is_empty() {
        let most = match way {
            // The Rust standard library, C, Python.
            "flushed-at-once" => {
                let (part, behind) = rest.split_at(rest.len().min(WRITE_BYTES_MAX));
                stream.blocking_write_and_flush(part).expect("a reader");
                rest = behind;
                continue;
            }
            "in-small-parts" => 1_000,
            _ => usize::MAX,
        };
        let room = stream.check_write().expect("a reader") as usize;
        if room == 0 {
            head();
            stream.subscribe().block();
            continue;
        }
        let (part, behind) = rest.split_at(rest.len().min(room).min(most));
        stream.write(part).expect("room");
        rest = behind;
        // JavaScript waits for each part to be gone, wstd for room.
        if way == "flushed-in-parts" {
            stream.flush().expect("a reader");
            stream.subscribe().block();
        }
    }
    head();
    if way == "flushed-at-the-end" {
        stream.blocking_flush().expect("a reader");
    }
    drop(stream);
    OutgoingBody::finish(body, None).expect("a complete body");
}

/// An answer as the query says: `status=304&h=etag:%22a%22&body=hello&repeat=1000&trailer=x:1`. `+` is a space.
pub fn say(query: &str, out: ResponseOutparam) {
    let (mut status, mut text) = (200, String::new());
    let (headers, trailers) = (Fields::new(), Fields::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (what, value) = pair.split_once('=').expect("a value");
        let value = decode(value);
        let field = || value.split_once(':').map(|(name, value)| (name.to_owned(), value.as_bytes().to_owned()));
        match what {
            "status" => status = value.parse().expect("a number"),
            "body" => text = value,
            "repeat" => text = text.repeat(value.parse().expect("a number")),
            "h" => field().map(|(name, value)| headers.append(&name, &value).expect("a header")).expect("a field"),
            "trailer" => field().map(|(name, value)| trailers.append(&name, &value).expect("a trailer")).expect("one"),
            other => panic!("what is {other}?"),
        }
    }
    let Body { stream, body } = Body::begin(out, status, headers);
    for part in text.as_bytes().chunks(WRITE_BYTES_MAX) {
        stream.blocking_write_and_flush(part).expect("a reader");
    }
    drop(stream);
    let trailers = (!trailers.entries().is_empty()).then_some(trailers);
    OutgoingBody::finish(body, trailers).expect("a complete body");
}

fn decode(text: &str) -> String {
    let mut decoded = String::new();
    let mut parts = text.split('%');
    decoded.push_str(&parts.next().unwrap_or_default().replace('+', " "));
    for part in parts {
        let (code, rest) = part.split_at(2);
        decoded.push(u8::from_str_radix(code, 16).expect("two digits").into());
        decoded.push_str(&rest.replace('+', " "));
    }
    decoded
}
