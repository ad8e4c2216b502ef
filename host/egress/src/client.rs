//! Sends one request to one destination, with all checks.
//!
//! A call has no task of its own. Its connection is driven by the future that waits for the response head, and then by the
//! response body, which owns it. Dropping either closes the connection. After a complete body the connection returns to the
//! pool.

use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use larder_model::ids::PartnerId;
use larder_model::net::address::is_public;
use larder_model::net::authority::Host;
use larder_model::net::{hop_by_hop, http_rule};
use larder_model::outgoing::{Body, Error};
use larder_model::{Scheme, settings};
use larder_signals::tls::Authorities;
use metrics::counter;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::body::{Budget, bounded};
use crate::pool::{Connection, Key, Pool, Transport};
use crate::resolve::Resolver;
use crate::{Destination, Times};

/// The maximum size of a response head.
const HEAD_BYTES_MAX: usize = 32 << 10;
const HEADERS_MAX: usize = 128;
/// The maximum number of body bytes that are read ahead.
const BUFFER_BYTES: usize = 64 << 10;

/// Headers that only a proxy or the host may set.
const NOT_FORWARDED: [&str; 11] = [
    "host",
    "expect",
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-prefix",
    "x-forwarded-server",
    "x-real-ip",
];

/// The HTTP client of the process. Clones share their state.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    resolver: Resolver,
    private: Vec<IpNet>,
    tls: TlsConnector,
    authorities: Authorities,
    pool: Arc<Pool>,
    body_bytes_max: u64,
}

/// Why there is no response: the request was not sent and can be sent again, or the call failed.
enum SendError {
    Unsent(Box<Request<Body>>),
    Failed(Error),
}

impl Client {
    pub fn new(settings: &settings::Egress) -> anyhow::Result<Client> {
        let networks =
            settings.private_networks.iter().map(|text| http_rule::network(text).map_err(anyhow::Error::msg));
        // Besides those of the system.
        let (mut tls, authorities) = larder_signals::tls::client(&settings.ca_file, true).context("egress.ca_file")?;
        tracing::info!("certificate authorities trusted for outgoing calls: {authorities}");
        tls.alpn_protocols = vec![b"http/1.1".into()];
        Ok(Client(Arc::new(Shared {
            resolver: Resolver::new(settings.dns_servers.clone()),
            private: networks.collect::<Result<_, _>>().context("egress.private_networks")?,
            tls: TlsConnector::from(Arc::new(tls)),
            authorities,
            pool: Pool::new(settings.connections_max, settings.connections_per_partner, settings.idle_timeout),
            body_bytes_max: settings.body_bytes_max,
        })))
    }

    /// The trusted certificate authorities.
    pub fn authorities(&self) -> Authorities {
        self.0.authorities
    }

    /// Sends the request and returns the response once its head has arrived. Only the path and query of the URI are used.
    pub async fn send(
        &self,
        partner: &PartnerId,
        to: &Destination,
        request: Request<Body>,
        times: &Times,
    ) -> Result<Response<Body>, Error> {
        let deadline = Instant::now() + times.total;
        let request = self.prepare(to, request)?;
        let key = Key { partner: partner.clone(), to: to.clone() };
        let answer = timeout_at(deadline, self.exchange(key, request, times, deadline)).await;
        let answer = answer.unwrap_or_else(|_| Err(too_long(times)));
        let result = match &answer {
            Ok(response) => match response.status().as_u16() / 100 {
                2 => "2xx",
                3 => "3xx",
                4 => "4xx",
                5 => "5xx",
                _ => "other",
            },
            Err(err) => err.kind(),
        };
        counter!("larder_egress_requests_total", "result" => result).increment(1);
        answer
    }

    /// A connection to this destination, without TLS and outside of the pool: whoever opens it bounds how many there are.
    pub async fn open(&self, to: &Destination, times: &Times) -> Result<TcpStream, Error> {
        let until = Instant::now() + times.connect;
        timeout_at(until, self.reach(to, until)).await.unwrap_or_else(|_| Err(not_connected(to, times)))
    }

