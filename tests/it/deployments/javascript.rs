//! TypeScript and JavaScript: from an empty folder to a saving, and what mistakes are answered with.
//!
//! Where node is missing, the tests say loudly what they did not show.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use larder_tests::{Larder, Options, within, workspace};
use serde_json::json;

use super::python;

/// Can projects be built here?
pub fn has_node() -> bool {
    let works = |tool: &str| Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    let found = works("node") && works("npm");
    if !found {
        eprintln!("SKIPPED: node or npm is missing: no project in TypeScript or JavaScript was built");
    }
    found
}

async fn cli(larder: &Larder, folder: &Path, arguments: &[&str]) -> String {
    let (code, out, err) = larder.cli(folder, arguments).await;
    assert_eq!(code, 0, "larder {arguments:?}: {out}{err}");
    format!("{out}{err}")
}

/// A project of this language, as `larder new` makes it.
pub async fn new(larder: &Larder, language: &str) -> PathBuf {
    let name = format!("{language}-hack");
    cli(larder, larder.scratch(), &["new", &name, "--lang", language]).await;
    larder.scratch().join(name)
}

/// From an empty folder to a saving.
async fn saves(language: &str) {
    if !has_node() {
        return;
    }
    let larder = Larder::start_with(Options::default().set("LARDER_BUILD__DEADLINE", "5m")).await;
    let project = new(&larder, language).await;
    let said = cli(&larder, &project, &["test"]).await;
    assert!(said.contains("pass 2"), "{said}");
    cli(&larder, &project, &["build"]).await;
    cli(&larder, &project, &["deploy"]).await;
    let name = format!("{language}-hack");
    let enrol = ["enrolments", "create", "--function", &name, "--end-user", "anna", "--topic", "card-1"];
    cli(&larder, &project, &enrol).await;
    cli(&larder, &project, &["events", "send", "event.json"]).await;
    let saved = within(Duration::from_secs(60), "the saving", async || {
        let transactions = larder.api().transactions().await;
        (!transactions.is_empty()).then_some(transactions)
    })
    .await;
    assert_eq!((saved.len(), &saved[0]["amount"], &saved[0]["endUser"]), (1, &json!("20.00"), &json!("anna")));
    let executions = larder.api().executions(&name).await;
    assert_eq!(executions[0]["logs"], "saved 20.00 SEK\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_saves() {
    saves("ts").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_saves() {
    saves("js").await;
}

/// The example passes its tests and is built, by the tools of new projects.
#[tokio::test(flavor = "multi_thread")]
async fn example_comes_to_the_same() {
    if !has_node() {
        return;
    }
    let larder = Larder::start_with(Options::default()).await;
    let (example, project) = (python::example(&larder, "round-up-ts"), new(&larder, "ts").await);
    for file in ["package.json", "package-lock.json", "tsconfig.json"] {
        let read =
            |folder: &Path, name: &str| std::fs::read_to_string(folder.join(file)).expect(file).replace(name, "NAME");
        assert_eq!(read(&example, "round-up-ts"), read(&project, "ts-hack"), "{file} is the template's");
    }
    let said = cli(&larder, &example, &["test"]).await;
    assert!(said.contains("pass 4"), "{said}");
    cli(&larder, &example, &["build"]).await;
}

/// A mistake in `src/index.ts`, and what `larder build` says of it.
struct Mistake {
    code: &'static str,
    says: &'static [&'static str],
}

const fn mistake(code: &'static str, says: &'static [&'static str]) -> Mistake {
    Mistake { code, says }
}

const MISTAKES: [Mistake; 9] = [
    mistake(
        "import { Money, defineFunction } from \"@larder/sdk\";\nexport default defineFunction({ onEvent: (_, run) => run.save(Money.of(12.5, \"SEK\")) });",
        &["src/index.ts(2,", "'number' is not assignable to parameter of type 'string'"],
    ),
    mistake(
        "import { defineFunction } from \"@larder/sdk\";\nexport default defineFunction({ onEvent: (_, run) => run.save(\"12.50\") });",
        &["src/index.ts(2,", "Money"],
    ),
    mistake(
        "import { readFileSync } from \"fs\";\nimport { defineFunction } from \"@larder/sdk\";\nexport default defineFunction({ onEvent: () => readFileSync(\"x\") });",
        &["src/index.ts(1,", "'fs'"],
    ),
    mistake(
        "import { defineFunction } from \"@larder/sdk\";\nawait Promise.resolve(1);\nexport default defineFunction({ onEvent() {} });",
        &["src/index.ts:2:", "op-level await"],
    ),
    mistake(
        "export default {};",
        &["src/index.ts: write `export default defineFunction({ onEvent(event, run) { … } })`"],
    ),
    mistake("export const x = 1;", &["index.ts", "default"]),
    mistake("export default defineFunction({ onEvent( });", &["src/index.ts(1,"]),
    mistake(
        "import { defineFunction } from \"@larder/sdk\";\nexport default defineFunction({ onEvent: (event, run) => run.sav(event) });",
        &["src/index.ts(2,", "'sav' does not exist"],
    ),
    mistake(
        "import { defineFunction } from \"larder\";\nexport default defineFunction({ onEvent() {} });",
        &["src/index.ts(1,", "'larder'"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_answered_with_their_place() {
    if !has_node() {
        return;
    }
    let larder = Larder::start_with(Options::default()).await;
    let project = new(&larder, "ts").await;
    let mut wrong = Vec::new();
    for Mistake { code, says } in MISTAKES {
        std::fs::write(project.join("src/index.ts"), code).unwrap();
        let (status, out, err) = larder.cli(&project, &["build"]).await;
        let said = format!("{out}{err}");
        if status == 0 || !says.iter().all(|part| said.contains(part)) {
            wrong.push(format!("{code}\n→ {status}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What is not granted is missing in the world, and the error says which line to add.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_is_named_with_its_line() {
    if !has_node() {
        return;
    }
    let larder = Larder::start_with(Options::default().set("LARDER_BUILD__DEADLINE", "5m")).await;
    let project = new(&larder, "js").await;
    let code = "import { defineFunction } from \"@larder/sdk\";
        export default defineFunction({ onEvent(event, run) { run.emit(\"a.b\"); } });";
    std::fs::write(project.join("src/index.js"), code).unwrap();
    cli(&larder, &project, &["build"]).await;
    cli(&larder, &project, &["deploy"]).await;
    let anna = larder.api().enrol("js-hack", "anna", "card-1", json!({})).await;
    let execution = larder.api().execute("js-hack", json!({ "body": "{}", "enrolmentId": anna })).await;
    let errors = execution["errors"].as_str().expect("errors");
    assert!(errors.contains("events is not granted; add to larder.toml, below [grants]: events = ["), "{errors}");
}

/// The SDK's own tests.
#[tokio::test(flavor = "multi_thread")]
async fn sdk_tests_pass() {
    if !has_node() {
        return;
    }
    let output = Command::new("node").arg("--test").arg("test/").current_dir(workspace().join("sdk/js")).output();
    let output = output.expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
