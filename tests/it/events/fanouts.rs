//! Fan-outs: one trigger runs a function for every enrolment, in ranges that workers claim and commit as a whole.

use std::time::Duration;

use futures::StreamExt;
use larder_model::ids::{ExecutionId, FunctionId, PartnerId};
use larder_model::state::Read;
use larder_model::time::Clock;
use larder_model::{Effect, ExecutionStatus, Fanout, FanoutStatus, Function, Grants, Per, Topics, Trigger};
use larder_platform::execution::ranges::{self, SliceEnd};
use larder_platform::jobs::leases::HeldRanges;
use larder_platform::jobs::{events as event_job, fanouts};
use larder_runtime::Class;
use larder_server::app::App;
use larder_store::ledger::{CommitResult, Ended, Origin, RangePart};
use larder_store::listing::Listing;
use larder_store::{Claimant, ClaimedRange, RangeClaim, Waiting};
use larder_tests::{Api, Larder, Options, both, eventually, guests, rows, within};
use serde_json::{Value, json};

use crate::events::schedules;

const NOW: i64 = 1_795_262_400_500;
const LEASE: i64 = 5_000;

/// A function that runs for each of so many savers at the events of the probe.
async fn probe(api: &Api, savers: usize) {
    let events = ["probe.slow", "probe.retry", "probe.reject", "probe.save"];
    api.deploy("probe", &guests::guest("probe"), json!({ "events": events, "per": "enrolment", "topics": "all" }))
        .await;
    let enrol = |at| async move { api.enrol("probe", &format!("saver-{at}"), "all", json!({})).await };
    futures::stream::iter(0..savers).map(enrol).buffer_unordered(16).collect::<Vec<_>>().await;
}

/// A fan-out for 90 savers that takes seconds, of which the first have been saved for.
async fn slow(larder: &Larder) -> (Api, String) {
    let api = larder.api();
    probe(&api, 90).await;
    api.event("one", "probe.slow", None, json!({ "ms": 200 })).await.is(202);
    let id = only(&api).await["$id"].as_str().unwrap().to_owned();
    eventually("its first savings", async || (!api.transactions().await.is_empty()).then_some(())).await;
    (api, id)
}

/// The only fan-out, once it is there.
async fn only(api: &Api) -> Value {
    eventually("a fan-out", async || api.get("/fanouts").await.is(200)["fanouts"].as_array()?.first().cloned()).await
}

async fn with_status(api: &Api, status: &str) -> Value {
    let found = async || Some(only(api).await).filter(|fanout| fanout["status"] == status);
    within(Duration::from_secs(60), &format!("a fan-out that is {status}"), found).await
}

both!(a_fan_out_tells_how_far_it_is, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    probe(&api, 30).await;
    api.event("one", "probe.slow", None, json!({ "ms": 0 })).await.is(202);
    let fanout = with_status(&api, "completed").await;
    assert_eq!((&fanout["enrolments"], &fanout["done"]), (&json!(30), &json!(30)), "{fanout}");
    assert_eq!((&fanout["failed"], &fanout["conflicts"]), (&json!(0), &json!(0)), "{fanout}");
    assert_eq!((&fanout["functionId"], &fanout["trigger"]), (&json!("probe"), &json!("event")));
    assert_eq!((&fanout["reason"], &fanout["heldBack"]), (&json!(""), &json!(false)));
    assert!(fanout["rate"].as_f64().unwrap() > 0.0 && fanout["expectedEnd"].is_null(), "{fanout}");
    assert_eq!(api.transactions().await.len(), 30);
    let executions = api.executions("probe").await;
    assert_eq!(executions.len(), 30);
    assert!(executions.iter().all(|e| e["status"] == "completed" && e["eventId"] == fanout["eventId"]));
    let id = fanout["$id"].as_str().unwrap();
    assert_eq!(api.get(&format!("/fanouts/{id}")).await.is(200)["$id"], fanout["$id"]);
    api.get("/fanouts/none").await.is_error(404, "fanout_not_found");
    let found = |query: Value| {
        let api = api.clone();
        async move { api.list("/fanouts", &[query]).await.is(200)["total"].clone() }
    };
    let equal = |attribute: &str, value: &str| json!({ "method": "equal", "attribute": attribute, "values": [value] });
    assert_eq!(found(equal("functionId", "probe")).await, 1);
    assert_eq!(found(equal("status", "running")).await, 0);
    assert_eq!(found(equal("eventId", fanout["eventId"].as_str().unwrap())).await, 1);
    // It has ended, so nothing about it can be changed.
    for action in ["pause", "resume", "cancel"] {
        let path = format!("/fanouts/{id}/{action}");
        api.post(&path, json!({})).await.is_error(409, "fanout_status_conflict");
    }
});

