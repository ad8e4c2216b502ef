//! The management API: HTTP, one file per resource.
//!
//! * [`problem`]: errors → HTTP. [`requests`]: what all resources use to read them. [`queries`]: list calls → `store::listing`.
//! * [`idempotency`]: the same request, the same answer. [`owners`]: the same handlers for partners and the operator.
//! * [`by_name`]: arrays are no objects. [`document`]: what all operations of the document share.
//! * [`router`]: all routes. The document at `/v1/openapi.json` is made from the same router, so no route can be
//!   missing from it.
//!
//! The wire format is that of the platform which Larder replaces, so that its clients work unmodified, and it is
//! confined to this folder. The rule for handlers: **who, may they, is it valid, is it there, do it, say so**, in that
//! order.

mod account;
mod administrators;
mod audit;
pub(crate) mod bulk_actions;
mod by_name;
mod certificates;
mod console;
mod dead_letters;
pub(crate) mod deployments;
mod document;
pub mod enrolments;
pub(crate) mod events;
mod executions;
mod fanouts;
mod feeds;
mod fronts;
pub(crate) mod functions;
pub(crate) mod grants;
mod health;
pub mod idempotency;
mod identity;
mod limits;
mod master_keys;
mod owners;
mod partners;
pub mod queries;
pub mod realtime;
pub mod requests;
mod rules;
mod runtimes;
mod schedules;
mod transactions;
mod upstreams;
mod variables;
mod webhooks;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::routing::get;
use bytes::Bytes;
use serde_json::Value;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::problem::{Kind, Problem};

const DOCUMENT: &str = "/v1/openapi.json";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Larder", description = "Functions, what triggers them, and what they did."),
    security(("key" = [])),
    components(schemas(larder_wire::problem::Error))
)]
struct Document;

/// All routes below `/v1`. It wants the request's `Endpoint` as an extension, and the peer's address if it is known.
pub fn router(app: App) -> Router {
    let (router, document) = parts();
    // Written once: anybody may ask for it.
    let document = Bytes::from(serde_json::to_vec(&document).expect("plain values serialise"));
    let json = |document| ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], document);
    router
        .route(DOCUMENT, get(move || std::future::ready(json(document.clone()))))
        .fallback(async || Problem::no_such_route())
        .method_not_allowed_fallback(async || {
            Problem::new(Kind::NotImplemented, "This route does not have this method")
        })
        .with_state(app)
}

fn parts() -> (Router<App>, Value) {
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .merge(health::router())
        .merge(runtimes::router())
        .merge(functions::router())
        .merge(schedules::router())
        .merge(variables::router())
        .merge(deployments::router())
        .merge(grants::router())
        .merge(audit::router())
        .merge(executions::router())
        .merge(dead_letters::router())
        .merge(bulk_actions::router())
        .merge(fanouts::router())
        .merge(events::router())
        .merge(feeds::router())
        .merge(enrolments::router())
        .merge(transactions::router())
        .merge(identity::router())
        .merge(limits::router())
        .merge(upstreams::router())
        .merge(rules::router())
        .merge(webhooks::router())
        .merge(partners::router())
        .merge(administrators::router())
        .merge(certificates::router())
        .merge(fronts::router())
        .merge(account::router())
        .merge(console::router())
        .merge(realtime::router())
        .merge(master_keys::router())
        .merge(crate::me::router())
        .split_for_parts();
    (router, document::complete(&document))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_whole() {
        let document = parts().1;
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let paths = document["paths"].as_object().unwrap();
        for path in [
            "/v1/ping",
            "/v1/functions/{functionId}",
            "/v1/functions/{functionId}/deployments",
            "/v1/functions/{functionId}/executions",
            "/v1/functions/{functionId}/grants",
            "/v1/dead-letters/{executionId}/redrive",
            "/v1/audit",
            "/v1/operator/audit",
            "/v1/events",
            "/v1/fanouts/{fanoutId}/pause",
            "/v1/feeds/{name}/push",
            "/v1/operator/feeds/{name}",
            "/v1/enrolments",
            "/v1/identity",
            "/v1/limits",
            "/v1/proxy/rules/{ruleId}",
            "/v1/proxy/rules/site",
            "/v1/transactions",
            "/v1/upstreams/{name}",
            "/v1/operator/upstreams/{name}",
            "/v1/partners/{partnerId}/keys",
            "/v1/operator/administrators/{administratorId}",
            "/v1/operator/certificates/{name}/renewal",
            "/v1/operator/fronts/{name}",
            "/v1/account/sessions/email",
            "/v1/projects/{projectId}",
            "/v1/operator/master-keys/rotation",
        ] {
            assert!(paths.contains_key(path), "{path}");
        }
        let mut ids = std::collections::HashSet::new();
        for (path, item) in paths {
            for (method, operation) in item.as_object().unwrap() {
                assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path}");
                assert!(operation["responses"]["4XX"].is_object(), "{method} {path}");
                let named =
                    operation["parameters"].as_array().into_iter().flatten().filter(|p| p["in"] == "path").count();
                assert_eq!(named, path.matches('{').count(), "{method} {path}");
            }
        }
        let text = document.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{name} is referred to and not there");
        }
    }
}
