//! `Idempotency-Key`: the same request, the same answer, one effect.

use larder_tests::{Api, Larder, Options, both, eventually, guests};
use reqwest::Method;
use serde_json::{Value, json};

const EXECUTIONS: &str = "/functions/f/executions";

/// An answer with the headers that matter here.
#[derive(Debug)]
struct Answer {
    status: u16,
    replayed: Option<String>,
    retry_after: Option<String>,
    body: Value,
}

async fn post(api: &Api, path: &str, key: &str, body: &Value) -> Answer {
    try_post(api, path, key, body).await.expect("an answer")
}

/// `Err` when the process dies of it.
async fn try_post(api: &Api, path: &str, key: &str, body: &Value) -> reqwest::Result<Answer> {
    let request = api.request(Method::POST, path).header("idempotency-key", key);
    let request = match path {
        "/events" => request.header("content-type", "application/cloudevents+json").body(body.to_string()),
        _ => request.json(body),
    };
    let answer = request.send().await?;
    let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (status, replayed, retry_after) =
        (answer.status().as_u16(), header("idempotency-replayed"), header("retry-after"));
    Ok(Answer { status, replayed, retry_after, body: answer.json().await? })
}

fn echo(body: &str) -> Value {
    json!({ "path": "/hello/echo", "body": body })
}

fn event(id: &str) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": "/tests", "type": "hello.said" })
}

both!(repeated_request_gets_the_first_response_and_a_different_one_is_refused, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.deploy("f", &guests::guest("hello-http"), json!({})).await;
    for (path, key, asked, status) in [
        (EXECUTIONS, "sync", echo("a"), 201),
        (EXECUTIONS, "async", json!({ "async": true, "path": "/hello", "method": "GET" }), 202),
        ("/events", "event", event("e-1"), 202),
    ] {
        let first = post(&api, path, key, &asked).await;
        assert_eq!((first.status, &first.replayed), (status, &None), "{first:?}");
        // In quotes, as the draft writes it, it is the same key.
        for key in [key, &format!("\"{key}\"")] {
            let again = post(&api, path, key, &asked).await;
            assert_eq!((again.status, again.replayed.as_deref()), (status, Some("true")), "{again:?}");
            assert_eq!(again.body, first.body);
        }
        let other = if path == "/events" { event("e-2") } else { echo("b") };
        let refused = post(&api, path, key, &other).await;
        assert_eq!((refused.status, &refused.body["type"]), (422, &json!("general_idempotency_mismatch")));
    }
    eventually("two executions and no more", async || {
        let all = api.executions("f").await;
        (all.len() == 2 && all.iter().all(|e| e["status"] == "completed")).then_some(())
    })
    .await;
    let far = post(&api, "/functions/g/executions", "sync", &echo("a")).await;
    assert_eq!(far.status, 422, "another path is another request: {far:?}");

    // What was refused before anything happened leaves the key free.
    let refused = post(&api, EXECUTIONS, "freed", &json!({ "method": "post" })).await;
    assert_eq!(refused.status, 400);
    let done = post(&api, EXECUTIONS, "freed", &echo("c")).await;
    assert_eq!((done.status, done.replayed), (201, None));
    for key in ["ä", "", &"k".repeat(256)] {
        let refused = post(&api, EXECUTIONS, key, &echo("a")).await;
        assert_eq!((refused.status, &refused.body["type"]), (400, &json!("general_argument_invalid")), "{key:?}");
    }

    // Keys of another partner are others.
    let operator = larder.operator();
    operator.post("/partners", json!({ "partnerId": "other", "name": "o" })).await.is(201);
    let key = operator.post("/partners/other/keys", json!({ "name": "k", "scopes": ["events.write"] })).await.is(201);
    let other = larder.api_of(Some("other"), key["secret"].as_str());
    let answer = post(&other, "/events", "event", &event("e-1")).await;
    assert_eq!((answer.status, &answer.replayed), (202, &None), "{answer:?}");
});

both!(event_attributes_are_part_of_a_repeated_request, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let send = async |id: &str| {
        let request = api.request(Method::POST, "/events").header("idempotency-key", "k").body("{}");
        let event = [("ce-specversion", "1.0"), ("ce-id", id), ("ce-source", "/s"), ("ce-type", "t")];
        let request = event.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Api::try_send(request).await.unwrap()
    };
    send("1").await.is(202);
    send("1").await.is(202);
    send("2").await.is_error(422, "general_idempotency_mismatch");
});

both!(request_in_progress_is_not_started_again, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.deploy("f", &guests::guest("hello-http"), json!({})).await;
    let slow = json!({ "path": "/hello/slow?ms=2000", "method": "GET" });
    let second = async {
        api.in_progress(1).await;
        post(&api, EXECUTIONS, "slow", &slow).await
    };
    let (first, second) = tokio::join!(post(&api, EXECUTIONS, "slow", &slow), second);
    assert_eq!((second.status, &second.body["type"]), (409, &json!("general_idempotency_in_flight")), "{second:?}");
    assert!(second.retry_after.is_some(), "{second:?}");
    assert_eq!((first.status, &first.body["responseBody"]), (201, &json!("waited 2000 ms\n")));
    let third = post(&api, EXECUTIONS, "slow", &slow).await;
    assert_eq!((third.replayed.as_deref(), &third.body), (Some("true"), &first.body));
});

