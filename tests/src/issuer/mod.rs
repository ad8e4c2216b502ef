//! An identity provider that a test scripts: it signs whatever it is told, and serves its public keys.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

use crate::upstream::{Reply, Service};

/// `ring` makes no RSA keys.
const RSA: &[u8] = include_bytes!("rsa-2048-of-tests.der");

pub struct Issuer {
    service: Service,
    /// What it answers; `None`: it is away (503).
    document: Arc<Mutex<Option<String>>>,
    rsa: RsaKeyPair,
    ec: Mutex<(String, EcdsaKeyPair)>,
    ed: Ed25519KeyPair,
}

impl Issuer {
    /// Has an RSA key `rsa`, a P-256 key `ec` and an Ed25519 key `ed`.
    pub async fn start() -> Issuer {
        let document: Arc<Mutex<Option<String>>> = Arc::default();
        let answered = document.clone();
        let service = Service::start(move |_| match &*answered.lock().expect("nobody panics") {
            Some(document) => Reply::new(200, document.clone()).header("content-type", "application/json"),
            None => Reply::new(503, "away"),
        });
        let random = SystemRandom::new();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
        let issuer = Issuer {
            service: service.await,
            document,
            rsa: RsaKeyPair::from_der(RSA).expect("a key"),
            ec: Mutex::new(("ec".into(), pair())),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).expect("a key"),
        };
        issuer.serve();
        issuer
    }

    /// What the project of partner `demo` says of it.
    pub fn settings(&self) -> Value {
        json!({
            "issuer": self.service.url(), "audiences": ["savings", "savings-web"], "jwksUrl": format!("{}/jwks.json", self.service.url()),
            "algorithms": ["RS256", "ES256", "EdDSA"], "labelsClaim": "roles", "networks": ["127.0.0.0/8"],
        })
    }

    pub fn url(&self) -> String {
        self.service.url()
    }

    /// How often its keys were fetched.
    pub fn fetches(&self) -> usize {
        self.service.count()
    }

    /// Answers with its keys.
    pub fn serve(&self) {
        self.answer(Some(self.keys().to_string()));
    }

    pub fn answer(&self, document: Option<String>) {
        *self.document.lock().expect("nobody panics") = document;
    }

    /// Signs with another P-256 key from now on, of this id.
    pub fn rotate(&self, id: &str) {
        *self.ec.lock().expect("nobody panics") = (id.into(), pair());
    }

    pub fn keys(&self) -> Value {
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let rsa: PublicKeyComponents<Vec<u8>> = self.rsa.public().into();
        let ec = self.ec.lock().expect("nobody panics");
        let point = ec.1.public_key().as_ref();
        json!({ "keys": [
            { "kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256", "n": text(&rsa.n), "e": text(&rsa.e) },
            { "kty": "EC", "kid": ec.0, "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..]) },
            { "kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": text(self.ed.public_key().as_ref()) },
        ] })
    }

    /// The claims of a good token.
    pub fn claims(&self, end_user: &str) -> Value {
        let now = now();
        json!({
            "iss": self.url(), "aud": "savings", "sub": end_user, "iat": now, "exp": now + 300, "email_verified": true,
            "roles": ["saver"],
        })
    }

    pub fn token(&self, end_user: &str) -> String {
        self.sign(&self.claims(end_user))
    }

    /// Signed with the P-256 key.
    pub fn sign(&self, claims: &Value) -> String {
        let header = json!({ "typ": "JWT", "alg": "ES256", "kid": self.ec.lock().expect("nobody panics").0 });
        self.sign_raw(&header.to_string(), &claims.to_string())
    }

    /// The same for a header and claims as they stand; the header's `alg` decides on the key, ES256 if it names none of ours.
    pub fn sign_raw(&self, header: &str, claims: &str) -> String {
        let random = SystemRandom::new();
        let message = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(claims));
        let signature = if header.contains("\"RS256\"") {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            self.rsa.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).expect("a signature");
            signature
        } else if header.contains("\"EdDSA\"") {
            self.ed.sign(message.as_bytes()).as_ref().to_vec()
        } else if header.contains("\"HS256\"") {
            // With the public key as the secret, as it stands in the document.
            let keys = self.keys();
            let secret = keys["keys"][0]["n"].as_str().expect("a modulus");
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), message.as_bytes()).as_ref().to_vec()
        } else {
            let ec = self.ec.lock().expect("nobody panics");
            ec.1.sign(&random, message.as_bytes()).expect("a signature").as_ref().to_vec()
        };
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

fn pair() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).expect("a key")
}

/// Seconds since 1970.
pub fn now() -> i64 {
    std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs() as i64
}
