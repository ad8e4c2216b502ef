//! Which executions a worker takes, and in what order; with the clock in the test's hand.

use larder_model::Trigger;
use larder_model::time::Clock;
use larder_server::app::App;
use larder_store::NewExecution;
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
    let wanted = [("acme".parse().unwrap(), limit)];
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
