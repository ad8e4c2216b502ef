//! What is approved is what happens: a name that leads elsewhere than was approved waits for a yes.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use larder_tests::upstream::{Reply, Service};
use larder_tests::{Answer, Api, Larder, both, eventually, guests};
use reqwest::Method;
use serde_json::{Value, json};

/// Another key of the partner, with these scopes.
async fn key(larder: &Larder, scopes: &[&str]) -> Api {
    let key = larder.operator().post("/partners/demo/keys", json!({ "name": "k", "scopes": scopes })).await.is(201);
    larder.api_of(Some("demo"), key["secret"].as_str())
}

async fn service(text: &'static str) -> Service {
    Service::start(move |_| Reply::new(200, text)).await
}

fn upstream(name: &str, service: &Service) -> Value {
    json!({ "name": name, "url": service.url(), "networks": ["127.0.0.0/8"] })
}

/// A function that calls out, granted these upstreams.
async fn caller(api: &Api, upstreams: &[&str]) {
    api.create_function("f", json!({ "routes": ["/f"] })).await.is(201);
    api.grant("f", json!({ "upstreams": upstreams })).await;
    assert_eq!(api.build("f", &guests::guest("caller"), true).await["status"], "ready");
}

/// What a call of the upstream gives: the text, or the error.
async fn called(larder: &Larder, name: &str) -> String {
    let call = json!([{ "authority": format!("{name}.upstream") }]).to_string();
    let answer = larder.web("demo", Method::POST, "/f").body(call).send().await.unwrap().text().await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let said = if answer[0]["text"].is_string() { &answer[0]["text"] } else { &answer[0]["error"] };
    said.as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

async fn history(api: &Api) -> Vec<Value> {
    api.all("/grants/changes", "grantChanges").await
}

const REFUSED: &str = "HttpRequestDenied";

both!(moved_upstream_needs_a_new_approval, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let (a, b) = (service("a").await, service("b").await);
    let mover = key(&larder, &["upstreams.read", "upstreams.write"]).await;
    let approver = key(&larder, &["grants.read", "grants.write"]).await;
    api.post("/upstreams", upstream("bank", &a)).await.is(201);
    caller(&api, &["bank", "later"]).await;
    assert_eq!(called(&larder, "bank").await, "a");

    // Settings that change nothing of where it leads ask nobody; all that do, do.
    let url = a.url();
    mover.patch("/upstreams/bank", json!({ "concurrency": 3, "cache": { "enabled": true } })).await.is(200);
    assert_eq!(called(&larder, "bank").await, "a");
    let credential = json!({ "credential": { "kind": "query", "name": "as" }, "secret": "somebody-else" });
    for (change, back) in [
        (json!({ "url": b.url() }), json!({ "url": url })),
        (json!({ "url": format!("{url}/elsewhere") }), json!({ "url": url })),
        (json!({ "networks": ["127.0.0.0/9"] }), json!({ "networks": ["127.0.0.0/8"] })),
        (credential, json!({ "credential": { "kind": "none" } })),
    ] {
        mover.patch("/upstreams/bank", change.clone()).await.is(200);
        assert_eq!(called(&larder, "bank").await, REFUSED, "{change}");
        // What was approved is approved.
        mover.patch("/upstreams/bank", back.clone()).await.is(200);
        assert_eq!(called(&larder, "bank").await, "a", "{back}");
    }
    mover.delete("/upstreams/bank").await.is(204);
    mover.post("/upstreams", upstream("bank", &b)).await.is(201);
    assert_eq!(called(&larder, "bank").await, REFUSED, "made anew elsewhere");
    mover.post("/upstreams", upstream("later", &b)).await.is(201);
    assert_eq!(called(&larder, "later").await, REFUSED, "it was not there when it was granted");
    assert_eq!((a.count(), b.count()), (6, 0));

    // It is told in words, waits for a yes, and has it.
    let read = approver.get("/functions/f/grants").await.is(200);
    let moved: Vec<&str> = read["moved"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let to =
        format!("may now call the upstream bank, which leads to {} in 127.0.0.0/8 instead of {}", b.url(), a.url());
    assert!(moved.len() == 2 && moved[0].starts_with(&to), "{to}\n{moved:?}");
    mover
        .put("/functions/f/grants", json!({ "upstreams": ["bank"] }))
        .await
        .is_error(401, "general_unauthorized_scope");
    approver.put("/functions/f/grants", json!({ "upstreams": ["bank"] })).await.is(200);
    assert_eq!(called(&larder, "bank").await, "b");
    assert_eq!(approver.get("/functions/f/grants").await.is(200)["moved"], json!([]));

    // A key that may approve says yes by moving it.
    api.patch("/upstreams/bank", json!({ "url": a.url() })).await.is(200);
    assert_eq!(called(&larder, "bank").await, "a");
    // Not where the partner wants two: such a key may upload as well.
    larder.operator().patch("/partners/demo", json!({ "approvalByAnother": true })).await.is(200);
    api.patch("/upstreams/bank", json!({ "url": b.url() })).await.is(200);
    assert_eq!(called(&larder, "bank").await, REFUSED);

    // Each change is in the history, with who made it and what it did to whom.
    let history = history(&approver).await;
    let told = |note: &str| history.iter().filter(|line| line["note"].as_str().unwrap().contains(note)).count();
    assert!(told("the upstream bank was changed: url") >= 4, "{history:#?}");
    assert_eq!((told("the upstream bank was deleted"), told("the upstream bank was created")), (1, 2), "{history:#?}");
    let narrowed = |line: &&Value| line["difference"]["narrows"][0] == "may no longer call the upstream bank";
    let consequence = history.iter().find(narrowed).unwrap();
    assert_eq!((&consequence["kind"], &consequence["functionId"]), (&json!("upstream"), &json!("f")));
    assert_ne!(consequence["keyId"], "");
});

both!(running_execution_cannot_reach_a_moved_upstream, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let mover = key(&larder, &["upstreams.write"]).await;
    let (a, b) = (service("a").await, service("b").await);
    let (asked, (go, may_go)) = (Arc::new(AtomicBool::new(false)), mpsc::channel());
    let slow = Service::start({
        let (asked, may_go) = (asked.clone(), Mutex::new(may_go));
        move |_| {
            asked.store(true, SeqCst);
            // The service's own thread of one connection may wait.
            tokio::task::block_in_place(|| may_go.lock().unwrap().recv_timeout(Duration::from_secs(20))).unwrap();
            Reply::new(200, "slow")
        }
    })
    .await;
    for (name, service) in [("bank", &a), ("slow", &slow)] {
        api.post("/upstreams", upstream(name, service)).await.is(201);
    }
    caller(&api, &["bank", "slow"]).await;
    let calls = json!([{ "authority": "slow.upstream" }, { "authority": "bank.upstream" }]).to_string();
    let run = tokio::spawn(larder.web("demo", Method::POST, "/f").body(calls).send());
    eventually("the run to be under way", async || asked.load(SeqCst).then_some(())).await;
    mover.patch("/upstreams/bank", json!({ "url": b.url() })).await.is(200);
    go.send(()).unwrap();
    let answer: Value = serde_json::from_str(&run.await.unwrap().unwrap().text().await.unwrap()).unwrap();
    assert_eq!((&answer[0]["text"], &answer[1]["error"]), (&json!("slow"), &json!(REFUSED)), "{answer}");
    assert_eq!(b.count(), 0);
});

