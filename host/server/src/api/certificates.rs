//! Certificates of the installation's names, as the operator sees them.

use axum::Json;
use axum::extract::{RawQuery, State};
use larder_model::certificates::Order;
use larder_platform::certificates;
use larder_platform::common::Common;
use larder_wire::certificates::{CertificateList, CertificateObject};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::queries::{self, ListParams};
use crate::api::requests::Ids;
use crate::app::App;
use crate::auth::Operator;
use crate::problem::{Kind, Problem};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get)).routes(routes!(renew))
}

fn object(common: &Common, order: Order) -> CertificateObject {
    CertificateObject::new(order, common.clock.now_ms())
}

/// In order of the names.
#[utoipa::path(get, path = "/v1/operator/certificates", tag = "certificates", operation_id = "listCertificates",
    security(("operator" = [])), params(ListParams), responses((status = 200, body = CertificateList)))]
async fn list(
    State(common): State<Common>,
    _: Operator,
    RawQuery(query): RawQuery,
) -> Result<Json<CertificateList>, Problem> {
    let query = queries::parse(query.as_deref(), &[], &[])?;
    let after = match &query.listing.cursor {
        Some((after, false)) => after.as_str(),
        Some((_, true)) => return Err(Problem::argument("queries", "cursorBefore is not offered for certificates")),
        None => "",
    };
    let (total, rows) = certificates::list(&common, after, query.listing.limit).await?;
    let certificates = rows.into_iter().map(|order| object(&common, order)).collect();
    Ok(Json(CertificateList { total, certificates }))
}

#[utoipa::path(get, path = "/v1/operator/certificates/{name}", tag = "certificates", operation_id = "getCertificateOfName",
    security(("operator" = [])), responses((status = 200, body = CertificateObject)))]
async fn get(State(common): State<Common>, _: Operator, ids: Ids) -> Result<Json<CertificateObject>, Problem> {
    let found = common.store.certificate_order(ids.text("name")?).await?.ok_or_else(unknown)?;
    Ok(Json(object(&common, found)))
}

/// Orders a certificate now, whatever the one that is there.
#[utoipa::path(post, path = "/v1/operator/certificates/{name}/renewal", tag = "certificates",
    operation_id = "renewCertificate", security(("operator" = [])), responses((status = 200, body = CertificateObject)))]
async fn renew(State(common): State<Common>, _: Operator, ids: Ids) -> Result<Json<CertificateObject>, Problem> {
    Ok(Json(object(&common, certificates::renew(&common, ids.text("name")?).await?)))
}

fn unknown() -> Problem {
    Problem::not_found(Kind::CertificateNotFound, "Certificate")
}
