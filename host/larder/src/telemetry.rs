//! Logs and metrics of the process.

use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};

use larder_model::settings::{Log, LogFormat};
use larder_platform::tls::Certificates;
use larder_server::app::App;
use larder_server::front::Front;
use larder_server::listener::Metrics;
use larder_signals::lifecycle::Lifecycle;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Starts logging to stderr.
pub fn logs(settings: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.filter).map_err(|err| anyhow::anyhow!("log.filter: {err}"))?;
    let colours = std::io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    match settings.format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Installs the recorder of the process's metrics and returns their renderer.
pub fn metrics() -> Metrics {
    let handle = recorder();
    Arc::new(move |app| {
        gauges(app);
        handle.render() + &expiry(&app.certificates)
    })
}

/// The same of a front.
pub fn front_metrics() -> Metrics<Front> {
    let handle = recorder();
    Arc::new(move |front| {
        process_gauges(&front.life, &front.certificates);
        metrics::gauge!("larder_front_certificate_expires_timestamp_seconds")
            .set(front.certificate_ends_ms() as f64 / 1_000.0);
        handle.render() + &expiry(&front.certificates)
    })
}

/// The recorder, installed at the first call.
fn recorder() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let seconds = [
                0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0,
                60.0, 300.0,
            ];
            let suffix = metrics_exporter_prometheus::Matcher::Suffix("_seconds".into());
            PrometheusBuilder::new()
                .set_buckets_for_metric(suffix, &seconds)
                .expect("there are buckets")
                .install_recorder()
                .expect("no other recorder is installed")
        })
        .clone()
}

/// When certificates run out. The recorder would keep the names that are forgotten.
fn expiry(certificates: &Certificates) -> String {
    const NAME: &str = "larder_certificate_expires_timestamp_seconds";
    let all = certificates.all();
    let mut text = if all.is_empty() { String::new() } else { format!("# TYPE {NAME} gauge\n") };
    for (name, certificate) in all {
        let name = name.unwrap_or_else(|| "default".into());
        let _ = writeln!(text, "{NAME}{{name=\"{name}\"}} {}", certificate.not_after_ms as f64 / 1_000.0);
    }
    text
}

/// Sets the gauges whose values are read at each scrape.
fn gauges(app: &App) {
    process_gauges(&app.life, &app.certificates);
    metrics::gauge!("larder_pool_slots_used").set(app.runtime.slots_used() as f64);
    metrics::gauge!("larder_partners").set(app.directory.tenants().len() as f64);
}

/// Those of every process.
fn process_gauges(life: &Lifecycle, certificates: &Certificates) {
    metrics::gauge!("larder_ready").set(if life.is_draining() { 0.0 } else { 1.0 });
    metrics::gauge!("larder_tasks").set(tokio::runtime::Handle::current().metrics().num_alive_tasks() as f64);
    metrics::gauge!("larder_certificate_refused").set(f64::from(u8::from(certificates.refused().is_some())));
    metrics::gauge!("larder_build_info", "version" => larder_model::VERSION).set(1.0);
}
