//! A guest's HTTP answer on its way out, while the guest still runs.
//!
//! [`drive`] polls the guest and moves its answer along at the same time: a guest that writes more than its small
//! buffer holds waits for us, so waiting for the guest first would never end.
//!
//! The rule: **what looks complete to the client was completed by the guest**. wasi-http ends a body cleanly when the
//! guest dies or forgets it; so the end is looked for while the guest's store still lives, where the two differ.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http::response::Parts;
use http::{HeaderMap, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio::time::Instant;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::call::Answer;
use crate::limits::{Exceeded, LimitKind};
use crate::outcome::{End, Failure};
use crate::stream::{self, Feed, StreamedBody};

/// Bytes of one write of the guest; it may be two such writes ahead of us.
pub const CHUNK_BYTES: usize = 64 << 10;
/// An answer of up to this size that is complete this soon after its head leaves whole, which is cheaper for everyone.
const WHOLE_BYTES_MAX: u64 = 64 << 10;
const WHOLE_WITHIN: Duration = Duration::from_millis(10);

/// What comes through the guest's response-outparam.
pub type Head = Result<Response<HyperOutgoingBody>, ErrorCode>;

/// Runs the guest to its end and gives what became of its answer, beside what the guest left (`None` if it failed).
/// `guest` gives its store, which lives until the last of the answer has been taken out.
pub async fn drive<S>(
    guest: impl Future<Output = Result<S, Failure>>,
    head: oneshot::Receiver<Head>,
    answer: Answer,
    to_head_request: bool,
    response_bytes: u64,
) -> (End, Option<S>) {
    let mut answering = Answering {
        stage: Stage::Head(head),
        out: match answer {
            Answer::Streamed(_) | Answer::Buffered if to_head_request => Out::Whole,
            Answer::Buffered => Out::Whole,
            Answer::Streamed(to) => Out::Undecided { to, since: None },
        },
        parts: None,
        kept: Kept::default(),
        bytes: 0,
        bytes_max: response_bytes,
        to_head_request,
    };
    let mut guest = pin!(guest);
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut guest => break ended,
            step = answering.step() => if let Err(failure) = step {
                break Err(failure);
            },
        }
    };
    match ended {
        Ok(store) => match answering.finish() {
            Ok(end) => (end, Some(store)),
            Err(failure) => (End::Failed(failure), None),
        },
        Err(failure) => (End::Failed(failure), None),
    }
}

struct Answering {
    stage: Stage,
    out: Out,
    parts: Option<Parts>,
    kept: Kept,
    /// Data bytes seen so far.
    bytes: u64,
    bytes_max: u64,
    to_head_request: bool,
}

/// What of the body has not left. Its data is one piece: a guest that writes byte by byte must not make the host keep a
/// frame for each.
#[derive(Default)]
struct Kept {
    /// While there is one frame it is kept as it came.
    first: Bytes,
    joined: BytesMut,
    trailers: Option<HeaderMap>,
}

impl Kept {
    fn push(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) if self.first.is_empty() && self.joined.is_empty() => self.first = data,
            Ok(data) => {
                self.joined.extend_from_slice(&std::mem::take(&mut self.first));
                self.joined.extend_from_slice(&data);
            }
            Err(frame) => self.trailers = frame.into_trailers().ok(),
        }
    }

    fn frames(self) -> Vec<Frame<Bytes>> {
        let trailers = self.trailers.clone().map(Frame::trailers);
        let data = Some(self.whole()).filter(|data| !data.is_empty()).map(Frame::data);
        data.into_iter().chain(trailers).collect()
    }

    /// Trailers have no place in a whole answer and are left out.
    fn whole(self) -> Bytes {
        if self.joined.is_empty() { self.first } else { self.joined.freeze() }
    }
}

enum Stage {
    Head(oneshot::Receiver<Head>),
    Body(HyperOutgoingBody),
    /// The guest finished its body.
    Complete,
    /// There will be no head.
    Absent,
}

enum Out {
    Whole,
    /// Whole if it is complete soon after `since`, when its head came.
    Undecided {
        to: oneshot::Sender<Response<StreamedBody>>,
        since: Option<Instant>,
    },
    Live {
        feed: Feed,
        status: u16,
        length: Option<u64>,
    },
}

impl Answering {
    /// Waits for the next thing to happen to the answer. May be dropped at any wait.
    async fn step(&mut self) -> Result<(), Failure> {
        let due = match &self.out {
            Out::Undecided { since: Some(since), .. } => Some(*since + WHOLE_WITHIN),
            _ => None,
        };
        let late = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        match (&mut self.stage, &self.out) {
            (Stage::Head(head), _) => {
                let head = head.await.ok();
                self.begin(head)
            }
            (Stage::Body(body), Out::Live { feed, length, .. }) => {
                // A client that has all the bytes it was promised may go, and the server drops the body then.
                let served = *length == Some(self.bytes);
                let next = async { Some((feed.ready().await?, body.frame().await)) };
                let end = match tokio::select! {
                    next = next => next,
                    () = feed.gone(), if !served => None,
                } {
                    Some((slot, Some(Ok(frame)))) => {
                        count(&mut self.bytes, self.bytes_max, &frame)?;
                        slot.send(frame);
                        return Ok(());
                    }
                    Some((_slot, end)) => end,
                    None if served => None,
                    None => return Err(client_went_away()),
                };
                self.take(end)
            }
            (Stage::Body(body), _) => {
                tokio::select! {
                    biased;
                    frame = body.frame() => self.take(frame),
                    () = late => self.go_live(),
                }
            }
            (Stage::Complete, _) => {
                late.await;
                self.go_live()
            }
            (Stage::Absent, _) => std::future::pending().await,
        }
    }

