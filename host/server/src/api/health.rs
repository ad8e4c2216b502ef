//! Is the API there, and which one is it? Probes for orchestrators are on the internal listener.

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use larder_egress::Client;
use larder_model::amount::currencies;
use larder_platform::common::Common;
use larder_wire::FORMAT_VERSION;
use larder_wire::health::{CertificateAuthorities, Currencies, Facts, Health, TimeZones, Version};
use larder_wire::scopes::Scope;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::Caller;
use crate::problem::Problem;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(ping)).routes(routes!(version)).routes(routes!(health))
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
