//! The body of a request on its way through a front: passed on as it arrives, and remembered while it is small, so that a
//! request that a core has not begun can be sent to another one.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use larder_platform::bodies::Fault;
use tokio::time::Instant;

use crate::client_body::ClientBody;

/// Bytes that are remembered.
const REMEMBERED_MAX: usize = 64 * 1024;

/// One attempt to send a body. The newest one reads on where the one before has ended.
pub struct RequestBody {
    source: Source,
    number: usize,
    /// Remembered parts that were sent by this attempt.
    sent: usize,
}

/// What all attempts share. Cheap to clone.
#[derive(Clone)]
pub struct Source(Arc<Mutex<State>>);

struct State {
    body: ClientBody,
    /// The newest one. An older one, whose connection has not ended yet, gets nothing more.
    attempt: usize,
    remembered: Vec<Bytes>,
    bytes: usize,
    fault: Option<Fault>,
    moved: Instant,
}

impl Source {
    pub fn new(body: ClientBody) -> Source {
        let (remembered, moved) = (Vec::new(), Instant::now());
        Source(Arc::new(Mutex::new(State { body, attempt: 0, remembered, bytes: 0, fault: None, moved })))
    }

    pub fn attempt(&self) -> RequestBody {
        let mut state = self.state();
        state.attempt += 1;
        RequestBody { source: self.clone(), number: state.attempt, sent: 0 }
    }

    /// May another attempt be made? Not once more has come than is remembered.
    pub fn is_whole(&self) -> bool {
        let state = self.state();
        state.bytes <= REMEMBERED_MAX && state.fault.is_none()
    }

    /// Why the client's body could not be read to its end.
    pub fn fault(&self) -> Option<Fault> {
        self.state().fault
    }

    /// When the last part of it came.
    pub fn moved(&self) -> Instant {
        self.state().moved
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = &mut *self;
        let mut state = this.source.state();
        if state.attempt != this.number {
            return Poll::Ready(Some(Err(Fault::BrokeOff)));
        }
        if let Some(part) = state.remembered.get(this.sent) {
            this.sent += 1;
            return Poll::Ready(Some(Ok(Frame::data(part.clone()))));
        }
        loop {
            let polled = Pin::new(&mut state.body).poll_frame(cx);
            match &polled {
                Poll::Ready(Some(Ok(frame))) => {
                    state.moved = Instant::now();
                    // Trailers of requests are not passed on.
                    let Some(data) = frame.data_ref() else { continue };
                    state.bytes += data.len();
                    if state.bytes <= REMEMBERED_MAX {
                        let data = data.clone();
                        state.remembered.push(data);
                        this.sent += 1;
                    } else {
                        state.remembered.clear();
                    }
                }
                Poll::Ready(Some(Err(fault))) => state.fault = Some(*fault),
                Poll::Ready(None) | Poll::Pending => {}
            }
            return polled;
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.source.state();
        state.remembered.len() <= self.sent && state.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.source.state();
        let rest: usize = state.remembered.iter().skip(self.sent).map(Bytes::len).sum();
        match state.body.size_hint().exact() {
            Some(exact) => SizeHint::with_exact(exact + rest as u64),
            None => SizeHint::default(),
        }
    }
}
