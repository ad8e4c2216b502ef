//! C, Zig and Go: from an empty folder to a saving, and what mistakes are answered with.
//!
//! `make test` has C; `make languages` has all of them. The compiler is installed as the template pins it, once, below the
//! target folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use larder_tests::{Larder, Options, guests, within, workspace};
use serde_json::json;

use super::{Mistake, cli, deployed_greets, deployed_saves, mistake, refuses};

/// An environment of Python with the tools that a file of pins names, made once.
fn installed(pins: &str) -> PathBuf {
    let pins = workspace().join(pins);
    let digest = larder_model::Digest::of(&std::fs::read(&pins).expect("pins")).to_string();
    let folder = guests::target_folder().join(format!("languages/{}", &digest[..16]));
    if folder.join("done").exists() {
        return folder;
    }
    let run = |program: &Path, arguments: &[&str]| {
        let status = Command::new(program).args(arguments).status().expect("python3 runs: these tests need it");
        assert!(status.success(), "{} {arguments:?} failed ({status})", program.display());
    };
    run(Path::new("python3"), &["-m", "venv", "--clear", folder.to_str().expect("UTF-8")]);
    let pins = pins.to_str().expect("UTF-8");
    run(&folder.join("bin/python"), &["-m", "pip", "install", "--quiet", "--require-hashes", "-r", pins]);
    std::fs::write(folder.join("done"), "").expect("a file");
    folder
}

/// What a project is built with: the compiler of Zig, but for Go.
fn tools(language: &str) -> &'static Path {
    static ZIG: OnceLock<PathBuf> = OnceLock::new();
    static GO: OnceLock<PathBuf> = OnceLock::new();
    match language {
        "go" => GO.get_or_init(|| installed("host/cli/templates/go/requirements.txt")),
        _ => ZIG.get_or_init(|| installed("host/cli/templates/c/requirements.txt")),
    }
}

/// A project of this language, as `larder new` makes it.
async fn untooled(larder: &Larder, language: &str, template: &str) -> PathBuf {
    let name = format!("{language}-{template}");
    cli(larder, larder.scratch(), &["new", &name, "--lang", language, "--template", template]).await;
    larder.scratch().join(name)
}

/// The same with its tools.
async fn new(larder: &Larder, language: &str, template: &str) -> PathBuf {
    let project = untooled(larder, language, template).await;
    std::os::unix::fs::symlink(tools(language), project.join(".venv")).expect("a link");
    project
}

/// A project that types of events are tried in.
pub async fn typed(larder: &Larder, language: &str) -> PathBuf {
    new(larder, language, "savehack").await
}

/// From an empty folder to a saving.
async fn saves(language: &str) {
    let larder = Larder::start_with(Options::default()).await;
    let project = new(&larder, language, "savehack").await;
    cli(&larder, &project, &["test"]).await;
    cli(&larder, &project, &["build"]).await;
    let (said, run) = deployed_saves(&larder, &project, "7.50").await;
    // stdout of a CGI program is its answer.
    let log = if language == "go" { "errors" } else { "logs" };
    assert_eq!(run[log], "saved 7.50 SEK\n");
    // It imports what its code calls: of ours that is one interface.
    assert!(!said.contains("larder:function/state"), "{said}");
}

/// From an empty folder to an answer.
async fn greets(language: &str) {
    let larder = Larder::start_with(Options::default()).await;
    let project = new(&larder, language, "http").await;
    cli(&larder, &project, &["test"]).await;
    cli(&larder, &project, &["build"]).await;
    let said = deployed_greets(&larder, &project).await;
    assert!(!said.contains("larder:function/"), "{said}");
}

async fn refused(language: &str, mistakes: &[Mistake]) {
    let larder = Larder::start_with(Options::default()).await;
    let project = new(&larder, language, "savehack").await;
    refuses(&larder, &project, mistakes).await;
}

const IN_C: [Mistake; 6] = [
    mistake(
        "src/app.c",
        "larder_save(saving, currency",
        "larder_save(saving, 752",
        &["src/app.c:", "752", "const char *"],
    ),
    mistake("src/app.c", "int64_t price, saving;", "int64_t price, saving", &["src/app.c:8:", "expected ';'"]),
    mistake("src/app.c", "larder_save(", "larder_sav(", &["src/app.c:", "larder_sav"]),
    mistake("src/app.c", "\"guide.h\"", "\"larder/guide.h\"", &["src/app.c:4:", "'larder/guide.h' file not found"]),
    mistake("src/app.c", "exports_larder_handle", "handle", &["exports_larder_handle", "undefined symbol"]),
    mistake("larder.toml", "language = \"c\"", "language = \"cc\"", &["larder.toml:12:", "build.language", "\"cc\""]),
];

