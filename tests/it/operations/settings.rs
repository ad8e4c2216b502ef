//! Settings have the effects that their comments promise.
//!
//! Elsewhere: `server.listen`, `server.internal`, `server.root_url`, `data` and `secrets` in `serve`, `server.grace` in
//! `lifecycle`, TLS and passwords of MariaDB and Redis in `connections`, `scheduler.catch_up` in `schedules`, `worker.lease`
//! and `worker.attempts_lost` in `crash`, `egress` in `egress`, `tls` and `server.http2_prior_knowledge` in `web/tls` and
//! `web/http2`.

use std::time::{Duration, Instant};

use larder_tests::{Backend, Larder, Options, both, eventually, guests};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn with(on: Backend, settings: &[(&'static str, &str)]) -> Larder {
    let set = |options: Options, (name, value): &(&'static str, &str)| options.set(name, *value);
    Larder::start_with(settings.iter().fold(Options::on(on), set)).await
}

async fn hello(larder: &Larder) {
    let settings = json!({ "routes": ["/hello"], "timeout": 10 });
    larder.api().deploy("hello", &guests::guest("hello-http"), settings).await;
}

async fn web(larder: &Larder, path: &str) -> reqwest::Response {
    larder.web("demo", Method::GET, path).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_printed_setting_is_accepted_in_a_file() {
    let output = std::process::Command::new(Larder::binary()).arg("settings").output().unwrap();
    assert!(output.status.success());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("larder.toml");
    std::fs::write(&file, output.stdout).unwrap();
    larder_model::settings::Settings::load(Some(&file), &[]).unwrap();
}

both!(settings_limit_bodies_uploads_and_timeouts, async |on| {
    let larder = with(
        on,
        &[
            ("LARDER_SERVER__BODY_BYTES_MAX", "1000"),
            ("LARDER_SERVER__CALL_TIMEOUT", "1s"),
            ("_APP_COMPUTE_SIZE_LIMIT", "2000000"),
            ("_APP_FUNCTIONS_TIMEOUT", "20"),
        ],
    )
    .await;
    hello(&larder).await;
    let echo = async |bytes: usize| {
        let request = larder.web("demo", Method::POST, "/hello/echo").body("x".repeat(bytes));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!((echo(1000).await, echo(1001).await), (200, 413));
    // Without a length in front it is counted as it comes.
    let chunks = futures::stream::iter((0..11).map(|_| Ok::<_, std::io::Error>("x".repeat(100))));
    let streamed = larder.web("demo", Method::POST, "/hello/echo").body(reqwest::Body::wrap_stream(chunks));
    assert_eq!(streamed.send().await.unwrap().status(), 413);

    let api = larder.api();
    let begun = Instant::now();
    assert_eq!(web(&larder, "/hello/slow?ms=9000").await.status(), 504);
    let slow = json!({ "path": "/hello/slow?ms=9000", "method": "GET" });
    let said = api.post("/functions/hello/executions", slow).await.is_error(408, "function_synchronous_timeout");
    assert!(said.contains("async"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());

    let said = api.upload("hello", &vec![0; 2_000_001], false).await.is_error(400, "deployment_invalid_file_size");
    assert!(said.contains("2000000"), "{said}");
    let said = api.create_function("long", json!({ "timeout": 21 })).await.is_error(400, "general_argument_invalid");
    assert!(said.contains("timeout") && said.contains("20"), "{said}");
    api.create_function("long", json!({ "timeout": 20 })).await.is(201);
});

both!(concurrent_calls_of_a_partner_are_limited, async |on| {
    let larder = with(on, &[("LARDER_SERVER__CALLS_PER_PARTNER", "1")]).await;
    hello(&larder).await;
    let slow = tokio::spawn(larder.web("demo", Method::GET, "/hello/slow?ms=1500").send());
    larder.api().in_progress(1).await;
    let refused = web(&larder, "/hello").await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    let body = json!({ "path": "/hello", "method": "GET" });
    larder.api().post("/functions/hello/executions", body).await.is_error(429, "general_rate_limit_exceeded");
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    assert_eq!(web(&larder, "/hello").await.status(), 200);
});

both!(instances_and_executions_wait_for_their_turn, async |on| {
    let larder = with(on, &[("LARDER_RUNTIME__INSTANCES_MAX", "1"), ("LARDER_WORKER__EXECUTIONS_MAX", "1")]).await;
    hello(&larder).await;
    web(&larder, "/hello").await;
    let slow = || larder.web("demo", Method::GET, "/hello/slow?ms=400").send();
    let begun = Instant::now();
    let (one, two) = tokio::join!(slow(), slow());
    assert_eq!((one.unwrap().status().as_u16(), two.unwrap().status().as_u16()), (200, 200));
    assert!(begun.elapsed() >= Duration::from_millis(800), "two at once: {:?}", begun.elapsed());
});

/// Queues executions that take a moment each.
async fn queue_slow(larder: &Larder, count: usize) {
    let slow = json!({ "path": "/hello/slow?ms=400", "method": "GET", "async": true });
    for _ in 0..count {
        larder.api().post("/functions/hello/executions", slow.clone()).await.is(202);
    }
}

both!(concurrent_queued_executions_of_a_partner_are_limited, async |on| {
    let larder = with(on, &[("LARDER_WORKER__EXECUTIONS_PER_PARTNER", "1")]).await;
    hello(&larder).await;
    let begun = Instant::now();
    queue_slow(&larder, 3).await;
    eventually("all to end", async || {
        let executions = larder.api().executions("hello").await;
        executions.iter().all(|e| e["status"] == "completed").then_some(())
    })
    .await;
    assert!(begun.elapsed() >= Duration::from_millis(1_200), "some at once: {:?}", begun.elapsed());
});

both!(fan_out_pauses_while_many_executions_are_due, async |on| {
    let larder = with(on, &[("LARDER_WORKER__EXECUTIONS_PER_PARTNER", "1"), ("LARDER_WORKER__DUE_MAX", "2")]).await;
    hello(&larder).await;
    let api = larder.api();
    let settings = json!({ "events": ["card.purchase"], "per": "enrolment" });
    api.deploy("round-up", &guests::guest("round-up"), settings).await;
    api.enrol("round-up", "saver", "card", json!({ "monthlyCap": "100.00" })).await;
    queue_slow(&larder, 6).await;
    let price = json!({ "amount": "12.34", "currency": "SEK", "merchant": "Kiosk" });
    api.event("purchase", "card.purchase", Some("card"), price).await.is(202);
    eventually("the saver's run", async || (api.executions("round-up").await.len() == 1).then_some(())).await;
    let due = api.executions("hello").await.iter().filter(|e| e["status"] == "waiting").count();
    assert!(due < 2, "a range was claimed while {due} executions were due");
    eventually("the saving", async || (api.transactions().await.len() == 1).then_some(())).await;
});

#[tokio::test(flavor = "multi_thread")]
async fn database_connections_of_a_process_are_limited() {
    use mysql_async::prelude::Queryable;
    let settings = [("LARDER_DATABASE__CONNECTIONS_MAX", "2"), ("LARDER_DATABASE__LIST_CONNECTIONS_MAX", "1")];
    let larder = with(Backend::Services, &settings).await;
    hello(&larder).await;
    let api = larder.api();
    let ask = async |at: usize| match at % 2 {
        0 => api.get("/functions").await,
        _ => api.get("/events/none").await,
    };
    let mut asking = std::pin::pin!(futures::future::join_all((0..400).map(ask)));
    let mut connection = larder.database().connect().await;
    let count = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()";
    let mut most = 0;
    while futures::poll!(asking.as_mut()).is_pending() {
        most = most.max(connection.query_first::<u64, _>(count).await.unwrap().unwrap());
    }
    // Those, one for lists, and two of the ledger.
    assert!((3..=5).contains(&most), "{most}");
}

both!(client_that_stops_sending_is_disconnected_and_frees_its_connection, async |on| {
    let larder = with(on, &[("LARDER_SERVER__CLIENT_TIMEOUT", "500ms"), ("LARDER_SERVER__CONNECTIONS_MAX", "1")]).await;
    hello(&larder).await;
    let connect = async |text: &str| {
        let mut stream = TcpStream::connect(larder.address()).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    };
    // The rest of what comes until the server closes; it must close by itself.
    let rest = async |stream: &mut TcpStream| {
        let mut said = String::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut said)).await.expect("closed").ok();
        said
    };
    let begun = Instant::now();
    let mut half = connect("GET /hello HTTP/1.1\r\nHost: demo.loc").await;
    // Meanwhile the one connection is taken; this one waits and is served then.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut next = connect("GET /hello HTTP/1.1\r\nHost: demo.localhost\r\nConnection: close\r\n\r\n").await;
    let said = rest(&mut next).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    assert!(begun.elapsed() >= Duration::from_millis(500), "served beside the first: {:?}", begun.elapsed());
    rest(&mut half).await;
    drop((half, next));

    let key = larder.key();
    // A body that stops half-way, read before the call, streamed into it, and at the API.
    for (door, path, bytes, status) in [
        ("demo", "/hello/echo", 10, 408),
        ("demo", "/hello/echo", 1_000_000, 408),
        ("demo-api", "/v1/functions", 10, 408),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {door}.localhost\r\nX-Appwrite-Key: {key}\r\nContent-Length: {bytes}\r\n\r\nhalf"
        );
        let mut stream = connect(&head).await;
        let mut first = [0; 12];
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut first)).await;
        read.expect("an answer").unwrap();
        assert_eq!(String::from_utf8_lossy(&first), format!("HTTP/1.1 {status}"), "{door} {path} {bytes}");
    }
});

both!(draining_begins_after_its_delay, async |on| {
    let mut larder = with(on, &[("LARDER_SERVER__DRAIN_DELAY", "2s")]).await;
    hello(&larder).await;
    larder.signal(Signal::TERM);
    let ready = async || larder.internal("/health/ready").await.0;
    eventually("it to say so", async || (ready().await == 503).then_some(())).await;
    assert_eq!(web(&larder, "/hello").await.status(), 200);
    assert_eq!(larder.ended().await, Some(0));
});

both!(only_failures_are_recorded_if_so_configured, async |on| {
    let larder = with(on, &[("LARDER_RECORDS__ALL", "false"), ("LARDER_SERVER__CALL_TIMEOUT", "1s")]).await;
    hello(&larder).await;
    let api = larder.api();
    assert_eq!(web(&larder, "/hello").await.status(), 200);
    api.execute("hello", json!({ "path": "/hello", "method": "GET" })).await;
    assert_eq!(web(&larder, "/hello/slow?ms=9000").await.status(), 504);
    let executions = eventually("the failure's record", async || {
        let executions = api.executions("hello").await;
        (!executions.is_empty()).then_some(executions)
    })
    .await;
    assert_eq!(executions.len(), 1, "{executions:?}");
    assert_eq!(executions[0]["status"], "failed");
});

both!(records_of_completed_calls_are_written_in_groups, async |on| {
    let mut larder = with(on, &[("LARDER_RECORDS__FLUSH", "2s")]).await;
    hello(&larder).await;
    assert_eq!(web(&larder, "/hello").await.status(), 200);
    // Much longer than by default. Whoever asks is shown it all the same, so only a crash tells.
    tokio::time::sleep(Duration::from_millis(700)).await;
    larder.kill();
    larder.restart().await;
    assert_eq!(larder.api().executions("hello").await.len(), 0);
    assert_eq!(web(&larder, "/hello").await.status(), 200);
    eventually("the record", async || (larder.api().executions("hello").await.len() == 1).then_some(())).await;
});

both!(rows_older_than_the_retention_are_removed, async |on| {
    let mut larder = with(on, &[("_APP_MAINTENANCE_RETENTION_EXECUTION", "1")]).await;
    hello(&larder).await;
    let id = larder.api().execute("hello", json!({ "path": "/hello", "method": "GET" })).await["$id"].clone();
    let path = format!("/functions/hello/executions/{}", id.as_str().unwrap());
    let api = larder.api();
    eventually("the record", async || (api.get(&path).await.status == 200).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    larder.kill();
    larder.restart().await;
    let api = larder.api();
    eventually("its end", async || (api.get(&path).await.status == 404).then_some(())).await;
});

both!(attempts_are_limited_and_delayed, async |on| {
    let larder = with(on, &[("LARDER_WORKER__ATTEMPTS", "3"), ("LARDER_WORKER__RETRY_DELAY", "300ms")]).await;
    let api = larder.api();
    api.deploy("probe", &guests::guest("probe"), json!({ "events": ["probe.retry"] })).await;
    let begun = Instant::now();
    api.event("e", "probe.retry", None, json!({ "until": 9 })).await.is(202);
    let ended = eventually("the last attempt", async || {
        let execution = api.executions("probe").await.pop()?;
        (execution["status"] == "failed").then_some(execution)
    })
    .await;
    assert_eq!(ended["attempt"], 3, "{ended}");
    // 300 ms, then 600 ms.
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
});

both!(logs_have_the_configured_level_and_format, async |on| {
    let json_log = with(on, &[("LARDER_LOG__FORMAT", "json"), ("LARDER_LOG__FILTER", "debug")]).await;
    let log = json_log.log();
    assert!(log.lines().count() > 0);
    for line in log.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {line}"));
        assert!(entry["level"].is_string() && entry["timestamp"].is_string(), "{line}");
    }
    let text = with(on, &[("LARDER_LOG__FILTER", "debug")]).await;
    assert!(!text.log().contains('\u{1b}'), "colours in a file");
    let silent = with(on, &[("LARDER_LOG__FILTER", "off")]).await;
    assert_eq!(silent.log(), "");
});
