//! Builds share their builders between partners, and one that kills its process does so a few times only.

use std::time::{Duration, Instant};

use larder_tests::hostile::Arena;
use larder_tests::hostile::bombs::slow_to_compile;
use larder_tests::hostile::corpus::{self, World};
use larder_tests::{Backend, Larder, Options, both, eventually, guests, within};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// Compiles for longer than any test lasts.
fn endless() -> Vec<u8> {
    slow_to_compile(&guests::guest("hello-http"), 600, 600, 1_000)
}

both!(a_partners_builds_do_not_hold_up_anothers, async |on| {
    let arena =
        Arena::with(Options::on(on).fresh().set("LARDER_BUILD__DEADLINE", "20s").set("LARDER_BUILD__AT_ONCE", "2"))
            .await;
    let bomb = endless();
    arena.api.create_function("slow", json!({})).await.is(201);
    for _ in 0..4 {
        arena.api.upload("slow", &bomb, false).await.is(202);
    }
    let building = async || {
        let deployments = arena.api.get("/functions/slow/deployments").await.is(200);
        let all = deployments["deployments"].as_array().expect("deployments").clone();
        let count = |status: &str| all.iter().filter(|deployment| deployment["status"] == status).count();
        (count("building"), count("failed"))
    };
    eventually("the first bomb", async || (building().await.0 == 1).then_some(())).await;
    // The neighbour's are built beside the first bomb.
    for name in ["one", "two", "three"] {
        arena.neighbour.deploy(name, &guests::guest("hello-http"), json!({})).await;
        arena.neighbour.deploy(&format!("{name}-more"), &guests::guest("hostile"), json!({})).await;
        let (under_way, ended) = building().await;
        assert!(under_way <= 1 && ended <= 1, "{under_way} under way, {ended} ended");
    }
});

// What it may is looked at before it is compiled: a missing line costs no compile.
both!(missing_grants_are_reported_before_compilation, async |on| {
    let larder = Larder::start_with(Options::on(on).fresh()).await;
    let api = larder.api();
    api.create_function("f", json!({})).await.is(201);
    let dear = slow_to_compile(&guests::guest("probe"), 600, 600, 1_000);
    let deployment = api.upload_asking("f", &dear, true, json!({ "state": true })).await.is(202);
    let deployment = eventually("the refusal", async || {
        let path = format!("/functions/f/deployments/{}", deployment["$id"].as_str().expect("an id"));
        let deployment = api.get(&path).await.is(200);
        (deployment["status"] == "failed").then_some(deployment)
    })
    .await;
    let log = deployment["buildLogs"].as_str().expect("logs");
    assert!(
        log.contains("error: it imports larder:function/savings, larder:function/events, and has no grant"),
        "{log}"
    );
    assert!(log.contains("transactions.SEK = {") && log.contains("events = [\"f.*\"]"), "{log}");
});