    fn begin(&mut self, head: Option<Head>) -> Result<(), Failure> {
        let (parts, body) = match head {
            Some(Ok(response)) => response.into_parts(),
            Some(Err(code)) => return Err(Failure::BadResponse(format!("the function answered with {code:?}"))),
            None => {
                self.stage = Stage::Absent;
                return Ok(());
            }
        };
        if !(200..=599).contains(&parts.status.as_u16()) {
            return Err(Failure::BadResponse(format!("status {} is not from 200 to 599", parts.status.as_u16())));
        }
        if let Out::Undecided { since, .. } = &mut self.out {
            if parts.status == StatusCode::NO_CONTENT || parts.status == StatusCode::NOT_MODIFIED {
                // A server never reads these bodies: there is nothing to stream.
                self.out = Out::Whole;
            } else {
                *since = Some(Instant::now());
            }
        }
        self.parts = Some(parts);
        self.stage = Stage::Body(body);
        Ok(())
    }

    fn take(&mut self, frame: Option<Result<Frame<Bytes>, wasmtime_wasi_http::Error>>) -> Result<(), Failure> {
        match frame {
            Some(Ok(frame)) => {
                count(&mut self.bytes, self.bytes_max, &frame)?;
                self.kept.push(frame);
                match self.out {
                    Out::Undecided { .. } if self.bytes > WHOLE_BYTES_MAX => self.go_live(),
                    _ => Ok(()),
                }
            }
            Some(Err(_)) => Err(Failure::BadResponse("the function gave up its body before it was complete".into())),
            None => {
                self.stage = Stage::Complete;
                Ok(())
            }
        }
    }

    /// Sends the head and what there is of the body.
    fn go_live(&mut self) -> Result<(), Failure> {
        let parts = self.parts.take().unwrap_or_else(|| unreachable!("a body has a head"));
        let (status, length) = (parts.status.as_u16(), content_length(&parts.headers));
        let (feed, body) = stream::channel(std::mem::take(&mut self.kept).frames());
        match std::mem::replace(&mut self.out, Out::Live { feed, status, length }) {
            Out::Undecided { to, .. } => to.send(Response::from_parts(parts, body)).map_err(|_| client_went_away()),
            Out::Whole | Out::Live { .. } => unreachable!("only an undecided answer goes live"),
        }
    }

    /// The guest ended well, and its store still lives: what it completed is complete now.
    fn finish(mut self) -> Result<End, Failure> {
        loop {
            match &mut self.stage {
                Stage::Head(head) => {
                    let head = head.try_recv().ok();
                    self.begin(head)?;
                }
                Stage::Body(body) => {
                    // Not bounded by the task's budget: "not now" must mean "never".
                    let Some(frame) = tokio::task::unconstrained(body.frame()).now_or_never() else {
                        return Err(Failure::BadResponse("the function ended in the middle of its body".into()));
                    };
                    match frame {
                        Some(Ok(frame)) => {
                            count(&mut self.bytes, self.bytes_max, &frame)?;
                            self.kept.push(frame);
                        }
                        other => self.take(other)?,
                    }
                }
                Stage::Complete => break,
                Stage::Absent => {
                    return Err(Failure::BadResponse("the function returned without a response".into()));
                }
            }
        }
        if let Out::Live { feed, status, .. } = self.out {
            feed.end(self.kept.frames());
            return Ok(End::Streamed { status, body_bytes: self.bytes });
        }
        let parts = self.parts.unwrap_or_else(|| unreachable!("a complete body has a head"));
        let promised = content_length(&parts.headers).filter(|_| {
            !self.to_head_request && parts.status != StatusCode::NO_CONTENT && parts.status != StatusCode::NOT_MODIFIED
        });
        if promised.is_some_and(|promised| promised != self.bytes) {
            return Err(Failure::BadResponse(format!(
                "content-length is {}, the body has {} bytes",
                promised.unwrap_or_default(),
                self.bytes
            )));
        }
        Ok(End::Answered(Response::from_parts(parts, self.kept.whole())))
    }
}

fn count(bytes: &mut u64, max: u64, frame: &Frame<Bytes>) -> Result<(), Failure> {
    *bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
    if *bytes > max {
        return Err(Failure::Limit(Exceeded { limit: LimitKind::ResponseBytes, value: max, used: *bytes }));
    }
    Ok(())
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn client_went_away() -> Failure {
    Failure::BadResponse("the client went away".into())
}
