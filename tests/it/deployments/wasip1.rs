//! Core modules for WASI preview 1: CGI programs, events as CloudEvents, and our interfaces under their canonical names.

use std::time::Duration;

use larder_tests::hostile::corpus::{World, module};
use larder_tests::{Api, Larder, Options, both, within};
use reqwest::Method;
use serde_json::json;

/// Answers with its environment, a line for each variable, and behind an empty line with what is on stdin.
const ECHO: &str = r#"
(import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
(data (i32.const 1024) "\n")
(func $run
  (local $at i32) (local $end i32)
  (call $begin)
  (if (call $environ_sizes_get (i32.const 128) (i32.const 132)) (then unreachable))
  (drop (memory.grow $memory (i32.const 32)))
  (if (call $environ_get (i32.const 1572864) (i32.const 1638400)) (then unreachable))
  (local.set $at (i32.const 1638400))
  (local.set $end (i32.add (local.get $at) (i32.load (i32.const 132))))
  (loop $next
    (if (i32.eqz (i32.load8_u (local.get $at))) (then (i32.store8 (local.get $at) (i32.const 10))))
    (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (local.get $end))))
  (call $say (i32.const 1638400) (i32.load (i32.const 132)))
  (call $say (i32.const 1024) (i32.const 1))
  (i32.store (i32.const 128) (i32.const 1638400))
  (i32.store (i32.const 132) (i32.const 30000))
  (loop $more
    (if (call $fd_read (i32.const 0) (i32.const 128) (i32.const 1) (i32.const 136)) (then unreachable))
    (call $say (i32.const 1638400) (i32.load (i32.const 136)))
    (br_if $more (i32.load (i32.const 136)))))
"#;

/// Saves one krona for whom the run is for, and says how that went: the first byte of the result.
const SAVES: &str = r#"
(import "larder:function/savings@0.1.0" "create-transaction" (func $create (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(data (i32.const 1024) "1.00SEK")
(func $save
  (call $create (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1024) (i32.const 4) (i32.const 1028) (i32.const 3)
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 160))
  (if (i32.load8_u (i32.const 160)) (then unreachable)))
"#;
/// After the saving: a status.
const AS_CGI: &str = r#"
(data (i32.const 1040) "Status: 503 Later\n\nStatus: 204\n\n")
(func $run (call $save) (call $say (i32.const 1059) (i32.const 13)))
"#;
const AS_CGI_IN_VAIN: &str = r#"
(data (i32.const 1040) "Status: 422 No\n\nno card")
(func $run (call $save) (call $say (i32.const 1040) (i32.const 23)))
"#;
const AS_HANDLER: &str = "(func $run (param i32 i32) (call $save))";

async fn saved(api: &Api, count: usize) {
    within(Duration::from_secs(60), "the saving", async || (api.transactions().await.len() == count).then_some(()))
        .await;
}

both!(a_core_module_answers_as_a_cgi_program, async |on| {
    let larder = Larder::start_with(Options::on(on)).await;
    let api = larder.api();
    api.create_function("echo", json!({ "runtime": "wasi-0.1", "routes": ["/echo"] })).await.is(201);
    api.post("/functions/echo/variables", json!({ "key": "HTTP_API_KEY", "value": "real", "secret": false }))
        .await
        .is(201);
    let built = api.build("echo", &module(ECHO, World::Cgi), true).await;
    let log = built["buildLogs"].as_str().expect("a log");
    assert!(log.contains("a core module") && log.contains("serves: HTTP requests as a CGI program"), "{log}");

    let say = async |request: reqwest::RequestBuilder| {
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    };
    let request =
        larder.web("demo", Method::POST, "/echo/a%20b?x=%20").header("api-key", "forged").header("proxy", "evil");
    let (status, text) =
        say(request.header("x_larder_user_id", "anna").header("content-type", "text/x").body("påse")).await;
    let (environment, body) = text.split_once("\n\n").expect("an empty line");
    assert_eq!((status, body), (200, "påse"));
    for line in [
        "GATEWAY_INTERFACE=CGI/1.1",
        "REQUEST_METHOD=POST",
        "PATH_INFO=/echo/a b",
        "REQUEST_URI=/echo/a%20b?x=%20",
        "QUERY_STRING=x=%20",
        "CONTENT_TYPE=text/x",
        "CONTENT_LENGTH=5",
        "REMOTE_ADDR=127.0.0.1",
        "HTTP_X_LARDER_TRIGGER=http",
        "HTTP_API_KEY=real",
    ] {
        assert!(environment.lines().any(|it| it == line), "{line} is not in\n{environment}");
    }
    for never in ["forged", "evil", "anna"] {
        assert!(!environment.contains(never), "{environment}");
    }
    // A body whose length nobody told is read before the program begins, which would take it for none.
    let chunks = futures::stream::iter((0..100).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1_000])));
    let request = larder.web("demo", Method::POST, "/echo").body(reqwest::Body::wrap_stream(chunks));
    let (_, text) = say(request).await;
    assert!(text.contains("CONTENT_LENGTH=100000\n") && text.ends_with(&"x".repeat(100_000)), "{}", text.len());
    // What no environment can hold is the client's fault, and the largest head that the server takes fits.
    assert_eq!(say(larder.web("demo", Method::GET, "/echo/%00")).await.0, 400);
    let cookie = "c=".to_owned() + &"x".repeat(14_000);
    let (status, text) = say(larder.web("demo", Method::GET, "/echo").header("cookie", &cookie)).await;
    assert!(status == 200 && text.contains(&cookie) && !text.contains("CONTENT_LENGTH"), "{status}");
});

