//! Grants: nothing is granted by asking, what is granted has bounds, and what is taken away is gone at once.

use std::path::Path;
use std::time::Duration;

use larder_model::ids::KeyId;
use larder_model::time::Clock;
use larder_store::ledger::CommitResult;
use larder_tests::{Answer, Api, Backend, Larder, Options, both, eventually, guests, rows, within};
use serde_json::{Value, json};

use crate::events::schedules;

fn probe() -> Vec<u8> {
    guests::guest("probe")
}

/// State, events and so much money a day.
fn may(max: &str, sum: &str) -> Value {
    json!({
        "state": true, "events": ["probe.echo"],
        "transactions": { "SEK": { "max": max, "sum": sum, "period": "day" } },
    })
}

/// Another key of the partner, with these scopes.
async fn key(larder: &Larder, scopes: &[&str]) -> (Api, String, String) {
    let key = larder.operator().post("/partners/demo/keys", json!({ "name": "k", "scopes": scopes })).await.is(201);
    let text = |name: &str| key[name].as_str().unwrap().to_owned();
    (larder.api_of(Some("demo"), Some(&text("secret"))), text("$id"), text("secret"))
}

async fn active(api: &Api) -> Value {
    api.get("/functions/f").await.is(200)["deploymentId"].clone()
}

async fn in_force(api: &Api) -> Value {
    api.get("/functions/f/grants").await.is(200)["grants"]["transactions"]["SEK"]["max"].clone()
}

/// Why the execution failed.
async fn refusal(api: &Api, amount: &str) -> String {
    let execution = api.execute("f", json!({ "body": json!({ "amount": amount }).to_string() })).await;
    assert_eq!(execution["status"], "failed", "{execution}");
    execution["errors"].as_str().unwrap().to_owned()
}

async fn saves(api: &Api, amount: &str) {
    let execution = api.execute("f", json!({ "body": json!({ "amount": amount }).to_string() })).await;
    assert_eq!(execution["status"], "completed", "{execution}");
}

both!(an_import_without_a_grant_is_refused_with_the_lines_to_add, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.create_function("f", json!({})).await.is(201);
    let refused = api.built("f", &api.upload("f", &probe(), true).await.is(202)).await;
    let logs = refused["buildLogs"].as_str().unwrap();
    assert_eq!(refused["status"], "failed", "{logs}");
    for line in [
        "\n[grants]\n",
        "\ntransactions.SEK = { max = \"500.00\", sum = \"1000.00\", period = \"day\" }",
        "\nstate = true\n",
        "\nevents = [\"f.*\"]",
        "PUT /v1/functions/f/grants",
    ] {
        assert!(logs.contains(line), "{line:?} is not in\n{logs}");
    }
    // What is asked for counts, also where more is granted.
    api.grant("f", may("1", "1")).await;
    let asked = api.upload_asking("f", &probe(), true, json!({ "state": true })).await.is(202);
    let refused = api.built("f", &asked).await;
    let logs = refused["buildLogs"].as_str().unwrap();
    assert!(logs.contains("transactions.SEK") && !logs.contains("state = true"), "{logs}");
    assert_eq!(active(&api).await, "");

    // Outgoing HTTP is imported out of habit: it is linked, and the log says what it is worth.
    let caller = api.built("f", &api.upload("f", &guests::guest("caller"), true).await.is(202)).await;
    assert_eq!((&caller["status"], &active(&api).await), (&json!("ready"), &caller["$id"]));
    assert!(caller["buildLogs"].as_str().unwrap().contains("every outgoing call is refused"), "{caller}");

    for (grants, key) in [
        (
            json!({ "transactions": { "SEK": { "max": "0", "sum": "1", "period": "day" } } }),
            "`grants.transactions.SEK.max`",
        ),
        (json!({ "http": [{ "hosts": ["a.example"], "calls": 1001 }] }), "`grants.http[0].calls`"),
        (json!({ "sockets": true }), "sockets"),
    ] {
        let said = api.put("/functions/f/grants", grants.clone()).await.is_error(400, "general_argument_invalid");
        assert!(said.contains(key), "{said}");
        let said = api.upload_asking("f", &probe(), true, grants).await.is_error(400, "general_argument_invalid");
        assert!(said.contains(key), "{said}");
    }
});

