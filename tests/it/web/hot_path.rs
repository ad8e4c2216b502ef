//! The path of a warm call: a synchronous call without effects makes no statement before it answers.

use larder_tests::{Larder, Options, both, guests};
use reqwest::Method;
use serde_json::json;

both!(warm_calls_without_effects_make_no_statement, async |on| {
    // Nothing looks by itself, so that whatever is counted was made by the calls.
    let quiet = Options::on(on)
        .set("LARDER_WORKER__POLL", "1h")
        .set("LARDER_WORKER__LEASE", "1h")
        .set("LARDER_SCHEDULER__POLL", "1h")
        .set("LARDER_RECORDS__ALL", "false");
    let larder = Larder::start_with(quiet).await;
    let settings = json!({ "routes": ["/hello"], "execute": ["any"] });
    larder.api().deploy("hello", &guests::guest("hello-http"), settings).await;
    let rule = json!({ "domain": "hello.functions.localhost", "functionId": "hello" });
    larder.api().post("/proxy/rules/function", rule).await.is(201);
    for host in ["demo.localhost", "hello.functions.localhost"] {
        let call = async || {
            let answer = larder.at(host, Method::GET, "/hello").send().await.unwrap();
            assert_eq!(answer.status(), 200);
            answer.bytes().await.unwrap();
        };
        call().await;
        // Retention looks once a minute, and a wake-up may still be on its way: the smallest of a few rounds counts.
        let mut rounds = Vec::new();
        for _ in 0..3 {
            let before = statements(&larder).await;
            for _ in 0..50 {
                call().await;
            }
            rounds.push(statements(&larder).await - before);
        }
        assert!(rounds.contains(&0), "statements in rounds of 50 calls at {host}: {rounds:?}");
    }
    // The counter does count: a list call reads.
    let before = statements(&larder).await;
    larder.api().get("/functions").await.is(200);
    assert!(statements(&larder).await > before);
});

async fn statements(larder: &Larder) -> u64 {
    let (_, page) = larder.internal("/metrics").await;
    let lines = page.lines().filter(|line| line.starts_with("larder_store_statements_total{"));
    let counts: Vec<u64> = lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(!counts.is_empty(), "nothing is counted:\n{page}");
    counts.iter().sum()
}
