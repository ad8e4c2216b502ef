//! stdout and stderr of a guest: kept up to one bound for both, counted beyond it.
//!
//! The rule: **logging never fails a guest**. A full log goes on accepting, and drops.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use larder_model::outcome::Logs;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// What one write may carry. Small, because a guest can make the host allocate this much with one call.
const WRITE_BYTES_MAX: usize = 16 << 10;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Collects both streams.
pub struct Collector {
    bound: u64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    dropped_bytes: u64,
    /// The stream that ran over first, which carries the marker.
    overran: Option<Stream>,
}

impl Collector {
    pub fn new(bound: u64) -> Collector {
        Collector { bound, kept: Mutex::default() }
    }

    pub fn write(&self, stream: Stream, bytes: &[u8]) {
        let mut kept = self.kept();
        let room = self.bound.saturating_sub((kept.stdout.len() + kept.stderr.len()) as u64);
        let fits = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        match stream {
            Stream::Stdout => kept.stdout.extend_from_slice(&bytes[..fits]),
            Stream::Stderr => kept.stderr.extend_from_slice(&bytes[..fits]),
        }
        if fits < bytes.len() {
            kept.dropped_bytes += (bytes.len() - fits) as u64;
            kept.overran.get_or_insert(stream);
        }
    }

    /// Takes everything out.
    pub fn take(&self) -> Logs {
        let kept = std::mem::take(&mut *self.kept());
        let mut logs = Logs { stdout: text(kept.stdout), stderr: text(kept.stderr), dropped_bytes: kept.dropped_bytes };
        let marked = match kept.overran {
            Some(Stream::Stdout) => &mut logs.stdout,
            Some(Stream::Stderr) => &mut logs.stderr,
            None => return logs,
        };
        if !marked.is_empty() && !marked.ends_with('\n') {
            marked.push('\n');
        }
        marked.push_str(&format!(
            "[larder: log limit log_bytes of {} reached, {} bytes dropped]\n",
            self.bound, kept.dropped_bytes
        ));
        logs
    }

    /// The last lines of stderr, where languages put the message of an exception that nobody caught.
    pub fn last_words(&self) -> Option<String> {
        const BYTES_MAX: usize = 1_000;
        let kept = self.kept();
        let tail = &kept.stderr[kept.stderr.len().saturating_sub(BYTES_MAX)..];
        let tail = String::from_utf8_lossy(tail);
        let lines: Vec<&str> = tail.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines[lines.len().saturating_sub(5)..].join("\n");
        (!last.is_empty()).then_some(last)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A bound may cut a character in two: its first half is left out rather than replaced.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|err| {
        let cut = err.utf8_error();
        if cut.error_len().is_none() {
            let mut bytes = err.into_bytes();
            bytes.truncate(cut.valid_up_to());
            String::from_utf8_lossy(&bytes).into_owned()
        } else {
            String::from_utf8_lossy(err.as_bytes()).into_owned()
        }
    })
}

/// One stream as WASI sees it.
#[derive(Clone)]
pub struct Sink {
    pub stream: Stream,
    pub logs: Arc<Collector>,
}

impl IsTerminal for Sink {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Sink {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Sink {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.logs.write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[async_trait::async_trait]
impl Pollable for Sink {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Sink {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.logs.write(self.stream, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bound_holds_for_both_streams_and_what_is_beyond_is_counted_and_marked() {
        let logs = Collector::new(10);
        logs.write(Stream::Stdout, b"12345678");
        logs.write(Stream::Stderr, "aåb".as_bytes());
        logs.write(Stream::Stdout, b"more");
        let taken = logs.take();
        assert_eq!(taken.stdout, "12345678");
        // Two bytes were left: `a` and the first half of `å`, which is not shown.
        assert_eq!(taken.stderr, "a\n[larder: log limit log_bytes of 10 reached, 6 bytes dropped]\n");
        assert_eq!(taken.dropped_bytes, 6);
    }

    #[test]
    fn invalid_text_is_replaced() {
        let logs = Collector::new(100);
        logs.write(Stream::Stdout, b"a\xffb");
        assert_eq!(logs.take().stdout, "a\u{fffd}b");
    }
}
