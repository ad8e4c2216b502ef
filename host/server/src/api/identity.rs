//! How the end users of the project prove who they are.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use larder_model::IdentitySettings;
use larder_platform::common::Common;
use larder_platform::identity::{self, Identities, IdentityView};
use larder_wire::datetime;
use larder_wire::identities::{IdentityKeys, IdentityObject, TokenCheck, TokenInput};
use larder_wire::scopes::Scope;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::requests::{self, Deleted};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get, set, delete)).routes(routes!(check))
}

fn object(common: &Common, view: &IdentityView) -> Json<IdentityObject> {
    let (set, tried) = (view.keys.set(), view.keys.tried());
    let fetched_at_ms = set.as_ref().map(|set| set.fetched_at_ms);
    let keys = IdentityKeys {
        ids: set.iter().flat_map(|set| set.ids()).map(str::to_owned).collect(),
        fetched_at: fetched_at_ms.map(datetime).unwrap_or_default(),
        age_seconds: fetched_at_ms.map(|at| (common.clock.now_ms() - at) as f64 / 1_000.0),
        tried_at: tried.at_ms.map(datetime).unwrap_or_default(),
        error: tried.error.unwrap_or_default(),
    };
    let identity = &view.identity;
    Json(IdentityObject {
        created_at: datetime(identity.created_at_ms),
        updated_at: datetime(identity.updated_at_ms),
        keys,
        settings: Some(identity.settings.clone()),
    })
}

/// Who changes it, for the log.
fn by(caller: &Caller) -> &str {
    caller.key.as_ref().map_or("", |key| key.as_str())
}

#[utoipa::path(get, path = "/v1/identity", tag = "identity", operation_id = "getIdentity",
    responses((status = 200, body = IdentityObject)))]
async fn get(State(ctx): State<Identities>, caller: Caller) -> Result<Json<IdentityObject>, Problem> {
    caller.may(Scope::IdentityRead)?;
    let view = identity::find(&caller.tenant)?;
    // Those that another process has fetched count, too.
    let _ = view.keys.any(&ctx).await;
    Ok(object(&ctx, view))
}

/// Replaces all settings and fetches the keys. Whether that worked is in `keys`.
#[utoipa::path(put, path = "/v1/identity", tag = "identity", operation_id = "updateIdentity",
    request_body = IdentitySettings, responses((status = 200, body = IdentityObject)))]
async fn set(State(ctx): State<Identities>, caller: Caller, body: Body) -> Result<Json<IdentityObject>, Problem> {
    caller.may(Scope::IdentityWrite)?;
    let settings: IdentitySettings = requests::json(body, requests::BODY_MAX).await?;
    identity::set(&ctx, &caller.partner, settings, by(&caller)).await?;
    let tenant = ctx.directory.tenant(&caller.partner);
    let tenant = tenant.ok_or_else(|| Problem::not_found(Kind::PartnerNotFound, "Project"))?;
    Ok(object(&ctx, identity::find(&tenant)?))
}

/// From then on no token of an end user is good.
#[utoipa::path(delete, path = "/v1/identity", tag = "identity", operation_id = "deleteIdentity",
    responses((status = 204)))]
async fn delete(State(ctx): State<Identities>, caller: Caller) -> Result<Deleted, Problem> {
    caller.may(Scope::IdentityWrite)?;
    identity::delete(&ctx, &caller.partner, by(&caller)).await?;
    Ok(Deleted)
}

/// What Larder makes of a token. Its sender is told no reason; you are.
#[utoipa::path(post, path = "/v1/identity/checks", tag = "identity", operation_id = "checkToken",
    request_body = TokenInput, responses((status = 200, body = TokenCheck)))]
async fn check(State(ctx): State<Identities>, caller: Caller, body: Body) -> Result<Json<TokenCheck>, Problem> {
    caller.may(Scope::IdentityRead)?;
    let body: TokenInput = requests::json(body, requests::BODY_MAX).await?;
    let token = requests::required("token", body.token)?;
    let view = identity::find(&caller.tenant)?;
    let refused = |reason: String| TokenCheck { reason, ..TokenCheck::default() };
    Ok(Json(match identity::check(&ctx, view, token.trim()).await {
        Ok(Ok(user)) => TokenCheck {
            valid: true,
            reason: String::new(),
            end_user: user.id,
            verified: user.verified,
            labels: user.labels,
        },
        Ok(Err(why)) => refused(why.text().into()),
        Err(why) => refused(why.to_string()),
    }))
}
