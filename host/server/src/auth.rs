//! Credentials → who calls, for which partner, with which scopes.
//!
//! * [`Caller`], [`Operator`]: extractors; a handler that takes one cannot be reached without.
//! * [`ApiKey`](larder_model::ApiKey) texts: `larder_<key id>_<64 hex digits>_<8 hex digits>`, made by [`KeyText::generate`].
//!   The last part is a checksum, so that a mistyped key is refused before any look-up and leaked ones can be scanned
//!   for. Only the SHA-256 of the whole text is kept.
//!
//! The rule: **a key acts for its own partner only**. It is looked up among the keys of the partner that the request
//! names, so the key of another is simply unknown.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use hex::FromHex;
use http::request::Parts;
use http::{HeaderMap, Method};
use larder_model::ApiKey;
use larder_model::ids::{KeyId, PartnerId};
use larder_model::time::Clock;
use larder_platform::admission;
use larder_platform::bodies::Account;
use larder_platform::directory::Tenant;
use larder_store::Changer;
use larder_wire::scopes::Scope;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::OwnedSemaphorePermit;

use crate::app::App;
use crate::problem::{Kind, Problem};
use crate::routing::{Door, PARTNER_HEADERS};

const KEY_HEADER: &str = "x-appwrite-key";
const PREFIX: &str = "larder_";

/// Who calls a partner's API: a key of the partner, or a guest.
pub struct Caller {
    pub partner: PartnerId,
    pub tenant: Arc<Tenant>,
    /// `None`: a guest.
    pub key: Option<KeyId>,
    /// The key's; a guest has none.
    scopes: Vec<String>,
    /// Held by a read for as long as its handler works.
    _turn: Option<OwnedSemaphorePermit>,
}

impl Caller {
    /// As one who changes what names in grants lead to: a key that may approve does so by its change.
    pub fn changer<'a>(&'a self, clock: &'a Clock) -> Changer<'a> {
        let (approves, may_upload) = (self.has(Scope::GrantsWrite), self.has(Scope::FunctionsWrite));
        Changer { key: self.key.as_ref(), approves, may_upload, names_feeds: self.has(Scope::FeedsWrite), clock }
    }

    pub fn may(&self, scope: Scope) -> Result<(), Problem> {
        if self.has(scope) {
            return Ok(());
        }
        let word = scope.words()[0];
        let message = if self.is_guest() {
            format!("This needs a key with the scope {word}, and none was sent")
        } else {
            format!("The key lacks the scope {word}")
        };
        Err(Problem::new(Kind::Scope, message))
    }

    pub fn has(&self, scope: Scope) -> bool {
        let named = || scope.words().iter().any(|word| self.scopes.iter().any(|s| s == word));
        !self.is_guest() && (scope == Scope::HealthRead || named())
    }

