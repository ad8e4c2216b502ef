//! Many dead letters at once: grouped by what they were given up for, redriven or discarded in the background, each once, whoever
//! dies meanwhile.

use larder_tests::{Api, Larder, Options, both, eventually, guests};
use serde_json::{Value, json};

/// The action, once it has this status.
async fn with_status(api: &Api, action: &Value, status: &str) -> Value {
    let path = format!("/bulk-actions/{}", action["$id"].as_str().unwrap());
    eventually(status, async || {
        let now = api.get(&path).await.is(200);
        (now["status"] == status).then_some(now)
    })
    .await
}

both!(each_dead_letter_of_a_bulk_action_is_taken_once_though_the_process_dies, async |on| {
    let options = Options::on(on)
        .set("LARDER_WORKER__POLL", "200ms")
        .set("LARDER_WORKER__BULK_UNDO", "2s")
        .set("LARDER_WORKER__BULK_BATCH", "2")
        .set("LARDER_WORKER__BULK_ACTIONS_PER_PARTNER", "2")
        // In the second batch of the second action, within its transaction.
        .set("LARDER_CRASH", "bulk_writing:4");
    let mut larder = Larder::start_with(options).await;
    let api = larder.api();
    for function in ["f", "other"] {
        let settings = json!({ "events": ["probe.retry"], "limits": { "attempts": 1 } });
        api.deploy(function, &guests::guest("probe"), settings).await;
    }
    for number in 0..5 {
        api.event(&format!("e-{number}"), "probe.retry", None, json!({})).await.is(202);
    }
    let groups = eventually("all of them to be given up", async || {
        let groups = api.get("/dead-letters/groups").await.is(200);
        let counts: Vec<_> = groups["groups"].as_array()?.iter().map(|group| group["count"].as_u64()).collect();
        (counts == [Some(5), Some(5)]).then_some(groups)
    })
    .await;
    let [first, second] = [&groups["groups"][0], &groups["groups"][1]];
    assert_eq!((&first["functionId"], &second["functionId"]), (&json!("f"), &json!("other")), "{groups}");
    assert_eq!(
        (&groups["more"], &first["atLeast"], &first["reason"]),
        (&json!(false), &json!(false), &second["reason"])
    );
    assert!(first["reason"].as_str().unwrap().contains("not yet") && first["oldestAt"].is_string(), "{first}");
    api.get(&format!("/dead-letters/{}", first["exampleId"].as_str().unwrap())).await.is(200);
    let page = api.get("/dead-letters/groups?limit=1").await.is(200);
    assert_eq!((&page["more"], &page["groups"]), (&json!(true), &json!([first])));
    let after = reqwest::Url::parse_with_params(
        "http://x/",
        [("afterReason", first["reason"].as_str().unwrap()), ("afterFunction", "f")],
    );
    let page = api.get(&format!("/dead-letters/groups?{}", after.unwrap().query().unwrap())).await.is(200);
    assert_eq!((&page["more"], &page["groups"]), (&json!(false), &json!([second])));

    // What is not asked for well is refused by name.
    let group = |action: &str| json!({ "action": action, "functionId": "f", "reason": first["reason"] });
    for (body, names) in [
        (json!({ "functionId": "f", "reason": "x" }), "action"),
        (group("bury"), "redrive, discard"),
        (json!({ "action": "redrive", "functionId": "f" }), "functionId"),
        (json!({ "action": "redrive", "functionId": "f", "reason": "x", "ids": ["a"] }), "ids"),
        (json!({ "action": "redrive", "ids": vec!["a/b"; 1] }), "ids"),
        (json!({ "action": "redrive", "ids": (0..501).map(|n| n.to_string()).collect::<Vec<_>>() }), "500"),
        (json!({ "action": "redrive", "functionId": "f", "reason": "x", "buriedBefore": "now" }), "buriedBefore"),
    ] {
        let said = api.post("/bulk-actions", body.clone()).await.is_error(400, "general_argument_invalid").to_string();
        assert!(said.contains(names), "{body}: {said}");
    }
    let nobody = json!({ "action": "redrive", "functionId": "nobody", "reason": "x" });
    api.post("/bulk-actions", nobody).await.is_error(404, "function_not_found");

    // Undone before it begins: nothing of it happens. Paused, it waits, and counts among those that are open.
    let undone = api.post("/bulk-actions", group("discard")).await.is(202);
    assert_eq!((&undone["status"], &undone["expected"], &undone["done"]), (&json!("waiting"), &json!(5), &json!(0)));
    let paused = api.post("/bulk-actions", group("discard")).await.is(202);
    let act = async |of: &Value, what: &str| {
        api.post(&format!("/bulk-actions/{}/{what}", of["$id"].as_str().unwrap()), json!({})).await
    };
    act(&paused, "pause").await.is(200);
    let refused = api.post("/bulk-actions", group("redrive")).await.is_error(429, "general_rate_limit_exceeded");
    assert!(refused.to_string().contains("worker.bulk_actions_per_partner"), "{refused}");
    assert_eq!(act(&undone, "cancel").await.is(200)["status"], "cancelled");
    act(&undone, "cancel").await.is_error(409, "bulk_action_status_conflict");
    act(&undone, "resume").await.is_error(409, "bulk_action_status_conflict");
    act(&paused, "cancel").await.is(200);

    // Chosen one by one: what is no dead letter is told.
    let ids = json!([second["exampleId"], "nobody"]);
    let chosen = api.post("/bulk-actions", json!({ "action": "discard", "ids": ids })).await.is(202);
    let chosen = with_status(&api, &chosen, "completed").await;
    assert_eq!((&chosen["done"], &chosen["failed"], &chosen["functionId"]), (&json!(1), &json!(1), &json!("")));
    assert_eq!(api.all("/dead-letters", "deadLetters").await.len(), 9);

    api.build("f", &guests::guest("hello-http"), true).await;
    let (code, out, err) = larder
        .cli(
            larder.scratch(),
            &["bulk-actions", "redrive", "--function", "f", "--reason", first["reason"].as_str().unwrap(), "--json"],
        )
        .await;
    assert_eq!(code, 0, "{err}");
    let redrive: Value = serde_json::from_str(&out).unwrap();
    larder.ended().await;
    larder.restart().await;
    let api = larder.api();
    let redriven = with_status(&api, &redrive, "completed").await;
    assert_eq!((&redriven["done"], &redriven["failed"], &redriven["expected"]), (&json!(5), &json!(0), &json!(5)));
    eventually("them to have run", async || {
        let all = api.executions("f").await;
        let done = all.iter().filter(|run| run["status"] == "completed" && run["attempt"] == 1).count();
        (all.len() == 5 && done == 5).then_some(())
    })
    .await;
    let groups = api.get("/dead-letters/groups").await.is(200);
    let left: Vec<_> = groups["groups"].as_array().unwrap().iter().map(|g| (&g["functionId"], &g["count"])).collect();
    assert_eq!(left, [(&json!("other"), &json!(4))], "those of the other function are as they were");

    let (code, out, err) = larder.cli(larder.scratch(), &["bulk-actions", "list", "--status", "completed"]).await;
    assert!(code == 0 && out.lines().count() == 3, "{out}{err}");
    let (code, out, err) = larder.cli(larder.scratch(), &["dead-letters", "groups"]).await;
    assert!(code == 0 && out.contains("other") && out.contains("not yet"), "{out}{err}");
});
