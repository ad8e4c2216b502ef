//! One connection from its first byte to its last.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use larder_platform::tls::Certificate;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::dispatch::dispatch;
use super::fronts::FromFront;
use super::{Door, Speaks, first_bytes, fronts, http2, redirect, tls};
use crate::client_body::Received;
use crate::front::told;
use crate::write_timeout::{self, Deadline, WriteTimeout};

/// Headers of one request: number and bytes.
pub const HEADERS_MAX: usize = 100;
pub const HEADER_BYTES_MAX: usize = 64 * 1024;

/// How a request came.
#[derive(Clone)]
pub struct Via {
    pub peer: SocketAddr,
    /// What the client was shown, if it speaks TLS.
    pub certificate: Option<Arc<Certificate>>,
    /// The front by which it came, if it did.
    pub front: Option<FromFront>,
    /// Of the answer.
    pub deadline: Deadline,
}

impl Via {
    fn new(peer: SocketAddr, certificate: Option<Arc<Certificate>>) -> Via {
        Via { peer, certificate, front: None, deadline: Deadline::default() }
    }

    pub fn of_front(peer: SocketAddr, front: FromFront) -> Via {
        Via { front: Some(front), ..Via::new(peer, None) }
    }
}

/// Serves a connection until it ends, or until it is idle after `closing` became true.
pub async fn serve(door: Door, speaks: Speaks, stream: TcpStream, peer: SocketAddr, closing: watch::Receiver<bool>) {
    let settings = &door.settings().server;
    match speaks {
        Speaks::Http if settings.http2_prior_knowledge => {
            let begun = first_bytes::begins_with(stream, http2::PREFACE, settings.client_timeout).await;
            match begun {
                Some((true, stream)) => http2::serve(door, stream, Via::new(peer, None), closing).await,
                Some((false, stream)) => http1(door, stream, Via::new(peer, None), closing).await,
                None => tracing::debug!(%peer, "a connection ended before it said what it speaks"),
            }
        }
        Speaks::Http => http1(door, stream, Via::new(peer, None), closing).await,
        Speaks::Tls => {
            if let Some(tls::Secured { stream, certificate, is_http2 }) = tls::accept(&door, stream, peer).await {
                let via = Via::new(peer, Some(certificate));
                match is_http2 {
                    true => http2::serve(door, stream, via, closing).await,
                    false => http1(door, stream, via, closing).await,
                }
            }
        }
        Speaks::Redirect => redirect::serve(door, stream, peer).await,
        Speaks::Fronts => fronts::serve(door, stream, peer, closing).await,
    }
}

/// Of HTTP/1.1, with the bounds of a head.
pub fn builder(head_timeout: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_headers(HEADERS_MAX)
        // The head is parsed before the buffer is full.
        .max_header_size(HEADER_BYTES_MAX)
        .max_buf_size(HEADER_BYTES_MAX);
    builder
}

pub async fn http1<S>(door: Door, stream: S, via: Via, mut closing: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (timeout, peer) = (door.settings().server.client_timeout, via.peer);
    let (stream, handed_back) = WriteTimeout::new(stream, timeout, via.deadline.clone()).handed_back();
    let is_of_front = via.front.is_some();
    let mut builder = builder(if is_of_front { fronts::IDLE_MAX } else { timeout });
    if is_of_front {
        // What a front adds to a head that is as large as it may be.
        let bytes = HEADER_BYTES_MAX + told::BYTES_MAX;
        builder.max_headers(HEADERS_MAX + told::FIELDS_MAX).max_header_size(bytes).max_buf_size(bytes);
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let (door, via) = (door.clone(), via.clone());
        async move { Ok::<_, Infallible>(dispatch(&door, via, request.map(Received::Http1)).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    // The connection hands its stream back when it is dropped at the end of this block.
    let ended = {
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = fronts::left(is_of_front, async { drop(closing.wait_for(|closing| *closing).await) }) => {
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
