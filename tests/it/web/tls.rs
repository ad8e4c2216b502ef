//! TLS at the outer listener: who is served with which certificate, and what clients may do before they are.

use std::time::{Duration, Instant};

use larder_tests::secure::{NAMES, Secure, ask, read_out, write};
use larder_tests::{Api, Larder, Options, both, eventually, guests};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HSTS: &str = "max-age=600; includeSubDomains";

async fn deploy(api: &Api) {
    api.deploy("hostile", &guests::guest("hostile"), json!({ "routes": ["/hostile"] })).await;
}

fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

both!(tls_serves_the_names_of_its_certificate_in_both_protocols, async |on| {
    let secure = Secure::start(Options::on(on).set("LARDER_TLS__HSTS", HSTS)).await;
    deploy(&secure.larder.api()).await;
    // Both versions of TLS; the protocol is what the client chose, and HTTP/1.1 if it chose none.
    for version in rustls::ALL_VERSIONS {
        let stream = secure.connect_by("demo.localhost", &["http/1.1"], &[version]).await.unwrap();
        let answer = read_out(stream, &get("demo.localhost", "/hostile/scheme")).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nhttps"), "{version:?}: {answer}");
        assert!(answer.contains(&format!("strict-transport-security: {HSTS}\r\n")), "{answer}");
    }
    let stream = secure.connect("demo.localhost", &[]).await.unwrap();
    assert_eq!(status(&read_out(stream, &get("demo.localhost", "/hostile/scheme")).await), "200");
    let client = secure.http2("demo.localhost").await;
    let request = http::Request::get("https://demo.localhost/hostile/scheme").body(()).unwrap();
    let answer = ask(&client, request, "").await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (200, &b"https"[..]));
    assert_eq!(answer.headers()["strict-transport-security"], HSTS);
    assert!(secure.connect("demo.localhost", &["spdy/3"]).await.is_err(), "it speaks neither");
    // Without TLS there is none of this.
    let plain =
        read_out(TcpStream::connect(secure.larder.address()).await.unwrap(), &get("demo.localhost", "/hostile/scheme"))
            .await;
    assert!(plain.ends_with("\r\n\r\nhttp") && !plain.contains("strict-transport"), "{plain}");

    // A host is one of the certificate, and one of ours.
    for (shown, host, expected) in [
        ("demo.localhost", "demo.localhost:8443", "200"),
        ("demo.localhost", "DEMO.localhost", "200"),
        ("other.localhost", "demo.localhost", "200"),
        ("127.0.0.1", "127.0.0.1", "200"),
        ("demo.localhost", "demo.example", "421"),
        ("demo.localhost", "127.0.0.2", "421"),
        ("demo.localhost", "a.demo.localhost", "421"),
        ("elsewhere.example", "elsewhere.example", "421"),
        ("demo.localhost", "demo.localhost, demo.example", "400"),
    ] {
        let answer = secure.raw(shown, &get(host, "/hostile/scheme")).await;
        assert_eq!(status(&answer), expected, "{shown} {host}: {answer}");
    }
    let request = http::Request::get("https://demo.example/hostile/scheme").body(()).unwrap();
    assert_eq!(ask(&client, request, "").await.unwrap().status(), 421);
    let request = http::Request::get("https://demo.localhost/hostile/scheme").body(()).unwrap();
    assert_eq!(ask(&client, request, "").await.unwrap().status(), 200, "the connection goes on");

    // A WebSocket by HTTP/1.1.
    let stream = secure.connect("localhost", &["http/1.1"]).await.unwrap();
    let url = "wss://localhost/v1/realtime?project=demo&channels[]=executions";
    let (mut socket, answer) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    assert_eq!(answer.status(), 101);
    let first = futures::StreamExt::next(&mut socket).await.unwrap().unwrap().into_text().unwrap();
    assert!(first.contains("connected"), "{first}");

    let (_, metrics) = secure.larder.internal("/metrics").await;
    for line in [
        "larder_certificate_expires_timestamp_seconds{name=\"default\"} 41",
        "larder_certificate_refused 0",
        "larder_tls_handshakes_total{result=\"ok\"}",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let (_, ready) = secure.larder.internal("/health/ready?verbose").await;
    assert!(ready.contains("certificate default (localhost demo.localhost") && ready.contains("2099-12-31"), "{ready}");
});

