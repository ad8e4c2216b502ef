//! Events: taking them in, deduplication, patterns, enrolled runs, what functions make of them.

use larder_tests::{Api, Larder, both, eventually, guests};
use reqwest::Method;
use serde_json::{Value, json};

both!(an_event_runs_once_for_each_active_enrolment_of_its_subject, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.deploy("round-up", &guests::guest("round-up"), json!({ "events": ["card.*"], "per": "enrolment" })).await;
    let settings = json!({ "monthlyCap": "100.00" });
    let anna = api.enrol("round-up", "anna", "card-1", settings.clone()).await;
    api.enrol("round-up", "bo", "card-1", settings.clone()).await;
    api.enrol("round-up", "cy", "card-2", settings.clone()).await;
    let paused = api.enrol("round-up", "di", "card-1", settings).await;
    api.patch(&format!("/enrolments/{paused}"), json!({ "status": "paused" })).await.is(200);

    let purchase = json!({ "amount": "42.50", "currency": "SEK", "merchant": "Kiosk" });
    api.event("p-1", "card.purchase", Some("card-1"), purchase.clone()).await.is(202);
    let transactions = eventually("two transactions", async || {
        let transactions = api.transactions().await;
        (transactions.len() == 2).then_some(transactions)
    })
    .await;
    let mut users: Vec<&str> = transactions.iter().map(|t| t["endUser"].as_str().unwrap()).collect();
    users.sort_unstable();
    assert_eq!(users, ["anna", "bo"]);
    assert_eq!((&transactions[0]["amount"], &transactions[0]["currency"]), (&json!("7.50"), &json!("SEK")));

    // Sent again it is a duplicate, and nothing more happens.
    let again = api.event("p-1", "card.purchase", Some("card-1"), purchase.clone()).await.is(202);
    assert_eq!(again["events"][0]["duplicate"], true);
    // The same id from another source is another event; no one is enrolled for its subject.
    api.event("p-2", "card.purchase", Some("card-9"), purchase.clone()).await.is(202);
    api.event("p-3", "card.purchase", Some("card-2"), purchase).await.is(202);
    eventually("cy's transaction", async || (api.transactions().await.len() == 3).then_some(())).await;
    let executions = api.executions("round-up").await;
    assert_eq!(executions.len(), 3);
    assert!(executions.iter().all(|e| e["trigger"] == "event" && e["status"] == "completed" && e["enrolmentId"] != ""));
    assert!(executions.iter().any(|e| e["enrolmentId"] == json!(anna)));

    let queries = [json!({ "method": "equal", "attribute": "endUser", "values": ["anna"] })];
    assert_eq!(api.list("/transactions", &queries).await.is(200)["total"], 1);
});

both!(all_three_content_modes_are_accepted_and_invalid_events_are_named, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let send = async |content_type: &str, headers: &[(&str, &str)], body: String| {
        let mut request = api.request(Method::POST, "/events").header("content-type", content_type).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        larder_tests::Api::try_send(request).await.unwrap()
    };
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "b-1"),
        ("ce-source", "/shop"),
        ("ce-type", "card.purchase"),
        ("ce-subject", "caf%C3%A9"),
    ];
    assert_eq!(send("application/json", &binary, "{}".into()).await.is(202)["total"], 1);
    let event =
        |id: &str| json!({ "specversion": "1.0", "id": id, "source": "/shop", "type": "card.purchase", "data": {} });
    assert_eq!(
        send("application/cloudevents+json", &[], event("s-1").to_string()).await.is(202)["events"][0]["id"],
        "s-1"
    );
    let batch = json!([event("x-1"), event("x-2"), event("x-1")]).to_string();
    let answer = send("application/cloudevents-batch+json", &[], batch).await.is(202);
    let duplicates: Vec<&Value> = answer["events"].as_array().unwrap().iter().map(|e| &e["duplicate"]).collect();
    assert_eq!(duplicates, [&json!(false), &json!(false), &json!(true)]);

    let mut second = event("y-2");
    second.as_object_mut().unwrap().remove("type");
    let message = send("application/cloudevents-batch+json", &[], json!([event("y-1"), second]).to_string())
        .await
        .is_error(400, "general_argument_invalid");
    assert!(message.contains("type"), "{message}");
    // All or nothing: the first of the refused batch is no duplicate.
    assert_eq!(
        send("application/cloudevents+json", &[], event("y-1").to_string()).await.is(202)["events"][0]["duplicate"],
        false
    );
    let message = send("application/cloudevents+json", &[], "{".into()).await.is_error(400, "general_argument_invalid");
    assert!(!message.is_empty());
});

