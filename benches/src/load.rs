//! A small client that costs little beside what it measures: the request is bytes made beforehand, the answer is parsed in
//! place, and all connections share one thread. It speaks HTTP/1.1, with TLS if it is told to, and HTTP/2 with TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use h2::client::SendRequest;
use larder_tests::secure::{ask, http2};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The largest answer that is expected.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// What is below HTTP, and which HTTP that is.
#[derive(Clone, Default)]
pub enum Over {
    #[default]
    Plain,
    /// The client's protocols by ALPN say whether it is HTTP/1.1 or HTTP/2.
    Tls(Arc<ClientConfig>),
}

/// One connection that is kept alive.
pub struct Connection(Speaks);

enum Speaks {
    Plain(Http1<TcpStream>),
    Tls(Box<Http1<TlsStream<TcpStream>>>),
    Http2(SendRequest<Bytes>),
}

impl Connection {
    pub async fn open(address: SocketAddr) -> anyhow::Result<Connection> {
        Connection::open_over(address, &Over::Plain).await
    }

    pub async fn open_over(address: SocketAddr, over: &Over) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(address).await.with_context(|| address.to_string())?;
        stream.set_nodelay(true)?;
        let Over::Tls(config) = over else { return Ok(Connection(Speaks::Plain(Http1::new(stream)))) };
        let name = ServerName::try_from("demo.localhost")?;
        let stream = TlsConnector::from(config.clone()).connect(name, stream).await?;
        Ok(Connection(match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Speaks::Http2(http2(stream).await),
            _ => Speaks::Tls(Box::new(Http1::new(stream))),
        }))
    }

    pub async fn call(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        match &mut self.0 {
            Speaks::Plain(connection) => connection.call(request).await,
            Speaks::Tls(connection) => connection.call(request).await,
            Speaks::Http2(client) => {
                let answer = ask(client, as_http2(request)?, "").await?;
                Ok(Answer { status: answer.status().as_u16(), body: answer.into_body().into() })
            }
        }
    }
}

/// A request without a body that was made for HTTP/1.1.
fn as_http2(request: &[u8]) -> anyhow::Result<http::Request<()>> {
    let text = std::str::from_utf8(request)?;
    let path = text.strip_prefix("GET ").and_then(|rest| rest.split(' ').next()).context("no GET")?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("no host")?;
    Ok(http::Request::get(format!("https://{host}{path}")).body(())?)
}

struct Http1<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http1<S> {
    fn new(stream: S) -> Http1<S> {
        Http1 { stream, buffer: Vec::with_capacity(4 << 10) }
    }

    async fn call(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection after {} bytes", self.buffer.len());
            }
            if let Some(answer) = parse(&self.buffer)? {
                return Ok(answer);
            }
            if self.buffer.len() > ANSWER_BYTES_MAX {
                bail!("an answer of more than {ANSWER_BYTES_MAX} bytes");
            }
        }
    }
}

/// `POST` of JSON to the API, as the backend of a partner would.
pub fn post(path: &str, key: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /v1{path} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-appwrite-project: demo\r\nx-appwrite-key: {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// `GET` of a path at the web endpoint of partner `demo`.
pub fn get(path: &str) -> Vec<u8> {
    get_at("demo", path)
}

pub fn get_at(partner: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {partner}.localhost\r\n\r\n").into_bytes()
}

/// An answer that is all there; `None` while it is not.
fn parse(bytes: &[u8]) -> anyhow::Result<Option<Answer>> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).context("the head is not text")?;
    let rest = &bytes[end + 4..];
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .with_context(|| format!("not a status line: {status_line:?}"))?;
    let mut length = None;
    let mut chunked = false;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<usize>().with_context(|| format!("content-length {value:?}"))?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.trim().eq_ignore_ascii_case("chunked");
        }
    }
    let body = match (chunked, length) {
        (true, _) => dechunked(rest)?,
        (false, Some(length)) => rest.get(..length).map(<[u8]>::to_vec),
        (false, None) => bail!("an answer without length: {head}"),
    };
    Ok(body.map(|body| Answer { status, body }))
}

