//! Probes and metrics.

use std::fmt::Write;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::routing::get;
use larder_model::time::instant;
use tokio::net::TcpListener;

use super::Metrics;
use crate::app::App;

/// Serves them until the process ends, so that an orchestrator sees the draining process as live and not ready.
pub fn start(app: &App, listener: TcpListener, metrics: Metrics) {
    let router = Router::new()
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(move |State(app): State<App>| async move { metrics(&app) }))
        .with_state(app.clone());
    app.life.spawn_last("internal", async move {
        if let Err(err) = axum::serve(listener, router).await {
            tracing::error!(error = %err, "the internal listener failed");
        }
    });
}

/// Whether the process is ready, and why not. With `?verbose`, a line for each dependency.
async fn ready(State(app): State<App>, RawQuery(query): RawQuery) -> (StatusCode, String) {
    let draining = app.life.is_draining();
    let database = match app.store.ping().await {
        Ok(()) if app.ledger.writes() => Ok("ok".to_owned()),
        Ok(()) => Err("the last outcome could not be written".to_owned()),
        Err(err) => Err(err.to_string()),
    };
    let (status, mut text) = match (draining, &database) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned()),
        (false, Ok(_)) => (StatusCode::OK, "ready\n".to_owned()),
        (false, Err(why)) => (StatusCode::SERVICE_UNAVAILABLE, format!("database: {why}\n")),
    };
    if query.is_some_and(|query| query.split('&').any(|part| part == "verbose" || part.starts_with("verbose="))) {
        let kind = if app.store.is_embedded() { "embedded" } else { "MariaDB" };
        let _ = writeln!(text, "database ({kind}): {}", database.unwrap_or_else(|why| why));
        for warning in app.store.warnings() {
            let _ = writeln!(text, "warning: {warning}");
        }
        for (name, certificate) in app.certificates.all() {
            let (name, until) =
                (name.unwrap_or_else(|| "default".into()), instant(certificate.not_after_ms).to_rfc3339());
            let _ = writeln!(text, "certificate {name} ({}): valid until {until}", certificate.names.join(" "));
        }
        if let Some(why) = app.certificates.refused() {
            let _ = writeln!(text, "warning: the certificate is not exchanged: {why}");
        }
        let _ = writeln!(
            text,
            "redis: {}",
            app.signals.redis().unwrap_or_else(|| "none; work of other processes is found by polling".into())
        );
    }
    (status, text)
}
