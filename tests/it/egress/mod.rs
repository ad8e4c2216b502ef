//! Outgoing HTTP: what functions may call, how, and what servers can do to them. The other side is on this machine.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use larder_tests::outside::{Authority, Names, Outside};
use larder_tests::{Api, Larder, Options, both, eventually, guests};
use reqwest::Method;
use serde_json::{Value, json};

mod addresses;
mod upstreams;

/// A larder with the function `caller` of partner `demo`, and names that only this test gives meaning to.
struct World {
    larder: Larder,
    names: Names,
}

impl World {
    async fn new(options: Options) -> World {
        World::behind(&[], options).await
    }

    /// Other name servers are asked first.
    async fn behind(servers: &[SocketAddr], options: Options) -> World {
        let names = Names::start().await;
        let servers = json!([servers, &[names.address]].concat());
        let options = options.set("LARDER_EGRESS__DNS_SERVERS", servers.to_string());
        let larder = Larder::start_with(options).await;
        larder.api().deploy("caller", &guests::guest("caller"), json!({ "routes": ["/call"], "timeout": 25 })).await;
        World { larder, names }
    }

    async fn grant(&self, http: Value) {
        self.larder.api().grant("caller", json!({ "http": http })).await;
    }

    /// One call after the other; what the guest tells of each.
    async fn call(&self, calls: Value) -> Vec<Value> {
        self.call_at("/call", calls).await
    }