    pub fn is_guest(&self) -> bool {
        self.key.is_none()
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Caller, Problem> {
        let partner = partner(parts)?;
        let text = key_text(&parts.headers)?;
        let known = |tenant: &Tenant| text.and_then(KeyText::id_of).is_none_or(|id| tenant.keys.contains_key(&id));
        let mut tenant = app.directory.tenant(&partner);
        if !tenant.as_deref().is_some_and(known) {
            app.directory.look_again().await;
            tenant = app.directory.tenant(&partner);
        }
        let tenant = tenant.ok_or_else(|| Problem::not_found(Kind::PartnerNotFound, "Project"))?;
        let key = text.map(|text| key(&tenant, text, app.clock.now_ms())).transpose()?;
        if let Some(account) = parts.extensions.get::<Account>() {
            account.belongs_to(&tenant.bodies, key.is_some());
        }
        let (key, scopes) = key.map(|key| (key.id.clone(), key.scopes.clone())).unzip();
        let turn = match parts.method {
            Method::GET | Method::HEAD => Some(admission::admit_read(app, &tenant).await?),
            _ => None,
        };
        Ok(Caller { partner, tenant, key, scopes: scopes.unwrap_or_default(), _turn: turn })
    }
}

/// The partner that a request is for, from whoever it comes: the handler asks for another credential than a key.
pub struct OfPartner(pub PartnerId);

impl FromRequestParts<App> for OfPartner {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<OfPartner, Problem> {
        let partner = partner(parts)?;
        if let (Some(account), Some(tenant)) = (parts.extensions.get::<Account>(), app.directory.tenant(&partner)) {
            account.belongs_to(&tenant.bodies, false);
        }
        Ok(OfPartner(partner))
    }
}

/// The partner of the door, which a header may repeat but not change; on a bare address, of a header or `?project=`.
fn partner(parts: &Parts) -> Result<PartnerId, Problem> {
    let none = || {
        Problem::new(
            Kind::AccessForbidden,
            "No project: call P-api.ROOT, or send X-Appwrite-Project on the bare address",
        )
    };
    match parts.extensions.get::<Door>() {
        Some(Door::Api(Some(partner))) => {
            let other = |name: &str| {
                parts.headers.get(name).is_some_and(|named| named.as_bytes() != partner.as_str().as_bytes())
            };
            if PARTNER_HEADERS.into_iter().any(other) {
                return Err(Problem::new(
                    Kind::Unauthorized,
                    "The project that a header names is not the one of this address",
                ));
            }
            Ok(partner.clone())
        }
        Some(Door::Api(None)) => {
            let query = parts.uri.query().unwrap_or_default();
            let named =
                crate::api::queries::pairs(query).find_map(|(name, value)| (name == "project").then_some(value));
            named.and_then(|id| id.parse().ok()).ok_or_else(none)
        }
        Some(Door::Web(_)) | None => Err(none()),
    }
}

fn key_text(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    match headers.get(KEY_HEADER).map(|text| text.to_str()) {
        None | Some(Ok("")) => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => Err(unknown_key()),
    }
}

fn unknown_key() -> Problem {
    Problem::new(Kind::Unauthorized, "The key is not one of this project")
}

/// The key, if it is one of this partner's and still good.
fn key<'t>(tenant: &'t Tenant, text: &str, now: i64) -> Result<&'t ApiKey, Problem> {
    if !text.starts_with(PREFIX) {
        return Err(Problem::new(Kind::Scope, "The key is of an unknown kind"));
    }
    let id = KeyText::id_of(text).ok_or_else(unknown_key)?;
    let key = tenant.keys.get(&id).ok_or_else(unknown_key)?;
    let stored: [u8; 32] = FromHex::from_hex(&key.secret_hash).ok().ok_or_else(unknown_key)?;
    if !bool::from(hash(text).ct_eq(&stored)) {
        return Err(unknown_key());
    }
    if key.expires_at_ms.is_some_and(|at| at <= now) {
        return Err(Problem::new(Kind::KeyExpired, "The key has expired"));
    }
    Ok(key)
}

/// The operator of the installation, who belongs to no partner.
pub struct Operator(());

impl FromRequestParts<App> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Operator, Problem> {
        let text = key_text(&parts.headers)?;
        match text {
            Some(text) if bool::from(hash(text).ct_eq(&app.operator_key_hash)) => Ok(Operator(())),
            _ => Err(Problem::new(Kind::Unauthorized, "This needs the operator key")),
        }
    }
}

/// SHA-256 of a key's text, which is what is kept of it.
pub fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// The text of a new API key. It is shown once and kept nowhere.
pub struct KeyText {
    pub id: KeyId,
    pub text: String,
}

impl KeyText {
    pub fn generate(clock: &Clock) -> KeyText {
        let id = KeyId::generate(clock);
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).expect("the operating system gives random bytes");
        let body = format!("{PREFIX}{id}_{}", hex::encode(secret.as_slice()));
        let text = format!("{body}_{}", checksum(&body));
        KeyText { id, text }
    }

    /// The public id in a key's text; `None` if the text is damaged.
    fn id_of(text: &str) -> Option<KeyId> {
        let (body, sum) = text.rsplit_once('_')?;
        if sum != checksum(body) {
            return None;
        }
        let (id, secret) = body.strip_prefix(PREFIX)?.rsplit_once('_')?;
        <[u8; 32]>::from_hex(secret).ok()?;
        id.parse().ok()
    }
}

fn checksum(body: &str) -> String {
    hex::encode(&hash(body)[..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_text_tells_its_id_and_no_damaged_one_does() {
        let key = KeyText::generate(&Clock::System);
        assert_eq!(KeyText::id_of(&key.text), Some(key.id.clone()));
        assert_eq!(key.text.len(), "larder_".len() + 26 + 1 + 64 + 1 + 8);
        for at in 0..key.text.len() {
            let mut bytes = key.text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(KeyText::id_of(std::str::from_utf8(&bytes).unwrap()), None, "byte {at}");
        }
        for text in ["", "larder_", "larder___", &key.text[..key.text.len() - 9], &format!("{}0", key.text)] {
            assert_eq!(KeyText::id_of(text), None, "{text}");
        }
    }

    #[test]
    fn two_keys_share_nothing() {
        let (a, b) = (KeyText::generate(&Clock::System), KeyText::generate(&Clock::System));
        assert_ne!(a.id, b.id);
        assert_ne!(hash(&a.text), hash(&b.text));
    }
}
