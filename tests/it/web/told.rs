//! What a guest of `wasi:http` is told of its run: headers, environment, and a key for the API.

use std::time::Duration;

use larder_tests::{Api, Backend, Larder, Options, both, eventually, guests};
use reqwest::Method;
use serde_json::{Value, json};

/// The value of a header that the guest was told.
fn told<'a>(body: &'a Value, name: &str) -> Option<&'a str> {
    body["headers"].as_array()?.iter().find(|header| header[0] == name)?[1].as_str()
}

/// A synchronous execution of `mirror`; gives its answer.
async fn execute(api: &Api, input: Value) -> Value {
    let run = api.execute("mirror", input).await;
    let body = run["responseBody"].as_str().unwrap_or_default();
    serde_json::from_str(body).unwrap_or_else(|_| panic!("{run}"))
}

/// A grant for calling this Larder, with scopes of its API.
fn calling(larder: &Larder, scopes: &[&str]) -> Value {
    let http = json!({ "scheme": "http", "hosts": [larder.address()], "methods": ["GET", "POST", "PUT"], "network": "127.0.0.0/8" });
    json!({ "http": [http], "api": scopes })
}

/// The run calls the API with its key.
fn call(larder: &Larder, method: &str, path: &str, key: &str) -> Value {
    let url = format!("http://{}/v1{path}", larder.address());
    let headers = json!({ "x-appwrite-project": "demo", "x-appwrite-key": key, "content-type": "application/json" });
    let body =
        json!({ "method": method, "url": url, "headers": headers, "body": if method == "GET" { "" } else { "{}" } });
    json!({ "path": "/call", "body": body.to_string() })
}

both!(a_run_is_told_in_headers_who_and_what_caused_it, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let settings = json!({ "routes": ["/"], "events": ["card.purchase"] });
    api.deploy("mirror", &guests::guest("mirror"), settings).await;
    let seen: Value = larder.web("demo", Method::GET, "/").send().await.unwrap().json().await.unwrap();
    for prefix in ["x-appwrite", "x-larder"] {
        let told = |name: &str| told(&seen, &format!("{prefix}-{name}"));
        assert_eq!((told("trigger"), told("client-ip")), (Some("http"), Some("127.0.0.1")));
        assert_eq!((told("user-id"), told("event"), told("key")), (Some(""), None, None));
        assert_eq!(told("execution-id").unwrap().len(), 26);
    }
    for (name, value) in [("user-jwt", ""), ("country-code", ""), ("continent-code", ""), ("continent-eu", "false")] {
        assert_eq!(told(&seen, &format!("x-appwrite-{name}")), Some(value), "{name}");
    }
    // Through the API: who called it is known, too.
    let seen = execute(&api, json!({ "headers": { "x-own": "1" } })).await;
    assert_eq!((told(&seen, "x-own"), told(&seen, "x-larder-client-ip")), (Some("1"), Some("127.0.0.1")));
    assert_eq!(told(&seen, "x-appwrite-event"), None);
    // A stored run has an event, or says that it has none.
    api.post("/functions/mirror/executions", json!({ "async": true })).await.is(202);
    api.event("e1", "card.purchase", None, json!({})).await.is(202);
    for (trigger, event) in [("http", ""), ("event", "card.purchase")] {
        let seen: Value = eventually("the run to end", async || {
            let runs = api.executions("mirror").await;
            let headers = runs.iter().map(|run| (run, run["logs"].as_str().unwrap_or_default()));
            let seen = headers.filter_map(|(run, logs)| Some((run, serde_json::from_str::<Value>(logs).ok()?)));
            let mut seen = seen.map(|(run, headers)| (run["trigger"].clone(), json!({ "headers": headers })));
            seen.find(|(of, seen)| *of == trigger && told(seen, "x-larder-event").is_some()).map(|(_, seen)| seen)
        })
        .await;
        for name in ["x-appwrite-event", "x-larder-event"] {
            assert_eq!(told(&seen, name), Some(event), "{seen}");
        }
        assert_eq!(told(&seen, "x-appwrite-trigger"), Some(trigger));
    }
});

