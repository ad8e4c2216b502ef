//! One request of an HTTP/2 connection, and its answer.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use larder_model::time::instant;
use larder_platform::bodies::AnswerBody;
use tokio::time::Instant;

use super::super::connection::{HEADERS_MAX, Via};
use super::super::dispatch::dispatch;
use super::{Door, Open, StreamBody};
use crate::client_body::Received;
use crate::write_timeout::Deadline;

/// Bytes of an answer that are handed over at once: other streams take turns.
const PART_BYTES: usize = 16 * 1024;
/// Headers that are of HTTP/1.1 alone (RFC 9113, section 8.2.2).
const OF_HTTP1: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Answers a request. It ends when the client gives it up.
pub async fn serve(door: Door, via: Via, request: Request<RecvStream>, mut respond: SendResponse<Bytes>, open: Open) {
    let deadline = Deadline::default();
    let via = Via { deadline: deadline.clone(), ..via };
    if request.headers().len() > HEADERS_MAX {
        let _ = respond.send_response(bare(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE), true);
        return;
    }
    let is_head = request.method() == Method::HEAD;
    let waits = request.headers().contains_key(header::EXPECT);
    let (mut head, body) = request.into_parts();
    settle(&mut head.headers, head.uri.authority().map(|authority| authority.as_str()));
    let (body, mut asked) = StreamBody::new(body, &head.headers);
    let answer = {
        let mut answer = std::pin::pin!(dispatch(&door, via, Request::from_parts(head, Received::Http2(body))));
        loop {
            tokio::select! {
                biased;
                answer = answer.as_mut() => break answer,
                _ = poll_fn(|cx| respond.poll_reset(cx)) => return open.given_up(),
                asked = &mut asked, if waits && !asked.is_terminated() => {
                    if asked.is_ok() {
                        let _ = respond.send_informational(bare(StatusCode::CONTINUE));
                    }
                }
            }
        }
    };
    let (mut head, body) = answer.into_parts();
    let is_bodiless = is_head || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status);
    let ends = is_bodiless || body.is_end_stream();
    for name in OF_HTTP1 {
        head.headers.remove(name);
    }
    if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(instant(door.clock().now_ms()).into())) {
        head.headers.entry(header::DATE).or_insert(date);
    }
    if let Some(length) = body.size_hint().exact()
        && !(is_bodiless && (length == 0 || !is_head))
    {
        head.headers.entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse().ok());
    let Ok(mut stream) = respond.send_response(Response::from_parts(head, ()), ends) else {
        return open.given_up();
    };
    if !ends {
        let stall = door.settings().server.client_timeout;
        match send(&mut stream, body, length, &deadline, stall).await {
            Ok(()) => {}
            Err(Cut::GivenUp) => return open.given_up(),
            Err(Cut::TooSlow) => {
                metrics::counter!("larder_http2_streams_cut_total").increment(1);
                stream.send_reset(Reason::CANCEL);
            }
            Err(Cut::Broken) => stream.send_reset(Reason::INTERNAL_ERROR),
        }
    }
    open.answered();
}

/// An answer without anything but its status.
fn bare(status: StatusCode) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response
}

/// Makes a head what the rest of Larder reads: one Host header, and one Cookie header, which HTTP/2 may split (RFC 9113,
/// sections 8.3.1 and 8.2.3). A Host header beside `:authority` stays, and must be equal to it.
fn settle(headers: &mut HeaderMap, authority: Option<&str>) {
    if let Some(authority) = authority
        && !headers.contains_key(header::HOST)
        && let Ok(host) = HeaderValue::from_str(authority)
    {
        headers.insert(header::HOST, host);
    }
    let cookies: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}

/// Why an answer was not sent to its end.
enum Cut {
    GivenUp,
    /// The client does not take it.
    TooSlow,
    /// The answer broke off, or is not as long as its head says.
    Broken,
}

/// Sends a body as the client takes it. Only what it has a window for is handed over, so nothing of a stream that is cut stays
/// behind.
async fn send(
    stream: &mut SendStream<Bytes>,
    mut body: AnswerBody,
    mut length: Option<u64>,
    deadline: &Deadline,
    stall: Duration,
) -> Result<(), Cut> {
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            _ = poll_fn(|cx| stream.poll_reset(cx)) => return Err(Cut::GivenUp),
        };
        let frame = match frame {
            Some(frame) => frame.map_err(|_| Cut::Broken)?,
            None if length.is_some_and(|rest| rest > 0) => return Err(Cut::Broken),
            None => return stream.send_data(Bytes::new(), true).map_err(|_| Cut::GivenUp),
        };
        let mut data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                let Ok(trailers) = frame.into_trailers() else { continue };
                return stream.send_trailers(trailers).map_err(|_| Cut::GivenUp);
            }
        };
        length = match length {
            Some(rest) => Some(rest.checked_sub(data.len() as u64).ok_or(Cut::Broken)?),
            None => None,
        };
        while !data.is_empty() {
            let room = room(stream, data.len().min(PART_BYTES), deadline, stall).await?;
            let part = data.split_to(room.min(data.len()));
            let is_last = data.is_empty() && body.is_end_stream() && length.is_none_or(|rest| rest == 0);
            stream.send_data(part, is_last).map_err(|_| Cut::GivenUp)?;
            if is_last {
                return Ok(());
            }
        }
    }
}

/// Waits until the client takes some of `wanted` bytes.
async fn room(
    stream: &mut SendStream<Bytes>,
    wanted: usize,
    deadline: &Deadline,
    stall: Duration,
) -> Result<usize, Cut> {
    let now = Instant::now();
    let until = deadline.get().map_or(now + stall, |deadline| deadline.min(now + stall));
    if until <= now {
        return Err(Cut::TooSlow);
    }
    stream.reserve_capacity(wanted);
    while stream.capacity() == 0 {
        match tokio::time::timeout_at(until, poll_fn(|cx| stream.poll_capacity(cx))).await {
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(_)) | None) => return Err(Cut::GivenUp),
            Err(_) => return Err(Cut::TooSlow),
        }
    }
    Ok(stream.capacity())
}
