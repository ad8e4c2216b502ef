//! The integrator's way: from an empty folder to a function that saves.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use larder_tests::{Backend, Larder, both, eventually, guests, workspace};
use serde_json::{Value, json};

both!(new_project_becomes_a_savehack_that_saves, async |on| {
    let larder = Larder::start_on(on).await;
    let folder = larder.scratch();
    let name = if on == Backend::Services { "first-on-services" } else { "first-embedded" };
    let run = async |folder: &std::path::Path, arguments: &[&str]| {
        let (code, out, err) = larder.cli(folder, arguments).await;
        assert_eq!(code, 0, "larder {arguments:?}\n{out}{err}");
        out
    };
    run(folder, &["new", name, "--template", "savehack"]).await;
    let project = folder.join(name);
    run(&project, &["build"]).await;
    let out = run(&project, &["deploy"]).await;
    assert!(out.contains(name), "{out}");
    run(&project, &["enrolments", "create", "--function", name, "--end-user", "anna", "--topic", "card-1"]).await;
    run(&project, &["events", "send", "event.json"]).await;
    eventually("the saving", async || {
        let out = run(&project, &["transactions", "--json"]).await;
        out.contains("\"anna\"").then_some(())
    })
    .await;
    let out = run(&project, &["logs", name]).await;
    assert!(out.contains("completed"), "{out}");
    let out = run(&project, &["executions", name, "--json"]).await;
    let list: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(list["executions"][0]["status"], "completed", "{out}");

    // A second deploy updates; a wrong line is named.
    run(&project, &["deploy"]).await;
    let manifest = std::fs::read_to_string(project.join("larder.toml")).unwrap();
    std::fs::write(project.join("larder.toml"), format!("{manifest}\n[limits]\nmemory_bytes = 0\n")).unwrap();
    let (code, _, err) = larder.cli(&project, &["deploy"]).await;
    let line = manifest.lines().count() + 3;
    assert_eq!(code, 2, "{err}");
    assert!(err.contains(&format!("larder.toml:{line}:")), "line {line}: {err}");
});

