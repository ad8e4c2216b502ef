//! Partners and keys: everything that a partner owns is invisible to every other, and a key does what its scopes say.

use larder_tests::{Api, Larder, both, guests};
use reqwest::Method;
use serde_json::{Value, json};

/// Makes a partner with a key of these scopes.
async fn partner(larder: &Larder, id: &str, scopes: &[&str]) -> (Api, String) {
    let operator = larder.operator();
    operator.post("/partners", json!({ "partnerId": id, "name": id })).await.is(201);
    let key = operator.post(&format!("/partners/{id}/keys"), json!({ "name": "test", "scopes": scopes })).await.is(201);
    let key = key["secret"].as_str().unwrap().to_owned();
    (larder.api_of(Some(id), Some(&key)), key)
}

both!(every_route_with_a_foreign_key_finds_nothing, async |on| {
    let larder = Larder::start_on(on).await;
    let owner = larder.api();
    owner.deploy("mine", &guests::guest("probe"), json!({ "events": ["probe.save"] })).await;
    let enrolment = owner.enrol("mine", "clock", "clock", json!({})).await;
    let event = owner.event("e", "probe.save", None, json!({ "amount": "1.00" })).await.is(202);
    let transaction = larder_tests::eventually("a transaction", async || owner.transactions().await.pop()).await;
    owner.deploy("fan", &guests::guest("probe"), json!({ "events": ["probe.reject"], "per": "enrolment" })).await;
    owner.event("f", "probe.reject", Some("fan"), json!({})).await.is(202);
    let fanouts = async || owner.get("/fanouts").await.is(200)["fanouts"].as_array()?.first().cloned();
    let variable = owner
        .post("/functions/mine/variables", json!({ "variableId": "unique()", "key": "TOKEN", "value": "s3cret" }))
        .await
        .is(201);
    owner.post("/upstreams", json!({ "name": "mine", "url": "https://mine.example" })).await.is(201);
    let mapping = larder_tests::aggregator::mapping();
    owner.post("/feeds", json!({ "name": "mine", "push": true, "mapping": mapping })).await.is(201);
    let rule = json!({ "domain": "mine.functions.localhost", "functionId": "mine" });
    let rule = owner.post("/proxy/rules/function", rule).await.is(201);
    let webhook = json!({ "webhookId": "mine", "name": "x", "url": "https://x.example", "events": ["functions.*"] });
    owner.post("/webhooks", webhook).await.is(201);
    let function = owner.get("/functions/mine").await.is(200);
    let fanout = larder_tests::eventually("a fan-out", fanouts).await;
    let action = json!({ "action": "discard", "functionId": "mine", "reason": "none of them" });
    let action = owner.post("/bulk-actions", action).await.is(202);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let owners_record = text(&owner.get("/audit").await.is(200)["records"][0]["$id"]);
    let known = |parameter: &str| match parameter {
        "functionId" => "mine".to_owned(),
        "deploymentId" => text(&function["deploymentId"]),
        "executionId" => text(&transaction["executionId"]),
        "variableId" => text(&variable["$id"]),
        "enrolmentId" => enrolment.clone(),
        "bulkActionId" => text(&action["$id"]),
        "fanoutId" => text(&fanout["$id"]),
        "transactionId" => text(&transaction["$id"]),
        "eventId" => text(&event["events"][0]["$id"]),
        "partnerId" => "demo".to_owned(),
        "keyId" | "templateId" | "buildId" | "administratorId" | "sessionId" | "projectId" => "any".to_owned(),
        "ruleId" => text(&rule["$id"]),
        "webhookId" => "mine".to_owned(),
        "queueName" => "functions".to_owned(),
        "recordId" => owners_record.clone(),
        "name" => "mine".to_owned(),
        other => panic!("the walk does not know the path parameter {other}"),
    };

    let (stranger, key) = partner(&larder, "other", &Api::every_scope()).await;
    let document = larder.api_of(None, None).get("/openapi.json").await.is(200);
    let mut walked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let Ok(method) = Method::from_bytes(method.to_uppercase().as_bytes()) else { continue };
            let mut filled = path.trim_start_matches("/v1").to_owned();
            while let Some((head, rest)) = filled.split_once('{') {
                let (name, tail) = rest.split_once('}').unwrap();
                filled = format!("{head}{}{tail}", known(name));
            }
            if !path.contains('{') {
                continue;
            }
            let request = stranger.request(method.clone(), &filled);
            let request =
                if matches!(method, Method::GET | Method::DELETE) { request } else { request.json(&body(path)) };
            let answer = Api::try_send(request).await.unwrap();
            let expected: &[u16] = match path.as_str() {
                path if path.contains("{partnerId}") || path.starts_with("/v1/operator/") => &[401],
                // For people who have signed in.
                path if path.starts_with("/v1/account/") || path.starts_with("/v1/projects/") => &[401],
                // Without a signature it is not told whether there is such a feed.
                path if path.ends_with("/push") => &[401],
                // Of everybody's own queues.
                path if path.starts_with("/v1/health/queue/") => &[200],
                // Not offered to anybody.
                path if path.ends_with("/template") || path.ends_with("/vcs") => &[404, 405],
                _ => &[404],
            };
            assert!(expected.contains(&answer.status), "{method} {filled}: {} {}", answer.status, answer.body);
            walked += 1;
        }
    }
    assert!(walked >= 20, "only {walked} routes were walked");

    // Lists are the stranger's own: empty. And nothing of the owner's has changed.
    for (path, rows) in [
        ("/functions", "functions"),
        ("/enrolments", "enrolments"),
        ("/transactions", "transactions"),
        ("/grants/changes", "grantChanges"),
        ("/feeds", "feeds"),
        ("/bulk-actions", "bulkActions"),
        ("/fanouts", "fanouts"),
        ("/proxy/rules", "rules"),
        ("/webhooks", "webhooks"),
    ] {
        assert_eq!(stranger.get(path).await.is(200)[rows], json!([]), "{path}");
    }
    assert_eq!(owner.get("/functions/mine").await.is(200)["deploymentId"], function["deploymentId"]);
    owner.get(&format!("/enrolments/{enrolment}")).await.is(200);

    // The stranger's key opens nothing at the owner's.
    larder.api_of(Some("demo"), Some(&key)).get("/functions").await.is_error(401, "user_unauthorized");
});