both!(extended_grants_wait_for_approval_while_the_old_deployment_serves, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let demo = "/partners/demo";
    assert_eq!(
        larder.operator().patch(demo, json!({ "approvalByAnother": true })).await.is(200)["approvalByAnother"],
        true
    );
    api.create_function("f", json!({})).await.is(201);
    api.enrol("f", "clock", "clock", json!({})).await;
    let scopes = ["functions.read", "functions.write", "grants.read"];
    let (uploader, uploader_id, _) = key(&larder, &scopes).await;
    let (both, ..) = key(&larder, &[&scopes[..], &["grants.write"]].concat()).await;
    let (approver, approver_id, _) = key(&larder, &["grants.read", "grants.write"]).await;

    // A key that may upload cannot extend by itself, one that may not can.
    let said = both.put("/functions/f/grants", may("5", "1000")).await.is_error(403, "general_access_forbidden");
    assert!(said.contains("another key"), "{said}");
    uploader.put("/functions/f/grants", may("5", "1000")).await.is_error(401, "general_unauthorized_scope");
    approver.put("/functions/f/grants", may("5", "1000")).await.is(200);
    let first = api.built("f", &uploader.upload("f", &probe(), true).await.is(202)).await;
    assert_eq!((&first["status"], active(&api).await), (&json!("ready"), first["$id"].clone()));
    assert_eq!(first["grants"], Value::Null);

    let second = uploader.upload_asking("f", &probe(), true, may("500", "1000")).await.is(202);
    let second = api.built("f", &second).await;
    let words = "may now create transactions up to 500.00 SEK each instead of 5.00";
    assert_eq!(second["status"], "ready");
    assert!(second["buildLogs"].as_str().unwrap().contains(words), "{second}");
    assert_eq!((active(&api).await, in_force(&api).await), (first["$id"].clone(), json!("5.00")));
    saves(&api, "5.00").await;
    assert!(refusal(&api, "6.00").await.contains("transactions.SEK"));
    let id = second["$id"].as_str().unwrap();
    for path in ["/functions/f/deployment".to_owned(), format!("/functions/f/deployments/{id}")] {
        let said = uploader.patch(&path, json!({ "deploymentId": id })).await.is_error(403, "general_access_forbidden");
        for part in [words, "grants.write", "another one", &format!("larder grants approve f {id}")] {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
    }

    let path = format!("/functions/f/deployments/{id}/grants");
    let read = uploader.get(&path).await.is(200);
    let asked = &read["deployment"];
    assert_eq!((&asked["waits"], &asked["uploadedBy"]), (&json!(true), &json!(uploader_id)));
    assert_eq!(asked["difference"], json!({ "widens": [words], "narrows": [] }));
    let yes = async |by: &Api, digest: &Value| -> Answer {
        by.post(&format!("{path}/approval"), json!({ "digest": digest })).await
    };
    yes(&uploader, &asked["digest"]).await.is_error(401, "general_unauthorized_scope");
    yes(&approver, &json!("something else")).await.is_error(409, "general_conflict");
    // What was read is what is approved: more was in force then than is now.
    approver.put("/functions/f/grants", may("4", "1000")).await.is(200);
    yes(&approver, &asked["digest"]).await.is_error(409, "general_conflict");
    let digest = approver.get(&path).await.is(200)["deployment"]["digest"].clone();
    let answer = yes(&approver, &digest).await.is(200);
    assert_eq!((&answer["active"], &answer["deployment"]["approvedBy"]), (&json!(true), &json!(approver_id)));
    assert_eq!((active(&api).await, in_force(&api).await), (second["$id"].clone(), json!("500.00")));
    saves(&api, "6.00").await;

    // The uploader's own yes is none where the partner says so, whatever its scopes.
    let own = both.upload_asking("f", &probe(), true, may("501", "1000")).await.is(202);
    let own = api.built("f", &own).await;
    let path = format!("/functions/f/deployments/{}/grants", own["$id"].as_str().unwrap());
    let digest = both.get(&path).await.is(200)["deployment"]["digest"].clone();
    let body = json!({ "digest": digest });
    both.post(&format!("{path}/approval"), body.clone()).await.is_error(403, "general_access_forbidden");
    larder.operator().patch(demo, json!({ "approvalByAnother": false })).await.is(200);
    both.post(&format!("{path}/approval"), body).await.is(200);
    assert_eq!(in_force(&api).await, "501.00");

    // Narrowing needs nobody, and one that was approved may come back.
    let less = api.built("f", &uploader.upload_asking("f", &probe(), true, may("3", "1000")).await.is(202)).await;
    assert_eq!((active(&api).await, in_force(&api).await), (less["$id"].clone(), json!("3.00")));
    uploader.patch("/functions/f/deployment", json!({ "deploymentId": id })).await.is(200);
    assert_eq!(in_force(&api).await, "500.00");
    // But not after something was taken away from the function.
    approver.put("/functions/f/grants", may("2", "1000")).await.is(200);
    uploader
        .patch("/functions/f/deployment", json!({ "deploymentId": id }))
        .await
        .is_error(403, "general_access_forbidden");
    assert_eq!(in_force(&api).await, "2.00");

    // All of it is found later, also when the function is gone.
    assert_eq!(api.delete("/functions/f").await.status, 204);
    let changes = api.all("/grants/changes", "grantChanges").await;
    let approved: Vec<&Value> = changes.iter().filter(|change| change["kind"] == "approved").collect();
    assert_eq!(approved.len(), 2, "{changes:?}");
    assert_eq!((&approved[0]["keyId"], &approved[0]["deploymentId"]), (&json!(approver_id), &second["$id"]));
    assert!(approved[0]["difference"]["widens"][0].as_str().unwrap().contains("up to 500.00 SEK"), "{approved:?}");
    assert!(larder.log().contains(&approver_id), "the log names who approved");
});

