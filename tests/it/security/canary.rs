//! Twenty secrets of every kind, put to use, and a search for each of them, in every form, wherever it must not be.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder_tests::services::Redis;
use larder_tests::upstream::{Received, Reply, Service};
use larder_tests::{Api, Backend, Larder, Options, Random, Search, both, eventually, forms, guests};
use reqwest::Method;
use serde_json::{Value, json};

/// What the plain variable says, which every function may.
const MARKER: &str = "what-anybody-may-read";

struct Canary {
    kind: &'static str,
    text: String,
}

/// Where it is looked, and something that certainly stands there: a place that is empty proves nothing.
struct Place {
    name: &'static str,
    bytes: Vec<u8>,
    marker: &'static str,
}

fn random() -> String {
    let mut random = Random::new();
    format!("c4n4ry{:016x}{:016x}", random.below(u64::MAX), random.below(u64::MAX))
}

/// Which canaries stand in these bytes.
fn found<'c>(canaries: &'c [Canary], bytes: &[u8]) -> Vec<&'c str> {
    let (mut wanted, mut whose) = (vec![], vec![]);
    for canary in canaries {
        for form in forms(&canary.text) {
            wanted.push(form);
            whose.push(canary.kind);
        }
    }
    let mut kinds: Vec<&str> = Search::new(wanted).run(bytes).into_iter().map(|at| whose[at]).collect();
    kinds.dedup();
    kinds
}

/// Everything that a Redis is told, as long as it lives.
fn overheard(redis: &Redis) -> Arc<Mutex<Vec<u8>>> {
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).expect("Redis listens");
    stream.write_all(b"MONITOR\r\n").expect("Redis listens");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let into = heard.clone();
    std::thread::spawn(move || {
        let mut piece = [0; 65_536];
        while let Ok(length @ 1..) = stream.read(&mut piece) {
            into.lock().unwrap().extend_from_slice(&piece[..length]);
        }
    });
    heard
}

/// A service that answers with all that it was sent.
fn echo(received: &Received) -> Reply {
    let headers =
        received.headers.iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    let text = format!("{} {}\n{}", received.method, received.target, headers.collect::<String>());
    Reply::new(200, text).header("x-echo", received.header("authorization")).header("x-target", received.target.clone())
}

async fn made(api: &Api, path: &str, body: Value) -> Value {
    api.post(path, body).await.is(201)
}

/// A function at `/ID`, with what it is granted.
async fn function(api: &Api, id: &str, guest: &str, grants: Value) {
    api.create_function(id, json!({ "routes": [format!("/{id}")], "timeout": 20 })).await.is(201);
    api.grant(id, grants).await;
    assert_eq!(api.build(id, &guests::guest(guest), true).await["status"], "ready");
}

async fn web(larder: &Larder, method: Method, path: &str, body: String) -> Vec<u8> {
    let answer = larder.web("demo", method, path).body(body).send().await.expect("an answer");
    let mut all = format!("{} {:?}\n", answer.status(), answer.headers()).into_bytes();
    all.extend(answer.bytes().await.expect("a body"));
    all
}

