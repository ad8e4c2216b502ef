//! Samples of everything but shells.

use larder_model::settings::{DEFAULTS, Settings};
use larder_tests::services::Database;
use larder_tests::{Api, Backend, Larder, guests, workspace};
use mysql_async::prelude::Queryable;
use reqwest::Method;

use super::markdown::{Fence, fences, pages};

use crate::deployments::{assemblyscript, javascript, python};

/// Samples that nothing can check: page, first line, reason. Everything else is checked by the kind of its fence.
const UNCHECKED: [(&str, &str, &str); 6] = [
    ("README.md", "http ──────┐", "a picture"),
    ("ARCHITECTURE.md", "trigger → execution", "a picture"),
    ("ARCHITECTURE.md", "larder → server", "the layers; `crates_use_only_what_stands_below_them` reads it"),
    (
        "docs/coming-from-appwrite.md",
        "$ appwrite login",
        "a transcript, whose commands `from_login_to_logout_the_command_line_works_unmodified` runs",
    ),
    ("examples/aggregator/README.md", "{\"goal\"", "an item of a feed, which may be any object"),
    (
        "docs/upstreams-and-feeds.md",
        "larder: GET",
        "a message, which `missing_and_ungranted_upstreams_are_refused_by_name` expects",
    ),
];

/// The guide whose samples are written in AssemblyScript.
const ASSEMBLYSCRIPT: &str = "docs/assemblyscript.md";

fn of(language: &str, target: &str) -> Vec<Fence> {
    let fits = |fence: &Fence| fence.language() == language && (target == "*" || fence.target() == target);
    let found: Vec<Fence> = fences().into_iter().filter(fits).collect();
    assert!(!found.is_empty(), "no {language} {target}");
    found
}

/// `sh` · `nft MACHINE` · `text larder doors` · `text curl` · `toml larder.toml` · `toml larder-server.toml` · `json METHOD /v1/PATH` · `rust FILE` · `ts FILE` · `js FILE` · `python FILE` · `wit` · `sql`
fn is_checked(fence: &Fence) -> bool {
    match (fence.language(), fence.target()) {
        ("sh" | "wit" | "sql", "") | ("toml", "larder.toml" | "larder-server.toml") => true,
        ("json", target) => target.contains(" /v1/"),
        // `the_command_line_prints_the_table_and_explains_a_request` compares it.
        ("text", "larder doors") => true,
        // `who_reaches_whom_in_one_two_and_three_tiers` loads them.
        ("nft", "front" | "core" | "data") => true,
        // `what_the_page_of_tls_shows_is_what_curl_says` runs it.
        ("text", "curl") => true,
        ("rust", target) => target.ends_with(".rs"),
        ("ts", target) => target.starts_with("src/") || target == "test/index.test.ts",
        ("js", "test/index.test.js") => true,
        ("python", target) => ["src/app.py", "tests/test_app.py"].contains(&target),
        _ => false,
    }
}

