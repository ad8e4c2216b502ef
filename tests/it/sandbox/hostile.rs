//! Guests that misbehave: the host survives each, the right limit is named, neighbours go on, and the function is well
//! again at its next call.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

use larder_tests::{Answer, Api, Backend, Larder, both, eventually, guests};
use reqwest::{Method, Response};
use serde_json::{Value, json};

/// A Larder with a neighbour that must not notice anything.
struct Arena {
    larder: Larder,
    api: Api,
    pid: u32,
}

/// What became of one attack at the web endpoint.
struct Attacked {
    status: u16,
    /// `None` if it broke off.
    body: Option<String>,
    execution: Value,
    /// Calls that the neighbour answered meanwhile.
    neighbours: u32,
}

impl Arena {
    async fn new(on: Backend) -> Arena {
        let larder = Larder::start_on(on).await;
        let api = larder.api();
        api.deploy("neighbour", &guests::guest("hello-http"), json!({ "routes": ["/hello"] })).await;
        Arena { pid: larder.pid(), api, larder }
    }

    /// Deploys a guest of `tests/guests/hostile` under its name, with these limits and this timeout.
    async fn deploy(&self, guest: &str, limits: Value, timeout: u32) {
        let settings = json!({ "routes": [format!("/{guest}")], "limits": limits, "timeout": timeout });
        self.api.deploy(guest, &guests::guest(guest), settings).await;
    }

    async fn neighbour(&self) {
        let call = self.larder.web("demo", Method::GET, "/hello?name=Anna").timeout(Duration::from_secs(10));
        let answer = call.send().await.expect("the neighbour answers within seconds");
        assert_eq!(answer.status(), 200);
        assert!(answer.text().await.expect("a body").contains("Anna"));
    }

    /// Calls the neighbour until the attack is over.
    async fn beside<T>(&self, attack: impl Future<Output = T>) -> (T, u32) {
        let mut attack = std::pin::pin!(attack);
        let mut neighbours = 0;
        loop {
            tokio::select! {
                biased;
                over = &mut attack => return (over, neighbours),
                () = self.neighbour() => neighbours += 1,
            }
        }
    }

    /// Attacks at the web endpoint and reads the record of it.
    async fn attack(&self, function: &str, path: &str) -> Attacked {
        let attack = async {
            let answer = self.larder.web("demo", Method::GET, path).send().await.expect("a head");
            let (status, id) = (answer.status().as_u16(), execution_id(&answer));
            (status, id, answer.text().await.ok())
        };
        let ((status, id, body), neighbours) = self.beside(attack).await;
        Attacked { status, body, execution: self.execution(function, &id).await, neighbours }
    }

    /// The record of an execution that has ended; records are written behind.
    async fn execution(&self, function: &str, id: &str) -> Value {
        let path = format!("/functions/{function}/executions/{id}");
        eventually("the record of the execution", async || {
            let Answer { status, body } = self.api.get(&path).await;
            (status == 200 && matches!(body["status"].as_str(), Some("completed" | "failed"))).then_some(body)
        })
        .await
    }

    /// The process is the same one, nothing in it panicked, and the function answers as if nothing had been.
    async fn is_well(&self, guest: &str) {
        let answer = self.larder.web("demo", Method::GET, &format!("/{guest}/fine")).send().await.expect("an answer");
        assert_eq!((answer.status().as_u16(), answer.text().await.expect("a body").as_str()), (200, "fine\n"));
        self.survived().await;
    }

    async fn survived(&self) {
        self.neighbour().await;
        assert_eq!(self.larder.internal("/health/live").await.0, 200);
        assert_eq!(self.larder.pid(), self.pid);
        // A guest's fault is its owner's to read, and no noise for the operator.
        let log = self.larder.log();
        assert!(!["panicked", "WARN", "ERROR"].iter().any(|sign| log.contains(sign)), "{log}");
    }
}

fn execution_id(answer: &Response) -> String {
    answer.headers()["x-appwrite-execution-id"].to_str().expect("an id").to_owned()
}

#[track_caller]
fn says(execution: &Value, status: &str, what: &str) {
    let errors = execution["errors"].as_str().expect("errors");
    assert!(execution["status"] == status && errors.contains(what), "{what:?} is not in {execution:#}");
}

