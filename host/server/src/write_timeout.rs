//! Write timeouts of a client's connection.
//!
//! A client is disconnected if it reads nothing for `timeout`, or has not read the whole answer by its deadline. Otherwise
//! slow readers would hold answers in memory and connections open at no cost.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

/// The time by which the client must have read the current answer, and whether the client may still be sending. The code
/// that makes the answer sets both.
#[derive(Clone, Default)]
pub struct Deadline(Arc<State>);

#[derive(Default)]
struct State {
    at: Mutex<Option<Instant>>,
    lingers: AtomicBool,
}

impl Deadline {
    pub fn set(&self, at: Option<Instant>) {
        *self.0.at.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = at;
    }

    /// Closes the connection after this answer. What the client still sends is read and discarded for a while, because
    /// closing a connection with unread bytes resets it, and the client may lose the answer.
    pub fn linger(&self) {
        self.0.lingers.store(true, Relaxed);
    }

    pub fn get(&self) -> Option<Instant> {
        *self.0.at.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A stream whose writes time out.
pub struct WriteTimeout<S> {
    /// `None` once it has been handed back.
    stream: Option<S>,
    /// The receiver gets the stream when the connection is dropped.
    hand_back: Option<oneshot::Sender<S>>,
    timeout: Duration,
    deadline: Deadline,
    /// Since when the client has read nothing.
    stalled: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
    /// Bytes discarded since the end of the answer; `None` before it.
    lingered: Option<u64>,
}

/// Bytes that are read and discarded from a client that continues to send after its answer.
const LINGER_BYTES_MAX: u64 = 64 << 20;
const DISCARD_BUFFER_BYTES: usize = 16 << 10;

impl<S> WriteTimeout<S> {
    pub fn new(stream: S, timeout: Duration, deadline: Deadline) -> WriteTimeout<S> {
        let stream = Some(stream);
        WriteTimeout { stream, hand_back: None, timeout, deadline, stalled: None, alarm: None, lingered: None }
    }

    /// Returns the stream through the channel when the connection is dropped.
    pub fn handed_back(mut self) -> (WriteTimeout<S>, oneshot::Receiver<S>) {
        let (hand_back, back) = oneshot::channel();
        self.hand_back = Some(hand_back);
        (self, back)
    }

    /// The result of a write, or an error if it has waited for too long.
    fn wait<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let deadline = self.deadline.get();
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the client did not read its answer in time")));
        }
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = *self.stalled.get_or_insert_with(Instant::now) + self.timeout;
        let until = deadline.map_or(stalled, |deadline| deadline.min(stalled));
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if alarm.deadline() != until {
            alarm.as_mut().reset(until);
        }
        ready!(alarm.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the client stopped reading its answer")))
    }
}

impl<S: Unpin> WriteTimeout<S> {
    fn stream(&mut self) -> Pin<&mut S> {
        Pin::new(self.stream.as_mut().expect("it is handed back only at the end"))
    }
}

impl<S> Drop for WriteTimeout<S> {
    fn drop(&mut self) {
        if let (Some(hand_back), Some(stream)) = (self.hand_back.take(), self.stream.take()) {
            let _ = hand_back.send(stream);
        }
    }
}

/// Closes a connection whose client was answered and may still be sending. What it sends is read and discarded for up to
/// `timeout` and [`LINGER_BYTES_MAX`].
pub async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin, timeout: Duration) {
    let until = Instant::now() + timeout;
    let mut bytes = vec![0; DISCARD_BUFFER_BYTES];
    let mut dropped = 0;
    let _ = stream.shutdown().await;
    while dropped <= LINGER_BYTES_MAX {
        match tokio::time::timeout_at(until, stream.read(&mut bytes)).await {
            Ok(Ok(read)) if read > 0 => dropped += read as u64,
            _ => return,
        }
    }
}

impl<S: AsyncRead + Unpin> WriteTimeout<S> {
    /// Reads and discards until the client closes its side or the timeout ends.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; DISCARD_BUFFER_BYTES];
        while self.alarm.as_mut().is_some_and(|alarm| alarm.as_mut().poll(cx).is_pending()) {
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(self.stream().poll_read(cx, &mut buffer));
            let dropped = buffer.filled().len() as u64;
            let all = self.lingered.insert(self.lingered.unwrap_or_default() + dropped);
            if read.is_err() || dropped == 0 || *all > LINGER_BYTES_MAX {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write(cx, bytes);
        self.wait(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write_vectored(cx, parts);
        self.wait(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.stream().poll_flush(cx);
        self.wait(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingered.is_none() {
            ready!(this.stream().poll_shutdown(cx))?;
            if !this.deadline.0.lingers.load(Relaxed) {
                return Poll::Ready(Ok(()));
            }
            this.lingered = Some(0);
            this.alarm = Some(Box::pin(tokio::time::sleep(this.timeout)));
        }
        this.poll_linger(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(300);

    fn pair(deadline: &Deadline) -> (WriteTimeout<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (server, client) = tokio::io::duplex(16);
        (WriteTimeout::new(server, TIMEOUT, deadline.clone()), client)
    }

    #[tokio::test]
    async fn a_stalled_client_is_disconnected_and_a_slow_one_is_not() {
        let (mut server, mut client) = pair(&Deadline::default());
        let slowly = async {
            let mut bytes = [0; 16];
            for _ in 0..4 {
                tokio::time::sleep(TIMEOUT / 2).await;
                client.read_exact(&mut bytes).await.unwrap();
            }
            client
        };
        let (written, client) = tokio::join!(server.write_all(&[7; 64]), slowly);
        written.unwrap();
        let begun = Instant::now();
        assert_eq!(server.write_all(&[7; 64]).await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(begun.elapsed() >= TIMEOUT);
        drop(client);
    }

    #[tokio::test]
    async fn an_answer_has_a_deadline_even_if_it_is_read_steadily() {
        let deadline = Deadline::default();
        let (mut server, mut client) = pair(&deadline);
        let begun = Instant::now();
        deadline.set(Some(begun + TIMEOUT));
        let steadily = async {
            let mut byte = [0; 1];
            while client.read(&mut byte).await.is_ok_and(|read| read > 0) {
                tokio::time::sleep(TIMEOUT / 20).await;
            }
        };
        let cut = async {
            let cut = server.write_all(&[7; 1_000]).await.unwrap_err();
            let took = begun.elapsed();
            drop(server);
            (cut.kind(), took)
        };
        let ((kind, took), ()) = tokio::join!(cut, steadily);
        assert!(kind == ErrorKind::TimedOut && took >= TIMEOUT, "{kind} after {took:?}");
    }
}
