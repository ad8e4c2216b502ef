//! The keys of issuers: fetched from where the partner's settings say, kept, and renewed.
//!
//! * [`KeySet`]: the usable keys of one document. [`Keys`]: the present set of one partner, and how it is renewed.
//!
//! A set is used for as long as there is no newer one: while the issuer is away its end users still come in, and how old the
//! set is can be seen. It is also stored, for processes that start meanwhile. It is renewed once it is
//! `identity.keys_refresh` old, and when a token names a key that is not in it: not more often than every
//! `identity.keys_rest`, so that nobody can make Larder ask an issuer again and again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use jsonwebtoken::{Algorithm, DecodingKey};
use larder_egress::{Destination, Times};
use larder_model::Scheme;
use larder_model::identities::{FetchedKeys, IdentitySettings, SigningAlgorithm};
use larder_model::ids::PartnerId;
use larder_model::net::authority::Authority;
use larder_model::net::http_rule;
use larder_model::strict_json;
use larder_model::time::Millis;
use serde_json::Value;

use crate::identity::Identities;

const DOCUMENT_BYTES_MAX: usize = 256 << 10;
const DOCUMENT_DEPTH_MAX: u8 = 8;
const KEYS_MAX: usize = 100;
/// Between two attempts while there are no keys at all.
const FIRST_REST: Duration = Duration::from_secs(5);
const WHY_CHARS_MAX: usize = 300;

/// One key of an issuer.
pub struct Key {
    id: String,
    kind: KeyKind,
    /// The one algorithm that it is for, if the issuer says so.
    algorithm: Option<SigningAlgorithm>,
    pub decoding: DecodingKey,
    pub signature_bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl KeyKind {
    fn serves(self, algorithm: SigningAlgorithm) -> bool {
        use SigningAlgorithm::*;
        match algorithm {
            Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512 => self == KeyKind::Rsa,
            Es256 => self == KeyKind::P256,
            Es384 => self == KeyKind::P384,
            EdDsa => self == KeyKind::Ed25519,
        }
    }
}

/// The library's name of an algorithm.
pub fn library(algorithm: SigningAlgorithm) -> Algorithm {
    match algorithm {
        SigningAlgorithm::Rs256 => Algorithm::RS256,
        SigningAlgorithm::Rs384 => Algorithm::RS384,
        SigningAlgorithm::Rs512 => Algorithm::RS512,
        SigningAlgorithm::Ps256 => Algorithm::PS256,
        SigningAlgorithm::Ps384 => Algorithm::PS384,
        SigningAlgorithm::Ps512 => Algorithm::PS512,
        SigningAlgorithm::Es256 => Algorithm::ES256,
        SigningAlgorithm::Es384 => Algorithm::ES384,
        SigningAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

impl Key {
    /// A key of a document, if tokens can be checked with it.
    fn read(jwk: &Value) -> Option<Key> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let bytes = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let is_public = jwk.get("d").is_none() && jwk.get("k").is_none();
        let is_for_signatures = jwk.get("use").is_none_or(|wanted| wanted == "sig")
            && jwk
                .get("key_ops")
                .is_none_or(|all| all.as_array().is_some_and(|all| all.iter().any(|op| op == "verify")));
        if !is_public || !is_for_signatures {
            return None;
        }
        let point = |size: usize| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            let whole = [&[4][..], &x, &y].concat();
            (x.len() == size && y.len() == size).then(|| DecodingKey::from_ec_der(&whole))
        };
        let (kind, decoding, signature_bytes) = match (text("kty")?, text("crv")) {
            ("RSA", None) => {
                let (n, e) = (bytes("n")?, bytes("e")?);
                let n = &n[n.iter().position(|byte| *byte != 0)?..];
                // 2048 to 8192 bits, as far as bytes tell.
                if !(256..=1_024).contains(&n.len()) || e.len() > 8 {
                    return None;
                }
                (KeyKind::Rsa, DecodingKey::from_rsa_raw_components(n, &e), n.len())
            }
            ("EC", Some("P-256")) => (KeyKind::P256, point(32)?, 64),
            ("EC", Some("P-384")) => (KeyKind::P384, point(48)?, 96),
            ("OKP", Some("Ed25519")) => {
                let x = bytes("x").filter(|x| x.len() == 32)?;
                (KeyKind::Ed25519, DecodingKey::from_ed_der(&x), 64)
            }
            _ => return None,
        };
        let algorithm = match text("alg") {
            Some(word) => Some(SigningAlgorithm::from_word(word).filter(|algorithm| kind.serves(*algorithm))?),
            None => None,
        };
        let id = text("kid").filter(|id| !id.is_empty())?.to_owned();
        Some(Key { id, kind, algorithm, decoding, signature_bytes })
    }

    fn serves(&self, algorithm: SigningAlgorithm) -> bool {
        self.kind.serves(algorithm) && self.algorithm.is_none_or(|own| own == algorithm)
    }
}

/// The usable keys of a document.
pub struct KeySet {
    keys: Vec<Key>,
    pub fetched_at_ms: Millis,
}

impl KeySet {
    /// Or what is wrong with the document. Keys that are not for checking signatures are left out.
    pub fn read(document: &[u8], fetched_at_ms: Millis) -> Result<KeySet, String> {
        let document =
            strict_json::read(document, DOCUMENT_DEPTH_MAX).map_err(|why| format!("its answer is not JSON: {why}"))?;
        let all = document.get("keys").and_then(Value::as_array).ok_or("its answer has no list `keys`")?;
        if all.len() > KEYS_MAX {
            return Err(format!("it has {} keys; at most {KEYS_MAX} are read", all.len()));
        }
        let keys: Vec<Key> = all.iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            let why = "has a `kid` and is an RSA, P-256, P-384 or Ed25519 key for signatures";
            return Err(format!("none of its {} keys {why}", all.len()));
        }
        Ok(KeySet { keys, fetched_at_ms })
    }