both!(every_bound_is_enforced_by_name, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.create_function("f", json!({ "events": ["probe.save"], "limits": { "attempts": 1 } })).await.is(201);
    api.enrol("f", "clock", "clock", json!({})).await;
    api.enrol("f", "clock", "another topic", json!({})).await;
    api.grant("f", may("5", "12")).await;
    api.build("f", &probe(), true).await;

    let said = refusal(&api, "5.01").await;
    assert!(said.contains("up to 5.00 SEK each") && said.contains("transactions.SEK.max"), "{said}");
    saves(&api, "5").await;
    saves(&api, "5.00").await;
    let said = refusal(&api, "2.01").await;
    for part in
        ["12.00 SEK within 1 day for one end user", "10.00 are saved already", "2.01 more", "transactions.SEK.sum"]
    {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    saves(&api, "2.00").await;
    assert_eq!(api.transactions().await.len(), 3);

    let emits = async |id: &str| {
        api.event(id, "probe.save", None, json!({ "amount": "1.00" })).await.is(202);
        eventually("the event's execution", async || {
            let mut all = api.executions("f").await.into_iter();
            all.find(|e| e["trigger"] == "event" && e["status"] == "failed")
                .map(|e| e["errors"].as_str().unwrap().to_owned())
        })
        .await
    };
    let mut grants = may("5", "100");
    grants["events"] = json!(["probe.other", "*.echo.*"]);
    api.grant("f", grants.clone()).await;
    let said = emits("e-1").await;
    assert!(said.contains("events of type \"probe.echo\" are not granted") && said.contains("events = ["), "{said}");

    grants["state"] = json!(false);
    api.grant("f", grants.clone()).await;
    let execution = api.execute("f", json!({})).await;
    assert!(execution["errors"].as_str().unwrap().contains("[grants]: state = true"), "{execution}");

    grants["transactions"] = json!({ "EUR": { "max": "5", "sum": "5", "period": "day" } });
    api.grant("f", grants).await;
    let said = refusal(&api, "1.00").await;
    assert!(said.contains("transactions in SEK are not granted") && said.contains("transactions.SEK = {"), "{said}");
    assert_eq!(api.transactions().await.len(), 3);
});