both!(operator_creates_partners_and_keys, async |on| {
    let larder = Larder::start_on(on).await;
    let (code, out, err) = larder.cli(workspace(), &["partner", "create", "acme", "--name", "Acme"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, err) =
        larder.cli(workspace(), &["key", "create", "--partner", "acme", "--scopes", "functions.read"]).await;
    assert_eq!(code, 0, "{err}");
    let key = out.lines().last().unwrap().trim();
    larder.api_of(Some("acme"), Some(key)).get("/functions").await.is(200);
    let (code, out, _) =
        larder.cli(workspace(), &["key", "create", "--partner", "acme", "--scopes", "functions.read", "--json"]).await;
    assert_eq!(code, 0);
    let key: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert!(key["secret"].as_str().is_some_and(|secret| secret.starts_with("larder_")));
    let (code, _, err) = larder.cli(workspace(), &["partner", "create", "acme"]).await;
    assert_eq!(code, 1, "taken: {err}");
    let (code, _, err) = larder.cli(workspace(), &["--endpoint", "http://127.0.0.1:9/v1", "executions", "x"]).await;
    assert_eq!(code, 3, "{err}");
});

/// A project that is built already, of a guest of the tests.
fn project(folder: &Path, name: &str, guest: &str, manifest: &str) -> PathBuf {
    let project = folder.join(name);
    std::fs::create_dir_all(&project).unwrap();
    std::fs::write(project.join("x.wasm"), guests::guest(guest)).unwrap();
    std::fs::write(project.join("larder.toml"), format!("{manifest}\n[build]\ncomponent = \"x.wasm\"\n")).unwrap();
    project
}

both!(failed_or_waiting_deploy_leaves_the_active_deployment_unchanged, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let old = "[function]\nid = \"f\"\nevents = [\"old.*\"]\nschedule = \"0 6 * * *\"\n[variables]\nWHICH = \"old\"\n";
    let folder = project(larder.scratch(), "f", "hello-http", old);
    let (code, out, err) = larder.cli(&folder, &["deploy"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(!err.contains("waits until"), "{err}");
    let live = async || {
        let function = api.get("/functions/f").await.is(200);
        let variables = api.get("/functions/f/variables").await.is(200)["variables"][0]["value"].clone();
        let names = ["per", "events", "schedule", "deploymentId", "timeout"];
        (names.map(|name| function[name].clone()), variables)
    };
    let before = live().await;
    let new = "[function]\nid = \"f\"\nper = \"enrolment\"\nevents = [\"new.*\"]\nschedule = \"0 7 * * *\"\ntimeout = 20\n\
               [variables]\nWHICH = \"new\"\n";
    // It does not build.
    let folder = project(larder.scratch(), "f", "hello-http", new);
    std::fs::write(folder.join("x.wasm"), b"\0asm\x0d\0\x01\0 and nothing more").unwrap();
    let (code, _, err) = larder.cli(&folder, &["deploy"]).await;
    assert_eq!((code, live().await), (1, before.clone()), "{err}");
    // It waits for a yes. (Somebody with an address and a key, not a developer's own `larder dev`.)
    let folder = project(larder.scratch(), "f", "hello-http", &format!("{new}[grants]\nstate = true\n"));
    let (code, _, err) = larder.cli_as(&folder, larder.key(), &["deploy"]).await;
    assert_eq!((code, live().await), (1, before.clone()), "{err}");
    assert!(err.contains("larder grants approve f") && err.contains("WHICH"), "{err}");
    // What does not fit is told by its line, and nothing changes.
    let folder = project(larder.scratch(), "f", "hello-http", &new.replace("new.*", "new."));
    let (code, _, err) = larder.cli(&folder, &["deploy"]).await;
    assert_eq!((code, live().await), (2, before.clone()), "{err}");
    assert!(err.contains("larder.toml:4: function.events"), "{err}");

    // A yes, typed with as much of the id as tells it from others; and back.
    let list = api.get("/functions/f/deployments").await.is(200)["deployments"].clone();
    let ready = list.as_array().unwrap().iter().filter(|d| d["status"] == "ready" && d["$id"] != before.0[3]);
    let waits = ready.map(|d| d["$id"].as_str().unwrap().to_owned()).next().unwrap();
    let (code, _, err) = larder.cli(&folder, &["grants", "approve", "f", &waits[..waits.len() - 1]]).await;
    assert_eq!(code, 0, "{err}");
    let after = live().await.0;
    assert_eq!(after, [json!("enrolment"), json!(["new.*"]), json!("0 7 * * *"), json!(waits), json!(20)]);
    let (code, out, err) = larder.cli(&folder, &["deployments", "rollback", "f"]).await;
    assert_eq!((code, out.trim()), (0, before.0[3].as_str().unwrap()), "{err}");
    assert_eq!(live().await.0, before.0);
});

both!(function_of_another_project_is_replaced_only_with_force, async |on| {
    let larder = Larder::start_on(on).await;
    let manifest = "[function]\nid = \"f\"\n";
    let (mine, other) = (
        project(larder.scratch(), "mine", "hello-http", manifest),
        project(larder.scratch(), "other", "probe", manifest),
    );
    for _ in 0..2 {
        let (code, _, err) = larder.cli(&mine, &["deploy"]).await;
        assert_eq!(code, 0, "{err}");
    }
    let active = async || larder.api().get("/functions/f").await.is(200)["deploymentId"].clone();
    let before = active().await;
    let (code, _, err) = larder.cli(&other, &["deploy"]).await;
    assert_eq!((code, active().await), (1, before.clone()), "{err}");
    assert!(err.contains("/mine ") && err.contains("larder deploy --force"), "{err}");
    let (code, _, err) = larder.cli(&mine, &["deploy"]).await;
    assert_eq!(code, 0, "{err}");
    // An upload of another client has no project to tell.
    larder.api().build("f", &guests::guest("hello-http"), true).await;
    let (code, _, err) = larder.cli(&mine, &["deploy"]).await;
    assert!(code == 1 && err.contains("by another client"), "{err}");
    let (code, _, err) = larder.cli(&mine, &["deploy", "--force"]).await;
    assert_eq!(code, 0, "{err}");
});

both!(commands_show_and_delete, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let per = json!({ "events": ["card.*"], "per": "enrolment" });
    api.deploy("each", &guests::guest("round-up"), per).await;
    api.enrol("each", "anna", "card-1", json!({ "monthlyCap": "100.00" })).await;
    let run = async |arguments: &[&str]| {
        let (code, out, err) = larder.cli(workspace(), arguments).await;
        (code, out, err)
    };
    // One run by hand, for somebody.
    let data = r#"{"amount":"42.50","currency":"SEK","merchant":"Kiosk"}"#;
    let (code, _, err) = run(&["invoke", "each", "--data", data]).await;
    assert!(code == 2 && err.contains("--end-user"), "{code} {err}");
    let (_, _, err) = run(&["invoke", "each", "--data", data, "--end-user", "anna"]).await;
    assert!(err.contains("completed"), "{err}");
    let (_, out, _) = run(&["enrolments", "list", "--json"]).await;
    let enrolment = serde_json::from_str::<Value>(&out).unwrap()["enrolments"][0]["$id"].as_str().unwrap().to_owned();
    let (_, _, err) = run(&["invoke", "each", "--data", data, "--enrolment", &enrolment[..20]]).await;
    assert!(err.contains("completed"), "{err}");

    // An event, and whom it reached; the digits of its data stay what they are.
    let file = larder.scratch().join("e.json");
    let one = |id: &str, kind: &str, subject: &str, data: &str| {
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/t","type":"{kind}","subject":"{subject}","data":{data}}}"#
        )
    };
    let lines = [one("1", "card.purchase", "card-1", data), one("2", "card.purchase", "card-9", data)].join("\n");
    std::fs::write(&file, format!("\u{feff}{lines}\n")).unwrap();
    let file = file.to_str().unwrap();
    let (code, out, err) = run(&["events", "send", file, "--wait", "30"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("1 function, 1 enrolment: 1 completed"), "{out}");
    assert!(out.contains("1 function, 0 enrolments"), "{out}");
    assert!(err.contains("no active one has the topic \"card-9\""), "{err}");
    let (code, out, err) = run(&["events", "show", "1", "--source", "/t"]).await;
    assert!(code == 0 && out.contains("1 completed") && out.contains("each"), "{out}{err}");
    let (_, out, _) = run(&["events", "send", "--type", "crad.purchase", "--json"]).await;
    let sent: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&sent["events"][0]["status"], &sent["events"][0]["functions"]), (&json!("done"), &json!(0)));
    let (_, _, err) = run(&["events", "send", "--type", "crad.purchase"]).await;
    assert!(err.contains("each listens to [\"card.*\"]"), "{err}");
    std::fs::write(file, one("1", "card.purchase", "card-1", "{}")).unwrap();
    let (code, out, err) = run(&["events", "send", file]).await;
    assert!(code == 1 && out.contains("other content") && err.contains("something else"), "{out}{err}");

    // Everything that is there has a command that shows it, and one that takes it away.
    let (_, out, _) = run(&["functions", "list"]).await;
    assert!(out.contains("each") && out.contains("per enrolment") && out.contains("active"), "{out}");
    let (_, out, _) = run(&["functions", "show", "each"]).await;
    assert!(out.contains("card.*"), "{out}");
    let (_, out, _) = run(&["deployments", "list", "each"]).await;
    assert!(out.contains("active"), "{out}");
    let (code, _, err) = run(&["functions", "delete", "each"]).await;
    assert!(code == 1 && err.contains("larder functions delete each --force"), "{err}");
    assert_eq!(run(&["functions", "delete", "each", "--force"]).await.0, 0);
    api.get("/functions/each").await.is(404);
    let (code, key, err) = run(&["key", "create", "--name", "ci"]).await;
    assert!(code == 0 && err.contains("functions.write") && !err.contains("grants.write"), "{err}");
    let (_, out, _) = run(&["key", "list", "--json"]).await;
    let keys: Value = serde_json::from_str(&out).unwrap();
    let ci = keys["keys"].as_array().unwrap().iter().find(|key| key["name"] == "ci").unwrap();
    assert_eq!(run(&["key", "delete", ci["$id"].as_str().unwrap()]).await.0, 0);
    larder.api_of(Some("demo"), Some(key.trim())).get("/functions").await.is(401);
    let (_, out, _) = run(&["partner", "show", "demo"]).await;
    assert!(out.contains("Demo"), "{out}");
});

