//! stdin of a command: the body of its request.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body;
use tokio::io::{AsyncRead, ReadBuf};
use wasmtime_wasi::cli::{IsTerminal, StdinStream};
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

use crate::call::RequestBody;

/// All streams that a guest opens share it: what one has read, the others do not see.
#[derive(Clone)]
pub(crate) struct Input(Arc<Mutex<Reading>>);

struct Reading {
    /// `None` behind its end.
    body: Option<RequestBody>,
    waiting: Bytes,
    /// Why there is no more. A body that was cut off never looks as if it had ended.
    failed: Option<String>,
}

impl Input {
    pub fn new(body: RequestBody) -> Input {
        Input(Arc::new(Mutex::new(Reading { body: Some(body), waiting: Bytes::new(), failed: None })))
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Reading {
    /// Until there is something to read, or to say.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.waiting.is_empty()
            && let Some(body) = &mut self.body
        {
            match std::task::ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => self.waiting = frame.into_data().unwrap_or_default(),
                Some(Err(err)) => {
                    self.failed = Some(err.to_string());
                    self.body = None;
                }
                None => self.body = None,
            }
        }
        Poll::Ready(())
    }

    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if !self.waiting.is_empty() {
            let length = size.min(self.waiting.len());
            return Ok(self.waiting.split_to(length));
        }
        match (&self.body, &self.failed) {
            (_, Some(why)) => Err(StreamError::LastOperationFailed(wasmtime::Error::msg(why.clone()))),
            (None, None) => Err(StreamError::Closed),
            (Some(_), None) => Ok(Bytes::new()),
        }
    }
}

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Input {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.reading().poll_ready(cx)).await
    }
}

impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.reading().read(size)
    }
}

impl AsyncRead for Input {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let mut reading = self.reading();
        std::task::ready!(reading.poll_ready(cx));
        Poll::Ready(match reading.read(to.remaining()) {
            Ok(bytes) => {
                to.put_slice(&bytes);
                Ok(())
            }
            Err(StreamError::Closed) => Ok(()),
            Err(err) => Err(std::io::Error::other(err.to_string())),
        })
    }
}
