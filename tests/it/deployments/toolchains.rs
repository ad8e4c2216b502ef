//! Components of other toolchains run as they are: JavaScript by `jco componentize`, Python by `componentize-py`.
//!
//! They are built where node and Python are present. Where they are not, the test says loudly what it did not show.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use larder_tests::hostile::{Arena, corpus};
use larder_tests::{Backend, Larder, Options, guests, within, workspace};
use reqwest::Method;
use serde_json::{Value, json};

/// The folder with the components, `None` where the toolchains cannot run.
fn built() -> Option<&'static PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            for (tool, probe) in [("node", "--version"), ("npm", "--version"), ("python3", "-mvenv --help")] {
                let found = Command::new(tool).args(probe.split(' ')).output();
                if !found.is_ok_and(|output| output.status.success()) {
                    eprintln!(
                        "SKIPPED: {tool} {probe} does not work here: no component of JavaScript or Python was run"
                    );
                    return None;
                }
            }
            // Beside the other guests' builds: it lasts, and `cargo clean` removes it.
            let cache = guests::target_folder().join("toolchains");
            let out = cache.join("out");
            let built = Command::new(workspace().join("tests/guests/build.sh"))
                .arg(&out)
                .env("LARDER_GUEST_CACHE", &cache)
                .status()
                .expect("bash runs");
            assert!(built.success(), "tests/guests/build.sh failed ({built})");
            Some(out)
        })
        .as_ref()
}

/// The two functions of one language, by the names that they end in.
async fn run(language: &str) {
    let Some(folder) = built() else { return };
    let guest = |kind: &str| std::fs::read(folder.join(format!("{language}-{kind}.wasm"))).expect("a component");
    // 14 to 18 MB take more than ten seconds of CPU time, and this machine may have other things to do.
    let larder = Larder::start_with(Options::default().set("LARDER_BUILD__DEADLINE", "15m")).await;
    let api = larder.api();
    // An interpreter starts with some 20 MB, and fresh for every call.
    let limits = json!({ "cpuMs": 10_000 });

    api.deploy("http", &guest("http"), json!({ "routes": ["/any"], "limits": limits })).await;
    let answer = larder.web("demo", Method::POST, "/any/where?a=b").body("påse").send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-guest"], format!("{language}-http"));
    assert_eq!(answer.text().await.expect("a body"), "POST /any/where?a=b\npåse");
    // A second one: instances are fresh, and these answer only once.
    let answer = larder.web("demo", Method::GET, "/any").send().await.expect("an answer");
    assert_eq!(answer.text().await.expect("a body"), "GET /any\n");

    let settings = json!({ "events": ["card.*"], "per": "enrolment", "limits": limits });
    api.deploy("event", &guest("event"), settings).await;
    let anna = api.enrol("event", "anna", "card-1", json!({})).await;
    let data = json!({ "amount": "12.50", "currency": "SEK" });
    api.event("1", "card.purchase", Some("card-1"), data.clone()).await.is(202);
    let saved = within(Duration::from_secs(600), "the saving", async || {
        let transactions = api.transactions().await;
        (!transactions.is_empty()).then_some(transactions)
    })
    .await;
    assert_eq!((saved.len(), &saved[0]["amount"], &saved[0]["endUser"]), (1, &json!("12.50"), &json!("anna")));

    // A synchronous one for the same saver sees the state of the one before.
    let execution = api.execute("event", json!({ "body": data.to_string(), "enrolmentId": anna })).await;
    assert_eq!(execution["status"], "completed", "{execution:#}");
    let said: Value = serde_json::from_str(execution["responseBody"].as_str().expect("a body")).expect("JSON");
    assert_eq!(said["count"], 2);
    assert!(execution["logs"].as_str().expect("logs").contains("saved 12.50 SEK"), "{execution:#}");
    let saved = api.transactions().await;
    assert_eq!((saved.len(), &saved[1]["$id"]), (2, &said["transaction"]));

    // The host's refusal reaches the guest as an error of its language, and comes back as the reason.
    let wrong = json!({ "amount": "0.001", "currency": "SEK" });
    let execution = api.execute("event", json!({ "body": wrong.to_string(), "enrolmentId": anna })).await;
    assert_eq!((&execution["status"], &execution["responseStatusCode"]), (&json!("failed"), &json!(422)));
    assert_eq!(api.transactions().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript() {
    run("js").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python() {
    run("py").await;
}

// No toolchain of Go makes components here; this is what its runtime does before anything else.
#[tokio::test(flavor = "multi_thread")]
async fn go_program_starts_with_the_clocks_of_the_host() {
    let arena = Arena::new(Backend::Embedded).await;
    let entry = corpus::one("time-go-starts");
    assert_eq!(arena.deploy(&entry).await, None);
    let attacked = arena.attack(&entry).await;
    assert!(attacked.fine, "{}", attacked.got);
}