both!(approval_covers_what_names_resolved_to_when_it_was_given, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let (a, b) = (service("a").await, service("b").await);
    let mover = key(&larder, &["upstreams.write"]).await;
    let approver = key(&larder, &["grants.read", "grants.write"]).await;
    let uploader = key(&larder, &["functions.read", "functions.write"]).await;
    api.post("/upstreams", upstream("bank", &a)).await.is(201);
    api.create_function("f", json!({ "routes": ["/f"] })).await.is(201);
    let asked = json!({ "upstreams": ["bank"] });
    let upload = async |activate: bool| {
        let deployment = uploader.upload_asking("f", &guests::guest("caller"), activate, asked.clone()).await.is(202);
        api.built("f", &deployment).await["$id"].as_str().unwrap().to_owned()
    };
    let grants = |id: &str| format!("/functions/f/deployments/{id}/grants");
    let approve = async |id: &str, read: &Value| -> Answer {
        let digest = read["deployment"]["digest"].clone();
        approver.post(&format!("{}/approval", grants(id)), json!({ "digest": digest })).await
    };
    // What was read is not what is there any more.
    let first = upload(true).await;
    let read = approver.get(&grants(&first)).await.is(200);
    assert!(read["deployment"]["difference"]["widens"][0].as_str().unwrap().contains(&a.url()), "{read}");
    mover.patch("/upstreams/bank", json!({ "url": b.url() })).await.is(200);
    approve(&first, &read).await.is_error(409, "general_conflict");
    mover.patch("/upstreams/bank", json!({ "url": a.url() })).await.is(200);
    assert_eq!(approve(&first, &read).await.is(200)["active"], true);
    assert_eq!(called(&larder, "bank").await, "a");

    // A yes to what is not active yet ends when it is moved.
    api.grant("f", json!({})).await;
    let second = upload(false).await;
    let read = approver.get(&grants(&second)).await.is(200);
    approve(&second, &read).await.is(200);
    mover.patch("/upstreams/bank", json!({ "url": b.url() })).await.is(200);
    let path = format!("/functions/f/deployments/{second}");
    assert_eq!(approver.get(&grants(&second)).await.is(200)["deployment"]["waits"], true);
    uploader.patch(&path, json!({})).await.is_error(403, "general_access_forbidden");
    let read = approver.get(&grants(&second)).await.is(200);
    approve(&second, &read).await.is(200);
    uploader.patch(&path, json!({})).await.is(200);
    assert_eq!(called(&larder, "bank").await, "b");

    // Moved under what runs: a yes to the deployment that runs is enough, and an upload that asks for the same extends nothing.
    mover.patch("/upstreams/bank", json!({ "url": a.url() })).await.is(200);
    assert_eq!(called(&larder, "bank").await, REFUSED);
    upload(true).await;
    assert_eq!(called(&larder, "bank").await, REFUSED, "an upload is no yes");
    let active = api.get("/functions/f").await.is(200)["deploymentId"].as_str().unwrap().to_owned();
    let read = approver.get(&grants(&active)).await.is(200);
    assert!(read["moved"][0].as_str().unwrap().contains("which leads to"), "{read}");
    approve(&active, &read).await.is(200);
    assert_eq!(called(&larder, "bank").await, "a");
});

