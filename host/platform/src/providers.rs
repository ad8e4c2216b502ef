//! Signing in at the operator's provider (`[oidc]`): the authorization code flow of OpenID Connect Core 1.0, section 3.1, with
//! PKCE (RFC 7636).
//!
//! * [`begin`]: where the browser is sent. [`finish`]: what it has brought back begins a session.
//!
//! Nothing is stored meanwhile: the browser keeps a secret in a cookie, and `state`, `nonce` and the verifier of PKCE follow
//! from it, each by a hash of its own. What somebody else has begun is therefore nothing in this browser.
//!
//! The rules: **an account is either of the provider or has a password** (so nobody whom the provider has let go comes in by
//! another way, and nobody becomes somebody with a password by having their address), **roles are what the provider's claims
//! give at each sign-in** ([`larder_model::providers`]), and **a change of them ends all sessions**.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use larder_egress::{Destination, Times};
use larder_model::Scheme;
use larder_model::administrators::{Administrator, Place};
use larder_model::audit::{Action, Actor, ActorKind};
use larder_model::identities::{IdentitySettings, SigningAlgorithm};
use larder_model::ids::AdministratorId;
use larder_model::net::authority::Authority;
use larder_model::providers;
use larder_model::strict_json;
use larder_model::time::Millis;
use larder_model::upstreams::Base;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::administrators::{self, ADMINISTRATORS_MAX, SignedIn};
use crate::audit::{self, Change, fields};
use crate::certificates::authority::everywhere;
use crate::common::{context, operator};
use crate::error::{Error, Result};
use crate::identity::keys::{KeySet, Keys};
use crate::identity::{Identities, Why, tokens};
use crate::keys;

/// Where a provider describes itself (OpenID Connect Discovery 1.0, section 4).
const DESCRIPTION: &str = "/.well-known/openid-configuration";
const ANSWER_BYTES_MAX: usize = 256 << 10;
const DEPTH_MAX: u8 = 12;
/// Exchanges of codes at once; further ones are refused.
const AT_ONCE: usize = 16;
const CODE_BYTES_MAX: usize = 4 << 10;
/// Every network that `egress.private_networks` allows.
const NETWORKS: [&str; 2] = ["0.0.0.0/0", "::/0"];
/// None of them is symmetric: whoever knows the client's secret could sign.
const ALGORITHMS: [SigningAlgorithm; 8] = [
    SigningAlgorithm::Rs256,
    SigningAlgorithm::Rs384,
    SigningAlgorithm::Rs512,
    SigningAlgorithm::Ps256,
    SigningAlgorithm::Ps384,
    SigningAlgorithm::Ps512,
    SigningAlgorithm::Es256,
    SigningAlgorithm::EdDsa,
];

context! {
    /// The context of signing in at the provider.
    Provider {
        identities: Identities,
        known: Known,
    }
}

/// What this process knows of the provider.
#[derive(Clone)]
pub struct Known(Arc<Kept>);

struct Kept {
    described: tokio::sync::Mutex<Option<Arc<Described>>>,
    /// The keys outlive a newer description that names the same place.
    keys: Mutex<Option<Arc<Keys>>>,
    turns: Semaphore,
}

impl Default for Known {
    fn default() -> Known {
        Known(Arc::new(Kept {
            described: tokio::sync::Mutex::default(),
            keys: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
        }))
    }
}

/// A provider, as it describes itself.
struct Described {
    authorization: String,
    token: (Base, String),
    /// It takes the client's secret in the form alone (RFC 6749, section 2.3.1).
    secret_in_form: bool,
    settings: IdentitySettings,
    keys: Arc<Keys>,
    at_ms: Millis,
}

/// Why somebody was not let in. What the provider said stands in the log.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("the provider did not answer as it should: {0}")]
    Away(String),
    #[error("the provider has refused: {0}")]
    Denied(String),
    #[error("this sign-in was begun elsewhere or too long ago")]
    Stale,
    #[error("the provider's ID token is not one of this sign-in: {0}")]
    Token(String),
    #[error("the provider does not vouch for an e-mail address (`email`, `email_verified`)")]
    Email,
    #[error("somebody else has this e-mail address, with a password or another account")]
    Taken,
    #[error("the provider's claims give no role here")]
    NoRole,
    #[error("a role needs a second factor, and the provider does not say that there was one (`amr`)")]
    OneFactor,
}

