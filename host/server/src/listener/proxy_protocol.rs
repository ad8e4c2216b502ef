//! The PROXY protocol, versions 1 and 2: what a proxy says of a connection before its first byte. Specified by HAProxy,
//! "The PROXY protocol", 2020/03/05.

use std::io;
use std::net::SocketAddr;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Section 2.1: a line of at most 107 characters. The shortest, `PROXY UNKNOWN\r\n`, has 15.
const LINE_MAX: usize = 107;
const LINE_MIN: usize = 15;
/// Section 2.2: what every header of version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family and length.
const FIXED: usize = 16;
/// Bytes after those that are read, fields of the proxy's own among them.
const FURTHER_MAX: usize = 4096;

/// Reads the header and not a byte more: the client that it names, or `None` if the proxy speaks for itself (`LOCAL`,
/// `UNKNOWN`).
pub async fn client(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; LINE_MIN];
    stream.read_exact(&mut header).await?;
    if header.starts_with(SIGNATURE) {
        header.push(stream.read_u8().await?);
        let further = usize::from(u16::from_be_bytes([header[FIXED - 2], header[FIXED - 1]]));
        if further > FURTHER_MAX {
            return Err(invalid("a header of version 2 is too long"));
        }
        header.resize(FIXED + further, 0);
        stream.read_exact(&mut header[FIXED..]).await?;
    } else {
        while !header.ends_with(b"\r\n") {
            if header.len() == LINE_MAX || !header.starts_with(b"PROXY ") {
                return Err(invalid("the connection begins with no header of the PROXY protocol"));
            }
            header.push(stream.read_u8().await?);
        }
    }
    let (parsed, _) = ProxyHeader::parse(&header, ParseConfig::default()).map_err(io::Error::other)?;
    Ok(parsed.proxied_address().map(|address| address.source))
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version_2(command: u8, family: u8, further: &[u8]) -> Vec<u8> {
        [SIGNATURE, &[0x20 | command, family], &(further.len() as u16).to_be_bytes(), further].concat()
    }

    #[tokio::test]
    async fn a_header_names_the_client_and_nothing_after_it_is_read() {
        let four = [203, 0, 113, 9, 10, 0, 0, 1, 0x1f, 0x90, 0, 80];
        let unique_id = [5, 0, 2, b'a', b'b'];
        let six = [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]; 2].concat();
        for (header, expected) in [
            (b"PROXY TCP4 203.0.113.9 10.0.0.1 8080 80\r\n".to_vec(), Ok(Some("203.0.113.9:8080"))),
            (b"PROXY TCP6 2001:db8::9 ::1 8080 80\r\n".to_vec(), Ok(Some("[2001:db8::9]:8080"))),
            (b"PROXY UNKNOWN\r\n".to_vec(), Ok(None)),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), Ok(None)),
            (version_2(1, 0x11, &four), Ok(Some("203.0.113.9:8080"))),
            (version_2(1, 0x11, &[&four[..], &unique_id].concat()), Ok(Some("203.0.113.9:8080"))),
            (version_2(1, 0x21, &[&six[..], &[0x1f, 0x90, 0, 80]].concat()), Ok(Some("[2001:db8::9]:8080"))),
            (version_2(0, 0, &[]), Ok(None)),
            (version_2(1, 0x11, &four[..11]), Err(())),
            (version_2(1, 0x11, &[0; FURTHER_MAX + 1]), Err(())),
            (b"GET / HTTP/1.1\r\nhost: demo.localhost\r\n\r\n".to_vec(), Err(())),
            (b"PROXY TCP4 203.0.113.9 10.0.0.1 8080\r\n".to_vec(), Err(())),
            (b"PROXY TCP4 example.com 10.0.0.1 8080 80\r\n".to_vec(), Err(())),
            (format!("PROXY TCP4 203.0.113.9 10.0.0.1 8080 {}\r\n", "8".repeat(80)).into_bytes(), Err(())),
            (b"PROXY TCP4".to_vec(), Err(())),
        ] {
            let with_more = [&header[..], b"GET /"].concat();
            let mut stream = &with_more[..];
            let found = client(&mut stream).await;
            let expected = expected.map(|address| address.map(|address| address.parse().unwrap()));
            assert_eq!(found.map_err(|_| ()), expected, "{}", header.escape_ascii());
            if expected.is_ok() {
                assert_eq!(stream, b"GET /");
            }
        }
    }
}
