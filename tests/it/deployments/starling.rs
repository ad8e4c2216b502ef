//! `engine = "starling"`: functions that wait, with web APIs, and the standard guests of wasi:http.
//!
//! A deploy takes half a minute, so `make test` has what needs none; `make languages` has the rest.

use std::path::Path;
use std::process::Command;

use larder_tests::outside::Outside;
use larder_tests::{Larder, Options};
use reqwest::Method;

use super::javascript::{has_node, new};
use super::{cli, deployed_saves};

fn write(project: &Path, name: &str, change: impl Fn(&str) -> String) {
    let file = project.join(name);
    let text = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(file, change(&text)).expect("a file");
}

/// A project for this engine. What `larder build` says of it, and that.
async fn starling(larder: &Larder) -> std::path::PathBuf {
    let project = new(larder, "ts").await;
    write(&project, "larder.toml", |text| text.replace("[build]\n", "[build]\nengine = \"starling\"\n"));
    project
}

/// The template's function, which waits.
const WAITS: &str = "import { type Event, Money, type Run, defineFunction } from \"@larder/sdk\";
async function onEvent(event: Event<{ amount: string; currency: string }>, run: Run) {
  const share = await Promise.resolve(\"10\");
  const saved = Money.of(event.data.amount, event.data.currency).percent(share);
  if (saved.isPositive) run.save(saved);
  run.log(`saved ${saved}`);
}
export default defineFunction<{ amount: string; currency: string }>({ onEvent });
";

#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_needs_is_named_and_functions_that_wait_are_tested() {
    if !has_node() {
        return;
    }
    let larder = Larder::start_with(Options::default()).await;
    let project = starling(&larder).await;
    let (status, out, err) = larder.cli(&project, &["build"]).await;
    assert_eq!(status, 2, "{out}{err}");
    let line = "jco is not installed here; add it: npm install --save-dev --save-exact @bytecodealliance/jco@1.35.0";
    assert!(err.contains(line), "{err}");

    std::fs::write(project.join("src/index.ts"), WAITS).unwrap();
    write(&project, "test/index.test.ts", |text| {
        let text = text.replace("() => {", "async () => {").replace("run.handle(", "(await run.handle(");
        text.replace(").saved", ")).saved").replace("\"5.00 SEK\"", "\"20.00 SEK\"")
    });
    let said = cli(&larder, &project, &["test"]).await;
    assert!(said.contains("pass 2"), "{said}");
    // The other engine does not wait, and says so.
    write(&project, "larder.toml", |text| text.replace("engine = \"starling\"", "engine = \"quickjs\""));
    let (status, out, err) = larder.cli(&project, &["build"]).await;
    assert!(status != 0 && err.contains("remove async and await, or set engine = \"starling\""), "{out}{err}");
    for (engine, language, says) in [
        ("starling", "c", "build.engine is for TypeScript and JavaScript"),
        ("v8", "ts", "build.engine must be \"quickjs\" or \"starling\""),
    ] {
        let text = format!("[function]\nid = \"a\"\n[build]\nlanguage = \"{language}\"\nengine = \"{engine}\"\n");
        std::fs::write(project.join("larder.toml"), text).unwrap();
        let (status, _, err) = larder.cli(&project, &["build"]).await;
        assert!(status == 2 && err.contains("larder.toml:5: ") && err.contains(says), "{err}");
    }
}

/// Answers requests, and asks a service meanwhile.
const ASKS: &str = "import { Response, defineFunction } from \"@larder/sdk\";
export default defineFunction({
  async onRequest(request, run) {
    if (request.query.has(\"sync\")) run.fetch(\"http://a.example/\");
    const url = request.query.get(\"url\");
    const answer = await globalThis.fetch(new URL(\"/x\", String(url)), { headers: { \"x-own\": \"a\" } });
    run.state.increment(\"asked\");
    return new Response(`${answer.status} ${await answer.text()}`, { status: 201 });
  },
});
";
/// A standard guest of wasi:http.
const LISTENS: &str = "addEventListener(\"fetch\", (event) => event.respondWith(answer(event.request)));
async function answer(request) {
  return new Response(`${request.method} ${new URL(request.url).pathname} ${await request.text()}`);
}
";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make languages"]
async fn functions_of_starling_save_answer_and_listen() {
    if !has_node() {
        return;
    }
    let larder = Larder::start_with(Options::default().set("LARDER_BUILD__DEADLINE", "15m")).await;
    let project = starling(&larder).await;
    // The line that the build says.
    let (_, _, err) = larder.cli(&project, &["build"]).await;
    let line = err.split("add it: ").nth(1).expect("a line").trim();
    let installed = Command::new("sh").args(["-c", line]).current_dir(&project).status().expect("npm runs");
    assert!(installed.success());
    std::fs::write(project.join("src/index.ts"), WAITS).unwrap();
    cli(&larder, &project, &["build"]).await;
    let (said, run) = deployed_saves(&larder, &project, "20.00").await;
    assert_eq!(run["logs"], "saved 20.00 SEK\n");
    assert!(!said.contains("outgoing-handler"), "it asks for what it does not use: {said}");

    let outside = Outside::start().await;
    let manifest = |grants: &str| {
        format!(
            "[function]\nid = \"web\"\nroutes = [\"/web\"]\n{grants}\n[build]\nlanguage = \"js\"\nengine = \"starling\"\n"
        )
    };
    let grant = format!(
        "[grants]\nstate = true\n[[grants.http]]\nscheme = \"http\"\nhosts = [\"{}\"]\nnetwork = \"127.0.0.0/8\"",
        outside.address
    );
    std::fs::write(project.join("larder.toml"), manifest(&grant)).unwrap();
    std::fs::write(project.join("src/index.js"), ASKS).unwrap();
    cli(&larder, &project, &["build"]).await;
    cli(&larder, &project, &["deploy"]).await;
    let ask = async |method: Method, path: String| {
        let answer = larder.web("demo", method, &path).body("hej").send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    let answered = ask(Method::GET, format!("/web?url=http://{}", outside.address)).await;
    assert_eq!(answered, (201, "200 hello".into()));
    assert_eq!(outside.asked()[0].header("x-own"), "a");
    assert_eq!(ask(Method::GET, "/web?url=http://not.granted.example".into()).await.0, 502);
    assert_eq!(ask(Method::GET, "/web?sync=1".into()).await.0, 502);
    let executions = larder.api().executions("web").await;
    let said = format!("{executions:?}");
    assert!(said.contains("write `await fetch(url)`"), "{said}");

    std::fs::write(project.join("larder.toml"), manifest("")).unwrap();
    std::fs::write(project.join("src/index.js"), LISTENS).unwrap();
    cli(&larder, &project, &["build"]).await;
    cli(&larder, &project, &["deploy"]).await;
    assert_eq!(ask(Method::POST, "/web/there".into()).await, (200, "POST /web/there hej".into()));
}