const IN_ZIG: [Mistake; 5] = [
    mistake("src/app.zig", "larder_save(saving, &currency", "larder_save(12.5, 752", &["src/app.zig:", "error:"]),
    mistake(
        "src/app.zig",
        "var price: i64 = undefined;",
        "var price: i64 = undefined",
        &["src/app.zig:", "expected ';'"],
    ),
    mistake("src/app.zig", "larder.larder_save(", "larder.larder_sav(", &["src/app.zig:", "larder_sav"]),
    mistake("src/app.zig", "@import(\"larder\")", "@import(\"ladder\")", &["src/app.zig:", "ladder"]),
    mistake("src/app.zig", "export fn exports_larder_handle", "export fn handle", &["exports_larder_handle"]),
];

const IN_GO: [Mistake; 6] = [
    mistake("main.go", "larder.Save(saving,", "larder.Save(7.5,", &["main.go:", "7.5", "larder.Amount"]),
    mistake("main.go", "bought.Currency, \"Round-up\"", "752, \"Round-up\"", &["main.go:", "752", "string"]),
    mistake("main.go", "larder.Save(", "larder.Sav(", &["main.go:", "larder.Sav"]),
    mistake("main.go", "\"fmt\"", "\"fnt\"", &["main.go:", "fnt"]),
    mistake("main.go", "return nil\n}", "return nil\n", &["main.go:", "syntax error"]),
    mistake(
        "larder.toml",
        "language = \"go\"",
        "language = \"golang\"",
        &["larder.toml:12:", "build.language", "golang"],
    ),
];

/// Takes more from the host than what it keeps, with garbage beside it: while the host asks a program for memory, the program
/// must not ask the host for the time, as Go's garbage collector does.
const BUSY: &str = r#"package main

import (
	"bytes"
	"fmt"

	"larder"
)

func main() { larder.OnEvent(roundUp) }

func roundUp(event larder.Event) error {
	value := bytes.Repeat([]byte{7}, 60_000)
	for _, key := range []string{"a", "b", "c"} {
		if err := larder.SetState(key, value); err != nil {
			return err
		}
	}
	for turn := range 900 {
		read, err := larder.State("a")
		if err != nil || !bytes.Equal(read, value) {
			return larder.Reject("turn %d: %d bytes, %v", turn, len(read), err)
		}
		garbage = append(garbage[:turn%7], make([]byte, 50_000))
	}
	if _, err := larder.State(""); err == nil {
		return larder.Reject("a key of nothing")
	}
	all, err := larder.ListState("", "a")
	if err != nil || len(all) != 2 || all[1].Key != "c" || !bytes.Equal(all[0].Value, value) {
		return larder.Reject("%d entries, %v", len(all), err)
	}
	if it := larder.CurrentEnrolment(); it == nil || it.Topic != "card-1" {
		return larder.Reject("for %v", it)
	}
	fmt.Println("busy", event.ID, event.Subject, string(event.Data))
	return nil
}

var garbage [][]byte
"#;

