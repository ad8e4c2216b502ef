//! Is the API there, which one is it, and how is what it depends on? Probes for orchestrators are on the internal listener.
//!
//! Queues are those of the project. Those that the replaced platform has and Larder has not are empty.

use std::time::Instant;

use axum::Json;
use axum::extract::{RawQuery, State};
use larder_egress::Client;
use larder_model::amount::currencies;
use larder_platform::backlog;
use larder_platform::common::Common;
use larder_platform::objects::Objects;
use larder_store::listing::Listing;
use larder_wire::FORMAT_VERSION;
use larder_wire::health::{
    AntiVirus, CertificateAuthorities, Currencies, Dependency, DependencyStatus, Facts, Health, QueueSize, Time,
    TimeZones, Version,
};
use larder_wire::problem;
use larder_wire::scopes::Scope;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::queries::pairs;
use crate::api::requests::Ids;
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(ping))
        .routes(routes!(version))
        .routes(routes!(health))
        .routes(routes!(database))
        .routes(routes!(cache))
        .routes(routes!(pubsub))
        .routes(routes!(queue_service))
        .routes(routes!(storage))
        .routes(routes!(local_storage))
        .routes(routes!(time))
        .routes(routes!(anti_virus))
        .routes(routes!(certificate))
        .routes(routes!(queue))
        .routes(routes!(failed))
}

/// Needs no key.
#[utoipa::path(get, path = "/v1/ping", tag = "health", operation_id = "ping", security(()),
    responses((status = 200, content_type = "text/plain", body = String)))]
async fn ping() -> &'static str {
    "Pong!"
}

/// Needs no key.
#[utoipa::path(get, path = "/v1/health/version", tag = "health", operation_id = "getVersion", security(()),
    responses((status = 200, body = Version)))]
async fn version() -> Json<Version> {
    Json(Version { version: FORMAT_VERSION.into() })
}

#[utoipa::path(get, path = "/v1/health", tag = "health", operation_id = "getHealth", responses((status = 200, body = Health)))]
async fn health(
    State(common): State<Common>,
    State(egress): State<Client>,
    caller: Caller,
) -> Result<Json<Health>, Problem> {
    caller.may(Scope::HealthRead)?;
    let begun = Instant::now();
    common.store.ping().await?;
    let ping = begun.elapsed().as_millis() as u64;
    let (zones, authorities) = (common.zones.facts(), egress.authorities());
    let facts = Facts {
        time_zones: TimeZones { version: zones.version, source: zones.source },
        currencies: Currencies { as_of: currencies::AS_OF.into() },
        certificate_authorities: CertificateAuthorities {
            system: authorities.system,
            compiled_in: authorities.compiled_in,
            file: authorities.file,
        },
    };
    Ok(Json(Health { name: "http".into(), status: "pass".into(), ping, facts }))
}

/// What waits before an operator is warned, unless the caller says otherwise.
const THRESHOLD: u64 = 5_000;

/// Something that Larder depends on, as it answered just now.
async fn dependency<E: std::fmt::Display>(name: &str, check: impl Future<Output = Result<(), E>>) -> Json<Dependency> {
    let begun = Instant::now();
    let checked = check.await;
    if let Err(err) = &checked {
        tracing::warn!(error = %err, "{name} does not answer: {err}");
    }
    let ping = begun.elapsed().as_millis() as u64;
    let status = if checked.is_ok() { "pass" } else { "fail" };
    let worst = DependencyStatus { name: name.into(), ping, status: status.into() };
    Json(Dependency { statuses: vec![worst.clone()], worst, total: 1 })
}

/// Redis, or what stands for it in a process without one.
async fn redis(common: &Common, caller: &Caller) -> Result<Json<Dependency>, Problem> {
    caller.may(Scope::HealthRead)?;
    let state = common.signals.redis();
    let name = if state.is_some() { "redis" } else { "in-process" };
    let check = async { state.filter(|state| state != "ok").map_or(Ok(()), Err) };
    Ok(dependency(name, check).await)
}

#[utoipa::path(get, path = "/v1/health/db", tag = "health", operation_id = "getDB",
    responses((status = 200, body = Dependency)))]
async fn database(State(common): State<Common>, caller: Caller) -> Result<Json<Dependency>, Problem> {
    caller.may(Scope::HealthRead)?;
    let name = if common.store.is_embedded() { "sqlite" } else { "mariadb" };
    Ok(dependency(name, common.store.ping()).await)
}

#[utoipa::path(get, path = "/v1/health/cache", tag = "health", operation_id = "getCache",
    responses((status = 200, body = Dependency)))]
async fn cache(State(common): State<Common>, caller: Caller) -> Result<Json<Dependency>, Problem> {
    redis(&common, &caller).await
}

#[utoipa::path(get, path = "/v1/health/pubsub", tag = "health", operation_id = "getPubSub",
    responses((status = 200, body = Dependency)))]
async fn pubsub(State(common): State<Common>, caller: Caller) -> Result<Json<Dependency>, Problem> {
    redis(&common, &caller).await
}

/// What carries the queues: the database.
#[utoipa::path(get, path = "/v1/health/queue", tag = "health", operation_id = "getQueue",
    responses((status = 200, body = Dependency)))]
async fn queue_service(State(common): State<Common>, caller: Caller) -> Result<Json<Dependency>, Problem> {
    caller.may(Scope::HealthRead)?;
    Ok(dependency("queue", common.store.ping()).await)
}

#[utoipa::path(get, path = "/v1/health/storage", tag = "health", operation_id = "getStorage",
    responses((status = 200, body = Dependency)))]
