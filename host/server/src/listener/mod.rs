//! The listeners: one for the web endpoint and the API, one for probes and metrics.
//!
//! * [`accept`]: takes connections up to their limits, and closes them when the process drains.
//! * [`connection`]: serves one connection; [`tls`] is how one begins that is encrypted, [`http2`] how one goes by which many
//!   requests come at once, [`redirect`] one that should be encrypted. [`certificate_files`]: what is presented.
//! * [`dispatch`]: one request → its endpoint → its answer.
//! * [`fronts`]: connections of fronts to a core, and [`control`]: what fronts ask for themselves.
//! * [`proxy_protocol`]: what a proxy says of a connection.
//! * [`internal`]: probes and metrics.

mod accept;
mod certificate_files;
mod connection;
mod control;
mod dispatch;
mod first_bytes;
mod fronts;
mod http2;
mod internal;
mod proxy_protocol;
mod redirect;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use http::{HeaderMap, HeaderValue, Uri};
pub(crate) use http2::StreamBody;
use larder_model::doors::{Host, Names};
use larder_model::settings::Settings;
use larder_model::time::Clock;
use larder_platform::tls::Certificates;
use larder_platform::{certificates, fronts as platform_fronts};
use larder_signals::lifecycle::Lifecycle;
use tokio::net::TcpListener;

use crate::app::App;
use crate::front::Front;
use crate::routing::{Endpoint, Entrance, NoEndpoint};
use crate::{api, console, routing};

/// Renders the metrics of the process.
pub type Metrics<A = App> = Arc<dyn Fn(&A) -> String + Send + Sync>;

/// What is spoken at a listener for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Http,
    Tls,
    /// HTTP that should be TLS.
    Redirect,
    /// What fronts speak to a core.
    Fronts,
}

/// The bound listeners. Connections that arrive before they are served wait in the operating system.
pub struct Listeners {
    /// Only of a process with the web role.
    outer: Vec<(Speaks, TcpListener)>,
    internal: TcpListener,
}

/// Binds the internal listener and, for the web role, the outer ones. Writes the addresses back into the settings, because
/// the system chooses the port if it is 0.
pub async fn bind(settings: &mut Settings, outer: bool) -> anyhow::Result<Listeners> {
    let bind = async |key: &str, at: &mut SocketAddr| {
        let listener = TcpListener::bind(*at).await.with_context(|| format!("{key}: {at} cannot be bound"))?;
        *at = listener.local_addr()?;
        anyhow::Ok(listener)
    };
    let mut listeners = Vec::new();
    if outer {
        listeners.push((Speaks::Http, bind("server.listen", &mut settings.server.listen).await?));
        if let Some(at) = &mut settings.front.listen {
            listeners.push((Speaks::Fronts, bind("front.listen", at).await?));
        }
        if let Some(at) = &mut settings.tls.listen {
            listeners.push((Speaks::Tls, bind("tls.listen", at).await?));
        }
        if let Some(at) = &mut settings.tls.redirect_listen {
            listeners.push((Speaks::Redirect, bind("tls.redirect_listen", at).await?));
        }
    }
    Ok(Listeners { outer: listeners, internal: bind("server.internal", &mut settings.server.internal).await? })
}

/// What all outer connections share. Cheap to clone.
#[derive(Clone)]
struct Door {
    behind: Behind,
    /// The host of `server.root_url`.
    root: Arc<str>,
    /// What stands behind a host in addresses with TLS: `:8443`, or nothing.
    tls_port: Arc<str>,
    /// `Strict-Transport-Security` of answers by TLS.
    hsts: Option<HeaderValue>,
    limits: accept::Limits,
}

/// Who answers what comes in.
#[derive(Clone)]
enum Behind {
    /// This process, by its API and its consoles.
    Core { app: App, router: Router, pages: Router },
    /// A core, to which this process passes it on.
    Front(Front),
}

impl Door {
    fn new(behind: Behind, settings: &Settings, listeners: usize) -> anyhow::Result<Door> {
        Ok(Door {
            root: settings.root_host().context("server.root_url has no host")?.into(),
            tls_port: tls_port(settings).into(),
            limits: accept::Limits::new(
                settings.server.connections_max,
                settings.server.connections_per_address,
                settings.server.proxies.clone(),
                listeners,
            ),
            hsts: HeaderValue::from_str(&settings.tls.hsts).ok().filter(|value| !value.is_empty()),
            behind,
        })
    }

    fn settings(&self) -> &Settings {
        match &self.behind {
            Behind::Core { app, .. } => &app.settings,
            Behind::Front(front) => &front.settings,
        }
    }

    fn life(&self) -> &Lifecycle {
        match &self.behind {
            Behind::Core { app, .. } => &app.life,
            Behind::Front(front) => &front.life,
        }
    }

    fn clock(&self) -> &Clock {
        match &self.behind {
            Behind::Core { app, .. } => &app.clock,
            Behind::Front(front) => &front.clock,
        }
    }

