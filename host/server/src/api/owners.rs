//! Operations on what a partner or the operator owns. The same handler serves both: at `/v1/…` for the partner's own and at
//! `/v1/operator/…` for the operator's. It takes an [`Author`](crate::auth::Author), which tells them apart.

use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::SecurityRequirement;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::app::App;
use crate::auth::OPERATORS;

/// The routes of a resource, for partners and for the operator. `noun` names it in the ids of operations.
pub fn router<const N: usize>(noun: &str, all: [UtoipaMethodRouter<App>; N]) -> OpenApiRouter<App> {
    all.into_iter()
        .fold(OpenApiRouter::new(), |router, routes| router.routes(routes.clone()).routes(of_operator(noun, routes)))
}

/// The operations under other paths and ids, with the operator's credential: `GET /v1/feeds`, `listFeeds` →
/// `GET /v1/operator/feeds`, `listOperatorFeeds`.
fn of_operator(noun: &str, routes: UtoipaMethodRouter<App>) -> UtoipaMethodRouter<App> {
    let renamed = format!("Operator{noun}");
    let (schemas, mut paths, handlers) =
        elsewhere(routes, (noun, &renamed), |path| path.replacen("/v1/", OPERATORS, 1));
    for operation in paths.paths.values_mut().flat_map(operations) {
        operation.security.get_or_insert_with(|| vec![SecurityRequirement::new("operator", [""; 0])]);
    }
    (schemas, paths, handlers)
}

/// The same operations under other paths, with this in their ids instead of that.
pub fn elsewhere(
    (schemas, mut paths, handlers): UtoipaMethodRouter<App>,
    (noun, renamed): (&str, &str),
    path: impl Fn(&str) -> String,
) -> UtoipaMethodRouter<App> {
    let all = std::mem::take(&mut paths.paths).into_iter().map(|(old, mut item)| {
        for operation in operations(&mut item) {
            let id = operation.operation_id.take().unwrap_or_default();
            operation.operation_id = Some(id.replacen(noun, renamed, 1));
        }
        (path(&old), item)
    });
    paths.paths = all.collect();
    (schemas, paths, handlers)
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().flatten()
}
