//! Schemas of events: what does not fit is refused with its place, at every door, before anything is stored.

use larder_tests::{Aggregator, Api, Larder, Options, both, eventually, guests};
use reqwest::Method;
use serde_json::{Value, json};

use super::feeds::{deploy as deploy_league, polled};

fn purchase() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["amount"],
        "properties": {
            "amount": { "type": "string", "format": "decimal" },
            "lines": { "type": "array", "items": { "type": "object", "required": ["sku"] } },
        },
    })
}

fn event(id: &str, data: Value) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": "/tests", "type": "probe.buy", "data": data })
}

async fn batch(api: &Api, events: Value) -> larder_tests::Answer {
    let request = api.request(Method::POST, "/events").header("content-type", "application/cloudevents-batch+json");
    Api::send(request.body(events.to_string())).await
}

both!(events_that_do_not_fit_are_refused_at_the_door, async |on| {
    let larder = Larder::start_with(Options::on(on)).await;
    let api = larder.api();
    let accepted = async |id: &str, data: Value| {
        let answer = api.event(id, "probe.buy", None, data).await.is(202);
        answer["events"][0]["duplicate"].as_bool().unwrap()
    };
    let refused =
        async |id: &str, data: Value| api.event(id, "probe.buy", None, data).await.is_error(422, "event_data_invalid");
    let schemas = json!({
        "probe.buy": { "schema": purchase(), "validate": true },
        "probe.echo": { "schema": { "type": "object" }, "validate": true },
        "probe.free": { "schema": false, "validate": false },
    });
    api.deploy("probe", &guests::guest("probe"), json!({ "events": ["probe.*"] })).await;
    assert!(!accepted("old", json!({ "amount": 12.5 })).await, "nothing is said of it yet");
    let settings = json!({ "name": "probe", "events": ["probe.*"], "eventSchemas": schemas });
    let function = api.put("/functions/probe", settings.clone()).await.is(200);
    assert_eq!(function["eventSchemas"]["probe.buy"]["schema"], purchase());
    // An update that does not speak of it leaves it.
    api.put("/functions/probe", json!({ "name": "probe", "events": ["probe.*"] })).await.is(200);

    for (data, why) in [
        (
            json!({ "amount": 12.5 }),
            "Invalid `data`: data.amount must be string, not 12.5, by the schema of function probe",
        ),
        (json!({}), "data.amount is required"),
        (json!({ "amount": "12,5" }), "data.amount must be decimal text such as \"12.50\", not \"12,5\""),
        (json!({ "amount": "1", "lines": [{ "sku": 1 }, {}] }), "data.lines[1].sku is required"),
        (json!({ "amount": "1", "amuont": "2" }), "data.amuont is not known; there are amount, lines"),
        (json!([]), "data must be object, not a list"),
    ] {
        let message = refused("bad", data.clone()).await;
        assert!(message.contains(why) && message.contains("(event \"bad\" of type probe.buy)"), "{data}: {message}");
    }
    // Nothing of what was refused is there: neither it, nor what came with it.
    let message = batch(&api, json!([event("1", json!({ "amount": "1" })), event("2", json!({}))])).await;
    let message = message.is_error(422, "event_data_invalid");
    assert!(message.starts_with("Invalid `events[1].data`: data.amount is required"), "{message}");
    assert!(message.ends_with("nothing of the request was stored"), "{message}");
    assert!(!accepted("1", json!({ "amount": "1.00" })).await && !accepted("bad", json!({ "amount": "1" })).await);
    // What was accepted before stays accepted: whoever sends it again is told the truth.
    assert!(accepted("old", json!({ "amount": 12.5 })).await);
    // Text that is not JSON, and a type that is not checked.
    let text = api.request(Method::POST, "/events").header("content-type", "text/plain").body("amount=1");
    let heads = [("ce-specversion", "1.0"), ("ce-id", "t"), ("ce-source", "/tests"), ("ce-type", "probe.buy")];
    let text = heads.into_iter().fold(text, |request, (name, value)| request.header(name, value));
    let message = Api::send(text).await.is_error(422, "event_data_invalid");
    assert!(message.contains("data must be JSON, not text/plain"), "{message}");
    api.event("f", "probe.free", None, json!(1)).await.is(202);

    // A function cannot emit it either: it is told where it does so, and what it did is not applied.
    api.event("e", "probe.emit", None, json!({ "type": "probe.echo" })).await.is(202);
    let failed = eventually("the run that emits", async || {
        let why = "data must be object, not null, by the schema of function probe";
        let is_it = |run: &Value| run["errors"].as_str().is_some_and(|errors| errors.contains(why));
        api.executions("probe").await.into_iter().find(is_it)
    });
    assert_eq!(failed.await["status"], "failed");

    // A function that does not serve refuses nothing.
    let mut off = settings;
    off["enabled"] = false.into();
    api.put("/functions/probe", off).await.is(200);
    assert!(!accepted("unchecked", json!({ "amount": 1 })).await);
});