#[test]
fn every_sample_is_of_a_kind_that_is_checked() {
    let mut left: Vec<_> = UNCHECKED.to_vec();
    let mut wrong = vec![];
    for fence in fences().iter().filter(|fence| !is_checked(fence)) {
        let text = fence.text.trim_start();
        match left.iter().position(|(page, first, _)| fence.page == *page && text.starts_with(first)) {
            Some(known) => drop(left.remove(known)),
            None => wrong.push(format!("{}: `{}` is no kind of sample that is checked", fence.place(), fence.info)),
        }
    }
    for page in pages() {
        wrong.extend(page.indented().iter().map(|line| format!("{}: fence this: {line}", page.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(left.is_empty(), "these are gone: {left:?}");
    // A kind that is not known is found, and so is one that does not say what it is.
    let fence = |info: &str| Fence { page: "sample".into(), line: 1, info: info.into(), text: String::new() };
    for info in ["", "text", "python", "toml", "toml Cargo.toml", "json", "rust", "sh larder"] {
        assert!(!is_checked(&fence(info)), "{info}");
    }
    assert!(UNCHECKED.len() <= 6 && UNCHECKED.iter().all(|(_, _, reason)| !reason.is_empty()));
}

/// By a deploy: what the manifest's reader and the platform make of it.
#[tokio::test(flavor = "multi_thread")]
async fn manifests_can_be_deployed() {
    let larder = Larder::start_on(Backend::Embedded).await;
    let folder = larder.scratch().join("sample");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("sample.wasm"), guests::guest("hello-http")).unwrap();
    for fence in of("toml", "larder.toml") {
        let mut manifest = fence.text.clone();
        if !manifest.contains("[function]") {
            manifest = format!("[function]\nid = \"sample\"\n{manifest}");
        }
        manifest += "\n[build]\ncomponent = \"sample.wasm\"\n";
        std::fs::write(folder.join("larder.toml"), manifest).unwrap();
        let (code, out, err) = larder.cli(&folder, &["deploy"]).await;
        assert_eq!(code, 0, "{}: {out}{err}", fence.place());
    }
}

/// In a project: its tests run, and it is built.
#[tokio::test(flavor = "multi_thread")]
async fn typescript_samples_are_built() {
    if !javascript::has_node() {
        return;
    }
    let larder = Larder::start_on(Backend::Embedded).await;
    let project = javascript::new(&larder, "ts").await;
    for fence in of("ts", "*").into_iter().filter(|fence| fence.page != ASSEMBLYSCRIPT) {
        std::fs::write(project.join(fence.target()), &fence.text).unwrap();
    }
    for command in ["test", "build"] {
        let (code, out, err) = larder.cli(&project, &[command]).await;
        assert_eq!(code, 0, "larder {command}: {out}{err}");
    }
}

/// The same of AssemblyScript. Its compiler looks at what the entry reaches.
#[tokio::test(flavor = "multi_thread")]
async fn assemblyscript_samples_are_built() {
    if !javascript::has_node() {
        return;
    }
    let larder = Larder::start_on(Backend::Embedded).await;
    let project = assemblyscript::new(&larder, "savehack").await;
    let samples = of("ts", "*").into_iter().filter(|fence| fence.page == ASSEMBLYSCRIPT).chain(of("js", "*"));
    for fence in samples {
        let other = if fence.target() == "src/index.ts" { "import \"./hello\";\n" } else { "" };
        std::fs::write(project.join(fence.target()), format!("{other}{}", fence.text)).unwrap();
    }
    let (code, out, err) = larder.cli(&project, &["test"]).await;
    assert_eq!(code, 0, "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn python_samples_are_built() {
    if !python::has_python() {
        return;
    }
    let larder = Larder::start_on(Backend::Embedded).await;
    let project = python::new(&larder, "savehack").await;
    for fence in of("python", "*") {
        std::fs::write(project.join(fence.target()), &fence.text).unwrap();
    }
    for command in ["test", "build"] {
        let (code, out, err) = larder.cli(&project, &[command]).await;
        assert_eq!(code, 0, "larder {command}: {out}{err}");
    }
}

#[test]
fn settings_of_the_server_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    for fence in of("toml", "larder-server.toml") {
        let file = folder.path().join("larder-server.toml");
        std::fs::write(&file, &fence.text).unwrap();
        let taken = Settings::load(Some(&file), &[]);
        assert!(taken.is_ok(), "{}: {}", fence.place(), taken.unwrap_err());
    }
}

/// `section.key` for each setting there is.
fn settings() -> Vec<String> {
    let (mut names, mut section) = (vec![], "");
    for line in DEFAULTS.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !section.is_empty()) {
            names.push(format!("{section}.{key}"));
        }
    }
    names
}

/// Settings within the text, such as `worker.lease`.
#[test]
fn every_setting_within_the_text_exists() {
    let known = settings();
    let sections: Vec<&str> = known.iter().map(|name| name.split('.').next().unwrap()).collect();
    let (mut checked, mut wrong) = (0, vec![]);
    for page in pages().iter().filter(|page| page.name.starts_with("docs/") || !page.name.contains('/')) {
        for span in page.spans() {
            let Some((section, key)) = span.split_once('.') else { continue };
            let is_name = key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            // Scopes look alike, and so do files.
            if !is_name || !sections.contains(&section) || ["read", "write", "toml", "rs", "md"].contains(&key) {
                continue;
            }
            checked += 1;
            if !known.contains(&span) {
                wrong.push(format!("{}: {span} is no setting", page.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 40, "{checked}");
}

/// `json POST /v1/events`: the body is sent there. The functions `round-up` and `x` exist.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_taken_by_the_api() {
    let larder = Larder::start_on(Backend::Embedded).await;
    let api = larder.api();
    api.deploy("round-up", &guests::guest("round-up"), serde_json::json!({ "per": "enrolment" })).await;
    for fence in of("json", "*").into_iter().filter(is_checked) {
        let (method, path) = fence.target().split_once(" /v1").unwrap();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let kind = if path == "/events" { "application/cloudevents+json" } else { "application/json" };
        let request = api.request(method, path).header("content-type", kind).body(fence.text.clone());
        let answer = Api::send(request).await;
        assert!((200..300).contains(&answer.status), "{}: {answer:?}", fence.place());
    }
}

/// `rust FILE`: the sample stands in that file, word for word, and the file is one of the modules below.
#[test]
fn rust_samples_are_compiled() {
    for fence in of("rust", "*") {
        let name = fence.target().strip_prefix("tests/it/documentation/").expect("a file beside this one");
        assert!(include_str!("samples.rs").contains(&format!("#[path = \"{name}\"]\nmod ")), "{}", fence.place());
        let file = workspace().join(fence.target());
        let source = std::fs::read_to_string(&file).unwrap_or_else(|err| panic!("{}: {err}", fence.place()));
        let plain = |text: &str| text.lines().map(str::trim_start).collect::<Vec<_>>().join("\n");
        assert!(
            plain(&source).contains(plain(&fence.text).trim_end()),
            "{} is not in {}",
            fence.place(),
            fence.target()
        );
    }
}

#[path = "code/greet.rs"]
mod greet;
#[path = "code/share.rs"]
mod share;
#[path = "code/spare_change.rs"]
mod spare_change;

#[test]
fn worlds_are_read() {
    for fence in of("wit", "") {
        let mut resolve = wit_parser::Resolve::default();
        resolve.push_dir(workspace().join("sdk/wit")).expect("the world of Larder");
        let package =
            resolve.push_str("sample.wit", &fence.text).unwrap_or_else(|err| panic!("{}: {err:#}", fence.place()));
        assert!(!resolve.packages[package].worlds.is_empty(), "{}", fence.place());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_taken_by_mariadb() {
    let database = Database::create().await;
    let mut connection = database.connect().await;
    for fence in of("sql", "") {
        let name = format!("{}_sample", database.name());
        let statement = fence.text.replace("DATABASE larder ", &format!("DATABASE {name} "));
        assert_ne!(statement, fence.text, "{} is run in a database of the test's own", fence.place());
        let taken = connection.query_drop(statement).await;
        assert!(taken.is_ok(), "{}: {taken:?}", fence.place());
        connection.query_drop(format!("DROP DATABASE {name}")).await.unwrap();
    }
}

/// Links within the repository.
#[test]
fn every_link_leads_to_a_file() {
    let (mut checked, mut wrong) = (0, vec![]);
    for page in pages() {
        let folder = workspace().join(&page.name).parent().unwrap().to_owned();
        for rest in page.prose().split("](").skip(1) {
            let link = rest.split([')', '#']).next().unwrap();
            if link.is_empty() || link.contains("://") {
                continue;
            }
            checked += 1;
            if !folder.join(link).exists() {
                wrong.push(format!("{}: {link}", page.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 60, "{checked}");
}
