//! Answers that leave while their guest runs, and those that must not.

use std::time::{Duration, Instant};

use bytes::Bytes;
use larder_tests::{Api, Larder, both, eventually, guests};
use reqwest::{Body, Method, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;

async fn deploy(larder: &Larder, guest: &str, limits: Value, timeout: u32) -> Api {
    let api = larder.api();
    let settings = json!({ "routes": [format!("/{guest}")], "limits": limits, "timeout": timeout });
    api.deploy(guest, &guests::guest(guest), settings).await;
    api
}

fn execution_id(answer: &Response) -> String {
    answer.headers()["x-appwrite-execution-id"].to_str().expect("an id").to_owned()
}

async fn ended(api: &Api, function: &str, id: &str) -> Value {
    let path = format!("/functions/{function}/executions/{id}");
    eventually("the record of the execution", async || {
        let answer = api.get(&path).await;
        (answer.status == 200).then_some(answer.body)
    })
    .await
}

/// Reads until the text is there; the body may go on.
async fn read(answer: &mut Response, text: &str) {
    let mut seen = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&seen).contains(text) {
            seen.extend(answer.chunk().await.expect("a body that goes on").expect("more of it"));
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap_or_else(|_| panic!("no {text:?} comes"));
}

// The client sends each part only when it has seen the echo of the one before, so neither body can have been held back.
both!(both_bodies_stream_at_the_same_time, async |on| {
    let larder = Larder::start_on(on).await;
    let api = deploy(&larder, "hostile", json!({}), 25).await;
    let (parts, body) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = futures::stream::unfold(body, async |mut body| Some((body.recv().await?, body)));
    parts.send(Ok("first ".into())).await.expect("room");
    let call = larder.web("demo", Method::POST, "/hostile/echo").body(Body::wrap_stream(Box::pin(body)));
    let mut answer = call.send().await.expect("a head before the body's end");
    assert_eq!(answer.status(), 200);
    read(&mut answer, "first ").await;
    for part in ["second ", "third "] {
        parts.send(Ok(part.into())).await.expect("room");
        read(&mut answer, part).await;
    }
    drop(parts);
    assert_eq!(answer.chunk().await.expect("a clean end"), None);
    assert_eq!(ended(&api, "hostile", &execution_id(&answer)).await["status"], "completed");
});

// A client that gives up in the middle of its body leaves a guest that is told so, and no complete answer.
both!(interrupted_request_is_not_complete, async |on| {
    let larder = Larder::start_on(on).await;
    let api = deploy(&larder, "hostile", json!({}), 25).await;
    let (parts, body) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = futures::stream::unfold(body, async |mut body| Some((body.recv().await?, body)));
    parts.send(Ok("first ".into())).await.expect("room");
    let call = larder.web("demo", Method::POST, "/hostile/echo").body(Body::wrap_stream(Box::pin(body)));
    let mut answer = call.send().await.expect("a head");
    read(&mut answer, "first ").await;
    let id = execution_id(&answer);
    let _ = parts.send(Err(std::io::Error::other("gone"))).await;
    drop(answer);
    let execution = ended(&api, "hostile", &id).await;
    assert_eq!(execution["status"], "failed", "{execution:#}");
});

both!(a_slow_client_slows_the_guest_and_gets_everything, async |on| {
    const BYTES: usize = 24 << 20;
    let larder = Larder::start_on(on).await;
    // More than all socket buffers on the way hold; the guest gets no further while nobody reads.
    let api = deploy(&larder, "hostile", json!({ "responseBytes": 32 << 20, "cpuMs": 20_000 }), 2).await;
    let pour = format!("/hostile/pour?{BYTES}");
    let unread = larder.web("demo", Method::GET, &pour).send().await.expect("a head");
    let execution = ended(&api, "hostile", &execution_id(&unread)).await;
    let errors = execution["errors"].as_str().expect("errors");
    assert!(errors.contains("limit wall_ms of 2000 exceeded"), "it did not wait for its client: {execution:#}");
    drop(unread);

    let patient = json!({
        "name": "hostile", "routes": ["/hostile"], "timeout": 30,
        "limits": { "responseBytes": 32 << 20, "cpuMs": 20_000 },
    });
    api.put("/functions/hostile", patient).await.is(200);
    let mut answer = larder.web("demo", Method::GET, &pour).send().await.expect("a head");
    let id = execution_id(&answer);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (poured, mut at) = (guests::poured(BYTES), 0);
    while let Some(chunk) = answer.chunk().await.expect("a body") {
        assert!(poured[at..].starts_with(&chunk), "from byte {at} on");
        at += chunk.len();
    }
    assert_eq!(at, BYTES);
    assert_eq!(ended(&api, "hostile", &id).await["status"], "completed");
});

both!(guest_stops_when_its_client_disconnects, async |on| {
    let larder = Larder::start_on(on).await;
    let api = deploy(&larder, "hostile", json!({ "cpuMs": 20_000 }), 30).await;
    let begun = Instant::now();
    let mut answer = larder.web("demo", Method::GET, "/hostile/drip").send().await.expect("a head");
    let id = execution_id(&answer);
    read(&mut answer, "drop\ndrop\n").await;
    drop(answer);
    let execution = ended(&api, "hostile", &id).await;
    assert!(begun.elapsed() < Duration::from_secs(25), "it ran to its timeout");
    assert_eq!(execution["status"], "failed");
    assert!(execution["errors"].as_str().expect("errors").contains("the client went away"), "{execution:#}");
});

// Its answer was whole before it saved; the client sees it after both have committed.
both!(response_with_effects_is_sent_after_the_commit, async |on| {
    let larder = Larder::start_on(on).await;
    let api = deploy(&larder, "hostile-saver", json!({}), 15).await;
    api.enrol("hostile-saver", "anna", "everyone", json!({})).await;
    for call in 1..=5 {
        let answer = larder.web("demo", Method::GET, "/hostile-saver/answer-first").send().await.expect("a head");
        // At the head already: no body has been read.
        let transactions = api.transactions().await;
        assert_eq!(transactions.len(), call);
        assert!(transactions[call - 1]["$id"].as_str().expect("an id").starts_with(&execution_id(&answer)));
        // From a buffer: its length is known.
        assert_eq!(answer.headers()["content-length"], "23");
        assert_eq!(answer.text().await.expect("a body"), "said before it was done");
    }
});

// Hanging up neither stops a call in the middle nor hides it: what it did takes effect, what it used is recorded.
both!(call_is_recorded_when_its_client_disconnects_early, async |on| {
    let larder = Larder::start_on(on).await;
    let saver = deploy(&larder, "hostile-saver", json!({}), 15).await;
    let api = deploy(&larder, "hostile", json!({ "cpuMs": 500 }), 15).await;
    saver.enrol("hostile-saver", "anna", "everyone", json!({})).await;
    // Warm, so that the calls have begun when their clients hang up.
    for function in ["hostile", "hostile-saver"] {
        assert_eq!(larder.web("demo", Method::GET, &format!("/{function}/fine")).send().await.unwrap().status(), 200);
    }
    for (function, path) in [("hostile-saver", "answer-first"), ("hostile", "spin")] {
        let call = larder.web("demo", Method::GET, &format!("/{function}/{path}"));
        call.timeout(Duration::from_millis(100)).send().await.expect_err("no answer within 100 ms");
        let execution = eventually("the record of the call", async || {
            let executions = api.executions(function).await;
            executions.into_iter().find(|e| e["requestPath"].as_str().is_some_and(|it| it.ends_with(path)))
        })
        .await;
        match function {
            "hostile" => assert!(execution["errors"].as_str().expect("errors").contains("limit cpu_ms of 500")),
            _ => {
                assert_eq!(execution["status"], "completed", "{execution:#}");
                assert_eq!(api.transactions().await.len(), 1);
            }
        }
    }
});

both!(streamed_responses_have_a_limit_of_their_own, async |on| {
    let larder = Larder::start_with(larder_tests::Options::on(on).set("LARDER_SERVER__ANSWER_TIMEOUT", "1s")).await;
    let api = deploy(&larder, "hostile", json!({ "streamS": 3, "cpuMs": 20_000 }), 1).await;
    let begun = Instant::now();
    let mut answer = larder.web("demo", Method::GET, "/hostile/drip").send().await.expect("a head");
    let id = execution_id(&answer);
    while let Ok(Some(_)) = answer.chunk().await {}
    // Longer than its timeout, and than any other answer may take, but not for ever.
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(10), "{took:?}");
    let execution = ended(&api, "hostile", &id).await;
    assert!(
        execution["errors"].as_str().expect("errors").contains("limit stream_ms of 3000 exceeded"),
        "{execution:#}"
    );
    // Until its head leaves the timeout counts.
    let answer = larder.web("demo", Method::GET, "/hostile/sleep").send().await.expect("an answer");
    assert_eq!(answer.status(), 504);
    for wrong in [0, 901] {
        let settings = json!({ "name": "hostile", "limits": { "streamS": wrong } });
        let said = api.put("/functions/hostile", settings).await.is_error(400, "general_argument_invalid");
        assert!(said.contains("limits.streamS must be 1 to 900"), "{said}");
    }
});