async fn storage(State(objects): State<Objects>, caller: Caller) -> Result<Json<Dependency>, Problem> {
    caller.may(Scope::HealthRead)?;
    Ok(dependency("storage", objects.ping()).await)
}

/// The same store, wherever it is.
#[utoipa::path(get, path = "/v1/health/storage/local", tag = "health", operation_id = "getStorageLocal",
    responses((status = 200, body = Dependency)))]
async fn local_storage(State(objects): State<Objects>, caller: Caller) -> Result<Json<Dependency>, Problem> {
    caller.may(Scope::HealthRead)?;
    Ok(dependency("storage", objects.ping()).await)
}

/// The remote clock is the database's, by which processes agree.
#[utoipa::path(get, path = "/v1/health/time", tag = "health", operation_id = "getTime",
    responses((status = 200, body = Time)))]
async fn time(State(common): State<Common>, caller: Caller) -> Result<Json<Time>, Problem> {
    caller.may(Scope::HealthRead)?;
    let (remote_time, local_time) = (common.store.time().await?, common.clock.now_ms().div_euclid(1_000));
    Ok(Json(Time { remote_time, local_time, diff: remote_time - local_time }))
}

#[utoipa::path(get, path = "/v1/health/anti-virus", tag = "health", operation_id = "getAntivirus",
    responses((status = 200, body = AntiVirus)))]
async fn anti_virus(caller: Caller) -> Result<Json<AntiVirus>, Problem> {
    caller.may(Scope::HealthRead)?;
    Ok(Json(AntiVirus { version: String::new(), status: "disabled".into() }))
}

/// Certificates are those of the proxy in front of Larder, so none is known here.
#[utoipa::path(get, path = "/v1/health/certificate", tag = "health", operation_id = "getCertificate",
    params(("domain" = Option<String>, Query)), responses((status = 404, body = problem::Error)))]
async fn certificate(caller: Caller, RawQuery(query): RawQuery) -> Result<(), Problem> {
    caller.may(Scope::HealthRead)?;
    let domain = parameter(query.as_deref(), "domain");
    let domain =
        domain.filter(|domain| !domain.is_empty()).ok_or_else(|| Problem::argument("domain", "is required"))?;
    Err(Problem::new(Kind::NoCertificate, format!("Larder has no certificate of {domain:?}: TLS ends in front of it")))
}

#[utoipa::path(get, path = "/v1/health/queue/{queueName}", tag = "health", operation_id = "getQueueSize",
    params(("threshold" = Option<i64>, Query, description = "As many or more are answered 503; default 5000")),
    responses((status = 200, body = QueueSize)))]
async fn queue(
    State(common): State<Common>,
    caller: Caller,
    ids: Ids,
    RawQuery(query): RawQuery,
) -> Result<Json<QueueSize>, Problem> {
    caller.may(Scope::HealthRead)?;
    let (name, threshold) = (ids.text("queueName")?, threshold(query.as_deref())?);
    let size = match name {
        "builds" => common.store.count_builds(&caller.partner).await?,
        "functions" => {
            let waiting = backlog::count_waiting(&common, &caller.tenant).await?;
            backlog::executions(&waiting) + waiting.events
        }
        "deletes" => common.store.count_removals(&caller.partner).await?,
        "audits" | "certificates" | "databases" | "logs" | "mails" | "messaging" | "migrations" | "stats-resources"
        | "stats-usage" | "usage" | "usage-dump" | "webhooks" => 0,
        _ => return Err(Problem::argument("queueName", format!("{name:?} is not a queue"))),
    };
    within(name, size, threshold)
}

/// Dead letters are what failed of functions.
#[utoipa::path(get, path = "/v1/health/queue/failed/{queueName}", tag = "health", operation_id = "getFailedJobs",
    params(("threshold" = Option<i64>, Query, description = "As many or more are answered 503; default 5000")),
    responses((status = 200, body = QueueSize)))]
async fn failed(
    State(common): State<Common>,
    caller: Caller,
    ids: Ids,
    RawQuery(query): RawQuery,
) -> Result<Json<QueueSize>, Problem> {
    caller.may(Scope::HealthRead)?;
    let (name, threshold) = (ids.text("queueName")?, threshold(query.as_deref())?);
    let size = match name.strip_prefix("v1-").unwrap_or(name) {
        "functions" => {
            let counted = Listing { total: true, ..Listing::first(1) };
            common.store.list_dead_letters(&caller.partner, &counted).await?.total
        }
        "audits" | "builds" | "certificates" | "database" | "databases" | "deletes" | "logs" | "mails"
        | "messaging" | "migrations" | "stats-resources" | "stats-usage" | "usage" | "usage-dump" | "webhooks" => 0,
        _ => return Err(Problem::argument("queueName", format!("{name:?} is not a queue"))),
    };
    within(name, size, threshold)
}

fn parameter(query: Option<&str>, wanted: &str) -> Option<String> {
    pairs(query.unwrap_or_default()).find_map(|(name, value)| (name == wanted).then_some(value))
}

fn threshold(query: Option<&str>) -> Result<u64, Problem> {
    let text = parameter(query, "threshold").filter(|text| !text.is_empty());
    let wrong = || Problem::argument("threshold", "must be a whole number from 1 on");
    text.map_or(Ok(THRESHOLD), |text| text.parse().ok().filter(|number| *number > 0).ok_or_else(wrong))
}

fn within(name: &str, size: u64, threshold: u64) -> Result<Json<QueueSize>, Problem> {
    if size >= threshold {
        let message = format!("{size} wait in the queue {name}, and the threshold is {threshold}");
        return Err(Problem::new(Kind::QueueTooLong, message));
    }
    Ok(Json(QueueSize { size }))
}
