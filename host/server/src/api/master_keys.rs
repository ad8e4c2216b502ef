//! Master keys: the operator's. Which seals, what is under which, and taking another into use.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use larder_platform::common::Sealer;
use larder_platform::key_rotation::{self, KeyState, Overview};
use larder_store::KeyUser;
use larder_wire::datetime;
use larder_wire::master_keys::{MasterKeyObject, MasterKeysObject, NewRotation, ProcessObject, RotationObject};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::requests;
use crate::app::App;
use crate::auth::Operator;
use crate::problem::Problem;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get)).routes(routes!(rotate))
}

fn object(seen: Overview) -> MasterKeysObject {
    let sealing = seen.sealing.id;
    let key = |key: KeyState| MasterKeyObject {
        id: key.id.to_string(),
        sealing: key.id == sealing,
        values: key.values,
        may_be_dropped: key.may_be_dropped,
    };
    let process = |user: KeyUser| ProcessObject {
        id: user.id,
        updated_at: datetime(user.seen_at_ms),
        name: user.name,
        known: user.known.iter().map(ToString::to_string).collect(),
        sealing: user.sealing.to_string(),
    };
    MasterKeysObject {
        sealing: sealing.to_string(),
        since: datetime(seen.sealing.since_ms),
        keys: seen.keys.into_iter().map(key).collect(),
        otherwise: seen.otherwise,
        settled_at: seen.settled_at_ms.map(datetime).unwrap_or_default(),
        processes: seen.users.into_iter().map(process).collect(),
    }
}

#[utoipa::path(get, path = "/v1/operator/master-keys", tag = "operator", operation_id = "getMasterKeys",
    security(("operator" = [])), responses((status = 200, body = MasterKeysObject)))]
async fn get(State(sealer): State<Sealer>, _: Operator) -> Result<Json<MasterKeysObject>, Problem> {
    Ok(Json(object(key_rotation::overview(&sealer).await?)))
}

/// Takes the first key of the file into use, once every process knows it, and rewraps what is under others. It may be cut
/// off and sent again.
#[utoipa::path(post, path = "/v1/operator/master-keys/rotation", tag = "operator", operation_id = "rotateMasterKey",
    security(("operator" = [])), request_body = NewRotation, responses((status = 200, body = RotationObject)))]
async fn rotate(State(sealer): State<Sealer>, _: Operator, body: Body) -> Result<Json<RotationObject>, Problem> {
    let body: NewRotation = requests::json(body, requests::BODY_MAX).await?;
    let wanted = match body.key_id {
        Some(id) => Some(id.parse().map_err(|()| Problem::argument("keyId", "must be 16 hex digits"))?),
        None => None,
    };
    let done = key_rotation::rotate(&sealer, wanted, body.limit.unwrap_or(u64::MAX)).await?;
    let seen = key_rotation::overview(&sealer).await?;
    let sealing = seen.sealing.id;
    let left = seen.otherwise + seen.keys.iter().filter(|key| key.id != sealing).map(|key| key.values).sum::<u64>();
    Ok(Json(RotationObject { rewrapped: done.values, left, unopened: done.undecryptable, state: object(seen) }))
}
