//! What one partner leaves waiting is its own: another's events, fan-outs, schedules and executions take their turns
//! beside it, and each partner's backlog has a bound.

use larder_model::ids::{FunctionId, PartnerId};
use larder_model::time::Clock;
use larder_model::{FanoutStatus, Function, Per, Topics};
use larder_platform::jobs::leases::HeldRanges;
use larder_platform::jobs::{events as event_job, fanouts, schedules as schedule_job};
use larder_server::app::App;
use larder_store::ClaimedRange;
use larder_tests::services::Database;
use larder_tests::{Api, Larder, Options, both, eventually, guests, rows};
use reqwest::Method;
use serde_json::{Value, json};

use crate::events::{feeds, schedules};

const NOW: i64 = 1_795_262_400_500;
const MINUTE: i64 = 60_000;

/// A function that runs for one saver, "anna", at each `probe.slow`.
async fn saver(api: &Api) {
    api.deploy("saver", &guests::guest("probe"), json!({ "events": ["probe.slow"], "per": "enrolment" })).await;
    api.enrol("saver", "anna", "card", json!({})).await;
}

/// Sends it an event, and waits until it has saved so often.
async fn saves(api: &Api, count: usize) {
    api.event(&format!("d-{count}"), "probe.slow", Some("card"), json!({ "ms": 0 })).await.is(202);
    eventually("the neighbour's saving", async || (api.transactions().await.len() == count).then_some(())).await;
}

/// A function whose executions at `/sleep` sleep until their time is up.
async fn sleeper(api: &Api) {
    let settings = json!({ "timeout": 600, "execute": ["any"] });
    api.deploy("sleeper", &guests::guest("hostile"), settings).await;
}

async fn sleep(api: &Api) -> larder_tests::Answer {
    let body = json!({ "async": true, "method": "GET", "path": "/sleep" });
    api.post("/functions/sleeper/executions", body).await
}

both!(sleeping_executions_of_one_partner_hold_up_nobody_else, async |on| {
    let options = Options::on(on).set("LARDER_WORKER__DUE_MAX", "20");
    let larder = Larder::start_with(options).await;
    let (loud, quiet) = (larder.api(), larder.partner("quiet").await);
    sleeper(&loud).await;
    saver(&quiet).await;
    let sent = futures::future::join_all((0..60).map(|_| sleep(&loud))).await;
    assert!(sent.iter().all(|answer| answer.status == 202), "{sent:?}");
    for count in 1..=3 {
        saves(&quiet, count).await;
    }
});

both!(two_partners_never_take_every_slot, async |on| {
    let larder = Larder::start_with(Options::on(on).set("LARDER_WORKER__EXECUTIONS_MAX", "4")).await;
    let (one, two, third) = (larder.api(), larder.partner("two").await, larder.partner("third").await);
    sleeper(&one).await;
    sleeper(&two).await;
    saver(&third).await;
    for _ in 0..6 {
        sleep(&one).await.is(202);
        sleep(&two).await.is(202);
    }
    eventually("both to sleep", async || {
        let mut running = 0;
        for api in [&one, &two] {
            running += api.executions("sleeper").await.iter().filter(|e| e["status"] == "processing").count();
        }
        (running >= 3).then_some(())
    })
    .await;
    saves(&third, 1).await;
});

both!(queued_executions_count_as_calls, async |on| {
    let larder = Larder::start_with(Options::on(on).set("LARDER_SERVER__CALLS_PER_MINUTE", "3")).await;
    let api = larder.api();
    sleeper(&api).await;
    // A minute may end in between, so that at most twice as many are taken.
    let mut taken = 0;
    let refused = loop {
        let answer = sleep(&api).await;
        if answer.status != 202 {
            break answer;
        }
        taken += 1;
        assert!(taken <= 6, "nothing is refused");
    };
    let message = refused.is_error(429, "general_rate_limit_exceeded");
    assert!(message.contains("server.calls_per_minute"), "{message}");
});