    /// All addresses of a name.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Error> {
        self.0.resolver.lookup(name).await
    }

    /// The name that a name is an alias of (CNAME), if it is one.
    pub async fn alias(&self, name: &str) -> Result<Option<String>, Error> {
        self.0.resolver.alias(name).await
    }

    /// The texts of a name (TXT).
    pub async fn texts(&self, name: &str) -> Result<Vec<String>, Error> {
        self.0.resolver.texts(name).await
    }

    /// Closes idle connections until the process drains.
    pub async fn tend(self, drain: CancellationToken) {
        let pool = &self.0.pool;
        while !drain.is_cancelled() {
            pool.sweep(pool.idle_timeout());
            tokio::select! {
                () = tokio::time::sleep(pool.idle_timeout() / 2) => {}
                () = drain.cancelled() => {}
            }
        }
        pool.sweep(std::time::Duration::ZERO);
    }

    fn prepare(&self, to: &Destination, request: Request<Body>) -> Result<Request<Body>, Error> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        // An absolute form would address another host than the connected one.
        if !path.starts_with('/') {
            return Err(Error::BadUri(format!("{path:?} is no path")));
        }
        head.uri = Uri::try_from(path).map_err(|err| Error::BadUri(err.to_string()))?;
        head.version = Version::HTTP_11;
        strip(&mut head.headers);
        let host = HeaderValue::from_str(&to.authority()).map_err(|err| Error::BadUri(err.to_string()))?;
        head.headers.insert(header::HOST, host);
        let over = |max| {
            Error::RequestTooLarge(format!("the request's body has more than {max} bytes (egress.body_bytes_max)"))
        };
        let body = bounded(body, Budget::counted(self.0.body_bytes_max, "out"), over, ());
        Ok(Request::from_parts(head, body))
    }

    async fn exchange(
        &self,
        key: Key,
        mut request: Request<Body>,
        times: &Times,
        deadline: Instant,
    ) -> Result<Response<Body>, Error> {
        let (mut connection, response) = loop {
            let (connection, fresh) = match self.0.pool.take(&key) {
                Some(connection) => (connection, false),
                None => (self.connect(&key, times).await?, true),
            };
            match head(connection, request, times).await {
                Ok(answered) => break answered,
                // The server closed an idle connection; no byte of the request was sent.
                Err(SendError::Unsent(unsent)) if !fresh => request = *unsent,
                Err(SendError::Unsent(_)) => {
                    return Err(Error::Incomplete("the server closed the connection at once".into()));
                }
                Err(SendError::Failed(err)) => return Err(err),
            }
        };
        let (mut head, incoming) = response.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::Protocol("the server switches protocols, which was not requested".into()));
        }
        if hop_by_hop::is_coded(&head.headers) {
            return Err(Error::Protocol("the answer has a transfer coding, which was not requested".into()));
        }
        strip(&mut head.headers);
        std::future::poll_fn(|cx| {
            connection.drive(cx);
            Poll::Ready(())
        })
        .await;
        let mut received = Received {
            incoming,
            owned: Some((key, connection)),
            pool: self.0.pool.clone(),
            times: *times,
            deadline: Box::pin(sleep_until(deadline)),
            silence: None,
            failed: false,
        };
        if received.incoming.is_end_stream() {
            received.settle();
        }
        let over = |max| {
            Error::ResponseTooLarge(format!("the answer's body has more than {max} bytes (egress.body_bytes_max)"))
        };
        let body = bounded(received.boxed_unsync(), Budget::counted(self.0.body_bytes_max, "in"), over, ());
        Ok(Response::from_parts(head, body))
    }

    async fn connect(&self, key: &Key, times: &Times) -> Result<Connection, Error> {
        let slot = self.0.pool.admit(&key.partner)?;
        let until = Instant::now() + times.connect;
        let connecting = async {
            let stream = self.reach(&key.to, until).await?;
            let _ = stream.set_nodelay(true);
            let transport: Box<dyn Transport> = match key.to.scheme {
                Scheme::Http => Box::new(stream),
                Scheme::Https => {
                    let name = match &key.to.host {
                        Host::Name(name) => {
                            ServerName::try_from(name.clone()).map_err(|err| Error::BadUri(err.to_string()))?
                        }
                        Host::Address(address) => ServerName::IpAddress((*address).into()),
                    };
                    let stream = self.0.tls.connect(name, stream).await;
                    Box::new(stream.map_err(|err| Error::Tls(format!("no TLS with {}: {err}", key.to.host)))?)
                }
            };
            http1::Builder::new()
                .max_headers(HEADERS_MAX)
                .max_header_size(HEAD_BYTES_MAX)
                .max_buf_size(BUFFER_BYTES)
                .handshake(TokioIo::new(transport))
                .await
                .map_err(explain)
        };
        let connected = timeout_at(until, connecting).await.unwrap_or_else(|_| Err(not_connected(&key.to, times)));
        let (sender, driver) = connected?;
        Ok(Connection::new(sender, driver, slot))
    }

    /// Resolves the name once, checks every address, and connects to one of them.
    async fn reach(&self, to: &Destination, until: Instant) -> Result<TcpStream, Error> {
        let addresses = match &to.host {
            Host::Name(name) => self.0.resolver.lookup(name).await?,
            Host::Address(address) => vec![*address],
        };
        for address in &addresses {
            self.check(to, *address)?;
        }
        let mut last = String::new();
        for (index, address) in addresses.iter().enumerate() {
            // An address that does not answer leaves time for the others.
            let left = (addresses.len() - index) as u32;
            let deadline = Instant::now() + until.saturating_duration_since(Instant::now()) / left;
            match timeout_at(deadline, TcpStream::connect(SocketAddr::new(*address, to.port))).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(err)) => last = err.to_string(),
                Err(_) => last = "no answer".into(),
            }
        }
        Err(Error::Unreachable(format!("{} cannot be connected to: {last}", to.authority())))
    }

    /// Allows public addresses, and private networks that both the grant and the operator name.
    fn check(&self, to: &Destination, address: IpAddr) -> Result<(), Error> {
        // Networks are written in this form.
        let address = address.to_canonical();
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        if is_public(address) || (within(&to.networks) && within(&self.0.private)) {
            return Ok(());
        }
        let host = &to.host;
        Err(Error::Prohibited(if within(&to.networks) {
            format!("{host} is at {address}, and the operator allows no such private network (egress.private_networks)")
        } else {
            format!("{host} is at {address}, which is not public and in no network that was granted")
        }))
    }
}

