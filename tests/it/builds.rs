//! Builds share their builders between partners, and one that kills its process does so a few times only.

use std::time::Duration;

use larder_tests::hostile::Arena;
use larder_tests::hostile::bombs::slow_to_compile;
use larder_tests::{Backend, Larder, Options, both, eventually, guests, within};
use serde_json::json;

/// Compiles for longer than any test lasts.
fn endless() -> Vec<u8> {
    slow_to_compile(&guests::guest("hello-http"), 600, 600, 1_000)
}

both!(a_partners_builds_do_not_hold_up_anothers, async |on| {
    let arena =
        Arena::with(Options::on(on).set("LARDER_BUILD__DEADLINE", "20s").set("LARDER_BUILD__AT_ONCE", "2")).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_build_whose_process_dies_again_and_again_is_given_up() {
    let options = Options::on(Backend::Embedded).set("LARDER_BUILD__DEADLINE", "10m");
    let mut larder = Larder::start_with(options).await;
    larder.api().create_function("deadly", json!({})).await.is(201);
    let deployment = larder.api().upload("deadly", &endless(), false).await.is(202);
    let path = format!("/functions/deadly/deployments/{}", deployment["$id"].as_str().expect("an id"));
    for lives in 0..4 {
        within(Duration::from_secs(30), "the build to begin", async || {
            let deployment = larder.api().get(&path).await.is(200);
            let log = deployment["buildLogs"].as_str().expect("logs");
            (deployment["status"] == "building" && log.matches("begins again").count() == lives).then_some(())
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
    assert!(log.ends_with("error: 4 processes died while they built it\n"), "{log}");
}
