//! A fan-out whose workers are killed: what is saved in the end, beside what had to be.

use std::time::{Duration, Instant};

use larder_tests::services::Database;
use larder_tests::{Cluster, guests};
use mysql_async::prelude::Queryable;
use serde_json::json;

use super::{PARTNER, PATIENCE, rows};
use crate::say;

/// Between two kills.
const PERIOD: Duration = Duration::from_secs(1);
const SAVERS: usize = 100_000;
const WORKERS: usize = 2;

/// Two workers, of which one after the other is killed without warning and started again.
pub(super) async fn run() -> anyhow::Result<()> {
    let savers = SAVERS;
    say("workers that are killed");
    let database = Database::create().await;
    let mut cluster = Cluster::new(vec![
        ("LARDER_DATABASE__URL", database.url()),
        ("LARDER_REDIS__URL", larder_tests::services::redis_url().into()),
        ("LARDER_WORKER__LEASE", "5s".into()),
    ]);
    let web = cluster.start("web,scheduler,maintenance").await;
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(cluster.start("worker").await);
    }
    cluster.make_partner().await;
    let api = cluster.api(web);
    let settings = json!({ "events": ["probe.look"], "per": "enrolment", "topics": "all" });
    api.deploy("probe", &guests::guest("probe"), settings).await;
    let mut connection = database.connect().await;
    rows::enrol(&mut connection, PARTNER, "probe", savers).await?;
    let begun = Instant::now();
    api.event("look", "probe.look", None, json!({ "save": true })).await.is(202);
    let mut kills = 0;
    let fanout = loop {
        let killed = Instant::now();
        while killed.elapsed() < PERIOD {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let fanout = api.get("/fanouts").await.is(200)["fanouts"][0].clone();
        if fanout["status"] == "completed" {
            break fanout;
        }
        anyhow::ensure!(begun.elapsed() < PATIENCE, "it takes too long: {fanout}");
        let worker = workers[kills % WORKERS];
        cluster.kill(worker).await;
        cluster.restart(worker).await;
        kills += 1;
    };
    let seconds = begun.elapsed().as_secs_f64();
    // What failed because its process was killed runs once more by itself.
    while api
        .list(
            "/functions/probe/executions",
            &[json!({ "method": "equal", "attribute": "status", "values": ["waiting", "processing"] })],
        )
        .await
        .is(200)["total"]
        != 0
    {
        anyhow::ensure!(begun.elapsed() < PATIENCE, "executions are left");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let found: Option<(u64, u64, u64)> = connection
        .query_first(
            "SELECT COUNT(*), COUNT(DISTINCT enrolment_id), CAST(SUM(amount_minor) AS UNSIGNED) FROM transactions",
        )
        .await?;
    let (transactions, served, minor) = found.unwrap_or_default();
    let (lost, doubled) = (savers as u64 - served, transactions - served);
    println!(
        "{savers:>9}  {kills} kills of {WORKERS} workers in {seconds:.1} s: lost {lost}, doubled {doubled}, saved {}.{:02} of {}.00; {fanout}",
        minor / 100,
        minor % 100,
        savers,
    );
    anyhow::ensure!((lost, doubled, minor) == (0, 0, savers as u64 * 100), "money is lost or doubled");
    Ok(())
}