both!(partner_upstream_does_not_hide_the_operators, async |on| {
    let larder = Larder::start_on(on).await;
    let (api, operator) = (larder.api(), larder.operator());
    let (own, shared) = (service("own").await, service("shared").await);
    let mover = key(&larder, &["upstreams.write"]).await;
    operator.post("/operator/upstreams", upstream("bank", &shared)).await.is(201);
    let said = api.post("/upstreams", upstream("bank", &own)).await.is_error(409, "upstream_already_exists");
    assert!(said.contains("operator"), "{said}");
    // One that was there first stays what it is, for whom it is.
    api.post("/upstreams", upstream("mine", &own)).await.is(201);
    caller(&api, &["bank", "mine"]).await;
    operator.post("/operator/upstreams", upstream("mine", &shared)).await.is(201);
    assert_eq!((called(&larder, "bank").await, called(&larder, "mine").await), ("shared".into(), "own".into()));
    let listed = api.get("/upstreams").await.is(200);
    let listed: Vec<_> = listed["upstreams"].as_array().unwrap().iter().map(|u| (&u["name"], &u["owner"])).collect();
    let (partner, op) = (json!("partner"), json!("operator"));
    assert_eq!(listed, [(&json!("mine"), &partner), (&json!("bank"), &op), (&json!("mine"), &op)]);
    // When it goes, its name leads to the operator's, which nobody has approved.
    mover.delete("/upstreams/mine").await.is(204);
    assert_eq!(called(&larder, "mine").await, REFUSED);
    api.grant("f", json!({ "upstreams": ["bank", "mine"] })).await;
    assert_eq!(called(&larder, "mine").await, "shared");

    // The operator asks again, too, or answers for it.
    operator.patch("/operator/upstreams/mine", json!({ "url": own.url() })).await.is(200);
    assert_eq!((called(&larder, "mine").await, called(&larder, "bank").await), (REFUSED.into(), "shared".into()));
    let line = history(&api).await.pop().unwrap();
    assert_eq!((&line["functionId"], &line["keyId"]), (&json!("f"), &json!("")), "{line}");
    assert!(line["note"].as_str().unwrap().contains("the operator's upstream mine was changed: url"), "{line}");
    api.grant("f", json!({ "upstreams": ["bank", "mine"] })).await;
    operator.patch("/operator/upstreams/mine", json!({ "url": shared.url(), "keepApprovals": true })).await.is(200);
    assert_eq!(called(&larder, "mine").await, "shared");
});

