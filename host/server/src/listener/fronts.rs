//! Connections of fronts to a core (`front.listen`).
//!
//! The rule: **whoever is not enrolled at this moment is not read**: the handshake refuses it, and a front that is removed, or
//! whose certificate ends, loses its connections. What a front passes on reaches only doors that are open to everybody.

use std::net::SocketAddr;
use std::time::Duration;

use larder_platform::fronts::{Known, Link, authority};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::connection::{self, Via};
use super::{Behind, Door, control};

/// A front closes what it does not use long before, so that no request meets a connection that a core closes.
pub const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long a process that drains waits for fronts to notice.
const LEAVE_MAX: Duration = Duration::from_secs(6);

/// The front by which a request has come.
#[derive(Clone)]
pub struct FromFront {
    pub link: Link,
    /// Becomes true when this process takes no more requests.
    pub closing: watch::Receiver<bool>,
}

pub async fn serve(door: Door, stream: TcpStream, peer: SocketAddr, closing: watch::Receiver<bool>) {
    let Behind::Core { app, .. } = &door.behind else { return };
    let known = &app.fronts.known;
    let accepted = async {
        let config = known.config().ok_or("the fronts are not known yet")?;
        let accepted = TlsAcceptor::from(config).accept(stream);
        match tokio::time::timeout(app.settings.server.client_timeout, accepted).await {
            Ok(accepted) => accepted.map_err(|err| err.to_string()),
            Err(_) => Err("it took too long".into()),
        }
    };
    let stream = match accepted.await {
        Ok(stream) => stream,
        Err(why) => {
            metrics::counter!("larder_front_handshakes_total", "result" => "refused").increment(1);
            return tracing::warn!(%peer, why, "a connection to front.listen was refused: {why}");
        }
    };
    let shown = stream.get_ref().1;
    let link = shown.peer_certificates().and_then(|chain| known.find(chain.first()?));
    let (Some(link), protocol) = (link, shown.alpn_protocol()) else { return };
    let is_control = protocol == Some(authority::CONTROL);
    if !is_control && protocol != Some(authority::REQUESTS) {
        return;
    }
    metrics::counter!("larder_front_handshakes_total", "result" => "ok").increment(1);
    let over = over(known, &link, app.clock.now_ms());
    let served = async {
        match is_control {
            true => control::serve(door.clone(), stream, link.clone(), closing).await,
            false => {
                let front = FromFront { link: link.clone(), closing: closing.clone() };
                connection::http1(door.clone(), stream, Via::of_front(peer, front), closing).await;
            }
        }
    };
    tokio::select! {
        () = served => {}
        () = over => tracing::info!(front = link.front.name, %peer, "a connection of a front ends: it was removed or changed, or its certificate has ended"),
    }
}

/// Waits until the front of a link is no longer enrolled as it was, or its certificate has ended.
async fn over(known: &Known, link: &Link, now_ms: i64) {
    let mut changes = known.changes();
    let left = Duration::from_millis((link.not_after_ms - now_ms).try_into().unwrap_or_default());
    let ended = tokio::time::sleep(left);
    tokio::pin!(ended);
    while known.is_current(link) {
        tokio::select! {
            () = &mut ended => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// When a connection is to end because the process drains. A front is told with the next request that it sends, and closes what
/// it does not use; until then its connection stays, or a request that is just on its way would be lost.
pub async fn left(is_of_front: bool, closing: impl Future<Output = ()>) {
    closing.await;
    if is_of_front {
        tokio::time::sleep(LEAVE_MAX).await;
    }
}