both!(a_run_knows_its_function_by_its_environment, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let settings =
        json!({ "name": "The mirror", "specification": "s-2vcpu-2gb", "limits": { "memoryBytes": 128 << 20 } });
    api.deploy("mirror", &guests::guest("mirror"), settings).await;
    for (key, value) in [("MINE", "1"), ("APPWRITE_FUNCTION_ID", "forged"), ("LARDER_VERSION", "forged")] {
        let body = json!({ "variableId": "unique()", "key": key, "value": value, "secret": false });
        api.post("/functions/mirror/variables", body).await.is(201);
    }
    let function = api.get("/functions/mirror").await.is(200);
    let environment = execute(&api, json!({})).await["environment"].clone();
    for (name, value) in [
        ("MINE", "1"),
        ("APPWRITE_FUNCTION_ID", "mirror"),
        ("APPWRITE_FUNCTION_NAME", "The mirror"),
        ("APPWRITE_FUNCTION_DEPLOYMENT", function["deploymentId"].as_str().unwrap()),
        ("APPWRITE_FUNCTION_PROJECT_ID", "demo"),
        ("APPWRITE_FUNCTION_RUNTIME_NAME", "wasi"),
        ("APPWRITE_FUNCTION_RUNTIME_VERSION", "0.2"),
        ("APPWRITE_FUNCTION_CPUS", "2"),
        ("APPWRITE_FUNCTION_MEMORY", "128"),
        ("APPWRITE_VERSION", "1.9.5"),
        ("APPWRITE_REGION", "default"),
        ("APPWRITE_DEPLOYMENT_TYPE", "manual"),
        ("APPWRITE_VCS_COMMIT_HASH", ""),
        ("LARDER_PARTNER_ID", "demo"),
        ("LARDER_FUNCTION_ID", "mirror"),
        ("LARDER_VERSION", larder_model::VERSION),
    ] {
        assert_eq!(environment[name], value, "{name} in {environment}");
    }
    let endpoint = environment["APPWRITE_FUNCTION_API_ENDPOINT"].as_str().unwrap();
    assert!(endpoint.starts_with("http://demo-api.localhost") && endpoint.ends_with("/v1"), "{endpoint}");
    assert_eq!(environment["LARDER_API_ENDPOINT"], endpoint);
});

both!(a_run_calls_the_api_by_its_own_key_as_far_as_granted, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.create_function("mirror", json!({ "scopes": ["functions.read", "rules.read"] })).await.is(201);
    // The function wants two scopes, and one of these is granted, beside one that it does not want.
    api.grant("mirror", calling(&larder, &["functions.read", "executions.write"])).await;
    assert_eq!(api.build("mirror", &guests::guest("mirror"), true).await["status"], "ready");
    let ask = async |method: &str, path: &str| execute(&api, call(&larder, method, path, "$KEY")).await;
    let own = ask("GET", "/functions/mirror").await;
    assert_eq!((&own["status"], &own["body"]["$id"]), (&json!(200), &json!("mirror")));
    for (method, path) in
        [("GET", "/proxy/rules"), ("POST", "/functions/mirror/executions"), ("PUT", "/functions/mirror")]
    {
        let refused = ask(method, path).await;
        assert_eq!((&refused["status"], &refused["body"]["type"]), (&json!(401), &json!("general_unauthorized_scope")));
    }
    // A run of a function without the grant, or without scopes, has no key.
    api.put("/functions/mirror", json!({ "name": "mirror", "scopes": [] })).await.is(200);
    assert_eq!(told(&execute(&api, json!({})).await, "x-appwrite-key"), None);
    api.put("/functions/mirror", json!({ "name": "mirror", "scopes": ["functions.read"] })).await.is(200);
    let key = told(&execute(&api, json!({})).await, "x-appwrite-key").unwrap().to_owned();
    assert!(key.starts_with("ephemeral_"), "{key}");
    // It was void when that run ended.
    larder.api_of(Some("demo"), Some(&key)).get("/functions").await.is_error(401, "user_unauthorized");
    api.grant("mirror", json!({})).await;
    assert_eq!(told(&execute(&api, json!({})).await, "x-appwrite-key"), None);
    // Approval is nothing that a function can be granted.
    let refused = api.put("/functions/mirror/grants", json!({ "api": ["grants.write"] })).await;
    assert!(refused.is_error(400, "general_argument_invalid").contains("grants.api"));
});

