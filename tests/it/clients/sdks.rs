//! SDKs: their own packages call every method of their services that Larder serves, and what is refused. The suites are in
//! `tests/clients`.
//!
//! They run where node and Python are present. Where they are not, the test says loudly what it did not show.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use larder_tests::archives::tar_gz;
use larder_tests::{Larder, Options, guests, workspace};

/// How long a suite may take on a busy machine.
const TIME: Duration = Duration::from_secs(300);

fn clients() -> PathBuf {
    workspace().join("tests/clients")
}

/// Installs the clients of a language, unless its tools are not here.
fn installed(language: &str, tools: &[(&str, &str)]) -> Option<PathBuf> {
    for (tool, probe) in tools {
        let found = Command::new(tool).args(probe.split(' ')).output();
        if !found.is_ok_and(|output| output.status.success()) {
            eprintln!("SKIPPED: {tool} {probe} does not work here: no client of {language} was tried");
            return None;
        }
    }
    // Beside what cargo makes: it lasts, and `cargo clean` removes it.
    let install = Command::new(clients().join("install.sh"))
        .arg(language)
        .env("LARDER_CLIENT_CACHE", guests::target_folder().join("clients"))
        .stderr(Stdio::inherit())
        .output()
        .expect("bash runs");
    assert!(install.status.success(), "tests/clients/install.sh {language} failed ({})", install.status);
    Some(String::from_utf8(install.stdout).expect("a path").trim().into())
}

pub(super) fn node() -> Option<PathBuf> {
    installed("node", &[("node", "--version"), ("npm", "--version")])
}

fn python() -> Option<PathBuf> {
    installed("python", &[("python3", "-mvenv --help")])
}

/// Runs a suite against a Larder of its own; gives what it printed.
async fn run(program: &Path, arguments: &[&str], prepare: impl FnOnce(&Path)) -> String {
    let larder = Larder::start_with(
        Options::default()
            .set("LARDER_BUILD__DEADLINE", "5m")
            // Nobody answers there, and at once.
            .set("LARDER_EGRESS__DNS_SERVERS", r#"["127.0.0.1:9"]"#),
    )
    .await;
    let folder = larder.scratch().join("suite");
    std::fs::create_dir_all(&folder).expect("a folder");
    prepare(&folder);
    let component = guests::guest("hello-http");
    let file = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, content).expect("a file");
        path
    };
    let mut suite = tokio::process::Command::new(program);
    suite
        .args(arguments)
        .current_dir(&folder)
        .env("LARDER_ENDPOINT", format!("http://{}/v1", larder.address()))
        .env("LARDER_PROJECT", "demo")
        .env("LARDER_KEY", larder.key())
        .env("LARDER_ARCHIVE", file("code.tar.gz", &tar_gz(&[("README.md", b"# Hello"), ("./app.wasm", &component)])))
        .env("LARDER_LARGE", file("large.wasm", &guests::padded(17_000_000)))
        .env("LARDER_COMPONENT", file("app.wasm", &component))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(TIME, suite.output()).await.expect("it ends in time").expect("it runs");
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}\n{printed}", output.status);
    printed
}

/// Modules are looked for beside the suites.
fn beside(installed: &Path) -> impl FnOnce(&Path) {
    move |folder| {
        std::os::unix::fs::symlink(installed.join("node_modules"), folder.join("node_modules")).expect("a link");
        for suite in std::fs::read_dir(clients().join("node")).expect("the suites") {
            let suite = suite.expect("a suite");
            std::fs::copy(suite.path(), folder.join(suite.file_name())).expect("a copy");
        }
    }
}

#[track_caller]
fn says(printed: &str, lines: &[&str]) {
    for line in lines {
        assert!(printed.contains(line), "{line:?} is not in {printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn newest_release_for_node() {
    let Some(installed) = node() else { return };
    let printed = run(Path::new("node"), &["newest.mjs"], beside(&installed)).await;
    says(&printed, &["Functions: 26 methods called", "Proxy: 8 methods called"]);
}

/// Those of the formats 1.5, 1.6, 1.7 and 1.8.
#[tokio::test(flavor = "multi_thread")]
async fn older_releases_for_node() {
    let Some(installed) = node() else { return };
    for (release, lines) in [
        ("13", ["Functions: 21 methods called", "Health: 23 methods called"]),
        ("14", ["Functions: 24 methods called", "Health: 23 methods called"]),
        ("17", ["Functions: 26 methods called", "Health: 22 methods called"]),
        ("21", ["Functions: 26 methods called", "Health: 22 methods called"]),
    ] {
        let printed = run(Path::new("node"), &["older.mjs", release], beside(&installed)).await;
        says(&printed, &lines);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn newest_release_for_python() {
    let Some(installed) = python() else { return };
    let suite = clients().join("python/suite.py");
    let suite = suite.to_str().expect("a path in UTF-8");
    let printed = run(&installed.join("bin/python"), &[suite], |_| {}).await;
    says(&printed, &["Functions: 26 methods called", "Proxy: 10 methods called"]);
}