both!(a_paused_fan_out_begins_nothing_until_it_is_resumed, async |on| {
    let larder = Larder::start_on(on).await;
    let (api, id) = slow(&larder).await;
    let paused = api.post(&format!("/fanouts/{id}/pause"), json!({})).await.is(200);
    assert_eq!(paused["status"], "paused");
    // What has begun ends within its slice. Then nothing begins, however often workers look.
    let mut before = 0;
    let saved = eventually("the slice to end", async || {
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let saved = api.transactions().await.len();
        (saved == std::mem::replace(&mut before, saved)).then_some(saved)
    })
    .await;
    assert!(saved < 90, "{saved} of 90");
    api.post(&format!("/fanouts/{id}/pause"), json!({})).await.is_error(409, "fanout_status_conflict");
    api.post(&format!("/fanouts/{id}/resume"), json!({})).await.is(200);
    let ended = with_status(&api, "completed").await;
    assert_eq!(ended["done"], 90, "{ended}");
    assert_eq!(api.transactions().await.len(), 90);
});

both!(a_cancelled_fan_out_keeps_what_it_has_saved, async |on| {
    let larder = Larder::start_on(on).await;
    let (api, id) = slow(&larder).await;
    let cancelled = api.post(&format!("/fanouts/{id}/cancel"), json!({})).await.is(200);
    assert_eq!(cancelled["status"], "cancelled");
    let saved = api.transactions().await.len();
    assert_eq!(cancelled["done"], saved, "{cancelled}");
    // The next event is another fan-out, behind whatever of this one may still have run.
    api.event("two", "probe.reject", None, json!({})).await.is(202);
    eventually("the next to end", async || {
        let fanouts = api.get("/fanouts").await.is(200);
        fanouts["fanouts"].as_array()?.iter().find(|one| one["status"] == "completed").map(|_| ())
    })
    .await;
    assert_eq!(api.transactions().await.len(), saved, "something was saved after it was cancelled");
});

both!(failed_runs_leave_the_range_and_are_redriven_together, async |on| {
    let larder = Larder::start_with(Options::on(on).set("LARDER_WORKER__RETRY_DELAY", "50ms")).await;
    let api = larder.api();
    probe(&api, 20).await;
    api.event("one", "probe.retry", None, json!({})).await.is(202);
    let fanout = with_status(&api, "completed").await;
    assert_eq!((&fanout["done"], &fanout["failed"]), (&json!(0), &json!(20)), "{fanout}");
    let dead = async |count: u64| {
        eventually("the dead letters", async || {
            (api.get("/dead-letters").await.is(200)["total"] == count).then_some(())
        })
        .await;
    };
    dead(20).await;
    let executions = api.executions("probe").await;
    assert!(executions.iter().all(|e| e["attempt"] == 3), "each has three attempts: {executions:?}");
    // Those of another event are not redriven with them.
    api.event("two", "probe.retry", None, json!({})).await.is(202);
    dead(40).await;
    let id = fanout["$id"].as_str().unwrap();
    let redriven = api.post(&format!("/fanouts/{id}/redrive"), json!({})).await.is(202);
    assert_eq!((&redriven["total"], &redriven["more"]), (&json!(20), &json!(false)));
    dead(40).await;
});