    fn endpoint(&self, entrance: Entrance<'_>, uri: &Uri, headers: &HeaderMap) -> Result<Endpoint, NoEndpoint> {
        routing::endpoint(self.settings(), &self.root, |name| self.domain(name), entrance, uri, headers)
    }

    /// What a name stands for.
    fn host(&self, name: &str) -> Host {
        match (Names { root: &self.root, functions: &self.settings().server.functions_domain }).host(name) {
            Host::Unknown => self.domain(name),
            known => known,
        }
    }

    /// What a name stands for that is not the installation's. A front does not know, and asks.
    fn domain(&self, name: &str) -> Host {
        match &self.behind {
            Behind::Core { app, .. } => app.directory.host(name),
            Behind::Front(_) => Host::Unknown,
        }
    }

    /// How what comes from this client comes in.
    fn entrance(&self, client: IpAddr) -> Entrance<'static> {
        match self.behind {
            Behind::Core { .. } => Entrance::Client(client),
            Behind::Front(_) => Entrance::AtFront,
        }
    }

    fn certificates(&self) -> &Certificates {
        match &self.behind {
            Behind::Core { app, .. } => &app.certificates,
            Behind::Front(front) => &front.certificates,
        }
    }
}

/// Serves the web endpoint and the API until the process drains, if it has the web role; and probes until it ends.
pub fn start(app: &App, listeners: Listeners, metrics: Metrics) -> anyhow::Result<()> {
    internal::start(app, listeners.internal, metrics);
    if listeners.outer.is_empty() {
        return Ok(());
    }
    let behind =
        Behind::Core { app: app.clone(), router: api::router(app.clone()), pages: console::router(app.clone()) };
    let own = listeners.outer.iter().filter(|(speaks, _)| *speaks != Speaks::Fronts).count();
    let door = Door::new(behind, &app.settings, own)?;
    if let Some(at) = app.settings.front.listen {
        app.life.spawn("fronts", platform_fronts::watch(app.fronts.clone()));
        tracing::info!(fronts = %at, "fronts are listened to");
    }
    if !app.settings.acme.directory.is_empty() {
        certificates::answer(app);
    }
    if app.settings.tls.listen.is_some() && !app.settings.acme.directory.is_empty() {
        app.life.spawn("stored certificates", certificates::present(app.sealer.clone()));
    }
    accept(&door, listeners.outer)
}

/// Passes on what comes in until the process drains; and serves probes until it ends.
pub fn start_front(front: &Front, listeners: Listeners, metrics: Metrics<Front>) -> anyhow::Result<()> {
    crate::front::internal::start(front, listeners.internal, metrics);
    let door = Door::new(Behind::Front(front.clone()), &front.settings, listeners.outer.len())?;
    accept(&door, listeners.outer)
}

fn accept(door: &Door, listeners: Vec<(Speaks, TcpListener)>) -> anyhow::Result<()> {
    let settings = door.settings();
    if let Some(at) = settings.tls.listen {
        if !settings.tls.certificate_file.as_os_str().is_empty() {
            let presented = certificate_files::load(door)?;
            door.life().spawn("certificate files", certificate_files::watch(door.clone(), presented));
        }
        let redirect = settings.tls.redirect_listen.map(tracing::field::display);
        tracing::info!(tls = %at, redirect, "TLS is served");
    }
    for (speaks, listener) in listeners {
        let mut door = door.clone();
        if speaks == Speaks::Fronts {
            // Their connections are counted by themselves: a front that is taken over shuts nobody out of the other listeners.
            let front = &door.settings().front;
            door.limits = accept::Limits::new(front.connections_max, front.connections_per_address, vec![], 1);
        }
        door.life().clone().spawn("web", accept::accept(door, speaks, listener));
    }
    Ok(())
}

/// That of `server.root_url` if it is an address with TLS, for a proxy may stand before the listener; else the listener's.
fn tls_port(settings: &Settings) -> String {
    let root: Option<Uri> = settings.server.root_url.parse().ok().filter(|url: &Uri| url.scheme_str() == Some("https"));
    let port = match root {
        Some(root) => root.port_u16(),
        None => settings.tls.listen.map(|at| at.port()),
    };
    port.filter(|port| *port != 443).map(|port| format!(":{port}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_tls_is_the_one_that_users_know() {
        for (root, listen, expected) in [
            ("https://bank.test", "0.0.0.0:8443", ""),
            ("https://bank.test:444", "0.0.0.0:8443", ":444"),
            ("https://bank.test:443", "0.0.0.0:8443", ""),
            ("http://bank.test:8080", "0.0.0.0:8443", ":8443"),
            ("http://bank.test:8080", "[::]:443", ""),
        ] {
            let overrides = [
                ("server.root_url", root.to_owned()),
                ("tls.listen", listen.to_owned()),
                ("tls.certificate_file", "server.pem".to_owned()),
                ("tls.key_file", "server.key".to_owned()),
            ];
            assert_eq!(tls_port(&Settings::load(None, &overrides).unwrap()), expected, "{root} {listen}");
        }
    }
}
