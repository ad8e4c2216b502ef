//! Bodies with a size limit.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use larder_model::outgoing::{Body, Error};
use metrics::counter;

/// The bytes that may pass through one body, or through several together.
#[derive(Clone)]
pub struct Budget {
    used: Arc<AtomicU64>,
    pub max: u64,
    /// The metric label under which the bytes are counted.
    direction: Option<&'static str>,
}

impl Budget {
    pub fn new(max: u64) -> Budget {
        Budget { used: Arc::default(), max, direction: None }
    }

    pub fn counted(max: u64, direction: &'static str) -> Budget {
        Budget { direction: Some(direction), ..Budget::new(max) }
    }

    pub fn is_spent(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.max
    }

    fn spend(&self, bytes: u64) -> bool {
        if let Some(direction) = self.direction {
            counter!("larder_egress_bytes_total", "direction" => direction).increment(bytes);
        }
        self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= self.max
    }
}

/// Limits a body: it ends with an error when the budget is exceeded. `kept` lives as long as the body.
pub fn bounded<K: Send + Unpin + 'static>(
    body: Body,
    budget: Budget,
    over: impl FnOnce(u64) -> Error + Send + Unpin + 'static,
    kept: K,
) -> Body {
    Bounded { body, budget, over: Some(over), _kept: kept }.boxed_unsync()
}

struct Bounded<F, K> {
    body: Body,
    budget: Budget,
    /// `None` once the budget is exceeded.
    over: Option<F>,
    _kept: K,
}

impl<F: FnOnce(u64) -> Error + Unpin, K: Unpin> http_body::Body for Bounded<F, K> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.over.is_none() {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && !self.budget.spend(data.len() as u64)
        {
            let max = self.budget.max;
            return Poll::Ready(self.over.take().map(|over| Err(over(max))));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