both!(a_fan_out_is_paused_when_too_many_of_its_first_runs_fail, async |on| {
    let larder = Larder::start_with(Options::on(on).set("LARDER_WORKER__FANOUT_FAILURES_PERCENT", "60")).await;
    let api = larder.api();
    probe(&api, 1_050).await;
    api.event("one", "probe.reject", None, json!({})).await.is(202);
    let fanout = with_status(&api, "paused").await;
    let (failed, reason) = (fanout["failed"].as_u64().unwrap(), fanout["reason"].as_str().unwrap());
    assert!((601..=1_000).contains(&failed), "{fanout}");
    assert!(reason.contains("worker.fanout_failures_percent is 60"), "{reason}");
    // Whoever resumes it wants the rest.
    let id = fanout["$id"].as_str().unwrap();
    api.post(&format!("/fanouts/{id}/resume"), json!({})).await.is(200);
    assert_eq!(with_status(&api, "completed").await["failed"], 1_050);
});

/// A partner with a function, so many enrolments and a fan-out of an event, on the store alone.
struct World {
    _folder: tempfile::TempDir,
    _database: Option<larder_tests::services::Database>,
    app: App,
    of: (PartnerId, FunctionId),
}

impl World {
    async fn new(on: larder_tests::Backend, enrolments: usize) -> World {
        let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
        let app = schedules::app(folder.path(), &database, Clock::manual(NOW)).await;
        let change = |function: Function| Function {
            events: vec!["it.happened".into()],
            per: Per::Enrolment,
            topics: Topics::All,
            grants: Grants { state: true, ..Grants::default() },
            ..function
        };
        let of = schedules::deployed(&app, "acme", "f", change).await;
        app.directory.reload(&of.0).await.unwrap();
        for number in 0..enrolments {
            let enrolment = rows::enrolment(&app.clock, &of, &format!("saver-{number}"));
            app.store.insert_enrolment(&enrolment).await.unwrap();
        }
        let event = rows::event(&app.clock, &of.0, "one", "it.happened");
        app.store.insert_events(&[event]).await.unwrap();
        while event_job::step(&app).await.unwrap() {}
        World { _folder: folder, _database: database, app, of }
    }

    async fn fanout(&self) -> Fanout {
        self.app.store.list_fanouts(&self.of.0, &Listing::first(1)).await.unwrap().rows.pop().unwrap()
    }

    async fn claim(&self, holder: &str, size: u32) -> RangeClaim {
        let fanout = self.fanout().await;
        let claimant = Claimant { holder, lease: LEASE, size, failures_percent: 50 };
        self.app.store.claim_range(&fanout, &claimant, &self.app.clock).await.unwrap()
    }

    async fn range(&self, holder: &str) -> ClaimedRange {
        match self.claim(holder, 10).await {
            RangeClaim::Range(range) => *range,
            other => panic!("{other:?} is no range"),
        }
    }

    /// The outcomes of the first runs of a range, each of which has counted.
    async fn outcomes(&self, range: &ClaimedRange, count: u32) -> Vec<Ended> {
        let enrolments = self.app.store.enrolments_of_range(range, count, usize::MAX).await.unwrap();
        let ended = |enrolment: &larder_model::Enrolment| Ended {
            execution: range.fanout.execution(range.ordinal, &enrolment.id, ExecutionStatus::Completed, NOW),
            origin: Origin::Range,
            end_user: Some(enrolment.end_user.clone()),
            ..rows::outcome(&self.app.clock, &self.of, vec![Effect::IncrementState { key: "n".into(), by: 1 }])
        };
        enrolments.iter().map(ended).collect()
    }

    async fn commit(&self, range: &ClaimedRange, group: &[Ended], to: &str) -> Option<Vec<CommitResult>> {
        let part = RangePart { range, group, to, lease: LEASE, refused: None };
        self.app.store.commit_range(&part, &self.app.clock).await.unwrap()
    }

    async fn executions(&self) -> Vec<larder_model::Execution> {
        self.app.store.list_executions(&self.of.0, &self.of.1, &Listing::first(5_000)).await.unwrap().rows
    }

