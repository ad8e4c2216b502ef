//! Named outside services: what a function gets to see of them, and what of a function gets to them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use larder_tests::upstream::{Received, Reply, Service};
use larder_tests::{Api, Backend, Larder, Options, both, eventually, guests};
use reqwest::Method;
use serde_json::{Value, json};

mod cache;

const SECRET: &str = "k-9f8e7d6c5b4a/+z";

/// `settings` are merged over an upstream at this service.
fn upstream(name: &str, service: &Service, settings: Value) -> Value {
    let mut body = json!({ "name": name, "url": service.url(), "networks": ["127.0.0.0/8"] });
    body.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    body
}

/// A function at `/ID` that calls what it is told to, granted these upstreams.
async fn caller(api: &Api, id: &str, upstreams: &[&str], settings: Value) {
    let mut all = json!({ "routes": [format!("/{id}")], "timeout": 20 });
    all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    api.create_function(id, all).await.is(201);
    api.grant(id, json!({ "upstreams": upstreams })).await;
    let deployment = api.build(id, &guests::guest("caller"), true).await;
    assert_eq!(deployment["status"], "ready", "{}", deployment["buildLogs"]);
}

async fn started(on: Backend, upstreams: &[Value]) -> Larder {
    let larder = Larder::start_on(on).await;
    made(&larder, upstreams).await;
    larder
}

async fn made(larder: &Larder, upstreams: &[Value]) {
    for upstream in upstreams {
        larder.api().post("/upstreams", upstream.clone()).await.is(201);
    }
    let names: Vec<&str> = upstreams.iter().map(|upstream| upstream["name"].as_str().unwrap()).collect();
    caller(&larder.api(), "caller", &names, json!({})).await;
}

/// Has the function of a partner make one call; gives what came of it.
async fn call_of(larder: &Larder, partner: &str, function: &str, call: Value) -> Value {
    let request = larder.web(partner, Method::POST, &format!("/{function}"));
    let answer = request.body(json!([call]).to_string()).send().await.expect("an answer");
    let (status, text) = (answer.status(), answer.text().await.expect("a body"));
    assert_eq!(status, 200, "{text}");
    serde_json::from_str::<Value>(&text).unwrap()[0].clone()
}

async fn call(larder: &Larder, call: Value) -> Value {
    call_of(larder, "demo", "caller", call).await
}

async fn get(larder: &Larder, name: &str, path: &str) -> Value {
    call(larder, json!({ "authority": format!("{name}.upstream"), "path": path })).await
}

/// The errors of the newest execution of `caller` in which this stands.
async fn told(larder: &Larder, part: &str) -> String {
    eventually(part, async || {
        let executions = larder.api().executions("caller").await;
        let errors = executions.iter().filter_map(|execution| execution["errors"].as_str());
        errors.filter(|errors| errors.contains(part)).map(str::to_owned).next()
    })
    .await
}