// Some toolchains import whatever a world has: nobody should ask for a right that no code uses.
#[tokio::test(flavor = "multi_thread")]
async fn refusal_says_which_imports_are_never_called() {
    let larder = Larder::start_with(Options::default().fresh()).await;
    let api = larder.api();
    let idle = r#"
(import "larder:function/state@0.1.0" "delete" (func $delete (param i32 i32 i32)))
(import "larder:function/savings@0.1.0" "create-transaction" (func $save (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(func $run (param i32 i32)
  (call $save (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64)))"#;
    api.create_function("idle", json!({})).await.is(201);
    let wasm = corpus::component(idle, World::Typed);
    let build = async |grants: serde_json::Value| {
        let deployment = api.upload_asking("idle", &wasm, true, grants).await.is(202);
        let deployment = api.built("idle", &deployment).await;
        (deployment["status"].clone(), deployment["buildLogs"].as_str().expect("logs").to_owned())
    };
    let (status, log) = build(json!({})).await;
    assert_eq!(status, "failed", "{log}");
    assert!(log.contains("Nothing in it calls larder:function/state: build it for a world without"), "{log}");
    assert!(log.contains("transactions.SEK") && !log.contains("state = true"), "{log}");
    let (status, log) = build(larder_tests::wide()).await;
    assert_eq!(status, "ready", "{log}");
    assert!(log.contains("imports and never calls: larder:function/state\n"), "{log}");
}

/// Stops the next process that compiles, a child of this one's, as soon as it is seen. To be called before the upload: a
/// compilation may be shorter than a request on a busy machine.
fn stop_next_compiler(larder: &Larder) -> std::thread::JoinHandle<Pid> {
    let tasks = format!("/proc/{}/task", larder.pid());
    std::thread::spawn(move || {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(60) {
            let threads = std::fs::read_dir(&tasks).expect("a process").flatten();
            let mut children = threads.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
            let child = children.find_map(|all| Pid::from_raw(all.split_whitespace().next()?.parse().ok()?));
            // Between its fork and its start it is no compiler yet, and the process waits for that start without a deadline.
            let runs = |child: &Pid| {
                let line = std::fs::read(format!("/proc/{}/cmdline", child.as_raw_nonzero())).unwrap_or_default();
                String::from_utf8_lossy(&line).contains("__compile")
            };
            if let Some(child) = child.filter(runs) {
                kill_process(child, Signal::STOP).expect("a grandchild of ours");
                return child;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("no compiler was started, or the kernel does not tell children")
    })
}

/// The process that [`stop_next_compiler`] stopped.
async fn stopped(compiler: std::thread::JoinHandle<Pid>) -> Pid {
    tokio::task::spawn_blocking(|| compiler.join().expect("a compiler")).await.expect("a thread")
}

#[tokio::test(flavor = "multi_thread")]
async fn build_deadline_counts_cpu_time() {
    let larder = Larder::start_with(Options::default().fresh().set("LARDER_BUILD__DEADLINE", "2s")).await;
    let api = larder.api();
    let component = corpus::one("time-go-starts").wasm;
    // Others have the machine for longer than the deadline.
    api.create_function("patient", json!({})).await.is(201);
    api.grant("patient", larder_tests::wide()).await;
    let compiler = stop_next_compiler(&larder);
    let deployment = api.upload("patient", &component, true).await.is(202);
    let compiler = stopped(compiler).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    kill_process(compiler, Signal::CONT).expect("a grandchild of ours");
    let deployment = api.built("patient", &deployment).await;
    assert_eq!(deployment["status"], "ready", "{deployment:#}");
    // And for so long that nothing is known of the upload at all: it is tried again.
    api.create_function("stopped", json!({})).await.is(201);
    api.grant("stopped", larder_tests::wide()).await;
    let again = [component, vec![0, 3, 1, b'x', b'y']].concat();
    let compiler = stop_next_compiler(&larder);
    let deployment = api.upload("stopped", &again, true).await.is(202);
    stopped(compiler).await;
    let deployment = api.built("stopped", &deployment).await;
    let log = deployment["buildLogs"].as_str().expect("logs");
    assert_eq!(deployment["status"], "ready", "{log}");
    assert_eq!(log.matches("did not finish; it is started again").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_whose_process_dies_again_and_again_is_given_up() {
    let options = Options::on(Backend::Embedded).fresh().set("LARDER_BUILD__DEADLINE", "10m");
    let mut larder = Larder::start_with(options).await;
    larder.api().create_function("deadly", json!({})).await.is(201);
    let deployment = larder.api().upload("deadly", &endless(), false).await.is(202);
    let path = format!("/functions/deadly/deployments/{}", deployment["$id"].as_str().expect("an id"));
    for lives in 0..4 {
        within(Duration::from_secs(30), "the build to begin", async || {
            let deployment = larder.api().get(&path).await.is(200);
            let log = deployment["buildLogs"].as_str().expect("logs");
            (deployment["status"] == "building" && log.matches("started again").count() == lives).then_some(())
        })
        .await;
        larder.kill();
        larder.restart().await;
    }
    let deployment = eventually("the build to be given up", async || {
        let deployment = larder.api().get(&path).await.is(200);
        (deployment["status"] == "failed").then_some(deployment)
    })
    .await;
    let log = deployment["buildLogs"].as_str().expect("logs");
    assert!(log.contains("error: 4 builds of it did not finish"), "{log}");
}