/// What the browser has brought back.
pub struct Brought {
    /// The secret of its cookie; empty without one.
    pub secret: String,
    pub state: String,
    pub code: String,
    /// Of RFC 9207, if the provider says it.
    pub issuer: Option<String>,
    pub error: String,
}

/// Where and from where somebody signs in.
pub struct Visit<'v> {
    pub place: &'v Place,
    /// The address at which the provider sends the browser back.
    pub back: &'v str,
    pub address: IpAddr,
    pub agent: &'v str,
}

/// A hash of the cookie's secret for one purpose.
fn derived(purpose: &str, secret: &str) -> String {
    hex::encode(keys::hash(&format!("{purpose} of {secret}")))
}

/// The address to which the browser of somebody with this secret is sent.
pub async fn begin(ctx: &Provider, secret: &str, back: &str) -> Result<String> {
    let described = describe(ctx).await?;
    let settings = &ctx.settings.oidc;
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(derived("verifier", secret)));
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("response_type", "code").append_pair("client_id", &settings.client_id);
    query.append_pair("redirect_uri", back).append_pair("scope", &settings.scopes.join(" "));
    query.append_pair("state", &derived("state", secret)).append_pair("nonce", &derived("nonce", secret));
    query.append_pair("code_challenge", &challenge).append_pair("code_challenge_method", "S256");
    let joint = if described.authorization.contains('?') { '&' } else { '?' };
    Ok(format!("{}{joint}{}", described.authorization, query.finish()))
}

/// Begins a session for whom the provider names; returns its token too.
pub async fn finish(ctx: &Provider, brought: Brought, visit: Visit<'_>) -> Result<(SignedIn, String)> {
    let attempt = administrators::begin_attempt_from(ctx, visit.address).await?;
    let entered = enter(ctx, brought, &visit).await;
    if let Err(Error::Provider(why)) = &entered {
        metrics::counter!("larder_sign_ins_total", "end" => "refused").increment(1);
        tracing::warn!(client.address = %visit.address, why = %why, "an attempt to sign in at the provider was refused");
        let change = Change::new(Action::SessionSignInFailed, "").after(serde_json::json!({ "why": why.to_string() }));
        audit::by(Actor::nobody());
        audit::record(ctx, administrators::records_of(Some(visit.place)), change).await?;
    }
    let administrator = entered?;
    ctx.store.end_attempt(&attempt, &attempt).await?;
    administrators::begin_session(ctx, administrator, Some(visit.place), visit.address, visit.agent).await
}

async fn enter(ctx: &Provider, brought: Brought, visit: &Visit<'_>) -> Result<Administrator> {
    let secret = &brought.secret;
    let is_ours = keys::is_text(&brought.state, &keys::hash(&derived("state", secret)));
    if secret.is_empty() || !is_ours {
        return Err(Refused::Stale.into());
    }
    let settings = &ctx.settings.oidc;
    if !administrators::is_from_here(ctx, visit.address) {
        return Err(Refused::Denied("nobody signs in from this address (administrators.networks)".into()).into());
    }
    if brought.issuer.as_ref().is_some_and(|issuer| *issuer != settings.issuer) {
        return Err(Refused::Token("another issuer has answered (`iss`)".into()).into());
    }
    if !brought.error.is_empty() {
        return Err(Refused::Denied(shortened(&brought.error)).into());
    }
    if !(1..=CODE_BYTES_MAX).contains(&brought.code.len()) {
        return Err(Refused::Denied("it has sent no code".into()).into());
    }
    let claims = claims(ctx, &brought, visit.back).await?;
    // What the claims change was changed by the provider.
    audit::by(Actor { kind: ActorKind::System, id: "oidc".into(), name: ctx.settings.oidc.issuer.clone() });
    let administrator = account(ctx, &claims).await?;
    match administrator.may_enter(visit.place) {
        true => Ok(administrator),
        false => Err(Refused::NoRole.into()),
    }
}

