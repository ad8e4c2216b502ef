//! Programs of one engine: it is compiled for the first one, whoever has it, and the others find it.

use std::path::PathBuf;

use larder_tests::{Api, Larder, Options, both, guests};
use reqwest::Method;
use serde_json::json;

use super::{cli, javascript};

/// The host says so each time it compiles a module for all programs that have it.
const COMPILED: &str = "is compiled for all programs that have it";

/// The artifacts of modules: machine code, and what is known of it.
fn shared(larder: &Larder) -> Vec<PathBuf> {
    let files = std::fs::read_dir(larder.data().join("artifacts")).unwrap().map(|file| file.unwrap().path());
    let mut shared: Vec<PathBuf> = files.filter(|file| file.to_string_lossy().contains(".module.")).collect();
    shared.sort();
    shared
}

async fn deploy(api: &Api, name: &str, wasm: &[u8]) -> String {
    api.create_function(name, json!({})).await.is(201);
    let deployment = api.build(name, wasm, true).await;
    assert_eq!(deployment["status"], "ready", "{}", deployment["buildLogs"]);
    deployment["buildLogs"].as_str().expect("a log").to_owned()
}

async fn says_hello(api: &Api, function: &str) {
    let execution = api.execute(function, json!({ "method": "GET", "path": "/hello?name=Anna" })).await;
    assert_eq!(execution["responseBody"], "Hello, Anna!\n", "{execution:#}");
}

both!(an_engine_is_compiled_once_for_all_partners, async |on| {
    let mut larder = Larder::start_with(Options::on(on).fresh()).await;
    let key = larder.operator().make_partner("other").await;
    // The ports are new ones after each start.
    let other = |larder: &Larder| larder.api_of(Some("other"), Some(&key));
    let one = larder.api();
    let first = deploy(&one, "first", &guests::with_engine(1)).await;
    assert_eq!(larder.log().matches(COMPILED).count(), 1);
    let second = deploy(&other(&larder), "second", &guests::with_engine(2)).await;
    let third = deploy(&one, "third", &guests::with_engine(3)).await;
    assert_eq!((larder.log().matches(COMPILED).count(), shared(&larder).len()), (1, 2));
    // Whether another partner has it is not told.
    for log in [&first, &second, &third] {
        assert!(log.contains("\nand a core module of 204"), "{log}");
        assert_eq!(log.lines().count(), first.lines().count(), "{log}");
    }
    says_hello(&one, "first").await;
    says_hello(&other(&larder), "second").await;
    // It outlives the function that it was made for.
    one.delete("/functions/first").await.is(204);
    larder.kill();
    larder.restart().await;
    says_hello(&other(&larder), "second").await;
    assert_eq!(larder.log().matches(COMPILED).count(), 1);
    // What is lost or damaged is made again, once.
    for (times, file) in shared(&larder).iter().chain(&shared(&larder)).enumerate() {
        larder.kill();
        if times < 2 {
            std::fs::remove_file(file).unwrap();
        } else {
            let mut bytes = std::fs::read(file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(file, bytes).unwrap();
        }
        let before = larder.log().len();
        larder.restart().await;
        says_hello(&other(&larder), "second").await;
        says_hello(&larder.api(), "third").await;
        let log = larder.log()[before..].to_owned();
        let made = log.matches(COMPILED).count() + log.matches("the artifact of module").count();
        assert_eq!((made, shared(&larder).len()), (1, 2), "{}: {log}", file.display());
    }
});

/// With the tools of projects. Where node is missing, it says so.
#[tokio::test(flavor = "multi_thread")]
async fn quickjs_is_compiled_once() {
    if !javascript::has_node() {
        return;
    }
    let larder = Larder::start_with(Options::default().fresh().set("LARDER_BUILD__DEADLINE", "5m")).await;
    let project = javascript::new(&larder, "js").await;
    for (times, name) in ["one", "two"].into_iter().enumerate() {
        let code = format!(
            "import {{ defineFunction }} from \"@larder/sdk\";
             export default defineFunction({{ onRequest: () => \"this is {name}\" }});"
        );
        std::fs::write(project.join("src/index.js"), code).unwrap();
        let manifest = format!(
            "[function]\nid = \"{name}\"\nname = \"{name}\"\nroutes = [\"/{name}\"]\n[build]\nlanguage = \"js\"\n"
        );
        std::fs::write(project.join("larder.toml"), manifest).unwrap();
        cli(&larder, &project, &["build"]).await;
        let said = cli(&larder, &project, &["deploy"]).await;
        assert!(said.contains("and a core module of 13"), "{said}");
        assert_eq!((larder.log().matches(COMPILED).count(), shared(&larder).len()), (1, 2), "{times}");
        let answer = larder.web("demo", Method::GET, &format!("/{name}")).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), format!("this is {name}"));
    }
}
