//! A guest's HTTP answer on its way out, while the guest still runs.
//!
//! [`drive`] polls the guest and moves its answer along at the same time: a guest that writes more than its small
//! buffer holds waits for us, so waiting for the guest first would never end.
//!
//! The rule: **what looks complete to the client was completed by the guest**. wasi-http ends a body cleanly when the
//! guest fails or forgets it; so the end is looked for while the guest's store still exists, where the two differ.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http::response::Parts;
use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt;
use larder_model::limits::{Exceeded, LimitKind};
use larder_model::outcome::{End, Failure};
use tokio::sync::oneshot;
use tokio::time::Instant;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::call::{Answer, Sanitize};
use crate::logs::{Collector, Stream};
use crate::meter::Meter;
use crate::stream::{self, Feed, StreamedBody};

/// An answer of up to this size that is complete this soon after its head leaves whole, which is cheaper for everyone.
const WHOLE_BYTES_MAX: u64 = 64 << 10;
const WHOLE_WITHIN: Duration = Duration::from_millis(10);

/// Of all trailers together, names and values.
const TRAILER_BYTES_MAX: usize = 16 << 10;
/// Fields that somebody may have acted on before they came (RFC 9110, section 6.5.1).
const NO_TRAILERS: [HeaderName; 18] = [
    header::AGE,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_LOCATION,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::DATE,
    header::EXPIRES,
    header::LOCATION,
    header::PROXY_AUTHENTICATE,
    header::RETRY_AFTER,
    header::SET_COOKIE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::VARY,
    header::WARNING,
    header::WWW_AUTHENTICATE,
];

/// What comes through the guest's response-outparam.
pub type Head = Result<Response<HyperOutgoingBody>, ErrorCode>;

/// What an answer is held against.
pub struct Rules {
    pub to_head_request: bool,
    /// The client reads trailers.
    pub takes_trailers: bool,
    pub response_bytes: u64,
    pub sanitize: Option<Sanitize>,
    pub meter: Arc<Meter>,
    /// Where it is reported what was left out.
    pub logs: Arc<Collector>,
}