/// Starts a run that rests, and finds its key by having it call a server of the test's.
async fn resting(api: &Api) -> (String, tokio::task::JoinHandle<Value>) {
    let outside = larder_tests::outside::Outside::start().await;
    let grants = json!({
        "http": [{ "scheme": "http", "hosts": [outside.address.to_string()], "network": "127.0.0.0/8" }],
        "api": ["functions.read"],
    });
    api.grant("mirror", grants).await;
    let url = format!("http://{}/slow-body", outside.address);
    let body = json!({ "method": "GET", "url": url, "headers": { "x-told": "$KEY" } });
    let input = json!({ "path": "/call", "body": body.to_string() });
    let run = tokio::spawn({
        let api = api.clone();
        async move { api.execute("mirror", input).await }
    });
    let key = eventually("the call", async || outside.asked().first().map(|asked| asked.header("x-told"))).await;
    // The server closes its connections when it is dropped, which ends the run.
    tokio::spawn(async move {
        let _outside = outside;
        tokio::time::sleep(Duration::from_secs(3)).await;
    });
    (key, run)
}

both!(the_key_of_a_run_is_its_partners_and_ends_with_it, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    larder.partner("other").await;
    api.deploy("mirror", &guests::guest("mirror"), json!({ "scopes": ["functions.read"] })).await;
    let (key, run) = resting(&api).await;
    let by_key = larder.api_of(Some("demo"), Some(&key));
    by_key.get("/functions").await.is(200);
    by_key.get("/transactions").await.is_error(401, "general_unauthorized_scope");
    // Another partner's, a damaged one, and the operator's door.
    larder.api_of(Some("other"), Some(&key)).get("/functions").await.is_error(401, "user_unauthorized");
    let (most, last) = key.split_at(key.len() - 1);
    let damaged = format!("{most}{}", if last == "0" { "1" } else { "0" });
    larder.api_of(Some("demo"), Some(&damaged)).get("/functions").await.is_error(401, "user_unauthorized");
    larder.api_of(None, Some(&key)).get("/partners").await.is_error(401, "user_unauthorized");
    // A grant that is taken away counts at once, and so does the switch of the function.
    api.grant("mirror", json!({})).await;
    by_key.get("/functions").await.is_error(401, "general_unauthorized_scope");
    api.put("/functions/mirror", json!({ "name": "mirror", "enabled": false })).await.is(200);
    by_key.get("/functions").await.is_error(401, "user_unauthorized");
    run.await.unwrap();
    by_key.get("/functions").await.is_error(401, "user_unauthorized");
});

#[tokio::test(flavor = "multi_thread")]
async fn other_processes_know_the_key_of_a_run() {
    let larder = Larder::start_on(Backend::Services).await;
    let beside = larder.start_beside(Options::on(Backend::Services)).await;
    let api = larder.api();
    api.deploy("mirror", &guests::guest("mirror"), json!({ "scopes": ["functions.read"] })).await;
    let (key, run) = resting(&api).await;
    let by_key = beside.api_of(Some("demo"), Some(&key));
    by_key.get("/functions").await.is(200);
    run.await.unwrap();
    by_key.get("/functions").await.is_error(401, "user_unauthorized");
}