both!(emitted_events_reach_functions_and_loops_end, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.deploy("probe", &guests::guest("probe"), json!({ "events": ["probe.*"] })).await;
    api.enrol("probe", "clock", "clock", json!({})).await;
    api.event("e-1", "probe.save", None, json!({ "amount": "3.00" })).await.is(202);
    api.event("e-2", "probe.loop", None, json!({})).await.is(202);
    let failed = eventually("the loop to be ended", async || {
        api.executions("probe").await.into_iter().find(|e| e["status"] == "failed")
    })
    .await;
    assert!(failed["errors"].as_str().unwrap().contains("deep"), "{failed}");
    let state = eventually("the echo", async || {
        let run = api.execute("probe", json!({})).await;
        let state: Value = serde_json::from_str(run["responseBody"].as_str()?).ok()?;
        (state["echoes"] == 1).then_some(state)
    })
    .await;
    assert_eq!((&state["count"], &state["sum"], &state["loops"]), (&json!(1), &json!(300), &json!(8)));
});

both!(retry_is_repeated_up_to_the_limit_and_reject_is_final, async |on| {
    let options =
        larder_tests::Options::on(on).set("LARDER_WORKER__RETRY_DELAY", "10ms").set("LARDER_WORKER__ATTEMPTS", "3");
    let larder = Larder::start_with(options).await;
    let api = larder.api();
    api.deploy("probe", &guests::guest("probe"), json!({ "events": ["probe.*"] })).await;
    api.event("r-1", "probe.retry", None, json!({})).await.is(202);
    let given_up = eventually("the retries to be given up", async || {
        api.executions("probe").await.into_iter().find(|e| e["status"] == "failed")
    })
    .await;
    assert_eq!(given_up["attempt"], 3);
    assert!(given_up["buriedAt"].is_string(), "{given_up}");
    assert!(given_up["errors"].as_str().unwrap().contains("not yet"), "{given_up}");
    api.event("r-2", "probe.reject", None, json!({})).await.is(202);
    let rejected = eventually("the rejection", async || {
        api.executions("probe")
            .await
            .into_iter()
            .find(|e| e["errors"].as_str().is_some_and(|text| text.contains("never")))
    })
    .await;
    assert_eq!((&rejected["attempt"], &rejected["status"]), (&json!(1), &json!("failed")));
    assert_eq!(rejected["buriedAt"], Value::Null);
});

both!(conflicting_runs_are_repeated_and_none_is_lost, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.deploy("probe", &guests::guest("probe"), json!({ "events": ["probe.save"] })).await;
    api.enrol("probe", "clock", "clock", json!({})).await;
    let events: Vec<Value> = (0..60)
        .map(|n| json!({ "specversion": "1.0", "id": format!("c-{n}"), "source": "/c", "type": "probe.save", "data": { "amount": "1.00" } }))
        .collect();
    let request = api.request(Method::POST, "/events").header("content-type", "application/cloudevents-batch+json");
    larder_tests::Api::try_send(request.body(json!(events).to_string())).await.unwrap().is(202);
    eventually("all to be saved", async || (api.transactions().await.len() == 60).then_some(())).await;
    let run = api.execute("probe", json!({})).await;
    let state: Value = serde_json::from_str(run["responseBody"].as_str().unwrap()).unwrap();
    assert_eq!((&state["count"], &state["sum"]), (&json!(60), &json!(6000)));
    let (_, metrics) = larder.internal("/metrics").await;
    assert!(metrics.contains("larder_state_conflicts_total"), "the runs never conflicted:\n{metrics}");
});

both!(an_http_component_receives_events_in_binary_mode, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.deploy("hello", &guests::guest("hello-http"), json!({ "events": ["hello.said"] })).await;
    api.event("h-1", "hello.said", Some("Anna"), json!({ "name": "Anna" })).await.is(202);
    let execution = eventually("the event's execution", async || {
        api.executions("hello").await.into_iter().find(|e| e["status"] == "completed")
    })
    .await;
    assert_eq!(execution["trigger"], "event");
});