/// Runs the guest to its end and gives what became of its answer, beside what the guest left (`None` if it failed).
/// `guest` gives its store, which lives until the last of the answer has been taken out.
pub async fn drive<S>(
    guest: impl Future<Output = Result<S, Failure>>,
    head: oneshot::Receiver<Head>,
    answer: Answer,
    rules: Rules,
) -> (End, Option<S>) {
    let mut answering = Answering {
        stage: Stage::Head(head),
        out: match answer {
            Answer::Streamed(_) | Answer::Buffered if rules.to_head_request => Out::Whole,
            Answer::Buffered => Out::Whole,
            Answer::Streamed(to) => Out::Undecided { to, since: None },
        },
        parts: None,
        buffered: Buffered::default(),
        bytes: 0,
        promised: None,
        trailers: None,
        rules,
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
    buffered: Buffered,
    /// Data bytes seen so far.
    bytes: u64,
    /// How many there will be, by the head. Nothing of an answer that has no body.
    promised: Option<u64>,
    /// What comes after the body.
    trailers: Option<HeaderMap>,
    rules: Rules,
}

/// The part of the body that has not left. It is one piece: a guest that writes byte by byte must not make the host keep a
/// piece for each.
#[derive(Default)]
struct Buffered {
    /// The only piece, as it came.
    first: Bytes,
    joined: BytesMut,
}

impl Buffered {
    fn push(&mut self, data: Bytes) {
        if self.first.is_empty() && self.joined.is_empty() {
            self.first = data;
        } else {
            self.joined.extend_from_slice(&std::mem::take(&mut self.first));
            self.joined.extend_from_slice(&data);
        }
    }

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
            (Stage::Body(body), Out::Live { feed, .. }) => {
                // A client that has all the bytes it was promised may go, and the server drops the body then.
                let served = self.promised == Some(self.bytes);
                let next = async { Some((feed.ready().await?, body.frame().await)) };
                let end = match tokio::select! {
                    next = next => next,
                    () = feed.gone(), if !served => None,
                } {
                    Some((slot, Some(Ok(frame)))) => {
                        let slot = frame.is_data().then_some(slot);
                        let data = admit(&mut self.bytes, self.promised, &mut self.trailers, frame, &self.rules)?;
                        if let Some(slot) = slot {
                            slot.send(data);
                        }
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
        let (mut parts, body) = match head {
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
        for line in self.rules.sanitize.iter().flat_map(|sanitize| sanitize(&mut parts.headers)) {
            self.rules.report(&line);
        }
        let length = content_length(&parts.headers)?;
        match parts.status {
            // These have no body, whatever their guest writes: there is nothing to stream. Of them only 304 may tell a
            // length, that of the answer which the client has already (RFC 9110, sections 8.6 and 15.3.6).
            StatusCode::NOT_MODIFIED => self.out = Out::Whole,
            StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT => {
                parts.headers.remove(header::CONTENT_LENGTH);
                self.out = Out::Whole;
            }
            _ if self.rules.to_head_request => {}
            _ => self.promised = length,
        }
        if let Out::Undecided { since, .. } = &mut self.out {
            *since = Some(Instant::now());
        }
        self.parts = Some(parts);
        self.stage = Stage::Body(body);
        Ok(())
    }

    fn take(&mut self, frame: Option<Result<Frame<Bytes>, wasmtime_wasi_http::Error>>) -> Result<(), Failure> {
        match frame {
            Some(Ok(frame)) => {
                self.buffered.push(admit(&mut self.bytes, self.promised, &mut self.trailers, frame, &self.rules)?);
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
        let status = parts.status.as_u16();
        self.rules.meter.stream();
        let (feed, body) = stream::channel(std::mem::take(&mut self.buffered).whole());
        match std::mem::replace(&mut self.out, Out::Live { feed, status }) {
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
                            self.buffered.push(admit(
                                &mut self.bytes,
                                self.promised,
                                &mut self.trailers,
                                frame,
                                &self.rules,
                            )?);
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
        if let Some(promised) = self.promised.filter(|promised| *promised != self.bytes) {
            return Err(broken_promise(promised, self.bytes));
        }
        let trailers = self.trailers();
        if trailers.is_some() && matches!(self.out, Out::Undecided { .. }) {
            self.go_live()?;
        }
        if let Out::Live { feed, status } = self.out {
            feed.end(self.buffered.whole(), trailers);
            return Ok(End::Streamed { status, body_bytes: self.bytes });
        }
        let parts = self.parts.unwrap_or_else(|| unreachable!("a complete body has a head"));
        let has_none = matches!(parts.status.as_u16(), 204 | 205 | 304);
        // What a HEAD is answered with is as long as it says; without a word the body says it.
        let head_tells = self.rules.to_head_request && parts.headers.contains_key(header::CONTENT_LENGTH);
        if !has_none && !head_tells {
            return Ok(End::Answered(Response::from_parts(parts, self.buffered.whole())));
        }
        if has_none && self.bytes > 0 && !self.rules.to_head_request {
            self.rules.report(&format!("an answer of status {} has no body: its {} bytes", parts.status, self.bytes));
        }
        Ok(End::Answered(Response::from_parts(parts, Bytes::new())))
    }
}

impl Answering {
    /// The trailers that are sent. What is not is reported.
    fn trailers(&mut self) -> Option<HeaderMap> {
        let mut trailers = self.trailers.take()?;
        let names = |headers: &HeaderMap| headers.keys().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        if !self.rules.takes_trailers || matches!(self.out, Out::Whole) {
            self.rules.report(&format!("trailers are not sent: {}", names(&trailers)));
            return None;
        }
        for line in self.rules.sanitize.iter().flat_map(|sanitize| sanitize(&mut trailers)) {
            self.rules.report(&line);
        }
        let refused: HeaderMap =
            NO_TRAILERS.iter().filter_map(|name| Some((name.clone(), trailers.remove(name)?))).collect();
        if !refused.is_empty() {
            self.rules.report(&format!("fields that are no trailers: {}", names(&refused)));
        }
        let bytes: usize = trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if bytes > TRAILER_BYTES_MAX {
            self.rules.report(&format!("trailers of {bytes} bytes, {TRAILER_BYTES_MAX} are allowed"));
            return None;
        }
        Some(trailers).filter(|trailers| !trailers.is_empty())
    }
}

impl Rules {
    fn report(&self, what: &str) {
        self.logs.write(Stream::Stderr, format!("larder: left out of the answer: {what}\n").as_bytes());
    }
}

/// The data of a frame of the body, within its bounds. Trailers have none: they are kept.
fn admit(
    bytes: &mut u64,
    promised: Option<u64>,
    trailers: &mut Option<HeaderMap>,
    frame: Frame<Bytes>,
    rules: &Rules,
) -> Result<Bytes, Failure> {
    let data = match frame.into_data() {
        Ok(data) => data,
        Err(frame) => {
            *trailers = frame.into_trailers().ok().filter(|trailers| !trailers.is_empty());
            return Ok(Bytes::new());
        }
    };
    *bytes += data.len() as u64;
    if *bytes > rules.response_bytes {
        let limit = LimitKind::ResponseBytes;
        return Err(Failure::Limit(Exceeded { limit, value: rules.response_bytes, used: *bytes }));
    }
    match promised {
        Some(promised) if *bytes > promised => Err(broken_promise(promised, *bytes)),
        _ => Ok(data),
    }
}

fn broken_promise(promised: u64, bytes: u64) -> Failure {
    Failure::BadResponse(format!("content-length is {promised}, the body has {bytes} bytes"))
}

/// Digits, and once only: the framing of the answer hangs on it.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| values.next().is_none() && text.bytes().all(|b| b.is_ascii_digit()));
    match text.and_then(|text| text.parse().ok()) {
        Some(length) => Ok(Some(length)),
        None => Err(Failure::BadResponse(format!("content-length is {value:?}, which is not one number"))),
    }
}

fn client_went_away() -> Failure {
    Failure::BadResponse("the client went away".into())
}
