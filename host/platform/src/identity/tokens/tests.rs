//! The work is counted, so that no refusal is earlier than another. The whole table of bad tokens is in `tests/it/end_users`.

use std::cell::Cell;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;

use super::*;

/// What was done on this thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    pub signatures: u32,
    pub readings: u32,
}

thread_local! {
    static WORK: Cell<Work> = const { Cell::new(Work { signatures: 0, readings: 0 }) };
}

pub fn count(change: impl FnOnce(&mut Work)) {
    WORK.with(|work| {
        let mut now = work.get();
        change(&mut now);
        work.set(now);
    });
}

const NOW_S: i64 = 1_790_000_000;

struct Issuer {
    pair: EcdsaKeyPair,
    set: KeySet,
}

impl Issuer {
    fn new() -> Issuer {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = (BASE64_URL_SAFE_NO_PAD.encode(&point[1..33]), BASE64_URL_SAFE_NO_PAD.encode(&point[33..]));
        let key = |more: Value| {
            let mut key = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "k" });
            key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            key
        };
        let keys = json!({ "keys": [
            key(json!({ "use": "enc", "kid": "encryption" })),
            key(json!({ "key_ops": ["sign"], "kid": "signing" })),
            key(json!({ "d": x, "kid": "private" })),
            key(json!({ "alg": "ES384", "kid": "other-curve" })),
            key(json!({ "kid": "" })),
            json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "secret" }),
            json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "short" }),
            json!(7),
            key(json!({ "use": "sig", "alg": "ES256" })),
        ] });
        let set = KeySet::read(keys.to_string().as_bytes(), 0).unwrap();
        Issuer { pair, set }
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let [header, claims] = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
        let message = format!("{header}.{claims}");
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

fn settings() -> IdentitySettings {
    serde_json::from_value(json!({
        "issuer": "https://id.example", "audiences": ["app", "shop"], "jwksUrl": "https://id.example/keys", "labelsClaim": "roles",
    }))
    .unwrap()
}

fn claims(change: Value) -> String {
    let mut claims = json!({ "iss": "https://id.example", "aud": "app", "sub": "anna", "exp": NOW_S + 60, "iat": NOW_S, "roles": ["vip"] });
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims.to_string()
}

#[test]
fn only_keys_for_signatures_are_used() {
    let issuer = Issuer::new();
    assert_eq!(issuer.set.ids().collect::<Vec<_>>(), ["k"]);
    for (document, why) in [
        ("", "not JSON"),
        (r#"{"keys":[],"keys":[]}"#, "not JSON"),
        (r#"{"keys":{}}"#, "no list"),
        (r#"{"keys":[]}"#, "none of its 0 keys"),
    ] {
        let refused = KeySet::read(document.as_bytes(), 0).err().unwrap();
        assert!(refused.contains(why), "{document}: {refused}");
    }
    let many = json!({ "keys": vec![json!({}); 101] }).to_string();
    assert!(KeySet::read(many.as_bytes(), 0).err().unwrap().contains("101 keys"));
}

#[test]
fn every_token_costs_the_same_work() {
    let (issuer, settings) = (Issuer::new(), settings());
    const HEADER: &str = r#"{"alg":"ES256","kid":"k","typ":"JWT"}"#;
    let good = issuer.sign(HEADER, &claims(json!({})));
    let [head, body, signature] = parts(&good).unwrap();
    let signed = |change: Value| issuer.sign(HEADER, &claims(change));
    let headed = |header: &str| issuer.sign(header, &claims(json!({})));
    let all = [
        (good.clone(), Ok("anna")),
        (signed(json!({ "aud": ["app", "shop"], "nbf": NOW_S + 29, "exp": NOW_S - 29 })), Ok("anna")),
        (String::new(), Err(Why::Malformed)),
        ("a.b".into(), Err(Why::Malformed)),
        (format!("{good}."), Err(Why::Malformed)),
        (format!("{good}{}", "A".repeat(TOKEN_BYTES_MAX)), Err(Why::Malformed)),
        (format!("{head}=.{body}.{signature}"), Err(Why::Malformed)),
        (headed("[]"), Err(Why::Header)),
        (headed(r#"{"alg":"ES256","kid":"k","kid":"k"}"#), Err(Why::Header)),
        (headed(r#"{"alg":"ES256","kid":"k","crit":["exp"],"exp":1}"#), Err(Why::Header)),
        (headed(r#"{"alg":"ES256","kid":"k","typ":"logout+jwt"}"#), Err(Why::Header)),
        (headed(r#"{"alg":"ES256"}"#), Err(Why::Header)),
        (headed(r#"{"alg":"none","kid":"k"}"#), Err(Why::Algorithm)),
        (headed(r#"{"alg":"ES384","kid":"k"}"#), Err(Why::Algorithm)),
        (headed(r#"{"alg":"RS256","kid":"k"}"#), Err(Why::UnknownKey)),
        (headed(r#"{"alg":"ES256","kid":"encryption"}"#), Err(Why::UnknownKey)),
        (format!("{head}.{body}."), Err(Why::Signature)),
        (format!("{head}.{body}.{}", BASE64_URL_SAFE_NO_PAD.encode([1; 64])), Err(Why::Signature)),
        (Issuer::new().sign(HEADER, &claims(json!({}))), Err(Why::Signature)),
        (issuer.sign(HEADER, "[]"), Err(Why::Claims)),
        (issuer.sign(HEADER, &claims(json!({})).replacen('{', r#"{"sub":"bo","#, 1)), Err(Why::Claims)),
        (signed(json!({ "x": [[[[[[[[1]]]]]]]] })), Err(Why::Claims)),
        (signed(json!({ "iss": "https://id.example/" })), Err(Why::Issuer)),
        (signed(json!({ "iss": ["https://id.example"] })), Err(Why::Issuer)),
        (signed(json!({ "aud": ["app", "other"] })), Err(Why::Audience)),
        (signed(json!({ "aud": [] })), Err(Why::Audience)),
        (signed(json!({ "aud": null })), Err(Why::Audience)),
        (signed(json!({ "exp": NOW_S - 31 })), Err(Why::Expired)),
        (signed(json!({ "exp": null })), Err(Why::Expired)),
        (signed(json!({ "exp": NOW_S * 1_000 })), Err(Why::Expired)),
        (signed(json!({ "exp": "1799999999" })), Err(Why::Expired)),
        (signed(json!({ "nbf": NOW_S + 31 })), Err(Why::NotYet)),
        (signed(json!({ "nbf": "0" })), Err(Why::NotYet)),
        (signed(json!({ "iat": NOW_S + 31 })), Err(Why::NotYet)),
        (signed(json!({ "sub": 7 })), Err(Why::Subject)),
        (signed(json!({ "sub": "" })), Err(Why::Subject)),
        (signed(json!({ "sub": "a".repeat(129) })), Err(Why::User)),
        (signed(json!({ "roles": 7 })), Err(Why::User)),
    ];
    for (token, expected) in all {
        WORK.set(Work::default());
        let verified = verify(&settings, &issuer.set, &token, NOW_S * 1_000);
        let shown: String = token.chars().take(400).collect();
        assert_eq!(verified.as_ref().map(|user| user.id.as_str()).map_err(|why| *why), expected, "{shown}");
        assert_eq!(WORK.get(), Work { signatures: 1, readings: 2 }, "{expected:?}: {shown}");
    }
}
