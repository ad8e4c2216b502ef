//! What clients may do to the web endpoint, and what functions may say through it.

use std::time::{Duration, Instant};

use larder_tests::{Larder, Options, both, eventually, guests};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

async fn connected(larder: &Larder) -> TcpStream {
    TcpStream::connect(larder.address()).await.expect("a connection")
}

/// Sends bytes as they are and reads to the end of the connection; gives the status of the first answer and the rest.
pub async fn raw(larder: &Larder, bytes: &[u8]) -> (Option<u16>, String) {
    let mut stream = connected(larder).await;
    // Who has seen enough closes before everything is written.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(read.is_ok(), "the connection is still open: {answer}");
    (answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest[..3].parse().ok()), answer)
}

both!(request_heads_have_a_deadline_and_a_maximum_size, async |on| {
    let larder = Larder::start_with(Options::on(on).set("LARDER_SERVER__CLIENT_TIMEOUT", "1s")).await;
    let host = "GET /hello HTTP/1.1\r\nhost: demo.localhost\r\n";
    // One that never ends, and one that ends a byte at a time.
    let begun = Instant::now();
    raw(&larder, host.as_bytes()).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let mut stream = connected(&larder).await;
    let begun = Instant::now();
    let slowly = async {
        for byte in host.repeat(10).bytes() {
            stream.write_all(&[byte]).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        std::io::Result::Ok(())
    };
    assert!(slowly.await.is_err() && begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());

    let many: String = (0..150).map(|at| format!("x-{at}: 1\r\n")).collect();
    let large = format!("x-large: {}\r\n", "a".repeat(100_000));
    for head in [many, large] {
        assert_eq!(raw(&larder, format!("{host}{head}\r\n").as_bytes()).await.0, Some(431));
    }
    // Lengths that somebody in front of us may have read otherwise.
    for head in [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: +5\r\n",
        "content-length: 5, 6\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "transfer-encoding: gzip\r\n",
        " x-folded: 1\r\n",
        "x-name : 1\r\n",
    ] {
        let (status, answer) = raw(&larder, format!("{host}{head}\r\nhelloGET /x HTTP/1.1\r\n\r\n").as_bytes()).await;
        assert_eq!((status, answer.matches("HTTP/1.1").count()), (Some(400), 1), "{head}{answer}");
    }
});

both!(request_names_exactly_one_known_host, async |on| {
    let larder = Larder::start_on(on).await;
    larder.api().deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/"] })).await;
    let ask = async |line: &str, hosts: &[&str]| {
        let hosts: String = hosts.iter().map(|host| format!("host: {host}\r\n")).collect();
        raw(&larder, format!("GET {line} HTTP/1.1\r\n{hosts}connection: close\r\n\r\n").as_bytes()).await.0
    };
    assert_eq!(ask("/hello", &["demo.localhost"]).await, Some(200));
    assert_eq!(ask("/hello", &["DEMO.localhost:8080"]).await, Some(200));
    assert_eq!(ask("http://demo.localhost/hello", &["demo.localhost"]).await, Some(200));
    assert_eq!(ask("/hello", &["nobody.localhost"]).await, Some(404));
    for (line, hosts, status) in [
        ("/hello", &[][..], 400),
        ("/hello", &["demo.localhost", "demo.localhost"], 400),
        ("/hello", &["demo.localhost", "other.localhost"], 400),
        ("http://demo.localhost/hello", &["other.localhost"], 400),
        ("http://evil.example/hello", &["demo.localhost"], 400),
        ("/hello", &["demo.localhost."], 404),
        ("/hello", &["demo.localhost.evil.example"], 404),
        ("/hello", &["evil.example"], 404),
        ("/hello", &["x.demo.localhost"], 404),
        ("http://evil.example/hello", &["evil.example"], 404),
    ] {
        assert_eq!(ask(line, hosts).await, Some(status), "{line} {hosts:?}");
    }
    // None of these has run anything.
    let api = larder.api();
    eventually("the records", async || (api.executions("hello").await.len() == 3).then_some(())).await;
});

both!(only_trusted_proxies_may_name_the_client, async |on| {
    for (proxies, client, told) in [("[]", "127.0.0.1", false), (r#"["127.0.0.0/8"]"#, "198.51.100.7", true)] {
        let larder = Larder::start_with(Options::on(on).set("LARDER_SERVER__PROXIES", proxies)).await;
        let api = larder.api();
        api.deploy("hostile", &guests::guest("hostile"), json!({ "routes": ["/hostile"] })).await;
        let call = larder
            .web("demo", Method::GET, "/hostile/told")
            .header("x-forwarded-for", "1.1.1.1, 198.51.100.7, 127.0.0.9")
            .header("x-forwarded-proto", "https")
            .header("forwarded", "for=1.1.1.1")
            .header("x-real-ip", "1.1.1.1")
            .header("x-appwrite-client-ip", "1.1.1.1")
            .header("x-larder-partner", "other");
        let answer = call.send().await.expect("an answer");
        let names = answer.text().await.expect("a body");
        for name in ["x-forwarded-for", "x-forwarded-proto", "x-real-ip"] {
            assert_eq!(names.lines().any(|line| line == name), told, "{name} in {names}");
        }
        // The proxies do not write this one (server.proxy_header).
        assert!(!names.lines().any(|line| line == "forwarded"), "{names}");
        assert!(!names.contains("x-larder-partner"), "{names}");
        let execution = eventually("the record", async || api.executions("hostile").await.pop()).await;
        let headers = execution["requestHeaders"].as_array().expect("headers");
        let ip = headers.iter().find(|header| header["name"] == "x-appwrite-client-ip").expect("an address");
        assert_eq!(ip["value"], client);
    }
});

both!(function_cannot_set_headers_of_the_platform, async |on| {
    let larder = Larder::start_on(on).await;
    larder.api().deploy("hostile", &guests::guest("hostile"), json!({ "routes": ["/hostile"] })).await;
    let answer = larder.web("demo", Method::GET, "/hostile/attributes").send().await.expect("an answer");
    let headers = answer.headers();
    assert_eq!(headers["x-own"], "kept");
    for name in [
        "clear-site-data",
        "service-worker-allowed",
        "alt-svc",
        "strict-transport-security",
        "public-key-pins",
        "x-larder-partner",
    ] {
        assert!(!headers.contains_key(name), "{name}");
    }
    assert_ne!(headers["x-appwrite-execution-id"], "forged");
    assert_eq!(headers.get_all("x-appwrite-execution-id").iter().count(), 1);
    let cookies: Vec<_> = headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["narrow=1; Path=/"]);
});

both!(slow_reader_is_disconnected_and_holds_no_permit, async |on| {
    const BYTES: usize = 24 << 20;
    let options = Options::on(on)
        .set("LARDER_SERVER__CLIENT_TIMEOUT", "2s")
        .set("LARDER_SERVER__ANSWER_TIMEOUT", "5s")
        .set("LARDER_SERVER__CALLS_PER_PARTNER", "1");
    let larder = Larder::start_with(options).await;
    let limits = json!({ "responseBytes": 32 << 20, "memoryBytes": 200 << 20, "cpuMs": 20_000 });
    let settings = json!({ "routes": ["/hostile-saver"], "limits": limits, "timeout": 30 });
    let api = larder.api();
    api.deploy("hostile-saver", &guests::guest("hostile-saver"), settings).await;
    let address = larder.address().parse().expect("an address");
    // Who takes nothing is cut off by the stall, who takes a little of it all the time by the deadline.
    for (pause, patience) in [(None, 2), (Some(Duration::from_millis(10)), 5)] {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(64 << 10).expect("a size");
        let mut stream = socket.connect(address).await.expect("a connection");
        let head = format!("GET /hostile-saver/pour?{BYTES} HTTP/1.1\r\nhost: demo.localhost\r\n\r\n");
        // Before the answer, whose writes may stall before its head is read here.
        let begun = Instant::now();
        stream.write_all(head.as_bytes()).await.expect("a request");
        let mut bytes = vec![0; 16 << 10];
        let mut got = stream.read(&mut bytes).await.expect("a head");
        // The answer is on its way; its call has ended and left its partner's only place to the next.
        let fine = larder.web("demo", Method::GET, "/hostile-saver/fine").send().await.expect("an answer");
        assert_eq!(fine.status(), 200);
        let held = async || api.limit("server.answer_bytes_per_partner").await.1;
        let given_up = eventually("the answer to be given up", async || (held().await == 0).then_some(()));
        let reads = async {
            match pause {
                Some(pause) => loop {
                    got += stream.read(&mut bytes).await.unwrap_or_default();
                    tokio::time::sleep(pause).await;
                },
                None => std::future::pending::<()>().await,
            }
        };
        tokio::select! { () = given_up => {} () = reads => {} }
        // What lies in buffers may still come, and then the end.
        while let Ok(more @ 1..) = stream.read(&mut bytes).await {
            got += more;
        }
        assert!(got < BYTES, "all of it came");
        assert!(begun.elapsed() >= Duration::from_secs(patience), "{:?}", begun.elapsed());
    }
    // Who reads as people do gets everything.
    let answer = larder.web("demo", Method::GET, &format!("/hostile-saver/pour?{BYTES}")).send().await.expect("a head");
    assert_eq!(answer.bytes().await.expect("a body").len(), BYTES);
});

both!(timeout_of_a_call_starts_when_its_body_has_arrived, async |on| {
    let larder = Larder::start_on(on).await;
    let settings = json!({ "routes": ["/hostile-saver"], "timeout": 1 });
    larder.api().deploy("hostile-saver", &guests::guest("hostile-saver"), settings).await;
    let mut stream = connected(&larder).await;
    let head =
        "POST /hostile-saver/fine HTTP/1.1\r\nhost: demo.localhost\r\ncontent-length: 5\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("a head");
    for byte in b"hello" {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stream.write_all(&[*byte]).await.expect("a byte");
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
});
