//! Responses of upstreams that are cached, shared and coalesced.

use std::sync::atomic::AtomicUsize;

use larder_tests::services::Redis;

use super::*;

/// Answers with the number of the request and the headers that the query wants.
fn cached(received: &Received, count: &AtomicUsize) -> Reply {
    let number = count.fetch_add(1, SeqCst) + 1;
    let (_, query) = received.target.split_once('?').unwrap_or_default();
    let wanted = query.split('&').filter_map(|pair| pair.split_once('=')).filter(|(name, _)| *name != "body");
    let etag = query.contains("etag");
    let status = if etag && !received.header("if-none-match").is_empty() { 304 } else { 200 };
    let body = match query.split("body=").nth(1) {
        Some(bytes) if status == 200 => "x".repeat(bytes.parse().unwrap()),
        _ if status == 200 => format!("{number}"),
        _ => String::new(),
    };
    wanted.fold(Reply::new(status, body), |reply, (name, value)| {
        reply.header(name, value.replace("%20", " ").replace("%22", "\""))
    })
}

async fn counting() -> Service {
    let count = AtomicUsize::new(0);
    Service::start(move |received| cached(received, &count)).await
}

both!(responses_are_cached_according_to_their_headers, async |on| {
    let service = counting().await;
    let cache = json!({ "cache": { "enabled": true, "bytesMax": 1000 } });
    let upstreams = [
        upstream("kept", &service, cache),
        upstream("off", &service, json!({})),
        upstream("longer", &service, json!({ "cache": { "enabled": true, "maxAgeSeconds": 60 } })),
    ];
    let larder = started(on, &upstreams).await;
    let twice = async |name: &str, path: &str| {
        let (one, two) = (get(&larder, name, path).await, get(&larder, name, path).await);
        (one["text"].clone(), two)
    };
    let asked = async |name: &str, path: &str, headers: Value| {
        let call = json!({ "authority": format!("{name}.upstream"), "path": path, "headers": headers });
        call_of(&larder, "demo", "caller", call).await
    };

    let (first, second) = twice("kept", "/a?cache-control=max-age%3D60").await;
    assert_ne!(first, second["text"], "%3D is no =, so nothing was said");
    let (first, second) = twice("kept", "/a?cache-control=max-age=60").await;
    assert_eq!(first, second["text"]);
    assert_eq!(second["headers"]["cache-status"], "larder; hit");
    assert!(second["headers"]["age"].is_string(), "{second}");
    for path in [
        "/b?cache-control=no-store,max-age=60",
        "/b?cache-control=private,max-age=60",
        "/b",
        "/b?cache-control=max-age=60&vary=*",
    ] {
        let (first, second) = twice("kept", path).await;
        assert_ne!(first, second["text"], "{path}");
    }
    let (first, second) = twice("off", "/a?cache-control=max-age=60").await;
    assert_ne!(first, second["text"]);
    assert!(second["headers"]["cache-status"].is_null());
    let (first, second) = twice("longer", "/b").await;
    assert_eq!(first, second["text"], "maxAgeSeconds");
    let (first, second) = twice("longer", "/c?cache-control=no-store").await;
    assert_ne!(first, second["text"], "no-store is obeyed all the same");
    let size = |answer: &Value| answer["headers"]["cache-status"].clone();
    assert_eq!(size(&twice("kept", "/d?cache-control=max-age=60&body=1000").await.1), "larder; hit");
    assert_eq!(size(&twice("kept", "/d?cache-control=max-age=60&body=1001").await.1), "larder; fwd=miss");

    // Revalidated: the service says that nothing has changed, and the function gets what was kept.
    let before = service.count();
    let (first, second) = twice("kept", "/e?cache-control=no-cache&etag=%22v1%22").await;
    assert_eq!((&first, &second["status"]), (&second["text"], &json!(200)));
    assert_eq!(second["headers"]["cache-status"], "larder; hit; fwd=stale; fwd-status=304");
    assert_eq!(service.count(), before + 2);
    assert_eq!(service.received().pop().unwrap().header("if-none-match"), "\"v1\"");

    // Vary, and whatever else the function's headers could make different.
    let path = "/f?cache-control=max-age=60&vary=accept-language";
    let swedish = asked("kept", path, json!([["accept-language", "sv"]])).await;
    let finnish = asked("kept", path, json!([["accept-language", "fi"]])).await;
    assert_ne!(swedish["text"], finnish["text"]);
    assert_eq!(asked("kept", path, json!([["accept-language", "sv"]])).await["text"], swedish["text"]);

    // What the function asks for.
    let path = "/g?cache-control=max-age=60";
    let first = get(&larder, "kept", path).await;
    assert_eq!(asked("kept", path, json!([["cache-control", "max-age=50"]])).await["text"], first["text"]);
    assert_ne!(asked("kept", path, json!([["cache-control", "no-cache"]])).await["text"], first["text"]);
    let head = call(&larder, json!({ "method": "HEAD", "authority": "kept.upstream", "path": path })).await;
    assert_eq!((&head["headers"]["cache-status"], &head["bytes"]), (&json!("larder; hit"), &json!(0)), "{head}");
    let conditional = asked("kept", "/g?etag=%22a%22", json!([["if-none-match", "\"a\""]])).await;
    assert_eq!(conditional["status"], 304, "its own condition is its own business");
    assert_eq!(asked("kept", "/never", json!([["cache-control", "only-if-cached"]])).await["status"], 504);

    // Changing something there makes what was kept of it old.
    let path = "/h?cache-control=max-age=60";
    let first = get(&larder, "kept", path).await;
    call(&larder, json!({ "method": "POST", "authority": "kept.upstream", "path": path, "body": "x" })).await;
    assert_ne!(get(&larder, "kept", path).await["text"], first["text"]);
});

