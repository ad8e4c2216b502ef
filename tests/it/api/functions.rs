//! The wire format of functions: settings, variables, firings, and the document that describes it all.

use std::collections::BTreeSet;

use larder_tests::{Api, Larder, both, eventually, guests};
use reqwest::Method;
use serde_json::{Value, json};

fn hello() -> Vec<u8> {
    guests::guest("hello-http")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

both!(functions_are_created_replaced_and_deleted, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let made = api.create_function("unique()", json!({})).await.is(201);
    let id = text(&made["$id"]);
    assert!(id.len() == 20 && id.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()), "{id}");
    assert_eq!(
        (&made["execute"], &made["timeout"], &made["enabled"], &made["logging"], &made["live"], &made["schedule"]),
        (&json!([]), &json!(15), &json!(true), &json!(true), &json!(true), &json!(""))
    );
    assert_eq!((&made["deploymentId"], &made["latestDeploymentCreatedAt"]), (&json!(""), &json!("")));
    let created = text(&made["$createdAt"]);
    assert!(created.len() == 29 && created.ends_with("+00:00"), "{created}");
    api.create_function(id, json!({})).await.is_error(409, "function_already_exists");

    let full = json!({
        "execute": ["any"], "timeout": 30, "schedule": "0 9 * * *", "timezone": "Europe/Stockholm", "enabled": false,
        "logging": false, "entrypoint": "e", "routes": ["/a"], "events": ["x.y"], "scopes": ["users.read"],
        "limits": { "memoryBytes": 1_000_000 }, "per": "enrolment", "topics": "all", "unknown": { "is": "ignored" },
    });
    let made = api.create_function("full", full).await.is(201);
    assert_eq!(
        (&made["enabled"], &made["routes"], &made["limits"]["memoryBytes"]),
        (&json!(false), &json!(["/a"]), &json!(1_000_000))
    );
    let replaced = api.put("/functions/full", json!({ "name": "new" })).await.is(200);
    for (name, default) in [
        ("name", json!("new")),
        ("execute", json!([])),
        ("timeout", json!(15)),
        ("schedule", json!("")),
        ("enabled", json!(true)),
        ("logging", json!(true)),
        ("events", json!([])),
        ("scopes", json!([])),
        // These stay, the last five because clients of the replaced platform do not know them.
        ("timezone", json!("Europe/Stockholm")),
        ("routes", json!(["/a"])),
        ("per", json!("enrolment")),
        ("topics", json!("all")),
        ("limits", json!({ "memoryBytes": 1_000_000 })),
        ("runtime", json!("wasi-0.2")),
        ("entrypoint", json!("e")),
    ] {
        assert_eq!(replaced[name], default, "{name}");
    }
    // Said, they go back.
    let said = json!({ "name": "new", "timezone": "", "routes": [], "per": "", "topics": "", "limits": {} });
    let said = api.put("/functions/full", said).await.is(200);
    for (name, default) in [
        ("timezone", json!("UTC")),
        ("routes", json!([])),
        ("per", json!("event")),
        ("topics", json!("subject")),
        ("limits", json!({})),
    ] {
        assert_eq!(said[name], default, "{name}");
    }

    let deleted = api.request(Method::DELETE, "/functions/full").json(&json!({})).send().await.unwrap();
    assert_eq!((deleted.status().as_u16(), &deleted.headers()["content-type"]), (204, &"text/plain".parse().unwrap()));
    assert_eq!(deleted.bytes().await.unwrap().len(), 0);
    api.get("/functions/full").await.is_error(404, "function_not_found");
    api.delete("/functions/full").await.is_error(404, "function_not_found");
    api.create_function("full", json!({})).await.is(201);
});

