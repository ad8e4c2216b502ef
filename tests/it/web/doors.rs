//! The doors: hosts × paths × networks. Each request reaches what the table says, however it is spelt, and a closed door
//! looks like no door.

use larder_tests::{Backend, Larder, Options, both, guests};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const INSIDE: &str = "10.1.2.3";
const OUTSIDE: &str = "203.0.113.9";

/// What a request has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    Api,
    /// A page of a console, which without TLS is for this machine only.
    Console,
    Function,
    /// What a path without a function is answered.
    NoFunction,
    /// 404, with what is answered where nothing is.
    Nothing,
    /// 400: the request is none.
    Refused,
}
use Reached::{Api, Console, Function, NoFunction, Nothing, Refused};

/// Sends a request as it is written, through a proxy that says who the client is.
async fn ask(larder: &Larder, client: &str, host: &str, target: &str) -> Reached {
    let mut stream = TcpStream::connect(larder.address()).await.expect("a connection");
    let request = format!(
        "GET {target} HTTP/1.1\r\nhost: {host}\r\nx-forwarded-for: {client}\r\nx-forwarded-host: demo-api.localhost\r\n\
         x-larder-partner: demo\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.contains("x-appwrite-execution-id") {
        return Function;
    }
    match &head["HTTP/1.1 ".len()..][..3] {
        "400" => Refused,
        "401" if body.contains("general_unauthorized_scope") || body.contains("user_unauthorized") => Api,
        "403" if head.contains("content-security-policy") && body.contains("served by TLS") => Console,
        "404" if body.contains("no function serves this path") || body.contains("no function has this domain") => {
            NoFunction
        }
        "404" => {
            assert!(body.contains(r#""message":"There is no such route""#), "{client} {host} {target}: {answer}");
            assert!(head.contains("cache-control"), "{head}");
            Nothing
        }
        _ => panic!("{client} {host} {target}: {answer}"),
    }
}

async fn behind_a_proxy(options: Options) -> Larder {
    let larder = Larder::start_with(options.set("LARDER_SERVER__PROXIES", r#"["127.0.0.0/8"]"#)).await;
    larder.api().deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/"] })).await;
    larder
}

both!(each_door_lets_in_whom_its_networks_name, async |on| {
    let larder = behind_a_proxy(Options::on(on).set("LARDER_DOORS__ADMIN", "0.0.0.0/0")).await;
    // host, path, from inside, from outside
    for (host, path, inside, outside) in [
        ("demo-api.localhost", "/v1/functions", Api, Nothing),
        ("demo-api.localhost", "/", Nothing, Nothing),
        ("demo-api.localhost", "/hello", Nothing, Nothing),
        ("demo-api.localhost", "/depo", Nothing, Nothing),
        ("demo-api.localhost", "/meta_depo", Nothing, Nothing),
        ("demo-api.localhost", "/internal", Nothing, Nothing),
        ("demo.localhost", "/", Function, Function),
        ("demo.localhost", "/deposit", Function, Function),
        ("demo.localhost", "/v1/functions", Nothing, Nothing),
        ("demo.localhost", "/v1", Nothing, Nothing),
        ("demo.localhost", "/v10", Function, Function),
        ("demo.localhost", "/depo", Console, Console),
        ("demo.localhost", "/depo/x", Console, Console),
        ("demo.localhost", "/DEPO", Nothing, Nothing),
        ("demo.localhost", "//depo", Nothing, Nothing),
        ("nobody.localhost", "/depo", Nothing, Nothing),
        ("demo.localhost", "/meta_depo", Nothing, Nothing),
        ("demo.localhost", "/field_test", Nothing, Nothing),
        ("demo.localhost", "/flipper/features", Nothing, Nothing),
        ("demo.localhost", "/internal/x", Nothing, Nothing),
        ("localhost", "/v1/functions", Api, Nothing),
        ("localhost", "/hello", Function, Nothing),
        ("localhost", "/meta_depo", Console, Nothing),
        ("localhost", "/depo", Nothing, Nothing),
        ("127.0.0.1", "/v1/functions", Api, Nothing),
        ("[::1]:8080", "/hello", Function, Nothing),
        ("192.0.2.1", "/internal", Nothing, Nothing),
        ("x.functions.localhost", "/v1", NoFunction, NoFunction),
        ("x.functions.localhost", "/internal", Nothing, Nothing),
        ("elsewhere.example", "/", Nothing, Nothing),
        ("elsewhere.example", "/v1/functions", Nothing, Nothing),
    ] {
        assert_eq!(ask(&larder, INSIDE, host, path).await, inside, "{host}{path} from inside");
        assert_eq!(ask(&larder, OUTSIDE, host, path).await, outside, "{host}{path} from outside");
    }
    // What has a door of its own is no function's.
    for route in ["/v1", "/Depo/x", "/meta_depo", "/internal/x", "/%66lipper", "/field_test;x"] {
        let refused = larder.api().create_function("reserved", json!({ "routes": [route] })).await;
        let why = refused.is_error(400, "general_argument_invalid");
        assert!(why.contains("routes") && why.contains("/depo"), "{route}: {why}");
    }
    larder.api().create_function("deposit", json!({ "routes": ["/deposit"] })).await.is(201);
});

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_passes_a_door_that_is_closed() {
    let larder = behind_a_proxy(Options::on(Backend::Embedded)).await;
    let (api, web) = ("demo-api.localhost", "demo.localhost");
    // From outside. Where a path is a function's, only the function may be reached.
    let paths = [
        (web, "/%64epo", Nothing),
        (web, "/%44EPO", Nothing),
        (web, "/DEPO/", Nothing),
        (web, "//depo", Nothing),
        (web, "///depo/x", Nothing),
        (web, "/./depo", Nothing),
        (web, "/%2e/depo", Nothing),
        (web, "/x/../depo", Nothing),
        (web, "/%2e%2e/depo", Nothing),
        (web, "/x/%2E%2e/depo", Nothing),
        (web, "/x%2f%2e%2e%2fdepo", Nothing),
        (web, "/depo;x", Nothing),
        (web, "/depo;a=b/x", Nothing),
        (web, "/;a/depo", Nothing),
        (web, "/depo%3bx", Nothing),
        (web, "/depo%00", Nothing),
        (web, "/depo%0a", Nothing),
        (web, "/depo%20", Nothing),
        (web, "/depo.", Nothing),
        (web, "/depo%2e", Nothing),
        (web, "/depo%2fx", Nothing),
        (web, "/%5cdepo", Nothing),
        (web, "/x/..%5cdepo", Nothing),
        (web, "/depo?x", Nothing),
        (web, "/depo/../depo", Nothing),
        (web, "/hello/../../depo", Nothing),
        (web, "/V1/functions", Nothing),
        (web, "/%76%31/functions", Nothing),
        (web, "/x/../v1/functions", Nothing),
        (web, "//v1/functions", Nothing),
        (web, "/v1;x/functions", Nothing),
        (web, "/Internal/health", Nothing),
        (web, "/%69nternal", Nothing),
        (web, "/meta_depo/..;/depo", Nothing),
        (web, "/META_DEPO", Nothing),
        (web, "/%2564epo", Function),
        (web, "/%252e%252e/depo", Function),
        (web, "/depo%zz", Function),
        (web, "/depo/../hello", Function),
        (web, "/a/depo", Function),
        (web, "http://demo.localhost/depo", Nothing),
        (web, "http://demo-api.localhost/v1/functions", Refused),
        (web, "*", Refused),
        (web, "depo", Refused),
        (api, "/v1", Nothing),
        (api, "/v1/", Nothing),
        (api, "/%761/functions", Nothing),
        (api, "/x/../v1/functions", Nothing),
        (api, "/v1/../v1/functions", Nothing),
        (api, "/V1/functions", Nothing),
        (api, "//v1/functions", Nothing),
    ];
    let hosts = [
        ("demo-api.localhost.", "/v1/functions", Nothing),
        ("DEMO-API.LOCALHOST", "/v1/functions", Nothing),
        ("demo-api.localhost:80", "/v1/functions", Nothing),
        ("demo-api.localhost:99999", "/v1/functions", Nothing),
        ("xn--demo-api.localhost", "/v1/functions", Nothing),
        ("demo-api.localhost.evil.example", "/v1/functions", Nothing),
        ("x.demo-api.localhost", "/v1/functions", Nothing),
        ("-api.localhost", "/v1/functions", Nothing),
        ("demo-api-api.localhost", "/v1/functions", Nothing),
        ("demo-api.localhost@evil.example", "/v1/functions", Refused),
        ("demo-api.localhost, evil.example", "/v1/functions", Refused),
        ("demo-api.localhost/", "/v1/functions", Refused),
        ("localhost.", "/v1/functions", Nothing),
        ("LOCALHOST", "/v1/functions", Nothing),
        ("127.1", "/v1/functions", Nothing),
        ("2130706433", "/v1/functions", Nothing),
        ("0x7f.0.0.1", "/v1/functions", Nothing),
        ("[::ffff:127.0.0.1]", "/v1/functions", Nothing),
        ("[::1", "/v1/functions", Refused),
        ("::1", "/v1/functions", Refused),
    ];
    let all: Vec<_> = paths.iter().chain(&hosts).collect();
    for (host, path, expected) in &all {
        assert_eq!(ask(&larder, OUTSIDE, host, path).await, *expected, "{host} {path}");
    }
    // Who stands inside reaches the API by its one spelling only.
    for (host, path, _) in paths.iter().filter(|(host, ..)| *host == api) {
        assert_eq!(ask(&larder, INSIDE, host, path).await, Nothing, "{host} {path}");
    }
    assert_eq!(ask(&larder, INSIDE, "DEMO-API.localhost:80", "/v1/functions").await, Api);
    assert!(all.len() >= 60, "{} spellings", all.len());
    let metrics = larder.internal("/metrics").await.1;
    let closed = metrics.lines().find_map(|line| line.strip_prefix(r#"larder_doors_closed_total{door="2"} "#));
    assert!(closed.is_some_and(|count| count.parse::<u32>().is_ok_and(|count| count >= 7)), "{closed:?}");
}

both!(who_the_client_is_comes_from_where_the_settings_say, async |on| {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "# the network in front\n127.0.0.0/8\n\n2001:db8::7 # one more\n").expect("written");
    let options = Options::on(on)
        .set("LARDER_SERVER__PROXIES_FILE", file.path().to_str().expect("text"))
        .set("LARDER_SERVER__PROXY_HEADER", "forwarded");
    let larder = Larder::start_with(options).await;
    let as_client = async |name: &str, value: &str| {
        let request = larder.at("demo-api.localhost", Method::GET, "/v1/functions").header(name, value);
        request.send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(as_client("forwarded", "for=203.0.113.9").await, 404);
    assert_eq!(as_client("forwarded", "for=10.1.2.3").await, 401);
    // The header that these proxies do not write is the client's own.
    assert_eq!(as_client("x-forwarded-for", "203.0.113.9").await, 401);
});

both!(proxies_name_the_client_by_the_proxy_protocol, async |on| {
    let options = Options::on(on)
        .set("LARDER_SERVER__PROXIES", r#"["127.0.0.0/8"]"#)
        .set("LARDER_SERVER__CLIENT_TIMEOUT", "1s")
        .set("LARDER_SERVER__CONNECTIONS_PER_ADDRESS", "1")
        .set("LARDER_SERVER__PROXY_PROTOCOL", "true");
    let larder = Larder::start_with(options).await;
    let ask = async |header: &[u8]| {
        let mut stream = TcpStream::connect(larder.address()).await.expect("a connection");
        let request = b"GET /v1/functions HTTP/1.1\r\nhost: demo-api.localhost\r\nconnection: close\r\n\r\n";
        let _ = stream.write_all(&[header, request].concat()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).get(9..12).map(str::to_owned)
    };
    let version_2 = |source: [u8; 4]| {
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &source[..], &[10, 0, 0, 1, 1, 1, 0, 80][..]].concat()
    };
    assert_eq!(ask(b"PROXY TCP4 203.0.113.9 10.0.0.1 8080 80\r\n").await.as_deref(), Some("404"));
    assert_eq!(ask(b"PROXY TCP4 10.1.2.5 10.0.0.1 8080 80\r\n").await.as_deref(), Some("401"));
    assert_eq!(ask(&version_2([203, 0, 113, 10])).await.as_deref(), Some("404"));
    assert_eq!(ask(&version_2([10, 1, 2, 6])).await.as_deref(), Some("401"));
    // A check of the proxy's own.
    assert_eq!(ask(b"PROXY UNKNOWN\r\n").await.as_deref(), Some("401"));
    for none in [&b""[..], b"PROXY TCP4 nonsense\r\n", b"PROXY TCP4 10.1.2.3"] {
        assert_eq!(ask(none).await, None, "{}", none.escape_ascii());
    }
    // The limit of connections is the client's, not the proxy's.
    let hold = async || {
        let mut held = TcpStream::connect(larder.address()).await.expect("a connection");
        held.write_all(b"PROXY TCP4 10.1.2.3 10.0.0.1 8080 80\r\nGET /").await.expect("written");
        held
    };
    let held = std::cell::RefCell::new(vec![]);
    larder_tests::eventually("the limit", async || {
        // Each is held until the client's time is over. The one after it may come first and take its place.
        let another = hold().await;
        held.borrow_mut().push(another);
        ask(b"PROXY TCP4 10.1.2.3 10.0.0.1 8080 80\r\n").await.is_none().then_some(())
    })
    .await;
    assert_eq!(ask(b"PROXY TCP4 10.1.2.4 10.0.0.1 8080 80\r\n").await.as_deref(), Some("401"));
});

#[test]
fn the_command_line_prints_the_table_and_explains_a_request() {
    let doors = |arguments: &[&str]| {
        let output =
            std::process::Command::new(Larder::binary()).arg("doors").args(arguments).output().expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, table, _) = doors(&[]);
    assert_eq!((code, table.contains(&larder_model::doors::table_text())), (Some(0), true), "{table}");
    let page = std::fs::read_to_string(larder_tests::workspace().join("docs/doors.md")).expect("a page");
    assert!(page.contains(&larder_model::doors::table_text()), "docs/doors.md has another table");
    assert!(table.contains("doors.api lets in 127.0.0.0/8, 10.0.0.0/8"), "{table}");
    let from = |url: &str, from: &str| doors(&[url, "--from", from]).1;
    for (told, expected) in [
        (
            from("http://acme-api.localhost/v1/functions", "203.0.113.9"),
            "door 2 (P-api.ROOT, API domains of P, /v1*): closed: \
         203.0.113.9 is in none of the networks of doors.api; 404\n",
        ),
        (
            from("http://acme-api.localhost/v1/functions", "10.0.0.1"),
            "door 2 (P-api.ROOT, API domains of P, /v1*): open for \
         10.0.0.1; it leads to the API, which looks for exactly \"/v1/functions\"\n",
        ),
        (
            from("http://acme.localhost/%64epo", "10.0.0.1"),
            "door 3 (P.ROOT, /depo*): open for 10.0.0.1; it leads to the \
         partner's console, which looks for exactly \"/%64epo\"\n",
        ),
        (
            from("http://acme.localhost/v1", "10.0.0.1"),
            "door 6 (any, /v1* /depo* /meta_depo*): closed for everybody; 404\n",
        ),
        (
            from("http://acme.localhost/x", "203.0.113.9"),
            "door 5 (P.ROOT, domains of P, /*): open for 203.0.113.9; it leads to \
         the partner's functions, by route\n",
        ),
    ] {
        assert_eq!(told, expected);
    }
    assert!(from("https://elsewhere.example/", "10.0.0.1").contains("421"));
    let (code, _, why) = doors(&["acme.localhost"]);
    assert!(code == Some(1) && why.contains("must begin with http://"), "{code:?} {why}");
}