    /// The counts of all enrolments.
    async fn counted(&self) -> i64 {
        let mut sum = 0;
        for execution in self.executions().await {
            let scope = larder_store::state::Scope {
                partner: self.of.0.clone(),
                function: self.of.1.clone(),
                enrolment: execution.enrolment,
            };
            let value = self.app.store.get_state(&scope, "n").await.unwrap();
            sum += value.map_or(0, |(value, _)| String::from_utf8(value).unwrap().parse::<i64>().unwrap());
        }
        sum
    }
}

const COMMITTED: CommitResult = CommitResult::Committed { emitted: false };

both!(a_range_is_committed_once_whoever_claims_it_again, async |on| {
    let world = World::new(on, 5).await;
    let range = world.range("one").await;
    let runs = world.outcomes(&range, 5).await;
    let second = runs[1].execution.enrolment.clone().unwrap().to_string();
    assert_eq!(world.commit(&range, &runs[..2], &second).await, Some(vec![COMMITTED; 2]));
    // The same part again, as after a commit whose answer was lost.
    assert_eq!(world.commit(&range, &runs[..2], &second).await, None);
    assert!(matches!(world.claim("two", 10).await, RangeClaim::Nothing), "its lease has not ended");
    world.app.clock.advance(LEASE + 1);
    let again = world.range("two").await;
    assert_eq!((&again.after, again.attempt, again.lost), (&second, 2, 1));
    assert_eq!(again.ordinal, 0);
    let rest = world.outcomes(&again, 5).await;
    let ids = |runs: &[Ended]| runs.iter().map(|run| run.execution.id.clone()).collect::<Vec<ExecutionId>>();
    assert_eq!(ids(&rest), ids(&runs[2..]), "a run has the same id each time");
    // The first worker was only slow.
    let mut late = range.clone();
    late.after.clone_from(&second);
    assert_eq!(world.commit(&late, &runs[2..], &range.until).await, None);
    assert_eq!(world.commit(&again, &rest, &again.until).await, Some(vec![COMMITTED; 3]));
    assert!(matches!(world.claim("two", 10).await, RangeClaim::Ended));
    let fanout = world.fanout().await;
    assert_eq!((fanout.status, fanout.progress.done, fanout.progress.runs()), (FanoutStatus::Completed, 5, 5));
    assert_eq!((world.executions().await.len(), world.counted().await), (5, 5));
});

both!(a_conflict_leaves_the_range_as_an_execution_of_its_own, async |on| {
    let world = World::new(on, 3).await;
    let range = world.range("one").await;
    let mut runs = world.outcomes(&range, 3).await;
    runs[1].reads = vec![Read::Key { key: "n".into(), version: Some("another".into()) }];
    let results = world.commit(&range, &runs, &range.until).await;
    assert_eq!(results, Some(vec![COMMITTED, CommitResult::Conflict, COMMITTED]));
    assert!(matches!(world.claim("one", 10).await, RangeClaim::Ended));
    let progress = world.fanout().await.progress;
    assert_eq!((progress.done, progress.failed, progress.conflicts), (2, 0, 1));
    let waiting: Vec<_> =
        world.executions().await.into_iter().filter(|e| e.status == ExecutionStatus::Waiting).collect();
    assert_eq!(waiting.len(), 1);
    assert_eq!((&waiting[0].id, waiting[0].attempt), (&runs[1].execution.id, 0));
    assert_eq!((&waiting[0].event, waiting[0].trigger), (&range.fanout.event, Trigger::Event));
    assert_eq!(world.counted().await, 2);
    // It is claimed like any other.
    let now = world.app.clock.now_ms();
    let claimed =
        world.app.store.claim_executions("one", now, now + LEASE, &rows::wanted(&world.of.0, 8)).await.unwrap();
    assert_eq!(claimed.len(), 1);
});

