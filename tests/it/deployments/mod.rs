//! From an upload to an active deployment.

mod activation;
mod archives;
pub mod assemblyscript;
mod builds;
mod chunks;
mod engines;
mod event_types;
pub mod javascript;
mod javascript_mistakes;
mod languages;
pub mod python;
mod sandbox;
mod starling;
mod toolchains;
mod uploads;
mod wasip1;

use std::path::Path;
use std::time::Duration;

use larder_tests::{Larder, within};
use reqwest::Method;
use serde_json::{Value, json};

/// Runs `larder` in a project. It succeeds; gives what it printed, both streams together.
async fn cli(larder: &Larder, folder: &Path, arguments: &[&str]) -> String {
    let (code, out, err) = larder.cli(folder, arguments).await;
    assert_eq!(code, 0, "larder {arguments:?}: {out}{err}");
    format!("{out}{err}")
}

/// The function of a project that is built is deployed, and its `event.json` saves this much for anna, once. Gives what the
/// deploy printed, and the run.
async fn deployed_saves(larder: &Larder, project: &Path, amount: &str) -> (String, Value) {
    let said = cli(larder, project, &["deploy"]).await;
    let name = project.file_name().and_then(|name| name.to_str()).expect("a project's name");
    let enrol = ["enrolments", "create", "--function", name, "--end-user", "anna", "--topic", "card-1"];
    cli(larder, project, &enrol).await;
    cli(larder, project, &["events", "send", "event.json"]).await;
    let saved = within(Duration::from_secs(60), "the saving", async || {
        let transactions = larder.api().transactions().await;
        (!transactions.is_empty()).then_some(transactions)
    })
    .await;
    assert_eq!((saved.len(), &saved[0]["amount"], &saved[0]["endUser"]), (1, &json!(amount), &json!("anna")));
    (said, larder.api().executions(name).await.swap_remove(0))
}

/// The function of a project of the template http that is built is deployed, answers, and is told of its `event.json`. Gives
/// what the deploy printed.
async fn deployed_greets(larder: &Larder, project: &Path) -> String {
    let said = cli(larder, project, &["deploy"]).await;
    let name = project.file_name().and_then(|name| name.to_str()).expect("a project's name");
    let ask = async |path: String| {
        let answer = larder.web("demo", Method::GET, &path).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    assert_eq!(ask(format!("/{name}?x=%zz&name=Anna%20%C3%85")).await, (200, "Hello, Anna Å!\n".into()));
    assert_eq!(ask(format!("/{name}")).await, (200, "Hello, world!\n".into()));
    assert_eq!(ask(format!("/{name}/x")).await, (404, format!("no GET /{name}/x here\n")));
    cli(larder, project, &["events", "send", "event.json"]).await;
    within(Duration::from_secs(60), "the event's run", async || {
        let executions = larder.api().executions(name).await;
        // stdout of a CGI program is its answer.
        let line = "an event with 18 bytes of data\n";
        executions.iter().any(|run| run["logs"] == line || run["errors"] == line).then_some(())
    })
    .await;
    said
}

/// A mistake in a project's code or manifest, and what `larder build` says of it.
struct Mistake {
    /// What is replaced in which file, and by what.
    change: (&'static str, &'static str, &'static str),
    says: &'static [&'static str],
}

const fn mistake(file: &'static str, from: &'static str, to: &'static str, says: &'static [&'static str]) -> Mistake {
    Mistake { change: (file, from, to), says }
}

async fn refuses(larder: &Larder, project: &Path, mistakes: &[Mistake]) {
    let mut wrong = Vec::new();
    for Mistake { change: (file, from, to), says } in mistakes {
        let file = project.join(file);
        let good = std::fs::read_to_string(&file).expect("a file");
        assert!(good.contains(from), "{from:?} is not in {}", file.display());
        std::fs::write(&file, good.replacen(from, to, 1)).expect("a file");
        let (status, out, err) = larder.cli(project, &["build"]).await;
        std::fs::write(&file, good).expect("a file");
        let said = format!("{out}{err}");
        if status == 0 || !says.iter().all(|part| said.contains(part)) {
            wrong.push(format!("{to}\n→ {status}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
