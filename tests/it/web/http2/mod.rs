//! HTTP/2: requests and answers; frames that are refused; and what a client may do at most.

mod floods;
mod frames;

use std::time::Duration;

use h2::client::SendRequest;
use http::{Request, Response, StatusCode};
use larder_tests::secure::{Secure, ask, http2, read_out};
use larder_tests::{Api, Larder, Options, both, eventually, guests};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use bytes::Bytes;

async fn deploy(api: &Api) {
    for guest in ["hostile", "hostile-saver"] {
        api.deploy(guest, &guests::guest(guest), json!({ "routes": [format!("/{guest}")] })).await;
    }
    api.deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/hello"] })).await;
}

/// A Larder that speaks HTTP/2 without TLS, by which frames are readable.
async fn start(options: Options) -> Larder {
    let larder = Larder::start_with(options.set("LARDER_SERVER__HTTP2_PRIOR_KNOWLEDGE", "true")).await;
    deploy(&larder.api()).await;
    larder
}

async fn client(larder: &Larder) -> SendRequest<Bytes> {
    http2(TcpStream::connect(larder.address()).await.unwrap()).await
}

fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(format!("http://demo.localhost{path}"))
}

async fn get(client: &SendRequest<Bytes>, path: &str) -> Response<Bytes> {
    ask(client, request("GET", path).body(()).unwrap(), "").await.unwrap()
}

