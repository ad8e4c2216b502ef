//! How starts, memory and deploys depend on what is deployed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use larder_tests::services::free_port;
use larder_tests::{Api, Larder, Options, workspace};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bare::Bare;
use crate::durable::{Durable, PARTNER};
use crate::guests::{self, HELLO, HELLO_PATH, Hellos};
use crate::load::{self, Connection};
use crate::measure::{Kind, Line, Row, median, microseconds, verdict};
use crate::{Plan, machine, say};

const START_MAX: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(60);

/// From the start of the process to its first answer, which is that of one of many functions.
pub async fn start(plan: &Plan) -> anyhow::Result<Vec<Line>> {
    say("process starts");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let options = Options { listen: address.to_string(), ..Options::default() };
    let mut bench = Durable::start(options).await?;
    bench.api.deploy("hello", &guests::Hellos::build().raw, json!({ "routes": [HELLO_PATH] })).await;
    let (mut lines, mut made, mut first) = (vec![], 1, None);
    for &wanted in plan.deployed {
        say(&format!("process starts, {wanted} functions"));
        bench.functions(PARTNER, made, wanted).await?;
        made = wanted;
        let mut took = Vec::new();
        for _ in 0..plan.rounds {
            bench.larder.kill();
            let begun = Instant::now();
            let answered = tokio::task::spawn_blocking(move || first_answer(address, &route(wanted - 1)));
            bench.larder.restart().await;
            took.push((answered.await?? - begun).as_nanos() as f64);
        }
        let took = median(took);
        let note = match first {
            None => String::new(),
            Some(first) => format!("{:.2} of the first", took / first),
        };
        first.get_or_insert(took);
        let name = format!("start to the first answer, {wanted} functions");
        lines.push(Line::at_most(name, Duration::from_nanos(took as u64), START_MAX, &note));
    }
    Ok(lines)
}

/// Where the copy `n` of the function `hello` is served.
pub fn route(n: u64) -> String {
    format!("/copy/{n}")
}

impl Durable {
    /// Copies of the function `hello` with its deployment, as many as make `to` functions of `from`. The process is not told.
    pub async fn functions(&self, partner: &str, from: u64, to: u64) -> anyhow::Result<()> {
        let (deployment, id) = (
            format!("CONCAT('01kb9z', LPAD(n + {}, 20, '0'))", from - 1),
            format!("CONCAT('copy-', n + {})", from - 1),
        );
        let routes = format!("CONCAT('[\"/copy/', n + {}, '\"]')", from - 1);
        let partner = format!("'{partner}'");
        let of = "t.partner_id = 'demo' AND t.id = 'hello'";
        let function = [
            ("partner_id", partner.as_str()),
            ("id", &id),
            ("name", &id),
            ("routes", &routes),
            ("deployment_id", &deployment),
        ];
        let active = "t.partner_id = 'demo' AND t.id = (SELECT deployment_id FROM functions WHERE partner_id = 'demo' AND id = 'hello')";
        let deployed = [("partner_id", partner.as_str()), ("id", &deployment), ("function_id", &id)];
        self.copies("deployments", active, &deployed, to - from).await?;
        self.copies("functions", of, &function, to - from).await
    }
}

/// Asks until it is answered, and gives the moment.
fn first_answer(address: SocketAddr, path: &str) -> anyhow::Result<Instant> {
    let begun = Instant::now();
    let request = load::get(path);
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(&request)?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(answer == *b"HTTP/1.1 200")
    };
    while !ask().unwrap_or(false) {
        anyhow::ensure!(begun.elapsed() < PATIENCE, "nobody answers {path}");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(Instant::now())
}

/// The memory of a process that has called many functions once, each of another program: of Rust, and of JavaScript on one engine.
pub async fn density(plan: &Plan, hellos: &Hellos) -> anyhow::Result<Vec<Line>> {
    let mut lines = vec![dense(plan, "functions", plan.dense, &hellos.raw).await?];
    lines.push(match quickjs() {
        Some(wasm) => dense(plan, "functions in JavaScript", plan.dense / 5, &wasm).await?,
        None => Line::said("memory, functions in JavaScript", "needs node and npm"),
    });
    Ok(lines)
}