both!(items_of_feeds_that_do_not_fit_are_counted_and_stop_no_other, async |on| {
    let larder = Larder::start_with(Options::on(on)).await;
    let (api, aggregator) = (larder.api(), Aggregator::empty());
    deploy_league(&api).await;
    let schema = json!({ "type": "object", "properties": { "team": { "enum": ["AIK", "Hammarby"] } } });
    let schemas = json!({ "match.goal": { "schema": schema, "validate": true } });
    let settings = json!({ "name": "l", "events": ["match.goal"], "eventSchemas": schemas });
    api.put("/functions/save-league", settings).await.is(200);
    aggregator.name_to(&api, "").await;
    aggregator.goal("g-0", "AIK").await;
    aggregator.goal("g-1", "Nobody").await;
    aggregator.goal("g-2", "AIK").await;
    api.post("/feeds", polled("goals", "/goals", true)).await.is(201);
    let feed = eventually("the items", async || {
        let feed = api.get("/feeds/goals").await.is(200);
        (feed["refused"] == 1 && feed["items"] == 2).then_some(feed)
    })
    .await;
    assert_eq!((&feed["status"], &feed["position"]), (&json!("ok"), &json!("3")), "it goes on");
    let why = feed["lastRefused"].as_str().unwrap();
    assert!(
        why.contains("of type match.goal: data.team must be one of \"AIK\", \"Hammarby\", not \"Nobody\""),
        "{why}"
    );
    eventually("both savings", async || (api.transactions().await.len() == 2).then_some(())).await;
});

#[tokio::test(flavor = "multi_thread")]
async fn schemas_that_would_not_be_checked_or_cost_too_much_are_refused() {
    let larder = Larder::start_with(Options::default()).await;
    let api = larder.api();
    let with =
        |schemas: Value| json!({ "name": "f", "runtime": "wasi-0.2", "functionId": "f", "eventSchemas": schemas });
    let many: serde_json::Map<String, Value> =
        (0..21).map(|n| (format!("a.b{n}"), json!({ "schema": true }))).collect();
    let nested = (0..20).fold(json!({}), |inner, _| json!({ "items": inner }));
    for (schemas, why) in [
        (json!({ "a.b": { "schema": { "$ref": "https://example.com/s.json" } } }), "nothing is fetched"),
        (json!({ "a.b": { "schema": { "properties": { "x": { "pattern": "(a+)+$" } } } } }), "/properties/x/pattern"),
        (json!({ "a.b": { "schema": { "title": "x".repeat(20_000) } } }), "at most 16384 bytes"),
        (json!({ "a.b": { "schema": nested } }), "nested too deep"),
        (json!({ "a.*": { "schema": true } }), "a schema is for one type of event"),
        (json!({ "larder.schedule": { "schema": true } }), "larder.schedule"),
        (json!({ "a.b": {} }), "missing field `schema`"),
        (Value::Object(many), "at most 20 types"),
        (json!([]), "eventSchemas"),
    ] {
        let message = api.post("/functions", with(schemas)).await.is_error(400, "general_argument_invalid");
        assert!(message.contains("eventSchemas") && message.contains(why), "{message}");
    }
    // Functions that check one type, each by a schema of its own.
    let checks = |n: usize| json!({ "a.b": { "schema": { "title": n.to_string() }, "validate": true } });
    for n in 0..8 {
        api.deploy(&format!("f{n}"), &guests::guest("probe"), json!({ "events": ["a.b"], "eventSchemas": checks(n) }))
            .await;
    }
    let message = api.post("/functions", with(checks(8))).await.is_error(400, "general_argument_invalid");
    assert!(message.contains("8 functions check this type by schemas of their own already"), "{message}");
    api.post("/functions", with(checks(7))).await.is(201);
    // Data that take long to check by naive means: 200,000 values among which none may be twice.
    let hostile = json!({ "a.b": { "schema": { "type": "array", "uniqueItems": true }, "validate": true } });
    api.put("/functions/f0", json!({ "name": "f0", "events": ["a.b"], "eventSchemas": hostile })).await.is(200);
    let data: Vec<u32> = (0..100_000).collect();
    let began = std::time::Instant::now();
    api.event("1", "a.b", None, json!(data)).await.is(202);
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}