/// All that came of a request, in every form that a service might give it back.
fn echo(received: &Received) -> Reply {
    use std::fmt::Write;
    let mut text = format!("{} {}\n", received.method, received.target);
    for (name, value) in &received.headers {
        let _ = writeln!(text, "{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    let percent: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let forms = json!({ "plain": text, "percent": percent, "hex": hex, "base64": base64(text.as_bytes()) });
    Reply::new(200, format!("{text}{forms}"))
        .header("x-target", received.target.clone())
        .header("x-authorization", received.header("authorization"))
        .header("x-key", received.header("x-api-key"))
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |chunk: &[u8], at: usize| {
        let group = chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        char::from(ALPHABET[(group >> (18 - 6 * at) & 63) as usize])
    };
    bytes.chunks(3).flat_map(|chunk| (0..=chunk.len()).map(move |at| digit(chunk, at))).collect()
}

/// The credential, in any form that can be looked for from outside.
fn assert_absent(text: &str, place: &str) {
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = SECRET.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let basic = base64(format!("larder:{SECRET}").as_bytes());
    let inside: Vec<String> = (0..3)
        .map(|offset| {
            let encoded = base64(&[&vec![0; offset][..], SECRET.as_bytes()].concat());
            encoded[4..encoded.len() - 4].to_owned()
        })
        .collect();
    for form in
        [SECRET.to_owned(), SECRET.replace('/', "%2F").replace('+', "%2B"), hex, percent, basic].iter().chain(&inside)
    {
        assert!(!text.contains(form.as_str()), "{place} has {form}:\n{text}");
    }
}

both!(a_credential_arrives_and_no_function_sees_it, async |on| {
    let service = Service::start(echo).await;
    let kinds = [
        ("bearer", json!({ "kind": "header", "name": "Authorization" })),
        ("token", json!({ "kind": "header", "name": "X-Api-Key", "template": "Token {secret}!" })),
        ("basic", json!({ "kind": "basic", "user": "larder" })),
        ("query", json!({ "kind": "query", "name": "api_key" })),
    ];
    let upstreams: Vec<Value> = kinds
        .iter()
        .map(|(name, kind)| upstream(name, &service, json!({ "credential": kind, "secret": SECRET })))
        .collect();
    let larder = started(on, &upstreams).await;
    let arrived = |received: &Received, name: &str| match name {
        "bearer" => received.header("authorization") == format!("Bearer {SECRET}"),
        "token" => received.header("x-api-key") == format!("Token {SECRET}!"),
        "basic" => {
            received.header("authorization") == format!("Basic {}", base64(format!("larder:{SECRET}").as_bytes()))
        }
        _ => received.target == "/echo?q=1&api_key=k-9f8e7d6c5b4a%2F%2Bz",
    };
    for (name, _) in &kinds {
        // What the function says itself under the credential's name does not arrive.
        let forged = [("authorization", "forged"), ("x-api-key", "forged")];
        let path = "/echo?q=1&API_KEY=forged";
        let path = if *name == "query" { path } else { "/echo?q=1" };
        let said =
            call(&larder, json!({ "authority": format!("{name}.upstream"), "path": path, "headers": forged })).await;
        assert_eq!(said["status"], 200, "{said}");
        let received = service.received().pop().unwrap();
        assert!(arrived(&received, name), "{name}: {received:?}");
        assert_eq!(received.header("accept-encoding"), "identity");
        assert!(!received.header("idempotency-key").is_empty() && !received.header("traceparent").is_empty());
        assert!(said["text"].as_str().unwrap().matches("[credential]").count() >= 4, "{said}");
        assert_absent(&said.to_string(), name);
    }
    // Nor does anybody else: not in what fails, not in records, answers of the API, or logs.
    for (name, _) in &kinds {
        let broken = json!({ "url": "http://127.0.0.1:1", "secret": SECRET });
        larder.api().patch(&format!("/upstreams/{name}"), broken).await.is(200);
        assert!(get(&larder, name, "/x?q=1").await["error"].is_string());
    }
    let executions = eventually("all records", async || {
        let executions = larder.api().executions("caller").await;
        (executions.len() >= 2 * kinds.len()).then_some(executions)
    })
    .await;
    assert!(executions.iter().any(|execution| execution["errors"].as_str().unwrap().contains("127.0.0.1:1")));
    assert_absent(&json!(executions).to_string(), "records");
    assert_absent(&larder.api().get("/upstreams").await.is(200).to_string(), "the API");
    assert_absent(&larder.log(), "the log");
    assert_absent(&larder.internal("/metrics").await.1, "metrics");
});

both!(response_that_cannot_be_scrubbed_is_refused, async |on| {
    let service = Service::start(|_| Reply::new(200, "\u{1f}compressed").header("content-encoding", "gzip")).await;
    let credential = json!({ "credential": { "kind": "header", "name": "X-Key" }, "secret": SECRET });
    let upstreams = [upstream("with", &service, credential), upstream("without", &service, json!({}))];
    let larder = started(on, &upstreams).await;
    assert_eq!(get(&larder, "with", "/").await["error"], "HttpProtocolError");
    told(&larder, "content encoding").await;
    assert_eq!(get(&larder, "without", "/").await["status"], 200);
});

both!(function_cannot_make_the_service_return_part_of_a_credential, async |on| {
    let service = Service::start(|received| {
        let told = received.header("x-api-key").to_owned();
        let utf16: Vec<u8> = told.encode_utf16().flat_map(u16::to_be_bytes).collect();
        match received.target.as_str() {
            "/range" if !received.header("range").is_empty() => {
                Reply::new(206, told.chars().take(9).collect::<String>()).header("content-range", "bytes 0-8/17")
            }
            "/partial" => Reply::new(206, told.chars().take(9).collect::<String>()).header("content-range", "bytes 0-8/17"),
            "/range-of-200" => {
                Reply::new(200, told.chars().take(9).collect::<String>()).header("content-range", "bytes 0-8/17")
            }
            "/delta" => Reply::new(226, told.chars().take(9).collect::<String>()).header("im", "diffe"),
            "/coded-twice" => Reply::new(200, told).header("content-encoding", "identity").header("content-encoding", "gzip"),
            "/charset" => match received.header("accept-charset") {
                "" => Reply::new(200, told),
                charset => Reply::new(200, utf16).header("content-type", format!("text/plain; charset={charset}")),
            },
            "/utf-16" => Reply::new(200, utf16),
            "/upper" => Reply::new(200, told.to_uppercase()),
            "/twice" => {
                let percent: String = told.bytes().map(|byte| format!("%25{byte:02X}")).collect();
                let html: String = told.bytes().map(|byte| format!("&#x{byte:x};&#0;").replace("&#0;", "")).collect();
                let backslash: String = told.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
                let list = told.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
                let lines = base64(format!("-----------{told}").as_bytes())
                    .as_bytes()
                    .chunks(10)
                    .map(|line| String::from_utf8_lossy(line).into_owned())
                    .collect::<Vec<_>>()
                    .join("\r\n");
                let spaced: String = told.bytes().map(|byte| format!("{byte:02x} ")).collect();
                let json = json!({ "percent": percent, "html": html, "x": backslash, "list": format!("[{list}]"), "lines": lines, "spaced": spaced });
                Reply::new(200, json.to_string()).header("x-html", html).header("x-list", list)
            }
            _ => Reply::new(200, told),
        }
    })
    .await;
    let credential =
        json!({ "credential": { "kind": "header", "name": "X-Api-Key", "template": "{secret}" }, "secret": SECRET });
    let larder = started(on, &[upstream("with", &service, credential), upstream("without", &service, json!({}))]).await;
    let asked = async |path: &str, headers: Value| {
        call(&larder, json!({ "authority": "with.upstream", "path": path, "headers": headers })).await
    };
    let mut seen = vec![];
    for (path, headers) in [
        ("/range", json!([["range", "bytes=0-8"]])),
        ("/range", json!([["Range", "bytes=0-8"], ["If-Range", "\"a\""]])),
        ("/partial", json!([])),
        ("/range-of-200", json!([])),
        ("/delta", json!([["a-im", "diffe"]])),
        ("/coded-twice", json!([])),
        ("/charset", json!([["accept-charset", "utf-16be"]])),
        ("/utf-16", json!([])),
        ("/upper", json!([])),
        ("/twice", json!([])),
    ] {
        let answer = asked(path, headers.clone()).await;
        let text = answer.to_string();
        let list: String = SECRET.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
        let forms = [
            SECRET[..9].to_owned(),
            SECRET.to_uppercase(),
            SECRET.bytes().map(|byte| format!("\\u0000{}", char::from(byte))).collect(),
            SECRET.bytes().map(|byte| format!("%25{byte:02X}")).collect(),
            SECRET.bytes().map(|byte| format!("&#x{byte:x};")).collect(),
            SECRET.bytes().map(|byte| format!("x{byte:02x}")).collect::<Vec<_>>().join("\\\\\\\\"),
            SECRET.bytes().map(|byte| format!("{byte:02x} ")).collect(),
            list,
        ];
        for form in forms.iter().filter(|form| text.contains(form.as_str())) {
            seen.push(format!("{path} {headers}: {form}"));
        }
    }
    assert_eq!(seen, [] as [&str; 0]);
    // Without a credential there is nothing to keep, and ranges are the function's own business.
    let ranged = json!({ "authority": "without.upstream", "path": "/partial", "headers": [["range", "bytes=0-8"]] });
    assert_eq!(call(&larder, ranged).await["status"], 206);
    assert_eq!(service.received().pop().unwrap().header("range"), "bytes=0-8");
});

both!(paths_stay_below_the_base, async |on| {
    let service = Service::start(|received| Reply::new(200, received.target.clone())).await;
    let base = json!({ "url": format!("{}/v2/public", service.url()) });
    let larder = started(on, &[upstream("api", &service, base)]).await;
    for (asked, arrived) in [("/", "/v2/public/"), ("/a/b?c=../d", "/v2/public/a/b?c=../d"), ("/%41", "/v2/public/%41")]
    {
        assert_eq!(get(&larder, "api", asked).await["text"], arrived, "{asked}");
    }
    let before = service.count();
    for escape in [
        "/..",
        "/../private",
        "/a/../../private",
        "//private",
        "/a//b",
        "/./a",
        "/%2e%2e/private",
        "/%2E%2e/private",
        "/..%2fprivate",
        "/..%5cprivate",
        "/%252e%252e/private",
        "/..;/private",
        "/%00",
    ] {
        assert_eq!(get(&larder, "api", escape).await["error"], "HttpRequestUriInvalid", "{escape}");
    }
    assert_eq!(service.count(), before);
});

both!(missing_and_ungranted_upstreams_are_refused_by_name, async |on| {
    let service = Service::start(|_| Reply::new(200, "here")).await;
    let larder = started(on, &[upstream("there", &service, json!({}))]).await;
    let api = larder.api();
    assert_eq!(get(&larder, "there", "/").await["text"], "here");
    assert_eq!(get(&larder, "other", "/").await["error"], "HttpRequestDenied");
    told(&larder, r#"the upstream "other" is not granted to this function; larder.toml, [grants]: upstreams = ["there", "other"]"#).await;
    api.delete("/upstreams/there").await.is(204);
    assert_eq!(get(&larder, "there", "/").await["error"], "HttpRequestDenied");
    told(&larder, r#"there is no upstream "there"; make it: larder upstream create there --url https://.."#).await;
    assert_eq!(service.count(), 1);
    api.post("/upstreams", upstream("there", &service, json!({}))).await.is(201);
    assert_eq!(get(&larder, "there", "/").await["text"], "here");
    // It lies in a private network, which it must say.
    api.patch("/upstreams/there", json!({ "networks": [] })).await.is(200);
    assert_eq!(get(&larder, "there", "/").await["error"], "DestinationIpProhibited");
});

both!(breaker_opens_on_failures_and_probes_again, async |on| {
    let broken = Arc::new(AtomicBool::new(true));
    let service = Service::start({
        let broken = broken.clone();
        move |_| if broken.load(SeqCst) { Reply::new(503, "no") } else { Reply::new(200, "fine") }
    })
    .await;
    let breaker = json!({ "breaker": { "failures": 3, "windowMs": 60000, "restMs": 1500 } });
    let never = json!({ "breaker": { "failures": 0 } });
    let larder = started(on, &[upstream("fails", &service, breaker), upstream("never", &service, never)]).await;
    let state = async || larder.api().get("/upstreams/fails").await.is(200)["breakerState"].clone();
    assert_eq!(state().await["state"], "closed");
    for _ in 0..3 {
        assert_eq!(get(&larder, "fails", "/").await["status"], 503);
    }
    assert_eq!(get(&larder, "fails", "/").await["error"], "DestinationUnavailable");
    assert_eq!(service.count(), 3, "it was not asked");
    told(&larder, "its circuit breaker is open: it answered 503").await;
    let open = state().await;
    assert_eq!((&open["state"], &open["reason"]), (&json!("open"), &json!("it answered 503")));
    let gauge = "larder_upstream_breaker_open{partner=\"demo\",upstream=\"fails\"}";
    assert!(larder.internal("/metrics").await.1.contains(&format!("{gauge} 1")));
    assert!(larder.log().contains("the breaker of upstream fails is open for partner demo"));
    for _ in 0..6 {
        assert_eq!(get(&larder, "never", "/").await["status"], 503, "a breaker of its own, which never opens");
    }

    // One may try, and fails; it is left alone again.
    let before = service.count();
    eventually("one to be let through", async || (get(&larder, "fails", "/").await["status"] == 503).then_some(()))
        .await;
    assert_eq!(get(&larder, "fails", "/").await["error"], "DestinationUnavailable");
    assert_eq!(service.count(), before + 1);
    broken.store(false, SeqCst);
    eventually("one to go well", async || (get(&larder, "fails", "/").await["text"] == "fine").then_some(())).await;
    assert_eq!(state().await["state"], "closed");
    assert!(larder.internal("/metrics").await.1.contains(&format!("{gauge} 0")));
});

both!(rate_and_concurrency_are_limited, async |on| {
    let service = Service::start(|_| Reply::new(200, "done").after(Duration::from_secs(1))).await;
    let upstreams = [
        upstream("rated", &service, json!({ "ratePerMinute": 3, "waitMs": 0 })),
        upstream("patient", &service, json!({ "concurrency": 1, "waitMs": 5000 })),
        upstream("hasty", &service, json!({ "concurrency": 1, "waitMs": 0 })),
    ];
    let larder = started(on, &upstreams).await;
    larder_tests::early_in_a_minute().await;
    for _ in 0..3 {
        assert_eq!(get(&larder, "rated", "/").await["text"], "done");
    }
    let before = service.count();
    assert_eq!(get(&larder, "rated", "/").await["error"], "ConnectionLimitReached");
    assert_eq!(service.count(), before);
    told(&larder, "its rate limit of 3 requests per minute is reached").await;

    let at_once = async |name: &str| {
        let call = json!({ "authority": format!("{name}.upstream") });
        let request = larder.web("demo", Method::POST, "/caller/at-once").body(json!([call, call, call]).to_string());
        let text = request.send().await.unwrap().text().await.unwrap();
        serde_json::from_str::<Vec<Value>>(&text).unwrap()
    };
    let begun = Instant::now();
    assert!(at_once("patient").await.iter().all(|answer| answer["text"] == "done"));
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
    let hasty = at_once("hasty").await;
    let refused = hasty.iter().filter(|answer| answer["error"] == "ConnectionLimitReached").count();
    assert_eq!((refused, hasty.iter().filter(|answer| answer["text"] == "done").count()), (2, 1), "{hasty:?}");
    told(&larder, "its concurrency limit is reached").await;
});

both!(timeouts_and_sizes_are_limited, async |on| {
    let service = Service::start(|received| match received.target.as_str() {
        "/slow" => Reply::new(200, "late").after(Duration::from_secs(3)),
        "/large" => Reply::new(200, vec![b'x'; 5_000]),
        _ => Reply::new(200, "soon").after(Duration::from_millis(100)),
    })
    .await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("https://{}", silent.local_addr().unwrap());
    let upstreams = [
        upstream("answer", &service, json!({ "answerMs": 500, "bytesMax": 4999 })),
        upstream("total", &service, json!({ "answerMs": 60000, "totalMs": 500, "bytesMax": 5000 })),
        upstream("connect", &service, json!({ "url": silent, "connectMs": 500 })),
    ];
    let larder = started(on, &upstreams).await;
    for (name, path, error) in [
        ("answer", "/slow", "HttpResponseTimeout"),
        ("total", "/slow", "HttpResponseTimeout"),
        ("connect", "/", "ConnectionTimeout"),
        ("answer", "/large", "HttpResponseBodySize"),
    ] {
        let begun = Instant::now();
        assert_eq!(get(&larder, name, path).await["error"], error, "{name}");
        assert!(begun.elapsed() < Duration::from_millis(2_500), "{name}: {:?}", begun.elapsed());
    }
    assert_eq!(get(&larder, "total", "/large").await["bytes"], 5_000);
    assert_eq!(get(&larder, "answer", "/").await["text"], "soon");

    // A function that will not wait tells nothing about the service: its breaker stays closed.
    for _ in 0..6 {
        let hasty = json!({ "authority": "answer.upstream", "path": "/", "first_byte_ms": 10 });
        assert_eq!(call(&larder, hasty).await["error"], "HttpResponseTimeout");
    }
    assert_eq!(get(&larder, "answer", "/").await["text"], "soon");
});

both!(functions_sign_with_a_key_that_they_never_see, async |on| {
    let service = Service::start(echo).await;
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let hmac = |encoding: &str| json!({ "kind": "hmac", "encoding": encoding });
    let key = base64(&(1..=24).collect::<Vec<u8>>());
    let upstreams = [
        upstream("text", &service, json!({ "credential": hmac("text"), "secret": "key-of-16-bytes!" })),
        upstream("bytes", &service, json!({ "credential": hmac("base64"), "secret": format!("whsec_{key}") })),
        upstream("other", &service, json!({})),
    ];
    for upstream in &upstreams {
        api.post("/upstreams", upstream.clone()).await.is(201);
    }
    api.create_function("signer", json!({})).await.is(201);
    api.grant("signer", json!({ "upstreams": ["text", "bytes", "other"] })).await;
    assert_eq!(api.build("signer", &guests::guest("signer"), true).await["status"], "ready");
    let sign = async |upstream: &str, data: &str, times: u32| {
        let body = json!({ "upstream": upstream, "data": data, "times": times }).to_string();
        let execution = api.execute("signer", json!({ "body": body })).await;
        match execution["status"].as_str() {
            Some("completed") => Ok(execution["responseBody"].as_str().unwrap().to_owned()),
            _ => Err(execution["errors"].as_str().unwrap().to_owned()),
        }
    };
    assert_eq!(
        sign("text", "GET /v1/balance", 1).await.unwrap(),
        "1dc3a1cbf2e7f68abb601def944d1fe74fd54bdfa990ce01412174031a8575c0"
    );
    assert_eq!(
        sign("bytes", "GET /v1/balance", 1).await.unwrap(),
        "b8746d473d834296cce9d52ad3c3bb4496b57ce7a1cf4a6b32a825a95c29e03d"
    );
    assert!(sign("other", "x", 1).await.unwrap_err().contains("no signing key"));
    assert!(sign("third", "x", 1).await.unwrap_err().contains("is not granted"));
    assert!(sign("text", "x", 1_001).await.unwrap_err().contains("1000 signatures"));
    // The key goes with no request.
    caller(&api, "caller", &["text"], json!({})).await;
    let said = get(&larder, "text", "/").await;
    assert_eq!(said["status"], 200, "{said}");
    assert!(!format!("{:?}", service.received()).contains("key-of-16-bytes!"));
    assert!(!api.get("/upstreams").await.is(200).to_string().contains("key-of-16"));
});

both!(upstreams_need_their_scope_and_never_show_their_credential, async |on| {
    let larder = Larder::start_on(on).await;
    let (api, operator) = (larder.api(), larder.operator());
    let made = json!({
        "name": "bank", "url": "https://bank.example/v1", "credential": { "kind": "header", "name": "X-Key" }, "secret": SECRET,
        "connectMs": 100,
    });
    let upstream = api.post("/upstreams", made.clone()).await.is(201);
    assert_eq!(
        (&upstream["hasSecret"], &upstream["connectMs"], &upstream["totalMs"]),
        (&json!(true), &json!(100), &json!(10_000))
    );
    assert_eq!(upstream["credential"], json!({ "kind": "header", "name": "X-Key", "template": "Bearer {secret}" }));
    api.post("/upstreams", made.clone()).await.is_error(409, "upstream_already_exists");
    let changed = |change: Value| {
        let mut body = made.clone();
        body["name"] = "other".into();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    for (change, named) in [
        (json!({ "name": "Bank" }), "name"),
        (json!({ "url": "ftp://bank.example" }), "url"),
        (json!({ "url": "https://user:pass@bank.example" }), "url"),
        (json!({ "url": "https://2130706433/" }), "url"),
        (json!({ "secret": "short" }), "secret"),
        (json!({ "secret": null }), "secret"),
        (json!({ "credential": { "kind": "none" } }), "secret"),
        (json!({ "credential": { "kind": "header", "name": "Host" } }), "credential.name"),
        (json!({ "credential": { "kind": "magic" } }), "credential"),
        (json!({ "networks": ["10.0.0.1/8"] }), "networks"),
        (json!({ "concurrency": 0 }), "concurrency"),
        (json!({ "cache": { "bytesMax": 0 } }), "cache.bytesMax"),
        (json!({ "breaker": { "restMs": 1 } }), "breaker.restMs"),
        (json!({ "concurency": 3 }), "concurency"),
    ] {
        let said = api.post("/upstreams", changed(change)).await.is_error(400, "general_argument_invalid");
        assert!(said.contains(named), "{named}: {said}");
    }

    // The credential stays with its origin: whoever moves the upstream must know it.
    let patch = async |body: Value| api.patch("/upstreams/bank", body).await;
    let said = patch(json!({ "url": "https://evil.example/v1" })).await.is_error(400, "general_argument_invalid");
    assert!(said.contains("`secret`"), "{said}");
    patch(json!({ "credential": { "kind": "query", "name": "k" } })).await.is_error(400, "general_argument_invalid");
    assert_eq!(patch(json!({ "url": "https://bank.example/v2" })).await.is(200)["hasSecret"], true);
    assert_eq!(
        patch(json!({ "url": "https://new.example", "secret": SECRET })).await.is(200)["url"],
        "https://new.example"
    );
    assert_eq!(patch(json!({ "credential": { "kind": "none" } })).await.is(200)["hasSecret"], false);
    api.patch("/upstreams/none", json!({})).await.is_error(404, "upstream_not_found");

    let key = operator.post("/partners/demo/keys", json!({ "scopes": ["upstreams.read"] })).await.is(201);
    let reader = larder.api_of(Some("demo"), key["secret"].as_str());
    reader.get("/upstreams/bank").await.is(200);
    for refused in [reader.post("/upstreams", made.clone()).await, reader.delete("/upstreams/bank").await] {
        assert!(refused.is_error(401, "general_unauthorized_scope").contains("upstreams.write"));
    }

    // By the command line, with the credential from a file.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), format!("{SECRET}\n")).unwrap();
    let cli = async |arguments: &[&str]| larder.cli(folder.path(), &[&["upstream"], arguments].concat()).await;
    let create = [
        "create",
        "feed",
        "--url",
        "https://feed.example",
        "--credential",
        "header",
        "--secret-file",
        "token",
        "--cache",
        "--rate",
        "60",
    ];
    let (code, out, err) = cli(&create).await;
    assert_eq!((code, out.trim()), (0, "feed"), "{err}");
    assert!(err.contains("upstreams = [\"feed\"]"), "{err}");
    let (_, shown, _) = cli(&["show", "feed", "--json"]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&shown["ratePerMinute"], &shown["cache"]["enabled"], &shown["hasSecret"]),
        (&json!(60), &json!(true), &json!(true))
    );
    assert_eq!(
        cli(&["set-credential", "feed", "--credential", "query", "--parameter", "k", "--secret-file", "token"]).await.0,
        0
    );
    assert_eq!(api.get("/upstreams/feed").await.is(200)["credential"], json!({ "kind": "query", "name": "k" }));
    assert_eq!(cli(&["set-credential", "feed"]).await.0, 2);
    assert_eq!(cli(&["create", "shared", "--url", "https://shared.example", "--operator"]).await.0, 0);
    let (_, listed, _) = cli(&["list"]).await;
    for part in ["feed", "partner", "shared", "operator", "closed"] {
        assert!(listed.contains(part), "{listed}");
    }
    assert_eq!(cli(&["delete", "feed"]).await.0, 0);
    api.get("/upstreams/feed").await.is_error(404, "upstream_not_found");
});
