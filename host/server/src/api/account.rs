//! Signing in and out, and one's own account and sessions. The project of these routes is `console`.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{SET_COOKIE, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use larder_model::administrators::Session;
use larder_model::ids::SessionId;
use larder_platform::administrators::{self, Administration, Attempt};
use larder_platform::common::Common;
use larder_wire::administrators::{AccountObject, PasswordChange, SessionList, SessionObject, SignIn};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::requests::{self, Deleted, Ids};
use crate::app::App;
use crate::auth::{OfConsole, Person, SESSION_COOKIE, session_token};
use crate::problem::Problem;

/// The session of the request, in paths.
const CURRENT: &str = "current";

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get))
        .routes(routes!(update_password))
        .routes(routes!(create_session))
        .routes(routes!(list_sessions, delete_sessions))
        .routes(routes!(get_session, delete_session))
}

/// The header that gives the client this token, or takes it away.
fn cookie(common: &Common, token: Option<(&str, &Session)>) -> [(axum::http::HeaderName, String); 1] {
    let secure = if common.settings.server.root_url.starts_with("https://") { "; Secure" } else { "" };
    let (value, age) = match token {
        Some((token, session)) => (token, (session.expires_at_ms - session.updated_at_ms) / 1_000),
        None => ("", 0),
    };
    [(SET_COOKIE, format!("{SESSION_COOKIE}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}"))]
}

fn text(headers: &HeaderMap, name: axum::http::HeaderName) -> String {
    headers.get(name).map(HeaderValue::as_bytes).map(String::from_utf8_lossy).unwrap_or_default().into_owned()
}

/// Signs in. The token of the session is in the cookie. An attempt that fails is answered alike whether or not the address has
/// an account; after some of them each has to wait longer.
#[utoipa::path(post, path = "/v1/account/sessions/email", tag = "account", operation_id = "createEmailPasswordSession",
    security(()), request_body = SignIn, responses((status = 201, body = SessionObject)))]
async fn create_session(
    State(administration): State<Administration>,
    _: OfConsole,
    peer: Option<Extension<SocketAddr>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let input: SignIn = requests::json(body, requests::BODY_MAX).await?;
    let email = requests::chars("email", requests::required("email", input.email)?, 1..=254)?;
    let password = requests::chars("password", requests::required("password", input.password)?, 1..=256)?;
    let address = peer.map_or([0, 0, 0, 0].into(), |Extension(peer)| peer.ip());
    let replaces = session_token(&headers).map(str::to_owned);
    let attempt =
        Attempt { email, password, address, agent: text(&headers, USER_AGENT), replaces, code: None, place: None };
    let (signed_in, token) = administrators::sign_in(&administration, attempt).await?;
    let cookie = cookie(&administration, Some((&token, &signed_in.session)));
    let object = SessionObject::new(signed_in.session, &signed_in.administrator.email, true);
    Ok((StatusCode::CREATED, cookie, Json(object)).into_response())
}

#[utoipa::path(get, path = "/v1/account", tag = "account", operation_id = "getAccount", security(("session" = [])),
    responses((status = 200, body = AccountObject)))]
async fn get(Person(by): Person) -> Json<AccountObject> {
    Json(AccountObject::new(by.administrator, &by.session))
}

/// Replaces the password. All other sessions end.
#[utoipa::path(patch, path = "/v1/account/password", tag = "account", operation_id = "updatePassword",
    security(("session" = [])), request_body = PasswordChange, responses((status = 200, body = AccountObject)))]
async fn update_password(
    State(administration): State<Administration>,
    Person(mut by): Person,
    peer: Option<Extension<SocketAddr>>,
    body: Body,
) -> Result<Response, Problem> {
    let input: PasswordChange = requests::json(body, requests::BODY_MAX).await?;
    let new = requests::required("password", input.password)?;
    let old = requests::chars("oldPassword", requests::required("oldPassword", input.old_password)?, 1..=256)?;
    let address = peer.map_or([0, 0, 0, 0].into(), |Extension(peer)| peer.ip());
    let token = administrators::change_password(&administration, &mut by, old, new, address).await?;
    let cookie = cookie(&administration, Some((&token, &by.session)));
    Ok((cookie, Json(AccountObject::new(by.administrator, &by.session))).into_response())
}

#[utoipa::path(get, path = "/v1/account/sessions", tag = "account", operation_id = "listSessions",
    security(("session" = [])), responses((status = 200, body = SessionList)))]
async fn list_sessions(State(common): State<Common>, Person(by): Person) -> Result<Json<SessionList>, Problem> {
    let all = common.store.sessions(&by.administrator.id).await?;
    let object = |session: Session| {
        let current = session.id == by.session.id;
        SessionObject::new(session, &by.administrator.email, current)
    };
    let sessions: Vec<SessionObject> = all.into_iter().map(object).collect();
    Ok(Json(SessionList { total: sessions.len(), sessions }))
}

/// Ends all sessions, this one too.
#[utoipa::path(delete, path = "/v1/account/sessions", tag = "account", operation_id = "deleteSessions",
    security(("session" = [])), responses((status = 204)))]
async fn delete_sessions(State(common): State<Common>, Person(by): Person) -> Result<Response, Problem> {
    administrators::sign_out_everywhere(&common, &by).await?;
    Ok((cookie(&common, None), Deleted).into_response())
}

fn session_id(by: &Person, ids: &Ids) -> Result<SessionId, Problem> {
    match ids.text("sessionId")? {
        CURRENT => Ok(by.0.session.id.clone()),
        id => requests::id("sessionId", id),
    }
}

/// `current` is the session of the request.
#[utoipa::path(get, path = "/v1/account/sessions/{sessionId}", tag = "account", operation_id = "getSession",
    security(("session" = [])), responses((status = 200, body = SessionObject)))]
async fn get_session(State(common): State<Common>, by: Person, ids: Ids) -> Result<Json<SessionObject>, Problem> {
    let id = session_id(&by, &ids)?;
    let own = common.store.session(&id).await?.filter(|session| session.administrator == by.0.administrator.id);
    let session = own.ok_or(larder_store::Error::NotFound { what: "session" })?;
    Ok(Json(SessionObject::new(session, &by.0.administrator.email, id == by.0.session.id)))
}

/// Ends a session. `current` is the one of the request: it signs out.
#[utoipa::path(delete, path = "/v1/account/sessions/{sessionId}", tag = "account", operation_id = "deleteSession",
    security(("session" = [])), responses((status = 204)))]
async fn delete_session(State(common): State<Common>, by: Person, ids: Ids) -> Result<Response, Problem> {
    let id = session_id(&by, &ids)?;
    administrators::sign_out(&common, &by.0, &id).await?;
    Ok(match id == by.0.session.id {
        true => (cookie(&common, None), Deleted).into_response(),
        false => Deleted.into_response(),
    })
}
