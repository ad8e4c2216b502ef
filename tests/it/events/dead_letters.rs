//! What fails is tried again; what is given up is a dead letter, which can be read, redriven and discarded.

use std::time::{Duration, Instant};

use larder_model::time::Clock;
use larder_model::{Execution, ExecutionStatus, RequestRecord, Trigger};
use larder_store::ledger::{CommitResult, Ended, Origin};
use larder_store::{Claimed, NewExecution, RoutedEvent, retention};
use larder_tests::{Api, Larder, Options, both, eventually, guests, rows};
use serde_json::{Value, json};

use crate::events::schedules;

/// Retries that no test has to wait for.
fn quick(on: larder_tests::Backend) -> Options {
    Options::on(on).set("LARDER_WORKER__RETRY_DELAY", "50ms")
}

async fn failed(api: &Api, function: &str, event: &Value) -> Value {
    eventually("the failure", async || {
        let all = api.executions(function).await;
        all.into_iter().find(|e| e["eventId"] == event["events"][0]["$id"] && e["status"] == "failed")
    })
    .await
}

async fn dead_letters(api: &Api) -> Vec<Value> {
    api.all("/dead-letters", "deadLetters").await
}

fn purchase() -> Value {
    json!({ "amount": "42.50", "currency": "SEK", "merchant": "Kiosk" })
}

both!(retryable_failures_are_retried_and_others_are_given_up_at_once, async |on| {
    let larder = Larder::start_with(quick(on)).await;
    let api = larder.api();
    let settings = json!({ "events": ["three.times"], "limits": { "cpuMs": 300 } });
    api.deploy("three", &guests::guest("hostile-saver"), settings).await;
    let settings = json!({ "events": ["once.only"], "limits": { "attempts": 1 } });
    api.deploy("once", &guests::guest("hostile-saver"), settings).await;
    for function in ["three", "once"] {
        api.enrol(function, "anna", "all", json!({})).await;
    }

    let trap = api.event("trap", "three.times", None, json!("save-and-trap")).await.is(202);
    let trap = failed(&api, "three", &trap).await;
    assert_eq!((&trap["attempt"], &trap["responseStatusCode"]), (&json!(3), &json!(500)), "{trap}");
    assert!(trap["errors"].as_str().unwrap().contains("given up after 3 attempts: trapped: "), "{trap}");
    let only = api.event("only", "once.only", None, json!("save-and-trap")).await.is(202);
    let only = failed(&api, "once", &only).await;
    assert_eq!(only["attempt"], 1, "{only}");
    let spin = api.event("spin", "three.times", None, json!("spin")).await.is(202);
    let spin = failed(&api, "three", &spin).await;
    assert_eq!(spin["attempt"], 1, "it would come to the same again: {spin}");
    let no = api.event("no", "three.times", None, json!("what?")).await.is(202);
    let no = failed(&api, "three", &no).await;
    assert_eq!((&no["attempt"], &no["buriedAt"]), (&json!(1), &Value::Null), "{no}");

    let letters = dead_letters(&api).await;
    let ids: Vec<&Value> = letters.iter().map(|letter| &letter["$id"]).collect();
    assert_eq!(ids, [&trap["$id"], &only["$id"], &spin["$id"]]);
    assert!(letters.iter().all(|letter| letter["buriedAt"].is_string()));
    for (method, attribute, values, count) in [
        ("equal", "functionId", json!(["three"]), 2),
        ("equal", "trigger", json!(["schedule"]), 0),
        ("greaterThan", "buriedAt", json!([trap["buriedAt"]]), 2),
        ("equal", "eventId", json!([spin["eventId"]]), 1),
    ] {
        let query = json!({ "method": method, "attribute": attribute, "values": values });
        let page = api.list("/dead-letters", &[query]).await.is(200);
        assert_eq!(page["total"], count, "{attribute}: {page}");
    }
    let one = api.get(&format!("/dead-letters/{}", trap["$id"].as_str().unwrap())).await.is(200);
    assert_eq!(one["errors"], trap["errors"]);
    api.get(&format!("/dead-letters/{}", no["$id"].as_str().unwrap())).await.is_error(404, "dead_letter_not_found");
    let (_, metrics) = larder.internal("/metrics").await;
    assert!(metrics.contains("larder_dead_letters_total 3"), "{metrics}");
    assert_eq!(api.transactions().await, Vec::<Value>::new());
});

both!(delays_are_bounded, async |on| {
    let options =
        Options::on(on).set("LARDER_WORKER__RETRY_DELAY", "400ms").set("LARDER_WORKER__RETRY_DELAY_MAX", "400ms");
    let larder = Larder::start_with(options).await;
    let api = larder.api();
    let settings = json!({ "events": ["probe.retry"], "limits": { "attempts": 7 } });
    api.deploy("probe", &guests::guest("probe"), settings).await;
    let begun = Instant::now();
    let event = api.event("e", "probe.retry", None, json!({})).await.is(202);
    assert_eq!(failed(&api, "probe", &event).await["attempt"], 7);
    // Six times 400 ms to 600 ms; doubled each time it were more than 25 s.
    let took = begun.elapsed();
    assert!((Duration::from_millis(2_400)..Duration::from_secs(15)).contains(&took), "{took:?}");
});