/// A function in JavaScript that greets.
fn quickjs() -> Option<Vec<u8>> {
    let manifest = "[function]\nid = \"greet\"\nname = \"greet\"\nroutes = [\"/\"]\n[build]\nlanguage = \"js\"\n";
    let code = "import { defineFunction } from \"@larder/sdk\";
        export default defineFunction({ onRequest: () => \"Hello, world!\\n\" });";
    larder_tests::quickjs::has_node()
        .then(|| larder_tests::quickjs::build(manifest, &[("index.js".into(), code.into())]))
}

async fn dense(plan: &Plan, what: &str, count: u32, wasm: &[u8]) -> anyhow::Result<Line> {
    const MOST: u64 = 300 << 20;
    say(&format!("density: deploying {count} {what}"));
    let mut larder = Larder::start_with(Options::default()).await;
    let api = larder.api();
    for n in 0..count {
        let routes = json!({ "routes": [route(n.into())] });
        api.deploy(&format!("hello-{n}"), &guests::distinct(wasm, n), routes).await;
    }
    larder.kill();
    larder.restart().await;
    say("density: calls and rest");
    let started = machine::memory(larder.pid())?;
    let mut connection = Connection::open(larder.address().parse()?).await?;
    for n in 0..count {
        let answer = connection.call(&load::get(&route(n.into()))).await?;
        anyhow::ensure!(answer.status == 200 && answer.body == HELLO, "answered {}", answer.status);
    }
    let called = machine::memory(larder.pid())?;
    tokio::time::sleep(plan.idle).await;
    let idle = machine::memory(larder.pid())?;
    let met = verdict(idle.resident_bytes <= MOST);
    let text = format!(
        "at the start {started}, then {called}, after {:?} of rest {idle}; at most {} MiB resident at rest {met}",
        plan.idle,
        MOST >> 20
    );
    Ok(Line::said(format!("memory, {count} {what} called once"), text))
}

/// From the upload until it is ready, beside the compiler alone with the same settings.
pub async fn deploys(plan: &Plan, hellos: &Hellos) -> anyhow::Result<Vec<Line>> {
    say("deploys");
    let larder = Larder::start_with(Options::default().fresh().set("LARDER_BUILD__DEADLINE", "15m")).await;
    let api = larder.api();
    let folder = TempDir::new()?;
    let mut programs = vec![("Rust", hellos.sdk.clone(), plan.rounds * 2)];
    let mut lines = vec![];
    if let Some(wasm) = quickjs() {
        // The first one has its engine compiled.
        programs.push(("JavaScript on QuickJS", wasm, 5));
    }
    match javascript(plan) {
        Ok(wasm) => programs.push(("JavaScript on StarlingMonkey", wasm, 2)),
        Err(why) => lines.push(Line::said("deploy, JavaScript", why)),
    }
    for (at, (language, wasm, rounds)) in programs.into_iter().enumerate() {
        let id = format!("deployed-{at}");
        api.create_function(&id, json!({})).await.is(201);
        api.grant(&id, larder_tests::wide()).await;
        let mut row =
            Row::new(format!("deploy, {language}, upload to ready"), Kind::Latency, None).against("bare compile");
        for round in 0..rounds {
            let distinct = guests::distinct(&wasm, round);
            for side in plan.order(round) {
                let begun = Instant::now();
                match side.is_bare() {
                    true => Bare::compile_as_larder(&distinct, &folder.path().join("code"))?,
                    false => deploy(&api, &id, &distinct).await?,
                }
                side.of(&mut row).add_latencies(vec![begun.elapsed().as_nanos() as u64]);
            }
        }
        let most = row.bare.median() * 1.2 + 100e6;
        row.note = format!("at most {} {}", microseconds(most), verdict(row.larder.median() <= most));
        lines.insert(at, row.into());
    }
    Ok(lines)
}

async fn deploy(api: &Api, function: &str, wasm: &[u8]) -> anyhow::Result<()> {
    let deployment = api.upload(function, wasm, true).await.is(202);
    let path = format!("/functions/{function}/deployments/{}", deployment["$id"].as_str().unwrap_or_default());
    let begun = Instant::now();
    loop {
        let status: Value = api.get(&path).await.is(200)["status"].clone();
        if status == "ready" {
            return Ok(());
        }
        anyhow::ensure!(status != "failed" && begun.elapsed() < 10 * PATIENCE, "the deployment is {status}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The component of the tests' JavaScript guest, or why there is none.
fn javascript(plan: &Plan) -> Result<Vec<u8>, &'static str> {
    if plan.is_quick {
        return Err("not in a quick run");
    }
    let runs = |tool| Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if !runs("node") || !runs("npm") || !runs("python3") {
        return Err("needs node, npm and python3: apt-get install nodejs npm python3-venv");
    }
    // Where the tests keep theirs.
    let cache: PathBuf = larder_tests::guests::target_folder().join("toolchains");
    let built = Command::new(workspace().join("tests/guests/build.sh"))
        .arg(cache.join("out"))
        .arg("js-http")
        .env("LARDER_GUEST_CACHE", &cache)
        .status();
    if !built.is_ok_and(|status| status.success()) {
        return Err("tests/guests/build.sh does not build js-http here");
    }
    std::fs::read(cache.join("out/js-http.wasm")).map_err(|_| "tests/guests/build.sh left no js-http.wasm")
}