/// Fields that a client may send, whether or not Larder knows them.
const FIELDS: &[&str] = &[
    "a-im",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "age",
    "authorization",
    "baggage",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "dnt",
    "early-data",
    "expect",
    "forwarded",
    "from",
    "idempotency-key",
    "if-none-match",
    "if-range",
    "max-forwards",
    "origin",
    "pragma",
    "prefer",
    "priority",
    "range",
    "referer",
    "save-data",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "user-agent",
    "via",
    "want-repr-digest",
    "x-b3-traceid",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-http-method-override",
    "x-original-url",
    "x-request-id",
];

both!(upstream_requests_carry_only_headers_of_the_cache_key, async |on| {
    let service = Service::start(|received| {
        let mut seen: Vec<String> = received
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        seen.sort();
        let delay = if received.target == "/at-once" { 300 } else { 0 };
        let reply = Reply::new(200, seen.join("\n")).header("cache-control", "max-age=60");
        reply.after(Duration::from_millis(delay))
    })
    .await;
    let larder = started(on, &[upstream("kept", &service, json!({ "cache": { "enabled": true } }))]).await;
    let value = |name: &str| match name {
        "content-length" => "7",
        _ => "sd-routing-key=x",
    };
    let mut leaks = vec![];
    for name in FIELDS {
        let path = format!("/{name}");
        let sent = json!({ "authority": "kept.upstream", "path": path, "headers": [[name, value(name)]] });
        // One that the guest's own interface refuses comes nowhere.
        if call(&larder, sent.clone()).await["refused"].is_string() {
            continue;
        }
        let (plain, again) = (get(&larder, "kept", &path).await, call(&larder, sent).await);
        let line = format!("{name}: {}", value(name));
        if plain["text"].as_str().unwrap().lines().any(|seen| seen == line) {
            leaks.push(format!("{name}: a plain request gets the answer to one with it"));
        }
        let shared = plain["headers"]["cache-status"] == "larder; hit" || plain["text"] == again["text"];
        if shared && service.received().iter().any(|r| r.target == path && r.header(name) == value(name)) {
            leaks.push(format!("{name}: it is forwarded, and no part of the key"));
        }
    }
    assert_eq!(leaks, [] as [&str; 0]);

    // Nor do those who wait for one answer share what one of them alone has said.
    let calls: Vec<Value> = FIELDS
        .iter()
        .filter(|name| !["accept-encoding", "content-length"].contains(name))
        .map(|name| json!({ "authority": "kept.upstream", "path": "/at-once", "headers": [[name, value(name)]] }))
        .chain([json!({ "authority": "kept.upstream", "path": "/at-once" })])
        .collect();
    let one = async |call: Value| {
        let request = larder.web("demo", Method::POST, "/caller").body(json!([call]).to_string());
        serde_json::from_str::<Value>(&request.send().await.unwrap().text().await.unwrap()).unwrap()[0].clone()
    };
    let answers = futures::future::join_all(calls.into_iter().map(one)).await;
    let plain = answers.last().unwrap()["text"].as_str().unwrap().to_owned();
    assert!(!plain.contains("sd-routing-key"), "{plain}");
});