/// A body that passes the route's own checks, so that what answers is the look-up.
fn body(path: &str) -> Value {
    if path.ends_with("/grants") {
        return json!({ "state": true });
    }
    // The platform's own events reach webhooks and no functions.
    let events = if path.starts_with("/webhooks") { ["functions.*"] } else { ["card.purchase"] };
    json!({
        "digest": "d",
        "name": "x", "functionId": "mine", "deploymentId": "any", "status": "paused", "key": "K", "value": "v", "variableId": "v",
        "buildId": "", "scopes": [], "runtime": "wasi-0.2", "path": "/", "unused": path,
        "url": "https://x.example", "events": events,
    })
}

both!(a_key_does_what_its_scopes_say_and_no_more, async |on| {
    let larder = Larder::start_on(on).await;
    let (reader, _) = partner(&larder, "acme", &["functions.read"]).await;
    reader.get("/functions").await.is(200);
    reader.create_function("f", json!({})).await.is_error(401, "general_unauthorized_scope");
    reader.get("/transactions").await.is_error(401, "general_unauthorized_scope");
    reader.post("/partners", json!({ "partnerId": "evil", "name": "e" })).await.is_error(401, "user_unauthorized");
    larder.api_of(Some("acme"), None).get("/functions").await.is_error(401, "general_unauthorized_scope");
    larder.api_of(Some("nobody"), None).get("/functions").await.is_error(404, "project_not_found");
    larder.api_of(None, None).get("/functions").await.is_error(401, "general_access_forbidden");
    let wrong = format!("larder_x_{}_00000000", "0".repeat(64));
    assert_eq!(larder.api_of(Some("acme"), Some(&wrong)).get("/functions").await.status, 401);

    let operator = larder.operator();
    // A key that expires while it is used.
    let soon = chrono::Utc::now() + chrono::TimeDelta::seconds(3);
    let soon = soon.format("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string();
    let body = json!({ "name": "short", "scopes": ["functions.read"], "expire": soon });
    let key = operator.post("/partners/acme/keys", body).await.is(201);
    let short = larder.api_of(Some("acme"), key["secret"].as_str());
    short.get("/functions").await.is(200);
    let expired = larder_tests::eventually("the key to expire", async || {
        let answer = short.get("/functions").await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    expired.is_error(401, "project_key_expired");
    // A key that was taken away opens nothing from that moment on.
    let key = operator.post("/partners/acme/keys", json!({ "name": "k", "scopes": ["functions.read"] })).await.is(201);
    let api = larder.api_of(Some("acme"), key["secret"].as_str());
    api.get("/functions").await.is(200);
    let deleted = operator.delete(&format!("/partners/acme/keys/{}", key["$id"].as_str().unwrap())).await;
    assert_eq!(deleted.status, 204);
    assert_eq!(api.get("/functions").await.status, 401);
    let listed = operator.get("/partners/acme/keys").await.is(200).to_string();
    assert!(!listed.contains(key["secret"].as_str().unwrap()), "a secret is shown once");
});

both!(endpoints_are_chosen_by_the_host, async |on| {
    let larder = Larder::start_on(on).await;
    larder.api().deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/"] })).await;
    let ask = async |host: &str, path: &str| {
        let url = format!("http://{}{path}", larder.address());
        reqwest::Client::new().get(url).header("host", host).send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask("demo.localhost", "/hello").await, 200);
    assert_eq!(ask("demo-api.localhost", "/v1/health/version").await, 200);
    // The API is not at the web endpoint: its path is the function's.
    assert_eq!(ask("demo.localhost", "/v1/health/version").await, 404);
    assert_eq!(ask("elsewhere.example", "/hello").await, 404);
    assert_eq!(ask("other.localhost", "/hello").await, 404);
});