fn dechunked(mut bytes: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let Some(end) = find(bytes, b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&bytes[..end])?;
        let size = usize::from_str_radix(size, 16).with_context(|| format!("a chunk of size {size:?}"))?;
        let Some(chunk) = bytes.get(end + 2..end + 2 + size + 2) else { return Ok(None) };
        if size == 0 {
            return Ok(Some(body));
        }
        body.extend(&chunk[..size]);
        bytes = &bytes[end + 2 + size + 2..];
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// What came of a run against one server.
pub struct Done {
    pub per_second: f64,
    /// Of each request.
    pub nanos: Vec<u64>,
}

/// Whether an answer is the one that is expected.
pub type Check = fn(&Answer) -> bool;

fn expect(answer: &Answer, check: Check) -> anyhow::Result<()> {
    if !check(answer) {
        bail!("answered {} with {:?}", answer.status, String::from_utf8_lossy(&answer.body));
    }
    Ok(())
}

/// Sends requests for so long, one after the other over each connection, which has its share of them in turn.
pub fn run(
    address: SocketAddr,
    requests: Vec<Vec<u8>>,
    connections: usize,
    check: Check,
    time: Duration,
) -> anyhow::Result<Done> {
    run_over(&Over::Plain, address, requests, connections, check, time)
}

/// The same over something else.
pub fn run_over(
    over: &Over,
    address: SocketAddr,
    requests: Vec<Vec<u8>>,
    connections: usize,
    check: Check,
    time: Duration,
) -> anyhow::Result<Done> {
    let loader = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    loader.block_on(async {
        let mut open = Vec::new();
        for at in 0..connections {
            let own: Vec<_> = requests.iter().skip(at).step_by(connections).cloned().collect();
            open.push((Connection::open_over(address, over).await?, own));
        }
        let begun = Instant::now();
        let tasks: JoinSet<anyhow::Result<Vec<u64>>> = open
            .into_iter()
            .map(|(mut connection, own)| async move {
                let mut nanos = Vec::new();
                while begun.elapsed() < time {
                    let sent = Instant::now();
                    let answer = connection.call(&own[nanos.len() % own.len()]).await?;
                    nanos.push(sent.elapsed().as_nanos() as u64);
                    expect(&answer, check)?;
                }
                Ok(nanos)
            })
            .collect();
        let nanos = all(tasks, time).await?;
        Ok(Done { per_second: nanos.len() as f64 / begun.elapsed().as_secs_f64(), nanos })
    })
}

/// Sends the same request so often in a second, whether or not earlier ones are answered, over the first connection that is free.
/// Gives how long each took from when it was to be sent: what waits for a connection is not left out.
pub fn at_rate(
    address: SocketAddr,
    request: Vec<u8>,
    check: Check,
    connections: usize,
    per_second: f64,
    time: Duration,
) -> anyhow::Result<Vec<u64>> {
    let (to, due) = mpsc::unbounded_channel::<Instant>();
    // A thread of its own: timers of the loader's runtime have milliseconds.
    let clock = std::thread::spawn(move || {
        let begun = Instant::now();
        for at in (0..(per_second * time.as_secs_f64()) as u64).map(|n| Duration::from_secs_f64(n as f64 / per_second))
        {
            if let Some(early) = at.checked_sub(begun.elapsed()) {
                std::thread::sleep(early);
            }
            if to.send(begun + at).is_err() {
                return;
            }
        }
    });
    let loader = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let nanos = loader.block_on(async {
        let due = Arc::new(Mutex::new(due));
        let mut tasks: JoinSet<anyhow::Result<Vec<u64>>> = JoinSet::new();
        for _ in 0..connections {
            let (mut connection, due, request) = (Connection::open(address).await?, due.clone(), request.clone());
            tasks.spawn(async move {
                let mut nanos = Vec::new();
                loop {
                    let next = due.lock().await.recv().await;
                    let Some(sent) = next else { return Ok(nanos) };
                    let answer = connection.call(&request).await?;
                    nanos.push(sent.elapsed().as_nanos() as u64);
                    expect(&answer, check)?;
                }
            });
        }
        all(tasks, time).await
    });
    clock.join().map_err(|_| anyhow::Error::msg("the clock panicked"))?;
    nanos
}

/// What all of the tasks measured.
async fn all(mut tasks: JoinSet<anyhow::Result<Vec<u64>>>, time: Duration) -> anyhow::Result<Vec<u64>> {
    let mut nanos = Vec::new();
    let all = async {
        while let Some(done) = tasks.join_next().await {
            nanos.extend(done.context("a connection's task")??);
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(time + PATIENCE, all).await.context("an answer did not come")??;
    Ok(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Option<Vec<u8>> {
        parse(text.as_bytes()).unwrap().map(|answer| answer.body)
    }

    #[test]
    fn an_answer_is_taken_when_it_is_whole() {
        let sized = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
        for text in [sized, chunked] {
            assert_eq!(body(text).as_deref(), Some(&b"hello"[..]));
            (0..text.len()).for_each(|cut| assert_eq!(body(&text[..cut]), None, "{cut}"));
        }
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(parse(b"nonsense\r\n\r\n").is_err());
    }
}
