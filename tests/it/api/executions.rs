//! The wire format of executions: at once, queued, scheduled, by guests.

use larder_tests::{Larder, Options, both, eventually, guests};
use serde_json::{Value, json};

fn hello() -> Vec<u8> {
    guests::guest("hello-http")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

both!(executions_run_now_or_in_the_queue, async |on| {
    let larder = Larder::start_with(Options::on(on).set("LARDER_SERVER__CALL_TIMEOUT", "1s")).await;
    let api = larder.api();
    api.post("/functions/f/executions", json!({})).await.is_error(404, "function_not_found");
    api.deploy("f", &hello(), json!({ "timeout": 10 })).await;
    let path = "/functions/f/executions";
    let echo = json!({ "path": "/hello/echo", "headers": { "content-type": "text/x" }, "body": "åäö" });
    let done = api.post(path, echo).await.is(201);
    assert_eq!(
        (&done["status"], &done["responseStatusCode"], &done["responseBody"], &done["trigger"], &done["requestMethod"]),
        (&json!("completed"), &json!(200), &json!("åäö"), &json!("http"), &json!("POST"))
    );
    let header = |execution: &Value, list: &str, name: &str| {
        execution[list].as_array().unwrap().iter().find(|header| header["name"] == name).map(|h| h["value"].clone())
    };
    assert_eq!(header(&done, "responseHeaders", "content-type"), Some(json!("text/x")));
    assert_eq!(header(&done, "responseHeaders", "x-appwrite-execution-id").as_ref(), Some(&done["$id"]));
    assert_eq!(
        (&done["functionId"], &done["resourceId"], &done["resourceType"]),
        (&json!("f"), &json!("f"), &json!("functions"))
    );
    // Read back, the body is gone and the rest is there.
    let id = format!("{path}/{}", text(&done["$id"]));
    let read = eventually("its record", async || {
        let answer = api.get(&id).await;
        (answer.status == 200).then_some(answer.body)
    })
    .await;
    assert_eq!(
        (&read["responseBody"], &read["status"], &read["requestPath"]),
        (&json!(""), &json!("completed"), &json!("/hello/echo"))
    );
    assert_eq!(header(&read, "responseHeaders", "content-type"), Some(json!("text/x")));

    // A 404 of the guest is an answer like any other.
    let done = api.post(path, json!({ "path": "/nowhere" })).await.is(201);
    assert_eq!((&done["status"], &done["responseStatusCode"]), (&json!("completed"), &json!(404)));

    let queued = api.post(path, json!({ "async": true, "path": "/hello", "method": "GET" })).await.is(202);
    assert_eq!(
        (&queued["status"], &queued["responseStatusCode"], &queued["scheduledAt"]),
        (&json!("waiting"), &json!(0), &Value::Null)
    );
    let id = format!("{path}/{}", text(&queued["$id"]));
    let ended = eventually("its end", async || {
        let execution = api.get(&id).await.is(200);
        (execution["status"] == "completed").then_some(execution)
    })
    .await;
    assert_eq!((&ended["responseStatusCode"], &ended["responseBody"]), (&json!(200), &json!("")));
    assert_eq!(api.delete(&id).await.status, 204);
    api.get(&id).await.is_error(404, "execution_not_found");
    api.delete(&id).await.is_error(404, "execution_not_found");

    // The cap of synchronous calls is not the queue's.
    let slow = json!({ "path": "/hello/slow?ms=1500", "method": "GET" });
    let said = api.post(path, slow).await.is_error(408, "function_synchronous_timeout");
    let failed = eventually("its record", async || {
        let query = query("equal", "status", json!(["failed"]));
        api.list(path, &[query]).await.is(200)["executions"].as_array()?.first().cloned()
    })
    .await;
    assert!(said.contains(text(&failed["$id"])), "{said}");
    let slow = json!({ "async": true, "path": "/hello/slow?ms=1500", "method": "GET" });
    let queued = api.post(path, slow).await.is(202);
    let id = format!("{path}/{}", text(&queued["$id"]));
    eventually("it to run", async || (api.get(&id).await.is(200)["status"] == "processing").then_some(())).await;
    api.delete(&id).await.is_error(400, "execution_in_progress");
    eventually("its end", async || (api.get(&id).await.is(200)["status"] == "completed").then_some(())).await;

    for (body, status, kind, named) in [
        (json!({ "method": "post" }), 400, "general_argument_invalid", "method"),
        (json!({ "path": "/a b" }), 400, "general_argument_invalid", "path"),
        (json!({ "async": "yes" }), 400, "general_argument_invalid", "async"),
        (json!({ "headers": { "x-appwrite-key": "k" } }), 400, "general_unknown", "x-appwrite"),
        (json!({ "enrolmentId": "e" }), 400, "general_argument_invalid", "enrolmentId"),
    ] {
        let said = api.post(path, body.clone()).await.is_error(status, kind);
        assert!(said.contains(named), "{body}: {said}");
    }
});

both!(logs_are_shown_to_keys_only_and_guests_call_public_functions, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.deploy("f", &hello(), json!({ "execute": ["any"], "events": ["shop.sold"] })).await;
    let guest = larder.api_of(Some("demo"), None);
    let hello = json!({ "path": "/hello", "method": "GET" });
    let done = guest.post("/functions/f/executions", hello.clone()).await.is(201);
    assert_eq!(
        (&done["responseBody"], &done["logs"], &done["errors"]),
        (&json!("Hello, world!\n"), &json!(""), &json!(""))
    );
    guest.get("/functions/f/executions").await.is_error(401, "general_unauthorized_scope");

    // What the guest prints on an event is in the record, for keys.
    api.event("e", "shop.sold", None, json!({})).await.is(202);
    let logged = eventually("the event's execution", async || {
        let query = query("equal", "trigger", json!(["event"]));
        let list = api.list("/functions/f/executions", &[query]).await.is(200);
        list["executions"].as_array()?.iter().find(|e| e["status"] == "completed").cloned()
    })
    .await;
    assert!(text(&logged["logs"]).contains("shop.sold"), "{logged}");
    // Not when nothing is to be logged.
    api.put("/functions/f", json!({ "name": "f", "logging": false, "events": ["shop.sold"] })).await.is(200);
    api.event("e2", "shop.sold", None, json!({})).await.is(202);
    let silent = eventually("the second one", async || {
        let all = api.executions("f").await;
        all.into_iter().find(|e| e["trigger"] == "event" && e["$id"] != logged["$id"] && e["status"] == "completed")
    })
    .await;
    assert_eq!(silent["logs"], "");
    // The replacement took `execute` away, and a disabled function does not exist for guests.
    guest.post("/functions/f/executions", hello.clone()).await.is_error(401, "user_unauthorized");
    api.put("/functions/f", json!({ "name": "f", "enabled": false, "execute": ["any"] })).await.is(200);
    guest.post("/functions/f/executions", hello).await.is_error(404, "function_not_found");
});

