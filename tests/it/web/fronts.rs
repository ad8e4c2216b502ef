//! Fronts: what passes through one, what does not, and what somebody reaches who has taken it over.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use larder_tests::front::{Front, Stolen, connect, cores_of};
use larder_tests::outside::Authority;
use larder_tests::secure::{ask, http2, read_out, write};
use larder_tests::services::free_port;
use larder_tests::{Backend, Larder, Options, both, eventually, guests, within};
use reqwest::{Body, Method};
use rustix::process::Signal;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

/// A core with two functions that listens for fronts.
async fn core(options: Options) -> (Larder, String) {
    let core = Larder::start_with(options.set("LARDER_FRONT__LISTEN", format!("127.0.0.1:{}", free_port()))).await;
    for (guest, route) in [("hostile", "/hostile"), ("mirror", "/mirror")] {
        core.api().deploy(guest, &guests::guest(guest), json!({ "routes": [route], "timeout": 25 })).await;
    }
    let cores = cores_of(&core).await;
    (core, cores)
}

/// A front's settings: this test stands before it as a proxy that says who the client is.
fn before(cores: &str) -> Vec<(&'static str, String)> {
    vec![
        ("LARDER_FRONT__CORES", cores.into()),
        ("LARDER_FRONT__POLL", "300ms".into()),
        ("LARDER_FRONT__ANSWER_TIMEOUT", "8s".into()),
        ("LARDER_SERVER__PROXIES", r#"["127.0.0.0/8"]"#.into()),
    ]
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

/// A request as a front passes it on.
fn passed_on(method: &str, host: &str, path: &str, more: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nlarder-front-client: 127.0.0.1:9\r\nlarder-front-scheme: https\r\n\
         connection: close\r\n{more}\r\n"
    )
}

both!(a_front_passes_on_what_everybody_may_reach_and_the_core_decides, async |on| {
    let (mut core, cores) = core(Options::on(on)).await;
    let authority = Authority::new();
    let (chain, key) = authority.issue_until(&["demo.localhost", "demo-api.localhost", "localhost"], 2099);
    let files = ["server.pem", "server.key"].map(|name| core.scratch().join(name));
    write(&files[0], &chain);
    write(&files[1], &key);
    let files = files.map(|file| file.to_str().expect("text").to_owned());
    let [certificate, key] = files;
    let tls = [
        ("LARDER_TLS__LISTEN", "127.0.0.1:0".to_owned()),
        ("LARDER_TLS__CERTIFICATE_FILE", certificate),
        ("LARDER_TLS__KEY_FILE", key),
        ("LARDER_TLS__HSTS", "max-age=600".to_owned()),
    ];
    let mut front = Front::start("edge-1", &core, &[before(&cores), tls.to_vec()].concat()).await;

    // What a function is told: the client as the front knows it, and nothing of the front.
    let asked =
        front.at("demo.localhost", Method::POST, "/mirror/a%2Fb?x=1&x").header("x-forwarded-for", "203.0.113.9");
    let asked = asked.header("larder-front-client", "198.51.100.1:1").header("larder-front-scheme", "https");
    let answer = asked.header("expect", "100-continue").body("hello").send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let told: Value = answer.json().await.expect("JSON");
    assert_eq!(
        (&told["method"], &told["target"], &told["body"]),
        (&json!("POST"), &json!("/mirror/a%2Fb?x=1&x"), &json!("hello"))
    );
    let headers: Vec<(String, String)> = serde_json::from_value(told["headers"].clone()).expect("pairs");
    let told = |name: &str| headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    assert_eq!(told("x-appwrite-client-ip"), Some("203.0.113.9"));
    assert!(headers.iter().all(|(name, _)| !name.starts_with("larder-front")), "{headers:?}");

    // Doors, at the front. The client is this machine, and inside for doors.api of the core.
    for (host, path, expected) in [
        ("demo.localhost", "/hostile/scheme", 200),
        ("demo.localhost", "/nothing", 404),
        ("x.functions.localhost", "/", 404),
        ("demo-api.localhost", "/v1/health", 404),
        ("demo-api.localhost", "/hostile/scheme", 404),
        ("demo.localhost", "/v1/health", 404),
        ("demo.localhost", "/depo", 404),
        ("demo.localhost", "/%2e%2e/depo", 404),
        ("demo.localhost", "/internal/x", 404),
        ("localhost", "/meta_depo", 404),
        ("localhost", "/v1/health", 404),
        ("localhost", "/hostile/scheme", 404),
        ("127.0.0.1", "/hostile/scheme", 404),
        ("evil.example", "/hostile/scheme", 404),
    ] {
        let answer =
            front.at(host, Method::GET, path).header("x-larder-partner", "demo").send().await.expect("an answer");
        assert_eq!(answer.status(), expected, "{host}{path}");
    }
    let socket = front.at("demo.localhost", Method::GET, "/hostile").header("connection", "upgrade");
    assert_eq!(socket.header("upgrade", "websocket").send().await.expect("an answer").status(), 501);

    by_tls(&front, &authority).await;
    streams(&front).await;
    whatever_is_written(&core, &front).await;
    // A core that takes too long.
    let late = async {
        let answer = front.at("demo.localhost", Method::GET, "/mirror?ms=12000").send().await.expect("an answer");
        assert_eq!(answer.status(), 504);
        answer.json::<Value>().await.expect("a problem")
    };
    let (late, ()) = futures::join!(late, taken_over(&core, &front, &cores));
    assert_eq!(late["type"], "front_outcome_unknown", "{late}");

    let (_, metrics) = front.page("/metrics").await;
    for line in [
        format!(r#"larder_front_requests_total{{core="{cores}",result="answered"}}"#),
        r#"larder_doors_closed_total{door="2"}"#.into(),
        "larder_front_certificate_expires_timestamp_seconds ".into(),
    ] {
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }

    // The core dies within a request, which is not sent again; it is away, and comes back.
    let running = front.at("demo.localhost", Method::POST, "/mirror?ms=4000").body("once").send();
    let (running, ()) = futures::join!(running, async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        core.kill();
    });
    let running = running.expect("an answer");
    assert_eq!(running.status(), 502);
    let problem: Value = running.json().await.expect("a problem");
    assert_eq!(problem["type"], "front_outcome_unknown", "{problem}");
    let answer = front.at("demo.localhost", Method::GET, "/hostile/fine").send().await.expect("an answer");
    assert_eq!(answer.status(), 502);
    let problem: Value = answer.json().await.expect("a problem");
    assert_eq!(problem["type"], "front_no_core", "{problem}");
    eventually("it is not ready", async || (front.page("/health/ready").await.0 == 503).then_some(())).await;
    core.restart().await;
    eventually("the core to be back", async || {
        let answer = front.at("demo.localhost", Method::GET, "/hostile/fine").send().await.expect("an answer");
        (answer.status() == 200).then_some(())
    })
    .await;
    eventually("it is ready", async || (front.page("/health/ready").await.0 == 200).then_some(())).await;

    removed(&core, &front, &cores).await;
    front.signal(Signal::TERM);
    assert_eq!(front.ended().await, Some(0));
});

/// TLS ends at the front, and its bounds and protocols are those of every listener.
async fn by_tls(front: &Front, authority: &Authority) {
    let log = front.log();
    let line = log.lines().rfind(|line| line.contains("TLS is served")).expect("TLS");
    let address = line.split(' ').find_map(|word| word.strip_prefix("tls=")).expect("an address");
    let connector = TlsConnector::from(Arc::new(authority.client(&["h2"], rustls::DEFAULT_VERSIONS)));
    let name = ServerName::try_from("demo.localhost").expect("a name");
    let stream = connector.connect(name, TcpStream::connect(address).await.expect("a connection")).await;
    let client = http2(stream.expect("a handshake")).await;
    for (method, uri, status, body) in [
        ("GET", "https://demo.localhost/hostile/scheme", 200, "https"),
        ("HEAD", "https://demo.localhost/hostile/scheme", 200, ""),
        ("POST", "https://demo.localhost/hostile/echo", 200, "and back"),
        ("GET", "https://demo-api.localhost/v1/health", 404, ""),
        ("GET", "https://evil.example/hostile/scheme", 421, ""),
    ] {
        let request = http::Request::builder().method(method).uri(uri).body(()).expect("a request");
        let sent = if method == "POST" { body } else { "" };
        let answer = ask(&client, request, sent).await.expect("an answer");
        assert_eq!(answer.status(), status, "{uri}");
        assert_eq!(answer.headers()["strict-transport-security"], "max-age=600");
        if status == 200 {
            assert_eq!(String::from_utf8_lossy(answer.body()), body, "{method} {uri}");
        }
    }
}

/// Bodies go through in both directions as they come, and large ones whole.
async fn streams(front: &Front) {
    let (parts, body) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = futures::stream::unfold(body, async |mut body| Some((body.recv().await?, body)));
    parts.send(Ok("first ".into())).await.expect("room");
    let call = front.at("demo.localhost", Method::POST, "/hostile/echo").body(Body::wrap_stream(Box::pin(body)));
    let mut answer = call.send().await.expect("a head before the body's end");
    for part in ["second ", "third "] {
        assert!(answer.chunk().await.expect("more").is_some(), "the echo of the part before {part}");
        parts.send(Ok(part.into())).await.expect("room");
    }
    drop(parts);
    while answer.chunk().await.expect("a clean end").is_some() {}
    let large = Bytes::from((0..8 << 20).map(|at| (at / 4096 % 251) as u8).collect::<Vec<u8>>());
    let answer = front.at("demo.localhost", Method::POST, "/hostile/echo").body(large.clone()).send().await;
    assert!(answer.expect("an answer").bytes().await.expect("a body") == large);
    let poured = front.at("demo.localhost", Method::GET, "/hostile/pour?8388608").send().await.expect("an answer");
    assert_eq!(poured.bytes().await.expect("a body").len(), 8 << 20);
    // Of an answer that breaks off, the end is missing here too.
    let half = front.at("demo.localhost", Method::GET, "/hostile/trap-midway?200").send().await.expect("a head");
    assert!(half.bytes().await.is_err());
}

/// A function cannot make the front send its request again.
async fn whatever_is_written(core: &Larder, front: &Front) {
    let before = core.api().executions("hostile").await.len();
    let answer = front.at("demo.localhost", Method::GET, "/hostile/attributes").send().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.headers().contains_key("larder-front-not-begun")), (200, false));
    eventually("its one record", async || (core.api().executions("hostile").await.len() == before + 1).then_some(()))
        .await;
}

