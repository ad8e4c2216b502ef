//! Takes connections up to their limits, and closes them when the process drains.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::{Door, connection};
use crate::addresses::Addresses;

pub async fn accept(door: Door, listener: TcpListener) {
    let settings = &door.app.settings.server;
    let connections = Arc::new(Semaphore::new(settings.connections_max));
    let addresses = Addresses::new(settings.connections_per_address, settings.proxies.clone());
    let (close, closing_connections) = watch::channel(false);
    let closing = async {
        door.app.life.drain().cancelled().await;
        tokio::time::sleep(settings.drain_delay).await;
    };
    tokio::pin!(closing);
    loop {
        let next = async {
            let permit = connections.clone().acquire_owned().await.expect("never closed");
            (permit, listener.accept().await)
        };
        let (permit, stream, peer) = tokio::select! {
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
        let Some(address_permit) = addresses.enter(peer.ip()) else {
            metrics::counter!("larder_connections_refused_total").increment(1);
            tracing::debug!(%peer, "an address has reached its limit of connections");
            continue;
        };
        let _ = TcpStream::set_nodelay(&stream, true);
        let served = connection::serve(door.clone(), stream, peer, closing_connections.clone());
        door.app.life.spawn_work("connection", async move {
            served.await;
            drop((permit, address_permit));
        });
    }
    drop(listener);
    let _ = close.send(true);
    // Each connection holds a permit to its end.
    let _ = connections.acquire_many(settings.connections_max.try_into().unwrap_or(u32::MAX)).await;
}