/// Exchanges the code for an ID token; returns its claims.
async fn claims(ctx: &Provider, brought: &Brought, back: &str) -> Result<Value> {
    let _turn = ctx.known.0.turns.try_acquire().map_err(|_| Error::TooManySignIns { retry_after_s: 1 })?;
    let described = describe(ctx).await?;
    let answer = exchange(ctx, &described, brought, back).await?;
    let id_token = answer.get("id_token").and_then(Value::as_str);
    let id_token = id_token.ok_or_else(|| Refused::Away("its answer has no `id_token`".into()))?;
    let keys = &described.keys;
    let verify = |set: &KeySet| tokens::verify_claims(&described.settings, set, id_token, ctx.clock.now_ms());
    let set = keys.any(&ctx.identities).await.ok_or_else(|| Refused::Away("its keys could not be fetched".into()))?;
    let verified = match verify(&set) {
        Err(Why::UnknownKey) => match keys.newer(&ctx.identities, &set).await {
            Some(newer) => verify(&newer),
            None => Err(Why::UnknownKey),
        },
        verified => verified,
    };
    let (_, claims) = verified.map_err(|why| Refused::Token(why.text().into()))?;
    let is = |name: &str, wanted: &str| claims.get(name).and_then(Value::as_str) == Some(wanted);
    if !is("nonce", &derived("nonce", &brought.secret)) {
        return Err(Refused::Token("its `nonce` is not ours".into()).into());
    }
    if claims.get("azp").is_some() && !is("azp", &ctx.settings.oidc.client_id) {
        return Err(Refused::Token("its `azp` is another client".into()).into());
    }
    Ok(claims)
}

async fn exchange(ctx: &Provider, described: &Described, brought: &Brought, back: &str) -> Result<Value> {
    let (request, form) = asked_for_token(ctx, described, brought, back).map_err(Refused::Away)?;
    let (status, answer) = ask(ctx, &described.token.0, request, form.into()).await.map_err(Refused::Away)?;
    let answer = answer.map_err(Refused::Away)?;
    if status != StatusCode::OK {
        let why = answer.get("error").and_then(Value::as_str).unwrap_or("it does not say why");
        return Err(Refused::Denied(format!("{status}: {}", shortened(why))).into());
    }
    Ok(answer)
}

/// RFC 6749, sections 4.1.3 and 2.3.1.
fn asked_for_token(
    ctx: &Provider,
    described: &Described,
    brought: &Brought,
    back: &str,
) -> std::result::Result<(http::request::Builder, String), String> {
    let settings = &ctx.settings.oidc;
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "authorization_code").append_pair("code", &brought.code);
    form.append_pair("redirect_uri", back).append_pair("client_id", &settings.client_id);
    form.append_pair("code_verifier", &derived("verifier", &brought.secret));
    let mut request = Request::post(&described.token.1)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ACCEPT, "application/json");
    if !settings.client_secret_file.as_os_str().is_empty() {
        let secret = larder_secrets::read_private(&settings.client_secret_file)
            .map_err(|err| format!("oidc.client_secret_file: {err}"))?;
        let secret = secret.trim();
        if described.secret_in_form {
            form.append_pair("client_secret", secret);
        } else {
            let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let both = BASE64_STANDARD.encode(format!("{}:{}", encoded(&settings.client_id), encoded(secret)));
            request = request.header(header::AUTHORIZATION, format!("Basic {both}"));
        }
    }
    Ok((request, form.finish()))
}