/// Sends the request on this connection and waits for the response head.
async fn head(
    mut connection: Connection,
    request: Request<Body>,
    times: &Times,
) -> Result<(Connection, Response<Incoming>), SendError> {
    let mut answer = pin!(connection.sender.try_send_request(request));
    let answered = std::future::poll_fn(|cx| {
        connection.drive(cx);
        answer.as_mut().poll(cx)
    });
    match tokio::time::timeout(times.first_byte, answered).await {
        Ok(Ok(response)) => Ok((connection, response)),
        Ok(Err(mut err)) => Err(match err.take_message() {
            Some(unsent) => SendError::Unsent(Box::new(unsent)),
            None => SendError::Failed(explain(err.into_error())),
        }),
        Err(_) => Err(SendError::Failed(Error::Timeout(format!(
            "the answer did not begin within {} ms",
            times.first_byte.as_millis()
        )))),
    }
}

/// A response body, with its connection.
struct Received {
    incoming: Incoming,
    /// The connection, until the body has ended.
    owned: Option<(Key, Connection)>,
    pool: Arc<Pool>,
    times: Times,
    deadline: Pin<Box<Sleep>>,
    /// Runs only while the reader waits: a slow reader is not the server's fault.
    silence: Option<Pin<Box<Sleep>>>,
    failed: bool,
}

impl Received {
    /// Returns the connection to the pool after the body has ended, if the connection is clean.
    fn settle(&mut self) {
        if let Some((key, connection)) = self.owned.take()
            && connection.is_free()
        {
            self.pool.put(key, connection);
        }
    }

    fn fail(&mut self, err: Error) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.failed = true;
        self.owned = None;
        counter!("larder_egress_bodies_broken_total", "reason" => err.kind()).increment(1);
        Poll::Ready(Some(Err(err)))
    }
}

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if this.failed {
            return Poll::Ready(None);
        }
        if let Some((_, connection)) = &mut this.owned {
            connection.drive(cx);
        }
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.silence = None;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(err))) => this.fail(explain(err)),
            Poll::Ready(None) => {
                if let Some((_, connection)) = &mut this.owned {
                    connection.drive(cx);
                }
                this.settle();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let between = this.times.between_bytes;
                if this.deadline.as_mut().poll(cx).is_ready() {
                    let err = too_long(&this.times);
                    return this.fail(err);
                }
                let silence = this.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(between)));
                if silence.as_mut().poll(cx).is_ready() {
                    return this.fail(Error::Timeout(format!(
                        "no part of the answer's body arrived for {} ms",
                        between.as_millis()
                    )));
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.failed || self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Removes hop-by-hop headers and headers that only a proxy may set.
pub(super) fn strip(headers: &mut HeaderMap) {
    hop_by_hop::strip(headers);
    for name in NOT_FORWARDED {
        headers.remove(name);
    }
}

fn not_connected(to: &Destination, times: &Times) -> Error {
    Error::ConnectTimeout(format!("no connection to {} within {} ms", to.authority(), times.connect.as_millis()))
}

fn too_long(times: &Times) -> Error {
    Error::Timeout(format!("the call was not over within {} ms", times.total.as_millis()))
}

fn explain(err: hyper::Error) -> Error {
    let mut source = std::error::Error::source(&err);
    while let Some(cause) = source {
        // The request body has failed with an error of our own.
        if let Some(own) = cause.downcast_ref::<Error>() {
            return own.clone();
        }
        source = cause.source();
    }
    if err.is_parse_too_large() {
        return Error::Protocol(format!(
            "the head of the answer has more than {HEAD_BYTES_MAX} bytes or {HEADERS_MAX} headers"
        ));
    }
    let text = match std::error::Error::source(&err) {
        Some(cause) => format!("{err}: {cause}"),
        None => err.to_string(),
    };
    if err.is_parse() {
        return Error::Protocol(format!("the answer is not valid HTTP: {text}"));
    }
    Error::Incomplete(format!("the connection ended before the answer was complete: {text}"))
}
