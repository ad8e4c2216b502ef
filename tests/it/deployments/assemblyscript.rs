//! AssemblyScript: from an empty folder to a saving, and what mistakes are answered with.
//!
//! Where node is missing, the tests say loudly what they did not show.

use std::path::PathBuf;
use std::process::Command;

use larder_tests::{Larder, Options, workspace};

use super::javascript::has_node;
use super::{Mistake, cli, deployed_greets, deployed_saves, mistake, refuses};

/// A project of this template, as `larder new` makes it.
pub async fn new(larder: &Larder, template: &str) -> PathBuf {
    let name = format!("as-{template}");
    cli(larder, larder.scratch(), &["new", &name, "--lang", "assemblyscript", "--template", template]).await;
    larder.scratch().join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn assemblyscript_saves() {
    if !has_node() {
        return;
    }
    let larder = Larder::start_with(Options::default()).await;
    let project = new(&larder, "savehack").await;
    let said = cli(&larder, &project, &["test"]).await;
    assert!(said.contains("pass 2"), "{said}");
    cli(&larder, &project, &["build"]).await;
    let (said, run) = deployed_saves(&larder, &project, "7.50").await;
    // stdout of a CGI program is its answer.
    assert_eq!(run["errors"], "saved 7.50 SEK\n");
    // It imports what its code calls: of ours that is one interface.
    assert!(!said.contains("larder:function/state"), "{said}");

    // The SDK's own tests, with the compiler that the project has.
    let asc = project.join("node_modules/assemblyscript/bin/asc.js");
    let mut node = Command::new("node");
    node.arg("--test").arg("test/").current_dir(workspace().join("sdk/assemblyscript")).env("ASC", asc);
    let output = node.output().expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));

    // What is called and not granted is refused at the upload, with the line to add.
    let source = std::fs::read_to_string(project.join("src/index.ts")).expect("a file");
    let emits = source.replace("{ Event,", "{ Event, emit,").replace("  save(", "  emit(\"saved\");\n  save(");
    std::fs::write(project.join("src/index.ts"), emits).expect("a file");
    cli(&larder, &project, &["build"]).await;
    let (status, out, err) = larder.cli(&project, &["deploy"]).await;
    let said = format!("{out}{err}");
    assert!(status != 0 && said.contains("it imports larder:function/events") && said.contains("events = ["), "{said}");

    // A tool that nothing brings.
    std::fs::remove_dir_all(project.join("node_modules")).expect("a folder");
    let pinned = std::fs::read_to_string(project.join("package.json")).expect("a file");
    std::fs::write(project.join("package.json"), pinned.replace("\"assemblyscript\": \"0.28.20\"", ""))
        .expect("a file");
    std::fs::remove_file(project.join("package-lock.json")).expect("a file");
    let (status, out, err) = larder.cli(&project, &["build"]).await;
    assert_eq!(status, 2, "{out}{err}");
    assert!(err.contains("asc is not installed here; add it: npm install --save-dev assemblyscript"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make languages"]
async fn assemblyscript_answers() {
    if !has_node() {
        return;
    }
    let larder = Larder::start_with(Options::default()).await;
    let project = new(&larder, "http").await;
    let said = cli(&larder, &project, &["test"]).await;
    assert!(said.contains("pass 2"), "{said}");
    cli(&larder, &project, &["build"]).await;
    let said = deployed_greets(&larder, &project).await;
    assert!(!said.contains("larder:function/"), "{said}");
}

const SOURCE: &str = "src/index.ts";

const MISTAKES: [Mistake; 16] = [
    mistake(SOURCE, "save(saving,", "save(7.5,", &["src/index.ts(9,", "'f64' is not assignable to type", "Money"]),
    mistake(SOURCE, "bought.text(\"amount\")", "42.5", &["src/index.ts(6,", "'f64' is not assignable", "String"]),
    mistake(SOURCE, "roundUpTo(\"10\")", "roundUpTo(10)", &["src/index.ts(7,", "'i32' is not assignable", "String"]),
    mistake(SOURCE, "!saving.isPositive", "saving < price", &["src/index.ts(8,", "Operator '<' cannot be applied"]),
    mistake(SOURCE, ".minus(price)", " - price", &["src/index.ts(7,", "Operator '-' cannot be applied"]),
    mistake(SOURCE, "const price =", "const price", &["src/index.ts(6,"]),
    mistake(SOURCE, "});", "}", &["src/index.ts(", "')' expected"]),
    mistake(SOURCE, "  save(", "  sav(", &["src/index.ts(9,", "Cannot find name 'sav'"]),
    mistake(SOURCE, "bought.text", "bought.txt", &["src/index.ts(6,", "'txt' does not exist"]),
    mistake(SOURCE, "{ Event,", "{ Evnt, Event,", &["src/index.ts(2,", "has no exported member 'Evnt'"]),
    mistake(SOURCE, "\"@larder/sdk\"", "\"larder\"", &["src/index.ts(2,", "'~lib/larder.ts' not found"]),
    mistake(
        SOURCE,
        "onEvent((",
        "import { readFileSync } from \"fs\";\nonEvent((",
        &["src/index.ts(4,", "'~lib/fs.ts' not found"],
    ),
    mistake(
        SOURCE,
        "  save(",
        "  log(Date.now().toString());\n  save(",
        &["src/index.ts calls Date.now, which only browsers have; the time of an event is event.time"],
    ),
    mistake(SOURCE, "  save(", "  try { log(\"\"); } catch (e) {}\n  save(", &["src/index.ts(9,", "Exceptions"]),
    mistake(SOURCE, "(event: Event): void", "async (event: Event): void", &["src/index.ts(4,"]),
    mistake("larder.toml", "\"assemblyscript\"", "\"as\"", &["larder.toml:12:", "build.language", "\"as\""]),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make languages"]
async fn mistakes_in_assemblyscript_are_answered_with_their_place() {
    if !has_node() {
        return;
    }
    let larder = Larder::start_with(Options::default()).await;
    let project = new(&larder, "savehack").await;
    refuses(&larder, &project, &MISTAKES).await;
}
