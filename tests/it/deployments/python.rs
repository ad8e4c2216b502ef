//! Python: from an empty folder to a saving, and what mistakes are answered with.
//!
//! Where Python is missing, the tests say loudly what they did not show.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use larder_tests::outside::Outside;
use larder_tests::{Larder, Options, within, workspace};
use serde_json::json;

use super::{cli, deployed_saves};

/// Can projects be built here?
pub fn has_python() -> bool {
    let probe = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
    let found = Command::new("python3").args(["-c", probe]).output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("SKIPPED: python3 from 3.10 with venv is missing: no project in Python was built");
    }
    found
}

async fn start() -> Larder {
    // 19 MB take more than ten seconds of CPU time, and this machine may have other things to do.
    Larder::start_with(Options::default().set("LARDER_BUILD__DEADLINE", "15m")).await
}

/// A project of this template, as `larder new` makes it.
pub async fn new(larder: &Larder, template: &str) -> PathBuf {
    let name = format!("python-{template}");
    cli(larder, larder.scratch(), &["new", &name, "--lang", "python", "--template", template]).await;
    larder.scratch().join(name)
}

/// What the project's component imports and exports, by the world that its build has written.
fn world(project: &Path) -> (Vec<String>, Vec<String>) {
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(project.join(".larder/build/wit")).expect("a package");
    let world = &resolve.worlds[resolve.select_world(&[package], Some("app")).expect("its world")];
    let names = |keys: Vec<&wit_parser::WorldKey>| keys.into_iter().map(|key| resolve.name_world_key(key)).collect();
    (names(world.imports.keys().collect()), names(world.exports.keys().collect()))
}

#[tokio::test(flavor = "multi_thread")]
async fn python_saves() {
    if !has_python() {
        return;
    }
    let larder = start().await;
    let project = new(&larder, "savehack").await;
    let said = cli(&larder, &project, &["test"]).await;
    assert!(said.contains("Ran 2 tests") && said.contains("OK"), "{said}");
    cli(&larder, &project, &["build"]).await;
    let (imports, exports) = world(&project);
    assert_eq!(exports, ["larder:function/handler@0.1.0"]);
    let granted = |name: &str| imports.contains(&format!("larder:function/{name}@0.1.0"));
    assert!(granted("savings") && granted("state") && !granted("events") && !granted("signing"), "{imports:?}");
    assert!(!imports.iter().any(|import| import.starts_with("wasi:")), "{imports:?}");

    let (_, run) = deployed_saves(&larder, &project, "20.00").await;
    assert_eq!(run["logs"], "saved 20.00 SEK\n");

    // Data of another shape, and a program that is built for another version of the interfaces.
    let enrolments = larder.api().get("/enrolments").await.is(200);
    let body = json!({ "body": json!({ "amount": 200.0, "currency": "SEK" }).to_string(),
        "enrolmentId": enrolments["enrolments"][0]["$id"] });
    let execution = larder.api().execute("python-savehack", body).await;
    let why = execution["errors"].as_str().expect("errors");
    assert!(why.contains("does not fit: data.amount must be text, not 200.0"), "{why}");

    let manifest = std::fs::read_to_string(project.join("larder.toml")).unwrap();
    let command = "sed -i 's/@0\\.1\\.0/@0.9.0/; s/larder:function@0.1.0/larder:function@0.9.0/' \
        .larder/build/wit/world.wit .larder/build/wit/deps/larder/larder.wit && .venv/bin/componentize-py -d \
        .larder/build/wit -w app componentize -p .larder/build/python -p .larder/sdk/python/src -p src entry -o app.wasm";
    let manifest = manifest.replace("[build]\n", &format!("[build]\ncommand = {command:?}\n"));
    std::fs::write(project.join("larder.toml"), manifest).unwrap();
    cli(&larder, &project, &["build"]).await;
    let (code, out, err) = larder.cli(&project, &["deploy"]).await;
    let said = format!("{out}{err}");
    assert!(code != 0 && said.contains("@0.9.0"), "{said}");
}

