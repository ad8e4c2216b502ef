//! Sends one DNS query to one server.
//!
//! hickory would drive a connection in a background task. Here each query has its own socket or connection, which lives in the
//! future that waits for the response: there are no tasks, and dropping a lookup closes everything.

use std::future::{Ready, ready};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt, once};
use hickory_resolver::config::{ConnectionConfig, ProtocolConfig};
use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{DnsUdpSocket, RuntimeProvider, Spawn, TokioRuntimeProvider, TokioTime};
use hickory_resolver::net::tcp::TcpClientStream;
use hickory_resolver::net::udp::UdpClientStream;
use hickory_resolver::net::xfer::{DnsHandle, DnsRequestSender};
use hickory_resolver::net::{DnsMultiplexer, NetError};
use hickory_resolver::proto::op::{DnsRequest, DnsResponse};
use hickory_resolver::{ConnectionProvider, PoolContext};
use tokio::io::ReadBuf;
use tokio::net::{TcpStream, UdpSocket};

/// Creates a [`NameServer`] for each address that a resolver queries.
#[derive(Clone)]
pub struct Transport;

impl ConnectionProvider for Transport {
    type Conn = NameServer;
    type FutureConn = Ready<Result<NameServer, NetError>>;
    type RuntimeProvider = Sockets;

    fn new_connection(
        &self,
        ip: IpAddr,
        config: &ConnectionConfig,
        pool: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        let address = SocketAddr::new(ip, config.port);
        let over_tcp = config.protocol == ProtocolConfig::Tcp;
        Ok(ready(Ok(NameServer { address, over_tcp, timeout: pool.options.timeout })))
    }

    fn runtime_provider(&self) -> &Sockets {
        &Sockets
    }
}

#[derive(Clone)]
pub struct NameServer {
    address: SocketAddr,
    over_tcp: bool,
    timeout: Duration,
}

impl DnsHandle for NameServer {
    type Response = BoxStream<'static, Result<DnsResponse, NetError>>;
    type Runtime = Sockets;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let server = self.clone();
        if server.over_tcp {
            return once(server.ask_by_tcp(request)).boxed();
        }
        // Sent once: who asks again asks another server.
        let socket = UdpClientStream::builder(server.address, Sockets).with_timeout(Some(server.timeout));
        socket.with_max_retries(1).build().send_message(request).boxed()
    }
}

impl NameServer {
    async fn ask_by_tcp(self, request: DnsRequest) -> Result<DnsResponse, NetError> {
        let (connecting, sender) = TcpClientStream::new(self.address, None, Some(self.timeout), Sockets);
        let mut connection = DnsMultiplexer::new(connecting.await?, sender).with_timeout(self.timeout);
        let mut answer = connection.send_message(request);
        let answered = std::future::poll_fn(|cx| {
            // The waiting query receives the error that ends the connection.
            let _ = connection.poll_next_unpin(cx);
            answer.poll_next_unpin(cx)
        });
        answered.await.unwrap_or(Err(NetError::Timeout))
    }
}

/// Sockets of this process, and no tasks.
#[derive(Clone)]
pub struct Sockets;

impl Spawn for Sockets {
    fn spawn_bg(&mut self, _: impl Future<Output = ()> + Send + 'static) {
        unreachable!("nothing of a look-up runs in the background");
    }
}

impl RuntimeProvider for Sockets {
    type Handle = Sockets;
    type Timer = TokioTime;
    type Udp = Connected;
    type Tcp = AsyncIoTokioAsStd<TcpStream>;

    fn create_handle(&self) -> Sockets {
        Sockets
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        local: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> BoxFuture<'static, io::Result<Self::Tcp>> {
        TokioRuntimeProvider::new().connect_tcp(server, local, timeout)
    }

    fn bind_udp(&self, local: SocketAddr, server: SocketAddr) -> BoxFuture<'static, io::Result<Connected>> {
        Box::pin(async move {
            let socket = UdpSocket::bind(local).await?;
            socket.connect(server).await?;
            Ok(Connected { socket, server })
        })
    }
}

/// Hears its server only, and at once that nothing listens there.
pub struct Connected {
    socket: UdpSocket,
    server: SocketAddr,
}

impl DnsUdpSocket for Connected {
    type Time = TokioTime;

    fn poll_recv_from(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(self.socket.poll_recv(cx, &mut buffer))?;
        Poll::Ready(Ok((buffer.filled().len(), self.server)))
    }

    fn poll_send_to(&self, cx: &mut Context<'_>, bytes: &[u8], _: SocketAddr) -> Poll<io::Result<usize>> {
        self.socket.poll_send(cx, bytes)
    }
}