both!(first_thousand_runs_are_judged_before_the_next_are_claimed, async |on| {
    let world = World::new(on, 1_004).await;
    let first = world.range("one").await;
    assert_eq!(first.ordinal, 0);
    assert!(matches!(world.claim("two", 10).await, RangeClaim::Nothing));
    let runs = world.outcomes(&first, 2_000).await;
    assert_eq!(runs.len(), 1_000);
    world.commit(&first, &runs, &first.until).await.unwrap();
    // From now on workers have ranges side by side.
    let (second, third) = (world.claim("one", 2).await, world.claim("two", 2).await);
    let (RangeClaim::Range(second), RangeClaim::Range(third)) = (second, third) else { panic!("both have a range") };
    assert!((second.ordinal, third.ordinal) == (1, 2) && second.until < third.until);
    assert_eq!(second.until, third.after);
    for range in [third, second] {
        let runs = world.outcomes(&range, 10).await;
        assert_eq!(world.commit(&range, &runs, &range.until).await, Some(vec![COMMITTED; 2]));
    }
    while !matches!(world.claim("one", 2).await, RangeClaim::Ended) {}
    assert_eq!(world.fanout().await.progress.done, 1_004);
});

both!(nothing_is_claimed_after_too_many_of_the_first_runs_failed, async |on| {
    let world = World::new(on, 1_002).await;
    let first = world.range("one").await;
    let mut runs = world.outcomes(&first, 2_000).await;
    for run in &mut runs[..501] {
        run.execution.status = ExecutionStatus::Failed;
        run.effects.clear();
    }
    world.commit(&first, &runs, &first.until).await.unwrap();
    // Whoever claims first after the commit finds the verdict, and so does everybody else.
    let RangeClaim::Paused(why) = world.claim("two", 10).await else { panic!("it goes on") };
    assert_eq!(why, "501 of its first 1000 runs failed (worker.fanout_failures_percent is 50)");
    assert!(matches!(world.claim("three", 10).await, RangeClaim::Nothing));
    let fanout = world.fanout().await;
    assert_eq!((fanout.status, fanout.reason.as_deref()), (FanoutStatus::Paused, Some(why.as_str())));
    // It still counts as waiting, so that paused ones cannot pile up without a bound.
    let most = Waiting { executions: 10, due: 10, fanouts: 10, events: 10 };
    let waiting = world.app.store.waiting(&world.of.0, NOW, &most).await.unwrap();
    assert_eq!(waiting.fanouts, 1);
    // Whoever resumes it has seen the verdict: it is not passed again.
    world.app.store.resume_fanout(&world.of.0, &fanout.id, NOW).await.unwrap();
    assert_eq!(world.range("two").await.ordinal, 1);
});

both!(fan_outs_that_cannot_be_claimed_do_not_hide_those_behind_them, async |on| {
    let world = World::new(on, 1).await;
    let app = &world.app;
    let events: Vec<_> =
        (0..20).map(|n| rows::event(&app.clock, &world.of.0, format!("more-{n}"), "it.happened")).collect();
    app.store.insert_events(&events).await.unwrap();
    while event_job::step(app).await.unwrap() {}
    let held = HeldRanges::default();
    let mut claimed = std::collections::BTreeSet::new();
    while let Some(range) = fanouts::claim(&app.executor, &held).await.unwrap() {
        assert!(claimed.insert(range.fanout.id.clone()), "{} is claimed twice", range.fanout.id);
    }
    assert_eq!(claimed.len(), 21);
});

both!(range_that_cannot_be_started_rests_longer_and_longer_and_is_then_split, async |on| {
    // Its program is nowhere.
    let world = World::new(on, 3).await;
    let app = &world.app;
    let mut rests = Vec::new();
    for age in [0, 60_000, 600_000] {
        app.clock.advance(NOW + age - app.clock.now_ms());
        let range = world.range("one").await;
        let SliceEnd::Released { at, lost } = ranges::run(&app.executor, range.clone(), 1).await.unwrap() else {
            panic!("it was run")
        };
        assert!(!lost, "its process is alive");
        rests.push(at - app.clock.now_ms());
        app.store.release_range(&range, app.clock.now_ms(), lost).await.unwrap();
    }
    assert!(rests[0] >= 2_000 && rests[1] >= 60_000 && rests[2] >= 600_000, "{rests:?}");
    app.clock.advance(24 * 3_600_000);
    let range = world.range("one").await;
    assert!(matches!(ranges::run(&app.executor, range, 1).await.unwrap(), SliceEnd::Committed));
    assert!(matches!(world.claim("one", 10).await, RangeClaim::Ended));
    let waiting = world.executions().await.iter().filter(|e| e.status == ExecutionStatus::Waiting).count();
    assert_eq!(waiting, 3);
});

