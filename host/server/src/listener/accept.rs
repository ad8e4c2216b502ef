//! Takes connections up to their limits, and closes them when the process drains.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{Door, Speaks, connection, proxy_protocol};
use crate::addresses::{AddressPermit, Addresses};

/// The limits of all outer listeners together. Cheap to clone.
#[derive(Clone)]
pub struct Limits {
    connections: Arc<Semaphore>,
    connections_max: usize,
    addresses: Addresses,
}

impl Limits {
    pub fn new(most: usize, per_address: usize, proxies: Vec<IpNet>, listeners: usize) -> Limits {
        // Each listener holds a permit while it waits for a connection.
        let connections_max = most + listeners.saturating_sub(1);
        Limits {
            connections: Arc::new(Semaphore::new(connections_max)),
            connections_max,
            addresses: Addresses::new(per_address, proxies),
        }
    }

    /// A request of a connection that has many at once counts as one more connection. `None`: there is no room.
    pub fn enter_stream(&self, peer: IpAddr) -> Option<Permit> {
        let connection = self.connections.clone().try_acquire_owned().ok()?;
        Some(Permit { _connection: connection, _address: self.addresses.enter(peer)? })
    }
}

/// For one connection, until it is dropped.
pub struct Permit {
    _connection: OwnedSemaphorePermit,
    _address: AddressPermit,
}

pub async fn accept(door: Door, speaks: Speaks, listener: TcpListener) {
    let settings = &door.settings().server;
    let Limits { connections, connections_max, addresses } = door.limits.clone();
    let (close, closing_connections) = watch::channel(false);
    let closing = async {
        door.life().drain().cancelled().await;
        tokio::time::sleep(settings.drain_delay).await;
    };
    tokio::pin!(closing);
    loop {
        let next = async {
            let permit = connections.clone().acquire_owned().await.expect("never closed");
            (permit, listener.accept().await)
        };
        let (permit, mut stream, peer) = tokio::select! {
            (permit, accepted) = next => match accepted {
                Ok((stream, peer)) => (permit, stream, peer),
                Err(err) => {
                    // Usually the process is out of descriptors until another connection closes.
                    tracing::warn!(error = %err, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = &mut closing => break,
        };
        let Some(address_permit) = enter(&addresses, peer) else { continue };
        let _ = TcpStream::set_nodelay(&stream, true);
        let (door, addresses, closing) = (door.clone(), addresses.clone(), closing_connections.clone());
        door.life().clone().spawn_work("connection", async move {
            if let Some((peer, permit)) = client(&door, speaks, &mut stream, peer, &addresses, address_permit).await {
                connection::serve(door, speaks, stream, peer, closing).await;
                drop(permit);
            }
            drop(permit);
        });
    }
    drop(listener);
    let _ = close.send(true);
    // Each connection holds a permit to its end.
    let _ = connections.acquire_many(connections_max.try_into().unwrap_or(u32::MAX)).await;
}

fn enter(addresses: &Addresses, peer: SocketAddr) -> Option<AddressPermit> {
    let permit = addresses.enter(peer.ip());
    if permit.is_none() {
        metrics::counter!("larder_connections_refused_total").increment(1);
        tracing::debug!(%peer, "an address has reached its limit of connections");
    }
    permit
}

/// The client of a connection: its peer, or whom a proxy in front names by the PROXY protocol. `None`: the connection is
/// closed.
async fn client(
    door: &Door,
    speaks: Speaks,
    stream: &mut TcpStream,
    peer: SocketAddr,
    addresses: &Addresses,
    permit: AddressPermit,
) -> Option<(SocketAddr, AddressPermit)> {
    let settings = &door.settings().server;
    if !settings.proxy_protocol || speaks == Speaks::Fronts {
        return Some((peer, permit));
    }
    if !settings.proxies.iter().any(|network| network.contains(&peer.ip().to_canonical())) {
        tracing::debug!(%peer, "a connection is not of a proxy in server.proxies, and server.proxy_protocol is set");
        return None;
    }
    match tokio::time::timeout(settings.client_timeout, proxy_protocol::client(stream)).await {
        Ok(Ok(Some(client))) => Some((client, enter(addresses, client)?)),
        Ok(Ok(None)) => Some((peer, permit)),
        Ok(Err(err)) => {
            tracing::warn!(error = %err, %peer, "a proxy's connection has no readable header of the PROXY protocol");
            None
        }
        Err(_) => None,
    }
}