both!(reserved_event_types_are_neither_granted_nor_emitted, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.deploy("probe", &guests::guest("probe"), json!({ "events": ["probe.*"] })).await;
    for reserved in ["larder", "larder.schedule", "larder.*", "Larder.execution", "larder.*.made"] {
        let answer = api.put("/functions/probe/grants", json!({ "events": [reserved] })).await;
        let message = answer.is_error(400, "general_argument_invalid");
        assert!(message.contains("events") && message.contains("reserved"), "{message}");
    }
    // The widest grant that there is does not cover them either, nor a star as a word of a type.
    api.grant("probe", json!({ "state": true, "events": ["*", "*.*", "*.*.*"] })).await;
    let types = ["larder", "larder.schedule", "larder.execution", "LARDER.schedule", "hostile.*", "*", "a.*.b"];
    for (number, reserved) in types.iter().enumerate() {
        api.event(&format!("e-{number}"), "probe.emit", None, json!({ "type": reserved })).await.is(202);
    }
    api.event("fine", "probe.emit", None, json!({ "type": "probe.echo" })).await.is(202);
    let all = eventually("all to end", async || {
        let all = api.executions("probe").await;
        let ended = all.iter().filter(|e| matches!(e["status"].as_str(), Some("completed" | "failed"))).count();
        (ended == types.len() + 2).then_some(all)
    })
    .await;
    let failed: Vec<&Value> = all.iter().filter(|e| e["status"] == "failed").collect();
    assert_eq!(failed.len(), types.len(), "{all:?}");
    assert!(failed.iter().all(|e| e["errors"].as_str().unwrap().contains("reserved")), "{failed:?}");
    // Nor does anybody outside speak for Larder.
    let message = api.event("f", "larder.schedule", None, json!({})).await.is_error(400, "general_argument_invalid");
    assert!(message.contains("type") && message.contains("reserved"), "{message}");
});

/// A process without tasks of its own, whose steps the test makes.
async fn steps(folder: &std::path::Path, database: &Option<Database>) -> App {
    schedules::app(folder, database, Clock::manual(NOW)).await
}

/// A partner of this name with a deployed function `f`.
async fn deployed(app: &App, id: &str, change: impl FnOnce(Function) -> Function) -> (PartnerId, FunctionId) {
    let of = schedules::deployed(app, id, "f", change).await;
    app.directory.reload(&of.0).await.unwrap();
    of
}

async fn send(app: &App, partner: &PartnerId, count: u32, kind: &str) {
    let events: Vec<_> = (0..count).map(|n| rows::event(&app.clock, partner, n.to_string(), kind)).collect();
    app.store.insert_events(&events).await.unwrap();
}

async fn enrol(app: &App, of: &(PartnerId, FunctionId), end_user: &str) {
    app.store.insert_enrolment(&rows::enrolment(&app.clock, of, end_user)).await.unwrap();
}

async fn executions(app: &App, (partner, function): &(PartnerId, FunctionId)) -> usize {
    let first = larder_store::listing::Listing::first(5_000);
    app.store.list_executions(partner, function, &first).await.unwrap().rows.len()
}

/// Claims the next range of whichever partner is next.
async fn claim(app: &App) -> Option<ClaimedRange> {
    fanouts::claim(&app.executor, &HeldRanges::default()).await.unwrap()
}

fn per_event(function: Function) -> Function {
    Function { events: vec!["it.happened".into()], ..function }
}

fn per_enrolment(function: Function) -> Function {
    Function { events: vec!["it.happened".into()], per: Per::Enrolment, topics: Topics::All, ..function }
}

both!(events_without_receivers_take_turns_between_partners, async |on| {
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let app = steps(folder.path(), &database).await;
    let loud = deployed(&app, "loud", per_event).await;
    let quiet = deployed(&app, "quiet", per_event).await;
    send(&app, &loud.0, 3_000, "to.nobody").await;
    app.clock.advance(10);
    send(&app, &quiet.0, 1, "it.happened").await;
    assert!(event_job::step(&app).await.unwrap());
    assert_eq!(executions(&app, &quiet).await, 1, "it waits behind another partner's events");
    app.ledger.close().await;
});

both!(fan_outs_take_turns_between_partners, async |on| {
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let app = steps(folder.path(), &database).await;
    let loud = deployed(&app, "loud", per_enrolment).await;
    let quiet = deployed(&app, "quiet", per_enrolment).await;
    enrol(&app, &loud, "eve").await;
    enrol(&app, &quiet, "anna").await;
    send(&app, &loud.0, 60, "it.happened").await;
    while event_job::step(&app).await.unwrap() {}
    app.clock.advance(10);
    send(&app, &quiet.0, 1, "it.happened").await;
    while event_job::step(&app).await.unwrap() {}
    let (first, second) = (claim(&app).await.unwrap(), claim(&app).await.unwrap());
    let partners = [first.fanout.partner, second.fanout.partner];
    assert!(partners.contains(&quiet.0), "it waits behind another partner's fan-outs");
    app.ledger.close().await;
});