    async fn call_at(&self, path: &str, calls: Value) -> Vec<Value> {
        let answer =
            self.larder.web("demo", Method::POST, path).body(calls.to_string()).send().await.expect("an answer");
        let (status, text) = (answer.status(), answer.text().await.expect("a body"));
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).expect("what was told")
    }

    async fn get(&self, authority: &str, path: &str) -> Value {
        self.call(json!([{ "authority": authority, "path": path }])).await.remove(0)
    }

    /// What the owner of the function reads of its runs, all of them, once this is part of it: records are written behind.
    async fn owner_reads(&self, part: &str) -> String {
        eventually(&format!("the function's owner to read {part:?}"), async || {
            let executions = self.larder.api().executions("caller").await;
            let errors = executions.iter().map(|execution| execution["errors"].as_str().unwrap_or_default());
            Some(errors.collect::<String>()).filter(|errors| errors.contains(part))
        })
        .await
    }

    async fn metric(&self, begin: &str) -> f64 {
        let (_, text) = self.larder.internal("/metrics").await;
        text.lines()
            .filter(|line| line.starts_with(begin))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

/// A guest is told that asking again would not help.
const TOO_LARGE: &str = "HttpResponseBodySize";

/// Plain HTTP to these hosts, which may lie on this machine.
fn here(hosts: &[&str]) -> Value {
    json!([{ "scheme": "http", "hosts": hosts, "methods": ["GET", "HEAD", "POST"], "calls": 1000, "bytes": 64 << 20, "network": "127.0.0.0/8" }])
}

both!(outgoing_request_needs_a_grant_and_names_its_function, async |on| {
    let world = World::new(Options::on(on)).await;
    let server = Outside::start().await;
    let here = server.address.to_string();
    let ask = json!([
        { "authority": here, "path": "/v1/odds?league=7", "headers": [
            ["accept", "text/plain"], ["x-forwarded-for", "1.2.3.4"], ["via", "1.1 x"], ["te", "trailers"], ["forwarded", "for=x"],
            ["tracestate", "a=b"], ["traceparent", "x"], ["expect", "100-continue"],
        ] },
        { "authority": here, "path": "/v1/odds", "method": "POST", "body": "hello" },
        { "authority": here, "path": "/v1/odds", "method": "DELETE" },
        { "authority": here, "path": "/v1/odds/../users" },
        { "authority": here, "path": "/v2" },
        { "authority": here, "path": "/v1/odds", "scheme": "https" },
        { "authority": format!("localhost:{}", server.port()), "path": "/v1/odds" },
        { "authority": here, "path": "/v1/odds", "method": "TRACE" },
        { "authority": here, "path": "/v1/odds", "method": "CONNECT" },
        { "authority": here, "path": "/v1/odds", "method": "PRI" },
    ]);
    // Without any grant, each is refused by name.
    let told = world.call(ask.clone()).await;
    assert!(told.iter().all(|told| told["error"] == "HttpRequestDenied"), "{told:?}");
    world
        .grant(json!([{
            "scheme": "http", "hosts": [here], "methods": ["GET", "POST"], "paths": ["/v1/odds"], "network": "127.0.0.0/8",
        }]))
        .await;
    let told = world.call(ask).await;
    assert_eq!((&told[0]["status"], &told[0]["text"]), (&json!(200), &json!("hello")), "{told:?}");
    assert_eq!(told[1]["status"], 200, "{told:?}");
    for refused in &told[2..7] {
        assert_eq!(refused["error"], "HttpRequestDenied", "{told:?}");
    }
    for refused in &told[7..] {
        assert_eq!(refused["error"], "HttpRequestMethodInvalid", "{told:?}");
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(asked[0].line, "GET /v1/odds?league=7 HTTP/1.1");
    assert_eq!(asked[0].header("host"), here);
    assert_eq!(asked[0].header("accept"), "text/plain");
    for gone in ["x-forwarded-for", "via", "te", "forwarded", "tracestate", "expect", "connection", "transfer-encoding"]
    {
        assert_eq!(asked[0].header(gone), "", "{gone} was sent: {:?}", asked[0]);
    }
    assert_eq!(asked[1].body, b"hello");
    let key = asked[0].header("idempotency-key");
    let id = key.strip_suffix("-c1").expect("the first call");
    eventually("the record of the run", async || {
        let executions = world.larder.api().executions("caller").await;
        executions.iter().any(|execution| execution["$id"] == id).then_some(())
    })
    .await;
    assert_eq!(
        [asked[0].header("idempotency-key"), asked[1].header("idempotency-key")],
        [format!("{id}-c1"), format!("{id}-c2")]
    );
    let traces = [asked[0].header("traceparent"), asked[1].header("traceparent")];
    assert!(traces[0].len() == 55 && traces[0].starts_with("00-") && traces[0].ends_with("-01"), "{traces:?}");
    assert_eq!(traces[0][..36], traces[1][..36]);
    assert_ne!(traces[0], traces[1]);
    let line = format!(
        "larder: DELETE http://{here}/v1/odds refused: no grant covers it; add to larder.toml: [[grants.http]] \
         scheme = \"http\" hosts = [\"{here}\"] methods = [\"DELETE\"]"
    );
    let errors = world.owner_reads(&line).await;
    assert!(errors.contains("TRACE is none of the methods"), "{errors}");
    assert!(!errors.contains("league=7"), "queries are nobody's business: {errors}");
});

#[tokio::test(flavor = "multi_thread")]
async fn redirects_and_proxies_lead_nowhere() {
    let canary = Outside::at("127.0.0.3:0").await;
    let proxy = format!("http://{}", canary.address);
    let options = Options::default()
        .set("HTTP_PROXY", &proxy)
        .set("http_proxy", &proxy)
        .set("HTTPS_PROXY", &proxy)
        .set("ALL_PROXY", &proxy)
        .set("all_proxy", &proxy);
    let world = World::new(options).await;
    let server = Outside::start().await;
    world.grant(here(&[&server.address.to_string()])).await;
    let told = world.get(&server.address.to_string(), &format!("/redirect?to={proxy}/secrets")).await;
    assert_eq!((&told["status"], &told["headers"]["location"]), (&json!(302), &json!(format!("{proxy}/secrets"))));
    // A guest that follows it comes back to the door.
    assert_eq!(world.get(&canary.address.to_string(), "/secrets").await["error"], "HttpRequestDenied");
    assert_eq!(canary.connections(), 0);
    let told = world.get(&server.address.to_string(), "/hop").await;
    let headers = told["headers"].as_object().expect("headers");
    assert!(headers.contains_key("x-kept"), "{headers:?}");
    for gone in ["connection", "keep-alive", "x-private", "proxy-authenticate"] {
        assert!(!headers.contains_key(gone), "{headers:?}");
    }
    // A coding of the body that nobody asked for and nobody undoes.
    assert_eq!(world.get(&server.address.to_string(), "/coded").await["error"], "HttpProtocolError");
}

#[tokio::test(flavor = "multi_thread")]
async fn misbehaving_servers_harm_only_the_request() {
    let options = Options::default()
        .set("LARDER_EGRESS__FIRST_BYTE_TIMEOUT", "1500ms")
        .set("LARDER_EGRESS__BETWEEN_BYTES_TIMEOUT", "1400ms")
        .set("LARDER_EGRESS__TIMEOUT", "4s")
        .set("LARDER_EGRESS__BODY_BYTES_MAX", "1000000");
    let world = World::new(options).await;
    let server = Outside::start().await;
    let at = server.address.to_string();
    world.grant(here(&[&at])).await;
    let servers = [
        ("/never", "HttpResponseTimeout", "", "the answer did not begin within 1500 ms"),
        ("/interim", "HttpResponseTimeout", "", "the answer did not begin within 1500 ms"),
        ("/slow-body", "", "HttpResponseTimeout", "no part of the answer's body arrived for 1400 ms"),
        ("/trickle", "", "HttpResponseTimeout", "the call was not over within 4000 ms"),
        ("/huge", "", TOO_LARGE, "more than 1000000 bytes (egress.body_bytes_max)"),
        ("/short", "", "HttpResponseIncomplete", "ended before the answer was complete"),
        ("/cut-chunks", "", "HttpResponseIncomplete", "ended before the answer was complete"),
        ("/bad-chunk", "", "HttpResponseIncomplete", "ended before the answer was complete"),
        ("/two-lengths", "HttpProtocolError", "", "not valid HTTP"),
        ("/endless-header", "HttpProtocolError", "", "the head of the answer has more than"),
        ("/many-headers", "HttpProtocolError", "", "the head of the answer has more than"),
        ("/switch", "HttpProtocolError", "", "switches protocols"),
        ("/nonsense", "HttpProtocolError", "", "not valid HTTP"),
        ("/close", "HttpResponseIncomplete", "", "ended before the answer was complete"),
    ];
    let calls = servers.map(async |(path, error, body_error, why)| {
        let begun = Instant::now();
        let told = world.get(&at, path).await;
        let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
        assert_eq!((text("error").as_str(), text("bodyError").as_str()), (error, body_error), "{path}: {told}");
        assert!(begun.elapsed() < Duration::from_secs(9), "{path} took {:?}", begun.elapsed());
        assert!(told["bytes"].as_u64().unwrap_or_default() <= 1_000_000, "{path}: {told}");
        let line = format!("larder: GET http://{at}{path} ");
        let errors = world.owner_reads(&line).await;
        let line = errors.lines().find(|said| said.starts_with(&line)).unwrap_or_else(|| panic!("{path}: {errors}"));
        assert!(line.contains(why), "{line}");
    });
    futures::future::join_all(calls).await;
    eventually("the connections to be closed", async || (server.open() == 0).then_some(())).await;
    for path in ["/", "/one-interim", "/missing", "/empty", "/big?bytes=999999"] {
        let told = world.get(&at, path).await;
        assert!(told["status"].is_u64() && told["bodyError"].is_null(), "{path}: {told}");
    }
    // What comes behind an answer is not the next one.
    assert_eq!(world.get(&at, "/long").await["text"], "hello");
    assert_eq!(world.get(&at, "/").await["text"], "hello");
    assert_eq!(world.metric("larder_egress_requests_total{result=\"timeout\"}").await, 2.0);
    assert!(world.metric("larder_egress_bytes_total{direction=\"in\"}").await > 1_000_000.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_limit_of_outgoing_requests_is_enforced_by_name() {
    let options = Options::default()
        .set("LARDER_EGRESS__CALLS_AT_ONCE", "3")
        .set("LARDER_EGRESS__CONNECTIONS_PER_PARTNER", "4")
        .set("LARDER_EGRESS__BODY_BYTES_MAX", "300000")
        .set("LARDER_EGRESS__TIME_PER_EXECUTION", "3s");
    let world = World::new(options).await;
    let server = Outside::start().await;
    let at = server.address.to_string();
    let grant = |calls: u32, bytes: u64| json!([{ "scheme": "http", "hosts": [at], "methods": ["GET", "POST"], "calls": calls, "bytes": bytes, "network": "127.0.0.0/8" }]);
    let get = |path: &str| json!({ "authority": at, "path": path });
    let post = |bytes: u32| json!({ "authority": at, "method": "POST", "body_bytes": bytes });
    let keep = |path: &str| json!({ "authority": at, "path": path, "keep": true });

    // Calls.
    world.grant(grant(2, 1_000_000)).await;
    let told = world.call(json!([get("/"), get("/missing"), get("/")])).await;
    assert_eq!(
        [&told[0]["status"], &told[1]["status"], &told[2]["error"]],
        [&json!(200), &json!(404), &json!("HttpRequestDenied")]
    );
    // The next run has its own.
    assert_eq!(world.get(&at, "/").await["status"], 200);
    // Bytes down, over all calls.
    world.grant(grant(100, 100_000)).await;
    let told = world.call(json!([get("/big?bytes=60000"), get("/big?bytes=60000"), get("/")])).await;
    assert_eq!(told[0]["bytes"], 60_000, "{told:?}");
    assert_eq!(
        (&told[1]["bodyError"], &told[2]["error"]),
        (&json!(TOO_LARGE), &json!("HttpRequestDenied")),
        "{told:?}"
    );
    // Bytes up.
    let told = world.call(json!([post(60_000), post(60_000), get("/")])).await;
    assert_eq!(
        [&told[0]["status"], &told[1]["error"], &told[2]["error"]],
        [&json!(200), &json!("HttpRequestBodySize"), &json!("HttpRequestDenied")],
        "{told:?}"
    );
    // One body.
    world.grant(grant(100, 60_000_000)).await;
    let told =
        world.call(json!([get("/big?bytes=300000"), get("/big?bytes=300001"), post(300_000), post(300_001)])).await;
    assert_eq!((&told[0]["bytes"], &told[1]["bodyError"]), (&json!(300_000), &json!(TOO_LARGE)), "{told:?}");
    assert_eq!((&told[2]["status"], &told[3]["error"]), (&json!(200), &json!("HttpRequestBodySize")), "{told:?}");
    // Calls at once.
    let told = world.call(json!([keep("/slow-body"), keep("/slow-body"), keep("/slow-body"), get("/")])).await;
    assert_eq!([&told[2]["status"], &told[3]["error"]], [&json!(200), &json!("ConnectionLimitReached")], "{told:?}");
    // Connections of the partner, over all its runs.
    let waiting = || world.call(json!([{ "authority": at, "path": "/never", "first_byte_ms": 2500 }]));
    let told = tokio::join!(waiting(), waiting(), waiting(), waiting(), waiting(), waiting());
    let told: Vec<String> =
        [told.0, told.1, told.2, told.3, told.4, told.5].iter().map(|told| told[0]["error"].to_string()).collect();
    assert_eq!(told.iter().filter(|error| error.contains("ConnectionLimitReached")).count(), 2, "{told:?}");
    // Time of all calls together.
    let told = world
        .call(json!([{ "authority": at, "path": "/never", "first_byte_ms": 2000 }, get("/never"), get("/")]))
        .await;
    let told: Vec<&Value> = told.iter().map(|told| &told["error"]).collect();
    assert_eq!(told, ["HttpResponseTimeout", "HttpResponseTimeout", "HttpRequestDenied"]);

    for named in [
        "the grant allows 2 calls of one execution (calls)",
        "the grant allows 100000 bytes of one execution (bytes)",
        "the answer's body has more than 300000 bytes (egress.body_bytes_max)",
        "the request's body has more than 300000 bytes (egress.body_bytes_max)",
        "3 calls of the execution are open, the most at once (egress.calls_at_once)",
        "4 connections of the partner are in use, the most it may have in this process (egress.connections_per_partner)",
        "the calls of one execution may take 3 s together (egress.time_per_execution)",
    ] {
        world.owner_reads(named).await;
    }
    assert!(world.metric("larder_egress_refusals_total{reason=\"crowded\"}").await >= 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shorter_of_two_timeouts_counts() {
    let options = Options::default()
        .set("LARDER_EGRESS__CONNECT_TIMEOUT", "3s")
        .set("LARDER_EGRESS__FIRST_BYTE_TIMEOUT", "3s")
        .set("LARDER_EGRESS__BETWEEN_BYTES_TIMEOUT", "3s");
    let world = World::new(options).await;
    let server = Outside::start().await;
    let at = server.address.to_string();
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = mute.local_addr().expect("an address").to_string();
    let secure = json!({ "scheme": "https", "hosts": [silent], "network": "127.0.0.0/8" });
    world.grant(json!([secure, here(&[&at])[0]])).await;
    let calls = [
        (json!({ "authority": at, "path": "/never", "first_byte_ms": 200 }), "error", "HttpResponseTimeout", 200, 2900),
        (
            json!({ "authority": at, "path": "/never", "first_byte_ms": 60000 }),
            "error",
            "HttpResponseTimeout",
            3000,
            9000,
        ),
        (
            json!({ "authority": at, "path": "/slow-body", "between_bytes_ms": 200 }),
            "bodyError",
            "HttpResponseTimeout",
            200,
            2900,
        ),
        (
            json!({ "authority": at, "path": "/slow-body", "between_bytes_ms": 60000 }),
            "bodyError",
            "HttpResponseTimeout",
            3000,
            9000,
        ),
        // A server that accepts and never says a word of TLS.
        (json!({ "authority": silent, "scheme": "https", "connect_ms": 200 }), "error", "ConnectionTimeout", 200, 2900),
        (
            json!({ "authority": silent, "scheme": "https", "connect_ms": 60000 }),
            "error",
            "ConnectionTimeout",
            3000,
            9000,
        ),
    ];
    let calls = calls.map(async |(call, key, error, least, most)| {
        let begun = Instant::now();
        let told = world.call(json!([call])).await.remove(0);
        let took = begun.elapsed().as_millis();
        assert_eq!(told[key], error, "{call}: {told}");
        assert!((least..most).contains(&took), "{call} took {took} ms");
    });
    futures::future::join_all(calls).await;
    // Waiting is free.
    let executions = world.larder.api().executions("caller").await;
    assert!(executions.iter().all(|execution| execution["status"] == "completed"), "{executions:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_its_execution() {
    let world = World::new(Options::default()).await;
    let server = Outside::start().await;
    let at = server.address.to_string();
    world.grant(here(&[&at])).await;
    let left_open = json!([
        { "authority": at, "path": "/slow-body", "keep": true },
        { "authority": at, "path": "/trickle", "keep": true },
        { "authority": at, "path": "/never", "forget": true },
    ]);
    let told = world.call(left_open).await;
    assert_eq!((&told[0]["status"], &told[2]["forgotten"]), (&json!(200), &json!(true)));
    eventually("the server to see three closed connections", async || {
        (server.open() == 0 && server.connections() >= 2).then_some(())
    })
    .await;
    eventually("no connection to be counted", async || {
        (world.metric("larder_egress_connections").await == 0.0).then_some(())
    })
    .await;
    // The same when the run is ended from outside, in the middle of a call.
    let api = world.larder.api();
    let settings = json!({ "name": "caller", "routes": ["/call"], "timeout": 1 });
    api.put("/functions/caller", settings).await.is(200);
    let calls = json!([{ "authority": at, "path": "/never" }]).to_string();
    let answer = world.larder.web("demo", Method::POST, "/call").body(calls).send().await.expect("an answer");
    assert_eq!(answer.status(), 504);
    eventually("the server to see its connection closed", async || (server.open() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_used_again_by_the_same_partner_only() {
    let world = World::new(Options::default().set("LARDER_EGRESS__IDLE_TIMEOUT", "2s")).await;
    let server = Outside::start().await;
    let at = server.address.to_string();
    world.grant(here(&[&at])).await;
    let get = json!({ "authority": at, "path": "/" });
    world.call(json!([get, get, get])).await;
    world.call(json!([get])).await;
    assert_eq!((server.asked().len(), server.connections()), (4, 1));
    // Another partner's function, with the same grant.
    world.larder.operator().post("/partners", json!({ "partnerId": "other", "name": "Other" })).await.is(201);
    let scopes = ["functions.read", "functions.write", "grants.read", "grants.write", "executions.read"];
    let key = world.larder.operator().post("/partners/other/keys", json!({ "name": "k", "scopes": scopes })).await;
    let key = key.body["secret"].as_str().unwrap_or_default().to_owned();
    let other: Api = world.larder.api_of(Some("other"), Some(&key));
    other.deploy("caller", &guests::guest("caller"), json!({ "routes": ["/call"] })).await;
    other.grant("caller", json!({ "http": here(&[&at]) })).await;
    let body = json!([get]).to_string();
    let answer = world.larder.web("other", Method::POST, "/call").body(body).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!((server.asked().len(), server.connections()), (5, 2));
    // One that waits too long is closed, and so is one that did not end as it should.
    eventually("idle connections to be closed", async || (server.open() == 0).then_some(())).await;
    world.call(json!([get, { "authority": at, "path": "/slow-body", "between_bytes_ms": 50 }, get])).await;
    assert_eq!(server.connections(), 4);
    // Another name of the same server has another connection.
    world.names.set("alias.example", &["127.0.0.1"]);
    let alias = format!("alias.example:{}", server.port());
    world.grant(here(&[&at, &alias])).await;
    world.call(json!([get, { "authority": alias }])).await;
    assert_eq!(server.connections(), 5);
    assert_eq!(server.asked().last().expect("a request").header("host"), alias);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_checked_against_the_name() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let file = authority.file(folder.path());
    let world = World::new(Options::default().set("LARDER_EGRESS__CA_FILE", file.to_str().expect("UTF-8"))).await;
    let server = Outside::start_tls(&authority, &["api.sports.example", "127.0.0.1"]).await;
    let stranger = Outside::start_tls(&Authority::new(), &["stranger.example"]).await;
    let port = server.port();
    for name in ["api.sports.example", "other.example", "stranger.example"] {
        world.names.set(name, &["127.0.0.1"]);
    }
    let right = format!("api.sports.example:{port}");
    let address = format!("127.0.0.1:{port}");
    let wrong = format!("other.example:{port}");
    let unknown = format!("stranger.example:{}", stranger.port());
    world.grant(json!([{ "hosts": [right, address, wrong, unknown], "network": "127.0.0.0/8" }])).await;
    let https = |authority: &str| json!({ "scheme": "https", "authority": authority });
    let told = world.call(json!([https(&right), https(&address), https(&wrong), https(&unknown)])).await;
    assert_eq!([&told[0]["status"], &told[1]["status"]], [&json!(200), &json!(200)], "{told:?}");
    assert_eq!(
        [&told[2]["error"], &told[3]["error"]],
        [&json!("TlsProtocolError"), &json!("TlsProtocolError")],
        "{told:?}"
    );
    assert_eq!(server.asked()[0].header("host"), right);
    assert_eq!((server.asked().len(), stranger.asked().len()), (2, 0));
    // Plain HTTP is another thing to be granted.
    assert_eq!(world.get(&right, "/").await["error"], "HttpRequestDenied");
    world.owner_reads("no TLS with other.example").await;
    world.owner_reads("no TLS with stranger.example").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_bodies_of_an_outgoing_request_stream_at_the_same_time() {
    let world = World::new(Options::default()).await;
    let server = Outside::start().await;
    let at = server.address.to_string();
    world.grant(here(&[&at])).await;
    let told = world
        .call(json!([
            { "authority": at, "path": "/echo", "method": "POST", "dialogue": ["one", "two", "three"] },
            { "authority": at, "path": "/", "method": "POST", "body_bytes": 3_000_000 },
        ]))
        .await;
    assert_eq!((&told[0]["status"], &told[0]["bodyError"]), (&json!(200), &Value::Null), "{told:?}");
    assert_eq!(told[1]["status"], 200, "{told:?}");
    assert_eq!(server.asked().last().expect("a request").body.len(), 3_000_000);
}

both!(repeated_outgoing_request_has_the_key_of_the_first, async |on| {
    let world = World::new(Options::on(on).set("LARDER_WORKER__RETRY_DELAY", "50ms")).await;
    let server = Outside::start().await;
    let at = server.address.to_string();
    world.grant(here(&[&at])).await;
    let calls = json!([
        { "authority": at, "path": "/first" }, { "authority": at, "path": "/refused", "method": "DELETE" }, { "authority": at, "path": "/last" },
        { "authority": at, "path": "/own", "headers": [["idempotency-key", "october"]] },
    ]);
    let body = json!({ "async": true, "method": "POST", "path": "/call/fail", "body": calls.to_string() });
    let execution = world.larder.api().post("/functions/caller/executions", body).await.is(202);
    let id = execution["$id"].as_str().expect("an id");
    let asked = eventually("three attempts", async || Some(server.asked()).filter(|asked| asked.len() >= 9)).await;
    let keys: Vec<String> = asked.iter().map(|asked| asked.header("idempotency-key")).collect();
    for attempt in keys.chunks(3) {
        assert_eq!(attempt, [format!("{id}-c1"), format!("{id}-c3"), "october".into()], "{keys:?}");
    }
});

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_outgoing_requests_run_in_parallel() {
    let world = World::new(Options::default()).await;
    let server = Outside::start().await;
    let at = server.address.to_string();
    world.grant(here(&[&at])).await;
    let waits: Vec<Value> =
        (0..8).map(|n| json!({ "authority": at, "path": format!("/never?{n}"), "first_byte_ms": 500 })).collect();
    let begun = Instant::now();
    let told = world.call_at("/call/at-once", waits.into()).await;
    assert!(told.iter().all(|told| told["error"] == "HttpResponseTimeout"), "{told:?}");
    assert!(begun.elapsed() < Duration::from_millis(2_500), "{:?}", begun.elapsed());
    // Keys follow the order in which the guest called, however the calls overtook each other.
    let asked = server.asked();
    assert_eq!(asked.len(), 8);
    for asked in asked {
        let nth = asked.line.split(['?', ' ']).nth(2).expect("a query").parse::<u32>().expect("a number") + 1;
        assert!(asked.header("idempotency-key").ends_with(&format!("-c{nth}")), "{asked:?}");
    }
}