both!(a_secret_is_read_only_if_it_is_granted, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.create_function("f", json!({ "routes": ["/hello"] })).await.is(201);
    let variable =
        |key: &str, secret: bool| json!({ "variableId": "unique()", "key": key, "value": "s3cret", "secret": secret });
    api.post("/functions/f/variables", variable("GREETING", true)).await.is(201);
    api.grant("f", json!({ "secrets": ["OTHER"] })).await;
    assert_eq!(api.build("f", &guests::guest("hello-http"), true).await["status"], "ready");
    let read = async || {
        let answer = larder.web("demo", reqwest::Method::GET, "/hello/variable").send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(read().await.0, 404, "a secret that nobody granted");
    api.grant("f", json!({ "secrets": ["GREETING"] })).await;
    assert_eq!(read().await, (200, "s3cret\n".into()));
    api.grant("f", json!({ "secrets": ["OTHER"] })).await;
    assert_eq!(read().await.0, 404, "it was taken away");
    for variable in api.get("/functions/f/variables").await.is(200)["variables"].as_array().unwrap() {
        api.delete(&format!("/functions/f/variables/{}", variable["$id"].as_str().unwrap())).await;
    }
    api.post("/functions/f/variables", variable("GREETING", false)).await.is(201);
    assert_eq!(read().await, (200, "s3cret\n".into()), "what is no secret needs no grant");
});

/// A second process over the same database, where there can be one.
async fn beside(larder: &Larder, on: Backend, objects: &Path) -> Option<Larder> {
    match on {
        Backend::Services => Some(larder.start_beside(sharing(on, objects)).await),
        Backend::Embedded => None,
    }
}

fn sharing(on: Backend, objects: &Path) -> Options {
    Options::on(on).set("LARDER_OBJECTS__URL", format!("file://{}", objects.display()))
}

both!(revoked_grants_are_gone_at_once_in_every_process, async |on| {
    let objects = tempfile::tempdir().unwrap();
    let larder = Larder::start_with(sharing(on, objects.path()).set("LARDER_PARTNERS__POLL", "10m")).await;
    let other = beside(&larder, on, objects.path()).await;
    let api = larder.api();
    api.create_function("f", json!({ "events": ["probe.slow"] })).await.is(201);
    api.enrol("f", "clock", "clock", json!({})).await;
    api.grant("f", may("5", "1000")).await;
    api.build("f", &probe(), true).await;
    let elsewhere = other.as_ref().unwrap_or(&larder).api_of(Some("demo"), Some(larder.key()));
    eventually("the other to run it", async || {
        let body = json!({ "body": json!({ "amount": "1.00" }).to_string() });
        (elsewhere.post("/functions/f/executions", body).await.status == 201).then_some(())
    })
    .await;
    saves(&elsewhere, "5.00").await;
    let before = api.transactions().await.len();

    // A run that is under way when they are narrowed.
    api.event("slow", "probe.slow", None, json!({ "ms": 3_000 })).await.is(202);
    eventually("the run to be under way", async || {
        api.executions("f").await.into_iter().find(|e| e["status"] == "processing")
    })
    .await;
    api.grant("f", may("0.50", "1000")).await;
    assert!(refusal(&elsewhere, "1.00").await.contains("up to 0.50 SEK each"));
    let slow = eventually("the slow run to end", async || {
        api.executions("f").await.into_iter().find(|e| e["trigger"] == "event" && e["status"] == "failed")
    })
    .await;
    assert!(slow["errors"].as_str().unwrap().contains("up to 0.50 SEK each"), "{slow}");
    assert_eq!(api.transactions().await.len(), before);
});