both!(paused_enrolment_discards_effects_of_running_execution, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.deploy("slow", &guests::guest("probe"), json!({ "events": ["probe.slow"], "per": "enrolment" })).await;
    let anna = api.enrol("slow", "anna", "t", json!({})).await;
    api.enrol("slow", "bo", "t", json!({})).await;
    api.event("s-1", "probe.slow", Some("t"), json!({ "ms": 2_000 })).await.is(202);
    // The enrolments of a range are read together, before the first of their runs begins.
    eventually("a run to be under way", async || {
        let limits = api.get("/limits").await.is(200)["limits"].as_array().expect("limits").clone();
        let memory = limits.iter().find(|limit| limit["$id"] == "runtime.memory_bytes_per_partner")?;
        (memory["used"].as_u64()? > 0).then_some(())
    })
    .await;
    api.patch(&format!("/enrolments/{anna}"), json!({ "status": "paused" })).await.is(200);
    let refused =
        eventually("the refusal", async || api.executions("slow").await.into_iter().find(|e| e["status"] == "failed"))
            .await;
    assert_eq!(refused["enrolmentId"], json!(anna));
    assert!(refused["errors"].as_str().unwrap().contains("paused"), "{refused}");
    eventually("bo's saving", async || (api.transactions().await.len() == 1).then_some(())).await;
    assert_eq!(api.transactions().await[0]["endUser"], "bo");
});

both!(host_failures_are_retried_until_they_succeed, async |on| {
    let options =
        larder_tests::Options::on(on).set("LARDER_WORKER__RETRY_DELAY", "20ms").set("LARDER_WORKER__ATTEMPTS", "2");
    let mut larder = Larder::start_with(options).await;
    let api = larder.api();
    api.deploy("probe", &guests::guest("probe"), json!({ "events": ["probe.save"] })).await;
    api.enrol("probe", "clock", "clock", json!({})).await;
    larder.kill();
    let (objects, away) = (larder.data().join("objects"), larder.scratch().join("away"));
    std::fs::rename(&objects, &away).unwrap();
    std::fs::remove_dir_all(larder.data().join("artifacts")).unwrap();
    larder.restart().await;
    let api = larder.api();
    api.event("e-1", "probe.save", None, json!({ "amount": "1.00" })).await.is(202);
    let waiting = eventually("the host's fault to be told", async || {
        api.executions("probe")
            .await
            .into_iter()
            .find(|e| e["errors"].as_str().is_some_and(|text| text.contains("host failed")))
    })
    .await;
    assert_ne!(waiting["status"], "failed", "{waiting}");
    // Far more tries than a function has attempts.
    let tries = async || larder.log().matches("no artifact of").count();
    eventually("more tries", async || (tries().await >= 5).then_some(())).await;
    std::fs::remove_dir_all(&objects).unwrap();
    std::fs::rename(&away, &objects).unwrap();
    let done = eventually("the execution to end", async || {
        api.executions("probe")
            .await
            .into_iter()
            .find(|e| !matches!(e["status"].as_str(), Some("waiting" | "processing")))
    })
    .await;
    assert_eq!((&done["status"], &done["errors"]), (&json!("completed"), &json!("")), "{done}");
    assert_eq!(api.transactions().await.len(), 1);
});