both!(a_range_that_is_lost_again_and_again_is_split_into_executions, async |on| {
    let world = World::new(on, 4).await;
    let mut range = world.range("one").await;
    for lost in 2..=4 {
        world.app.clock.advance(LEASE + 1);
        range = world.range("two").await;
        assert_eq!((range.lost, range.attempt), (lost, lost));
    }
    let runs = world.outcomes(&range, 1).await;
    let to = runs[0].execution.enrolment.clone().unwrap().to_string();
    world.commit(&range, &runs, &to).await.unwrap();
    world.app.clock.advance(LEASE + 1);
    range = world.range("two").await;
    assert_eq!((range.lost, range.attempt), (1, 5), "what commits something is not lost");
    // A process that gives it back is alive; a run that panics may be at fault.
    for (lost, expected) in [(true, 2), (false, 1)] {
        world.app.store.release_range(&range, world.app.clock.now_ms(), lost).await.unwrap();
        range = world.range("two").await;
        assert_eq!(range.lost, expected);
    }
    world.app.store.split_range(&range, &world.app.clock).await.unwrap();
    // Once, however often it is asked for.
    world.app.store.split_range(&range, &world.app.clock).await.unwrap();
    assert!(matches!(world.claim("two", 10).await, RangeClaim::Ended));
    let waiting = world.executions().await.iter().filter(|e| e.status == ExecutionStatus::Waiting).count();
    assert_eq!(waiting, 3);
});

both!(enrolments_that_are_paused_meanwhile_save_nothing, async |on| {
    let world = World::new(on, 3).await;
    let range = world.range("one").await;
    let runs = world.outcomes(&range, 3).await;
    let paused = runs[2].execution.enrolment.clone().unwrap();
    let status = Some(larder_model::EnrolmentStatus::Paused);
    let by = larder_model::PausedBy::Partner;
    world.app.store.update_enrolment(&world.of.0, &paused, status, None, by, NOW).await.unwrap();
    // One that ran before it was paused, and one that was not run yet.
    let results = world.commit(&range, &runs, &range.until).await.unwrap();
    assert!(matches!(&results[2], CommitResult::Refused { dead_lettered: false, .. }), "{results:?}");
    assert_eq!(world.outcomes(&range, 3).await.len(), 2);
    assert_eq!(world.counted().await, 2);
});

both!(ranges_of_a_cancelled_fan_out_are_not_committed, async |on| {
    let world = World::new(on, 3).await;
    let range = world.range("one").await;
    let runs = world.outcomes(&range, 3).await;
    let to = runs[0].execution.enrolment.clone().unwrap().to_string();
    world.commit(&range, &runs[..1], &to).await.unwrap();
    world.app.store.cancel_fanout(&world.of.0, &range.fanout.id, NOW).await.unwrap();
    let rest = ClaimedRange { after: to, ..range.clone() };
    assert_eq!(world.commit(&rest, &runs[1..], &range.until).await, None);
    let fanout = world.fanout().await;
    assert_eq!((fanout.status, fanout.progress.done), (FanoutStatus::Cancelled, 1));
    assert_eq!(world.executions().await.len(), 1);
    // Nor do they keep it from being deleted.
    let aged = larder_store::retention::FANOUTS;
    let gone = world.app.store.delete_aged(&aged, NOW + 1, &Default::default(), 10).await.unwrap().0;
    assert_eq!(gone, 1);
});