both!(no_secret_is_where_it_must_not_be, async |on| {
    let folder = tempfile::tempdir().unwrap();
    let redis = (on == Backend::Services).then(|| Redis::start(&folder.path().join("redis")));
    let heard = redis.as_ref().map(overheard);
    let mut options = Options::on(on).fresh().set("LARDER_LOG__FILTER", "trace");
    if let Some(redis) = &redis {
        options = options.set("LARDER_REDIS__URL", redis.url());
    }
    let larder = Larder::start_with(options).await;
    let (api, operator) = (larder.api(), larder.operator());
    let service = Service::start(echo).await;

    // The secrets, each with what it is for.
    let mut canaries = vec![];
    let mut add = |kind: &'static str, text: String| {
        canaries.push(Canary { kind, text: text.clone() });
        text
    };
    for (kind, file) in [("master key", "master.key"), ("operator key", "operator.key")] {
        let text = std::fs::read_to_string(larder.data().join(file)).unwrap();
        add(kind, text.lines().last().unwrap().trim().to_owned());
    }
    add("API key", larder.key().to_owned());
    for kind in ["second API key", "third API key"] {
        let scopes = json!(["functions.read", "executions.write"]);
        let key = made(&operator, "/partners/demo/keys", json!({ "name": kind, "scopes": scopes })).await;
        add(kind, key["secret"].as_str().unwrap().to_owned());
    }
    let mut kept = vec![];
    for (kind, function, name) in [
        ("granted variable", "keeper", "KEPT_1"),
        ("second granted variable", "keeper", "KEPT_2"),
        ("third granted variable", "keeper", "KEPT_3"),
        ("variable not granted", "stranger", "HIDDEN_1"),
        ("second variable not granted", "stranger", "HIDDEN_2"),
        ("third variable not granted", "stranger", "HIDDEN_3"),
        ("variable of a function without grants", "saver", "HIDDEN_4"),
    ] {
        kept.push((function, name, add(kind, random())));
    }
    let mut upstreams = vec![];
    for (kind, name, credential) in [
        ("bearer token", "bearer", json!({ "kind": "header", "name": "Authorization", "template": "Bearer {secret}" })),
        ("key in a header", "header", json!({ "kind": "header", "name": "X-Api-Key" })),
        ("password", "basic", json!({ "kind": "basic", "user": "larder" })),
        ("key in the query", "query", json!({ "kind": "query", "name": "api_key" })),
        ("signing key", "signing", json!({ "kind": "hmac" })),
        ("credential that nobody is granted", "other", json!({ "kind": "header", "name": "Authorization" })),
        ("the operator's credential", "shared", json!({ "kind": "basic", "user": "larder" })),
    ] {
        let body = json!({ "name": name, "url": service.url(), "networks": ["127.0.0.0/8"], "credential": credential,
            "secret": add(kind, random()) });
        if name == "shared" {
            made(&operator, "/operator/upstreams", body).await;
        } else {
            made(&api, "/upstreams", body).await;
        }
        upstreams.push(name);
    }
    let feed = json!({ "name": "goals", "push": true, "mapping": larder_tests::aggregator::mapping() });
    add("push secret", made(&api, "/feeds", feed).await["secret"].as_str().unwrap().to_owned());
    assert_eq!(canaries.len(), 20);

    // The functions that have them, and those that have not.
    let granted: Vec<&str> = upstreams.iter().filter(|name| **name != "other").copied().collect();
    function(&api, "keeper", "hostile", json!({ "secrets": ["KEPT_1", "KEPT_2", "KEPT_3"] })).await;
    function(&api, "stranger", "hostile", json!({ "secrets": ["KEPT_1"] })).await;
    function(&api, "saver", "hello-http", json!({ "secrets": ["OTHER"] })).await;
    function(&api, "caller", "caller", json!({ "upstreams": granted })).await;
    function(&api, "signer", "signer", json!({ "upstreams": granted })).await;
    let mut errors = vec![];
    for (function, name, text) in &kept {
        let path = format!("/functions/{function}/variables");
        let id =
            made(&api, &path, json!({ "variableId": "unique()", "key": name, "value": text })).await["$id"].clone();
        let one = format!("{path}/{}", id.as_str().unwrap());
        // Mistakes that people make with a secret in their hands.
        for answer in [
            api.post(&path, json!({ "variableId": "unique()", "key": name, "value": text })).await,
            api.post(&path, json!({ "variableId": "unique()", "key": "LONG", "value": text.repeat(1_000) })).await,
            api.post(&path, json!({ "variableId": "unique()", "key": "NUL", "value": format!("{text}\0") })).await,
            api.post(&path, json!({ "variableId": "unique()", "key": "OBJECT", "value": { "is": text } })).await,
            api.put(&one, json!({ "secret": false, "value": text })).await,
        ] {
            assert!((400..500).contains(&answer.status), "{}", answer.body);
            errors.extend(answer.body.to_string().into_bytes());
        }
        for answer in [api.get(&one).await, api.put(&one, json!({ "value": text })).await, api.get(&path).await] {
            errors.extend(answer.is(200).to_string().into_bytes());
        }
    }
    let plain = json!({ "variableId": "unique()", "key": "PLAIN", "value": MARKER, "secret": false });
    made(&api, "/functions/stranger/variables", plain).await;
    for (path, who) in [
        ("/upstreams", &api),
        ("/feeds", &api),
        ("/operator/upstreams", &operator),
        ("/partners/demo/keys", &operator),
        ("/operator/master-keys", &operator),
        ("/functions", &api),
    ] {
        errors.extend(who.get(path).await.is(200).to_string().into_bytes());
    }
    for canary in &canaries {
        let body = json!({ "name": "Bad Name", "url": service.url(), "credential": { "kind": "basic", "user": "u" }, "secret": canary.text });
        errors.extend(api.post("/upstreams", body).await.body.to_string().into_bytes());
        let denied = larder.api_of(Some("demo"), Some(&format!("{}x", canary.text))).get("/functions").await;
        assert_eq!(denied.status, 401, "{}", denied.body);
        errors.extend(denied.body.to_string().into_bytes());
    }

    // They are used, echoed, asked for, and things go wrong.
    let mut answers = vec![];
    for path in [
        "/stranger/environment",
        "/stranger/memory",
        "/stranger/files",
        "/stranger/outgoing",
        "/stranger/trap",
        "/saver",
    ] {
        answers.extend(web(&larder, Method::GET, path, String::new()).await);
    }
    web(&larder, Method::GET, "/keeper/trap", String::new()).await;
    web(&larder, Method::GET, "/keeper/nothing", String::new()).await;
    for name in &upstreams {
        let calls = json!([{ "authority": format!("{name}.upstream"), "path": "/echo?q=1" },
            { "authority": format!("{name}.upstream"), "path": "/echo", "first_byte_ms": 0 }]);
        for path in ["/caller", "/caller/fail"] {
            answers.extend(web(&larder, Method::POST, path, calls.to_string()).await);
        }
        let body = json!({ "upstream": name, "data": "x", "times": 1 }).to_string();
        answers.extend(api.execute("signer", json!({ "body": body })).await.to_string().into_bytes());
    }
    let arrived = format!("{:?}", service.received());
    for kind in ["bearer token", "key in a header", "key in the query"] {
        let canary = canaries.iter().find(|canary| canary.kind == kind).unwrap();
        assert!(arrived.contains(&canary.text), "the {kind} was not even sent: {arrived}");
    }
    let keyed = api.request(Method::POST, "/functions/saver/executions").header("idempotency-key", "k");
    Api::try_send(keyed.json(&json!({ "path": "/hello", "method": "GET" }))).await.unwrap().is(201);
    eventually("the records", async || (api.executions("caller").await.len() >= 2 * upstreams.len()).then_some(()))
        .await;

    let mut records = vec![];
    for function in ["keeper", "stranger", "saver", "caller", "signer"] {
        records.extend(json!(api.executions(function).await).to_string().into_bytes());
    }
    let mut pages = vec![];
    for page in ["/metrics", "/health/ready?verbose"] {
        pages.extend(larder.internal(page).await.1.into_bytes());
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut places = vec![
        Place { name: "answers", bytes: answers, marker: MARKER },
        Place { name: "errors and lists", bytes: errors, marker: "variable_cannot_unset_secret" },
        Place { name: "records", bytes: records, marker: "\"functionId\":\"keeper\"" },
        Place { name: "database", bytes: larder.dump().await, marker: "HIDDEN_1" },
        Place { name: "log", bytes: larder.log().into_bytes(), marker: "TRACE" },
        Place { name: "metrics", bytes: pages, marker: "larder_store_statements_total" },
    ];
    if let Some(heard) = heard {
        places.push(Place { name: "Redis", bytes: heard.lock().unwrap().clone(), marker: "larder_test_" });
    }
    let mut sum = 0;
    for place in &places {
        assert!(larder_tests::holds(&place.bytes, place.marker.as_bytes()), "{} has no {}", place.name, place.marker);
        let here = found(&canaries, &place.bytes);
        assert_eq!(here, [""; 0], "in {}", place.name);
        sum += here.len();
    }
    let names: Vec<String> =
        places.iter().map(|place| format!("{} ({} bytes)", place.name, place.bytes.len())).collect();
    println!("canaries: {} secrets, {sum} found in {}", canaries.len(), names.join(", "));

    // The search does find what is put there on purpose.
    let own = web(&larder, Method::GET, "/keeper/environment", String::new()).await;
    assert_eq!(found(&canaries, &own), ["granted variable", "second granted variable", "third granted variable"]);
    let planted = &canaries[7].text;
    let refused = api.get(&format!("/functions?queries[]={planted}")).await;
    assert_eq!(found(&canaries, refused.body.to_string().as_bytes()), [canaries[7].kind]);
    api.execute("saver", json!({ "path": format!("/hello/{planted}"), "method": "GET" })).await;
    let record = eventually("the record", async || {
        let executions = json!(api.executions("saver").await).to_string();
        executions.contains(planted.as_str()).then_some(executions)
    })
    .await;
    assert_eq!(found(&canaries, record.as_bytes()), [canaries[7].kind]);
    assert_eq!(found(&canaries, &larder.dump().await), [canaries[7].kind]);
});