both!(changed_secret_needs_a_new_approval, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let uploader = key(&larder, &["functions.read", "functions.write"]).await;
    let approver = key(&larder, &["grants.read", "grants.write"]).await;
    let path = "/functions/f/variables";
    api.create_function("f", json!({ "routes": ["/hello"] })).await.is(201);
    let made = async |by: &Api, key: &str, value: &str| {
        let body = json!({ "variableId": "unique()", "key": key, "value": value, "secret": true });
        by.post(path, body).await.is(201)["$id"].as_str().unwrap().to_owned()
    };
    let first = made(&api, "GREETING", "approved").await;
    let hidden = made(&api, "HIDDEN", "nobody granted this").await;
    approver.put("/functions/f/grants", json!({ "secrets": ["GREETING"] })).await.is(200);
    assert_eq!(api.build("f", &guests::guest("hello-http"), true).await["status"], "ready");
    let read = async || {
        let answer = larder.web("demo", Method::GET, "/hello/variable").send().await.unwrap();
        (answer.status() == 200).then_some(answer.text().await.unwrap().trim().to_owned())
    };
    let is = |text: &str| Some(text.to_owned());
    assert_eq!(read().await, is("approved"));

    // The same again is no change: a deploy writes what it has.
    let of = |id: &str| format!("{path}/{id}");
    uploader.put(&of(&first), json!({ "key": "GREETING", "value": "approved", "secret": true })).await.is(200);
    assert_eq!(read().await, is("approved"));
    // Renamed over it, replaced, or made anew.
    uploader.delete(&of(&first)).await.is(204);
    uploader.put(&of(&hidden), json!({ "key": "GREETING" })).await.is(200);
    assert_eq!(read().await, None, "a secret that nobody granted, under a granted name");
    uploader.put(&of(&hidden), json!({ "key": "HIDDEN" })).await.is(200);
    let second = made(&uploader, "GREETING", "chosen by the uploader").await;
    assert_eq!(read().await, None, "made anew");
    approver.put("/functions/f/grants", json!({ "secrets": ["GREETING"] })).await.is(200);
    assert_eq!(read().await, is("chosen by the uploader"));
    uploader.put(&of(&second), json!({ "key": "GREETING", "value": "changed" })).await.is(200);
    assert_eq!(read().await, None, "another value");
    let moved = approver.get("/functions/f/grants").await.is(200)["moved"].clone();
    assert!(moved[0].as_str().unwrap().starts_with("may now read the secret GREETING, which"), "{moved}");
    // A key that may approve says yes by changing it.
    api.put(&of(&second), json!({ "value": "of both" })).await.is(200);
    assert_eq!(read().await, is("of both"));

    let history = history(&approver).await;
    let notes: Vec<&str> = history.iter().map(|line| line["note"].as_str().unwrap()).collect();
    for note in [
        "the secret GREETING was created",
        "the secret GREETING was deleted",
        "the secret HIDDEN was renamed to GREETING",
        "the secret GREETING was renamed to HIDDEN",
        "the secret GREETING was changed",
    ] {
        assert!(notes.contains(&note), "{note:?} is not in {notes:#?}");
    }
    assert!(!history.iter().any(|line| line.to_string().contains("chosen by the uploader")));
});

