//! The body of a request as it comes from the client, and its unread part once the answer is ready.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use larder_model::settings::Server;
use larder_platform::bodies::{Account, Fault};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use crate::listener::StreamBody;

/// A body as the library of its protocol gives it.
pub enum Received {
    Http1(Incoming),
    Http2(StreamBody),
}

impl Body for Received {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Received::Http1(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Received::Http2(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Received::Http1(body) => body.is_end_stream(),
            Received::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Received::Http1(body) => body.size_hint(),
            Received::Http2(body) => body.size_hint(),
        }
    }
}

/// A client that sends nothing for so long is taken to wait for the answer.
const QUIET: Duration = Duration::from_secs(1);

/// How fast a request body must arrive, and how much of a refused one is discarded.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// The longest pause, and the time before the rate of a body is checked.
    pause_max: Duration,
    /// The longest time that a body may take at any rate.
    duration_max: Duration,
    /// The lowest average rate, in bytes per second.
    rate_min: u64,
    /// Bytes of a refused body that are read and discarded.
    discarded_bytes_max: u64,
}

impl BodyLimits {
    pub fn of(settings: &Server) -> BodyLimits {
        BodyLimits {
            pause_max: settings.client_timeout,
            duration_max: settings.body_timeout,
            rate_min: settings.body_rate_min,
            discarded_bytes_max: settings.refused_bytes_max,
        }
    }

    /// When the next part must have arrived.
    fn due(&self, begun: Instant, bytes: u64) -> Instant {
        let at_rate = Duration::from_secs_f64(bytes as f64 / self.rate_min.max(1) as f64);
        (Instant::now() + self.pause_max).min(begun + self.pause_max + at_rate).min(begun + self.duration_max)
    }
}

/// The body of a request. If it is dropped before its end, the listener gets the rest ([`UnreadBody`]).
pub struct ClientBody {
    body: Option<Received>,
    limits: BodyLimits,
    account: Account,
    begun: Option<Instant>,
    bytes: u64,
    alarm: Option<Pin<Box<Sleep>>>,
    slow: bool,
    back: Option<oneshot::Sender<Unread>>,
}

/// The part of a body that was not read.
struct Unread {
    body: Received,
    /// Reading has begun, so the client no longer waits for `100 Continue`.
    begun: bool,
    slow: bool,
}

impl ClientBody {
    pub fn new(body: Received, headers: &HeaderMap, limits: BodyLimits, account: Account) -> (ClientBody, UnreadBody) {
        let waits = headers.get(header::EXPECT).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        // Most requests have no body.
        let (give, back) = (!body.is_end_stream()).then(oneshot::channel).unzip();
        let body = ClientBody {
            body: Some(body),
            limits,
            account,
            begun: None,
            bytes: 0,
            alarm: None,
            slow: false,
            back: give,
        };
        (body, UnreadBody { back, waits, limits })
    }

    pub fn account(&self) -> &Account {
        &self.account
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let begun = *this.begun.get_or_insert_with(Instant::now);
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
            let due = this.limits.due(begun, this.bytes);
            let alarm = this.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            // The deadline does not move while nothing arrives.
            ready!(alarm.as_mut().poll(cx));
            this.slow = true;
            return Poll::Ready(Some(Err(Fault::TooSlow)));
        };
        this.alarm = None;
        let Some(frame) = frame else {
            this.back = None;
            return Poll::Ready(None);
        };
        let Ok(frame) = frame else {
            this.back = None;
            return Poll::Ready(Some(Err(Fault::BrokeOff)));
        };
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        this.bytes += bytes;
        if Instant::now() >= begun + this.limits.duration_max {
            this.slow = true;
            return Poll::Ready(Some(Err(Fault::TooSlow)));
        }
        Poll::Ready(Some(this.account.charge(bytes).map(|()| frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Received::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Received::size_hint)
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        if let (Some(back), Some(body)) = (self.back.take(), self.body.take())
            && !body.is_end_stream()
        {
            let _ = back.send(Unread { body, begun: self.begun.is_some(), slow: self.slow });
        }
    }
}

/// Receives the unread part of a body.
pub struct UnreadBody {
    /// `None`: there is no body.
    back: Option<oneshot::Receiver<Unread>>,
    /// The client waits for `100 Continue` before it sends the body.
    waits: bool,
    limits: BodyLimits,
}

impl UnreadBody {
    /// Reads and discards what the client still sends: many clients read the answer only after they have sent everything.
    /// `false`: there is more than may be discarded, so the connection must be closed.
    pub async fn discard(&mut self) -> bool {
        match self.back.as_mut().and_then(|back| back.try_recv().ok()) {
            Some(unread) => self.discard_body(unread).await,
            None => true,
        }
    }

    /// The same once the function that streams its answer has ended. While it reads, nothing is discarded.
    pub async fn discard_later(mut self) {
        let Some(back) = self.back.take() else { return };
        if let Ok(unread) = back.await {
            self.discard_body(unread).await;
        }
    }

    /// Is the body still being read?
    pub fn is_read(&self) -> bool {
        self.back.as_ref().is_some_and(|back| !back.is_terminated() && back.is_empty())
    }

    async fn discard_body(&self, Unread { mut body, begun, slow }: Unread) -> bool {
        if slow || (self.waits && !begun) {
            return false;
        }
        let all = async {
            let mut bytes = 0;
            loop {
                match tokio::time::timeout(QUIET, body.frame()).await {
                    Ok(Some(Ok(frame))) => bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
                    Ok(None) => return true,
                    Ok(Some(Err(_))) | Err(_) => return false,
                }
                if bytes > self.limits.discarded_bytes_max {
                    return false;
                }
            }
        };
        tokio::time::timeout(self.limits.pause_max, all).await.unwrap_or(false)
    }
}