both!(sum_of_an_end_user_holds_under_concurrent_runs, async |on| {
    let objects = tempfile::tempdir().unwrap();
    let larder = Larder::start_with(sharing(on, objects.path())).await;
    let other = beside(&larder, on, objects.path()).await;
    let api = larder.api();
    let settings = json!({ "events": ["probe.slow"], "per": "enrolment", "limits": { "attempts": 1 } });
    api.create_function("f", settings).await.is(201);
    // 7 runs of 1.00 fit; the end user takes part twice, and somebody else has a sum of their own.
    for (end_user, topic) in [("anna", "a"), ("anna", "b"), ("bo", "a")] {
        api.enrol("f", end_user, topic, json!({})).await;
    }
    api.grant("f", may("5", "7.50")).await;
    api.build("f", &probe(), true).await;
    let events: Vec<Value> = (0..40)
        .map(|n| {
            let subject = ["a", "b"][n % 2];
            json!({ "specversion": "1.0", "id": n.to_string(), "source": "/race", "type": "probe.slow", "subject": subject, "data": { "ms": 5 } })
        })
        .collect();
    let request =
        api.request(reqwest::Method::POST, "/events").header("content-type", "application/cloudevents-batch+json");
    Api::try_send(request.body(json!(events).to_string())).await.unwrap().is(202);
    let executions = within(Duration::from_secs(60), "all runs to end", async || {
        let all = api.executions("f").await;
        let ended = |e: &&Value| matches!(e["status"].as_str(), Some("completed" | "failed"));
        (all.iter().filter(ended).count() == 60).then_some(all)
    })
    .await;
    let mut by_user = std::collections::BTreeMap::new();
    for transaction in api.transactions().await {
        *by_user.entry(transaction["endUser"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(by_user, [("anna".to_owned(), 7), ("bo".to_owned(), 7)].into());
    let refused = executions.iter().filter(|e| e["status"] == "failed");
    assert!(refused.clone().all(|e| e["errors"].as_str().unwrap().contains("7.00 are saved already")));
    assert_eq!(refused.count(), 60 - 14);
    drop(other);
});

both!(sum_covers_a_rolling_period_and_all_outcomes_of_a_group, async |on| {
    const HOUR: i64 = 60 * 60 * 1_000;
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let clock = Clock::manual(1_795_262_400_500);
    let app = schedules::app(folder.path(), &database, clock.clone()).await;
    let of = schedules::scheduled(&app, "").await;
    for end_user in ["anna", "bo"] {
        app.store.insert_enrolment(&rows::enrolment(&clock, &of, end_user)).await.unwrap();
    }
    let grants = serde_json::from_value(may("10.00", "10.00")).unwrap();
    let key = KeyId::generate(&clock);
    assert!(app.store.set_grants(&of.0, &of.1, &grants, &key, true, &clock).await.unwrap());
    let commit = async |group: &[(&str, &[i64])]| -> Vec<bool> {
        let saved = |(end_user, amounts): &(&str, &[i64])| {
            let amounts: Vec<_> = amounts.iter().map(|amount| (*end_user, *amount)).collect();
            rows::savings(&clock, &of, &amounts)
        };
        let group: Vec<_> = group.iter().map(saved).collect();
        let verdicts = app.store.commit_outcomes(&group, &clock).await.unwrap();
        verdicts.iter().map(|verdict| matches!(verdict, CommitResult::Committed { .. })).collect()
    };
    // In one group, and of one run, they add up; what is refused counts for nothing.
    assert_eq!(
        commit(&[("anna", &[400]), ("bo", &[1_000]), ("anna", &[300, 301]), ("anna", &[300, 300]), ("bo", &[1])]).await,
        [true, true, false, true, false]
    );
    clock.advance(HOUR);
    assert_eq!(commit(&[("anna", &[1])]).await, [false]);
    // One millisecond before the first 24 hours are over, and then.
    clock.advance(23 * HOUR - 1);
    assert_eq!(commit(&[("anna", &[1])]).await, [false]);
    clock.advance(1);
    assert_eq!(commit(&[("anna", &[999]), ("anna", &[1]), ("anna", &[1])]).await, [true, true, false]);
    app.ledger.close().await;
});

both!(deploy_reports_changed_grants_in_plain_words, async |on| {
    let larder = Larder::start_on(on).await;
    let (_, _, uploader) = key(&larder, &["functions.read", "functions.write", "grants.read"]).await;
    let (_, _, approver) = key(&larder, &["grants.read", "grants.write"]).await;
    let project = larder.scratch().join("f");
    std::fs::create_dir(&project).unwrap();
    std::fs::write(project.join("probe.wasm"), probe()).unwrap();
    let manifest = |grants: &str| {
        let text = format!("[function]\nid = \"f\"\n[build]\ncomponent = \"probe.wasm\"\n{grants}");
        std::fs::write(project.join("larder.toml"), text).unwrap();
    };
    let money = |max: &str| {
        format!(
            "[grants]\nstate = true\nevents = [\"probe.*\"]\ntransactions.SEK = {{ max = \"{max}\", sum = \"1000.00\", period = \"day\" }}\n"
        )
    };

    // Refused: the lines to add are in what is printed.
    manifest("");
    let (code, _, err) = larder.cli_as(&project, &uploader, &["deploy"]).await;
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("state = true") && err.contains("transactions.SEK = {"), "{err}");
    // It waits, and says for whom.
    manifest(&money("500"));
    let (code, _, err) = larder.cli_as(&project, &uploader, &["deploy"]).await;
    assert_eq!(code, 1, "{err}");
    let words = "may now create transactions up to 500.00 SEK each and 1000.00 SEK a day for one end user";
    assert!(err.contains(words) && err.contains("grants.write"), "{err}");
    let approve = err.lines().rev().find_map(|line| line.trim().strip_prefix("larder ")).unwrap().to_owned();
    let arguments: Vec<&str> = approve.split(' ').collect();
    assert_eq!(larder.cli_as(&project, &uploader, &arguments).await.0, 3, "the uploader may not");
    // Approved: it is active, with another key and in the same words.
    let (code, out, err) = larder.cli_as(&project, &approver, &arguments).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(err.contains(words) && err.contains("it is active now"), "{err}");
    assert_eq!(active(&larder.api()).await, arguments[3]);
    // Narrowed: by itself.
    manifest(&money("400"));
    let (code, out, err) = larder.cli_as(&project, &uploader, &["deploy"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(err.contains("f may only create transactions up to 400.00 SEK each instead of 500.00"), "{err}");
    assert_eq!(in_force(&larder.api()).await, "400.00");
    // Under `larder dev` it approves by itself, and says what.
    manifest(&money("450"));
    let (code, out, err) = larder.cli(&project, &["deploy"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(err.contains("approved") && err.contains("up to 450.00 SEK each instead of 400.00"), "{err}");
    assert_eq!(in_force(&larder.api()).await, "450.00");

    let (code, out, err) = larder.cli(&project, &["grants", "show", "f"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("f may keep state\n") && out.contains("up to 450.00 SEK each"), "{out}");
    let (code, _, err) = larder.cli(&project, &["grants", "set", "f", r#"{"state":true}"#]).await;
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("f may no longer create transactions in SEK"), "{err}");
    let (code, out, err) = larder.cli(&project, &["grants", "history", "--function", "f"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("approved deployment") && out.contains("may no longer create transactions in SEK"), "{out}");
});