/// The administrator with these claims, made or changed to what they say.
async fn account(ctx: &Provider, claims: &Value) -> Result<Administrator> {
    let (settings, now) = (&ctx.settings.oidc, ctx.clock.now_ms());
    let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    let subject_hash = hex::encode(keys::hash(&format!("{}\n{subject}", settings.issuer)));
    let email = providers::email(claims, settings.trusts_email).ok_or(Refused::Email)?;
    if !administrators::is_listed(ctx, &email) {
        return Err(Refused::Email.into());
    }
    let mut roles = providers::roles(&settings.roles, &providers::values(claims, &settings.roles_claim));
    roles.retain(|role| role.partner.as_ref().is_none_or(|partner| ctx.directory.tenant(partner).is_some()));
    let known = ctx.store.administrator_of_provider(&subject_hash).await?;
    let is_known = known.is_some();
    let found = match known {
        Some(id) => ctx.store.administrator(&id).await?,
        None => match ctx.store.password_of_email(&email).await? {
            Some((id, hash)) if hash.is_empty() => ctx.store.administrator(&id).await?,
            Some(_) => return Err(Refused::Taken.into()),
            None => None,
        },
    };
    let needs = &ctx.settings.administrators.second_factor_for;
    let has_two = || {
        let said = providers::values(claims, "amr");
        settings.second_factor.is_empty() || settings.second_factor.iter().any(|one| said.contains(&one.as_str()))
    };
    // The roles of before stay where a sign-in has proved less than theirs need.
    if roles.iter().any(|role| needs.contains(&role.role)) && !has_two() {
        return Err(Refused::OneFactor.into());
    }
    let taken = |err: larder_store::Error| match err {
        larder_store::Error::Conflict { .. } | larder_store::Error::NotFound { what: "administrator" } => {
            Error::from(Refused::Taken)
        }
        err => err.into(),
    };
    let name = providers::name(claims);
    let Some(mut administrator) = found else {
        if roles.is_empty() {
            return Err(Refused::NoRole.into());
        }
        if ctx.store.administrators().await?.len() as u64 >= ADMINISTRATORS_MAX {
            return Err(Error::TooMany { of: "installation", most: ADMINISTRATORS_MAX, what: "administrators" });
        }
        let administrator = Administrator {
            id: AdministratorId::generate(&ctx.clock),
            email,
            name,
            password_hash: String::new(),
            email_verified_at_ms: Some(now),
            second_factor: false,
            is_of_provider: true,
            roles,
            password_at_ms: now,
            created_at_ms: now,
            updated_at_ms: now,
        };
        let change = Change::new(Action::AdministratorCreate, administrator.id.as_str());
        let change = change.after(fields::administrator(&administrator));
        let store = administrators::concerning(ctx, &[&administrator.roles], change);
        store.insert_provider_account(&subject_hash, &administrator).await.map_err(taken)?;
        tracing::info!(administrator.id = %administrator.id, "the provider's claims have made administrator {}", administrator.id);
        return Ok(administrator);
    };
    let old = administrator.clone();
    let is_same = administrator.email == email && administrator.name == name && administrator.roles == roles;
    (administrator.email, administrator.name, administrator.roles) = (email, name, roles);
    (administrator.email_verified_at_ms, administrator.updated_at_ms) = (Some(now), now);
    administrator.is_of_provider = true;
    let change = Change::new(Action::AdministratorUpdate, old.id.as_str());
    let change = change.from_to(fields::administrator(&old), fields::administrator(&administrator));
    let store = administrators::concerning(ctx, &[&old.roles, &administrator.roles], change);
    if !is_known {
        store.take_for_provider(&subject_hash, &administrator).await.map_err(taken)?;
    } else if !is_same {
        store.change_provider_account(&administrator).await.map_err(taken)?;
    } else {
        return Ok(administrator);
    }
    tracing::info!(administrator.id = %administrator.id, "the provider's claims have changed administrator {}", administrator.id);
    Ok(administrator)
}

/// The provider, asked again once what is known is `identity.keys_refresh` old. While it is away, what is known counts.
async fn describe(ctx: &Provider) -> Result<Arc<Described>> {
    let mut kept = ctx.known.0.described.lock().await;
    let now = ctx.clock.now_ms();
    let age = |known: &Described| Duration::from_millis((now - known.at_ms).max(0) as u64);
    if let Some(known) = kept.as_ref().filter(|known| age(known) < ctx.settings.identity.keys_refresh) {
        return Ok(known.clone());
    }
    match read(ctx, now).await {
        Ok(read) => {
            let read = Arc::new(read);
            *kept = Some(read.clone());
            Ok(read)
        }
        Err(why) => match kept.as_ref() {
            Some(known) => {
                tracing::warn!(why, "the provider could not be asked for its description; the last one is used");
                Ok(known.clone())
            }
            None => Err(Refused::Away(why).into()),
        },
    }
}

