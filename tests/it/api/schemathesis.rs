//! The document at `/v1/openapi.json` is true of the running server: Schemathesis makes thousands of requests from it, valid
//! and invalid, follows its links, and compares every response with it.
//!
//! Where Python is missing, the test says loudly what it did not show.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};

use larder_tests::{Issuer, Larder, both, eventually, guests, workspace};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// What every response is checked for.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
    response_headers_conformance,unsupported_method,allow_header_conformance,ignored_auth,missing_required_header,\
    use_after_free,ensure_resource_availability";
/// The same requests in every run.
const SEED: &str = "20261130";
/// Cases of each operation by itself.
const CASES: &str = "40";
/// Seconds for which links are followed.
const FOLLOWS: &str = "40";
/// Operations that must succeed through their examples and links.
const SUCCEED_MIN: usize = 60;

/// The program, installed once below the target folder; `None` where that cannot be done.
async fn program() -> Option<&'static PathBuf> {
    static PROGRAM: OnceCell<Option<PathBuf>> = OnceCell::const_new();
    let install = || {
        let has_python = Command::new("python3").args(["-m", "venv", "--help"]).output();
        if !has_python.is_ok_and(|output| output.status.success()) {
            eprintln!(
                "SKIPPED: python3 -m venv does not work here: the OpenAPI document was not compared with the server"
            );
            return None;
        }
        let (folder, needs) =
            (guests::target_folder().join("schemathesis"), workspace().join("tests/schemathesis.txt"));
        let program = folder.join("bin/schemathesis");
        let wanted = std::fs::read(&needs).expect("the list of packages");
        let installed = folder.join("installed.txt");
        if std::fs::read(&installed).is_ok_and(|known| known == wanted) {
            return Some(program);
        }
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
        let mut pip = Command::new(folder.join("bin/pip"));
        run(pip
            .args(["install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "-r"])
            .arg(&needs));
        std::fs::write(installed, wanted).expect("a file");
        Some(program)
    };
    PROGRAM.get_or_init(|| async { tokio::task::spawn_blocking(install).await.expect("no panic") }).await.as_ref()
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{command:?}: {}", said(&output));
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A function as in the examples of the document, with one of each thing that only the platform makes.
async fn seed(larder: &Larder) {
    let api = larder.api();
    let settings = json!({ "events": ["card.purchase"], "per": "enrolment", "topics": "subject", "schedule": "0 6 25 * *", "enrol": "self" });
    api.deploy("round-up", &guests::guest("round-up"), settings).await;
    api.enrol("round-up", "saver-0", "card-0", json!({})).await;
    let purchase = json!({ "amount": "42.50", "currency": "SEK", "merchant": "Espresso House" });
    api.event("purchase-0", "card.purchase", Some("card-0"), purchase).await.is(202);
    let settings = json!({ "events": ["once.only"], "limits": { "attempts": 1 } });
    api.deploy("once", &guests::guest("hostile-saver"), settings).await;
    api.enrol("once", "anna", "all", json!({})).await;
    api.event("trap", "once.only", None, json!("save-and-trap")).await.is(202);
    eventually("a saving, a fan-out and a dead letter", async || {
        for list in ["/transactions", "/fanouts", "/dead-letters"] {
            if api.get(list).await.is(200)["total"] == 0 {
                return None;
            }
        }
        Some(())
    })
    .await;
}

both!(document_is_true_of_the_server, async |on| {
    let Some(program) = program().await else { return };
    let larder = Larder::start_on(on).await;
    seed(&larder).await;
    // Whose tokens end users come with, until an example says otherwise.
    let issuer = Issuer::start().await;
    larder.api().put("/identity", issuer.settings()).await.is(200);
    let (folder, report) = (larder.scratch().to_owned(), larder.scratch().join("report.ndjson"));
    let config = format!(
        "headers = {{ X-Appwrite-Project = \"demo\" }}\n[auth.openapi.key]\napi_key = \"{}\"\n[auth.openapi.operator]\napi_key = \"{}\"\n[auth.openapi.token]\nbearer = \"{}\"\n",
        larder.key(),
        larder.operator_key(),
        issuer.token("saver-0")
    );
    std::fs::write(folder.join("schemathesis.toml"), config).unwrap();
    let mut reports = String::new();
    for (which, phases) in [
        ("--include-path-regex", ["examples,coverage", "--max-examples", CASES]),
        ("--exclude-path-regex", ["examples,coverage", "--max-examples", CASES]),
        ("--exclude-path-regex", ["stateful", "--max-time", FOLLOWS]),
    ] {
        let mut command = Command::new(program);
        let endpoint = larder.endpoint();
        command.current_dir(&folder).arg("run").arg(format!("{endpoint}/openapi.json"));
        // Names below localhost, at which end users have their own, are not known to every resolver.
        command.arg("--url").arg(endpoint.trim_end_matches("/v1"));
        command.args(["--checks", CHECKS, "--seed", SEED, "--phases"]).args(phases);
        command.args([which, "^/_larder/"]);
        // A tail never ends.
        command.args(["--exclude-operation-id", "tailExecutions", "--continue-on-failure", "--no-color"]);
        command.args(["--report", "ndjson", "--report-ndjson-path"]).arg(&report);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().expect("the program runs");
        assert!(output.status.success(), "{}", said(&output));
        reports += &std::fs::read_to_string(&report).unwrap();
    }

    let document = larder.api().get("/openapi.json").await.is(200);
    let mut missing: BTreeSet<String> = BTreeSet::new();
    let mut all = 0;
    let succeeded = succeeded(&reports);
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(_, one)| one["operationId"].is_string()) {
            all += 1;
            if !succeeded.contains(&(method.to_uppercase(), path.clone())) {
                missing.insert(operation["operationId"].as_str().unwrap().to_owned());
            }
        }
    }
    println!("{} of {all} operations succeeded, all but {missing:?}", all - missing.len());
    assert!(
        all - missing.len() >= SUCCEED_MIN,
        "{} of {all} operations succeeded, all but {missing:?}",
        all - missing.len()
    );
});

/// The methods and paths that were answered with a success.
fn succeeded(report: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for line in report.lines() {
        let event: Value = serde_json::from_str(line).expect("JSON");
        let recorder = &event["ScenarioFinished"]["recorder"];
        for (case, interaction) in recorder["interactions"].as_object().into_iter().flatten() {
            if interaction["response"]["status_code"].as_u64().is_some_and(|status| (200..300).contains(&status)) {
                let path = recorder["cases"][case]["value"]["path"].as_str().unwrap_or_default();
                let method = interaction["request"]["method"].as_str().unwrap_or_default();
                found.insert((method.to_owned(), path.to_owned()));
            }
        }
    }
    found
}