// Whatever an envelope says reaches both kinds of guest, and goes on with what is emitted.
both!(all_attributes_of_an_event_reach_every_guest, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.deploy("probe", &guests::guest("probe"), json!({ "events": ["probe.*"] })).await;
    api.deploy("http", &guests::guest("hostile"), json!({ "events": ["probe.*"] })).await;
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "a-1"),
        ("ce-source", "/shop"),
        ("ce-type", "probe.attributes"),
        ("ce-dataschema", "https://schemas.example/purchase"),
        ("ce-traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("ce-partitionkey", "caf%C3%A9 1"),
        ("content-type", "application/json"),
    ];
    let request = api.request(Method::POST, "/events").body("{}");
    let request = binary.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    larder_tests::Api::send(request).await.is(202);
    let structured = json!({
        "specversion": "1.0", "id": "a-2", "source": "/shop", "type": "probe.attributes", "data": {},
        "sequence": 7, "sampled": true, "absent": null, "baggage": "user=\"zoë\"",
    });
    let request = api.request(Method::POST, "/events").header("content-type", "application/cloudevents+json");
    larder_tests::Api::send(request.body(structured.to_string())).await.is(202);

    let logs = async |function: &str, most: usize| {
        eventually("the runs", async || {
            let ended: Vec<Value> = api.executions(function).await;
            (ended.len() == most && ended.iter().all(|e| e["status"] == "completed"))
                .then(|| ended.iter().map(|e| e["logs"].as_str().unwrap().to_owned()).collect::<Vec<_>>())
        })
        .await
    };
    // Twice what was sent, and twice what was emitted of it.
    let first = r#"{"dataschema": "https://schemas.example/purchase", "partitionkey": "café 1", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#;
    let second = r#"{"baggage": "user=\"zoë\"", "sampled": "true", "sequence": "7"}"#;
    let printed = logs("probe", 4).await;
    for expected in [first, second] {
        assert_eq!(printed.iter().filter(|log| log.trim() == expected).count(), 2, "{printed:#?}");
    }
    let headers = logs("http", 4).await;
    for line in [
        "ce-dataschema: https://schemas.example/purchase",
        "ce-traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "ce-partitionkey: caf%C3%A9%201",
        "ce-sequence: 7",
        "ce-sampled: true",
        "ce-baggage: user=%22zo%C3%AB%22",
    ] {
        assert_eq!(headers.iter().filter(|log| log.lines().any(|is| is == line)).count(), 2, "{line}: {headers:#?}");
    }

    // What cannot be kept is refused by its name, not left out.
    for (name, value) in [("data", "x"), ("partition_key", "x"), ("long", &"x".repeat(2_049))] {
        let request = binary.iter().fold(api.request(Method::POST, "/events"), |r, (n, v)| r.header(*n, *v));
        let refused = larder_tests::Api::send(request.header(format!("ce-{name}"), value)).await;
        assert!(refused.is_error(400, "general_argument_invalid").contains(name));
    }
});
both!(event_shows_its_executions_and_their_progress, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let probe = guests::guest("probe");
    api.deploy("each", &probe, json!({ "events": ["card.*"], "per": "enrolment" })).await;
    api.deploy("once", &guests::guest("hello-http"), json!({ "events": ["card.purchase"] })).await;
    for saver in ["anna", "bo"] {
        api.enrol("each", saver, "card-1", json!({})).await;
    }
    let send = async |id: &str, kind: &str, subject: &str| {
        let accepted = api.event(id, kind, Some(subject), json!({ "amount": "1" })).await.is(202);
        let path = format!("/events/{}", accepted["events"][0]["$id"].as_str().unwrap());
        eventually("the event to be done", async || {
            let event = api.get(&path).await.is(200);
            (event["status"] == "done").then_some(event)
        })
        .await
    };
    let reached = send("1", "card.purchase", "card-1").await;
    assert_eq!((&reached["functions"], &reached["enrolments"]), (&json!(2), &json!(2)), "{reached}");
    let ended =
        reached["executions"]["completed"].as_u64().unwrap() + reached["executions"]["failed"].as_u64().unwrap();
    assert_eq!(ended, 3, "{reached}");
    let each = &reached["deliveries"][0];
    assert_eq!(
        (&each["functionId"], &each["per"], &each["enrolments"]),
        (&json!("each"), &json!("enrolment"), &json!(2))
    );
    assert_eq!(reached["deliveries"][1]["per"], "event");
    assert_eq!(
        (&reached["type"], &reached["subject"], reached.get("data")),
        (&json!("card.purchase"), &json!("card-1"), None)
    );

    // Nobody takes part with that topic; nobody listens to that type.
    let nobody = send("2", "card.refund", "card-9").await;
    assert_eq!((&nobody["functions"], &nobody["enrolments"]), (&json!(1), &json!(0)), "{nobody}");
    let unheard = send("3", "card_purchase", "card-1").await;
    assert_eq!((&unheard["functions"], &unheard["deliveries"]), (&json!(0), &json!([])));

    // By its own id and source, and by nothing else; not another partner's.
    let by_source = |id: &str, source: &str| format!("/events/{id}?source={source}");
    assert_eq!(api.get(&by_source("1", "%2Ftests")).await.is(200)["$id"], reached["$id"]);
    api.get(&by_source("1", "%2Fother")).await.is_error(404, "event_not_found");
    api.get("/events/1").await.is_error(404, "event_not_found");
    let operator = larder.operator();
    operator.post("/partners", json!({ "partnerId": "acme", "name": "Acme" })).await.is(201);
    for (partner, scopes, status) in
        [("acme", ["events.read"], 404), ("demo", ["events.write"], 200), ("demo", ["executions.read"], 401)]
    {
        let key =
            operator.post(&format!("/partners/{partner}/keys"), json!({ "name": "k", "scopes": scopes })).await.is(201);
        let other = larder.api_of(Some(partner), key["secret"].as_str());
        let path = format!("/events/{}", reached["$id"].as_str().unwrap());
        assert_eq!(other.get(&path).await.status, status, "{partner} {scopes:?}");
    }
});

