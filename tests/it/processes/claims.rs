//! Which executions a worker takes, and in what order; with the clock in the test's hand.

use larder_model::time::Clock;
use larder_model::{ExecutionStatus, Trigger};
use larder_server::app::App;
use larder_store::{NewExecution, Wanted};
use larder_tests::{both, rows};

use crate::events::schedules;

const NOW: i64 = 1_795_262_400_000;
const LEASE: i64 = 60_000;

pub async fn enqueue(app: &App, of: &rows::Of, due_at_ms: i64) -> String {
    let new = NewExecution { scheduled_at_ms: Some(due_at_ms), ..rows::queued(&app.clock, of, Trigger::Schedule) };
    app.store.insert_execution(&new).await.unwrap();
    new.id.to_string()
}

/// The ids that this worker gets, and whether each was another's.
async fn claim(app: &App, worker: &str, now: i64, limit: u32) -> Vec<(String, bool)> {
    let wanted = rows::wanted(&"acme".parse().unwrap(), limit);
    let claimed = app.store.claim_executions(worker, now, now + LEASE, &wanted).await.unwrap();
    claimed.iter().map(|claimed| (claimed.execution.id.to_string(), claimed.stolen)).collect()
}

both!(scheduled_execution_is_claimed_at_its_time_and_not_before, async |on| {
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let app = schedules::app(folder.path(), &database, Clock::manual(NOW)).await;
    let of = schedules::scheduled(&app, "").await;
    let id = enqueue(&app, &of, NOW + 5_000).await;
    assert_eq!(app.store.next_due(NOW).await.unwrap(), Some(NOW + 5_000));
    assert_eq!(claim(&app, "worker", NOW + 4_999, 8).await, []);
    assert_eq!(claim(&app, "worker", NOW + 5_000, 8).await, [(id, false)]);
    assert_eq!(claim(&app, "worker", NOW + 5_000, 8).await, [], "it is claimed once");
});

both!(expired_claims_go_before_waiting_executions, async |on| {
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let app = schedules::app(folder.path(), &database, Clock::manual(NOW)).await;
    let of = schedules::scheduled(&app, "").await;
    let [first, second, third, fourth] = [
        enqueue(&app, &of, NOW).await,
        enqueue(&app, &of, NOW + 1).await,
        enqueue(&app, &of, NOW + 2).await,
        enqueue(&app, &of, NOW + 3).await,
    ];
    assert_eq!(claim(&app, "dies", NOW + 10, 1).await, [(first.clone(), false)]);
    assert_eq!(claim(&app, "lives", NOW + 20, 1).await, [(second, false)]);
    // The lease of the first is over, that of the second is not; the others have waited for longer than that.
    let later = NOW + 10 + LEASE;
    assert_eq!(claim(&app, "lives", later, 1).await, [(first, true)]);
    assert_eq!(claim(&app, "lives", later, 8).await, [(third, false), (fourth, false)]);
});

both!(executions_that_are_given_back_are_as_if_they_had_not_been_claimed, async |on| {
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let app = schedules::app(folder.path(), &database, Clock::manual(NOW)).await;
    let of = schedules::scheduled(&app, "").await;
    let [first, second] = [enqueue(&app, &of, NOW).await, enqueue(&app, &of, NOW + 1).await];
    let give_back = async |worker: &str, id: &str, now: i64| {
        let id = id.parse().unwrap();
        app.store.give_back_executions(worker, [(&of.0, &id)].into_iter(), now).await.unwrap();
    };
    let row = async |id: &str| {
        let found = app.store.execution(&of.0, &of.1, &id.parse().unwrap()).await.unwrap().unwrap();
        (found.status, found.attempt, found.lost)
    };
    claim(&app, "dies", NOW + 10, 1).await;
    let later = NOW + 10 + LEASE;
    assert_eq!(claim(&app, "one", later, 8).await, [(first.clone(), true), (second.clone(), false)]);
    assert_eq!(row(&first).await, (ExecutionStatus::Processing, 2, 2));
    give_back("other", &first, later).await;
    assert_eq!(row(&first).await, (ExecutionStatus::Processing, 2, 2), "another holder's stays claimed");
    give_back("one", &first, later).await;
    give_back("one", &second, later).await;
    // Under the first one a worker has died. That is not forgotten.
    assert_eq!(row(&first).await, (ExecutionStatus::Processing, 1, 1));
    assert_eq!(row(&second).await, (ExecutionStatus::Waiting, 0, 0));
    let none_stolen = [Wanted { stolen: 0, ..rows::wanted(&of.0, 8)[0].clone() }];
    let claimed = app.store.claim_executions("two", later, later + LEASE, &none_stolen).await.unwrap();
    assert_eq!(claimed.iter().map(|one| one.execution.id.to_string()).collect::<Vec<_>>(), [second]);
    assert_eq!(claim(&app, "two", later, 8).await, [(first, true)]);
});

both!(claim_takes_no_more_bodies_than_fit_into_memory, async |on| {
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let app = schedules::app(folder.path(), &database, Clock::manual(NOW)).await;
    let of = schedules::scheduled(&app, "").await;
    let mut ids = Vec::new();
    for at in 0..4_u8 {
        let body = vec![at; if at == 3 { 1_000 } else { 3 << 20 }];
        let queued = rows::queued(&app.clock, &of, Trigger::Schedule);
        let new = NewExecution { body: Some(body), scheduled_at_ms: Some(NOW + i64::from(at)), ..queued };
        app.store.insert_execution(&new).await.unwrap();
        ids.push(new.id.to_string());
    }
    for expected in [&ids[..2], &ids[2..]] {
        let claimed = app.store.claim_executions("one", NOW + 9, NOW + LEASE, &rows::wanted(&of.0, 8)).await.unwrap();
        let found: Vec<String> = claimed.iter().map(|one| one.execution.id.to_string()).collect();
        assert_eq!(found, expected);
        for one in claimed {
            let at = ids.iter().position(|id| *id == one.execution.id.to_string()).unwrap();
            assert_eq!((one.body[0] as usize, one.body.len()), (at, if at == 3 { 1_000 } else { 3 << 20 }));
        }
    }
});
