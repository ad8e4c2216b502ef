//! A provider at which people sign in (OpenID Connect): it says of them whatever a test tells it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::upstream::{Received, Reply, Service};
use crate::{Issuer, Options, folder, now};

pub const CLIENT: &str = "larder console";
const SECRET: &str = "a secret: of the client's";

/// What was asked for with a code.
struct Asked {
    challenge: String,
    back: String,
    nonce: String,
}

#[derive(Default)]
struct Said {
    /// Laid over the claims of a good token; `null` takes one away.
    claims: Value,
    /// Answered in place of a token.
    instead: Option<Reply>,
    /// Its keys, as it publishes them.
    keys: Value,
    codes: BTreeMap<String, Asked>,
    made: usize,
}

pub struct Provider {
    service: Service,
    keys: Arc<Issuer>,
    said: Arc<Mutex<Said>>,
    secret: tempfile::TempDir,
}

impl Provider {
    pub async fn start() -> Provider {
        let keys = Arc::new(Issuer::start().await);
        let said = Arc::new(Mutex::new(Said { keys: keys.keys(), ..Said::default() }));
        let (signing, told) = (keys.clone(), said.clone());
        let service = Service::start(move |request| {
            let origin = format!("http://{}", request.header("host"));
            answer(&signing, &mut told.lock().expect("nobody panics"), &origin, request)
        });
        let secret = folder("larder-provider-");
        let file = secret.path().join("secret");
        crate::secure::write(&file, SECRET);
        Provider { service: service.await, keys, said, secret }
    }

    /// The settings of an installation that lets people sign in here.
    pub fn settings(&self, options: Options, roles: &str) -> Options {
        options
            .set("LARDER_OIDC__ISSUER", self.service.url())
            .set("LARDER_OIDC__NAME", "The Bank")
            .set("LARDER_OIDC__CLIENT_ID", CLIENT)
            .set("LARDER_OIDC__CLIENT_SECRET_FILE", self.secret.path().join("secret").to_string_lossy())
            .set("LARDER_OIDC__ROLES", roles)
    }

    /// What it says of whoever signs in from now on.
    pub fn says(&self, claims: Value) {
        self.said.lock().expect("nobody panics").claims = claims;
    }

    /// What it answers in place of tokens.
    pub fn answers(&self, instead: Option<Reply>) {
        self.said.lock().expect("nobody panics").instead = instead;
    }

    /// Signs with a key from now on that it does not publish.
    pub fn signs_with_another_key(&self) {
        self.keys.rotate("ec");
    }

    /// Publishes the keys with which it signs.
    pub fn publishes(&self) {
        self.said.lock().expect("nobody panics").keys = self.keys.keys();
    }

    /// Where it sends the browser back that was sent to this address.
    pub fn sends_back(&self, to: &str) -> String {
        sends_back(&mut self.said.lock().expect("nobody panics"), &self.service.url(), to)
    }

    pub fn received(&self) -> Vec<Received> {
        self.service.received()
    }
}

fn fields(text: &str) -> BTreeMap<String, String> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn sends_back(said: &mut Said, origin: &str, to: &str) -> String {
    let asked = fields(to.split_once('?').expect("a query").1);
    for (name, wanted) in [("response_type", "code"), ("client_id", CLIENT), ("code_challenge_method", "S256")] {
        assert_eq!(asked[name], wanted, "{to}");
    }
    assert!(asked["scope"].split(' ').any(|scope| scope == "openid"), "{to}");
    said.made += 1;
    let code = format!("code-{}", said.made);
    let one = |name: &str| asked[name].clone();
    said.codes.insert(
        code.clone(),
        Asked { challenge: one("code_challenge"), back: one("redirect_uri"), nonce: one("nonce") },
    );
    format!("{}?code={code}&state={}&iss={}", asked["redirect_uri"], encoded(&asked["state"]), encoded(origin))
}

fn answer(keys: &Issuer, said: &mut Said, origin: &str, request: &Received) -> Reply {
    let json = |value: Value| Reply::new(200, value.to_string()).header("content-type", "application/json");
    match request.target.split('?').next().unwrap_or_default() {
        "/.well-known/openid-configuration" => json(json!({
            "issuer": origin, "authorization_endpoint": format!("{origin}/authorize"),
            "token_endpoint": format!("{origin}/token"), "jwks_uri": format!("{origin}/jwks"),
        })),
        "/jwks" => json(said.keys.clone()),
        "/authorize" => Reply::new(302, "").header("location", sends_back(said, origin, &request.target)),
        "/token" => match said.instead.clone() {
            Some(instead) => instead,
            None => token(keys, said, origin, request),
        },
        _ => Reply::new(404, ""),
    }
}

fn token(keys: &Issuer, said: &mut Said, origin: &str, request: &Received) -> Reply {
    let form = fields(&String::from_utf8_lossy(&request.body));
    let refused = |why: &str| Reply::new(400, json!({ "error": why }).to_string());
    let basic = BASE64_STANDARD.encode(format!("{}:{}", encoded(CLIENT), encoded(SECRET)));
    if request.header("authorization") != format!("Basic {basic}") {
        return refused("invalid_client");
    }
    // Each once.
    let Some(asked) = said.codes.remove(&form["code"]) else { return refused("invalid_grant") };
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, form["code_verifier"].as_bytes()));
    if form["grant_type"] != "authorization_code" || challenge != asked.challenge || form["redirect_uri"] != asked.back
    {
        return refused("invalid_grant");
    }
    let now = now();
    let mut claims = json!({
        "iss": origin, "aud": CLIENT, "sub": "anna-1", "iat": now, "exp": now + 300, "nonce": asked.nonce,
        "email": "anna@bank.example", "email_verified": true, "name": "Anna", "amr": ["pwd", "mfa"],
    });
    for (name, value) in said.claims.as_object().into_iter().flatten() {
        match value {
            Value::Null => drop(claims.as_object_mut().expect("claims").remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    let answer = json!({ "access_token": "x", "token_type": "Bearer", "id_token": keys.sign(&claims) });
    Reply::new(200, answer.to_string())
}
