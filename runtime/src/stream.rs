//! A response body that goes on while its guest runs.
//!
//! wasi-http ends a body cleanly when the guest dies in the middle of it. Here a body ends cleanly only after the run
//! said that the guest ended well; otherwise it ends with an error, so that the client sees a broken response.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

pub struct StreamedBody {}

impl http_body::Body for StreamedBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        todo!()
    }
}
