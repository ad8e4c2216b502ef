//! Health of what Larder depends on, as the clients ask for it.

use larder_tests::{Api, Backend, Larder, Options, both, guests};
use serde_json::{Value, json};

both!(dependencies_and_queues_tell_how_they_are, async |on| {
    let larder = Larder::start_with(Options::on(on).set("LARDER_BUILD__UNFINISHED_UPLOADS", "1h")).await;
    let api = larder.api();
    let redis = if on == Backend::Services { "redis" } else { "in-process" };
    let database = if on == Backend::Services { "mariadb" } else { "sqlite" };
    for (path, name) in [
        ("/health/db", database),
        ("/health/cache", redis),
        ("/health/pubsub", redis),
        ("/health/queue", "queue"),
        ("/health/storage", "storage"),
        ("/health/storage/local", "storage"),
    ] {
        let health = api.get(path).await.is(200);
        assert_eq!((&health["name"], &health["status"], &health["total"]), (&json!(name), &json!("pass"), &json!(1)));
        assert!(health["ping"].is_u64() && health["statuses"][0]["status"] == "pass", "{health}");
    }
    let time = api.get("/health/time").await.is(200);
    assert!(time["diff"].as_i64().expect("seconds").abs() <= 2, "{time}");
    assert!(time["remoteTime"].as_i64() > Some(1_700_000_000) && time["localTime"].is_i64(), "{time}");
    assert_eq!(api.get("/health/anti-virus").await.is(200)["status"], "disabled");
    let said = api.get("/health/certificate?domain=bank.example").await.is_error(404, "health_certificate_not_found");
    assert!(said.contains("bank.example"), "{said}");
    api.get("/health/certificate").await.is_error(400, "general_argument_invalid");

    // What waits is the project's own.
    api.deploy("f", &guests::guest("probe"), json!({ "limits": { "attempts": 1 }, "events": ["probe.retry"] })).await;
    let later = json!({ "async": true, "scheduledAt": "2099-01-01T00:00:00.000+00:00" });
    for _ in 0..2 {
        api.post("/functions/f/executions", later.clone()).await.is(202);
    }
    api.event("e", "probe.retry", None, json!({})).await.is(202);
    larder_tests::eventually("a dead letter", async || {
        (api.get("/health/queue/failed/v1-functions").await.body["size"] == 1).then_some(())
    })
    .await;
    let size = async |api: &Api, name: &str| api.get(&format!("/health/queue/{name}")).await.is(200)["size"].clone();
    assert_eq!(size(&api, "functions").await, 2);
    for name in ["builds", "deletes", "webhooks", "mails", "databases?name=database_db_main", "stats-usage"] {
        assert_eq!(size(&api, name).await, 0, "{name}");
    }
    let stranger = larder.partner("stranger").await;
    assert_eq!(
        (size(&stranger, "functions").await, size(&stranger, "failed/v1-functions").await),
        (json!(0), json!(0))
    );
    let said = api.get("/health/queue/functions?threshold=2").await.is_error(503, "health_queue_size_exceeded");
    assert!(said.contains("functions") && said.contains('2'), "{said}");
    assert_eq!(api.get("/health/queue/functions?threshold=3").await.is(200)["size"], 2);
    for wrong in ["many", "0", "-1"] {
        let path = format!("/health/queue/functions?threshold={wrong}");
        api.get(&path).await.is_error(400, "general_argument_invalid");
    }
    for path in ["/health/queue/nothing", "/health/queue/failed/nothing"] {
        let said = api.get(path).await.is_error(400, "general_argument_invalid");
        assert!(said.contains("queueName") && said.contains("nothing"), "{said}");
    }
    // Every key may ask, and nobody without one.
    let guest = larder.api_of(Some("demo"), None);
    for path in ["/health/db", "/health/queue/functions", "/health/time", "/health/storage"] {
        guest.get(path).await.is_error(401, "general_unauthorized_scope");
    }
    let _: Value = api.get("/health").await.is(200);
});
