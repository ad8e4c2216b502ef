//! The management API: HTTP, one file per resource.
//!
//! * [`problem`]: errors → HTTP. [`wire`]: what all resources share. [`queries`]: list calls → `store::listing`.
//! * [`idempotency`]: the same request, the same answer.
//! * [`router`]: all routes. The document at `/v1/openapi.json` is made from the same router, so no route can be
//!   missing from it.
//!
//! The wire format is that of the platform which Larder replaces, so that its clients work unmodified, and it is
//! confined to this folder. The rule for handlers: **who, may they, is it valid, is it there, do it, say so**, in that
//! order.

mod dead_letters;
mod deployments;
mod enrolments;
mod events;
mod executions;
mod feeds;
mod functions;
mod grants;
mod health;
pub mod idempotency;
mod limits;
mod master_keys;
mod partners;
pub mod problem;
pub mod queries;
mod runtimes;
mod schedules;
mod transactions;
mod upstreams;
mod variables;
mod wire;

use axum::Json;
use axum::Router;
use axum::routing::get;
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::openapi::{Content, ObjectBuilder, OpenApi, Ref, RefOr, Required, ResponseBuilder, Type};
use utoipa_axum::router::OpenApiRouter;

use self::problem::{Kind, Problem};
use crate::app::App;

/// The version of the wire format that clients are told.
pub const FORMAT_VERSION: &str = "1.9.5";

const DOCUMENT: &str = "/v1/openapi.json";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Larder", description = "Functions, what triggers them, and what they did."),
    security(("key" = [])),
    components(schemas(problem::Error))
)]
struct Document;

/// All routes below `/v1`. It wants the request's `Door` as an extension, and the peer's address if it is known.
pub fn router(app: App) -> Router {
    let (router, document) = parts();
    router
        .route(DOCUMENT, get(move || std::future::ready(Json(document))))
        .fallback(async || Problem::new(Kind::RouteNotFound, "There is no such route"))
        .method_not_allowed_fallback(async || {
            Problem::new(Kind::NotImplemented, "This route does not have this method")
        })
        .with_state(app)
}

fn parts() -> (Router<App>, OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .merge(health::router())
        .merge(runtimes::router())
        .merge(functions::router())
        .merge(schedules::router())
        .merge(variables::router())
        .merge(deployments::router())
        .merge(grants::router())
        .merge(executions::router())
        .merge(dead_letters::router())
        .merge(events::router())
        .merge(feeds::router())
        .merge(enrolments::router())
        .merge(transactions::router())
        .merge(limits::router())
        .merge(upstreams::router())
        .merge(partners::router())
        .merge(master_keys::router())
        .split_for_parts();
    complete(&mut document);
    (router, document)
}

/// Adds what all operations share, so that none can forget it: path parameters, errors and how to say who one is.
fn complete(document: &mut OpenApi) {
    let components = document.components.get_or_insert_default();
    let key = |description| {
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description("X-Appwrite-Key", description)))
    };
    components.add_security_scheme("key", key("A key of the partner"));
    components.add_security_scheme("operator", key("The operator key"));
    for (path, item) in &mut document.paths.paths {
        let names: Vec<&str> = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        for operation in operations(item) {
            let parameters = operation.parameters.get_or_insert_default();
            parameters.extend(names.iter().map(|name| {
                let parameter = ParameterBuilder::new()
                    .name(*name)
                    .parameter_in(ParameterIn::Path)
                    .required(Required::True)
                    .schema(Some(ObjectBuilder::new().schema_type(Type::String)));
                RefOr::T(parameter.build())
            }));
            let error = ResponseBuilder::new()
                .description("What went wrong, by `type`")
                .content("application/json", Content::new(Some(RefOr::Ref(Ref::from_schema_name("Error")))))
                .build();
            for status in ["4XX", "5XX"] {
                operation.responses.responses.entry(status.into()).or_insert_with(|| RefOr::T(error.clone()));
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_whole() {
        let document = serde_json::to_value(parts().1).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let paths = document["paths"].as_object().unwrap();
        for path in [
            "/v1/ping",
            "/v1/functions/{functionId}",
            "/v1/functions/{functionId}/deployments",
            "/v1/functions/{functionId}/executions",
            "/v1/functions/{functionId}/grants",
            "/v1/dead-letters/{executionId}/redrive",
            "/v1/events",
            "/v1/feeds/{name}/push",
            "/v1/operator/feeds/{name}",
            "/v1/enrolments",
            "/v1/limits",
            "/v1/transactions",
            "/v1/upstreams/{name}",
            "/v1/operator/upstreams/{name}",
            "/v1/partners/{partnerId}/keys",
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
