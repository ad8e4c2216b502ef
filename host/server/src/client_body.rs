//! The body of a request as it comes from the client, and what is left of it when the answer is there.

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

/// Whoever sends nothing for so long waits for the answer.
const QUIET: Duration = Duration::from_secs(1);

/// How fast a body must come.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The longest pause, and how long a body may take before its rate is looked at.
    patience: Duration,
    /// The longest that a body may take, however fast it comes.
    most: Duration,
    /// Bytes in a second, on average.
    rate_min: u64,
    /// Of what is refused: bytes that are read and dropped.
    dropped_max: u64,
}

impl Pace {
    pub fn of(settings: &Server) -> Pace {
        Pace {
            patience: settings.client_timeout,
            most: settings.body_timeout,
            rate_min: settings.body_rate_min,
            dropped_max: settings.refused_bytes_max,
        }
    }

    /// When the next part must be here.
    fn due(&self, begun: Instant, bytes: u64) -> Instant {
        let at_rate = Duration::from_secs_f64(bytes as f64 / self.rate_min.max(1) as f64);
        (Instant::now() + self.patience).min(begun + self.patience + at_rate).min(begun + self.most)
    }
}

/// A request's body. Dropped before its end, it goes back to the listener ([`Rest`]).
pub struct ClientBody {
    body: Option<Incoming>,
    pace: Pace,
    account: Account,
    begun: Option<Instant>,
    bytes: u64,
    alarm: Option<Pin<Box<Sleep>>>,
    slow: bool,
    back: Option<oneshot::Sender<Unread>>,
}

/// What was not read.
struct Unread {
    body: Incoming,
    /// It was asked for: the client does not wait for `100 Continue` any more.
    begun: bool,
    slow: bool,
}

impl ClientBody {
    pub fn new(body: Incoming, headers: &HeaderMap, pace: Pace, account: Account) -> (ClientBody, Rest) {
        let waits = headers.get(header::EXPECT).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        // Most requests have no body.
        let (give, back) = (!body.is_end_stream()).then(oneshot::channel).unzip();
        let body =
            ClientBody { body: Some(body), pace, account, begun: None, bytes: 0, alarm: None, slow: false, back: give };
        (body, Rest { back, waits, pace })
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
            let due = this.pace.due(begun, this.bytes);
            let alarm = this.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            // While nothing comes the deadline does not move.
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
        if Instant::now() >= begun + this.pace.most {
            this.slow = true;
            return Poll::Ready(Some(Err(Fault::TooSlow)));
        }
        Poll::Ready(Some(this.account.charge(bytes).map(|()| frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Incoming::size_hint)
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

/// Where the unread part of a body comes back to.
pub struct Rest {
    /// `None`: there is no body.
    back: Option<oneshot::Receiver<Unread>>,
    /// The client sends nothing before it is asked.
    waits: bool,
    pace: Pace,
}

impl Rest {
    /// Reads and drops what the client still sends, so that it gets to read the answer: many look for one only when they
    /// have sent everything. `false`: there is more than may be dropped, so the connection cannot go on.
    pub async fn dropped(&mut self) -> bool {
        match self.back.as_mut().and_then(|back| back.try_recv().ok()) {
            Some(unread) => self.drop_it(unread).await,
            None => true,
        }
    }

    /// The same when the function that streams its answer has ended; for as long as it reads, nothing is dropped.
    pub async fn dropped_later(mut self) {
        let Some(back) = self.back.take() else { return };
        if let Ok(unread) = back.await {
            self.drop_it(unread).await;
        }
    }

    /// Is somebody still reading?
    pub fn is_read(&self) -> bool {
        self.back.as_ref().is_some_and(|back| !back.is_terminated() && back.is_empty())
    }

    async fn drop_it(&self, Unread { mut body, begun, slow }: Unread) -> bool {
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
                if bytes > self.pace.dropped_max {
                    return false;
                }
            }
        };
        tokio::time::timeout(self.pace.patience, all).await.unwrap_or(false)
    }
}