#[tokio::test(flavor = "multi_thread")]
async fn c_saves() {
    saves("c").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c_answers() {
    greets("c").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make languages"]
async fn mistakes_in_c_are_answered_with_their_place() {
    refused("c", &IN_C).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make languages"]
async fn zig_saves() {
    saves("zig").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make languages"]
async fn zig_answers() {
    greets("zig").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make languages"]
async fn mistakes_in_zig_are_answered_with_their_place() {
    refused("zig", &IN_ZIG).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make languages"]
async fn go_saves() {
    saves("go").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make languages"]
async fn go_answers() {
    greets("go").await;
}

#[test]
#[ignore = "make languages"]
fn the_sdk_for_go_passes_its_own_tests() {
    let mut go = Command::new(tools("go").join("bin/go"));
    go.args(["test", "."]).env("GOTOOLCHAIN", "local").current_dir(workspace().join("sdk/go"));
    assert!(go.status().expect("go runs").success());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make languages"]
async fn mistakes_in_go_are_answered_with_their_place() {
    refused("go", &IN_GO).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make languages"]
async fn a_busy_program_of_go_reads_what_the_host_gives() {
    let larder = Larder::start_with(Options::default()).await;
    let project = new(&larder, "go", "savehack").await;
    std::fs::write(project.join("main.go"), BUSY).expect("a file");
    cli(&larder, &project, &["build"]).await;
    let wasm = std::fs::read(project.join("app.wasm")).expect("a module");
    let limits = json!({ "cpuMs": 10_000 });
    let settings = json!({ "events": ["card.*"], "per": "enrolment", "limits": limits });
    let api = larder.api();
    api.deploy("busy", &wasm, settings).await;
    api.enrol("busy", "anna", "card-1", json!({})).await;
    api.event("1", "card.purchase", Some("card-1"), json!({ "amount": "12.50" })).await.is(202);
    let ended = within(Duration::from_secs(60), "the run", async || {
        let executions = api.executions("busy").await;
        executions.iter().find(|it| it["status"] == "completed" || it["status"] == "failed").cloned()
    })
    .await;
    assert_eq!(
        (&ended["status"], &ended["errors"]),
        (&json!("completed"), &json!("busy 1 card-1 {\"amount\":\"12.50\"}\n"))
    );
}

/// Go's allocator takes all memory above the program's data for its own; the adapter's state is not there.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "make languages"]
async fn a_program_of_go_uses_its_memory_to_the_last_byte() {
    let larder = Larder::start_with(Options::default()).await;
    let module = larder.scratch().join("go.wasm");
    let status = Command::new(tools("go").join("bin/go"))
        .args(["build", "-trimpath", "-ldflags=-s -w", "-o", module.to_str().expect("UTF-8"), "."])
        .envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "-buildvcs=false")])
        .current_dir(workspace().join("tests/guests/go"))
        .status();
    assert!(status.expect("go runs").success());
    let limits = json!({ "cpuMs": 10_000, "memoryBytes": 200 << 20 });
    let wasm = std::fs::read(module).expect("a module");
    larder.api().deploy("go", &wasm, json!({ "routes": ["/go"], "limits": limits })).await;
    let answer = larder.web("demo", reqwest::Method::POST, "/go").body("hej").send().await.expect("an answer");
    assert_eq!(answer.text().await.expect("a body"), "POST 40 hej");
}

/// Whoever has no compiler is told what to run.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_compiler_is_named_with_the_line_that_installs_it() {
    let larder = Larder::start_with(Options::default()).await;
    let project = untooled(&larder, "c", "savehack").await;
    // One that is too old counts as none.
    let old = project.join(".venv/bin");
    std::fs::create_dir_all(&old).expect("a folder");
    let python = old.join("python");
    std::fs::write(&python, "#!/bin/sh\necho 0.9.1\n").expect("a file");
    std::fs::set_permissions(&python, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a program");
    let (status, _, err) = larder.cli(&project, &["build"]).await;
    assert_eq!(status, 2, "{err}");
    assert!(err.contains("is 0.9.1, and this needs 0.17.0"), "{err}");
    assert!(err.contains("python3 -m venv .venv && .venv/bin/pip install -r requirements.txt"), "{err}");
}

/// `sdk/c/larder.h` and `larder.c` are what wit-bindgen makes of `sdk/wit`. What is there is replaced by it with
/// `LARDER_BINDINGS=write`.
#[test]
fn bindings_for_c_are_those_of_the_interfaces() {
    let mut resolve = wit_bindgen_core::wit_parser::Resolve::default();
    let wit = std::fs::read_to_string(workspace().join("sdk/wit/larder.wit")).expect("our interfaces");
    let package = resolve.push_str("larder.wit", &wit).expect("WIT");
    let world = resolve.select_world(&[package], Some("event-function")).expect("a world");
    let own = |name: &str, short: &str| (format!("larder:function/{name}@0.1.0"), short.to_owned());
    let options = wit_bindgen_c::Opts {
        // Larder knows its own interfaces: nobody needs to describe them in an object.
        no_object_file: true,
        rename_world: Some("larder".into()),
        rename: vec![
            own("event-types", "larder"),
            own("handler", "larder"),
            own("savings", "larder_savings"),
            own("state", "larder_state"),
            own("attributes", "larder_attributes"),
            own("events", "larder_events"),
            own("enrolment", "larder_enrolment"),
            own("signing", "larder_signing"),
        ],
        ..wit_bindgen_c::Opts::default()
    };
    let mut files = wit_bindgen_core::Files::default();
    options.build().generate(&mut resolve, world, &mut files).expect("bindings");
    let folder = workspace().join("sdk/c");
    for (name, made) in files.iter() {
        let file = folder.join(name);
        if std::env::var("LARDER_BINDINGS").is_ok_and(|it| it == "write") {
            std::fs::write(&file, made).expect("a file");
        }
        assert!(std::fs::read(&file).is_ok_and(|is| is == made), "{} is not what wit-bindgen makes", file.display());
    }
}
