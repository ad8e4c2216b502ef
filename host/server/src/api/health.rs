//! Is the API there, and which one is it? Probes for orchestrators are on the internal listener.

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use larder_model::amount::currencies;
use larder_platform::app::App;
use larder_wire::scopes::Scope;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::problem::Problem;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(ping)).routes(routes!(version)).routes(routes!(health))
}

#[derive(Serialize, ToSchema)]
struct Version {
    /// Of the wire format.
    version: &'static str,
}

#[derive(Serialize, ToSchema)]
struct Health {
    name: &'static str,
    status: &'static str,
    /// Milliseconds that the database took to answer.
    ping: u64,
    /// What Larder knows of the world outside, and how old that is.
    facts: Facts,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Facts {
    time_zones: TimeZones,
    currencies: Currencies,
    certificate_authorities: CertificateAuthorities,
}

/// Whose certificates calls out believe; how many there are.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CertificateAuthorities {
    system: usize,
    /// Only where the system has none.
    compiled_in: usize,
    /// Of `egress.ca_file`.
    file: usize,
}

#[derive(Serialize, ToSchema)]
struct TimeZones {
    /// Of the IANA data, such as `2026f`; `null` where the folder does not say.
    version: Option<String>,
    /// A folder, or `compiled in`.
    source: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Currencies {
    /// The day of the ISO 4217 list.
    as_of: &'static str,
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
    Json(Version { version: crate::api::FORMAT_VERSION })
}

#[utoipa::path(get, path = "/v1/health", tag = "health", operation_id = "getHealth", responses((status = 200, body = Health)))]
async fn health(State(app): State<App>, caller: Caller) -> Result<Json<Health>, Problem> {
    caller.may(Scope::HealthRead)?;
    let begun = Instant::now();
    app.store.ping().await?;
    let ping = begun.elapsed().as_millis() as u64;
    let (zones, authorities) = (app.zones.facts(), app.egress.authorities());
    let facts = Facts {
        time_zones: TimeZones { version: zones.version, source: zones.source },
        currencies: Currencies { as_of: currencies::AS_OF },
        certificate_authorities: CertificateAuthorities {
            system: authorities.system,
            compiled_in: authorities.compiled_in,
            file: authorities.file,
        },
    };
    Ok(Json(Health { name: "http", status: "pass", ping, facts }))
}
