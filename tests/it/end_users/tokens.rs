//! Tokens of end users: which are good, and that every other one is refused in the same words.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use larder_tests::{Api, Issuer, Larder, both, guests, now};
use reqwest::Method;
use serde_json::{Value, json};

/// The claims with these members in place of others; `null` takes one out.
fn changed(mut claims: Value, change: Value) -> Value {
    let members = claims.as_object_mut().unwrap();
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => members.remove(name),
            value => members.insert(name.clone(), value.clone()),
        };
    }
    claims
}

/// Bad tokens, each with what is wrong with it. `other` is the issuer of another partner.
fn bad_tokens(issuer: &Issuer, other: &Issuer) -> Vec<(&'static str, String)> {
    const GOOD: &str = r#"{"typ":"JWT","alg":"ES256","kid":"ec"}"#;
    let claims = issuer.claims("anna");
    let text = claims.to_string();
    let with = |change: Value| issuer.sign(&changed(claims.clone(), change));
    let headed = |header: &str| issuer.sign_raw(header, &text);
    let good = issuer.token("anna");
    let [head, body, signature] = good.split('.').collect::<Vec<_>>()[..].try_into().unwrap();
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let own_key = issuer.keys()["keys"][1].clone();
    vec![
        ("empty", String::new()),
        ("no token", "nonsense".into()),
        ("two parts", format!("{head}.{body}")),
        ("four parts", format!("{good}.{signature}")),
        ("five parts, as if encrypted", format!("{head}.{body}.{signature}.a.b")),
        ("padding", format!("{head}==.{body}.{signature}")),
        ("another alphabet", format!("{head}.{body}.{}", "+/".repeat(43))),
        ("alg none", format!("{}.{body}.", encode(r#"{"alg":"none","typ":"JWT","kid":"ec"}"#))),
        ("alg None", format!("{}.{body}.", encode(r#"{"alg":"None","typ":"JWT","kid":"ec"}"#))),
        ("alg none with a signature", headed(r#"{"alg":"none","typ":"JWT","kid":"ec"}"#)),
        ("HS256 with the public key", headed(r#"{"alg":"HS256","typ":"JWT","kid":"rsa"}"#)),
        ("an algorithm that is not allowed", headed(r#"{"alg":"ES384","typ":"JWT","kid":"ec"}"#)),
        ("no alg", headed(r#"{"typ":"JWT","kid":"ec"}"#)),
        ("alg twice", headed(r#"{"alg":"ES256","typ":"JWT","kid":"ec","alg":"ES256"}"#)),
        ("no kid", headed(r#"{"alg":"ES256","typ":"JWT"}"#)),
        ("an unknown kid", headed(r#"{"alg":"ES256","typ":"JWT","kid":"nobody"}"#)),
        ("the kid of another key", headed(r#"{"alg":"ES256","typ":"JWT","kid":"rsa"}"#)),
        ("a kid that is no text", headed(r#"{"alg":"ES256","typ":"JWT","kid":1}"#)),
        ("a kid that is a path", headed(r#"{"alg":"ES256","typ":"JWT","kid":"../../dev/null"}"#)),
        ("another typ", headed(r#"{"alg":"ES256","typ":"logout+jwt","kid":"ec"}"#)),
        ("nested", headed(r#"{"alg":"ES256","typ":"JWT","cty":"JWT","kid":"ec"}"#)),
        ("crit", headed(r#"{"alg":"ES256","typ":"JWT","kid":"ec","crit":["exp"],"exp":1}"#)),
        ("crit of nothing", headed(r#"{"alg":"ES256","typ":"JWT","kid":"ec","crit":[]}"#)),
        ("unencoded", headed(r#"{"alg":"ES256","typ":"JWT","kid":"ec","b64":true}"#)),
        ("jku", headed(&format!(r#"{{"alg":"ES256","typ":"JWT","kid":"ec","jku":"{}/jwks.json"}}"#, issuer.url()))),
        ("x5u", headed(r#"{"alg":"ES256","typ":"JWT","kid":"ec","x5u":"https://evil.example/c"}"#)),
        ("x5c", headed(r#"{"alg":"ES256","typ":"JWT","kid":"ec","x5c":["AA"]}"#)),
        ("jwk", headed(&format!(r#"{{"alg":"ES256","typ":"JWT","kid":"ec","jwk":{own_key}}}"#))),
        ("a header that is no object", headed("[]")),
        ("no signature", format!("{head}.{body}.")),
        ("a signature of zeros", format!("{head}.{body}.{}", BASE64_URL_SAFE_NO_PAD.encode([0; 64]))),
        ("a changed signature", format!("{head}.{body}.{}", BASE64_URL_SAFE_NO_PAD.encode([7; 64]))),
        ("other claims under the signature", format!("{head}.{}.{signature}", encode(&text.replace("anna", "bo")))),
        ("other header under the signature", format!("{}.{body}.{signature}", encode(&GOOD.replace("JWT", "jwt")))),
        ("another partner's", other.token("anna")),
        ("another partner's in this issuer's name", other.sign(&changed(claims.clone(), json!({})))),
        ("expired", with(json!({ "exp": now() - 120 }))),
        ("no exp", with(json!({ "exp": null }))),
        ("an exp that is text", with(json!({ "exp": "9999999999" }))),
        ("an exp in milliseconds", with(json!({ "exp": now() * 1_000 }))),
        ("an exp below zero", with(json!({ "exp": -1 }))),
        ("not yet", with(json!({ "nbf": now() + 120 }))),
        ("an nbf that is text", with(json!({ "nbf": "0" }))),
        ("issued in the future", with(json!({ "iat": now() + 120 }))),
        ("another issuer", with(json!({ "iss": "https://id.example" }))),
        ("the issuer with a slash", with(json!({ "iss": format!("{}/", issuer.url()) }))),
        ("no issuer", with(json!({ "iss": null }))),
        ("a list of issuers", with(json!({ "iss": [issuer.url()] }))),
        ("another audience", with(json!({ "aud": "elsewhere" }))),
        ("an audience in other letters", with(json!({ "aud": "Savings" }))),
        ("several audiences", with(json!({ "aud": ["savings", "elsewhere"] }))),
        ("a list of no audience", with(json!({ "aud": [] }))),
        ("no audience", with(json!({ "aud": null }))),
        ("no sub", with(json!({ "sub": null }))),
        ("an empty sub", with(json!({ "sub": "" }))),
        ("a sub that is a number", with(json!({ "sub": 7 }))),
        ("a sub that is a list", with(json!({ "sub": ["anna"] }))),
        ("a sub with an invisible character", with(json!({ "sub": "an\u{200b}na" }))),
        ("a long sub", with(json!({ "sub": "a".repeat(129) }))),
        ("labels that are a number", with(json!({ "roles": 1 }))),
        ("duplicate claims", issuer.sign_raw(GOOD, &text.replacen('{', r#"{"sub":"bo","#, 1))),
        ("claims nested deep", with(json!({ "x": [[[[[[[[[[1]]]]]]]]]] }))),
        ("claims that are no object", issuer.sign_raw(GOOD, "[]")),
        ("claims that are no JSON", issuer.sign_raw(GOOD, "{")),
        ("claims with something behind", issuer.sign_raw(GOOD, &format!("{text}{text}"))),
        ("huge", with(json!({ "x": "a".repeat(9_000) }))),
    ]
}

both!(bad_tokens_are_refused_alike, async |on| {
    let (larder, issuer, other) = (Larder::start_on(on).await, Issuer::start().await, Issuer::start().await);
    let api = larder.api();
    api.put("/identity", issuer.settings()).await.is(200);
    larder.partner("other").await.put("/identity", other.settings()).await.is(200);
    let settings = json!({ "execute": ["any"], "routes": ["/hello"] });
    api.deploy("hello", &guests::guest("hello-http"), settings).await;

    let execute = async |token: &str| {
        let guest = larder.api_of(Some("demo"), None);
        let request = guest.request(Method::POST, "/functions/hello/executions").bearer_auth(token);
        Api::send(request.json(&json!({ "path": "/hello", "method": "GET" }))).await
    };
    execute(&issuer.token("anna")).await.is(201);
    let bad = bad_tokens(&issuer, &other);
    assert!(bad.len() >= 60, "{}", bad.len());
    let mut answers = std::collections::BTreeMap::<String, Vec<&str>>::new();
    for (what, token) in &bad {
        let answer = execute(token).await;
        answers.entry(format!("{} {}", answer.status, answer.body)).or_default().push(what);
        let request = larder.web("demo", Method::GET, "/hello").bearer_auth(token);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["www-authenticate"], "Bearer error=\"invalid_token\"", "{what}");
        let (status, body) = (answer.status().as_u16(), answer.json::<Value>().await.unwrap());
        answers.entry(format!("{status} {body}")).or_default().push(what);
    }
    assert_eq!(answers.len(), 1, "{answers:#?}");
    assert!(
        answers.keys().all(|answer| answer.starts_with("401 ") && answer.contains("user_jwt_invalid")),
        "{answers:#?}"
    );

    // Whoever may see the settings is told why.
    let mut reasons = std::collections::BTreeSet::new();
    for (what, token) in &bad {
        let check = api.post("/identity/checks", json!({ "token": token })).await.is(200);
        assert_eq!(check["valid"], false, "{what}");
        reasons.insert(check["reason"].as_str().unwrap().to_owned());
    }
    assert!(reasons.len() >= 10 && !reasons.contains(""), "{reasons:?}");
    let check = api.post("/identity/checks", json!({ "token": issuer.token("anna") })).await.is(200);
    assert_eq!(check, json!({ "valid": true, "reason": "", "endUser": "anna", "verified": true, "labels": ["saver"] }));
    let (_, metrics) = larder.internal("/metrics").await;
    for result in ["good", "malformed", "algorithm", "unknown_key", "signature", "expired", "audience"] {
        assert!(metrics.contains(&format!("larder_tokens_total{{result=\"{result}\"}}")), "{result}\n{metrics}");
    }
    // One is refused that comes twice, and several that come at once.
    let twice = larder.web("demo", Method::GET, "/hello").bearer_auth(issuer.token("anna"));
    let answer = twice.header("x-appwrite-jwt", issuer.token("anna")).send().await.unwrap();
    assert_eq!(answer.status(), 401);
});

both!(good_tokens_give_roles_at_both_doors, async |on| {
    let (larder, issuer) = (Larder::start_on(on).await, Issuer::start().await);
    let api = larder.api();
    // Until the project says so, a token means nothing.
    api.get("/identity").await.is_error(404, "identity_not_found");
    let object = api.put("/identity", issuer.settings()).await.is(200);
    assert_eq!(object["keys"]["ids"], json!(["rsa", "ec", "ed"]), "{object}");
    assert_eq!(object["keys"]["error"], "");
    api.deploy("open", &guests::guest("hello-http"), json!({ "routes": ["/open"] })).await;
    for (id, execute) in [
        ("anybody", json!(["any"])),
        ("guests", json!(["guests"])),
        ("users", json!(["users"])),
        ("verified", json!(["users/verified"])),
        ("unverified", json!(["users/unverified"])),
        ("anna", json!(["user:anna"])),
        ("savers", json!(["label:saver"])),
        ("team", json!(["team:saver", "member:anna"])),
    ] {
        api.deploy(id, &guests::guest("hello-http"), json!({ "routes": [format!("/{id}")], "execute": execute })).await;
    }
    let claims = |end_user: &str, change: Value| changed(issuer.claims(end_user), change);
    let anna = issuer.token("anna");
    let bo = issuer.sign(&claims("bo", json!({ "email_verified": false, "roles": "a saver" })));
    let cy = issuer.sign(&claims("åsa|7", json!({ "roles": null, "aud": ["savings", "savings-web"] })));
    let rsa = issuer.sign_raw(r#"{"alg":"RS256","kid":"rsa"}"#, &issuer.claims("anna").to_string());
    let ed = issuer.sign_raw(r#"{"alg":"EdDSA","kid":"ed","typ":"at+JWT"}"#, &issuer.claims("anna").to_string());
    let all = ["anybody", "guests", "users", "verified", "unverified", "anna", "savers", "team"];
    for (who, token, may) in [
        ("nobody", None, vec!["anybody", "guests"]),
        ("anna", Some(&anna), vec!["anybody", "users", "verified", "anna", "savers"]),
        ("anna by RSA", Some(&rsa), vec!["anybody", "users", "verified", "anna", "savers"]),
        ("anna by Ed25519", Some(&ed), vec!["anybody", "users", "verified", "anna", "savers"]),
        ("bo", Some(&bo), vec!["anybody", "users", "unverified", "savers"]),
        ("cy", Some(&cy), vec!["anybody", "users", "verified"]),
    ] {
        for function in all {
            let request = larder.web("demo", Method::GET, &format!("/{function}"));
            let request = token.iter().fold(request, |request, token| request.bearer_auth(token));
            let status = request.send().await.unwrap().status().as_u16();
            // The guest knows only /hello, and says so.
            assert_eq!(status, if may.contains(&function) { 404 } else { 401 }, "{who} at {function}");
            let guest = larder.api_of(Some("demo"), None);
            let request = guest.request(Method::POST, &format!("/functions/{function}/executions"));
            let request = token.iter().fold(request, |request, token| request.header("x-appwrite-jwt", *token));
            let answer = Api::send(request.json(&json!({ "path": "/hello", "method": "GET" }))).await;
            assert_eq!(answer.status, if may.contains(&function) { 201 } else { 401 }, "{who} at {function}");
        }
    }
    // A function without roles is open, and what its callers send is its own matter.
    let open = larder.web("demo", Method::GET, "/open").bearer_auth("anything").send().await.unwrap();
    assert_eq!(open.status(), 404);
    // The function is told who calls, and nobody else can say so.
    let told = larder.web("demo", Method::GET, "/users").bearer_auth(&cy).header("x-appwrite-user-id", "root");
    assert_eq!(told.send().await.unwrap().status(), 404);
    // A key does what it may, whatever else is sent with it.
    let request = api.request(Method::GET, "/functions").bearer_auth("anything");
    Api::send(request).await.is(200);
    // Without settings tokens mean nothing again.
    assert_eq!(api.delete("/identity").await.status, 204);
    let request = larder.web("demo", Method::GET, "/users").bearer_auth(&anna);
    assert_eq!(request.send().await.unwrap().status(), 401);
});