both!(feed_stops_when_its_upstream_is_moved, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let (a, b) = (service("[]").await, service("[]").await);
    let mover = key(&larder, &["upstreams.write"]).await;
    let feeder = key(&larder, &["feeds.read", "feeds.write"]).await;
    api.post("/upstreams", upstream("bank", &a)).await.is(201);
    let mapping = json!({ "id": "{/id}", "source": "/s", "type": "t.t", "time": "{/at}" });
    let poll = json!({ "upstream": "bank", "path": "/", "periodSeconds": 1 });
    feeder.post("/feeds", json!({ "name": "f", "poll": poll, "mapping": mapping })).await.is(201);
    let status = async |wanted: &str| {
        eventually(wanted, async || Some(api.get("/feeds/f").await.is(200)).filter(|feed| feed["status"] == wanted))
            .await
    };
    status("ok").await;
    mover.patch("/upstreams/bank", json!({ "url": b.url() })).await.is(200);
    let failing = status("failing").await;
    assert!(failing["error"].as_str().unwrap().contains("leads elsewhere"), "{failing}");
    assert_eq!(b.count(), 0);
    feeder.patch("/feeds/f", json!({})).await.is(200);
    status("ok").await;
    // A key that may do both says so by moving it.
    api.patch("/upstreams/bank", json!({ "url": a.url() })).await.is(200);
    let before = a.count();
    eventually("it is asked", async || (a.count() > before).then_some(())).await;
    assert_eq!(status("ok").await["failures"], 0);
});

both!(every_upstream_name_that_can_be_created_can_be_granted, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let there = service("there").await;
    let names = ["a", "a-1", &"b".repeat(40), &"c".repeat(41), &"d".repeat(63)];
    for name in names {
        api.post("/upstreams", upstream(name, &there)).await.is(201);
    }
    caller(&api, &names).await;
    for name in names {
        assert_eq!(called(&larder, name).await, "there", "{name}");
    }
    for name in ["", "A", "-a", "a-", "a.b", "a_b", &"e".repeat(64)] {
        api.post("/upstreams", upstream(name, &there)).await.is_error(400, "general_argument_invalid");
        let said = api.put("/functions/f/grants", json!({ "upstreams": [name] })).await;
        said.is_error(400, "general_argument_invalid");
    }
    // Secrets: what is no key of a variable is no grant either.
    for (name, fine) in [
        ("A", true),
        ("a b", true),
        ("ä", true),
        (&"K".repeat(255), true),
        ("A=B", false),
        ("", false),
        (&"K".repeat(256), false),
        ("A\u{202e}", false),
        ("A\n", false),
    ] {
        let body = json!({ "variableId": "unique()", "key": name, "value": "v", "secret": true });
        let made = api.post("/functions/f/variables", body).await.status == 201;
        let granted = api.put("/functions/f/grants", json!({ "secrets": [name] })).await.status == 200;
        assert_eq!((made, granted), (fine, fine), "{name:?}");
    }
});
