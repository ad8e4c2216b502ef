//! TypeScript and JavaScript: from an empty folder to a saving, and what mistakes are answered with.
//!
//! Where node is missing, the tests say loudly what they did not show.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use larder_tests::outside::Outside;
use larder_tests::{Larder, Options, quickjs, within, workspace};
use reqwest::Method;
use serde_json::json;

use super::{cli, deployed_greets, deployed_saves, python};

/// Can projects be built here?
pub fn has_node() -> bool {
    let found = quickjs::has_node();
    if !found {
        eprintln!("SKIPPED: node or npm is missing: no project in TypeScript or JavaScript was built");
    }
    found
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
    let (_, run) = deployed_saves(&larder, &project, "20.00").await;
    assert_eq!(run["logs"], "saved 20.00 SEK\n");
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

/// An HTTP function of the template, and one that calls what it is granted.
#[tokio::test(flavor = "multi_thread")]
async fn http_functions_answer_and_call_outside_services() {
    if !has_node() {
        return;
    }
    let larder = Larder::start_with(Options::default().set("LARDER_BUILD__DEADLINE", "5m")).await;
    cli(&larder, larder.scratch(), &["new", "hello", "--lang", "ts", "--template", "http"]).await;
    let project = larder.scratch().join("hello");
    let said = cli(&larder, &project, &["test"]).await;
    assert!(said.contains("pass 2"), "{said}");
    cli(&larder, &project, &["build"]).await;
    let said = deployed_greets(&larder, &project).await;
    assert!(!said.contains("outgoing-handler"), "it asks for what it does not use: {said}");

    let outside = Outside::start().await;
    let code = "import { defineFunction } from \"@larder/sdk\";
        export default defineFunction({
          onRequest(request, run) {
            if (request.path.endsWith(\"/random\")) return String(Math.random());
            if (request.path.endsWith(\"/asked\")) return String(run.state.get(\"asked\"));
            run.state.increment(\"asked\");
            const url = request.query.get(\"url\") ?? \"\";
            const body = request.method === \"POST\" ? request.bytes() : undefined;
            const answer = run.fetch(url, { method: request.method, body, headers: { \"X-Own\": \"a\" } });
            if (request.query.has(\"throw\")) answer.orThrow();
            return { status: answer.status, text: answer.text(), size: answer.headers.get(\"Content-Length\") };
          },
        });";
    std::fs::write(project.join("src/index.ts"), code).unwrap();
    let manifest = std::fs::read_to_string(project.join("larder.toml")).unwrap();
    let granted = format!(
        "[grants]\nstate = true\n[[grants.http]]\nscheme = \"http\"\nhosts = [\"{}\"]\nmethods = [\"GET\", \"POST\"]\n\
         network = \"127.0.0.0/8\"\nbytes = 4194304\n",
        outside.address
    );
    std::fs::write(project.join("larder.toml"), format!("{manifest}\n{granted}")).unwrap();
    cli(&larder, &project, &["build"]).await;
    cli(&larder, &project, &["deploy"]).await;
    let ask = async |method: Method, path: &str, more: &str, body: Vec<u8>| {
        let target = format!("/hello?url=http://{}{path}{more}", outside.address);
        let answer = larder.web("demo", method, &target).body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let answered = ask(Method::GET, "/x", "", vec![]).await;
    assert_eq!(answered, (200, "{\"status\":200,\"text\":\"hello\",\"size\":\"5\"}".into()));
    let sent = vec![b'x'; 300_000];
    assert_eq!(ask(Method::POST, "/x", "", sent.clone()).await.0, 200);
    let asked = outside.asked();
    assert_eq!((asked[0].header("x-own").as_str(), asked[1].body == sent), ("a", true));
    // What the service answers, and what it does not.
    assert_eq!(ask(Method::GET, "/missing", "", vec![]).await.0, 200);
    assert_eq!(ask(Method::GET, "/missing", "&throw", vec![]).await.0, 500);
    assert_eq!(ask(Method::GET, "/short", "", vec![]).await.0, 503);
    // More than 1 MiB is not read.
    assert_eq!(ask(Method::GET, "/big?bytes=2000000", "", vec![]).await.0, 500);
    // Not granted.
    assert_eq!(ask(Method::DELETE, "/x", "", vec![]).await.0, 500);
    let asked = larder.web("demo", Method::GET, "/hello/asked").send().await.unwrap().text().await.unwrap();
    assert_eq!(asked, "3", "what a run did that failed was applied");
    // What was wrong is in the records, and not only in the answers.
    within(Duration::from_secs(60), "the records", async || {
        let executions = larder.api().executions("hello").await;
        let told =
            |why: &str| executions.iter().any(|one| one["errors"].as_str().is_some_and(|it| it.starts_with(why)));
        (told("the function answered 500\n") && told("the function answered 503\n")).then_some(())
    })
    .await;
    let random = async || larder.web("demo", Method::GET, "/hello/random").send().await.unwrap().text().await.unwrap();
    assert_ne!(random().await, random().await);
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
