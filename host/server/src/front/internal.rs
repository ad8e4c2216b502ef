//! Probes and metrics of a front.

use std::fmt::Write;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::routing::get;
use larder_model::time::rfc3339;
use tokio::net::TcpListener;

use super::Front;
use crate::listener::Metrics;

/// Serves them until the process ends.
pub fn start(front: &Front, listener: TcpListener, metrics: Metrics<Front>) {
    let router = Router::new()
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(move |State(front): State<Front>| async move { metrics(&front) }))
        .with_state(front.clone());
    front.life.spawn_last("internal", async move {
        if let Err(err) = axum::serve(listener, router).await {
            tracing::error!(error = %err, "the internal listener failed");
        }
    });
}

/// It is ready while its certificate is good and any core can be reached, as far as it has tried.
async fn ready(State(front): State<Front>, RawQuery(query): RawQuery) -> (StatusCode, String) {
    let ends = front.certificate_ends_ms();
    let cores = front.cores.states();
    let why = if front.life.is_draining() {
        Some("draining".to_owned())
    } else if ends <= front.clock.now_ms() {
        Some(format!("the certificate of this front has ended at {}", rfc3339(ends)))
    } else if cores.iter().all(|(_, why)| why.is_some()) {
        Some("no core can be reached".to_owned())
    } else {
        None
    };
    let status = if why.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let mut text = format!("{}\n", why.as_deref().unwrap_or("ready"));
    if query.is_some_and(|query| query.split('&').any(|part| part == "verbose" || part.starts_with("verbose="))) {
        let _ = writeln!(
            text,
            "front {}: its certificate is valid until {}",
            front.cores.identity.load().name,
            rfc3339(ends)
        );
        for (core, why) in cores {
            let _ = writeln!(text, "core {core}: {}", why.as_deref().unwrap_or("ok"));
        }
        for (name, certificate) in front.certificates.all() {
            let name = name.unwrap_or_else(|| "default".into());
            let (names, until) = (certificate.names.join(" "), rfc3339(certificate.not_after_ms));
            let _ = writeln!(text, "certificate {name} ({names}): valid until {until}");
        }
        if let Some(why) = front.certificates.refused() {
            let _ = writeln!(text, "warning: the certificate is not exchanged: {why}");
        }
    }
    (status, text)
}
