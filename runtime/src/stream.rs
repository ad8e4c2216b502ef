//! A response body that is sent while its guest runs.
//!
//! wasi-http ends a body cleanly when the guest fails in the middle of it. Here a body ends cleanly only after the run
//! said that the guest ended well; otherwise it ends with an error, so that the client sees a broken response.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::sync::mpsc;

/// Bytes of one write of the guest; it may be two such writes ahead of us.
pub const CHUNK_BYTES: usize = 64 << 10;
/// Pieces of up to [`CHUNK_BYTES`] that wait for a slow client before the guest waits too.
const PIECES_WAITING: usize = 4;

/// The receiving end; what is sent into it comes from [`channel`].
pub struct StreamedBody {
    parts: mpsc::Receiver<Part>,
    /// What is here already and still to be handed on; empty if nothing is.
    waiting: Bytes,
    /// What comes after the last byte.
    trailers: Option<HeaderMap>,
    ended: bool,
}

enum Part {
    Data(Bytes),
    /// The guest ended well, and this was left of its body.
    End(Bytes, Option<HeaderMap>),
}

/// The run's end of a streamed body. Dropping it without [`Feed::end`] breaks the body.
pub struct Feed {
    parts: mpsc::Sender<Part>,
    /// The slot for the end is reserved from the start, so that a finished run never waits for a slow client.
    end: mpsc::OwnedPermit<Part>,
}

/// A body that begins with these bytes.
pub fn channel(first: Bytes) -> (Feed, StreamedBody) {
    let (sender, receiver) = mpsc::channel(PIECES_WAITING + 1);
    let end = sender.clone().try_reserve_owned().unwrap_or_else(|_| unreachable!("the channel is new"));
    (Feed { parts: sender, end }, StreamedBody { parts: receiver, waiting: first, trailers: None, ended: false })
}

impl Feed {
    /// Room for one piece, `None` if nobody reads any more. May be dropped unfinished.
    pub async fn ready(&self) -> Option<Slot<'_>> {
        self.parts.reserve().await.map(Slot).ok()
    }

    pub async fn gone(&self) {
        self.parts.closed().await;
    }

    pub fn end(self, rest: Bytes, trailers: Option<HeaderMap>) {
        self.end.send(Part::End(rest, trailers));
    }
}

pub struct Slot<'a>(mpsc::Permit<'a, Part>);

impl Slot<'_> {
    pub fn send(self, data: Bytes) {
        self.0.send(Part::Data(data))
    }
}

impl http_body::Body for StreamedBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        loop {
            if !self.waiting.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.waiting)))));
            }
            if self.ended {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            match std::task::ready!(self.parts.poll_recv(cx)) {
                Some(Part::Data(data)) => self.waiting = data,
                Some(Part::End(rest, trailers)) => {
                    self.waiting = rest;
                    self.trailers = trailers;
                    self.ended = true;
                }
                None => return Poll::Ready(Some(Err("the function died in the middle of its answer".into()))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn body_ends_cleanly_only_if_the_guest_succeeded() {
        let (feed, body) = channel(Bytes::from_static(b"zero "));
        let Some(slot) = feed.ready().await else { panic!("nobody reads") };
        slot.send(Bytes::from_static(b"one "));
        let trailers = HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))]);
        feed.end(Bytes::from_static(b"two"), Some(trailers.clone()));
        let whole = body.collect().await.unwrap();
        assert_eq!(whole.trailers(), Some(&trailers));
        assert_eq!(whole.to_bytes(), "zero one two");

        let (feed, body) = channel(Bytes::new());
        let Some(slot) = feed.ready().await else { panic!("nobody reads") };
        slot.send(Bytes::from_static(b"one "));
        drop(feed);
        assert!(body.collect().await.is_err());
    }
}