both!(a_claim_goes_to_the_partner_that_has_used_the_least_time, async |on| {
    let world = World::new(on, 1).await;
    let app = &world.app;
    let change = |function: Function| Function {
        events: vec!["it.happened".into()],
        per: Per::Enrolment,
        topics: Topics::All,
        ..function
    };
    let other = schedules::deployed(app, "other", "f", change).await;
    app.directory.reload(&other.0).await.unwrap();
    app.store.insert_enrolment(&rows::enrolment(&app.clock, &other, "anna")).await.unwrap();
    for (of, count) in [(&world.of, 5), (&other, 6)] {
        let events: Vec<_> =
            (0..count).map(|n| rows::event(&app.clock, &of.0, format!("more-{n}"), "it.happened")).collect();
        app.store.insert_events(&events).await.unwrap();
    }
    while event_job::step(app).await.unwrap() {}
    let held = HeldRanges::default();
    let mut claimed = Vec::new();
    while let Some(range) = fanouts::claim(&app.executor, &held).await.unwrap() {
        // A run of one costs three times that of the other.
        let cost = if range.fanout.partner == other.0 { 30 } else { 90 };
        let lane = app.directory.lane(&range.fanout.partner);
        app.runtime.batch().charge(&lane, Class::FanOut, Duration::from_millis(cost));
        claimed.push(range.fanout.partner == other.0);
    }
    assert_eq!(claimed.len(), 12);
    let others = claimed[..8].iter().filter(|other| **other).count();
    assert_eq!(others, 6, "{claimed:?}");
});

/// All executions of the probe that a list with these queries gives, page by page, forwards or backwards.
async fn paged(api: &Api, queries: &[Value], cursor: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let mut asked = [queries, &[json!({ "method": "limit", "values": [70] })]].concat();
        if let Some(last) = if cursor == "cursorAfter" { all.last() } else { all.first() } {
            asked.push(json!({ "method": cursor, "values": [last] }));
        }
        let page = api.list("/functions/probe/executions", &asked).await.is(200);
        let ids = page["executions"].as_array().unwrap().iter().map(|e| e["$id"].as_str().unwrap().to_owned());
        let ids: Vec<String> = ids.collect();
        let full = ids.len() == 70;
        all = if cursor == "cursorAfter" { [all, ids].concat() } else { [ids, all].concat() };
        if !full {
            return all;
        }
    }
}

