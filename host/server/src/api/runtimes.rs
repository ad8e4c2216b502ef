//! Runtimes, specifications and templates: what a function may say of how it is built and run.
//!
//! What an upload is, a component or a core module for WASI preview 1, is seen in itself, whatever its function says. The ids
//! are echoed as they were given, synonyms too: [`SYNONYM`] is for clients that know only a closed list of runtimes. A specification is kept for the clients' sake; what an
//! execution may use is `limits`.

use axum::Json;
use axum::extract::RawQuery;
use larder_wire::problem;
use larder_wire::runtimes::{Runtime, RuntimeList, Specification, SpecificationList, TemplateList};
use larder_wire::scopes::Scope;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::queries::pairs;
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

pub const SPECIFICATION_DEFAULT: &str = "s-1vcpu-256mb";

/// Slug, CPUs and megabytes. The first is what there is; the others are known, so that a project that names them can
/// be pushed unchanged.
const SPECIFICATIONS: [(&str, f64, u32); 10] = [
    (SPECIFICATION_DEFAULT, 1.0, 256),
    ("s-0.5vcpu-512mb", 0.5, 512),
    ("s-1vcpu-512mb", 1.0, 512),
    ("s-1vcpu-1gb", 1.0, 1_024),
    ("s-2vcpu-2gb", 2.0, 2_048),
    ("s-2vcpu-4gb", 2.0, 4_096),
    ("s-4vcpu-4gb", 4.0, 4_096),
    ("s-4vcpu-8gb", 4.0, 8_192),
    ("s-8vcpu-4gb", 8.0, 4_096),
    ("s-8vcpu-8gb", 8.0, 8_192),
];

/// A word for the same runtime in the closed lists of clients. No function of the replaced platform has it, as it is for sites.
const SYNONYM: &str = "static-1";

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(runtimes))
        .routes(routes!(specifications))
        .routes(routes!(templates))
        .routes(routes!(template))
}

/// A runtime's id, echoed.
pub fn check(id: String) -> Result<String, Problem> {
    match id.as_str() {
        "wasi-0.2" | "wasm-0.2" | "wasi-0.1" | "wasm-0.1" | SYNONYM => Ok(id),
        "wasi-0.3" | "wasm-0.3" => {
            let message = format!("The runtime {id} is not offered: build a component for wasi-0.2");
            Err(Problem::new(Kind::RuntimeUnsupported, message))
        }
        _ => Err(Problem::argument(
            "runtime",
            format!(
                "{id:?} is not known; use wasi-0.2, wasi-0.1, or {SYNONYM} where a client knows only a list of its own"
            ),
        )),
    }
}

/// A specification's slug, echoed.
pub fn check_specification(slug: String) -> Result<String, Problem> {
    if SPECIFICATIONS.iter().any(|(known, ..)| *known == slug) {
        return Ok(slug);
    }
    Err(Problem::argument("specification", format!("{slug:?} is not known; use {SPECIFICATION_DEFAULT}")))
}

/// Needs no key.
#[utoipa::path(get, path = "/v1/functions/runtimes", tag = "functions", operation_id = "listRuntimes", security(()),
    responses((status = 200, body = RuntimeList)))]
async fn runtimes() -> Json<RuntimeList> {
    let runtime = |version: &str, name: &str| Runtime {
        id: format!("wasi-{version}"),
        key: "wasi".into(),
        name: name.into(),
        version: version.into(),
        base: String::new(),
        image: String::new(),
        logo: "wasm.png".into(),
        supports: vec!["x86".into(), "arm64".into()],
    };
    let runtimes = vec![runtime("0.2", "WASI component"), runtime("0.1", "WASI preview 1 module")];
    Json(RuntimeList { total: runtimes.len(), runtimes })
}

/// There are none: a function is uploaded built. Needs no key.
#[utoipa::path(get, path = "/v1/functions/templates", tag = "functions", operation_id = "listTemplates", security(()),
    responses((status = 200, body = TemplateList)))]
async fn templates() -> Json<TemplateList> {
    Json(TemplateList { total: 0, templates: vec![] })
}

/// There are none. Needs no key.
#[utoipa::path(get, path = "/v1/functions/templates/{templateId}", tag = "functions", operation_id = "getTemplate",
    security(()), responses((status = 404, body = problem::Error)))]
async fn template() -> Problem {
    Problem::not_found(Kind::TemplateNotFound, "Function template")
}

#[utoipa::path(get, path = "/v1/functions/specifications", tag = "functions", operation_id = "listSpecifications",
    params(("type" = Option<String>, Query, description = "`runtimes` (default) or `builds`")),
    responses((status = 200, body = SpecificationList)))]
async fn specifications(caller: Caller, RawQuery(query): RawQuery) -> Result<Json<SpecificationList>, Problem> {
    caller.may(Scope::FunctionsRead)?;
    let kind = pairs(query.as_deref().unwrap_or_default()).find(|(name, _)| name == "type").map(|(_, value)| value);
    if !matches!(kind.as_deref(), None | Some("runtimes" | "builds")) {
        return Err(Problem::argument("type", "must be runtimes or builds"));
    }
    let all = SPECIFICATIONS.iter().map(|(slug, cpus, memory)| Specification {
        memory: *memory,
        cpus: *cpus,
        enabled: *slug == SPECIFICATION_DEFAULT,
        slug: (*slug).into(),
    });
    let specifications: Vec<Specification> = all.collect();
    Ok(Json(SpecificationList { total: specifications.len(), specifications }))
}