both!(fields_are_read_by_their_grammar, async |on| {
    let service = Service::start(|received| {
        let (_, lines) = received.target.split_once('?').unwrap_or_default();
        let count = COUNT.fetch_add(1, SeqCst).to_string();
        lines.split('&').filter_map(|line| line.split_once('=')).fold(Reply::new(200, count), |reply, (name, value)| {
            let value = value.replace("%20", " ").replace("%22", "\"").replace("%3D", "=").replace("%5C", "\\");
            match value.strip_prefix("in:") {
                Some(seconds) => reply.header(name, http_date(seconds.parse().unwrap())),
                None => reply.header(name, value),
            }
        })
    })
    .await;
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let larder = started(on, &[upstream("kept", &service, json!({ "cache": { "enabled": true } }))]).await;
    let mut wrong = vec![];
    for (lines, kept) in [
        ("cache-control=max-age=3600&age=0", true),
        ("cache-control=max-age=3600&age=7200,%200", false),
        ("cache-control=max-age=3600&age=7200&age=0", false),
        ("cache-control=max-age=3600&age=soon", true),
        ("expires=in:3600", true),
        ("expires=in:-3600", false),
        ("expires=in:3600&date=in:0", true),
        ("expires=in:3600&date=in:7200", false),
        ("cache-control=x=%22a,no-store%22,%20max-age=60", true),
        ("cache-control=x=%22a%5C%22,no-store,b=%22,%20max-age=60", true),
        ("cache-control=max-age%20=60", false),
        ("cache-control=max-age=60&vary=accept,%20%20,%20*", false),
    ] {
        let path = format!("/?{lines}");
        let (first, second) = (get(&larder, "kept", &path).await, get(&larder, "kept", &path).await);
        if (first["text"] == second["text"]) != kept {
            wrong.push(format!("{lines}: kept is {}", !kept));
        }
    }
    assert_eq!(wrong, [] as [&str; 0]);
});

