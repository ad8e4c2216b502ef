//! An identity provider to try Larder on, beside the aggregator: whoever asks for the token of an example saver gets it.
//!
//! * `GET /identity/jwks.json`: its key. `GET /identity/sign-in?app=URL`: whom one can be.
//! * `GET /identity/token?user=ID&app=URL`: back to the app, with `#token=…`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde::Deserialize;
use serde_json::{Value, json};

/// Whom one can be: the first of `examples/events/savers.json`.
const SAVERS: [&str; 6] = ["saver-001", "saver-002", "saver-003", "saver-004", "saver-005", "saver-006"];
const VALID_S: i64 = 3_600;

#[derive(Clone)]
struct Issuer(Arc<Shared>);

struct Shared {
    /// The `iss` of its tokens.
    url: String,
    key: EcdsaKeyPair,
    key_id: String,
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    user: String,
    app: String,
}

pub fn router(listen: SocketAddr) -> anyhow::Result<Router> {
    let random = SystemRandom::new();
    let failed = |_| anyhow::anyhow!("no key could be made");
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).map_err(failed)?;
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random)?;
    let key_id = BASE64_URL_SAFE_NO_PAD.encode(&key.public_key().as_ref()[1..9]);
    let issuer = Issuer(Arc::new(Shared { url: format!("http://{listen}/identity"), key, key_id }));
    let router = Router::new()
        .route("/identity/jwks.json", get(keys))
        .route("/identity/sign-in", get(sign_in))
        .route("/identity/token", get(token));
    Ok(router.with_state(issuer))
}

async fn keys(State(issuer): State<Issuer>) -> Json<Value> {
    let point = issuer.0.key.public_key().as_ref();
    let (x, y) = (BASE64_URL_SAFE_NO_PAD.encode(&point[1..33]), BASE64_URL_SAFE_NO_PAD.encode(&point[33..]));
    let key =
        json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": issuer.0.key_id, "x": x, "y": y });
    Json(json!({ "keys": [key] }))
}

async fn sign_in(Query(asked): Query<Asked>) -> Response {
    let links =
        SAVERS.map(|user| format!("<li><a href=\"token?user={user}&amp;app={}\">{user}</a></li>", escaped(&asked.app)));
    let head = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Sign in</title><h1>Who are you?</h1>";
    let text = format!("{head}<p>An example: nobody asks for a password.</p><ul>{}</ul></html>", links.concat());
    ([("content-security-policy", "default-src 'none'; base-uri 'none'")], Html(text)).into_response()
}

async fn token(State(issuer): State<Issuer>, Query(asked): Query<Asked>) -> Response {
    if !SAVERS.contains(&asked.user.as_str()) || !is_local(&asked.app) {
        return (StatusCode::BAD_REQUEST, "there is no such saver, or the app is not on this machine\n")
            .into_response();
    }
    let now = chrono::Utc::now().timestamp();
    let header = json!({ "typ": "JWT", "alg": "ES256", "kid": issuer.0.key_id });
    let claims = json!({
        "iss": issuer.0.url, "aud": "savings", "sub": asked.user, "iat": now, "exp": now + VALID_S, "email_verified": true,
    });
    let [header, claims] = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
    let message = format!("{header}.{claims}");
    match issuer.0.key.sign(&SystemRandom::new(), message.as_bytes()) {
        Ok(signature) => {
            let token = format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
            Redirect::to(&format!("{}#token={token}", asked.app)).into_response()
        }
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "it could not be signed\n").into_response(),
    }
}

/// A token goes to a page of this machine only.
fn is_local(app: &str) -> bool {
    let host = app.strip_prefix("http://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default();
    !app.contains(['#', '@', '\\']) && (host == "127.0.0.1" || host == "localhost" || host.ends_with(".localhost"))
}

/// A value of a query, within an attribute.
fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