both!(invalid_function_settings_are_refused_by_name, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    for (settings, named) in [
        (json!({ "functionId": "-a" }), "functionId"),
        (json!({ "functionId": "a".repeat(37) }), "functionId"),
        (json!({ "name": "" }), "name"),
        (json!({ "name": "n".repeat(129) }), "name"),
        (json!({ "timeout": 0 }), "timeout"),
        (json!({ "timeout": 901 }), "timeout"),
        (json!({ "timeout": "15" }), "timeout"),
        (json!({ "enabled": "true" }), "enabled"),
        (json!({ "schedule": "* * * *" }), "schedule"),
        (json!({ "schedule": "0 0 30 2 *" }), "schedule"),
        (json!({ "schedule": "0 0 * * *", "timezone": "Europe/Stokholm" }), "timezone"),
        (json!({ "execute": ["*"] }), "execute"),
        (json!({ "events": ["a..b"] }), "events"),
        (json!({ "routes": ["a"] }), "routes"),
        (json!({ "routes": ["/a", "/a/"] }), "routes"),
        (json!({ "per": "user" }), "per"),
        (json!({ "limits": { "memoryBytes": u64::MAX } }), "limits.memoryBytes"),
        (json!({ "limits": { "cpuMs": 3_600_000_000u64 } }), "limits.cpuMs"),
        (json!({ "limits": { "logBytes": u64::MAX } }), "limits.logBytes"),
        (json!({ "limits": { "responseBytes": u64::MAX } }), "limits.responseBytes"),
        (json!({ "limits": { "effects": u32::MAX } }), "limits.effects"),
        (json!({ "limits": { "effects": 0 } }), "limits.effects"),
        (json!({ "limits": { "memory": 1 } }), "limits"),
        (json!({ "deploymentRetention": 36_501 }), "deploymentRetention"),
        (json!({ "scopes": ["functions.reed"] }), "functions.reed"),
        (json!({ "limits": [] }), "limits"),
    ] {
        let said = api.create_function("f", settings.clone()).await.is_error(400, "general_argument_invalid");
        assert!(said.contains(named), "{settings}: {said}");
    }
    api.create_function("f", json!({ "runtime": "node-22" })).await.is_error(400, "general_argument_invalid");
    api.create_function("f", json!({ "runtime": "wasi-0.3" })).await.is_error(404, "function_runtime_unsupported");
    // The shape of an error, and that nobody keeps it.
    let answer = api.request(Method::GET, "/functions/none").send().await.unwrap();
    assert!(answer.headers()["cache-control"].to_str().unwrap().contains("no-store"));
    let body: Value = answer.json().await.unwrap();
    let names: BTreeSet<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["code", "message", "type", "version"]));
    // A malformed id is 400 even where nothing by that name exists; a route is told apart from a method.
    api.get("/functions/-x").await.is_error(400, "general_argument_invalid");
    api.put("/functions/none", json!({ "name": "n", "timeout": 0 })).await.is_error(400, "general_argument_invalid");
    api.put("/functions/none", json!({ "name": "n" })).await.is_error(404, "function_not_found");
    api.get("/nothing").await.is_error(404, "general_route_not_found");
    for path in ["/functions/none/nothing", "/functions/none/deployments/none/nothing", "/health/queues"] {
        api.get(path).await.is_error(404, "general_route_not_found");
    }
    api.post("/ping", json!({})).await.is_error(405, "general_not_implemented");
    let broken = api.request(Method::POST, "/functions").body("{\"name\":").header("content-type", "application/json");
    Api::send(broken).await.is_error(400, "general_argument_invalid");
    // A route of another function is taken.
    api.create_function("f", json!({ "routes": ["/a"] })).await.is(201);
    let said = api.create_function("g", json!({ "routes": ["/b", "/a"] })).await;
    let said = said.is_error(409, "function_route_already_exists");
    assert!(said.contains("/a") && said.contains('f'), "{said}");
    api.get("/functions/g").await.is_error(404, "function_not_found");
    api.create_function("g", json!({ "routes": ["/b"] })).await.is(201);
    api.put("/functions/g", json!({ "name": "g", "routes": ["/a"] }))
        .await
        .is_error(409, "function_route_already_exists");
    assert_eq!(api.get("/functions/g").await.is(200)["routes"], json!(["/b"]));
});

