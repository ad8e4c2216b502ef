//! The web endpoint as HTTP: what it makes of requests and of answers, byte by byte (RFC 9110, RFC 9112).

use larder_tests::{Larder, both, eventually, guests};
use serde_json::{Value, json};

use crate::web::incoming::raw;

/// Behind each body: a request that nobody sent. An answer to it means that the body ended where it should not.
const SMUGGLED: &str = "GET /hostile/say?body=smuggled HTTP/1.1\r\nhost: demo.localhost\r\nconnection: close\r\n\r\n";

struct Asked {
    request: &'static str,
    /// `None`: the connection closes without an answer.
    status: Option<u16>,
    /// What the answer has and has not.
    has: &'static str,
}

const fn ask(request: &'static str, status: u16, has: &'static str) -> Asked {
    Asked { request, status: Some(status), has }
}

/// `@` stands for the line of the right host.
const REQUESTS: &[Asked] = &[
    // Codings of the body.
    ask("POST /hostile/echo HTTP/1.1|@|transfer-encoding: gzip, chunked||5|hello|0||", 501, "transfer coding"),
    ask("POST /hostile/echo HTTP/1.1|@|transfer-encoding: gzip|transfer-encoding: chunked||5|hello|0||", 501, "coding"),
    ask("POST /hostile/echo HTTP/1.1|@|transfer-encoding: identity, chunked||5|hello|0||", 501, "coding"),
    ask("POST /hostile/echo HTTP/1.1|@|transfer-encoding: chunked, chunked||5|hello|0||", 400, "more than once"),
    ask("POST /hostile/echo HTTP/1.1|@|transfer-encoding: chunked|transfer-encoding: chunked||5|hello|0||", 400, ""),
    ask("POST /hostile/echo HTTP/1.1|@|transfer-encoding: chunked, gzip||5|hello|0||", 400, ""),
    ask("POST /hostile/echo HTTP/1.1|@|transfer-encoding: chunked, identity||5|hello|0||", 400, ""),
    ask("POST /hostile/echo HTTP/1.1|@|transfer-encoding: xchunked||5|hello|0||", 400, ""),
    ask("POST /hostile/echo HTTP/1.1|@|transfer-encoding: \x0bchunked||5|hello|0||", 400, ""),
    ask("POST /hostile/echo HTTP/1.1|@|connection: close|transfer-encoding:  Chunked ||5|hello|0||", 200, "hello"),
    ask("POST /hostile/echo HTTP/1.0|@|transfer-encoding: chunked||5|hello|0||", 400, ""),
    // Both lengths: the chunks count, and the connection ends.
    ask("POST /hostile/echo HTTP/1.1|@|content-length: 4|transfer-encoding: chunked||5|hello|0||", 200, "hello"),
    ask("POST /hostile/echo HTTP/1.1|@|transfer-encoding: chunked|content-length: 4||5|hello|0||", 200, "hello"),
    ask("POST /hostile/echo HTTP/1.1|@|connection: close|content-length: 5|content-length: 5||hello", 200, "hello"),
    ask("POST /hostile/echo HTTP/1.1|@|content-length: 5|content-length: 6||hello", 400, ""),
    ask("POST /hostile/echo HTTP/1.1|@|content-length: 5, 5||hello", 400, ""),
    ask("POST /hostile/echo HTTP/1.1|@|content-length: -5||hello", 400, ""),
    ask("POST /hostile/echo HTTP/1.1|@|content-length: 0x5||hello", 400, ""),
    ask("POST /hostile/echo HTTP/1.1|@|content-length: 5 5||hello", 400, ""),
    ask("POST /hostile/echo HTTP/1.1|@|content-length:||hello", 400, ""),
    ask("POST /hostile/echo HTTP/1.1|@|content-length: 18446744073709551616||hello", 400, ""),
    // Chunks that are none.
    ask("POST /hostile-saver/echo HTTP/1.1|@|transfer-encoding: chunked||g|hello|0||", 400, "broke off"),
    ask(
        "POST /hostile-saver/echo HTTP/1.1|@|transfer-encoding: chunked||fffffffffffffffff|hello|0||",
        400,
        "broke off",
    ),
    ask("POST /hostile-saver/echo HTTP/1.1|@|transfer-encoding: chunked||5|helloworld|0||", 400, "broke off"),
    ask("POST /hostile-saver/echo HTTP/1.1|@|transfer-encoding: chunked||-5|hello|0||", 400, "broke off"),
    // Lines.
    ask("GET /hostile/told HTTP/1.1|@| x-folded: 1||", 400, ""),
    ask("GET /hostile/told HTTP/1.1|@|x-one: 1|\t two||", 400, ""),
    ask("GET /hostile/told HTTP/1.1|@|x-name : 1||", 400, ""),
    ask("GET /hostile/told HTTP/1.1|@|: 1||", 400, ""),
    ask("GET /hostile/told HTTP/1.1|@|x-return: a\rb||", 400, ""),
    ask("GET /hostile/told HTTP/1.1|@|x-null: a\0b||", 400, ""),
    ask("GET  /hostile/told HTTP/1.1|@||", 400, ""),
    ask("GET /hostile/told|@||", 400, ""),
    ask("GET /hostile/told HTTP/2.0|@||", 400, ""),
    Asked { request: "PRI * HTTP/2.0||SM||", status: None, has: "" },
    // Hosts.
    ask("GET /hostile/told HTTP/1.1|||", 400, "exactly one Host"),
    ask("GET /hostile/told HTTP/1.1|@|@||", 400, "exactly one Host"),
    ask("GET /hostile/told HTTP/1.1|host: demo.localhost, demo.localhost||", 400, "exactly one Host"),
    ask("GET /hostile/told HTTP/1.1|host: demo .localhost||", 400, "exactly one Host"),
    ask("GET /hostile/told HTTP/1.1|host:||", 400, "exactly one Host"),
    ask("GET http://other.localhost/hostile/told HTTP/1.1|@||", 400, "exactly one Host"),
    ask("GET /hostile/told HTTP/1.1|host: elsewhere.example|connection: close||", 404, "There is no such route"),
    // Targets and methods.
    ask("GET http://demo.localhost/hostile/say?body=absolute HTTP/1.1|@|connection: close||", 200, "absolute"),
    ask("GET ftp://demo.localhost/hostile/told HTTP/1.1|@||", 400, "target"),
    ask("GET * HTTP/1.1|@||", 400, "target"),
    ask("OPTIONS * HTTP/1.1|@||", 501, "OPTIONS"),
    ask("CONNECT demo.localhost:80 HTTP/1.1|@||", 405, "CONNECT"),
    ask("TRACE /hostile/told HTTP/1.1|@||", 405, "TRACE"),
    ask("PROPFIND /hostile/say?body=any HTTP/1.1|@|connection: close||", 200, "any"),
    // Expectations and upgrades.
    ask("POST /hostile/echo HTTP/1.1|@|expect: 200-ok|content-length: 5||hello", 417, "100-continue"),
    ask("GET /hostile/told HTTP/1.1|@|connection: upgrade|upgrade: websocket||", 501, "WebSocket"),
    ask("GET /hostile/told HTTP/1.1|@|connection: upgrade|upgrade: h2c, WebSocket/13||", 501, "WebSocket"),
    ask("GET /hostile/say?body=one HTTP/1.1|@|connection: upgrade, close|upgrade: h2c||", 200, "one"),
    ask("GET /hostile/say?body=old HTTP/1.0|@||", 200, "old"),
];