both!(http2_serves_what_http1_serves, async |on| {
    let larder = start(Options::on(on).set("LARDER_SERVER__STREAMS_PER_CONNECTION", "20")).await;
    let client = client(&larder).await;
    // Bodies that are larger than every window, both ways.
    let large = Bytes::from("0123456789abcdef".repeat(40_000));
    for path in ["/hostile/echo", "/hello/echo"] {
        let answer = ask_large(&client, path, &large).await;
        assert!(answer == large, "{path}: {} of {}", answer.len(), large.len());
    }
    // Answers as in HTTP/1.1; what is of HTTP/1.1 alone is left out.
    for (method, says, status, length, body) in [
        ("GET", "body=hello", 200, Some("5"), "hello"),
        ("GET", "", 200, Some("0"), ""),
        ("HEAD", "body=hello", 200, Some("5"), ""),
        ("HEAD", "h=content-length:5", 200, Some("5"), ""),
        ("GET", "status=304&h=content-length:5", 304, Some("5"), ""),
        ("GET", "status=204", 204, None, ""),
        ("POST", "status=201&h=location:/x", 201, Some("0"), ""),
    ] {
        let asked = request(method, &format!("/hostile/say?{says}")).body(()).unwrap();
        let answer = ask(&client, asked, "").await.unwrap();
        let told = answer.headers().get("content-length").map(|value| value.to_str().unwrap());
        assert_eq!((answer.status().as_u16(), told), (status, length), "{method} {says}");
        assert_eq!(answer.body(), body, "{method} {says}");
        assert!(answer.headers().contains_key("date") && !answer.headers().contains_key("keep-alive"), "{says}");
    }
    // An API, a refusal with a body that nobody reads, and the checks of every head.
    let health = Request::get(format!("http://{}/v1/health", larder.address()));
    let health = health.header("x-appwrite-project", "demo").header("x-appwrite-key", larder.key()).body(()).unwrap();
    assert_eq!(ask(&client, health, "").await.unwrap().status(), 200);
    let unread = ask(&client, request("POST", "/none").body(()).unwrap(), large.slice(..100_000)).await.unwrap();
    assert_eq!(unread.status(), 404);
    for (asked, status) in [
        (request("GET", "/hostile/told").header("host", "other.localhost"), 400),
        (request("GET", "/hostile/told").header("host", "demo.localhost"), 200),
        (request("GET", "/hostile/told").header("expect", "200-ok"), 417),
        (request("TRACE", "/hostile/told"), 405),
        (Request::get("http://elsewhere.example/hostile/told"), 404),
        (Request::get("http://demo.localhost@elsewhere.example/hostile/told"), 400),
        (Request::builder().method("CONNECT").uri("demo.localhost:80"), 405),
        ((0..150).fold(request("GET", "/hostile/told"), |asked, at| asked.header(format!("x-{at}"), "1")), 431),
    ] {
        let asked = asked.body(()).unwrap();
        let what = format!("{asked:?}");
        assert_eq!(ask(&client, asked, "").await.unwrap().status().as_u16(), status, "{what}");
    }
    // Cookies that were split are one header again.
    let asked = request("GET", "/hostile/told").header("cookie", "a=1").header("cookie", "b=2").body(()).unwrap();
    let told = ask(&client, asked, "").await.unwrap();
    assert_eq!(std::str::from_utf8(told.body()).unwrap().matches("cookie").count(), 1, "{told:?}");
    // What comes after a body comes after it.
    let asked = request("GET", "/hostile/say?body=hello&trailer=grpc-status:0").body(()).unwrap();
    let (answer, _) = client.clone().ready().await.unwrap().send_request(asked, true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    while body.data().await.is_some() {}
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    // Who waits for leave to send gets it.
    let asked = request("POST", "/hostile/echo").header("expect", "100-continue").body(()).unwrap();
    let (mut answer, mut sending) = client.clone().ready().await.unwrap().send_request(asked, false).unwrap();
    let leave = std::future::poll_fn(|cx| answer.poll_informational(cx));
    let leave = tokio::time::timeout(Duration::from_secs(10), leave).await.expect("leave to send");
    assert_eq!(leave.unwrap().unwrap().status(), StatusCode::CONTINUE);
    sending.send_data("hello".into(), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    // Many at once by one connection, in any order; more than may be open wait with the client.
    let all = (0..60).map(|at| {
        let client = client.clone();
        async move { get(&client, &format!("/hostile/say?body={at}")).await.into_body() == at.to_string() }
    });
    assert!(futures::future::join_all(all).await.into_iter().all(|is| is));

    // What runs when the process is told to stop is answered.
    let slow = tokio::spawn({
        let client = client.clone();
        async move { get(&client, "/hello/slow?ms=1500").await.status() }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    larder.signal(rustix::process::Signal::TERM);
    assert_eq!(slow.await.unwrap(), 200);
});

/// Sends a body as the server makes room for it, while it reads the answer.
async fn ask_large(client: &SendRequest<Bytes>, path: &str, body: &Bytes) -> Bytes {
    let asked = request("POST", path).body(()).unwrap();
    let (answer, mut sending) = client.clone().ready().await.unwrap().send_request(asked, false).unwrap();
    let send = async {
        let mut rest = body.clone();
        while !rest.is_empty() {
            sending.reserve_capacity(rest.len());
            let room = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await.unwrap().unwrap();
            let part = rest.split_to(room.min(rest.len()));
            sending.send_data(part, rest.is_empty()).unwrap();
        }
    };
    let receive = async {
        let mut body = answer.await.unwrap().into_body();
        let mut all = Vec::new();
        while let Some(part) = body.data().await {
            let part = part.unwrap();
            body.flow_control().release_capacity(part.len()).unwrap();
            all.extend_from_slice(&part);
        }
        Bytes::from(all)
    };
    tokio::join!(send, receive).1
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_an_address_count_as_its_connections() {
    let larder = start(Options::default().set("LARDER_SERVER__CONNECTIONS_PER_ADDRESS", "10")).await;
    let [first, second] = [client(&larder).await, client(&larder).await];
    let slow = (0..12).map(|at| {
        let client = [&first, &second][at % 2].clone();
        async move { ask(&client, request("GET", "/hello/slow?ms=1000").body(()).unwrap(), "").await }
    });
    let all = futures::future::join_all(slow).await;
    let refused = |err: &h2::Error| err.reason() == Some(h2::Reason::REFUSED_STREAM);
    let [served, refused] = [
        all.iter().filter(|answer| answer.as_ref().is_ok_and(|answer| answer.status() == 200)).count(),
        all.iter().filter(|answer| answer.as_ref().is_err_and(refused)).count(),
    ];
    // Two of ten are the connections; one that made the functions may still be ending.
    assert!(served + refused == 12 && (7..=8).contains(&served), "{all:?}");
    assert_eq!(get(&first, "/hostile/say?body=x").await.status(), 200, "there is room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn prior_knowledge_is_an_offer_beside_http1() {
    let larder = start(Options::default().set("LARDER_SERVER__CLIENT_TIMEOUT", "1s")).await;
    let hello = |method: &str| {
        format!("{method} /hostile/say?body=one HTTP/1.1\r\nhost: demo.localhost\r\nconnection: close\r\n\r\n")
    };
    for method in ["GET", "PUT", "PROPFIND", "P"] {
        let answer = read_out(TcpStream::connect(larder.address()).await.unwrap(), &hello(method)).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("one"), "{answer}");
    }
    assert_eq!(get(&client(&larder).await, "/hostile/say?body=two").await.body(), "two");
    // Who does not say what it speaks is not waited for.
    for beginning in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
        assert_eq!(read_out(TcpStream::connect(larder.address()).await.unwrap(), beginning).await, "", "{beginning}");
    }
    // Without the setting there is none.
    let larder = Larder::start_with(Options::default()).await;
    let answer =
        read_out(TcpStream::connect(larder.address()).await.unwrap(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(answer, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxys_upgrade_to_websocket_is_not_offered_in_http2() {
    let secure = Secure::start(Options::default()).await;
    deploy(&secure.larder.api()).await;
    let client = secure.http2("demo.localhost").await;
    assert!(!client.is_extended_connect_protocol_enabled(), "no extended CONNECT");
    let asked = Request::get("https://localhost/v1/realtime").header("sec-websocket-version", "13").body(()).unwrap();
    let answer = ask(&client, asked, "").await.unwrap();
    assert!(answer.status().is_client_error(), "{answer:?}");
}
