//! The bounds of a partner, and how much of each is in use.

use axum::Json;
use axum::extract::State;
use larder_platform::common::Common;
use larder_platform::quotas::Cap;
use larder_wire::limits::{LimitList, LimitObject};
use larder_wire::scopes::Scope;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::Caller;
use crate::problem::Problem;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

#[utoipa::path(get, path = "/v1/limits", tag = "limits", operation_id = "listLimits",
    responses((status = 200, body = LimitList)))]
async fn list(State(common): State<Common>, caller: Caller) -> Result<Json<LimitList>, Problem> {
    caller.may(Scope::HealthRead)?;
    let mut limits = Vec::new();
    for cap in Cap::ALL {
        let used = cap.used(&common, &caller.tenant).await?;
        limits.push(LimitObject {
            id: cap.setting().into(),
            unit: cap.unit().into(),
            limit: cap.limit(&common.settings),
            used,
        });
    }
    Ok(Json(LimitList { total: limits.len() as u64, limits }))
}
