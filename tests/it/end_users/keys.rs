//! The keys of issuers: fetched through the guard, kept while the issuer is away, renewed and not too often.

use larder_tests::{Issuer, Larder, Options, both};
use serde_json::{Value, json};

/// Does a token pass, by the project's own word?
async fn passes(larder: &Larder, token: &str) -> bool {
    larder.api().post("/identity/checks", json!({ "token": token })).await.is(200)["valid"] == true
}

both!(the_last_good_keys_are_used_while_the_issuer_is_away, async |on| {
    let mut larder = Larder::start_with(Options::on(on).set("LARDER_IDENTITY__KEYS_REST", "1s")).await;
    let issuer = Issuer::start().await;
    larder.api().put("/identity", issuer.settings()).await.is(200);
    let token = issuer.token("anna");
    assert!(passes(&larder, &token).await);

    // What is no key set does not take the place of one, nor does silence.
    for document in [None, Some("<html>".to_owned()), Some(r#"{"keys":[]}"#.to_owned())] {
        issuer.answer(document);
        let object = larder.api().put("/identity", issuer.settings()).await.is(200);
        assert_ne!(object["keys"]["error"], "", "{object}");
        assert_eq!(object["keys"]["ids"], json!(["rsa", "ec", "ed"]));
        assert!(passes(&larder, &token).await);
    }
    // Nor does a restart forget them, and their age can be seen.
    let before = larder.api().get("/identity").await.is(200)["keys"]["fetchedAt"].clone();
    larder.kill();
    larder.restart().await;
    assert!(passes(&larder, &token).await);
    let keys = larder.api().get("/identity").await.is(200)["keys"].clone();
    assert_eq!(keys["fetchedAt"], before);
    assert!(keys["ageSeconds"].as_f64().unwrap() > 0.0, "{keys}");
    let (_, metrics) = larder.internal("/metrics").await;
    assert!(metrics.contains("larder_identity_keys_timestamp_seconds{partner=\"demo\"} 1"), "{metrics}");
    // A process beside it takes them over, too.
    if on == larder_tests::Backend::Services {
        let beside = larder.start_beside(Options::on(on)).await;
        let keys = beside.api_of(Some("demo"), Some(larder.key())).get("/identity").await.is(200)["keys"].clone();
        assert_eq!(keys["ids"], json!(["rsa", "ec", "ed"]));
    }
    // Where there were never any, that is said: the token may be good.
    issuer.answer(None);
    let other = larder.partner("other").await;
    other.put("/identity", issuer.settings()).await.is(200);
    let me = async || {
        let request = larder.web("other", reqwest::Method::GET, "/_larder/me").bearer_auth(&token);
        larder_tests::Api::send(request).await
    };
    me().await.is_error(503, "general_server_error");
    let check = other.post("/identity/checks", json!({ "token": token })).await.is(200);
    assert!(check["reason"].as_str().unwrap().contains("could not be fetched"), "{check}");
    issuer.serve();
    larder_tests::eventually("keys", async || (me().await.status == 200).then_some(())).await;
});

both!(unknown_keys_are_looked_for_once_in_a_while, async |on| {
    let larder = Larder::start_with(Options::on(on).set("LARDER_IDENTITY__KEYS_REST", "3s")).await;
    let issuer = Issuer::start().await;
    larder.api().put("/identity", issuer.settings()).await.is(200);
    assert_eq!(issuer.fetches(), 1);
    issuer.rotate("next");
    issuer.serve();
    let token = issuer.token("anna");
    // Many ask at once, and again and again.
    let unknown = issuer.sign_raw(r#"{"alg":"ES256","kid":"nobody"}"#, &issuer.claims("anna").to_string());
    let begun = std::time::Instant::now();
    let mut refused = 0;
    while !passes(&larder, &token).await {
        refused += 1;
        let asked = (0..10).map(|_| passes(&larder, &unknown));
        assert!(futures::future::join_all(asked).await.iter().all(|passed| !passed));
    }
    // Once for each rest, however many asked.
    let rests = begun.elapsed().as_secs() as usize / 3 + 1;
    assert!(refused > 0 && issuer.fetches() <= 1 + rests, "{refused} refused, {} fetches", issuer.fetches());
    assert!(!passes(&larder, &unknown).await);
});

both!(keys_are_renewed_when_they_are_old, async |on| {
    let options = Options::on(on).set("LARDER_IDENTITY__KEYS_REST", "1s").set("LARDER_IDENTITY__KEYS_REFRESH", "1s");
    let (larder, issuer) = (Larder::start_with(options).await, Issuer::start().await);
    larder.api().put("/identity", issuer.settings()).await.is(200);
    let token = issuer.token("anna");
    // A key that the issuer has taken back is forgotten.
    issuer.rotate("next");
    issuer.serve();
    larder_tests::eventually("the old key to be forgotten", async || (!passes(&larder, &token).await).then_some(()))
        .await;
    assert!(passes(&larder, &issuer.token("anna")).await);
});

both!(keys_are_fetched_only_where_the_operator_allows, async |on| {
    let larder = Larder::start_on(on).await;
    let (api, issuer) = (larder.api(), Issuer::start().await);
    let with = |name: &str, value: Value| {
        let mut settings = issuer.settings();
        settings[name] = value;
        settings
    };
    for (name, value, said) in [
        ("issuer", json!(""), "issuer"),
        ("algorithms", json!(["HS256"]), "algorithms"),
        ("algorithms", json!(["none"]), "algorithms"),
        ("audiences", json!([]), "audiences"),
        ("networks", json!([]), "jwksUrl"),
        ("jwksUrl", json!("ftp://x.example/keys"), "jwksUrl"),
        ("origins", json!(["https://app.example/path"]), "origins"),
        ("unknown", json!(1), "unknown"),
    ] {
        let message = api.put("/identity", with(name, value)).await.is_error(400, "general_argument_invalid");
        assert!(message.contains(said), "{message}");
    }
    api.get("/identity").await.is_error(404, "identity_not_found");
    // A network that the partner names and the operator does not allow, and one that nobody named.
    for (url, networks) in [("http://10.9.9.9/keys", json!(["10.9.9.0/24"])), ("https://127.0.0.1/keys", json!([]))] {
        let mut settings = with("jwksUrl", json!(url));
        settings["networks"] = networks;
        let object = api.put("/identity", settings).await.is(200);
        let error = object["keys"]["error"].as_str().unwrap();
        assert!(error.contains("private") || error.contains("public") || error.contains("network"), "{error}");
    }
    assert_eq!(issuer.fetches(), 0);
    // Who may not change settings does not.
    let reader = larder.operator().post("/partners/demo/keys", json!({ "scopes": ["identity.read"] })).await.is(201);
    let reader = larder.api_of(Some("demo"), reader["secret"].as_str());
    reader.get("/identity").await.is(200);
    reader.put("/identity", issuer.settings()).await.is_error(401, "general_unauthorized_scope");
    reader.delete("/identity").await.is_error(401, "general_unauthorized_scope");
    // The command line says the same.
    let folder = larder.scratch().to_owned();
    let jwks = format!("{}/jwks.json", issuer.url());
    let set = ["identity", "set", "--issuer", &issuer.url(), "--audience", "savings", "--jwks-url", &jwks];
    let (code, stdout, stderr) = larder.cli(&folder, &[&set[..], &["--network", "127.0.0.0/8"]].concat()).await;
    assert!(code == 0 && stdout.contains("keys.ids") && stderr.contains("3 keys were fetched"), "{stdout}{stderr}");
    std::fs::write(folder.join("token"), issuer.token("anna")).unwrap();
    let (code, stdout, _) = larder.cli(&folder, &["identity", "check", "token"]).await;
    assert_eq!((code, stdout.split_whitespace().next()), (0, Some("anna")));
    std::fs::write(folder.join("token"), "nonsense").unwrap();
    let (code, _, stderr) = larder.cli(&folder, &["identity", "check", "token"]).await;
    assert!(code == 1 && stderr.contains("three parts"), "{stderr}");
    let (code, _, _) = larder.cli(&folder, &["identity", "delete"]).await;
    assert_eq!(code, 0);
    let (code, _, stderr) = larder.cli(&folder, &["identity", "show"]).await;
    assert!(code == 1 && stderr.contains("PUT /v1/identity"), "{stderr}");
});
