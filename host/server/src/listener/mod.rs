//! The listeners: one for the web endpoint and the API, one for probes and metrics.
//!
//! * [`accept`]: takes connections up to their limits, and closes them when the process drains.
//! * [`connection`]: serves one connection.
//! * [`dispatch`]: one request → its endpoint → its answer.
//! * [`proxy_protocol`]: what a proxy says of a connection.
//! * [`internal`]: probes and metrics.

mod accept;
mod connection;
mod dispatch;
mod internal;
mod proxy_protocol;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use larder_model::settings::Server;
use tokio::net::TcpListener;

use crate::api;
use crate::app::App;

/// Renders the metrics of the process.
pub type Metrics = Arc<dyn Fn(&App) -> String + Send + Sync>;

/// The bound listeners. Connections that arrive before they are served wait in the operating system.
pub struct Listeners {
    /// Only of a process with the web role.
    outer: Option<TcpListener>,
    internal: TcpListener,
}

/// Binds the internal listener and, for the web role, the outer one. Writes the addresses back into the settings, because
/// the system chooses the port if it is 0.
pub async fn bind(settings: &mut Server, outer: bool) -> anyhow::Result<Listeners> {
    let bind = async |key: &str, at: &mut SocketAddr| {
        let listener = TcpListener::bind(*at).await.with_context(|| format!("{key}: {at} cannot be bound"))?;
        *at = listener.local_addr()?;
        anyhow::Ok(listener)
    };
    Ok(Listeners {
        outer: if outer { Some(bind("server.listen", &mut settings.listen).await?) } else { None },
        internal: bind("server.internal", &mut settings.internal).await?,
    })
}

/// What all outer connections share. Cheap to clone.
#[derive(Clone)]
struct Door {
    app: App,
    router: Router,
    /// The host of `server.root_url`.
    root: Arc<str>,
}

/// Serves the web endpoint and the API until the process drains, if it has the web role; and probes until it ends.
pub fn start(app: &App, listeners: Listeners, metrics: Metrics) -> anyhow::Result<()> {
    internal::start(app, listeners.internal, metrics);
    let Some(outer) = listeners.outer else { return Ok(()) };
    let root = app.settings.root_host().context("server.root_url has no host")?.into();
    let door = Door { router: api::router(app.clone()), root, app: app.clone() };
    app.life.spawn("web", accept::accept(door, outer));
    Ok(())
}
