//! HTTP/2: many requests at once by one connection.
//!
//! * this module: a connection. [`stream`]: one request of it and its answer. [`body`]: a request's body.
//!
//! The rule: **what bounds an HTTP/1.1 connection bounds a stream**, which counts as one in the limits of connections; and what
//! the streams of a connection share is bounded per connection: how many are open, how many were given up by the client, the
//! bytes of bodies that nobody reads. The library (h2) bounds heads, resets of its own, and frames that have no effect. No
//! extended CONNECT, no push.

mod body;
mod stream;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use body::StreamBody;
use bytes::Bytes;
use h2::Reason;
use h2::server::{Builder, Connection};
use larder_model::settings::Server;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Door;
use super::connection::{HEADER_BYTES_MAX, Via};
use crate::write_timeout::{Deadline, WriteTimeout};

/// What a client sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of bodies that a client may send before anybody reads them: of one request, and of a connection.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// Bytes of one answer that wait to be written to the connection.
const SEND_BUFFER_MAX: usize = 64 * 1024;
/// Requests that a client may give up, beyond as many as were answered, before its connection is ended.
const GIVEN_UP_MAX: u64 = 100;

/// Serves the requests of a connection until it ends, or until it is idle after `closing` became true.
pub async fn serve<S>(door: Door, stream: S, via: Via, mut closing: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let settings = &door.settings().server;
    let timeout = settings.client_timeout;
    let deadline = Deadline::default();
    // A client that is told why its connection ends may still be sending.
    deadline.linger();
    let stream = WriteTimeout::new(stream, timeout, deadline);
    let connection = match tokio::time::timeout(timeout, builder(settings).handshake(stream)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(err)) => return tracing::debug!(error = %err, peer = %via.peer, "a client began no HTTP/2"),
        Err(_) => return tracing::debug!(peer = %via.peer, "a client began no HTTP/2 in time"),
    };
    let streams = Arc::new(Streams::new(settings.streams_per_connection));
    if let Err(err) = drive(&door, connection, &via, &streams, timeout, &mut closing).await {
        tracing::debug!(error = %err, peer = %via.peer, "a connection broke");
    }
}

fn builder(settings: &Server) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(settings.streams_per_connection)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .max_send_buffer_size(SEND_BUFFER_MAX);
    builder
}

async fn drive<S>(
    door: &Door,
    mut connection: Connection<S, Bytes>,
    via: &Via,
    streams: &Arc<Streams>,
    timeout: Duration,
    closing: &mut watch::Receiver<bool>,
) -> Result<(), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut alarm = std::pin::pin!(tokio::time::sleep(timeout));
    let (mut leaves, mut is_calmed) = (false, false);
    loop {
        let leave = tokio::select! {
            accepted = connection.accept() => {
                let Some(accepted) = accepted else { return Ok(()) };
                let (request, mut respond) = accepted?;
                match streams.open().zip(door.limits.enter_stream(via.peer.ip())) {
                    Some((open, permit)) => {
                        let served = stream::serve(door.clone(), via.clone(), request, respond, open);
                        door.life().spawn_work("stream", async move {
                            served.await;
                            drop(permit);
                        });
                    }
                    // There is no room, or those that the client gave up have not all ended yet.
                    None => respond.send_reset(Reason::REFUSED_STREAM),
                }
                if streams.are_given_up() && !is_calmed {
                    is_calmed = true;
                    metrics::counter!("larder_http2_calmed_total").increment(1);
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                }
                false
            }
            () = async { drop(closing.wait_for(|closing| *closing).await) }, if !leaves => true,
            () = alarm.as_mut() => match streams.idle_since().map(|since| since + timeout) {
                Some(until) if until > Instant::now() => {
                    alarm.as_mut().reset(until);
                    false
                }
                // It was told, and keeps the connection.
                Some(_) if leaves => return Ok(()),
                Some(_) => true,
                None => {
                    alarm.as_mut().reset(Instant::now() + timeout);
                    false
                }
            },
        };
        if leave {
            leaves = true;
            connection.graceful_shutdown();
            alarm.as_mut().reset(Instant::now() + timeout);
        }
    }
}

/// The requests of a connection.
struct Streams {
    max: usize,
    counts: Mutex<Counts>,
    given_up: AtomicU64,
    answered: AtomicU64,
}

struct Counts {
    open: usize,
    /// When the last one ended.
    ended: Instant,
}

/// A request that is being served.
struct Open(Arc<Streams>);

impl Streams {
    fn new(max: u32) -> Streams {
        let counts = Mutex::new(Counts { open: 0, ended: Instant::now() });
        // Of those that a client gave up some are still ending while it begins as many new ones.
        Streams { max: max as usize * 2, counts, given_up: AtomicU64::new(0), answered: AtomicU64::new(0) }
    }

    fn open(self: &Arc<Streams>) -> Option<Open> {
        let mut counts = self.counts();
        (counts.open < self.max).then(|| {
            counts.open += 1;
            Open(self.clone())
        })
    }

    fn idle_since(&self) -> Option<Instant> {
        let counts = self.counts();
        (counts.open == 0).then_some(counts.ended)
    }

    /// Has the client given up too many? Each costs the work that was done for it.
    fn are_given_up(&self) -> bool {
        self.given_up.load(Relaxed) > self.answered.load(Relaxed) + GIVEN_UP_MAX
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Open {
    fn given_up(&self) {
        self.0.given_up.fetch_add(1, Relaxed);
    }

    fn answered(&self) {
        self.0.answered.fetch_add(1, Relaxed);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        counts.open -= 1;
        counts.ended = Instant::now();
    }
}