both!(schedules_take_turns_between_partners, async |on| {
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let app = steps(folder.path(), &database).await;
    let every_minute = |function: Function| Function { schedule: "* * * * *".into(), ..function };
    for number in 0..120 {
        schedules::deployed(&app, "loud", &format!("f{number}"), every_minute).await;
    }
    app.directory.reload(&"loud".parse().unwrap()).await.unwrap();
    app.clock.advance(1);
    let quiet = deployed(&app, "quiet", every_minute).await;
    schedule_job::arm_all(&app).await.unwrap();
    app.clock.advance(MINUTE);
    assert!(schedule_job::step(&app).await.unwrap());
    assert_eq!(executions(&app, &quiet).await, 1, "it waits behind another partner's schedules");
    app.ledger.close().await;
});

both!(a_fan_out_ends_with_its_function, async |on| {
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let app = steps(folder.path(), &database).await;
    let of = deployed(&app, "acme", per_enrolment).await;
    for number in 0..250 {
        enrol(&app, &of, &format!("saver-{number}")).await;
    }
    send(&app, &of.0, 1, "it.happened").await;
    while event_job::step(&app).await.unwrap() {}
    let range = claim(&app).await.unwrap();
    let mut function = app.store.function(&of.0, &of.1).await.unwrap().unwrap();
    function.enabled = false;
    app.store.update_function(&function).await.unwrap();
    app.directory.reload(&of.0).await.unwrap();
    // The worker of the range has died.
    app.store.release_range(&range, app.clock.now_ms(), true).await.unwrap();
    app.clock.advance(1);
    assert!(claim(&app).await.is_none(), "a disabled function is run for more enrolments");
    // What is over does not begin again.
    function.enabled = true;
    app.store.update_function(&function).await.unwrap();
    app.directory.reload(&of.0).await.unwrap();
    assert!(claim(&app).await.is_none());
    let fanout = app.store.fanout(&of.0, &range.fanout.id).await.unwrap().unwrap();
    assert_eq!(fanout.status, FanoutStatus::Cancelled);
    assert_eq!(fanout.reason.as_deref(), Some("the function was disabled"));
    app.ledger.close().await;
});

both!(new_enrolment_takes_part_despite_clock_differences, async |on| {
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let app = steps(folder.path(), &database).await;
    let of = deployed(&app, "acme", per_enrolment).await;
    // Whoever enrols is at a process whose clock is ahead, the event is routed by one that is behind.
    app.clock.advance(1_900);
    enrol(&app, &of, "anna").await;
    app.clock.advance(200);
    enrol(&app, &of, "later").await;
    app.clock.advance(-2_100);
    send(&app, &of.0, 1, "it.happened").await;
    while event_job::step(&app).await.unwrap() {}
    let range = claim(&app).await.unwrap();
    let savers = app.store.enrolments_of_range(&range, 10, usize::MAX).await.unwrap();
    let savers: Vec<&str> = savers.iter().map(|enrolment| enrolment.end_user.as_str()).collect();
    assert_eq!(savers, ["anna"], "and nobody who enrolled more than two seconds later");
    app.ledger.close().await;
});