/// An HTTP component around a core module, whose `handle` never answers. Beside its own memory there is one of another
/// module, `$more`, of one page.
fn core(text: &str) -> Vec<u8> {
    guests::wat(&format!(
        r#"(component
          (import "wasi:http/types@0.2.0" (instance $types
            (export "incoming-request" (type (sub resource)))
            (export "response-outparam" (type (sub resource)))))
          (alias export $types "incoming-request" (type $request))
          (alias export $types "response-outparam" (type $out))
          (core module $more (memory (export "memory") 1))
          (core instance $more (instantiate $more))
          (core module $main (import "more" "memory" (memory $more 1)) {text})
          (core instance $main (instantiate $main (with "more" (instance $more))))
          (func $handle (param "request" (own $request)) (param "response-out" (own $out))
            (canon lift (core func $main "handle")))
          (instance $handler (export "handle" (func $handle)))
          (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#
    ))
}

both!(endless_loops_end_at_the_cpu_limit_and_hold_up_nobody, async |on| {
    let arena = Arena::new(on).await;
    arena.deploy("hostile", json!({ "cpuMs": 600 }), 30).await;
    // More of them than there are threads.
    let threads = std::thread::available_parallelism().map_or(2, |threads| threads.get());
    let attacks = futures::future::join_all((0..threads + 2).map(|_| arena.attack("hostile", "/hostile/spin")));
    for attacked in attacks.await {
        assert_eq!(attacked.status, 504);
        says(&attacked.execution, "failed", "limit cpu_ms of 600 exceeded: used ");
        assert!(attacked.execution["cpuTime"].as_f64().expect("seconds") >= 0.6);
        assert!(attacked.neighbours >= 2, "{} calls while the guests span", attacked.neighbours);
    }
    arena.is_well("hostile").await;
});

both!(start_functions_and_growth_are_limited, async |on| {
    let arena = Arena::new(on).await;
    let handle = |body: &str| format!(r#"(func (export "handle") (param i32 i32) {body})"#);
    let nothing = handle("");
    // Of the 16 pages each memory takes 7, and neither may take 3 more.
    let sum = handle(
        "(drop (memory.grow $own (i32.const 6))) (drop (memory.grow $more (i32.const 6)))
         (if (i32.ne (memory.size $more) (i32.const 7)) (then (loop $wrong (br $wrong))))
         (if (i32.eq (memory.grow $own (i32.const 3)) (i32.const -1)) (then unreachable))",
    );
    let tables = handle(
        "(loop $more (if (i32.eq (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)) (then unreachable))
         (br $more))",
    );
    let attacks = [
        (
            "start",
            format!("(func $spin (loop $again (br $again))) (start $spin) {nothing}"),
            504,
            "limit cpu_ms of 300 exceeded",
        ),
        ("begin", format!("(memory 16) {nothing}"), 502, "limit memory_bytes of 1048576 exceeded: used 1114112"),
        ("sum", format!("(memory $own 1) {sum}"), 502, "limit memory_bytes of 1048576 exceeded: used 1114112"),
        ("tables", format!("(memory 14) (table $t 0 funcref) {tables}"), 502, "limit memory_bytes of 1048576 exceeded"),
        (
            "deep",
            format!(
                r#"(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0)))) {}"#,
                handle("(drop (call $deep (i32.const 1)))")
            ),
            502,
            "limit stack_bytes of 524288 exceeded",
        ),
        ("silent", nothing.clone(), 502, "returned without a response"),
    ];
    for (function, text, status, limit) in attacks {
        let settings = json!({
            "routes": [format!("/{function}")], "limits": { "memoryBytes": 1 << 20, "cpuMs": 300 }, "timeout": 10,
        });
        arena.api.deploy(function, &core(&text), settings).await;
        let attacked = arena.attack(function, &format!("/{function}")).await;
        assert_eq!(attacked.status, status, "{function}: {:#}", attacked.execution);
        says(&attacked.execution, "failed", limit);
        assert!(attacked.execution["memoryPeakBytes"].as_u64().expect("bytes") <= 1 << 20);
        arena.survived().await;
    }
    // The same function is well again with a better deployment.
    let update = json!({ "name": "start", "routes": ["/start"], "limits": {} });
    arena.api.put("/functions/start", update).await.is(200);
    arena.api.build("start", &guests::guest("hostile"), true).await;
    eventually("the better deployment", async || {
        let answer = arena.larder.web("demo", Method::GET, "/start/fine").send().await.expect("an answer");
        (answer.status() == 200).then_some(())
    })
    .await;
});

both!(resources_of_a_call_are_limited_by_name, async |on| {
    let arena = Arena::new(on).await;
    let limits = json!({ "memoryBytes": 8 << 20, "cpuMs": 5_000, "logBytes": 10_000, "responseBytes": 100_000 });
    arena.deploy("hostile", limits, 2).await;
    for (path, status, limit) in [
        ("grow", 502, "limit memory_bytes of 8388608 exceeded: used "),
        ("recurse", 502, "limit stack_bytes of 524288 exceeded"),
        ("handles", 502, "limit host_resources of 1024 exceeded"),
        ("random", 502, "limit host_resources of 65536 exceeded"),
        ("headers", 502, "limit host_resources of 32768 exceeded"),
        ("sleep", 504, "limit wall_ms of 2000 exceeded: used "),
        ("nothing", 502, "the function returned without a response"),
        ("trap", 502, "trapped: "),
        ("status?101", 502, "status 101 is not from 200 to 599"),
        ("status?600", 502, "status 600 is not from 200 to 599"),
    ] {
        let attacked = arena.attack("hostile", &format!("/hostile/{path}")).await;
        assert_eq!(attacked.status, status, "{path}: {:#}", attacked.execution);
        says(&attacked.execution, "failed", limit);
        // What the end user sees says nothing about the function's inside.
        let problem: Value = serde_json::from_str(&attacked.body.expect("a body")).expect("JSON");
        let kind = if status == 504 { "function_timeout" } else { "function_failed" };
        assert_eq!((&problem["code"], &problem["type"]), (&json!(status), &json!(kind)));
        assert!(!problem.to_string().contains("limit"), "{problem}");
        if path == "sleep" {
            assert!(attacked.neighbours > 0, "nobody was served while it slept");
            assert!(attacked.execution["cpuTime"].as_f64().expect("seconds") < 0.5, "sleeping costs CPU time");
        }
        arena.is_well("hostile").await;
    }
});

both!(endless_logs_are_cut_and_marked_and_do_not_fail_a_call, async |on| {
    let arena = Arena::new(on).await;
    arena.deploy("hostile", json!({ "logBytes": 10_000, "cpuMs": 1_000 }), 10).await;
    let cut = "[larder: log limit log_bytes of 10000 reached, ";

    let attacked = arena.attack("hostile", "/hostile/chatter").await;
    assert_eq!((attacked.status, attacked.body.as_deref()), (200, Some("said it all\n")));
    says(&attacked.execution, "completed", "");
    let logs = attacked.execution["logs"].as_str().expect("logs");
    assert!(logs.starts_with("line 0 of much too many\n") && logs.contains(cut), "{logs}");
    assert!(logs.len() < 10_200, "{} bytes", logs.len());

    let attacked = arena.attack("hostile", "/hostile/chatter-for-ever").await;
    assert_eq!(attacked.status, 504);
    says(&attacked.execution, "failed", cut);
    says(&attacked.execution, "failed", "limit cpu_ms of 1000 exceeded");
    assert!(attacked.execution["errors"].as_str().expect("errors").len() < 10_500);
    assert!(attacked.neighbours > 0);
    arena.is_well("hostile").await;
});

both!(incomplete_response_never_looks_complete, async |on| {
    let arena = Arena::new(on).await;
    arena.deploy("hostile", json!({ "responseBytes": 300_000, "cpuMs": 400 }), 10).await;
    for (path, what) in [
        ("trap-midway", "trapped: "),
        ("exit-midway", "trapped: exited with code 1"),
        ("leave-midway", "the function ended in the middle of its body"),
        ("short", "no valid response: "),
    ] {
        // At once nothing has left yet, and the failure is the answer.
        let attacked = arena.attack("hostile", &format!("/hostile/{path}")).await;
        assert_eq!(attacked.status, 502, "{path}");
        says(&attacked.execution, "failed", what);
        // Later the head has left with a 200; then the body must break.
        let attacked = arena.attack("hostile", &format!("/hostile/{path}?300")).await;
        assert_eq!((attacked.status, attacked.body), (200, None), "{path}");
        says(&attacked.execution, "failed", what);
        arena.is_well("hostile").await;
    }
    for (path, limit) in
        [("flood", "limit response_bytes of 300000 exceeded: used "), ("spin-midway", "limit cpu_ms of 400 exceeded")]
    {
        let attacked = arena.attack("hostile", &format!("/hostile/{path}")).await;
        assert_eq!((attacked.status, attacked.body), (200, None), "{path}");
        says(&attacked.execution, "failed", limit);
        arena.is_well("hostile").await;
    }
});

both!(failed_execution_discards_its_effects, async |on| {
    let arena = Arena::new(on).await;
    arena.deploy("hostile-saver", json!({ "responseBytes": 100_000, "effects": 50, "cpuMs": 500 }), 10).await;
    let listens = json!({
        "name": "hostile-saver", "routes": ["/hostile-saver"], "events": ["hostile.event"], "timeout": 10,
        "limits": { "responseBytes": 100_000, "effects": 50, "cpuMs": 500, "attempts": 1 },
    });
    arena.api.put("/functions/hostile-saver", listens).await.is(200);
    arena.api.enrol("hostile-saver", "anna", "everyone", json!({})).await;
    for (path, status, what) in [
        ("save-and-trap-midway", 502, "trapped: "),
        ("save-and-flood", 502, "limit response_bytes of 100000 exceeded: used "),
        ("effects?51", 502, "limit effects of 50 exceeded: used 51"),
        ("huge-value", 502, "limit host_resources of "),
        ("save-and-fail", 500, ""),
    ] {
        let attacked = arena.attack("hostile-saver", &format!("/hostile-saver/{path}")).await;
        assert_eq!(attacked.status, status, "{path}: {:#}", attacked.execution);
        says(&attacked.execution, "failed", what);
        assert!(!attacked.body.expect("a whole answer").contains("half of the ans"));
    }
    // The same by the typed handler, which gets the events.
    let words = [
        ("spin", "limit cpu_ms of 500 exceeded: used "),
        ("grow", "limit memory_bytes of 67108864 exceeded: used "),
        ("recurse", "limit stack_bytes of 524288 exceeded"),
        ("sleep", "limit wall_ms of 10000 exceeded: used "),
        ("large-answer", "limit response_bytes of 100000 exceeded: used 200000"),
        ("save-and-trap", "trapped: "),
        ("save-and-exit", "exited with code 1"),
        ("effects", "limit effects of 50 exceeded: used 51"),
    ];
    let mut rows = Vec::new();
    for (word, _) in words {
        let sent = arena.api.event(word, "hostile.event", None, json!(word)).await.is(202);
        rows.push(sent["events"][0]["$id"].clone());
    }
    for ((word, what), row) in words.iter().zip(&rows) {
        let execution = eventually(word, async || {
            let executions = arena.api.executions("hostile-saver").await;
            executions.into_iter().find(|e| e["eventId"] == *row && e["status"] == "failed")
        });
        let (execution, _) = arena.beside(execution).await;
        says(&execution, "failed", what);
    }
    assert_eq!(arena.api.transactions().await, Vec::<Value>::new());
    let attacked = arena.attack("hostile-saver", "/hostile-saver/effects?50").await;
    assert_eq!(attacked.status, 200);
    let attacked = arena.attack("hostile-saver", "/hostile-saver/large-value").await;
    assert!(attacked.body.expect("a body").contains("65537 bytes, up to 65536 are allowed"));
    arena.is_well("hostile-saver").await;
});

both!(guest_reaches_nothing_outside_its_sandbox, async |on| {
    let arena = Arena::new(on).await;
    arena.deploy("hostile", json!({}), 10).await;
    let outside = TcpListener::bind("127.0.0.1:0").expect("a port");
    outside.set_nonblocking(true).expect("a socket");
    let address = outside.local_addr().expect("an address");
    let ask = async |path: &str| {
        let attacked = arena.attack("hostile", &format!("/hostile/{path}")).await;
        assert_eq!(attacked.status, 200, "{path}: {:#}", attacked.execution);
        attacked.body.expect("a body")
    };
    assert_eq!(ask(&format!("outgoing?{address}")).await, "ErrorCode::HttpRequestDenied");

    // Not even a proper request: it has no path.
    assert_eq!(ask("outgoing").await, "ErrorCode::HttpProtocolError");

    let sockets = ask(&format!("sockets?{address}")).await;
    assert_eq!(sockets.lines().count(), 4, "{sockets}");
    assert!(sockets.lines().all(|line| line.contains(" Err(")), "{sockets}");
    assert!(outside.accept().is_err(), "somebody came through");

    let files = ask("files").await;
    assert!(files.starts_with("preopens 0\n"), "{files}");
    assert_eq!(files.lines().count(), 7, "{files}");
    assert!(files.lines().skip(1).all(|line| line.contains(" Err(")), "{files}");

    // The environment is the function's variables and what the platform tells of the function, and nothing of the process's own.
    let own = async || {
        let text = ask("environment").await;
        let map = text.strip_suffix(" [] Ok(\"\")\n").unwrap_or_else(|| panic!("arguments or a folder: {text}"));
        let mut all: BTreeMap<String, String> = serde_json::from_str(map).unwrap();
        let told = all.len();
        all.retain(|name, _| !name.starts_with("APPWRITE_") && !name.starts_with("LARDER_"));
        assert_eq!(told - all.len(), 30, "{text}");
        all
    };
    assert_eq!(own().await, BTreeMap::new());
    let path = "/functions/hostile/variables";
    arena.api.post(path, json!({ "variableId": "v", "key": "GREETING", "value": "hej" })).await.is(201);
    let greeting = BTreeMap::from([("GREETING".to_owned(), "hej".to_owned())]);
    eventually("the variable", async || (own().await == greeting).then_some(())).await;
    arena.is_well("hostile").await;
});
