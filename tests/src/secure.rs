//! A Larder that serves TLS, and clients of it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response};
use rustls::SupportedProtocolVersion;
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::outside::Authority;
use crate::{Larder, Options, eventually};

/// The names of its certificate.
pub const NAMES: [&str; 7] = [
    "localhost",
    "demo.localhost",
    "demo-api.localhost",
    "other.localhost",
    "127.0.0.1",
    "*.functions.localhost",
    "elsewhere.example",
];

pub struct Secure {
    pub larder: Larder,
    pub authority: Authority,
    /// `127.0.0.1:PORT` of TLS, and of what sends there.
    pub address: String,
    pub redirect: String,
    folder: TempDir,
}

impl Secure {
    pub async fn start(options: Options) -> Secure {
        let (authority, folder) = (Authority::new(), crate::folder("larder-tls-"));
        let (chain, key) = authority.issue_until(&NAMES, 2099);
        write(&folder.path().join("server.pem"), &chain);
        write(&folder.path().join("server.key"), &key);
        let file = |name: &str| folder.path().join(name).to_str().expect("a path in UTF-8").to_owned();
        let options = options
            .set("LARDER_TLS__LISTEN", "127.0.0.1:0")
            .set("LARDER_TLS__REDIRECT_LISTEN", "127.0.0.1:0")
            .set("LARDER_TLS__CERTIFICATE_FILE", file("server.pem"))
            .set("LARDER_TLS__KEY_FILE", file("server.key"));
        let larder = Larder::start_with(options).await;
        let [address, redirect] = eventually("TLS to be served", async || {
            let log = larder.log();
            let line = log.lines().rfind(|line| line.contains("TLS is served"))?;
            let value = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name)).map(str::to_owned);
            Some([value("tls=")?, value("redirect=")?])
        })
        .await;
        Secure { larder, authority, address, redirect, folder }
    }

    pub fn files(&self) -> (PathBuf, PathBuf) {
        (self.folder.path().join("server.pem"), self.folder.path().join("server.key"))
    }

    /// Writes another certificate and key, one after the other.
    pub fn write(&self, (chain, key): &(String, String)) {
        let files = self.files();
        write(&files.0, chain);
        write(&files.1, key);
    }

    /// A connection to this name that offers these protocols.
    pub async fn connect(&self, name: &str, protocols: &[&str]) -> io::Result<TlsStream<TcpStream>> {
        self.connect_by(name, protocols, rustls::DEFAULT_VERSIONS).await
    }

    pub async fn connect_by(
        &self,
        name: &str,
        protocols: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::new(self.authority.client(protocols, versions)));
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        connector.connect(name, TcpStream::connect(&self.address).await?).await
    }

    /// Sends bytes as they are in HTTP/1.1 and reads to the end of the connection.
    pub async fn raw(&self, name: &str, bytes: &str) -> String {
        read_out(self.connect(name, &["http/1.1"]).await.expect("a connection"), bytes).await
    }

    /// A client of HTTP/2.
    pub async fn http2(&self, name: &str) -> SendRequest<Bytes> {
        http2(self.connect(name, &["h2", "http/1.1"]).await.expect("a connection")).await
    }
}

/// Writes a file that only its owner can read.
pub fn write(file: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(file, text).expect("a file");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("a file of ours");
}

pub async fn read_out(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &str) -> String {
    // Who has seen enough closes before everything is written.
    let _ = stream.write_all(bytes.as_bytes()).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(read.is_ok(), "the connection is still open: {answer}");
    answer
}

/// Begins HTTP/2.
pub async fn http2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(async move { drop(connection.await) });
    client
}

/// One request and its whole answer.
pub async fn ask(
    client: &SendRequest<Bytes>,
    request: Request<()>,
    body: impl Into<Bytes>,
) -> Result<Response<Bytes>, h2::Error> {
    let (body, mut client) = (body.into(), client.clone().ready().await?);
    let (answer, mut sending) = client.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        sending.send_data(body, true)?;
    }
    let (head, mut body) = answer.await?.into_parts();
    let mut all = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        all.extend_from_slice(&part);
    }
    Ok(Response::from_parts(head, all.into()))
}