/// An example with the data that its tests read, in a folder of the test's own.
pub fn example(larder: &Larder, name: &str) -> PathBuf {
    let folder = larder.scratch().join("examples");
    std::fs::create_dir_all(&folder).unwrap();
    for part in [name, "events"] {
        let from = workspace().join("examples").join(part);
        let copied = Command::new("cp").arg("-R").arg(from).arg(&folder).status().expect("cp runs");
        assert!(copied.success());
    }
    folder.join(name)
}

/// The example passes its tests, and its tools are those of new projects.
#[tokio::test(flavor = "multi_thread")]
async fn example_comes_to_the_same() {
    if !has_python() {
        return;
    }
    let larder = start().await;
    let (example, project) = (example(&larder, "round-up-python"), new(&larder, "savehack").await);
    for file in ["requirements.txt", "requirements-dev.txt", "pyproject.toml"] {
        let read = |folder: &Path| std::fs::read_to_string(folder.join(file)).expect(file);
        assert_eq!(read(&example), read(&project), "{file} is the template's");
    }
    let said = cli(&larder, &example, &["test"]).await;
    assert!(said.contains("Ran 4 tests") && said.contains("OK"), "{said}");
}

/// A function of requests and of events that calls a service: what came of each.
const CALLER: &str = r#"
from larder_sdk import Event, Request, Response, Run, on_event, on_request


@on_event
def react(event: Event, run: Run) -> object:
    if "fault" in event.data:
        raise ValueError("a fault of the program")
    return getattr(run, "emit")("a.b")