both!(scheduled_executions_wait_and_can_be_canceled, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.deploy("f", &hello(), json!({})).await;
    let path = "/functions/f/executions";
    let later = chrono::Utc::now() + chrono::Duration::hours(1);
    let at = |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339();
    for (body, why) in [
        (json!({ "scheduledAt": at(later) }), "async"),
        (json!({ "async": true, "scheduledAt": at(chrono::Utc::now() - chrono::Duration::hours(1)) }), "minute"),
        (json!({ "async": true, "scheduledAt": "tomorrow" }), "scheduledAt"),
    ] {
        let said = api.post(path, body).await.is_error(400, "general_bad_request");
        assert!(said.contains(why), "{said}");
    }
    let body = json!({ "async": true, "scheduledAt": at(later), "path": "/hello" });
    let scheduled = api.post(path, body).await.is(202);
    assert_eq!((&scheduled["status"], &scheduled["trigger"]), (&json!("scheduled"), &json!("schedule")));
    let wanted = chrono::DateTime::parse_from_rfc3339(text(&scheduled["scheduledAt"])).unwrap();
    assert!((wanted.to_utc() - later).num_seconds().abs() <= 60);
    let id = format!("{path}/{}", text(&scheduled["$id"]));
    assert_eq!(api.delete(&id).await.status, 204);
    api.get(&id).await.is_error(404, "execution_not_found");
});

fn query(method: &str, attribute: &str, values: Value) -> Value {
    json!({ "method": method, "attribute": attribute, "values": values })
}
