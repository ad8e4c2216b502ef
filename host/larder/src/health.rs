//! `larder health`: asks the process of these settings whether it is ready, for the health checks of containers, which have no
//! other program in them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use larder_model::settings::Settings;

/// Shorter than what containers usually wait for a check.
const PATIENCE: Duration = Duration::from_secs(4);

/// `Err` says why it is not ready.
pub async fn check(settings: &Settings) -> anyhow::Result<()> {
    let url = format!("http://{}/health/ready", reachable(settings.server.internal));
    // The client wants one, though it asks without TLS.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
    let answer = client.get(&url).send().await.with_context(|| format!("nothing answers at {url}"))?;
    let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
    if !status.is_success() {
        bail!("{url} answers {status}: {}", text.trim());
    }
    Ok(())
}

/// What listens at every address of the machine is asked at its own.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}