@on_request
def call(request: Request, run: Run) -> Response:
    if request.path.endswith("/echo"):
        return Response(request.body, headers={"x-method": request.method})
    url = request.query.get("url", "http://service.upstream/echo")
    answer = run.fetch(url, method=request.method, json={"of": "Python"}).json(dict[str, str])
    return Response.json({"answered": answer["of"]}, status=201)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_requests_call_services() {
    if !has_python() {
        return;
    }
    let service = Outside::start().await;
    let larder = start().await;
    let project = new(&larder, "http").await;
    let said = cli(&larder, &project, &["test"]).await;
    assert!(said.contains("Ran 2 tests") && said.contains("OK"), "{said}");

    let url = format!("http://{}", service.address);
    cli(&larder, &project, &["upstream", "create", "service", "--url", &url, "--network", "127.0.0.0/8"]).await;
    std::fs::write(project.join("src/app.py"), CALLER).unwrap();
    let manifest = std::fs::read_to_string(project.join("larder.toml")).unwrap();
    let manifest = manifest.replace("[build]", "[grants]\nupstreams = [\"service\"]\n\n[build]");
    std::fs::write(project.join("larder.toml"), manifest.replace("# timeout", "events = [\"a.*\"]\n# timeout"))
        .unwrap();
    cli(&larder, &project, &["build"]).await;
    let (imports, exports) = world(&project);
    assert_eq!(exports, ["larder:function/handler@0.1.0", "wasi:http/incoming-handler@0.2.6"]);
    assert!(imports.contains(&"wasi:http/outgoing-handler@0.2.6".to_owned()), "{imports:?}");
    cli(&larder, &project, &["deploy"]).await;

    let ask = async |path: &str, body: &str| {
        let request = larder.web("demo", reqwest::Method::POST, &format!("/python-http{path}"));
        let answer = request.body(body.to_owned()).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    let long = "å".repeat(100_000);
    assert_eq!(ask("/echo", &long).await, (200, long.clone()));
    assert_eq!(ask("", "").await, (201, r#"{"answered":"Python"}"#.into()));
    for (path, status, why) in [
        ("http://service.upstream/text", 500, "does not fit"),
        ("http://service.upstream/missing", 500, "was answered 404"),
        ("http://service.upstream/close", 503, "failed: "),
        ("http://elsewhere.example/", 500, "was refused: HttpRequestDenied"),
        ("elsewhere", 500, "an address without a scheme cannot be sent"),
    ] {
        let (code, said) = ask(&format!("?url={path}"), "").await;
        assert!(code == status && said.contains(why), "{path}: {code} {said}");
    }
    within(Duration::from_secs(60), "the reason in the record", async || {
        let executions = larder.api().executions("python-http").await;
        let why = "an address without a scheme cannot be sent";
        let is_told = |errors: &str| errors.starts_with("the function answered 500\n") && errors.contains(why);
        executions.iter().any(|one| one["errors"].as_str().is_some_and(is_told)).then_some(())
    })
    .await;

    // A fault of the program is told with its place; so is a grant that no check has seen missing.
    for (id, data, why) in [
        ("1", json!({ "fault": true }), "File \"src/app.py\", line 8, in react\nValueError: a fault of the program\n"),
        ("2", json!({}), "events is not granted; add to larder.toml, below [grants]: events = [\"my-function.*\"]\n"),
    ] {
        larder.api().event(id, "a.b", None, data).await.is(202);
        within(Duration::from_secs(60), "the reason", async || {
            let executions = larder.api().executions("python-http").await;
            executions.into_iter().find(|one| one["errors"].as_str().is_some_and(|errors| errors.contains(why)))
        })
        .await;
    }
}

/// A mistake in `src/app.py`, and what `larder build` says of it.
struct Mistake {
    /// Stands above the function.
    above: &'static str,
    /// The function's last line.
    line: &'static str,
    says: &'static [&'static str],
}

const fn mistake(above: &'static str, line: &'static str, says: &'static [&'static str]) -> Mistake {
    Mistake { above, line, says }
}

const FUNCTION: &str = "from dataclasses import dataclass

from larder_sdk import Event, Money, Run, on_event


@dataclass
class Purchase:
    amount: str
    share: float = 0.1


@on_event
def save(event: Event[Purchase], run: Run) -> None:
    ";

const MISTAKES: [Mistake; 20] = [
    mistake("", "run.save(Money(12.5, \"SEK\"))", &["src/app.py:14: an amount is text", "Money(\"12.5\", …)"]),
    mistake("", "run.save(Money(12, \"SEK\"))", &["src/app.py:14: an amount is text", "Money(\"12\", …)"]),
    mistake("", "run.save(Money(event.data.share, \"SEK\"))", &["src/app.py:14: error", "\"float\"; expected \"str\""]),
    mistake("", "run.save(Money(\"9\", \"SEK\").percent(10))", &["src/app.py:14: error", "\"int\"; expected \"str\""]),
    mistake("", "run.save(event.data.amount)", &["src/app.py:14: error", "expected \"Money\""]),
    mistake("", "run.sav(event.data)", &["src/app.py:14: error", "has no attribute \"sav\""]),
    mistake("", "run.log(event.data.amout)", &["src/app.py:14: error", "has no attribute \"amout\""]),
    mistake("", "run.emit(\"a.b\")", &["src/app.py:14: run.emit: events is not granted; add to larder.toml, below"]),
    mistake("", "run.fetch(\"http://a.upstream/\")", &["src/app.py:14: run.fetch", "upstreams = [\"NAME\"]"]),
    mistake("", "run.log(", &["src/app.py:14: '(' was never closed"]),
    mistake("", "import requests", &["src/app.py:14: requests does not work here", "run.fetch"]),
    mistake("import sqlite3\n", "pass", &["src/app.py:1: sqlite3 does not work here"]),
    mistake("import cowsay\n", "pass", &["src/app.py:1: there is no module cowsay", "requirements.txt"]),
    mistake("from larder import Money\n", "pass", &["src/app.py:1: there is no module larder"]),
    mistake("async def later() -> None: ...\n", "pass", &["src/app.py:1: later is async", "remove async and await"]),
    mistake("import random\nDICE = random.random()\n", "pass", &["src/app.py:2: random.random()", "same in every run"]),
    mistake("import time\nNOW = time.time()\n", "pass", &["src/app.py:2: time.time()", "instead: event.time"]),
    mistake("import os\nKEY = os.environ[\"PATH\"]\n", "pass", &["src/app.py:2: os.environ['PATH']", "run.env"]),
    mistake(
        "",
        "pass\n\n\n@on_event\ndef b(e: list[int], r: Run) -> None:\n    pass",
        &["src/app.py:17: the argument event is"],
    ),
    mistake("", "pass\n\n\ndel save", &["src/app.py:1: there is no function; write `@on_event` above"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_answered_with_their_place() {
    if !has_python() {
        return;
    }
    let larder = start().await;
    let project = new(&larder, "savehack").await;
    let mut wrong = Vec::new();
    for Mistake { above, line, says } in MISTAKES {
        let code = format!("{above}{FUNCTION}{line}\n");
        std::fs::write(project.join("src/app.py"), &code).unwrap();
        let (status, out, err) = larder.cli(&project, &["build"]).await;
        let said = format!("{out}{err}");
        if status == 0 || !says.iter().all(|part| said.contains(part)) {
            wrong.push(format!("{above}… {line}\n→ {status}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(!project.join("app.wasm").exists());

    // The SDK's own types, by the checker that the project has.
    let mut mypy = Command::new(project.join(".venv/bin/python"));
    mypy.args(["-m", "mypy", "--cache-dir"])
        .arg(larder.scratch().join("mypy"))
        .current_dir(workspace().join("sdk/python"));
    let output = mypy.output().expect("mypy runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Without Python, with one that is too old, and in an environment that lacks what is pinned.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_installed_is_named_with_the_line_that_installs_it() {
    let larder = start().await;
    let project = new(&larder, "savehack").await;
    let folder = |name: &str| larder.scratch().join(name);
    let build = |variable: &str, value: &Path| {
        let mut build = Command::new(Larder::binary());
        build.arg("build").current_dir(&project).env_remove("VIRTUAL_ENV").env(variable, value);
        let output = build.output().expect("it runs");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let install = "install Python 3.10 or newer: apt-get install python3 python3-venv, brew install python, or";
    std::fs::create_dir_all(folder("empty")).unwrap();
    let said = build("PATH", &folder("empty"));
    assert!(said.contains(&format!("python3 is not installed; {install}")), "{said}");

    std::fs::create_dir_all(folder("old/bin")).unwrap();
    for name in ["python", "python3"] {
        use std::os::unix::fs::PermissionsExt as _;
        let file = folder("old/bin").join(name);
        std::fs::write(&file, "#!/bin/sh\necho '{\"version\": [3, 9]}'\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let said = build("VIRTUAL_ENV", &folder("old"));
    assert!(said.contains(&format!("bin/python is Python 3.9; {install}")), "{said}");

    if has_python() {
        let made = Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(folder("bare")).status();
        assert!(made.expect("python3 runs").success());
        let said = build("VIRTUAL_ENV", &folder("bare"));
        assert!(said.contains("componentize-py==0.25.0 is not installed in the active environment; run:"), "{said}");
        assert!(said.contains("bare/bin/python -m pip install --require-hashes -r requirements.txt"), "{said}");
    }
    std::fs::remove_file(project.join("requirements.txt")).unwrap();
    let said = build("PATH", &folder("empty"));
    assert!(said.contains("requirements.txt is not there; `larder new --lang python` makes a project"), "{said}");
}

/// The SDK's own tests.
#[tokio::test(flavor = "multi_thread")]
async fn sdk_tests_pass() {
    if !has_python() {
        return;
    }
    let mut tests = Command::new("python3");
    tests.args(["-m", "unittest", "discover", "-s", "tests"]).current_dir(workspace().join("sdk/python"));
    let output = tests.env("PYTHONPATH", "src").env("PYTHONDONTWRITEBYTECODE", "1").output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