    pub fn find(&self, id: &str, algorithm: SigningAlgorithm) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id && key.serves(algorithm))
    }

    /// A key for signatures that are verified in place of others.
    pub fn decoy(&self, algorithms: &[SigningAlgorithm]) -> Option<(&Key, SigningAlgorithm)> {
        algorithms.iter().find_map(|one| Some((self.keys.iter().find(|key| key.serves(*one))?, *one)))
    }

    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }
}

/// The keys of one partner's issuer. Outlives reloads of the partner's snapshot.
pub struct Keys {
    partner: PartnerId,
    url: String,
    networks: Vec<String>,
    to: Destination,
    target: String,
    set: ArcSwapOption<KeySet>,
    /// One fetch at a time.
    fetching: tokio::sync::Mutex<()>,
    tried: Mutex<Tried>,
}

/// The last attempt to fetch.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    pub at_ms: Option<Millis>,
    /// Why it failed.
    pub error: Option<String>,
}

impl Keys {
    /// Of settings that were checked.
    pub fn new(partner: &PartnerId, settings: &IdentitySettings) -> Result<Keys, String> {
        let (base, target) = settings.source().map_err(|(name, why)| format!("{name}: {why}"))?;
        let host: Authority = base.host.parse().map_err(|err| format!("jwksUrl: {err}"))?;
        let scheme = if base.tls { Scheme::Https } else { Scheme::Http };
        let networks = settings.networks.iter().map(|text| http_rule::network(text)).collect::<Result<_, _>>()?;
        let to = Destination::new(scheme, Authority { port: Some(base.port), ..host }, networks);
        Ok(Keys {
            partner: partner.clone(),
            url: settings.jwks_url.clone(),
            networks: settings.networks.clone(),
            to,
            target,
            set: ArcSwapOption::empty(),
            fetching: tokio::sync::Mutex::default(),
            tried: Mutex::default(),
        })
    }

    /// Do they come from where these settings say?
    pub fn are_of(&self, settings: &IdentitySettings) -> bool {
        self.url == settings.jwks_url && self.networks == settings.networks
    }

    pub fn set(&self) -> Option<Arc<KeySet>> {
        self.set.load_full()
    }

    pub fn tried(&self) -> Tried {
        self.tried.lock().expect("no panic under the lock").clone()
    }

    /// The present set, from the database or the issuer if this process has none yet; `None` if there is none to be had.
    pub async fn any(self: &Arc<Self>, ctx: &Identities) -> Option<Arc<KeySet>> {
        let set = match self.set() {
            Some(set) => set,
            None => {
                let _one = self.fetching.lock().await;
                match self.set() {
                    Some(set) => set,
                    None if self.restore(ctx).await => self.set()?,
                    None => {
                        let rest = FIRST_REST.min(ctx.settings.identity.keys_rest);
                        if self.may_try(ctx, rest) {
                            self.fetch(ctx).await;
                        }
                        self.set()?
                    }
                }
            }
        };
        let age = Duration::from_millis((ctx.clock.now_ms() - set.fetched_at_ms).max(0) as u64);
        if age >= ctx.settings.identity.keys_refresh && self.may_try(ctx, ctx.settings.identity.keys_rest) {
            let (keys, ctx) = (self.clone(), ctx.clone());
            ctx.life.clone().spawn_work("keys of an issuer", async move {
                let _one = keys.fetching.lock().await;
                keys.fetch(&ctx).await;
            });
        }
        Some(set)
    }