/// So many seconds from now.
fn http_date(seconds: i64) -> String {
    let at = chrono::Utc::now() + chrono::Duration::seconds(seconds);
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

both!(partners_share_only_responses_of_operator_upstreams, async |on| {
    let service = counting().await;
    let larder = Larder::start_on(on).await;
    let operator = larder.operator();
    let cache = || json!({ "cache": { "enabled": true } });
    operator.post("/operator/upstreams", upstream("shared", &service, cache())).await.is(201);
    let scopes: Vec<&str> = larder_wire::scopes::Scope::ALL.iter().map(|scope| scope.words()[0]).collect();
    let mut apis = vec![("demo", larder.api())];
    operator.post("/partners", json!({ "partnerId": "bank", "name": "Bank" })).await.is(201);
    let key = operator.post("/partners/bank/keys", json!({ "scopes": scopes })).await.is(201);
    apis.push(("bank", larder.api_of(Some("bank"), key["secret"].as_str())));
    for (partner, api) in &apis {
        for name in ["own", "first"] {
            api.post("/upstreams", upstream(name, &service, cache())).await.is(201);
        }
        caller(api, "caller", &["own", "shared", "first"], json!({})).await;
        let listed = api.get("/upstreams").await.is(200);
        let listed: Vec<_> = listed["upstreams"]
            .as_array()
            .unwrap()
            .iter()
            .map(|u| (&u["name"], &u["owner"], u["url"].is_string()))
            .collect();
        let (own, shared) = (json!("partner"), json!("operator"));
        assert_eq!(
            listed,
            [(&json!("first"), &own, true), (&json!("own"), &own, true), (&json!("shared"), &shared, false)],
            "{partner}"
        );
    }
    operator
        .post("/operator/upstreams", upstream("first", &service, json!({ "url": "http://127.0.0.1:1" })))
        .await
        .is(201);
    let asked = async |partner: &str, name: &str| {
        let call = json!({ "authority": format!("{name}.upstream"), "path": "/x?cache-control=max-age=60" });
        call_of(&larder, partner, "caller", call).await["text"].clone()
    };
    let own = (asked("demo", "own").await, asked("bank", "own").await);
    assert_ne!(own.0, own.1);
    assert_eq!(own, (asked("demo", "own").await, asked("bank", "own").await));
    assert_eq!(asked("demo", "shared").await, asked("bank", "shared").await);
    assert!(asked("bank", "first").await.is_string(), "the partner's own was there first");

    // One partner cannot touch another's or the operator's.
    let stranger = &apis[1].1;
    stranger.delete("/upstreams/shared").await.is_error(404, "upstream_not_found");
    stranger
        .patch("/upstreams/shared", json!({ "url": "http://127.0.0.1:2" }))
        .await
        .is_error(404, "upstream_not_found");
    stranger.get("/operator/upstreams").await.is_error(401, "user_unauthorized");
    // What the operator takes away is gone for all.
    operator.delete("/operator/upstreams/shared").await.is(204);
    assert_eq!(get(&larder, "shared", "/").await["error"], "HttpRequestDenied");
});

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_the_cache_until_redis_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = Redis::start(folder.path());
    let options =
        || Options::on(Backend::Services).set("LARDER_REDIS__URL", redis.url()).set("LARDER_REDIS__TIMEOUT", "500ms");
    let service = counting().await;
    let one = Larder::start_with(options()).await;
    let rated = upstream("rated", &service, json!({ "ratePerMinute": 3, "waitMs": 0 }));
    made(&one, &[upstream("kept", &service, json!({ "cache": { "enabled": true } })), rated]).await;
    let objects = one.data().join("objects");
    let other = one.start_beside(options().set("LARDER_OBJECTS__URL", format!("file://{}", objects.display()))).await;
    let path = |name: &str| format!("/{name}?cache-control=max-age=60");
    let first = get(&one, "kept", &path("a")).await;
    assert_eq!(get(&other, "kept", &path("a")).await["headers"]["cache-status"], "larder; hit");
    assert_eq!((get(&other, "kept", &path("a")).await["text"].clone(), service.count()), (first["text"].clone(), 1));
    // What stands there can be read and written by nobody else.
    let keys = redis.send("KEYS *cache:*\r\n").unwrap();
    let key = keys.lines().find(|line| line.contains(":cache:")).unwrap_or_else(|| panic!("{keys}")).to_owned();
    let value = redis.send(&format!("GET {key}\r\n")).unwrap();
    assert!(!value.contains("max-age") && !value.contains("cache-control"), "{value}");
    redis.send(&format!("SET {key} forged\r\n")).unwrap();
    let fresh = one.start_beside(options().set("LARDER_OBJECTS__URL", format!("file://{}", objects.display()))).await;
    assert_eq!(get(&fresh, "kept", &path("a")).await["headers"]["cache-status"], "larder; fwd=miss");

    // They share the rate, too.
    larder_tests::early_in_a_minute().await;
    for process in [&one, &other, &fresh] {
        assert_eq!(get(process, "rated", "/").await["status"], 200);
    }
    assert_eq!(get(&other, "rated", "/").await["error"], "ConnectionLimitReached");

    redis.kill();
    let begun = Instant::now();
    let lost = get(&one, "kept", &path("b")).await;
    assert_eq!((&lost["status"], &lost["headers"]["cache-status"]), (&json!(200), &json!("larder; fwd=miss")));
    assert_eq!(get(&one, "kept", &path("b")).await["headers"]["cache-status"], "larder; hit", "in memory");
    assert_eq!(get(&other, "kept", &path("b")).await["headers"]["cache-status"], "larder; fwd=miss", "each for itself");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

both!(concurrent_identical_requests_are_coalesced, async |on| {
    let service = Service::start(|received| {
        let cache = if received.target.starts_with("/alone") { "no-store" } else { "max-age=60" };
        let delay = if received.target == "/slow" { 2_500 } else { 700 };
        Reply::new(200, "answer").header("cache-control", cache).after(Duration::from_millis(delay))
    })
    .await;
    let larder =
        started(on, &[upstream("kept", &service, json!({ "cache": { "enabled": true }, "concurrency": 32 }))]).await;
    let many = async |path: &str| {
        let before = service.count();
        let answers = futures::future::join_all((0..8).map(|_| get(&larder, "kept", path))).await;
        assert!(answers.iter().all(|answer| answer["text"] == "answer"), "{answers:?}");
        service.count() - before
    };
    assert_eq!(many("/x").await, 1);
    assert_eq!(many("/alone").await, 8, "an answer for one is no answer for others");

    // The one who asked is stopped: another one asks, and the rest still wait for one answer.
    caller(&larder.api(), "hasty", &["kept"], json!({ "timeout": 1 })).await;
    let before = service.count();
    let hasty = larder
        .web("demo", Method::POST, "/hasty")
        .body(json!([{ "authority": "kept.upstream", "path": "/slow" }]).to_string());
    let hasty = tokio::spawn(hasty.send());
    eventually("it asks", async || (service.count() > before).then_some(())).await;
    let answers = futures::future::join_all((0..4).map(|_| get(&larder, "kept", "/slow"))).await;
    assert!(answers.iter().all(|answer| answer["text"] == "answer"), "{answers:?}");
    assert_eq!(hasty.await.unwrap().unwrap().status(), 504);
    assert_eq!(service.count(), before + 2);
});

both!(stale_responses_are_served_while_the_service_fails, async |on| {
    let broken = Arc::new(AtomicBool::new(false));
    let service = Service::start({
        let broken = broken.clone();
        move |received| match broken.load(SeqCst) {
            true => Reply::new(500, "no"),
            false => Reply::new(200, "old")
                .header("cache-control", received.target.trim_start_matches("/?").replace('&', ", ")),
        }
    })
    .await;
    let larder = started(on, &[upstream("kept", &service, json!({ "cache": { "enabled": true } }))]).await;
    for path in ["/?max-age=0&stale-if-error=60", "/?max-age=0&stale-if-error=60&must-revalidate"] {
        assert_eq!(get(&larder, "kept", path).await["text"], "old");
    }
    broken.store(true, SeqCst);
    let stale = get(&larder, "kept", "/?max-age=0&stale-if-error=60").await;
    assert_eq!(
        (&stale["text"], &stale["headers"]["cache-status"]),
        (&json!("old"), &json!("larder; hit; detail=stale-if-error"))
    );
    assert_eq!(get(&larder, "kept", "/?max-age=0&stale-if-error=60&must-revalidate").await["status"], 500);
});
