//! The same on the embedded default: one process with SQLite.

use std::sync::Arc;
use std::time::Instant;

use larder_tests::{Larder, Options, guests};
use serde_json::json;
use tokio::task::JoinSet;

use super::completed;
use crate::say;

/// Enrolments that are made at the same time.
const TASKS: usize = 16;

pub async fn run(savers: usize) -> anyhow::Result<()> {
    say(&format!("{savers} savers on SQLite"));
    let larder = Larder::start_with(Options::default()).await;
    let api = Arc::new(larder.api());
    let settings = json!({ "events": ["probe.look"], "per": "enrolment", "topics": "all" });
    api.deploy("probe", &guests::guest("probe"), settings).await;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let api = api.clone();
        tasks.spawn(async move {
            for number in (task..savers).step_by(TASKS) {
                api.enrol("probe", &format!("saver-{number}"), "all", json!({})).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done?;
    }
    for (sent, save) in [(1, true), (2, false)] {
        let begun = Instant::now();
        api.event(&format!("look-{sent}"), "probe.look", None, json!({ "save": save })).await.is(202);
        let fanout = completed(&api, sent).await?;
        let seconds = begun.elapsed().as_secs_f64();
        anyhow::ensure!(fanout["done"] == savers, "not every run succeeded: {fanout}");
        let runs = if save { "2 reads, 1 saving" } else { "2 reads, no effect" };
        println!("{savers:>9}  {runs:<18} {seconds:>8.2} {:>9.0}  on SQLite", savers as f64 / seconds);
    }
    Ok(())
}
