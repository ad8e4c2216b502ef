//! What a deployment asks of its function's settings: it takes effect with its code, or not at all.

use larder_tests::{Api, Larder, both, guests};
use serde_json::{Value, json};

/// What an upload may change, as the function shows it.
const CARRIED: [&str; 11] =
    ["name", "per", "topics", "events", "schedule", "timezone", "routes", "timeout", "enabled", "logging", "limits"];

fn old() -> Value {
    json!({
        "name": "Old", "per": "event", "topics": "subject", "events": ["old.*"], "schedule": "0 6 * * *",
        "timezone": "Europe/Stockholm", "routes": ["/old"], "timeout": 10, "logging": true, "limits": { "cpuMs": 500 },
    })
}

fn new() -> Value {
    json!({
        "name": "New", "per": "enrolment", "topics": "all", "events": ["new.*"], "schedule": "0 7 * * *",
        "timezone": "UTC", "routes": ["/new"], "timeout": 20, "logging": false, "limits": { "effects": 7 },
    })
}

async fn settings(api: &Api) -> Value {
    let function = api.get("/functions/f").await.is(200);
    CARRIED.iter().map(|name| ((*name).to_owned(), function[*name].clone())).collect::<serde_json::Map<_, _>>().into()
}

fn with(base: Value, name: &str, value: Value) -> Value {
    let mut changed = base;
    changed[name] = value;
    changed
}

async fn upload(api: &Api, wasm: &[u8], settings: Value, grants: Value) -> Value {
    let parts = [("settings", settings.to_string()), ("grants", grants.to_string())];
    let begun = api.upload_with("f", wasm, &parts).await.is(202);
    api.built("f", &begun).await
}

both!(settings_of_a_deployment_take_effect_with_its_code_or_not_at_all, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.create_function("f", json!({ "name": "bare" })).await.is(201);
    let hello = guests::guest("hello-http");
    let first = upload(&api, &hello, old(), json!({})).await;
    assert_eq!(first["status"], "ready", "{first}");
    assert_eq!(first["settings"], old(), "the deployment tells them");
    let live = with(old(), "enabled", json!(true));
    assert_eq!(settings(&api).await, live, "they came with the code");

    // A build that fails, one that waits for a yes, and one that only lies there, leave everything as it is.
    let failed = upload(&api, b"\0asm, or rather not", new(), json!({})).await;
    assert_eq!((failed["status"].as_str(), settings(&api).await), (Some("failed"), live.clone()));
    let waits = upload(&api, &hello, new(), json!({ "state": true })).await;
    assert_eq!((waits["status"].as_str(), settings(&api).await), (Some("ready"), live.clone()));
    let path = |deployment: &Value| format!("/functions/f/deployments/{}", deployment["$id"].as_str().unwrap());
    api.patch("/functions/f/deployment", json!({ "deploymentId": waits["$id"] })).await.is(403);
    assert_eq!(settings(&api).await, live);

    // The schedule that is armed is the live one's, too.
    let firing = async || api.get("/functions/f/schedule").await.is(200)["schedule"].clone();
    assert_eq!(firing().await, "0 6 * * *");

    // With the yes comes all of it; with the old deployment all of it goes back.
    let digest = api.get(&format!("{}/grants", path(&waits))).await.is(200)["deployment"]["digest"].clone();
    let approved = api.post(&format!("{}/grants/approval", path(&waits)), json!({ "digest": digest })).await.is(200);
    assert_eq!(approved["active"], true);
    assert_eq!(settings(&api).await, with(new(), "enabled", json!(true)));
    assert_eq!(firing().await, "0 7 * * *");
    api.patch("/functions/f/deployment", json!({ "deploymentId": first["$id"] })).await.is(200);
    assert_eq!(settings(&api).await, live);

    // What an upload leaves out stays, and one that asks for nothing changes nothing.
    let one = upload(&api, &hello, json!({ "timeout": 12 }), json!({})).await;
    assert_eq!(one["settings"], json!({ "timeout": 12 }));
    let live = with(live, "timeout", json!(12));
    assert_eq!(settings(&api).await, live);
    let plain = api.built("f", &api.upload("f", &hello, true).await.is(202)).await;
    assert_eq!((plain["status"].as_str(), plain.get("settings")), (Some("ready"), None));
    assert_eq!(settings(&api).await, live);

    // Who switched the function off finds it off after the next deploy.
    let off = with(live.clone(), "enabled", json!(false));
    let mut put = off.clone();
    put["runtime"] = "wasi-0.2".into();
    api.put("/functions/f", put).await.is(200);
    upload(&api, &hello, old(), json!({})).await;
    assert_eq!(settings(&api).await["enabled"], false);
});

both!(settings_of_a_deployment_are_checked_before_it_is_taken, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.create_function("f", json!({})).await.is(201);
    api.create_function("other", json!({ "routes": ["/mine"] })).await.is(201);
    let hello = guests::guest("hello-http");
    for (sent, named) in [
        ("[]", "settings"),
        ("7", "settings"),
        ("{", "settings"),
        (r#"{"perr":"event"}"#, "perr"),
        (r#"{"per":"evnt"}"#, "settings"),
        (r#"{"events":["card."]}"#, "events"),
        (r#"{"schedule":"* * *"}"#, "schedule"),
        (r#"{"schedule":"0 6 * * *","timezone":"Mars/Olympus"}"#, "timezone"),
        (r#"{"routes":["hello"]}"#, "routes"),
        (r#"{"routes":["/a","/a/"]}"#, "routes"),
        (r#"{"timeout":0}"#, "timeout"),
        (r#"{"name":""}"#, "name"),
        (r#"{"limits":{"cpuMs":0}}"#, "cpuMs"),
    ] {
        let said = api
            .upload_with("f", &hello, &[("settings", sent.to_owned())])
            .await
            .is_error(400, "general_argument_invalid");
        assert!(said.contains(named), "{sent}: {said}");
    }
    let taken = [("settings", r#"{"routes":["/mine/"]}"#.to_owned())];
    let said = api.upload_with("f", &hello, &taken).await.is_error(409, "function_route_already_exists");
    assert!(said.contains("other"), "{said}");
    assert_eq!(api.get("/functions/f/deployments").await.is(200)["total"], 0);

    // A route that somebody took while it was built: the deployment is ready and says why it is not active.
    let free = [("settings", r#"{"routes":["/free"]}"#.to_owned())];
    let parts = [free[0].clone(), ("grants", json!({ "state": true }).to_string())];
    let begun = api.upload_with("f", &hello, &parts).await.is(202);
    let waits = api.built("f", &begun).await;
    api.create_function("third", json!({ "routes": ["/free"] })).await.is(201);
    let path = format!("/functions/f/deployments/{}", waits["$id"].as_str().unwrap());
    let digest = api.get(&format!("{path}/grants")).await.is(200)["deployment"]["digest"].clone();
    let said = api
        .post(&format!("{path}/grants/approval"), json!({ "digest": digest }))
        .await
        .is_error(409, "function_route_already_exists");
    assert!(said.contains("third"), "{said}");
    assert_eq!(api.get("/functions/f").await.is(200)["deploymentId"], "");

    // Whence it came is told, by whom it was uploaded too.
    let begun =
        api.upload_with("f", &hello, &[("origin", "git@code.example:acme/hacks#round-up".into())]).await.is(202);
    assert_eq!(begun["origin"], "git@code.example:acme/hacks#round-up");
    assert_ne!(begun["uploadedBy"], "");
});
