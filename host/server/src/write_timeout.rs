//! A client's connection that does not wait for ever.
//!
//! A client that takes nothing of what is written to it for `patience`, or not all of an answer until its deadline, is
//! cut off: otherwise whoever reads slowly enough keeps answers in memory and connections open at no cost.

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

/// When the answer that is being written must have been taken, and whether its client may still be sending. Whoever makes
/// the answer sets it.
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

    /// After this answer the connection ends, and what the client still sends is read and dropped for a while: closing
    /// a connection with unread bytes takes the answer away from the client.
    pub fn linger(&self) {
        self.0.lingers.store(true, Relaxed);
    }

    fn get(&self) -> Option<Instant> {
        *self.0.at.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

pub struct Patient<S> {
    /// `None` once it has been handed back.
    stream: Option<S>,
    /// Who gets the stream back when the connection is dropped.
    hand_back: Option<oneshot::Sender<S>>,
    patience: Duration,
    deadline: Deadline,
    /// Since when the client has taken nothing.
    stalled: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
    /// What has been dropped since the end of the answer; `None` before it.
    lingered: Option<u64>,
}

/// Bytes that are read and dropped from a client that goes on sending after its answer.
const LINGER_BYTES_MAX: u64 = 64 << 20;
const DROPPED_AT_ONCE: usize = 16 << 10;

impl<S> Patient<S> {
    pub fn new(stream: S, patience: Duration, deadline: Deadline) -> Patient<S> {
        let stream = Some(stream);
        Patient { stream, hand_back: None, patience, deadline, stalled: None, alarm: None, lingered: None }
    }

    /// The stream comes back through the channel when the connection is dropped.
    pub fn handed_back(mut self) -> (Patient<S>, oneshot::Receiver<S>) {
        let (hand_back, back) = oneshot::channel();
        self.hand_back = Some(hand_back);
        (self, back)
    }

    /// What a write came to, unless it has waited for too long.
    fn wait<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let deadline = self.deadline.get();
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the client did not take its answer in time")));
        }
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = *self.stalled.get_or_insert_with(Instant::now) + self.patience;
        let until = deadline.map_or(stalled, |deadline| deadline.min(stalled));
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if alarm.deadline() != until {
            alarm.as_mut().reset(until);
        }
        ready!(alarm.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the client takes nothing of its answer")))
    }
}

impl<S: Unpin> Patient<S> {
    fn stream(&mut self) -> Pin<&mut S> {
        Pin::new(self.stream.as_mut().expect("it is handed back only at the end"))
    }
}

impl<S> Drop for Patient<S> {
    fn drop(&mut self) {
        if let (Some(hand_back), Some(stream)) = (self.hand_back.take(), self.stream.take()) {
            let _ = hand_back.send(stream);
        }
    }
}

/// Ends a connection whose client was answered and may still be sending: what it sends is read and dropped for as long as
/// `patience`, within bounds.
pub async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin, patience: Duration) {
    let until = Instant::now() + patience;
    let mut bytes = vec![0; DROPPED_AT_ONCE];
    let mut dropped = 0;
    let _ = stream.shutdown().await;
    while dropped <= LINGER_BYTES_MAX {
        match tokio::time::timeout_at(until, stream.read(&mut bytes)).await {
            Ok(Ok(read)) if read > 0 => dropped += read as u64,
            _ => return,
        }
    }
}

impl<S: AsyncRead + Unpin> Patient<S> {
    /// Reads and drops until the client closes too, or has had its time.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; DROPPED_AT_ONCE];
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

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<S> {
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
            this.alarm = Some(Box::pin(tokio::time::sleep(this.patience)));
        }
        this.poll_linger(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(300);

    fn pair(deadline: &Deadline) -> (Patient<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (server, client) = tokio::io::duplex(16);
        (Patient::new(server, PATIENCE, deadline.clone()), client)
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_cut_off_and_a_slow_one_is_not() {
        let (mut server, mut client) = pair(&Deadline::default());
        let slowly = async {
            let mut bytes = [0; 16];
            for _ in 0..4 {
                tokio::time::sleep(PATIENCE / 2).await;
                client.read_exact(&mut bytes).await.unwrap();
            }
            client
        };
        let (written, client) = tokio::join!(server.write_all(&[7; 64]), slowly);
        written.unwrap();
        let begun = Instant::now();
        assert_eq!(server.write_all(&[7; 64]).await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(begun.elapsed() >= PATIENCE);
        drop(client);
    }

    #[tokio::test]
    async fn an_answer_has_a_deadline_however_steadily_it_is_read() {
        let deadline = Deadline::default();
        let (mut server, mut client) = pair(&deadline);
        let begun = Instant::now();
        deadline.set(Some(begun + PATIENCE));
        let steadily = async {
            let mut byte = [0; 1];
            while client.read(&mut byte).await.is_ok_and(|read| read > 0) {
                tokio::time::sleep(PATIENCE / 20).await;
            }
        };
        let cut = async {
            let cut = server.write_all(&[7; 1_000]).await.unwrap_err();
            let took = begun.elapsed();
            drop(server);
            (cut.kind(), took)
        };
        let ((kind, took), ()) = tokio::join!(cut, steadily);
        assert!(kind == ErrorKind::TimedOut && took >= PATIENCE, "{kind} after {took:?}");
    }
}
