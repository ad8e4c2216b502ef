//! Webhooks, as objects.

use larder_tests::{Larder, Options, both};
use serde_json::{Value, json};

fn webhook(id: &str) -> Value {
    json!({ "webhookId": id, "name": "Savings", "url": "https://hooks.bank.example/x", "events": ["functions.*"] })
}

both!(webhooks_are_kept_and_their_secrets_told_once, async |on| {
    let larder = Larder::start_with(Options::on(on).set("LARDER_SERVER__WEBHOOKS_PER_PARTNER", "2")).await;
    let (api, other) = (larder.api(), larder.partner("other").await);
    let mut body = webhook("w");
    body["authUsername"] = json!("anna");
    body["authPassword"] = json!("hunter2hunter2");
    let made = api.post("/webhooks", body.clone()).await.is(201);
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert_eq!((secret.len(), &made["signatureKey"]), (128, &made["secret"]));
    assert_eq!((&made["enabled"], &made["tls"], &made["httpUser"]), (&json!(true), &json!(false), &json!("anna")));
    api.post("/webhooks", body).await.is_error(409, "webhook_already_exists");
    let read = api.get("/webhooks/w").await.is(200);
    assert_eq!((&read["secret"], &read["authPassword"], &read["attempts"]), (&json!(""), &json!(""), &json!(0)));
    assert!(read["logs"].as_str().unwrap().contains("delivered"), "it is not said that nothing is delivered");
    let change =
        json!({ "name": "Other", "url": "http://hooks.bank.example", "events": ["rules.*.create"], "enabled": false });
    let changed = api.put("/webhooks/w", change).await.is(200);
    assert_eq!(
        (&changed["name"], &changed["enabled"], &changed["authUsername"]),
        (&json!("Other"), &json!(false), &json!(""))
    );
    let rotated = api.patch("/webhooks/w/secret", json!({})).await.is(200);
    assert_ne!(rotated["secret"], secret);
    let chosen = api.patch("/webhooks/w/secret", json!({ "secret": "eight or more" })).await.is(200);
    assert_eq!(chosen["secret"], "eight or more");
    for (member, value) in [
        ("url", json!("ftp://x.example")),
        ("url", json!("https://a:b@x.example")),
        ("events", json!([])),
        ("events", json!(["cards.*"])),
        ("name", json!("")),
        ("secret", json!("short")),
        ("authUsername", json!("x".repeat(257))),
    ] {
        let mut body = webhook("bad");
        body[member] = value;
        let said = api.post("/webhooks", body).await.is_error(400, "general_argument_invalid");
        assert!(said.contains(&format!("`{member}`")), "{said}");
    }
    api.post("/webhooks", webhook("second")).await.is(201);
    let said = api.post("/webhooks", webhook("third")).await.is_error(413, "project_quota_exceeded");
    assert!(said.contains("server.webhooks_per_partner"), "{said}");
    assert_eq!(api.get("/webhooks").await.is(200)["total"], 2);
    // Of another partner nothing.
    assert_eq!(other.get("/webhooks").await.is(200)["total"], 0);
    other.get("/webhooks/w").await.is_error(404, "webhook_not_found");
    other.delete("/webhooks/w").await.is_error(404, "webhook_not_found");
    other.post("/webhooks", webhook("w")).await.is(201);
    assert_eq!(api.delete("/webhooks/w").await.status, 204);
    api.get("/webhooks/w").await.is_error(404, "webhook_not_found");
});