both!(packed_records_are_read_like_rows, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    probe(&api, 150).await;
    api.event("saved", "probe.slow", None, json!({ "ms": 0 })).await.is(202);
    let saved = with_status(&api, "completed").await;
    // Failed runs are rows of their own.
    api.event("rejected", "probe.reject", None, json!({})).await.is(202);
    eventually("the second fan-out", async || {
        let fanouts = api.get("/fanouts").await.is(200);
        let ended = fanouts["fanouts"].as_array()?.iter().filter(|one| one["status"] == "completed").count();
        (ended == 2).then_some(())
    })
    .await;
    let whole =
        api.list("/functions/probe/executions", &[json!({ "method": "limit", "values": [5_000] })]).await.is(200);
    assert_eq!(whole["total"], 300);
    let all = whole["executions"].as_array().unwrap().clone();
    assert_eq!(all.len(), 300);
    let counted = |name: &str, value: &Value| all.iter().filter(|e| e[name] == *value).count();
    assert_eq!((counted("status", &json!("completed")), counted("eventId", &saved["eventId"])), (150, 150));

    // Filters find what they find in rows: alone, nested, of what records have in common and of what each has for itself.
    let equal =
        |attribute: &str, value: &Value| json!({ "method": "equal", "attribute": attribute, "values": [value] });
    let one = all.iter().find(|e| e["status"] == "completed").unwrap();
    let or = json!({ "method": "or", "values": [equal("$id", &one["$id"]), equal("status", &json!("failed"))] });
    let ids = |matching: &dyn Fn(&Value) -> bool| -> std::collections::BTreeSet<String> {
        all.iter().filter(|e| matching(e)).map(|e| e["$id"].as_str().unwrap().to_owned()).collect()
    };
    let duration = |e: &Value| e["duration"].as_f64().unwrap();
    let slowest = all.iter().map(duration).fold(0.0, f64::max);
    let half = json!({ "method": "greaterThan", "attribute": "duration", "values": [slowest / 2.0] });
    let code = json!({ "method": "between", "attribute": "responseStatusCode", "values": [200, 299] });
    for (query, matching) in [
        (equal("$id", &one["$id"]), &(|e: &Value| e["$id"] == one["$id"]) as &dyn Fn(&Value) -> bool),
        (equal("status", &json!("completed")), &|e| e["status"] == "completed"),
        (equal("status", &json!("failed")), &|e| e["status"] == "failed"),
        (equal("eventId", &saved["eventId"]), &|e| e["eventId"] == saved["eventId"]),
        (equal("enrolmentId", &one["enrolmentId"]), &|e| e["enrolmentId"] == one["enrolmentId"]),
        (equal("deploymentId", &one["deploymentId"]), &|e| e["deploymentId"] == one["deploymentId"]),
        (equal("trigger", &json!("http")), &|e| e["trigger"] == "http"),
        (or, &|e| e["$id"] == one["$id"] || e["status"] == "failed"),
        (half, &|e| duration(e) > slowest / 2.0),
        (code, &|e| (200..300).contains(&e["responseStatusCode"].as_u64().unwrap())),
    ] {
        let wanted = ids(matching);
        let found = paged(&api, std::slice::from_ref(&query), "cursorAfter").await;
        assert_eq!(found.len(), wanted.len(), "{query}");
        assert_eq!(found.into_iter().collect::<std::collections::BTreeSet<_>>(), wanted, "{query}");
        assert_eq!(api.list("/functions/probe/executions", &[query]).await.is(200)["total"], wanted.len());
    }

    // Every order pages over each once, in both directions.
    for attribute in larder_store::filters::EXECUTIONS.iter().map(|column| column.attribute) {
        for method in ["orderAsc", "orderDesc"] {
            let order = json!({ "method": method, "attribute": attribute });
            let forth = paged(&api, std::slice::from_ref(&order), "cursorAfter").await;
            assert_eq!(forth.len(), 300, "{order}");
            let last = [order.clone(), json!({ "method": "cursorBefore", "values": [forth.last().unwrap()] })];
            let back = api.list("/functions/probe/executions", &last).await.is(200);
            let back = back["executions"].as_array().unwrap().iter().map(|e| e["$id"].as_str().unwrap());
            assert!(back.eq(forth[274..299].iter().map(String::as_str)), "{order}");
            let skip = [order.clone(), json!({ "method": "offset", "values": [145] })];
            let skipped = api.list("/functions/probe/executions", &skip).await.is(200);
            assert_eq!(skipped["executions"][0]["$id"], forth[145], "{order}");
        }
    }

    let far = json!({ "method": "offset", "values": [5_001] });
    api.list("/functions/probe/executions", &[far]).await.is_error(400, "general_query_invalid");

    // Each alone, by its id; where the event went; and what is deleted is gone from all of them.
    let id = one["$id"].as_str().unwrap();
    let path = format!("/functions/probe/executions/{id}");
    let alone = api.get(&path).await.is(200);
    assert_eq!(alone, *one);
    let deliveries = async || api.get(&format!("/events/{}", saved["eventId"].as_str().unwrap())).await.is(200);
    assert_eq!(deliveries().await["deliveries"][0]["executions"]["completed"], 150);
    api.delete(&path).await.is(204);
    api.get(&path).await.is_error(404, "execution_not_found");
    api.delete(&path).await.is_error(404, "execution_not_found");
    assert_eq!(api.executions("probe").await.len(), 299);
    assert_eq!(deliveries().await["deliveries"][0]["executions"]["completed"], 149);
    api.get("/functions/probe/executions/none").await.is_error(404, "execution_not_found");
});
