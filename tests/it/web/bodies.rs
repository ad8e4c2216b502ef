//! What clients send: who is refused sees the answer, nobody sends for ever, and nobody makes the process hold much.

use std::process::Stdio;
use std::time::{Duration, Instant};

use larder_tests::{Larder, Options, both, eventually, guests};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

async fn connected(larder: &Larder) -> TcpStream {
    TcpStream::connect(larder.address()).await.expect("a connection")
}

/// A request's head with the length of its body.
fn head(method: &str, path: &str, headers: &[(&str, &str)], length: usize) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\n{headers}content-length: {length}\r\n\r\n")
}

/// The next answer of a connection: its status, its head and its body.
async fn answer(stream: &mut TcpStream) -> std::io::Result<(u16, String, String)> {
    let mut bytes = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::Error::other(format!("no answer but {:?}", text(&bytes))));
        }
    };
    let head = text(&bytes[..end]).to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |it| it.parse().unwrap());
    let mut body = bytes.split_off(end);
    while body.len() < length {
        assert!(stream.read_buf(&mut body).await? > 0, "the answer breaks off");
    }
    Ok((head[9..12].parse().expect("a status"), head, text(&body)))
}

/// Method, path, headers and the status of the refusal.
type Refusal = (&'static str, &'static str, Vec<(&'static str, String)>, u16);

/// Everything that can be refused before its body was read, at every listener.
fn refusals(larder: &Larder) -> Vec<Refusal> {
    let key = larder.key().to_owned();
    let web = |host: &str| vec![("host", format!("{host}.localhost"))];
    let api = |key: Option<&str>, more: &[(&'static str, &str)]| {
        let mut headers = vec![("host", larder.address()), ("x-appwrite-project", "demo".into())];
        headers.extend(key.map(|key| ("x-appwrite-key", key.to_owned())));
        headers.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        headers
    };
    let form = [("content-type", "multipart/form-data; boundary=x")];
    let push = [("webhook-id", "m"), ("webhook-timestamp", "1"), ("webhook-signature", "v1,AAAA")];
    vec![
        ("POST", "/", vec![("host", "evil.example".into())], 404),
        ("POST", "/", web("nobody"), 404),
        ("POST", "/nothing", web("demo"), 404),
        ("POST", "/hello", web("demo"), 413),
        ("POST", "/v1/nothing", api(Some(&key), &[]), 404),
        ("PATCH", "/v1/events", api(Some(&key), &[]), 405),
        ("POST", "/v1/events", vec![("host", larder.address())], 401),
        ("POST", "/v1/events", api(None, &[]), 401),
        ("POST", "/v1/events", api(Some("larder_wrong"), &[]), 401),
        ("POST", "/v1/functions", api(Some(&key), &[]), 413),
        ("POST", "/v1/functions/nobody/deployments", api(None, &form), 401),
        ("POST", "/v1/functions/nobody/deployments", api(Some(&key), &form), 404),
        ("POST", "/v1/functions/hello/deployments", api(Some(&key), &[]), 400),
        ("POST", "/v1/functions/hello/deployments", api(Some(&key), &[("content-range", "bytes 0-1/999999999")]), 400),
        ("POST", "/v1/functions/hello/executions", api(None, &[]), 401),
        ("POST", "/v1/feeds/nothing/push", api(None, &push), 401),
        ("POST", "/v1/operator/feeds/nothing/push", api(None, &push), 401),
        ("POST", "/v1/partners", api(None, &[]), 401),
    ]
}

both!(refused_client_sees_the_response_while_still_sending, async |on| {
    let larder = Larder::start_with(Options::on(on).set("LARDER_SERVER__BODY_BYTES_MAX", "1000000")).await;
    larder.api().deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/hello"] })).await;
    let body = vec![b'x'; 4 << 20];
    let mut wrong = Vec::new();
    for (method, path, headers, expected) in refusals(&larder) {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut stream = connected(&larder).await;
        // As many clients do: everything is sent before the answer is looked for, and then the connection is used again.
        let got = async {
            for _ in 0..2 {
                stream.write_all(head(method, path, &headers, body.len()).as_bytes()).await?;
                stream.write_all(&body).await?;
                let (status, _, body) = answer(&mut stream).await?;
                let told: Value = serde_json::from_str(&body).unwrap_or_default();
                if status != expected || told["code"] != expected {
                    return Ok(Some(format!("{status} {body}")));
                }
            }
            std::io::Result::Ok(None)
        };
        match got.await {
            Ok(None) => {}
            Ok(Some(other)) => wrong.push(format!("{method} {path}: {expected} was expected: {other}")),
            Err(err) => wrong.push(format!("{method} {path}: the answer is lost: {err}")),
        }
    }
    // A head that cannot be read, of which the body comes all the same.
    for (headers, expected) in
        [(vec![("content-length", "+5")], 400), (vec![("x-large", "a".repeat(100_000).leak() as &str)], 431)]
    {
        let headers = [&[("host", "demo.localhost")], &headers[..]].concat();
        let mut stream = connected(&larder).await;
        let got = async {
            stream.write_all(head("POST", "/hello", &headers, body.len()).as_bytes()).await?;
            stream.write_all(&body).await?;
            answer(&mut stream).await
        };
        match got.await {
            Ok((status, ..)) if status == expected => {}
            other => wrong.push(format!("{expected} was expected: {other:?}")),
        }
    }
    // A function that answers without having read everything has refused nothing, and the client still sees its answer.
    larder.api().deploy("hostile", &guests::guest("hostile"), json!({ "routes": ["/hostile"] })).await;
    let mut stream = connected(&larder).await;
    for _ in 0..2 {
        let length = 900_000;
        let head = head("POST", "/hostile/fine", &[("host", "demo.localhost")], length);
        stream.write_all(head.as_bytes()).await.expect("a head");
        stream.write_all(&body[..length]).await.expect("a body");
        let (status, _, told) = answer(&mut stream).await.expect("an answer");
        assert_eq!((status, told.as_str()), (200, "fine\n"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    fetched(&larder).await;
});

/// The same by the client of node, which is known to lose such answers.
async fn fetched(larder: &Larder) {
    // The Host header is node's own to set.
    let all: Vec<Value> = refusals(larder)
        .into_iter()
        .filter(|(_, path, ..)| path.starts_with("/v1/"))
        .map(|(method, path, headers, status)| {
            let headers: serde_json::Map<String, Value> = headers
                .into_iter()
                .filter(|(name, _)| *name != "host")
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect();
            json!({ "method": method, "url": format!("http://{}{path}", larder.address()), "headers": headers, "status": status })
        })
        .collect();
    let script = "
        const body = Buffer.alloc(4 << 20, 'x');
        for (const { url, method, headers, status } of JSON.parse(process.argv[1])) {
            for (let n = 0; n < 3; n++) {
                let got;
                try { const answer = await fetch(url, { method, headers, body }); await answer.text(); got = answer.status; }
                catch (error) { got = error.cause?.code ?? String(error); }
                if (got !== status) console.log(method, url, status, 'was expected:', got);
            }
        }";
    let mut node = tokio::process::Command::new("node");
    node.args(["--input-type=module", "-e", script, "--", &json!(all).to_string()]).stdin(Stdio::null());
    match node.output().await {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert!(text.is_empty(), "{text}");
        }
        Err(err) => eprintln!("NOT SHOWN with node's client ({err}); a raw connection has shown the same"),
    }
}

both!(what_a_refused_client_may_still_send_is_bounded, async |on| {
    let options =
        Options::on(on).set("LARDER_SERVER__CLIENT_TIMEOUT", "2s").set("LARDER_SERVER__REFUSED_BYTES_MAX", "1000000");
    let larder = Larder::start_with(options).await;
    let address = larder.address();
    let host = [("host", address.as_str()), ("x-appwrite-project", "demo")];
    // Too much: the answer says that the connection ends, and is not lost all the same.
    let mut stream = connected(&larder).await;
    stream.write_all(head("POST", "/v1/events", &host, 8 << 20).as_bytes()).await.expect("a head");
    stream.write_all(&vec![b'x'; 8 << 20]).await.expect("the whole body");
    let (status, told, _) = answer(&mut stream).await.expect("an answer");
    assert_eq!((status, told.contains("connection: close")), (401, true), "{told}");
    assert_eq!(stream.read(&mut [0]).await.expect("an end"), 0);
    // Nothing, or a byte now and then: the answer does not wait for long.
    for pause in [None, Some(Duration::from_millis(50))] {
        let (mut reader, mut writer) = connected(&larder).await.into_split();
        writer.write_all(head("POST", "/v1/events", &host, 1_000).as_bytes()).await.expect("a head");
        let slowly = async {
            match pause {
                Some(pause) => {
                    while writer.write_all(b"x").await.is_ok() {
                        tokio::time::sleep(pause).await;
                    }
                }
                None => std::future::pending().await,
            }
        };
        let mut bytes = vec![0; 1_000];
        tokio::select! {
            read = tokio::time::timeout(Duration::from_secs(8), reader.read(&mut bytes)) => {
                read.expect("an answer in time").expect("an answer");
                assert!(bytes.starts_with(b"HTTP/1.1 401"), "{}", String::from_utf8_lossy(&bytes));
            }
            () = slowly => panic!("it is cut off without an answer"),
        }
    }
    // Who asks first is answered at once, and has not sent anything.
    let mut stream = connected(&larder).await;
    let asks = [host[0], host[1], ("expect", "100-continue")];
    stream.write_all(head("POST", "/v1/events", &asks, 8 << 20).as_bytes()).await.expect("a head");
    let (status, told, _) = answer(&mut stream).await.expect("an answer");
    assert_eq!((status, told.contains("connection: close")), (401, true), "{told}");
});

both!(bodies_have_a_minimum_rate_and_a_deadline_at_every_listener, async |on| {
    let options = Options::on(on)
        .set("LARDER_SERVER__CLIENT_TIMEOUT", "1s")
        .set("LARDER_SERVER__BODY_RATE_MIN", "5000")
        .set("LARDER_SERVER__BODY_TIMEOUT", "3s");
    let larder = Larder::start_with(options).await;
    let api = larder.api();
    api.deploy("saver", &guests::guest("hostile-saver"), json!({ "routes": ["/saver"], "execute": ["any"] })).await;
    let (address, key) = (larder.address(), larder.key());
    let web = vec![("host", "demo.localhost")];
    let guest = vec![("host", address.as_str()), ("x-appwrite-project", "demo")];
    let keyed = [&guest[..], &[("x-appwrite-key", key)]].concat();
    let form = [&keyed[..], &[("content-type", "multipart/form-data; boundary=x")]].concat();
    let file = "--x\r\ncontent-disposition: form-data; name=\"code\"; filename=\"a.wasm\"\r\n\r\n";
    let doors = [
        ("/saver/fine", web, ""),
        ("/v1/functions/saver/executions", guest, ""),
        ("/v1/functions/saver/executions", keyed.clone(), ""),
        ("/v1/events", keyed.clone(), ""),
        ("/v1/functions", keyed, ""),
        ("/v1/functions/saver/deployments", form, file),
    ];
    // A byte now and then, which never pauses for long; and fast enough, but for ever.
    let slowly = doors.iter().flat_map(|door| [(door, 1, 1), (door, 1_000, 3)]).map(
        async |((path, headers, first), bytes, least)| {
            let (mut reader, mut writer) = connected(&larder).await.into_split();
            writer.write_all(head("POST", path, headers, 900_000).as_bytes()).await.expect("a head");
            writer.write_all(first.as_bytes()).await.expect("a first part");
            let begun = Instant::now();
            let pour = async {
                while writer.write_all(&vec![b' '; bytes]).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            let mut got = vec![0; 1_000];
            let read = async {
                let read = reader.read(&mut got).await.expect("an answer");
                assert!(begun.elapsed() >= Duration::from_secs(least), "{path}: after {:?}", begun.elapsed());
                String::from_utf8_lossy(&got[..read]).into_owned()
            };
            let answer = tokio::time::timeout(Duration::from_secs(15), async {
                tokio::select! { answer = read => answer, () = pour => panic!("{path}: cut off without an answer") }
            });
            let answer = answer.await.unwrap_or_else(|_| panic!("{path} reads on, {bytes} at a time"));
            assert!(answer.starts_with("HTTP/1.1 408"), "{path}: {answer}");
        },
    );
    futures::future::join_all(slowly).await;
});

both!(buffered_bodies_have_a_budget_per_partner_and_half_of_it_without_a_key, async |on| {
    const NAME: &str = "server.body_bytes_per_partner";
    let options = Options::on(on)
        .set("LARDER_SERVER__BODY_BYTES_HELD_MAX", "3000000")
        .set("LARDER_SERVER__BODY_BYTES_PER_PARTNER", "1000000");
    let larder = Larder::start_with(options).await;
    let api = larder.api();
    api.deploy("saver", &guests::guest("hostile-saver"), json!({ "routes": ["/saver"], "execute": ["any"] })).await;
    api.deploy("hostile", &guests::guest("hostile"), json!({ "routes": ["/hostile"] })).await;
    let used = async || api.limit(NAME).await.1;
    assert_eq!(api.limit(NAME).await.0, 1_000_000);
    let call = async |path: &str, bytes: usize| {
        let call = larder.web("demo", Method::POST, path).body(vec![b'x'; bytes]).send().await.expect("an answer");
        (call.status().as_u16(), call.text().await.expect("a body"))
    };
    // A stranger that does not come to an end.
    let mut slow = connected(&larder).await;
    slow.write_all(head("POST", "/saver/fine", &[("host", "demo.localhost")], 600_000).as_bytes())
        .await
        .expect("a head");
    slow.write_all(&[b'x'; 450_000]).await.expect("a part");
    eventually("the bytes to be counted", async || (used().await >= 450_000).then_some(())).await;
    // Other strangers find no more than the half, at the web endpoint and at the API, and are told so.
    let (status, told) = call("/saver/fine", 100_000).await;
    assert!(status == 429 && told.contains(NAME), "{status} {told}");
    let guest = larder.api_of(Some("demo"), None);
    let wanted = json!({ "body": "x".repeat(100_000) });
    let told =
        guest.post("/functions/saver/executions", wanted.clone()).await.is_error(429, "general_rate_limit_exceeded");
    assert!(told.contains(NAME), "{told}");
    // What goes through as it comes is not held; who has a key has the other half.
    assert_eq!(call("/hostile/echo", 2_000_000).await.0, 200);
    api.event("one", "any.event", None, json!("x".repeat(300_000))).await.is(202);
    let told = api.event("two", "any.event", None, json!("x".repeat(600_000))).await;
    assert!(told.is_error(429, "general_rate_limit_exceeded").contains(NAME));
    // Nobody else is concerned.
    larder.operator().post("/partners", json!({ "partnerId": "other", "name": "Other" })).await.is(201);
    let other =
        larder.web("other", Method::POST, "/saver/fine").body(vec![b'x'; 300_000]).send().await.expect("an answer");
    assert_eq!(other.status(), 404);
    // Everything is given back.
    drop(slow);
    eventually("the bytes to be given back", async || (used().await == 0).then_some(())).await;
    assert_eq!(call("/saver/fine", 400_000).await.0, 200);
    guest.post("/functions/saver/executions", wanted).await.is(201);
    assert_eq!(used().await, 0);
});

both!(inadmissible_request_is_refused_before_its_body_is_read, async |on| {
    let options = Options::on(on).set("LARDER_SERVER__CALLS_PER_PARTNER", "1");
    let larder = Larder::start_with(options).await;
    let limits = json!({ "routes": ["/hostile"], "execute": ["any"] });
    larder.api().deploy("hostile", &guests::guest("hostile"), limits).await;
    let asleep = larder.web("demo", Method::GET, "/hostile/sleep").send();
    let address = larder.address();
    let refused = async {
        let api = larder.api();
        let name = "server.calls_per_partner";
        api.in_progress(1).await;
        for (path, headers) in [
            ("/hostile/fine", vec![("host", "demo.localhost")]),
            ("/v1/functions/hostile/executions", vec![("host", address.as_str()), ("x-appwrite-project", "demo")]),
        ] {
            // `Expect` shows it: had the body been wanted, the first answer were 100.
            let mut stream = connected(&larder).await;
            let asks = [&headers[..], &[("expect", "100-continue")]].concat();
            stream.write_all(head("POST", path, &asks, 1_000).as_bytes()).await.expect("a head");
            let (status, _, told) = answer(&mut stream).await.expect("an answer");
            assert!(status == 429 && told.contains(name), "{path}: {status} {told}");
        }
    };
    tokio::select! {
        () = refused => {}
        answer = asleep => panic!("it woke up: {answer:?}"),
    }
});

both!(connections_of_an_address_are_limited, async |on| {
    let larder = Larder::start_with(Options::on(on).set("LARDER_SERVER__CONNECTIONS_PER_ADDRESS", "4")).await;
    let from = async |address: &str| {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(format!("{address}:0").parse().expect("an address")).expect("an address of this machine");
        let mut stream = socket.connect(larder.address().parse().expect("an address")).await.expect("a connection");
        let asks = "GET /v1/ping HTTP/1.1\r\nhost: localhost\r\nx-appwrite-project: demo\r\n\r\n";
        let _ = stream.write_all(asks.as_bytes()).await;
        let status = answer(&mut stream).await.map_or(0, |(status, ..)| status);
        (status, stream)
    };
    let mut open = Vec::new();
    for _ in 0..4 {
        let (status, stream) = from("127.0.0.2").await;
        assert_eq!(status, 200);
        open.push(stream);
    }
    assert_eq!(from("127.0.0.2").await.0, 0);
    assert_eq!(from("127.0.0.3").await.0, 200);
    open.pop();
    eventually("room for another", async || (from("127.0.0.2").await.0 == 200).then_some(())).await;
});

both!(unread_responses_have_a_budget_per_partner, async |on| {
    const NAME: &str = "server.answer_bytes_per_partner";
    let larder = Larder::start_with(Options::on(on).set("LARDER_SERVER__ANSWER_BYTES_PER_PARTNER", "30000000")).await;
    let api = larder.api();
    let limits = json!({ "responseBytes": 32 << 20, "memoryBytes": 200 << 20, "cpuMs": 20_000 });
    let settings = json!({ "routes": ["/saver"], "limits": limits, "timeout": 30 });
    api.deploy("saver", &guests::guest("hostile-saver"), settings).await;
    let used = async || api.limit(NAME).await.1;
    let mut open = Vec::new();
    for held in [20_000_000, 40_000_000] {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(64 << 10).expect("a size");
        let mut stream = socket.connect(larder.address().parse().expect("an address")).await.expect("a connection");
        let asks = "GET /saver/pour?20971520 HTTP/1.1\r\nhost: demo.localhost\r\n\r\n";
        stream.write_all(asks.as_bytes()).await.expect("a request");
        open.push(stream);
        eventually("the answer to be held", async || (used().await >= held).then_some(())).await;
    }
    let call = async || {
        let answer = larder.web("demo", Method::GET, "/saver/fine").send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    };
    let (status, told) = call().await;
    assert!(status == 429 && told.contains(NAME), "{status} {told}");
    let told = api.post("/functions/saver/executions", json!({})).await.is_error(429, "general_rate_limit_exceeded");
    assert!(told.contains(NAME), "{told}");
    open.clear();
    eventually("the bytes to be given back", async || (used().await == 0).then_some(())).await;
    assert_eq!(call().await.0, 200);
});
