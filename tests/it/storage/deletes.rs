//! What is deleted does nothing from the answer on, and its many rows go in short transactions. Records can be read and deleted
//! as soon as their call is answered.

use larder_model::time::Clock;
use larder_model::{Effect, Function, Grants, StoredEvent, Trigger};
use larder_store::ledger::{CommitResult, Ended};
use larder_store::listing::Listing;
use larder_store::retention::{self, Cursor};
use larder_store::{Error, NewExecution, RoutedEvent};
use larder_tests::{Api, Larder, Options, both, guests, rows};
use serde_json::json;

use crate::events::schedules;

const NOW: i64 = 1_795_262_400_500;

both!(deleted_function_saves_nothing_and_its_rows_are_removed_in_batches, async |on| {
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let clock = Clock::manual(NOW);
    let app = schedules::app(folder.path(), &database, clock.clone()).await;
    let of = schedules::scheduled(&app, "0 9 * * *").await;
    let (partner, function) = of.clone();
    let grants = Grants { state: true, ..Grants::default() };
    app.store.set_grants(&partner, &function, &grants, &"k".parse().unwrap(), false, &clock).await.unwrap();
    let event = rows::event(&clock, &partner, "e", "it.happened");
    app.store.insert_events(std::slice::from_ref(&event)).await.unwrap();
    let execution = |_| NewExecution {
        event: Some(event.row.clone()),
        scheduled_at_ms: Some(NOW + 1_000_000),
        ..rows::queued(&clock, &of, Trigger::Event)
    };
    let waiting = app.store.waiting_events(&partner, 1).await.unwrap();
    let executions = (0..1_200).map(execution).collect();
    let routed = RoutedEvent { event: &waiting[0], executions, fanouts: vec![] };
    app.store.route_events(&[routed], &[]).await.unwrap();
    let made_at_ms = app.store.function(&partner, &function).await.unwrap().unwrap().created_at_ms;
    let run = |effects| Ended { function_made_at_ms: Some(made_at_ms), ..rows::outcome(&clock, &of, effects) };
    let keys = |from: usize| {
        (from..from + 400)
            .map(|n| Effect::SetState { key: format!("key-{n:05}"), value: b"1".to_vec().into() })
            .collect()
    };
    for from in [0, 400, 800] {
        let verdicts = app.store.commit_outcomes(&[run(keys(from))], &clock).await.unwrap();
        assert_eq!(verdicts, [CommitResult::Committed { emitted: false }]);
    }

    let removal = app.store.delete_function(&partner, &function, NOW).await.unwrap();
    assert!(app.store.function(&partner, &function).await.unwrap().is_none());
    let late = async || app.store.commit_outcomes(&[run(keys(0))], &clock).await.unwrap();
    assert_eq!(late().await, [CommitResult::Gone], "a run that was under way saves nothing");
    // Until the last row is gone nobody else gets the id, so nobody else gets the rows.
    let again =
        Function { runtime: "wasi-0.2".into(), grants, ..Function::new(partner.clone(), function.clone(), NOW + 5) };
    let taken = app.store.insert_function(&again).await;
    assert!(matches!(taken, Err(Error::BeingRemoved(_))), "{taken:?}");
    assert_eq!(app.store.removals(10).await.unwrap(), std::slice::from_ref(&removal));
    let mut batches = Vec::new();
    loop {
        let swept = app.store.sweep_removal(&removal, 500).await.unwrap();
        if swept.done {
            break;
        }
        batches.push(swept.rows);
    }
    // A deployment, 1,203 executions, 1,200 keys of state.
    assert_eq!(batches, [1, 500, 500, 203, 500, 500, 200]);
    assert_eq!(app.store.removals(10).await.unwrap(), []);
    app.store.insert_function(&again).await.unwrap();
    let left = app.store.list_executions(&partner, &function, &Listing::first(10)).await.unwrap().rows;
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(late().await, [CommitResult::Gone], "a run of the old function saves nothing for the new one");
    app.ledger.close().await;
});