/// An execution in an hour, which counts as waiting; gives its path.
async fn later(api: &Api, function: &str, mut body: Value) -> String {
    let at = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    body["async"] = true.into();
    body["scheduledAt"] = at.format("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string().into();
    let path = format!("/functions/{function}/executions");
    let made = api.post(&path, body).await.is(202);
    format!("{path}/{}", made["$id"].as_str().unwrap())
}

both!(waiting_executions_of_a_partner_are_limited, async |on| {
    let larder = Larder::start_with(Options::on(on).set("LARDER_WORKER__WAITING_PER_PARTNER", "3")).await;
    let (api, other) = (larder.api(), larder.partner("other").await);
    for api in [&api, &other] {
        api.deploy("hello", &guests::guest("hello-http"), json!({})).await;
    }
    let mut paths = Vec::new();
    for _ in 0..3 {
        paths.push(later(&api, "hello", json!({})).await);
    }
    assert_eq!(api.limit("worker.waiting_per_partner").await, (3, 3));
    let ask = async || {
        let request = api.request(Method::POST, "/functions/hello/executions").header("idempotency-key", "the same");
        Api::send(request.json(&json!({ "async": true, "method": "GET", "path": "/hello" }))).await
    };
    let message = ask().await.is_error(429, "general_rate_limit_exceeded");
    assert!(message.contains("worker.waiting_per_partner = 3"), "{message}");
    // A dead letter that is to run again waits like any other.
    api.post("/dead-letters/none/redrive", json!({})).await.is_error(429, "general_rate_limit_exceeded");
    // What runs at once has no part in it, and nobody else has.
    api.execute("hello", json!({ "method": "GET", "path": "/hello" })).await;
    later(&other, "hello", json!({})).await;
    assert_eq!(other.limit("worker.waiting_per_partner").await, (3, 1));
    // The key was given back with the refusal.
    api.delete(&paths[0]).await.is(204);
    eventually("room", async || (ask().await.status == 202).then_some(())).await;
});

both!(events_beyond_the_limit_are_refused_and_no_accepted_event_is_lost, async |on| {
    let options = Options::on(on)
        .set("LARDER_WORKER__WAITING_PER_PARTNER", "2")
        .set("LARDER_WORKER__EVENTS_PER_PARTNER", "3")
        .set("LARDER_WORKER__EXECUTIONS_PER_PARTNER", "1");
    let larder = Larder::start_with(options).await;
    let (api, quiet) = (larder.api(), larder.partner("quiet").await);
    api.deploy("slow", &guests::guest("probe"), json!({ "events": ["probe.slow"] })).await;
    api.enrol("slow", "clock", "clock", json!({})).await;
    saver(&quiet).await;
    let send = async |number: usize| api.event(&format!("e-{number}"), "probe.slow", None, json!({ "ms": 60 })).await;
    let mut taken = 0;
    let refused = loop {
        let answer = send(taken).await;
        if answer.status != 202 {
            break answer;
        }
        taken += 1;
        assert!(taken < 60, "nothing is refused");
    };
    let message = refused.is_error(429, "general_rate_limit_exceeded");
    assert!(message.contains("worker.events_per_partner = 3"), "{message}");
    assert_eq!(api.limit("worker.events_per_partner").await.0, 3);
    saves(&quiet, 1).await;
    eventually("room", async || (send(taken).await.status == 202).then_some(())).await;
    eventually("all to be saved", async || (api.transactions().await.len() == taken + 1).then_some(())).await;
});

both!(a_fan_out_waits_at_the_bound_and_reaches_everybody, async |on| {
    let options = Options::on(on)
        .set("LARDER_WORKER__WAITING_PER_PARTNER", "4")
        .set("LARDER_WORKER__EXECUTIONS_PER_PARTNER", "2");
    let larder = Larder::start_with(options).await;
    let api = larder.api();
    api.deploy("all", &guests::guest("probe"), json!({ "events": ["probe.slow"], "per": "enrolment" })).await;
    futures::future::join_all((0..30).map(|number| {
        let api = api.clone();
        async move { api.enrol("all", &format!("saver-{number}"), "card", json!({})).await }
    }))
    .await;
    api.event("e", "probe.slow", Some("card"), json!({ "ms": 5 })).await.is(202);
    eventually("all to save", async || {
        let waiting = api.executions("all").await.iter().filter(|e| e["status"] == "waiting").count();
        assert!(waiting <= 4, "{waiting} wait");
        (api.transactions().await.len() == 30).then_some(())
    })
    .await;
});

both!(descendants_of_an_event_are_limited_over_generations_and_restarts, async |on| {
    let options = Options::on(on).set("LARDER_WORKER__DESCENDANTS_PER_EVENT", "50");
    let mut larder = Larder::start_with(options).await;
    let api = larder.api();
    api.deploy("probe", &guests::guest("probe"), json!({ "events": ["probe.multiply"] })).await;
    let ended = async |api: &Api, count: usize| {
        eventually("all to end", async || {
            let all = api.executions("probe").await;
            let ended = |e: &&Value| matches!(e["status"].as_str(), Some("completed" | "failed"));
            (all.iter().filter(ended).count() == count).then_some(all)
        })
        .await
    };
    // The event makes 10, and those 100 but for the bound: four of them make 10 each.
    api.event("root", "probe.multiply", None, json!({ "count": 10 })).await.is(202);
    let all = ended(&api, 51).await;
    let failed: Vec<&Value> = all.iter().filter(|e| e["status"] == "failed").collect();
    assert_eq!(failed.len(), 46, "{failed:?}");
    for execution in &failed {
        let why = execution["errors"].as_str().unwrap();
        assert!(why.contains("limit worker.descendants_per_event of 50 exceeded"), "{why}");
        assert!(execution["buriedAt"].is_string(), "{execution}");
    }
    assert_eq!(api.limit("worker.descendants_per_event").await, (50, 50));
    let id = failed[0]["$id"].as_str().unwrap().to_owned();
    larder.kill();
    larder.restart().await;
    let api = larder.api();
    api.post(&format!("/dead-letters/{id}/redrive"), json!({})).await.is(202);
    let all = ended(&api, 51).await;
    assert_eq!(all.iter().filter(|e| e["status"] == "failed").count(), 46, "the count was forgotten");
    // Another event has a bound of its own.
    api.event("other", "probe.multiply", None, json!({ "count": 1 })).await.is(202);
    eventually("it to multiply", async || (api.executions("probe").await.len() >= 51 + 3).then_some(())).await;
});

both!(feed_pauses_while_its_partner_has_too_much_waiting, async |on| {
    let options = Options::on(on)
        .set("LARDER_WORKER__WAITING_PER_PARTNER", "1")
        .set("LARDER_WORKER__EVENTS_PER_PARTNER", "1")
        .set("LARDER_FEEDS__TIMEOUT", "2s");
    let larder = Larder::start_with(options).await;
    let (api, quiet) = (larder.api(), larder.partner("quiet").await);
    let aggregator = larder_tests::Aggregator::empty();
    for api in [&api, &quiet] {
        feeds::deploy(api).await;
        aggregator.name_to(api, "").await;
    }
    aggregator.goal("g-0", "AIK").await;
    let enrolment = api.get("/enrolments").await.is(200)["enrolments"][0]["$id"].clone();
    let waits = later(&api, "save-league", json!({ "enrolmentId": enrolment })).await;
    api.event("waits", "to.nobody", None, json!({})).await.is(202);
    api.event("refused", "to.nobody", None, json!({})).await.is_error(429, "general_rate_limit_exceeded");
    let feed = feeds::polled("goals", "/goals", true);
    api.post("/feeds", feed.clone()).await.is(201);
    quiet.post("/feeds", feed).await.is(201);
    for goals in 1..=2 {
        eventually("the neighbour's goals", async || (quiet.transactions().await.len() == goals).then_some(())).await;
        aggregator.goal(&format!("g-{goals}"), "AIK").await;
    }
    let rests = api.get("/feeds/goals").await.is(200);
    assert_eq!((&rests["items"], &rests["position"]), (&json!(0), &Value::Null), "{rests}");
    api.delete(&waits).await.is(204);
    eventually("its own goals", async || (api.transactions().await.len() == 3).then_some(())).await;
});

both!(schedule_fires_late_while_its_partner_has_too_much_waiting, async |on| {
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let settings = [("worker.waiting_per_partner", "1".into())];
    let app = schedules::app_with(folder.path(), &database, Clock::manual(NOW), &settings).await;
    let of = schedules::scheduled(&app, "* * * * *").await;
    let other = deployed(&app, "other", |function| Function { schedule: "* * * * *".into(), ..function }).await;
    schedule_job::arm_all(&app).await.unwrap();
    let waits = crate::processes::claims::enqueue(&app, &of, NOW + 3_600_000).await;
    for minute in 1..=2 {
        app.clock.advance(MINUTE);
        while schedule_job::step(&app).await.unwrap() {}
        assert_eq!((executions(&app, &of).await, executions(&app, &other).await), (1, minute.min(1)));
    }
    app.store.delete_execution(&of.0, &of.1, &waits.parse().unwrap()).await.unwrap();
    eventually("a firing", async || schedule_job::step(&app).await.unwrap().then_some(())).await;
    assert!(executions(&app, &of).await >= 1, "what was missed is not made up for");
    app.ledger.close().await;
});