both!(guests_do_not_get_the_answers_of_others, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.deploy("f", &guests::guest("hello-http"), json!({ "execute": ["any"] })).await;
    let key = "a-key-that-is-long-enough";
    let owners = post(&api, EXECUTIONS, key, &echo("secret")).await;
    let guest = larder.api_of(Some("demo"), None);
    let first = post(&guest, EXECUTIONS, key, &echo("secret")).await;
    assert_eq!((first.status, &first.replayed), (201, &None), "{first:?}");
    assert_ne!(first.body["$id"], owners.body["$id"]);
    assert_eq!(post(&guest, EXECUTIONS, key, &echo("secret")).await.body, first.body);
    let short = post(&guest, EXECUTIONS, "short", &echo("secret")).await;
    assert_eq!((short.status, &short.body["type"]), (400, &json!("general_argument_invalid")));
});

both!(stored_response_expires, async |on| {
    let larder = Larder::start_with(Options::on(on).set("LARDER_RECORDS__IDEMPOTENCY_KEYS", "1s")).await;
    let api = larder.api();
    api.deploy("f", &guests::guest("hello-http"), json!({})).await;
    let first = post(&api, EXECUTIONS, "k", &echo("a")).await;
    let second = eventually("the key to be forgotten", async || {
        let answer = post(&api, EXECUTIONS, "k", &echo("b")).await;
        (answer.status != 422).then_some(answer)
    })
    .await;
    assert_eq!((second.status, &second.replayed), (201, &None), "{second:?}");
    assert_ne!(first.body["$id"], second.body["$id"]);
});

both!(response_too_large_to_store_is_replaced_by_its_record, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.deploy("f", &guests::guest("hello-http"), json!({})).await;
    let asked = echo(&"x".repeat(300_000));
    let first = post(&api, EXECUTIONS, "k", &asked).await;
    assert_eq!(first.status, 201);
    let id = first.body["$id"].as_str().unwrap();
    eventually("its record", async || (api.get(&format!("{EXECUTIONS}/{id}")).await.status == 200).then_some(())).await;
    let again = post(&api, EXECUTIONS, "k", &asked).await;
    assert_eq!((again.status, again.replayed.as_deref()), (201, Some("record")));
    assert_eq!((&again.body["$id"], &again.body["responseBody"]), (&first.body["$id"], &json!("")));
    assert_eq!(api.executions("f").await.len(), 1);
    // It is not made again for want of a record.
    assert_eq!(api.delete(&format!("{EXECUTIONS}/{id}")).await.status, 204);
    let gone = post(&api, EXECUTIONS, "k", &asked).await;
    assert_eq!((gone.status, &gone.body["type"]), (404, &json!("execution_not_found")));
    assert_eq!(api.executions("f").await.len(), 0);
});

/// Asks until the request of the dead process counts as over.
async fn after_the_crash(api: &Api, path: &str, key: &str, asked: &Value) -> Answer {
    eventually("the key to run out", async || {
        let answer = post(api, path, key, asked).await;
        (answer.status != 409).then_some(answer)
    })
    .await
}

async fn saver(on: larder_tests::Backend, crash: &str) -> (Larder, Api) {
    let options = Options::on(on).set("LARDER_CRASH", crash).set("LARDER_SERVER__CALL_TIMEOUT", "1s");
    let larder = Larder::start_with(options).await;
    let api = larder.api();
    api.deploy("f", &guests::guest("hostile-saver"), json!({})).await;
    api.enrol("f", "anna", "all", json!({})).await;
    (larder, api)
}

both!(a_call_whose_process_died_before_it_answered_takes_effect_once, async |on| {
    let (mut larder, api) = saver(on, "key_unanswered:1").await;
    let save = json!({ "path": "/save", "method": "GET" });
    assert!(try_post(&api, EXECUTIONS, "k", &save).await.is_err(), "it died");
    larder.ended().await;
    larder.restart().await;
    let api = larder.api();
    let answer = after_the_crash(&api, EXECUTIONS, "k", &save).await;
    assert_eq!((answer.status, answer.replayed.as_deref()), (201, Some("record")), "{answer:?}");
    assert_eq!((&answer.body["status"], &answer.body["responseBody"]), (&json!("completed"), &json!("")));
    let (executions, transactions) = (api.executions("f").await, api.transactions().await);
    assert_eq!((executions.len(), transactions.len()), (1, 1));
    assert_eq!((&executions[0]["$id"], &transactions[0]["executionId"]), (&answer.body["$id"], &answer.body["$id"]));
});

both!(a_queued_execution_whose_process_died_is_queued_once, async |on| {
    let (mut larder, api) = saver(on, "execution_queued:1").await;
    let save = json!({ "path": "/save", "method": "GET", "async": true });
    assert!(try_post(&api, EXECUTIONS, "k", &save).await.is_err(), "it died");
    larder.ended().await;
    larder.restart().await;
    let api = larder.api();
    let answer = after_the_crash(&api, EXECUTIONS, "k", &save).await;
    assert_eq!((answer.status, answer.replayed.as_deref()), (202, Some("record")), "{answer:?}");
    eventually("it to be saved", async || (api.transactions().await.len() == 1).then_some(())).await;
    assert_eq!(api.executions("f").await.len(), 1);
});