both!(rows_that_must_stay_do_not_block_retention, async |on| {
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let clock = Clock::manual(NOW);
    let app = schedules::app(folder.path(), &database, clock.clone()).await;
    let (partner, _) = schedules::scheduled(&app, "").await;
    let event = |n: i64| StoredEvent {
        created_at_ms: NOW + n,
        ..rows::event(&clock, &partner, format!("e{n}"), "it.happened")
    };
    let events: Vec<StoredEvent> = (0..12).map(event).collect();
    app.store.insert_events(&events).await.unwrap();
    // The first five still wait to be handed over; the others were.
    let waiting = app.store.waiting_events(&partner, 12).await.unwrap();
    let late: Vec<RoutedEvent<'_>> = waiting
        .iter()
        .filter(|waiting| events[5..].iter().any(|event| event.row == waiting.row))
        .map(|event| RoutedEvent { event, executions: vec![], fanouts: vec![] })
        .collect();
    app.store.route_events(&late, &[]).await.unwrap();
    let (mut cursor, mut pages) = (Some(Cursor::default()), Vec::new());
    while let Some(from) = cursor {
        let (gone, next) = app.store.delete_aged(&retention::EVENTS, NOW + 10, &from, 2).await.unwrap();
        pages.push(gone);
        cursor = next;
    }
    assert_eq!(pages, [0, 0, 1, 2, 2, 0], "each row is looked at once");
    app.ledger.close().await;
});

/// Records must not be written by themselves while the test looks.
fn unhurried(on: larder_tests::Backend) -> Options {
    Options::on(on).set("LARDER_RECORDS__FLUSH", "1h")
}

both!(execution_can_be_read_listed_and_deleted_right_after_its_response, async |on| {
    let larder = Larder::start_with(unhurried(on)).await;
    let api = larder.api();
    api.deploy("h", &guests::guest("hello-http"), json!({})).await;
    let path = |run: &serde_json::Value| format!("/functions/h/executions/{}", run["$id"].as_str().unwrap());
    let execute = async || api.execute("h", json!({ "path": "/hello", "method": "GET" })).await;
    let first = execute().await;
    assert_eq!(api.get(&path(&first)).await.is(200)["$id"], first["$id"]);
    let second = execute().await;
    let listed = api.get("/functions/h/executions").await.is(200);
    assert_eq!(listed["executions"][1]["$id"], second["$id"], "{listed}");
    let third = execute().await;
    assert_eq!(api.delete(&path(&third)).await.status, 204);
    // Whatever is written later, the deletion stands.
    execute().await;
    assert_eq!(api.get("/functions/h/executions").await.is(200)["total"], 3);
    api.get(&path(&third)).await.is_error(404, "execution_not_found");
    api.get("/functions/h/executions/01k00000000000000000000000").await.is_error(404, "execution_not_found");
});

#[tokio::test(flavor = "multi_thread")]
async fn buffered_record_is_found_by_another_process() {
    let on = larder_tests::Backend::Services;
    let larder = Larder::start_on(on).await;
    let other = larder.start_beside(Options::on(on)).await;
    let (here, there) = (larder.api(), api_of(&larder, &other));
    here.deploy("h", &guests::guest("hello-http"), json!({})).await;
    for _ in 0..3 {
        let run = here.execute("h", json!({ "path": "/hello", "method": "GET" })).await;
        let path = format!("/functions/h/executions/{}", run["$id"].as_str().unwrap());
        there.get(&path).await.is(200);
        let run = here.execute("h", json!({ "path": "/hello", "method": "GET" })).await;
        let path = format!("/functions/h/executions/{}", run["$id"].as_str().unwrap());
        assert_eq!(there.delete(&path).await.status, 204);
        here.get(&path).await.is_error(404, "execution_not_found");
    }
}

/// The second process, with the key that the first one made.
fn api_of(larder: &Larder, other: &Larder) -> Api {
    other.api_of(Some("demo"), Some(larder.key()))
}