    /// A newer set than this one, which lacks a key that a token names.
    pub async fn newer(&self, ctx: &Identities, than: &Arc<KeySet>) -> Option<Arc<KeySet>> {
        let is_newer = |set: &Arc<KeySet>| !Arc::ptr_eq(set, than);
        // Without waiting for anybody else's fetch where this one would not be made.
        if self.set().is_some_and(|set| is_newer(&set)) {
            return self.set();
        }
        let _one = self.fetching.lock().await;
        if !self.set().is_some_and(|set| is_newer(&set)) && self.may_try(ctx, ctx.settings.identity.keys_rest) {
            self.fetch(ctx).await;
        }
        self.set().filter(is_newer)
    }

    /// Fetches them now, whenever it was done last.
    pub async fn fetch_now(&self, ctx: &Identities) {
        let _one = self.fetching.lock().await;
        let _ = self.may_try(ctx, Duration::ZERO);
        self.fetch(ctx).await;
    }

    /// Takes the right to an attempt, if the last one was so long ago.
    fn may_try(&self, ctx: &Identities, rest: Duration) -> bool {
        let (now, rest) = (ctx.clock.now_ms(), rest.as_millis() as Millis);
        let mut tried = self.tried.lock().expect("no panic under the lock");
        // A clock that was set back ends the rest.
        let rests = tried.at_ms.is_some_and(|at| (at..at + rest).contains(&now));
        if !rests {
            tried.at_ms = Some(now);
        }
        !rests
    }

    /// Takes the set that some process has stored.
    async fn restore(&self, ctx: &Identities) -> bool {
        match ctx.store.identity_keys(&self.partner).await {
            Ok(Some(stored)) if stored.jwks_url == self.url => {
                match KeySet::read(stored.document.as_bytes(), stored.fetched_at_ms) {
                    Ok(set) => {
                        self.take(set);
                        true
                    }
                    Err(_) => false,
                }
            }
            Ok(_) => false,
            Err(err) => {
                tracing::warn!(partner.id = %self.partner, error = %err, "stored keys could not be read");
                false
            }
        }
    }

    fn take(&self, set: KeySet) {
        let seconds = set.fetched_at_ms as f64 / 1_000.0;
        metrics::gauge!("larder_identity_keys_timestamp_seconds", "partner" => self.partner.to_string()).set(seconds);
        self.set.store(Some(Arc::new(set)));
    }

    async fn fetch(&self, ctx: &Identities) {
        let now = ctx.clock.now_ms();
        let fetched = tokio::time::timeout(ctx.settings.identity.fetch_timeout, self.document(ctx)).await;
        let fetched = fetched.unwrap_or_else(|_| {
            Err(format!("there was no whole answer within {:?}", ctx.settings.identity.fetch_timeout))
        });
        let read = fetched.and_then(|document| Ok((KeySet::read(&document, now)?, document)));
        let result = if read.is_ok() { "good" } else { "failed" };
        metrics::counter!("larder_identity_fetches_total", "result" => result).increment(1);
        let error = match read {
            Ok((set, document)) => {
                let document = String::from_utf8_lossy(&document).into_owned();
                let keys = FetchedKeys { jwks_url: self.url.clone(), document, fetched_at_ms: now };
                self.take(set);
                if let Err(err) = ctx.store.put_identity_keys(&self.partner, &keys).await {
                    tracing::warn!(partner.id = %self.partner, error = %err, "keys could not be stored");
                }
                None
            }
            Err(why) => {
                let why: String = why.chars().take(WHY_CHARS_MAX).collect();
                tracing::warn!(
                    partner.id = %self.partner, url = %self.url, why,
                    "the keys of the issuer of partner {} could not be fetched; the last good ones are used", self.partner
                );
                Some(why)
            }
        };
        self.tried.lock().expect("no panic under the lock").error = error;
    }

    async fn document(&self, ctx: &Identities) -> Result<Bytes, String> {
        let request = Request::get(&self.target)
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .header(header::CACHE_CONTROL, "no-cache")
            .body(Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync())
            .map_err(|err| format!("its path cannot be asked for: {err}"))?;
        let times = Times::of(&ctx.settings.egress);
        let answer = ctx.egress.send(&self.partner, &self.to, request, &times).await.map_err(|err| err.to_string())?;
        if answer.status() != StatusCode::OK {
            return Err(format!("it answered {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), DOCUMENT_BYTES_MAX).collect().await;
        Ok(body
            .map_err(|err| format!("its answer is not whole, or has more than {DOCUMENT_BYTES_MAX} bytes: {err}"))?
            .to_bytes())
    }
}
