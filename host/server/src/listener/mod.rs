//! The listeners: one for the web endpoint and the API, one for probes and metrics.
//!
//! * [`accept`]: takes connections up to their limits, and closes them when the process drains.
//! * [`connection`]: serves one connection; [`tls`] is how one begins that is encrypted, [`http2`] how one goes by which many
//!   requests come at once, [`redirect`] one that should be encrypted. [`certificate_files`]: what is presented.
//! * [`dispatch`]: one request → its endpoint → its answer.
//! * [`proxy_protocol`]: what a proxy says of a connection.
//! * [`internal`]: probes and metrics.

mod accept;
mod certificate_files;
mod connection;
mod dispatch;
mod first_bytes;
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
use larder_platform::certificates;
use tokio::net::TcpListener;

use crate::app::App;
use crate::routing::{Endpoint, NoEndpoint};
use crate::{api, console, routing};

/// Renders the metrics of the process.
pub type Metrics = Arc<dyn Fn(&App) -> String + Send + Sync>;

/// What is spoken at a listener for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Http,
    Tls,
    /// HTTP that should be TLS.
    Redirect,
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
    app: App,
    router: Router,
    /// The consoles.
    pages: Router,
    /// The host of `server.root_url`.
    root: Arc<str>,
    /// What stands behind a host in addresses with TLS: `:8443`, or nothing.
    tls_port: Arc<str>,
    /// `Strict-Transport-Security` of answers by TLS.
    hsts: Option<HeaderValue>,
    limits: accept::Limits,
}

impl Door {
    fn endpoint(&self, client: IpAddr, uri: &Uri, headers: &HeaderMap) -> Result<Endpoint, NoEndpoint> {
        routing::endpoint(&self.app.settings, &self.root, |name| self.app.directory.host(name), client, uri, headers)
    }

    /// What a name stands for.
    fn host(&self, name: &str) -> Host {
        let names = Names { root: &self.root, functions: &self.app.settings.server.functions_domain };
        match names.host(name) {
            Host::Unknown => self.app.directory.host(name),
            known => known,
        }
    }
}

/// Serves the web endpoint and the API until the process drains, if it has the web role; and probes until it ends.
pub fn start(app: &App, listeners: Listeners, metrics: Metrics) -> anyhow::Result<()> {
    internal::start(app, listeners.internal, metrics);
    if listeners.outer.is_empty() {
        return Ok(());
    }
    let door = Door {
        router: api::router(app.clone()),
        pages: console::router(app.clone()),
        root: app.settings.root_host().context("server.root_url has no host")?.into(),
        tls_port: tls_port(&app.settings).into(),
        limits: accept::Limits::new(&app.settings.server, listeners.outer.len()),
        hsts: HeaderValue::from_str(&app.settings.tls.hsts).ok().filter(|value| !value.is_empty()),
        app: app.clone(),
    };
    if !app.settings.acme.directory.is_empty() {
        certificates::answer(app);
    }
    if let Some(at) = app.settings.tls.listen {
        if !app.settings.tls.certificate_file.as_os_str().is_empty() {
            let presented = certificate_files::load(&door)?;
            app.life.spawn("certificate files", certificate_files::watch(door.clone(), presented));
        }
        if !app.settings.acme.directory.is_empty() {
            app.life.spawn("stored certificates", certificates::present(app.sealer.clone()));
        }
        let redirect = app.settings.tls.redirect_listen.map(tracing::field::display);
        tracing::info!(tls = %at, redirect, "TLS is served");
    }
    for (speaks, listener) in listeners.outer {
        app.life.spawn("web", accept::accept(door.clone(), speaks, listener));
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