both!(a_core_module_is_told_of_events_and_saves, async |on| {
    let larder = Larder::start_with(Options::on(on)).await;
    let api = larder.api();
    let settings = json!({ "events": ["card.*"], "per": "enrolment" });
    let cgi = |end: &str| module(&format!("{SAVES}{end}"), World::Cgi);
    for (id, wasm) in [
        ("cgi", cgi(AS_CGI)),
        ("vain", cgi(AS_CGI_IN_VAIN)),
        ("handler", module(&format!("{SAVES}{AS_HANDLER}"), World::Typed)),
    ] {
        api.deploy(id, &wasm, settings.clone()).await;
        api.enrol(id, "anna", "card-1", json!({})).await;
    }
    api.event("1", "card.purchase", Some("card-1"), json!({ "amount": "12.50" })).await.is(202);
    saved(&api, 2).await;
    within(Duration::from_secs(60), "the refusal", async || {
        let executions = api.executions("vain").await;
        executions.iter().any(|it| it["errors"].as_str().is_some_and(|why| why.contains("422: no card"))).then_some(())
    })
    .await;
    let by: Vec<_> =
        api.transactions().await.iter().map(|it| (it["functionId"].clone(), it["amount"].clone())).collect();
    assert_eq!(by.len(), 2, "{by:?}");
    for id in ["cgi", "handler"] {
        assert!(by.contains(&(json!(id), json!("1.00"))), "{by:?}");
    }

    api.deploy("echo", &module(ECHO, World::Cgi), settings).await;
    let anna = api.enrol("echo", "anna", "card-1", json!({})).await;
    api.event("2", "card.refund", Some("card-1"), json!({ "amount": "1" })).await.is(202);
    let said = within(Duration::from_secs(60), "the event", async || {
        let executions = api.executions("echo").await;
        executions.iter().find(|it| it["status"] == "completed").map(|it| it["$id"].clone())
    })
    .await;
    assert!(said.is_string());
    let execution =
        api.execute("echo", json!({ "body": "{}", "method": "PUT", "path": "/there?a", "enrolmentId": anna })).await;
    let said = execution["responseBody"].as_str().expect("a body");
    for line in ["REQUEST_METHOD=PUT\n", "PATH_INFO=/there\n", "QUERY_STRING=a\n", "\n{}"] {
        assert!(said.contains(line), "{line} is not in {said}");
    }
});

both!(what_a_core_module_calls_must_be_granted, async |on| {
    let larder = Larder::start_with(Options::on(on)).await;
    let api = larder.api();
    api.create_function("saves", json!({})).await.is(201);
    api.grant("saves", json!({ "state": true })).await;
    let built = api.build("saves", &module(&format!("{SAVES}{AS_CGI}"), World::Cgi), true).await;
    let log = built["buildLogs"].as_str().expect("a log");
    assert!(built["status"] == "failed" && log.contains("it imports larder:function/savings"), "{log}");
});