#[tokio::test(flavor = "multi_thread")]
async fn server_settings_and_a_manifest_are_not_confused() {
    let folder = tempfile::tempdir().unwrap();
    let file = |text: &str| std::fs::write(folder.path().join("larder.toml"), text).unwrap();
    let run = |arguments: &[&str]| {
        let output =
            std::process::Command::new(Larder::binary()).args(arguments).current_dir(folder.path()).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    file("[function]\nid = \"x\"\n");
    for command in ["serve", "dev"] {
        let said = run(&[command, "--config", "larder.toml"]);
        assert!(said.contains("is the manifest of a function") && said.contains("larder-server.toml"), "{said}");
    }
    file("[server]\nlisten = \"127.0.0.1:0\"\n");
    let said = run(&["deploy"]);
    assert!(said.contains("settings of the server") && said.contains("larder-server.toml"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_partner_is_served_at_the_bare_address() {
    let larder = Larder::start_on(larder_tests::Backend::Embedded).await;
    let folder = project(larder.scratch(), "h", "hello-http", "[function]\nid = \"h\"\nroutes = [\"/hello\"]\n");
    let (code, out, err) = larder.cli(&folder, &["deploy"]).await;
    assert_eq!((code, out.trim()), (0, &*format!("http://{}/hello", larder.address())), "{err}");
    let get = async |header: Option<&str>| {
        let mut request = reqwest::Client::new().get(out.trim());
        if let Some(partner) = header {
            request = request.header("x-larder-partner", partner);
        }
        request.send().await.unwrap().status().as_u16()
    };
    // A header is not overruled, however it is written.
    assert_eq!(
        [get(None).await, get(Some("demo")).await, get(Some("acme")).await, get(Some("!")).await],
        [200, 200, 404, 404]
    );
}

/// The blocks of a page that are for a shell.
fn blocks(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(workspace().join(page)).unwrap();
    let blocks: Vec<String> =
        text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect();
    let fences = text.lines().filter(|line| line.starts_with("```") && *line != "```").count();
    let others = ["```rust", "```text", "```toml"].iter().map(|fence| text.matches(fence).count()).sum::<usize>();
    assert_eq!(blocks.len() + others, fences, "a block of {page} says neither `sh` nor what else it is");
    blocks
}

/// Pastes blocks into a shell at once, as somebody does who reads the page. The ports are free ones, and `make` says only
/// what it would do.
fn paste(folder: &Path, blocks: &[String]) -> String {
    let bin = folder.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let larder = Larder::binary();
    let larder = larder.display();
    let shim = |name: &str, text: String| {
        std::fs::write(bin.join(name), format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let home = folder.join("home");
    std::fs::create_dir_all(&home).unwrap();
    shim(
        "larder",
        format!(
            "if [ \"$1\" = dev ]; then shift; exec {larder} dev --listen 127.0.0.1:0 --internal 127.0.0.1:0 \"$@\"; fi\n\
             exec {larder} \"$@\""
        ),
    );
    shim("make", format!("exec /usr/bin/env PATH=\"${{PATH#*:}}\" make -n -C {} \"$@\"", workspace().display()));
    shim(
        "curl",
        format!(
            "port=$(sed -n 's/^LARDER_ENDPOINT=.*:\\([0-9]*\\)\\/v1$/\\1/p' {}/larder-data/dev.env)\n\
             exec /usr/bin/env PATH=\"${{PATH#*:}}\" curl -fsS \"$(printf %s \"$1\" | sed \"s/:8080/:$port/\")\"",
            home.display()
        ),
    );
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut shell = std::process::Command::new("sh")
        .current_dir(&home)
        .env("PATH", path)
        .env("CARGO_TARGET_DIR", guests::projects_folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = format!("set -eu\nexec 2>&1\n{}\n", blocks.concat());
    std::io::Write::write_all(&mut shell.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let stopped =
        std::process::Command::new(Larder::binary()).args(["dev", "--stop"]).current_dir(&home).output().unwrap();
    assert!(stopped.status.success());
    assert!(output.status.success(), "{text}\n--- said ---\n{said}");
    said
}

#[test]
fn every_shell_block_of_the_first_pages_can_be_pasted_whole() {
    let folder = tempfile::tempdir().unwrap();
    let said = paste(&folder.path().join("readme"), &blocks("README.md"));
    assert!(said.contains("1 function, 1 enrolment: 1 completed") && said.contains("20.00"), "{said}");

    let quickstart = blocks("docs/quickstart.md");
    assert!(quickstart.len() >= 6, "{quickstart:?}");
    let said = paste(&folder.path().join("quickstart"), &quickstart);
    for expected in [
        "timeout     20 s",
        "back to",
        "topic \"card-9\"",
        "x listens to",
        "duplicate",
        "5.00",
        "Hello, Anna!",
        "stopped",
    ] {
        assert!(said.contains(expected), "{expected}:\n{said}");
    }
}