both!(execution_that_succeeds_on_retry_takes_effect_once, async |on| {
    let larder = Larder::start_with(quick(on).set("LARDER_WORKER__RETRY_DELAY_MAX", "300ms")).await;
    let api = larder.api();
    let settings = json!({ "events": ["probe.retry"], "per": "enrolment", "limits": { "attempts": 20 } });
    api.deploy("f", &guests::guest("probe"), settings).await;
    api.enrol("f", "anna", "card-1", json!({})).await;
    api.event("e", "probe.retry", Some("card-1"), purchase()).await.is(202);
    eventually("a failure", async || {
        let waiting = api.executions("f").await.pop()?;
        let tried = waiting["attempt"].as_u64()? > 0 && waiting["errors"].as_str()?.contains("will be retried");
        (waiting["status"] == "waiting" && tried).then_some(())
    })
    .await;
    // Another program, which saves.
    api.build("f", &guests::guest("round-up"), true).await;
    let done = eventually("the success", async || {
        api.executions("f").await.into_iter().find(|execution| execution["status"] == "completed")
    })
    .await;
    assert!(done["attempt"].as_u64().unwrap() > 1 && done["errors"] == "", "{done}");
    assert_eq!((api.executions("f").await.len(), api.transactions().await.len()), (1, 1));
    assert_eq!(dead_letters(&api).await, Vec::<Value>::new());
});

both!(redriven_dead_letter_runs_with_its_original_input, async |on| {
    let larder = Larder::start_with(quick(on)).await;
    let api = larder.api();
    let limits = json!({ "attempts": 1 });
    api.deploy("f", &guests::guest("hostile-saver"), json!({ "per": "enrolment", "limits": limits })).await;
    let anna = api.enrol("f", "anna", "card-1", json!({})).await;
    // This one saves in a way that enrolled runs may not, and dies of it.
    let body = json!({ "async": true, "path": "/save-and-fail", "enrolmentId": anna, "body": purchase().to_string() });
    let id = api.post("/functions/f/executions", body).await.is(202)["$id"].as_str().unwrap().to_owned();
    let dead_letter = eventually("the dead letter", async || dead_letters(&api).await.pop()).await;
    assert_eq!((&dead_letter["$id"], &dead_letter["attempt"]), (&json!(id), &json!(1)));

    api.build("f", &guests::guest("round-up"), true).await;
    let path = format!("/dead-letters/{id}/redrive");
    let answers = futures::future::join_all((0..4).map(|_| api.post(&path, json!({})))).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 404, 404, 404]);
    let redriven = answers.into_iter().find(|answer| answer.status == 202).unwrap().body;
    assert_eq!(
        (&redriven["$id"], &redriven["status"], &redriven["attempt"], &redriven["buriedAt"]),
        (&json!(id), &json!("waiting"), &json!(0), &Value::Null)
    );
    let done = eventually("its end", async || {
        let execution = api.get(&format!("/functions/f/executions/{id}")).await.is(200);
        (execution["status"] == "completed").then_some(execution)
    })
    .await;
    assert_eq!((&done["attempt"], &done["errors"]), (&json!(1), &json!("")));
    let saved = api.transactions().await;
    assert_eq!((saved.len(), &saved[0]["amount"], &saved[0]["executionId"]), (1, &json!("7.50"), &json!(id)));
    assert_eq!(dead_letters(&api).await, Vec::<Value>::new());
});