both!(what_an_event_says_is_read_as_it_was_sent_under_a_scope_of_its_own, async |on| {
    let larder = Larder::start_on(on).await;
    let sent = r#"{"specversion":"1.0","id":"p/1","source":"/cards","type":"card.purchase","subject":"card-1",
        "traceparent":"00-1-2-01","data":{"amount": 12.10,"big":98765432109876543210987}}"#;
    let api = larder.api();
    let request = api.request(Method::POST, "/events").header("content-type", "application/cloudevents+json");
    let accepted = Api::send(request.body(sent)).await.is(202);
    let row = accepted["events"][0]["$id"].as_str().unwrap().to_owned();
    for path in [format!("/events/{row}/content"), "/events/p%2F1/content?source=%2Fcards".to_owned()] {
        let answer = api.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/cloudevents+json");
        let text = answer.text().await.unwrap();
        assert!(text.contains(r#""data":{"amount": 12.10,"big":98765432109876543210987}"#), "{text}");
        assert!(text.contains(r#""id":"p/1""#) && text.contains(r#""traceparent":"00-1-2-01""#), "{text}");
        // Sent again it is the same event.
        let request = api.request(Method::POST, "/events").header("content-type", "application/cloudevents+json");
        let again = &Api::send(request.body(text)).await.is(202)["events"][0];
        assert_eq!((&again["duplicate"], &again["differs"]), (&json!(true), &json!(false)));
    }
    api.get("/events/p1/content").await.is_error(404, "event_not_found");
    let operator = larder.operator();
    operator.post("/partners", json!({ "partnerId": "acme", "name": "Acme" })).await.is(201);
    for (partner, scopes, status) in [
        ("demo", json!(["events.data"]), 200),
        ("demo", json!(["events.read", "events.write", "executions.read"]), 401),
        ("acme", json!(["events.data"]), 404),
    ] {
        let key = json!({ "name": "k", "scopes": scopes });
        let key = operator.post(&format!("/partners/{partner}/keys"), key).await.is(201);
        let other = larder.api_of(Some(partner), key["secret"].as_str());
        assert_eq!(other.get(&format!("/events/{row}/content")).await.status, status, "{partner} {scopes}");
    }
});

both!(event_with_a_known_id_and_other_content_is_flagged, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let event = |id: &str, kind: &str, subject: Option<&str>, more: Value| {
        let mut event =
            json!({ "specversion": "1.0", "id": id, "source": "/s", "type": kind, "data": { "amount": "1" } });
        event["subject"] = json!(subject);
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let send = async |events: Value| {
        let request = api.request(Method::POST, "/events").header("content-type", "application/cloudevents-batch+json");
        let answer = larder_tests::Api::send(request.body(events.to_string())).await.is(202);
        let flags = |event: &Value| (event["duplicate"].as_bool().unwrap(), event["differs"].as_bool().unwrap());
        answer["events"].as_array().unwrap().iter().map(flags).collect::<Vec<_>>()
    };
    let first = || event("1", "a.b", Some("x"), json!({}));
    assert_eq!(send(json!([first()])).await, [(false, false)]);
    // A later time alone is no other content: who leaves it out has another one each time.
    let later = event("1", "a.b", Some("x"), json!({ "time": "2026-11-30T00:00:00Z" }));
    assert_eq!(send(json!([first(), later])).await, [(true, false); 2]);
    for changed in [
        event("1", "a.c", Some("x"), json!({})),
        event("1", "a.b", Some("y"), json!({})),
        event("1", "a.b", None, json!({})),
        event("1", "a.b", Some("x"), json!({ "data": { "amount": "2" } })),
        event("1", "a.b", Some("x"), json!({ "datacontenttype": "application/x+json" })),
    ] {
        assert_eq!(send(json!([changed])).await, [(true, true)], "{changed}");
    }
    // Within one batch too.
    let pair = json!([event("2", "a.b", None, json!({})), first(), event("2", "a.b", Some("z"), json!({}))]);
    assert_eq!(send(pair).await, [(false, false), (true, false), (true, true)]);
});
