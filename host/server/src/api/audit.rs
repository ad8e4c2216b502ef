//! Audit records: who changed what. They are read, and written only with the changes themselves.

use axum::Json;
use axum::extract::{RawQuery, State};
use larder_platform::common::Common;
use larder_store::filters;
use larder_wire::audit::{AuditList, AuditObject};
use larder_wire::scopes::Scope;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::owners;
use crate::api::queries::{self, ListParams};
use crate::api::requests::Ids;
use crate::app::App;
use crate::auth::Author;
use crate::problem::{Kind, Problem};

pub fn router() -> OpenApiRouter<App> {
    owners::router("Audit", [routes!(list), routes!(get)])
}

/// What was changed, by whom and from where, in the order of its happening. It is filtered by `actorId`, `action`, `subjectId`
/// and `$createdAt`.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", operation_id = "listAuditRecords", params(ListParams),
    responses((status = 200, body = AuditList)))]
async fn list(
    State(common): State<Common>,
    author: Author,
    RawQuery(query): RawQuery,
) -> Result<Json<AuditList>, Problem> {
    author.may(Scope::AuditRead)?;
    let query = queries::parse(query.as_deref(), filters::AUDIT, &[])?;
    let page = common.store.list_audit_records(author.owner().as_ref(), &query.listing).await?;
    Ok(Json(AuditList { total: page.total, records: page.rows.into_iter().map(Into::into).collect() }))
}

#[utoipa::path(get, path = "/v1/audit/{recordId}", tag = "audit", operation_id = "getAuditRecord",
    responses((status = 200, body = AuditObject)))]
async fn get(State(common): State<Common>, author: Author, ids: Ids) -> Result<Json<AuditObject>, Problem> {
    author.may(Scope::AuditRead)?;
    let found = common.store.audit_record(author.owner().as_ref(), ids.text("recordId")?).await?;
    Ok(Json(found.ok_or_else(|| Problem::not_found(Kind::AuditRecordNotFound, "Audit record"))?.into()))
}