both!(dead_letters_of_a_function_are_redriven_together_or_discarded, async |on| {
    let larder = Larder::start_with(quick(on)).await;
    let api = larder.api();
    for function in ["f", "other"] {
        let settings = json!({ "events": ["probe.retry"], "limits": { "attempts": 1 } });
        api.deploy(function, &guests::guest("probe"), settings).await;
    }
    for number in 0..5 {
        api.event(&format!("e-{number}"), "probe.retry", None, json!({})).await.is(202);
    }
    let letters = eventually("ten dead letters", async || {
        let letters = dead_letters(&api).await;
        (letters.len() == 10).then_some(letters)
    })
    .await;
    let id = letters.iter().find(|letter| letter["functionId"] == "f").unwrap()["$id"].as_str().unwrap();
    assert_eq!(api.delete(&format!("/dead-letters/{id}")).await.status, 204);
    api.delete(&format!("/dead-letters/{id}")).await.is_error(404, "dead_letter_not_found");
    let discarded = api.get(&format!("/functions/f/executions/{id}")).await.is(200);
    assert_eq!((&discarded["status"], &discarded["buriedAt"]), (&json!("failed"), &Value::Null));

    api.post("/dead-letters/redrive", json!({})).await.is_error(400, "general_argument_invalid");
    api.post("/dead-letters/redrive", json!({ "functionId": "g" })).await.is_error(404, "function_not_found");
    api.build("f", &guests::guest("hello-http"), true).await;
    let folder = larder.scratch();
    let (code, out, err) = larder.cli(folder, &["dead-letters", "redrive", "--function", "f", "--all", "--json"]).await;
    assert_eq!(code, 0, "{err}");
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&answer["total"], &answer["more"]), (&json!(4), &json!(false)));
    eventually("them to end", async || {
        let completed = api.executions("f").await.iter().filter(|e| e["status"] == "completed").count();
        (completed == 4).then_some(())
    })
    .await;

    let (code, out, err) = larder.cli(folder, &["dead-letters", "list"]).await;
    assert_eq!((code, out.lines().count()), (0, 6), "{out}{err}");
    let left = dead_letters(&api).await[0]["$id"].as_str().unwrap().to_owned();
    let (code, out, _) = larder.cli(folder, &["dead-letters", "show", &left]).await;
    assert!(code == 0 && out.contains(&left) && out.contains("not yet"), "{out}");
    let (code, ..) = larder.cli(folder, &["dead-letters", "discard", &left]).await;
    assert_eq!((code, dead_letters(&api).await.len()), (0, 4));
    let (code, _, err) = larder.cli(folder, &["dead-letters", "redrive", &left]).await;
    assert!(code == 1 && err.contains("dead_letter_not_found"), "{err}");
    // It does not begin a function that nobody deployed to mend it: the same, and a dead letter again.
    let again = dead_letters(&api).await[0]["$id"].as_str().unwrap().to_owned();
    let (code, ..) = larder.cli(folder, &["dead-letters", "redrive", &again]).await;
    assert_eq!(code, 0);
    eventually("it to be given up again", async || (dead_letters(&api).await.len() == 4).then_some(())).await;
});

both!(execution_that_crashes_its_process_is_given_up, async |on| {
    let options = quick(on).set("LARDER_WORKER__ATTEMPTS_LOST", "1").set("LARDER_CRASH", "ran:1");
    let mut larder = Larder::start_with(options).await;
    let api = larder.api();
    api.deploy("probe", &guests::guest("probe"), json!({ "events": ["probe.echo"] })).await;
    // The function may run, and the process die of it, before the event is answered.
    let _ = api.try_event("e", "probe.echo", None, json!({})).await;
    larder.ended().await;
    larder.restart().await;
    let api = larder.api();
    let letter = eventually("it to be given up", async || dead_letters(&api).await.pop()).await;
    assert!(letter["errors"].as_str().unwrap().contains("did not finish"), "{letter}");
});

both!(an_event_stays_while_a_dead_letter_needs_it, async |on| {
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let clock = Clock::manual(1_795_262_400_000);
    let app = schedules::app(folder.path(), &database, clock.clone()).await;
    let of = schedules::scheduled(&app, "").await;
    let (partner, now) = (of.0.clone(), clock.now_ms());
    let event = rows::event(&clock, &partner, "e", "it.happened");
    app.store.insert_events(std::slice::from_ref(&event)).await.unwrap();
    let request = RequestRecord {
        method: "POST".into(),
        path: "/".into(),
        headers: vec![("authorization".into(), "secret".into())],
    };
    let new = NewExecution {
        event: Some(event.row),
        request: request.clone(),
        body: Some(b"body".to_vec()),
        ..rows::queued(&clock, &of, Trigger::Event)
    };
    let id = new.id.clone();
    let waiting = app.store.waiting_events(&partner, 1).await.unwrap();
    let routed = RoutedEvent { event: &waiting[0], executions: vec![new], fanouts: vec![] };
    app.store.route_events(&[routed], &[]).await.unwrap();
    let claim = async || {
        let claimed =
            app.store.claim_executions("worker", now, now + 60_000, &rows::wanted(&partner, 8)).await.unwrap().pop();
        claimed.expect("it is due")
    };
    let sweep = async || app.store.delete_aged(&retention::EVENTS, now + 1, &Default::default(), 100).await.unwrap().0;
    assert_eq!(sweep().await, 0, "an execution waits");
    let give_up = async |claimed: Claimed| {
        let ended = Ended {
            execution: Execution {
                status: ExecutionStatus::Failed,
                dead_lettered_at_ms: Some(now),
                ..claimed.execution
            },
            origin: Origin::Row(claimed.holder),
            ..rows::outcome(&clock, &of, vec![])
        };
        let verdicts = app.store.commit_outcomes(&[ended], &clock).await.unwrap();
        assert_eq!(verdicts, [CommitResult::Committed { emitted: false }]);
    };
    give_up(claim().await).await;
    assert_eq!(sweep().await, 0, "a dead letter needs it");
    app.store.redrive(&partner, &id, now).await.unwrap();
    assert!(app.store.redrive(&partner, &id, now).await.is_err());
    assert_eq!(sweep().await, 0, "it waits again");
    let again = claim().await;
    assert_eq!((&again.execution.request, again.body.as_slice()), (&request, b"body".as_slice()));
    give_up(again).await;
    app.store.discard_dead_letter(&partner, &id, now).await.unwrap();
    assert!(app.store.dead_letter(&partner, &id).await.unwrap().is_none());
    assert_eq!(sweep().await, 1, "nobody needs it any more");
    app.ledger.close().await;
});
