//! stdout of a command: its answer, header block first.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt;
use larder_model::outcome::Failure;
use tokio::io::AsyncWrite;
use tokio::sync::{mpsc, oneshot};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::head::{self, BLOCK_BYTES_MAX};
use crate::answer::Head;

/// What one write may carry.
const WRITE_BYTES_MAX: usize = 16 << 10;
/// Writes that wait to be taken out before the guest waits too.
const PIECES_WAITING: usize = 4;

/// All streams that a guest opens share it.
#[derive(Clone)]
pub(crate) struct Output(Arc<Mutex<Writing>>);

struct Writing {
    stage: Stage,
    /// Why the answer cannot be one.
    fault: Option<String>,
}

enum Stage {
    Block {
        bytes: Vec<u8>,
        to: oneshot::Sender<Head>,
    },
    Body(mpsc::Sender<Bytes>),
    /// Nothing is taken any more.
    Over,
}

impl Output {
    /// The head goes to `to`, as soon as its block has ended.
    pub fn new(to: oneshot::Sender<Head>) -> Output {
        Output(Arc::new(Mutex::new(Writing { stage: Stage::Block { bytes: Vec::new(), to }, fault: None })))
    }

    /// The program ended well: so its answer is complete, or there is none.
    pub fn end(&self) -> Result<(), Failure> {
        match std::mem::replace(&mut self.writing().stage, Stage::Over) {
            Stage::Body(_) | Stage::Over => Ok(()),
            Stage::Block { bytes, .. } if bytes.is_empty() => Err(Failure::BadResponse(
                "the program ended without an answer: it writes a header block (Content-Type, Status or Location), an \
                 empty line and its body to stdout"
                    .into(),
            )),
            Stage::Block { bytes, .. } => Err(Failure::BadResponse(format!(
                "the program ended in the middle of its header block, after {} bytes: an empty line ends it",
                bytes.len()
            ))),
        }
    }

    /// Why the program was ended because of what it wrote, if it was.
    pub fn fault(&self) -> Option<Failure> {
        self.writing().fault.clone().map(Failure::BadResponse)
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Writing {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        match &mut self.stage {
            Stage::Block { bytes: block, .. } => {
                let known = block.len();
                block.extend_from_slice(&bytes);
                match head::end(block, known) {
                    Some(end) if end <= BLOCK_BYTES_MAX => self.begin(end),
                    None if block.len() < BLOCK_BYTES_MAX => Ok(()),
                    Some(_) | None => {
                        Err(self.fail(format!("its header block is longer than {BLOCK_BYTES_MAX} bytes")))
                    }
                }
            }
            Stage::Body(_) if bytes.is_empty() => Ok(()),
            Stage::Body(to) => to.try_send(bytes).map_err(|err| match err {
                mpsc::error::TrySendError::Full(_) => StreamError::trap("wrote more than it may"),
                mpsc::error::TrySendError::Closed(_) => StreamError::Closed,
            }),
            Stage::Over => Err(StreamError::Closed),
        }
    }

    /// The block has ended there.
    fn begin(&mut self, end: usize) -> StreamResult<()> {
        let Stage::Block { bytes, to } = std::mem::replace(&mut self.stage, Stage::Over) else {
            unreachable!("a block ends once")
        };
        let parts = match head::parse(&bytes[..end]) {
            Ok(parts) => parts,
            Err(why) => return Err(self.fail(why)),
        };
        let (sender, receiver) = mpsc::channel(PIECES_WAITING);
        let body = Body(receiver).map_err(|never| match never {}).boxed_unsync();
        let rest = Bytes::from(bytes).split_off(end);
        // There is room: it is the first. Nobody takes the head of a call that was given up.
        let _ = sender.try_send(rest);
        let _ = to.send(Ok(Response::from_parts(parts, body)));
        self.stage = Stage::Body(sender);
        Ok(())
    }

    fn fail(&mut self, why: String) -> StreamError {
        let why = format!("the program's answer is not as CGI has it: {why}");
        self.stage = Stage::Over;
        self.fault = Some(why.clone());
        StreamError::Trap(wasmtime::Error::msg(why))
    }
}

/// What the guest has written; its end is [`Output::end`], or that the guest is gone.
struct Body(mpsc::Receiver<Bytes>);

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        let waiting = match &self.writing().stage {
            Stage::Body(to) => Some(to.clone()),
            Stage::Block { .. } | Stage::Over => None,
        };
        if let Some(to) = waiting {
            let _ = to.reserve().await;
        }
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.writing().write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        match &self.writing().stage {
            Stage::Block { .. } => Ok(WRITE_BYTES_MAX),
            Stage::Body(to) if to.is_closed() => Err(StreamError::Closed),
            Stage::Body(to) => Ok(if to.capacity() > 0 { WRITE_BYTES_MAX } else { 0 }),
            Stage::Over => Err(StreamError::Closed),
        }
    }
}

/// For interfaces that nothing links here; a guest of WASI 0.2 writes through the stream above.
impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = self.writing().write(Bytes::copy_from_slice(bytes));
        Poll::Ready(written.map(|()| bytes.len()).map_err(|err| std::io::Error::other(err.to_string())))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