async fn read(ctx: &Provider, now: Millis) -> std::result::Result<Described, String> {
    let settings = &ctx.settings.oidc;
    let (base, path) = providers::place(&settings.issuer)?;
    let request =
        Request::get(format!("{}{DESCRIPTION}", path.trim_end_matches('/'))).header(header::ACCEPT, "application/json");
    let (status, answer) = ask(ctx, &base, request, Bytes::new()).await?;
    if status != StatusCode::OK {
        return Err(format!("{DESCRIPTION}: it answered {status}"));
    }
    let answer = answer?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str).ok_or(format!("{DESCRIPTION} has no `{name}`"));
    if text("issuer")? != settings.issuer {
        return Err(format!("{DESCRIPTION} is of another issuer: {:?}", shortened(text("issuer")?)));
    }
    let authorization = text("authorization_endpoint")?.to_owned();
    providers::place(&authorization).map_err(|why| format!("`authorization_endpoint` {why}"))?;
    let token = providers::place(text("token_endpoint")?).map_err(|why| format!("`token_endpoint` {why}"))?;
    let jwks_url = text("jwks_uri")?.to_owned();
    providers::place(&jwks_url).map_err(|why| format!("`jwks_uri` {why}"))?;
    let ways = providers::values(&answer, "token_endpoint_auth_methods_supported");
    let has = |way: &str| ways.contains(&way);
    let identity = IdentitySettings {
        issuer: settings.issuer.clone(),
        audiences: vec![settings.client_id.clone()],
        jwks_url,
        algorithms: ALGORITHMS.into(),
        user_claim: "sub".into(),
        networks: NETWORKS.map(str::to_owned).into(),
        ..IdentitySettings::default()
    };
    let mut kept = ctx.known.0.keys.lock().expect("no panic under the lock");
    let keys = match kept.as_ref().filter(|keys| keys.are_of(&identity)) {
        Some(keys) => keys.clone(),
        None => Arc::new(Keys::new(&operator(), &identity)?),
    };
    *kept = Some(keys.clone());
    Ok(Described {
        authorization,
        token,
        secret_in_form: has("client_secret_post") && !has("client_secret_basic"),
        settings: identity,
        keys,
        at_ms: now,
    })
}

type Answer = std::result::Result<Value, String>;

/// What the provider answers: its status, and its text if that is JSON.
async fn ask(
    ctx: &Provider,
    base: &Base,
    request: http::request::Builder,
    body: Bytes,
) -> std::result::Result<(StatusCode, Answer), String> {
    let scheme = if base.tls { Scheme::Https } else { Scheme::Http };
    let host: Authority = base.host.parse().map_err(|err| format!("{}: {err}", base.host))?;
    let to = Destination::new(scheme, Authority { port: Some(base.port), ..host }, everywhere());
    let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
    let request = request.body(body).map_err(|err| err.to_string())?;
    let timeout = ctx.settings.identity.fetch_timeout;
    let exchange = async {
        let times = Times::of(&ctx.settings.egress);
        let sent = ctx.identities.egress.send(&operator(), &to, request, &times).await;
        let (head, body) = sent.map_err(|err| err.to_string())?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body =
            body.map_err(|err| format!("its answer is not whole, or longer than {ANSWER_BYTES_MAX} bytes: {err}"))?;
        let read =
            strict_json::read(&body.to_bytes(), DEPTH_MAX).map_err(|why| format!("its answer is not JSON: {why}"));
        Ok((head.status, read))
    };
    tokio::time::timeout(timeout, exchange)
        .await
        .unwrap_or_else(|_| Err(format!("there was no whole answer within {timeout:?}")))
}

fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