/// Whoever has the front's key speaks to the core as he likes, and reaches doors 5 and 6.
async fn taken_over(core: &Larder, front: &Front, cores: &str) {
    let stolen = front.stolen();
    let key = core.key();
    let fine = stolen.raw(cores, &passed_on("GET", "demo.localhost", "/hostile/fine", "")).await;
    assert!(status(&fine) == "200" && fine.ends_with("fine\n"), "the way in works: {fine}");
    let api = format!(
        "x-appwrite-key: {key}\r\nx-appwrite-project: demo\r\nx-forwarded-for: 10.0.0.1\r\nforwarded: for=10.0.0.1\r\n"
    );
    for (host, path) in [
        ("demo-api.localhost", "/v1/functions"),
        ("demo-api.localhost", "http://demo-api.localhost/v1/functions"),
        ("DEMO-API.localhost:80", "/v1/functions"),
        ("demo-api.localhost", "/v1/health"),
        ("demo-api.localhost", "/%76%31/functions"),
        ("demo-api.localhost", "//v1/functions"),
        ("demo-api.localhost", "/V1/functions"),
        ("demo-api.localhost", "/"),
        ("localhost", "/v1/functions"),
        ("localhost", "/v1/operator/fronts"),
        ("localhost", "/meta_depo"),
        ("localhost", "/hostile/fine"),
        ("127.0.0.1", "/v1/functions"),
        ("[::1]", "/v1/functions"),
        ("127.0.0.1", "/hostile/fine"),
        ("demo.localhost", "/v1/functions"),
        ("demo.localhost", "/depo"),
        ("demo.localhost", "/x/../depo"),
        ("demo.localhost", "/depo;x"),
        ("demo.localhost", "/health/ready"),
        ("demo.localhost", "/metrics"),
        ("demo.localhost", "/v1/realtime?project=demo&channels[]=executions"),
        ("demo-api.localhost", "/v1/realtime?project=demo&channels[]=executions"),
        ("demo.localhost", "/names/demo.localhost"),
        ("demo.localhost", "/renewal"),
        ("core.larder.internal", "/names/demo.localhost"),
        ("evil.example", "/hostile/fine"),
    ] {
        let answer = stolen.raw(cores, &passed_on("GET", host, path, &api)).await;
        assert!(["404", "421"].contains(&status(&answer)), "{host} {path}: {answer}");
        let upgrade = format!(
            "{api}upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        );
        let answer = stolen.raw(cores, &passed_on("GET", host, path, &upgrade)).await;
        assert!(["404", "421", "501"].contains(&status(&answer)), "{host} {path}: {answer}");
    }
    // What it must say of a client; two hosts; another protocol.
    let of =
        |head: &str| format!("GET /hostile/fine HTTP/1.1\r\nconnection: close\r\nhost: demo.localhost\r\n{head}\r\n");
    for (head, expected) in [
        (of(""), "400"),
        (of("larder-front-client: 127.0.0.1:1\r\n"), "400"),
        (of("larder-front-client: me\r\nlarder-front-scheme: http\r\n"), "400"),
        (passed_on("GET", "demo.localhost\r\nhost: demo-api.localhost", "/v1/functions", ""), "400"),
        (passed_on("CONNECT", "demo.localhost", "demo.localhost:443", ""), "405"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), "400"),
    ] {
        let answer = stolen.raw(cores, &head).await;
        assert!(answer.is_empty() || status(&answer) == expected, "{head}: {answer}");
    }
    let mut http2 = stolen.0.requests.as_ref().clone();
    http2.alpn_protocols = vec![b"h2".to_vec()];
    assert!(connect(cores, http2.into()).await.is_err(), "HTTP/2 is not spoken there");
    let mut none = stolen.0.requests.as_ref().clone();
    none.alpn_protocols.clear();
    let unsaid = match connect(cores, none.into()).await {
        Ok(stream) => read_out(stream, &passed_on("GET", "demo.localhost", "/hostile/fine", "")).await,
        Err(_) => String::new(),
    };
    assert_eq!(unsaid, "", "nor is anything that was not agreed");

    // What it may ask for itself.
    let names = async |name: &str| {
        let answer = stolen.ask(cores, "GET", &format!("/names/{name}")).await;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    };
    assert!(names("demo.localhost").await.contains(r#""is_ours":true"#), "{}", names("demo.localhost").await);
    for name in ["demo-api.localhost", "localhost", "127.0.0.1", "evil.example", "..", ""] {
        let said = names(name).await;
        assert!(!said.contains(r#""is_ours":true"#) && !said.contains("PRIVATE"), "{name}: {said}");
    }
    for path in
        ["/v1/functions", "/health/ready", "/metrics", "/", "/hostile/fine", "/names", "/challenges/evil.example/x"]
    {
        assert_eq!(status(&stolen.ask(cores, "GET", path).await), "404", "{path}");
    }

    // Whoever has no certificate of the authority, or that of a core only.
    let stranger = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into());
    let stranger = stranger
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(rustls::RootCertStore::empty());
    assert!(connect(cores, stranger.with_no_client_auth().into()).await.is_err());
}

/// A front that is limited to names, one whose name is taken, and the end of one.
async fn removed(core: &Larder, front: &Front, cores: &str) {
    let limited = Front::prepared(&[]);
    limited.enrol("edge-2", core, &["--names", "other.localhost,*.functions.localhost"]).await;
    let stolen = limited.stolen();
    let fine = |host: &str| passed_on("GET", host, "/hostile/fine", "");
    assert_eq!(status(&stolen.raw(cores, &fine("demo.localhost")).await), "421");
    assert_eq!(status(&stolen.raw(cores, &fine("other.localhost")).await), "404", "there is no such partner");
    assert!(!stolen.ask(cores, "GET", "/names/demo.localhost").await.contains(r#""is_ours":true"#));

    let cli = async |arguments: &[&str]| core.cli(core.scratch(), arguments).await;
    let (code, listed, err) = cli(&["front", "list"]).await;
    assert!(code == 0 && listed.contains("edge-1") && listed.contains("other.localhost"), "{listed}{err}");
    // The same once more is as good as once; another key is not.
    front.enrol("edge-1", core, &[]).await;
    let folder = Front::prepared(&[]).folder();
    let folder = folder.to_str().expect("text");
    let (code, _, err) = cli(&["front", "enrol", "edge-1", "--folder", folder]).await;
    assert!(code == 1 && err.contains("remove it first"), "{err}");
    let operator = core.operator();
    let wrong = json!({ "name": "Edge", "publicKey": "-----BEGIN PUBLIC KEY-----" });
    assert!(operator.post("/operator/fronts", wrong).await.is_error(400, "general_argument_invalid").contains("name"));
    let wrong = json!({ "name": "edge-3", "publicKey": "no key" });
    assert!(operator.post("/operator/fronts", wrong).await.is_error(400, "general_argument_invalid").contains("PEM"));
    operator.get("/operator/fronts/edge-9").await.is_error(404, "front_not_found");
    operator.delete("/operator/fronts/edge-9").await.is_error(404, "front_not_found");

    let kept = front.stolen();
    let mut running = front.at("demo.localhost", Method::GET, "/hostile/drip").send().await.expect("a head");
    assert!(running.chunk().await.expect("a part").is_some());
    let (code, _, err) = cli(&["front", "remove", "edge-1"]).await;
    assert_eq!(code, 0, "{err}");
    let ended = async { while running.chunk().await.is_ok_and(|part| part.is_some()) {} };
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("a running answer ends");
    let answer = front.at("demo.localhost", Method::GET, "/hostile/fine").send().await.expect("an answer");
    assert_eq!(answer.status(), 502);
    eventually("the front says why", async || front.log().contains("enrol it again: larder front enrol").then_some(()))
        .await;
    let refused = match kept.connect(cores).await {
        Ok(stream) => read_out(stream, &fine("demo.localhost")).await,
        Err(_) => String::new(),
    };
    assert_eq!(refused, "", "nothing is read of it");
    // The key that was refused does not come back under another certificate.
    let again = Front::prepared(&[]);
    again.enrol("edge-1", core, &[]).await;
    let refused = match kept.connect(cores).await {
        Ok(stream) => read_out(stream, &fine("demo.localhost")).await,
        Err(_) => String::new(),
    };
    assert_eq!(refused, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_front_renews_its_certificate_and_requests_go_on() {
    let (core, cores) = core(Options::default().set("LARDER_FRONT__LIFETIME", "10s")).await;
    let front = Front::start("edge-1", &core, &before(&cores)).await;
    let first = front.stolen();
    let mut answered = 0;
    let over = within(Duration::from_secs(30), "two renewals", async || {
        let answer = front.at("demo.localhost", Method::GET, "/hostile/fine").send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{}", front.log());
        answered += 1;
        (Stolen::of(&front.folder()).0.not_after_ms > first.0.not_after_ms + 10_000).then_some(())
    });
    over.await;
    assert!(answered > 10);
    let refused = match first.connect(&cores).await {
        Ok(stream) => read_out(stream, &passed_on("GET", "demo.localhost", "/hostile/fine", "")).await,
        Err(_) => String::new(),
    };
    assert_eq!(refused, "", "the first one has ended");
    let listed = core.operator().get("/operator/fronts/edge-1").await.is(200);
    assert!(listed["notAfter"].as_str() > listed["$createdAt"].as_str(), "{listed}");
}

// Two cores, of which one goes and comes while requests with effects arrive: none is lost, none is done twice.
#[tokio::test(flavor = "multi_thread")]
async fn requests_go_to_another_core_when_one_leaves() {
    let objects = tempfile::tempdir().expect("a folder");
    let options = || {
        let options =
            Options::on(Backend::Services).set("LARDER_OBJECTS__URL", format!("file://{}", objects.path().display()));
        options.set("LARDER_FRONT__LISTEN", format!("127.0.0.1:{}", free_port())).set("LARDER_SERVER__GRACE", "20s")
    };
    let one = Larder::start_with(options()).await;
    one.api().deploy("mirror", &guests::guest("mirror"), json!({ "routes": ["/mirror"] })).await;
    let mut two = one.start_beside(options()).await;
    let cores = format!("{},{}", cores_of(&one).await, cores_of(&two).await);
    let front = Front::start("edge-1", &one, &before(&cores)).await;
    eventually("both to be reached", async || {
        let (_, ready) = front.page("/health/ready?verbose").await;
        let answer = front.at("demo.localhost", Method::GET, "/mirror").send().await.expect("an answer");
        (answer.status() == 200 && ready.matches(": ok").count() == 2).then_some(())
    })
    .await;
    let send = async |number: usize| {
        let body = format!("{number} {}", "x".repeat(number % 3 * 20_000));
        let call = front.at("demo.localhost", Method::POST, &format!("/mirror/{number}?ms={}", number % 7)).body(body);
        call.send().await.expect("an answer").status().as_u16()
    };
    let mut sent = 0;
    while sent < 150 {
        if sent == 50 {
            two.signal(Signal::TERM);
        }
        let all = futures::future::join_all((sent..sent + 5).map(send)).await;
        assert!(all.iter().all(|status| *status == 200), "{all:?} {}", front.log());
        sent += 5;
    }
    assert_eq!(two.ended().await, Some(0));
    let done = eventually("all records", async || {
        let all = one.api().all("/functions/mirror/executions", "executions").await;
        let paths = all.iter().filter_map(|one| one["requestPath"].as_str()?.strip_prefix("/mirror/"));
        let numbers: Vec<usize> = paths.filter_map(|path| path.split('?').next()?.parse().ok()).collect();
        (numbers.len() >= sent).then_some(numbers)
    });
    let mut done = done.await;
    done.sort_unstable();
    assert_eq!(done, (0..sent).collect::<Vec<_>>(), "each was carried out once");
    let (_, metrics) = front.page("/metrics").await;
    assert!(metrics.lines().filter(|line| line.starts_with("larder_front_requests_total")).count() >= 2, "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_front_does_not_start_with_what_is_the_cores_or_without_its_key() {
    let front = Front::prepared(&[]);
    let refusal = |settings: &[(&str, &str)]| {
        let output = std::process::Command::new(Larder::binary())
            .args(["serve", "--roles", "front"])
            .envs([("LARDER_SERVER__LISTEN", "127.0.0.1:0"), ("LARDER_SERVER__INTERNAL", "127.0.0.1:0")])
            .env("LARDER_FRONT__FOLDER", front.folder())
            .envs(settings.iter().copied())
            .output()
            .expect("it runs");
        assert!(!output.status.success(), "it starts");
        String::from_utf8(output.stderr).expect("text")
    };
    let cores = ("LARDER_FRONT__CORES", "127.0.0.1:1");
    for (variable, value, key) in [
        ("LARDER_DATABASE__URL", "mysql://larder@db/larder", "database.url"),
        ("LARDER_SECRETS__MASTER_KEY_FILE", "master.key", "secrets.master_key_file"),
        ("LARDER_SECRETS__OPERATOR_KEY_FILE", "operator.key", "secrets.operator_key_file"),
        ("LARDER_OBJECTS__URL", "s3://bucket/x", "objects.url"),
        ("LARDER_OBJECTS__ACCESS_KEY_FILE", "access", "objects.access_key_file"),
    ] {
        let said = refusal(&[cores, (variable, value)]);
        assert!(said.contains(key) && said.contains("a front must not have this"), "{key}: {said}");
    }
    let said = refusal(&[]);
    assert!(said.contains("front.cores must name the cores"), "{said}");
    let said = refusal(&[cores]);
    assert!(said.contains("front.key") && said.contains("larder front request"), "{said}");
    let said = refusal(&[cores, ("LARDER_FRONT__LISTEN", "127.0.0.1:0")]);
    assert!(said.contains("front.listen"), "{said}");
    let said = Larder::refusal(&[("LARDER_FRONT__CORES", "127.0.0.1:1".into())]);
    assert!(said.contains("front.cores is for a process with --roles front"), "{said}");
    let all = std::process::Command::new(Larder::binary())
        .args(["serve", "--roles", "front,web"])
        .env("LARDER_FRONT__CORES", "127.0.0.1:1")
        .output()
        .expect("it runs");
    assert!(String::from_utf8_lossy(&all.stderr).contains("a front has no other role"), "{all:?}");
}
