//! One connection from its first byte to its last.

use std::convert::Infallible;
use std::net::SocketAddr;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::Door;
use super::dispatch::dispatch;
use crate::write_timeout::{self, Deadline, WriteTimeout};

/// Headers of one request: number and bytes.
const HEADERS_MAX: usize = 100;
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Serves the requests of a connection until it ends, or until it is idle after `closing` became true.
pub async fn serve<S>(door: Door, stream: S, peer: SocketAddr, mut closing: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let timeout = door.app.settings.server.client_timeout;
    let deadline = Deadline::default();
    let (stream, handed_back) = WriteTimeout::new(stream, timeout, deadline.clone()).handed_back();
    let service = service_fn(move |request| {
        let (door, deadline) = (door.clone(), deadline.clone());
        async move { Ok::<_, Infallible>(dispatch(&door, peer, deadline, request).await) }
    });
    // HTTP/1.1 only: detecting HTTP/2 would wait for the first bytes without a deadline.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .max_headers(HEADERS_MAX)
        // The head is parsed before the buffer is full.
        .max_header_size(HEADER_BYTES_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // The connection hands its stream back when it is dropped at the end of this block.
    let ended = {
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = async { drop(closing.wait_for(|closing| *closing).await) } => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(err) = ended {
        tracing::debug!(error = %err, %peer, "a connection broke");
        // A malformed head is answered at once, and its client may still be sending a body.
        if err.is_parse()
            && let Ok(stream) = handed_back.await
        {
            write_timeout::linger(stream, timeout).await;
        }
    }
}
