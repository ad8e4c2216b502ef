//! The body of an HTTP/2 request.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http::header::{self, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

/// What is read of it makes room for as much again: a client sends no more than the windows before somebody reads.
pub struct StreamBody {
    stream: RecvStream,
    /// What is still to come, if the head says it. The library holds the client to it.
    length: Option<u64>,
    /// Tells that somebody reads, to a client that waits for `100 Continue`.
    go_ahead: Option<oneshot::Sender<()>>,
    has_data: bool,
}

impl StreamBody {
    /// The receiver hears when somebody begins to read.
    pub fn new(stream: RecvStream, headers: &HeaderMap) -> (StreamBody, oneshot::Receiver<()>) {
        let (go_ahead, asked) = oneshot::channel();
        let length = headers.get(header::CONTENT_LENGTH).map(HeaderValue::to_str);
        let length = length.and_then(|text| text.ok()?.parse().ok());
        let has_data = !stream.is_end_stream();
        (StreamBody { stream, length, go_ahead: Some(go_ahead), has_data }, asked)
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if let Some(go_ahead) = self.go_ahead.take() {
            let _ = go_ahead.send(());
        }
        if self.has_data {
            if let Some(data) = ready!(self.stream.poll_data(cx)) {
                let data = data?;
                self.stream.flow_control().release_capacity(data.len())?;
                self.length = self.length.map(|length| length.saturating_sub(data.len() as u64));
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            self.has_data = false;
        }
        let trailers = ready!(self.stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(length) => SizeHint::with_exact(length),
            None if self.is_end_stream() => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }
}
