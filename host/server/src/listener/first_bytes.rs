//! A connection of which the first bytes were looked at.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// A stream that gives the bytes that were taken from it before what follows them.
pub struct Begun<S> {
    first: Vec<u8>,
    stream: S,
}

/// Reads as long as the stream begins like `pattern`. Says whether all of it came, and gives the stream as it was before.
/// `None`: the client closed the connection, or did not say enough in time.
pub async fn begins_with<S>(mut stream: S, pattern: &[u8], timeout: Duration) -> Option<(bool, Begun<S>)>
where
    S: AsyncRead + Unpin,
{
    let mut first = Vec::with_capacity(pattern.len());
    let all = async {
        while first.len() < pattern.len() && pattern.starts_with(&first) {
            let mut rest = (&mut stream).take((pattern.len() - first.len()) as u64);
            if rest.read_buf(&mut first).await.ok()? == 0 {
                return None;
            }
        }
        Some(first == pattern)
    };
    let is = tokio::time::timeout(timeout, all).await.ok()??;
    Some((is, Begun { first, stream }))
}

impl<S> Begun<S> {
    pub fn first(&self) -> &[u8] {
        &self.first
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let some = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first[..some]);
        self.first.drain(..some);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn what_was_looked_at_is_still_there() {
        for (sent, is) in [("PRI * more", true), ("POST /", false), ("G", false)] {
            let (mut client, server) = tokio::io::duplex(64);
            client.write_all(sent.as_bytes()).await.unwrap();
            drop(client);
            let (found, mut stream) = begins_with(server, b"PRI *", Duration::from_secs(5)).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            assert_eq!((found, text.as_str()), (is, sent));
        }
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(b"PRI").await.unwrap();
        assert!(begins_with(server, b"PRI *", Duration::from_millis(50)).await.is_none(), "it does not wait for ever");
    }
}