#[tokio::test(flavor = "multi_thread")]
async fn what_the_page_of_tls_shows_is_what_curl_says() {
    let secure = Secure::start(Options::default().set("LARDER_TLS__HSTS", "max-age=31536000; includeSubDomains")).await;
    let folder = tempfile::tempdir().unwrap();
    let authority = secure.authority.file(folder.path());
    let page = std::fs::read_to_string(larder_tests::workspace().join("docs/tls.md")).unwrap();
    let transcript = page.split("```text curl\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    // The page's name is one that this Larder has, at ports of its own.
    let here = |text: &str| text.replace("acme.larder.example", "demo.localhost");
    let mut commands = 0;
    for part in transcript.split("$ curl ").skip(1) {
        let (command, expected) = part.split_once('\n').unwrap();
        let command = format!("curl -s {} --cacert {}", here(command), authority.display());
        let at = |from: u16, to: &str| format!(" --connect-to ::{from}:{to}");
        let command = command.clone() + &at(443, &secure.address) + &at(80, &secure.redirect);
        let output = tokio::process::Command::new("sh").args(["-c", &command]).output().await.unwrap();
        let said = [output.stderr, output.stdout].concat();
        let port = format!(":{}/", secure.address.rsplit_once(':').unwrap().1);
        let said = String::from_utf8_lossy(&said).replace(&port, "/");
        for line in expected.lines().filter(|line| !line.is_empty() && !line.starts_with('*')) {
            let line = here(line);
            let shown = said.lines().any(|other| other.trim_end() == line.trim_end() || other.starts_with(&line));
            assert!(shown, "{command}: no {line:?} in {said}");
        }
        commands += 1;
    }
    assert_eq!(commands, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_tls_are_sent_on_if_they_are_ours() {
    let secure = Secure::start(Options::default()).await;
    let port = secure.address.rsplit_once(':').unwrap().1;
    for (host, path, expected, location) in [
        ("demo.localhost", "/", "308", "https://demo.localhost:@/"),
        ("DEMO.localhost:80", "/a%2fb/../c?x=1&y", "308", "https://demo.localhost:@/a%2fb/../c?x=1&y"),
        ("demo.localhost", "//evil.example/x", "308", "https://demo.localhost:@//evil.example/x"),
        ("demo.localhost", "http://demo.localhost/absolute", "308", "https://demo.localhost:@/absolute"),
        ("demo-api.localhost", "/v1/health", "308", "https://demo-api.localhost:@/v1/health"),
        ("x.functions.localhost", "/", "308", "https://x.functions.localhost:@/"),
        ("127.0.0.1", "/", "308", "https://127.0.0.1:@/"),
        ("evil.example", "/", "404", ""),
        ("demo.localhost.evil.example", "/", "404", ""),
        ("demo.localhost, evil.example", "/", "400", ""),
        ("demo.localhost\r\nhost: evil.example", "/", "400", ""),
        ("demo.localhost", "http://evil.example/", "400", ""),
        ("demo.localhost@evil.example", "/", "400", ""),
        ("demo.localhost", "*", "400", ""),
        // No authority was given these.
        ("demo.localhost", "/.well-known/acme-challenge/abc_-1", "404", ""),
        ("demo.localhost", "/.well-known/acme-challenge/../../x", "404", ""),
        ("demo.localhost", "/.well-known/other", "308", "https://demo.localhost:@/.well-known/other"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let answer = read_out(TcpStream::connect(&secure.redirect).await.unwrap(), &request).await;
        let found = answer.lines().find_map(|line| line.strip_prefix("location: ")).unwrap_or_default();
        assert_eq!(
            (status(&answer), found),
            (expected, location.replace('@', port).as_str()),
            "{host} {path}: {answer}"
        );
    }
    // A body changes nothing, and its client reads the answer.
    let head = "POST /pay HTTP/1.1\r\nhost: demo.localhost\r\ncontent-length: 300000\r\n\r\n";
    let answer =
        read_out(TcpStream::connect(&secure.redirect).await.unwrap(), &(head.to_owned() + &"x".repeat(300_000))).await;
    assert_eq!(status(&answer), "308", "{answer}");
    // HTTP at the port of TLS.
    for request in [get("demo.localhost", "/"), head.to_owned()] {
        let answer = read_out(TcpStream::connect(&secure.address).await.unwrap(), &request).await;
        assert!(status(&answer) == "400" && answer.contains("https://"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_certificate_is_presented_and_a_wrong_one_is_not() {
    let secure = Secure::start(Options::default().set("LARDER_TLS__POLL", "50ms")).await;
    deploy(&secure.larder.api()).await;
    let presented = async || {
        let stream = secure.connect("demo.localhost", &["http/1.1"]).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let first = presented().await;
    let running = secure.http2("demo.localhost").await;
    let (good, other) = (secure.authority.issue_until(&NAMES, 2098), secure.authority.issue_until(&NAMES, 2097));
    let wrong = [
        ((String::new(), good.1.clone()), "no certificate in PEM"),
        ((good.0.clone(), String::new()), "no private key in PEM"),
        ((good.0.clone(), other.1.clone()), "another certificate's"),
        ((good.0[..good.0.len() / 2].to_owned(), good.1.clone()), "tls.certificate_file"),
        (secure.authority.issue_until(&["bank.example"], 2099), "bank.example"),
        (secure.authority.issue_until(&NAMES, 2020), "ran out at 2020-12-31"),
    ];
    for (pair, why) in &wrong {
        let before = secure.larder.log().len();
        secure.write(pair);
        eventually(why, async || secure.larder.log()[before..].contains(why).then_some(())).await;
        assert_eq!(presented().await, first, "{why}");
    }
    let (_, metrics) = secure.larder.internal("/metrics").await;
    assert!(metrics.contains("larder_certificate_refused 1"), "{metrics}");
    let (_, ready) = secure.larder.internal("/health/ready?verbose").await;
    assert!(ready.starts_with("ready") && ready.contains("warning: the certificate is not exchanged"), "{ready}");

    secure.write(&good);
    let second = eventually("the new certificate", async || Some(presented().await).filter(|now| *now != first)).await;
    assert_ne!(second, first);
    let request = http::Request::get("https://demo.localhost/hostile/scheme").body(()).unwrap();
    assert_eq!(ask(&running, request, "").await.unwrap().status(), 200, "a running connection goes on");
    let (_, metrics) = secure.larder.internal("/metrics").await;
    assert!(metrics.contains("larder_certificate_refused 0"), "{metrics}");
    std::fs::remove_file(secure.files().1).unwrap();
    eventually("the lost key is named", async || secure.larder.log().contains("tls.key_file: ").then_some(())).await;
    assert_eq!(presented().await, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_have_a_deadline_and_count_as_connections() {
    let options = Options::default()
        .set("LARDER_SERVER__CLIENT_TIMEOUT", "1s")
        .set("LARDER_SERVER__CONNECTIONS_PER_ADDRESS", "8");
    let secure = Secure::start(options).await;
    deploy(&secure.larder.api()).await;
    let serves =
        async || status(&secure.raw("demo.localhost", &get("demo.localhost", "/hostile/scheme")).await) == "200";
    // A record of a handshake: its length, and of the message in it.
    let hello = |record: u16, message: u32| {
        let mut bytes = vec![0x16, 3, 1];
        bytes.extend_from_slice(&record.to_be_bytes());
        bytes.push(1);
        bytes.extend_from_slice(&message.to_be_bytes()[1..]);
        bytes
    };
    let huge = [hello(16_000, 0xff_ffff), vec![3; 200_000]].concat();
    let long_record = [hello(0xffff, 0xfffb), vec![3; 70_000]].concat();
    for (what, bytes) in [
        ("nothing", vec![]),
        ("one byte", vec![0x16]),
        ("half a hello", hello(500, 496)),
        ("a huge hello", huge),
        ("a record that is too long", long_record),
        ("noise", vec![0x99; 5_000]),
        ("an alert", vec![0x15, 3, 3, 0, 2, 2, 0]),
        ("data before a hello", vec![0x17, 3, 3, 0, 5, 1, 2, 3, 4, 5]),
        ("a hello that is none", [hello(104, 100), vec![0xee; 100]].concat()),
    ] {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(&secure.address).await.unwrap();
        let _ = stream.write_all(&bytes).await;
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{what}: the connection is still open after {:?}", begun.elapsed());
        assert!(rest.len() < 100, "{what}: {rest:?}");
    }
    // A hello that comes byte by byte.
    let (begun, mut stream) = (Instant::now(), TcpStream::connect(&secure.address).await.unwrap());
    let slowly = async {
        for byte in [hello(500, 496), vec![3; 496]].concat() {
            stream.write_all(&[byte]).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        std::io::Result::Ok(())
    };
    assert!(slowly.await.is_err() && begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(serves().await);
    // Those who have not shaken hands yet are counted.
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(TcpStream::connect(&secure.address).await.unwrap());
    }
    assert!(secure.connect("demo.localhost", &[]).await.is_err(), "there is room for one more");
    eventually("their time to be over", async || secure.connect("demo.localhost", &[]).await.ok()).await;
    assert!(serves().await);
    let (_, metrics) = secure.larder.internal("/metrics").await;
    for result in ["late", "broken", "ok"] {
        assert!(metrics.contains(&format!("larder_tls_handshakes_total{{result=\"{result}\"}}")), "{metrics}");
    }
}

#[test]
fn a_certificate_that_does_not_do_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let authority = larder_tests::outside::Authority::new();
    let (chain, key) = authority.issue_until(&NAMES, 2099);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (pem, private) = (folder.path().join("server.pem"), folder.path().join("server.key"));
    let refusal = |more: &[(&'static str, String)]| {
        let mut settings = vec![
            ("LARDER_TLS__LISTEN", "127.0.0.1:0".to_owned()),
            ("LARDER_TLS__CERTIFICATE_FILE", path("server.pem")),
            ("LARDER_TLS__KEY_FILE", path("server.key")),
        ];
        settings.extend_from_slice(more);
        Larder::refusal(&settings)
    };
    let said = refusal(&[]);
    assert!(said.contains("tls.certificate_file") && said.contains("server.pem"), "{said}");
    write(&pem, &chain);
    write(&private, &authority.issue_until(&NAMES, 2099).1);
    let said = refusal(&[]);
    assert!(said.contains("another certificate's") && said.contains("tls.key_file"), "{said}");
    std::fs::write(&private, &key).unwrap();
    std::fs::set_permissions(&private, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert!(refusal(&[]).contains("chmod 600"));
    for (more, named) in [
        (("LARDER_TLS__CERTIFICATE_FILE", String::new()), "tls.certificate_file"),
        (("LARDER_TLS__LISTEN", String::new()), "tls.redirect_listen"),
        (("LARDER_TLS__LISTEN", "443".to_owned()), "tls.listen"),
        (("LARDER_TLS__HSTS", "yes".to_owned()), "tls.hsts"),
        (("LARDER_SERVER__STREAMS_PER_CONNECTION", "0".to_owned()), "server.streams_per_connection"),
    ] {
        let said = refusal(&[more, ("LARDER_TLS__REDIRECT_LISTEN", "127.0.0.1:0".to_owned())]);
        assert!(said.contains(named), "{named}: {said}");
    }
}