both!(variables_reach_the_guest_and_secrets_are_never_shown, async |on| {
    const VALUE: &str = "s3cret-that-nobody-may-read-at-rest";
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.deploy("f", &hello(), json!({ "routes": ["/hello"] })).await;
    let seen = async || {
        let answer = larder.web("demo", Method::GET, "/hello/variable").send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(seen().await.0, 404);
    let path = "/functions/f/variables";
    let made = api.post(path, json!({ "variableId": "unique()", "key": "GREETING", "value": VALUE })).await.is(201);
    assert_eq!(
        (&made["secret"], &made["value"], &made["resourceType"]),
        (&json!(true), &json!(""), &json!("function"))
    );
    assert_eq!(seen().await, (200, format!("{VALUE}\n")), "at the next execution");
    let id = format!("{path}/{}", text(&made["$id"]));
    let plain =
        api.post(path, json!({ "variableId": "p", "key": "PLAIN", "value": "v", "secret": false })).await.is(201);
    assert_eq!(plain["value"], "v");

    for shown in [
        api.get(&id).await,
        api.get(path).await,
        api.get("/functions/f").await,
        api.put(&id, json!({ "secret": true })).await,
    ] {
        let shown = shown.is(200).to_string();
        assert!(!shown.contains(VALUE), "{shown}");
    }
    api.put(&id, json!({ "secret": false })).await.is_error(400, "variable_cannot_unset_secret");
    api.put(&id, json!({})).await.is_error(400, "general_argument_invalid");
    api.put(&id, json!({ "key": "PLAIN" })).await.is_error(409, "variable_already_exists");
    api.post(path, json!({ "variableId": "p", "key": "OTHER", "value": "" }))
        .await
        .is_error(409, "variable_already_exists");
    api.post(path, json!({ "variableId": "q", "key": "PLAIN", "value": "" }))
        .await
        .is_error(409, "variable_already_exists");
    for (body, named) in [
        (json!({ "variableId": "q", "key": "A=B", "value": "" }), "key"),
        (json!({ "variableId": "q", "key": "", "value": "" }), "key"),
        (json!({ "variableId": "q", "key": "K" }), "value"),
        (json!({ "variableId": "q", "key": "K", "value": "v".repeat(8_193) }), "value"),
    ] {
        let said = api.post(path, body).await.is_error(400, "general_argument_invalid");
        assert!(said.contains(named), "{said}");
    }
    // Its key may change, and with it the place that it is sealed for.
    api.put(&id, json!({ "key": "RENAMED" })).await.is(200);
    assert_eq!(seen().await.0, 404);
    api.put(&id, json!({ "key": "GREETING" })).await.is(200);
    assert_eq!(seen().await.1, format!("{VALUE}\n"));

    for entry in std::fs::read_dir(larder.data()).unwrap() {
        let file = entry.unwrap().path();
        if file.is_file() {
            let bytes = std::fs::read(&file).unwrap();
            let found = bytes.windows(VALUE.len()).any(|window| window == VALUE.as_bytes());
            assert!(!found, "the value is readable in {}", file.display());
        }
    }
    assert_eq!(api.get(path).await.is(200)["total"], 2);
    assert_eq!(api.delete(&id).await.status, 204);
    api.get(&id).await.is_error(404, "variable_not_found");
    assert_eq!(seen().await.0, 404);
});

both!(next_firings_of_a_schedule_are_shown, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let settings = json!({ "schedule": "30 2 * * *", "timezone": "Europe/Stockholm" });
    api.create_function("f", settings.clone()).await.is(201);
    let schedule = api.get("/functions/f/schedule?count=100").await.is(200);
    assert_eq!((&schedule["armed"], &schedule["timezone"]), (&json!(false), &json!("Europe/Stockholm")));
    assert_ne!(schedule["rule"], "");
    let next: Vec<_> = schedule["next"]
        .as_array()
        .unwrap()
        .iter()
        .map(|at| chrono::DateTime::parse_from_rfc3339(text(at)).unwrap())
        .collect();
    assert_eq!(next.len(), 100);
    assert!(next[0] > chrono::Utc::now() && next.is_sorted());
    let zone = larder_model::zones::Zones::new(std::path::Path::new("")).zone("Europe/Stockholm").unwrap();
    for at in &next {
        let local = zone.rules().local(at.to_utc()).format("%H:%M").to_string();
        // On the day that skips half past two it fires at the change.
        assert!(local == "02:30" || local == "03:00", "{local}");
    }
    assert_eq!(api.get("/functions/f/schedule").await.is(200)["next"].as_array().unwrap().len(), 10);
    for count in ["0", "101", "x"] {
        let said =
            api.get(&format!("/functions/f/schedule?count={count}")).await.is_error(400, "general_argument_invalid");
        assert!(said.contains("count"), "{said}");
    }
    // Armed with a deployment, and no longer when it is disabled.
    api.build("f", &guests::guest("probe"), true).await;
    eventually("it to be armed", async || {
        (api.get("/functions/f/schedule").await.is(200)["armed"] == true).then_some(())
    })
    .await;
    let mut disabled = settings;
    disabled["name"] = "f".into();
    disabled["enabled"] = false.into();
    api.put("/functions/f", disabled).await.is(200);
    assert_eq!(api.get("/functions/f/schedule").await.is(200)["armed"], false);
});

both!(openapi_document_is_complete_and_its_routes_exist, async |on| {
    let larder = Larder::start_on(on).await;
    let document = larder.api_of(None, None).get("/openapi.json").await.is(200);
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("a reference within the document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let mut operations = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(id) = operation["operationId"].as_str() else { continue };
            assert!(operations.insert(id.to_owned()), "{id} is there twice");
            assert!(!operation["responses"].as_object().unwrap().is_empty(), "{id} has no responses");
            // Those of end users are at the web endpoint.
            if path.starts_with("/_larder/") {
                continue;
            }
            let filled: Vec<&str> = path
                .trim_start_matches("/v1")
                .split('/')
                .map(|part| if part.starts_with('{') { "x" } else { part })
                .collect();
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            for api in [larder.api(), larder.api_of(None, None)] {
                let answer = Api::send(api.request(method.clone(), &filled.join("/")).json(&json!({}))).await;
                let kind = answer.body["type"].as_str().unwrap_or_default();
                assert_ne!(kind, "general_route_not_found", "{method} {path}");
                assert!(answer.status < 500, "{method} {path}: {}", answer.body);
            }
        }
    }
    assert!(operations.len() > 30, "{operations:?}");
});

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            references.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| collect(member, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}
