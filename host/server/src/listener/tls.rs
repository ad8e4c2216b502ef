//! The beginning of a connection with TLS.
//!
//! The rule: **nobody holds more than a connection before the handshake ends**. It has one deadline from the first byte on, and
//! what the library keeps of it is bounded by the library (64 KiB of a client's messages).

use std::net::SocketAddr;
use std::sync::Arc;

use larder_model::doors::Host;
use larder_platform::tls::{ACME_PROTOCOL, Certificate, Proof, Shown};
use rustls::server::{Acceptor, ClientHello};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use super::first_bytes::{self, Begun};
use super::{Behind, Door};
use crate::write_timeout;

/// The first byte of a handshake.
const HANDSHAKE: u8 = 0x16;
/// What a client is told that speaks HTTP without TLS.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 52\r\n\
    connection: close\r\n\r\nThis port speaks TLS: write https:// in the address\n";

/// A client with whom TLS is spoken.
pub struct Secured {
    pub stream: TlsStream<Begun<TcpStream>>,
    /// What it was shown.
    pub certificate: Arc<Certificate>,
    pub is_http2: bool,
}

/// Shakes hands. `None`: the connection has ended.
pub async fn accept(door: &Door, stream: TcpStream, peer: SocketAddr) -> Option<Secured> {
    let timeout = door.settings().server.client_timeout;
    let (result, secured) = match tokio::time::timeout(timeout, shake_hands(door, stream)).await {
        Ok(ended) => ended,
        Err(_) => ("late", None),
    };
    metrics::counter!("larder_tls_handshakes_total", "result" => result).increment(1);
    if secured.is_none() {
        tracing::debug!(%peer, result, "there was no TLS with a client");
    }
    secured
}

async fn shake_hands(door: &Door, stream: TcpStream) -> (&'static str, Option<Secured>) {
    let timeout = door.settings().server.client_timeout;
    let Some((is_handshake, mut stream)) = first_bytes::begins_with(stream, &[HANDSHAKE], timeout).await else {
        return ("broken", None);
    };
    if !is_handshake && stream.first()[0].is_ascii_uppercase() {
        let _ = stream.write_all(PLAIN).await;
        write_timeout::linger(stream, timeout).await;
        return ("plain", None);
    }
    let Ok(start) = LazyConfigAcceptor::new(Acceptor::default(), stream).await else { return ("broken", None) };
    if let Behind::Front(front) = &door.behind
        && let Some(name) = asked_for(&start.client_hello())
    {
        front.names.learn(front, &name).await;
    }
    match choose(door, &start.client_hello()) {
        Some(Shown::Certificate(certificate)) => {
            let Ok(stream) = start.into_stream(certificate.config()).await else { return ("broken", None) };
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            ("ok", Some(Secured { stream, certificate, is_http2 }))
        }
        Some(Shown::Proof(name)) => {
            let Some(proof) = proof(door, &name).await else {
                refuse(start).await;
                return ("no proof", None);
            };
            if let Ok(mut stream) = start.into_stream(proof.config()).await {
                let _ = stream.shutdown().await;
            }
            ("proof", None)
        }
        None => {
            refuse(start).await;
            ("unknown name", None)
        }
    }
}

/// The name that a client asks for, unless it only checks it.
fn asked_for(hello: &ClientHello<'_>) -> Option<String> {
    let checks = hello.alpn().into_iter().flatten().any(|protocol| protocol == ACME_PROTOCOL);
    hello.server_name().filter(|_| !checks).map(str::to_ascii_lowercase)
}

fn choose(door: &Door, hello: &ClientHello<'_>) -> Option<Shown> {
    door.certificates().shown(hello.server_name(), hello.alpn().into_iter().flatten())
}

/// The proof of a name of ours that an authority was asked to check.
async fn proof(door: &Door, name: &str) -> Option<Proof> {
    let is_fronts = matches!(door.behind, Behind::Front(_));
    match door.certificates().challenges() {
        // A core says which names are ours to the front that asks it.
        Some(challenges) if is_fronts || door.host(name) != Host::Unknown => challenges.proof(name).await,
        _ => None,
    }
}

/// Says by an alert of TLS that there is no certificate for this client.
async fn refuse(start: StartHandshake<Begun<TcpStream>>) {
    // A fatal alert (21, of TLS 1.2 as every version writes it): unrecognized_name (112).
    const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
    let mut stream = start.io;
    let _ = stream.write_all(&ALERT).await;
    let _ = stream.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_plain_http_has_the_length_that_it_says() {
        let text = std::str::from_utf8(PLAIN).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
    }
}