both!(requests_that_violate_http_are_refused, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    for guest in ["hostile", "hostile-saver"] {
        api.deploy(guest, &guests::guest(guest), json!({ "routes": [format!("/{guest}")] })).await;
    }
    let mut wrong = Vec::new();
    for Asked { request, status, has } in REQUESTS {
        let bytes = request.replace('|', "\r\n").replace("\r\n@", "\r\nhost: demo.localhost") + SMUGGLED;
        let (got, answer) = raw(&larder, bytes.as_bytes()).await;
        let answers = answer.matches("HTTP/1.1 ").count() + answer.matches("HTTP/1.0 ").count();
        let got = got.or_else(|| answer.strip_prefix("HTTP/1.0 ")?[..3].parse().ok());
        if got != *status || answers != usize::from(status.is_some()) || !answer.contains(has) {
            wrong.push(format!("{request:?}: {status:?} {has:?} expected, got {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), REQUESTS.len(), wrong.join("\n"));
    // A client that waits for leave gets it before it has sent its body.
    let head = "POST /hostile/echo HTTP/1.1\r\nhost: demo.localhost\r\nexpect: 100-continue\r\nconnection: close\r\n";
    let (status, answer) = raw(&larder, format!("{head}content-length: 5\r\n\r\nhello").as_bytes()).await;
    assert_eq!(status, Some(100), "{answer}");
    assert!(answer.contains("HTTP/1.1 200 OK") && answer.contains("hello"), "{answer}");
    // Nothing about the connection reaches the function, and what a client cannot take away does.
    let head =
        "GET /hostile/told HTTP/1.1\r\nhost: demo.localhost\r\nconnection: close, X-Hop, Host, x-appwrite-trigger\r\n";
    let more = "x-hop: internal\r\nkeep-alive: 5\r\nproxy-authorization: Basic x\r\nte: trailers\r\nx-kept: 1\r\nrange: bytes=0-4\r\nif-range: \"a\"\r\nif-none-match: \"a\"\r\n\
                accept-encoding: gzip\r\n\r\n";
    let (_, answer) = raw(&larder, format!("{head}{more}").as_bytes()).await;
    for (name, told) in [
        ("x-hop", false),
        ("connection", false),
        ("keep-alive", false),
        ("proxy-authorization", false),
        ("te", false),
        // wasi:http has it as the authority.
        ("host", false),
        ("x-kept", true),
        ("range", true),
        ("if-range", true),
        ("if-none-match", true),
        ("accept-encoding", true),
        ("x-appwrite-trigger", true),
    ] {
        let body = answer.split_once("\r\n\r\n").expect("a head").1;
        assert_eq!(body.lines().any(|line| line == name), told, "{name} in {answer}");
    }
});

struct Said {
    method: &'static str,
    says: &'static str,
    status: u16,
    /// The answer's `content-length`.
    length: Option<&'static str>,
    body: &'static str,
    /// What stands in the run's log.
    told: &'static str,
}

const fn said(
    method: &'static str,
    says: &'static str,
    status: u16,
    length: Option<&'static str>,
    body: &'static str,
    told: &'static str,
) -> Said {
    Said { method, says, status, length, body, told }
}

const ANSWERS: &[Said] = &[
    said("GET", "body=hello", 200, Some("5"), "hello", ""),
    said("GET", "h=content-length:5&body=hello", 200, Some("5"), "hello", ""),
    said("GET", "h=content-length:0", 200, Some("0"), "", ""),
    said("GET", "", 200, Some("0"), "", ""),
    // Without a body, whatever was written.
    said("HEAD", "h=content-length:5", 200, Some("5"), "", ""),
    said("HEAD", "h=content-length:500&body=hello", 200, Some("500"), "", ""),
    said("HEAD", "body=hello", 200, Some("5"), "", ""),
    said("HEAD", "status=404&h=content-length:7", 404, Some("7"), "", ""),
    said("HEAD", "status=304&h=content-length:7", 304, Some("7"), "", ""),
    said("GET", "status=304&h=content-length:5&h=etag:%22a%22", 304, Some("5"), "", ""),
    said("GET", "status=304&h=content-length:5&body=hello", 304, Some("5"), "", "status 304"),
    said("GET", "status=304", 304, None, "", ""),
    said("GET", "status=204&body=hello", 204, None, "", "status 204"),
    said("GET", "status=204&h=content-length:5", 204, None, "", ""),
    said("GET", "status=204", 204, None, "", ""),
    said("GET", "status=205&body=hello", 205, Some("0"), "", "status 205"),
    said("GET", "status=205&h=content-length:5", 205, Some("0"), "", ""),
    said("POST", "status=201&h=location:/x", 201, Some("0"), "", ""),
    // Not what the head says, or not an answer.
    said("GET", "h=content-length:4&body=hello", 502, None, "function_failed", "content-length is 4"),
    said("GET", "h=content-length:6&body=hello", 502, None, "function_failed", "content-length is 6"),
    said("GET", "h=content-length:5", 502, None, "function_failed", "content-length is 5"),
    said("GET", "status=100", 502, None, "function_failed", "status 100"),
    said("GET", "status=103&h=link:x", 502, None, "function_failed", "status 103"),
    said("GET", "status=999", 502, None, "function_failed", "status 999"),
    said("GET", "status=101", 502, None, "function_failed", "status 101"),
    // Parts are the function's own matter.
    said("GET", "status=206&h=content-range:bytes+0-4/9&body=hello", 206, Some("5"), "hello", ""),
    said("GET", "status=416&h=content-range:bytes+*/9", 416, Some("0"), "", ""),
    // The client has not said that it reads trailers.
    said("GET", "body=hello&trailer=grpc-status:0&trailer=x-sum:1", 200, Some("5"), "hello", "grpc-status, x-sum"),
];

both!(responses_follow_http_and_have_only_allowed_headers, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    for guest in ["hostile", "hostile-saver"] {
        api.deploy(guest, &guests::guest(guest), json!({ "routes": [format!("/{guest}")] })).await;
    }
    let mut wrong = Vec::new();
    for guest in ["hostile", "hostile-saver"] {
        for Said { method, says, status, length, body, told } in ANSWERS {
            // The next request on the same connection shows where the answer ended.
            let next =
                format!("GET /{guest}/say?body=next HTTP/1.1\r\nhost: demo.localhost\r\nconnection: close\r\n\r\n");
            let request = format!("{method} /{guest}/say?{says} HTTP/1.1\r\nhost: demo.localhost\r\n\r\n{next}");
            let (got, text) = raw(&larder, request.as_bytes()).await;
            let (head, rest) = text.split_once("\r\n\r\n").expect("a head");
            let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            let (first, second) = rest.split_once("HTTP/1.1 200 OK\r\n").unwrap_or((rest, ""));
            let execution = record(&api, guest, value("x-appwrite-execution-id").expect("an id")).await;
            let fine = got == Some(*status)
                && (*status == 502 || value("content-length") == *length)
                && if *status == 502 { first.contains(body) } else { first == *body }
                && second.ends_with("\r\n\r\nnext")
                && !head.contains("trailer")
                && execution["errors"].as_str().expect("errors").contains(told);
            if !fine {
                wrong.push(format!("{guest} {method} {says}: {text:?} {}", execution["errors"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), 2 * ANSWERS.len(), wrong.join("\n"));

    // What is the platform's is the platform's, and whoever wrote the function reads what was left out.
    let platforms = [
        "server",
        "date",
        "x-request-id",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-anything",
        "expect",
        "refresh",
        "via",
        "x-real-ip",
        "nel",
        "report-to",
        "reporting-endpoints",
        "accept-ch",
        "x-accel-redirect",
        "x-sendfile",
        "clear-site-data",
        "alt-svc",
        "strict-transport-security",
        "service-worker-allowed",
        "x-larder-partner",
        "x-appwrite-anything",
    ];
    let own = ["cache-control", "content-type", "etag", "x-own", "x-accel-buffering", "access-control-allow-origin"];
    let fields: String = platforms.iter().chain(&own).map(|name| format!("&h={name}:forged")).collect();
    let cookies = "&h=set-cookie:wide=1;+Domain=localhost&h=set-cookie:own=1;+Domain=demo.localhost&h=set-cookie:empty=1;+Domain=";
    for guest in ["hostile", "hostile-saver"] {
        let line = format!("GET /{guest}/say?body=x{fields}{cookies} HTTP/1.1");
        let (status, text) =
            raw(&larder, format!("{line}\r\nhost: demo.localhost:80\r\nconnection: close\r\n\r\n").as_bytes()).await;
        assert_eq!(status, Some(200), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        let execution_id = lines.iter().find_map(|line| line.strip_prefix("x-appwrite-execution-id: ")).expect("an id");
        let errors = record(&api, guest, execution_id).await["errors"].to_string();
        for name in platforms {
            assert!(!lines.contains(&format!("{name}: forged").as_str()), "{name} in {text}");
            assert!(errors.contains(name), "{name} in {errors}");
        }
        for name in own {
            assert!(lines.contains(&format!("{name}: forged").as_str()), "{name} in {text}");
        }
        assert_eq!(lines.iter().filter(|line| line.starts_with("date: ")).count(), 1, "{text}");
        assert!(text.contains("own=1") && text.contains("empty=1") && !text.contains("wide=1"), "{text}");
        assert!(errors.contains("wide") && errors.contains("Domain"), "{errors}");
    }
});

async fn record(api: &larder_tests::Api, function: &str, id: &str) -> Value {
    let path = format!("/functions/{function}/executions/{id}");
    eventually("the record of the execution", async || {
        let answer = api.get(&path).await;
        (answer.status == 200).then_some(answer.body)
    })
    .await
}
