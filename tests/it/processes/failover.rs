//! Two workers and two schedulers share a load; one of each is killed in the middle of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use larder_tests::services::{self, Database};
use larder_tests::{Cluster, eventually, guests, within};
use serde_json::json;

const EXECUTIONS: usize = 120;
const LEASE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn other_processes_take_over_from_a_killed_worker_and_scheduler() {
    let database = Database::create_on(services::mariadb_url()).await;
    let mut cluster = Cluster::new(vec![
        ("LARDER_DATABASE__URL", database.url()),
        ("LARDER_REDIS__URL", services::redis_url().into()),
        ("LARDER_REDIS__PREFIX", database.name().into()),
        ("LARDER_WORKER__LEASE", format!("{}s", LEASE.as_secs())),
        ("LARDER_WORKER__EXECUTIONS_MAX", "8".into()),
    ]);
    let web = cluster.start("web").await;
    let (first, second) = (cluster.start("worker").await, cluster.start("worker").await);
    let scheduler = cluster.start("scheduler").await;
    let _other_scheduler = cluster.start("scheduler").await;
    cluster.make_partner().await;
    let api = cluster.api(web);
    api.deploy("hello", &guests::guest("hello-http"), json!({ "timeout": 10 })).await;
    api.create_function("minutely", json!({ "schedule": "* * * * *" })).await.is(201);
    api.enrol("minutely", "clock", "clock", json!({})).await;
    assert_eq!(api.build("minutely", &guests::guest("probe"), true).await["status"], "ready");

    for _ in 0..EXECUTIONS {
        let body = json!({ "async": true, "method": "GET", "path": "/hello/slow?ms=400" });
        api.post("/functions/hello/executions", body).await.is(202);
    }
    eventually("both workers to have run some", async || {
        cluster.metrics().await;
        let ran = |at| cluster.seen(at).get("larder_executions_total").copied().unwrap_or(0.0) > 0.0;
        (ran(first) && ran(second)).then_some(())
    })
    .await;
    cluster.kill(first).await;
    cluster.kill(scheduler).await;
    let killed = Instant::now();
    let held = api.executions("hello").await.iter().filter(|e| e["status"] == "processing").count();
    eventually("all of them to end", async || {
        let executions = api.executions("hello").await;
        executions.iter().all(|e| e["status"] == "completed").then_some(())
    })
    .await;
    let recovered = killed.elapsed();
    let executions = api.executions("hello").await;
    assert_eq!(executions.len(), EXECUTIONS);
    // A lost claim is no attempt of the function's.
    assert!(executions.iter().all(|e| e["attempt"] == 1));
    assert!(recovered < LEASE + Duration::from_secs(15), "{recovered:?}");

    // The scheduler that is left fires, each time once.
    let nominal = within(Duration::from_secs(90), "a firing", async || {
        let fired = api.executions("minutely").await;
        let nominal: Vec<String> = fired.iter().map(|e| e["nominalAt"].as_str().unwrap().to_owned()).collect();
        (!nominal.is_empty()).then_some(nominal)
    })
    .await;
    assert_eq!(nominal.iter().collect::<BTreeSet<_>>().len(), nominal.len());

    let metrics = cluster.metrics().await;
    let by_second = cluster.seen(second)["larder_executions_total"];
    let by_first = (EXECUTIONS + nominal.len()) as f64 - by_second;
    println!(
        "{EXECUTIONS} executions on two workers, one of them killed with claims on some of {held}; all ended {:.1} s after the kill \
         (lease {} s); {} leases taken over; {by_first} ended at the killed worker, {by_second} at the other; {} firing(s) by the \
         scheduler that was left",
        recovered.as_secs_f64(),
        LEASE.as_secs(),
        metrics.get("larder_leases_stolen_total").copied().unwrap_or(0.0),
        nominal.len()
    );
}
