//! What is said of the money is true: committed, refused, or unknown with the id to look up.

use larder_tests::proxy::{LastCommit, Mode, Proxy};
use larder_tests::services::{self, Database};
use larder_tests::{Api, Larder, Options, both, eventually, guests};
use reqwest::Method;
use serde_json::{Value, json};

const EXECUTIONS: &str = "/functions/f/executions";

/// A larder with the function `f`, which saves for Anna, at `/f`.
async fn saver(options: Options) -> (Larder, Api) {
    let larder = Larder::start_with(options).await;
    let api = larder.api();
    api.deploy("f", &guests::guest("hostile-saver"), json!({ "routes": ["/f"], "execute": ["any"] })).await;
    api.enrol("f", "anna", "all", json!({})).await;
    (larder, api)
}

/// MariaDB behind a proxy, with a database of this test's own.
struct Behind {
    proxy: Proxy,
    database: Database,
}

impl Behind {
    async fn new() -> Behind {
        let database = Database::create().await;
        let port = services::mariadb_url().rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap();
        Behind { proxy: Proxy::start(port).await, database }
    }

    fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}/{}", self.proxy.port(), self.database.name())
    }
}

/// What a caller was told.
#[derive(Debug)]
struct Told {
    status: u16,
    retry_after: bool,
    id: Option<String>,
    body: Value,
}

impl Told {
    async fn of(request: reqwest::RequestBuilder) -> Told {
        let answer = request.send().await.expect("an answer");
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
        let (id, retry_after) = (header("x-appwrite-execution-id"), header("retry-after").is_some());
        Told { status: answer.status().as_u16(), retry_after, id, body: answer.json().await.unwrap_or_default() }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_commit_is_reported_as_unknown_and_can_be_looked_up() {
    let behind = Behind::new().await;
    // Nothing else is to commit.
    let quiet = Options::default()
        .set("LARDER_DATABASE__URL", behind.url())
        .set("LARDER_WORKER__POLL", "1h")
        .set("LARDER_SCHEDULER__POLL", "1h");
    let (larder, api) = saver(quiet).await;
    let queued = json!({ "method": "GET", "path": "/fine", "async": true });
    for commit in [LastCommit::Done, LastCommit::Lost] {
        behind.proxy.refuse_after(commit);
        let told = Told::of(api.request(Method::POST, EXECUTIONS).json(&queued)).await;
        behind.proxy.set(Mode::Pass);
        assert_eq!((told.status, told.retry_after), (500, false), "{commit:?}: {told:?}");
        let path = format!("{EXECUTIONS}/{}", told.id.expect("an id to look up"));
        let found =
            eventually("an answer", async || Some(api.get(&path).await).filter(|found| found.status < 500)).await;
        assert_eq!(found.status, if commit == LastCommit::Done { 200 } else { 404 }, "{commit:?}: {}", found.body);
    }
    let by_web = || larder.web("demo", Method::GET, "/f/save");
    let by_api = || api.request(Method::POST, EXECUTIONS).json(&json!({ "method": "GET", "path": "/save" }));
    let mut saved = 0;
    for (door, commit) in
        [("web", LastCommit::Done), ("api", LastCommit::Done), ("web", LastCommit::Lost), ("api", LastCommit::Lost)]
    {
        behind.proxy.refuse_after(commit);
        let told = Told::of(if door == "web" { by_web() } else { by_api() }).await;
        behind.proxy.set(Mode::Pass);
        assert_eq!(
            (told.status, told.body["type"].as_str(), told.retry_after),
            (500, Some("execution_outcome_unknown"), false),
            "{door} {commit:?}: {told:?}"
        );
        let id = told.id.expect("an id to look up");
        assert_eq!(told.body["executionId"], json!(id));
        assert!(told.body["message"].as_str().unwrap().contains(&id));
        let record = eventually("the record that tells", async || {
            let found = api.get(&format!("{EXECUTIONS}/{id}")).await;
            (found.status == 200).then_some(found.body)
        })
        .await;
        let done = commit == LastCommit::Done;
        saved += usize::from(done);
        assert_eq!(record["status"], if done { "completed" } else { "failed" }, "{door}: {record}");
        let transactions = api.transactions().await;
        assert_eq!(transactions.len(), saved);
        assert_eq!(transactions.iter().any(|t| t["executionId"] == json!(id)), done);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_with_unknown_result_is_repeated_under_its_key_and_saves_once() {
    let behind = Behind::new().await;
    let quiet = Options::default()
        .set("LARDER_DATABASE__URL", behind.url())
        .set("LARDER_WORKER__POLL", "1h")
        .set("LARDER_SCHEDULER__POLL", "1h")
        .set("LARDER_SERVER__CALL_TIMEOUT", "1s");
    let (_larder, api) = saver(quiet).await;
    for (saved, commit) in [(1, LastCommit::Done), (2, LastCommit::Lost)] {
        let key = format!("a-key-for-{commit:?}");
        let request = || {
            let request = api.request(Method::POST, EXECUTIONS).header("idempotency-key", &key);
            request.json(&json!({ "method": "GET", "path": "/save-slowly?600" }))
        };
        let told = tokio::spawn(Told::of(request()));
        // The key's own commit passes; what comes while the guest sleeps is the ledger's.
        let kept = async || api.limit("records.idempotency_keys_per_partner").await.1;
        eventually("the key to be kept", async || (kept().await == saved as u64).then_some(())).await;
        behind.proxy.refuse_after(commit);
        let told = told.await.unwrap();
        behind.proxy.set(Mode::Pass);
        assert_eq!((told.status, told.retry_after), (500, false), "{commit:?}: {told:?}");
        let again = eventually("the key to be free", async || {
            let told = Told::of(request()).await;
            (told.status != 409).then_some(told)
        })
        .await;
        assert_eq!((again.status, &again.body["status"]), (201, &json!("completed")), "{commit:?}: {again:?}");
        assert_eq!(again.body["$id"], json!(told.id.unwrap()));
        assert_eq!(api.transactions().await.len(), saved, "{commit:?}");
    }
}

both!(a_disabled_function_saves_nothing_whatever_the_trigger, async |on| {
    let (larder, api) = saver(Options::on(on)).await;
    let switch = async |enabled: bool| {
        let settings = json!({ "name": "f", "routes": ["/f"], "execute": ["any"], "enabled": enabled });
        api.put("/functions/f", settings).await.is(200);
    };
    let slowly = json!({ "method": "GET", "path": "/save-slowly?800" });
    let queued = |body: &Value| {
        let mut body = body.clone();
        body["async"] = true.into();
        body
    };
    let guest = larder.api_of(Some("demo"), None);
    let later = api.post(EXECUTIONS, queued(&slowly)).await.is(202);
    let under_way = async {
        let (web, key, guest) = (
            larder.web("demo", Method::GET, "/f/save-slowly?800").send(),
            api.post(EXECUTIONS, slowly.clone()),
            guest.post(EXECUTIONS, slowly.clone()),
        );
        tokio::join!(web, key, guest)
    };
    let disable = async {
        api.in_progress(3).await;
        switch(false).await;
    };
    let ((web, key, guest), ()) = tokio::join!(under_way, disable);
    assert_eq!(web.unwrap().status(), 502);
    for told in [key.is(201), guest.is(201)] {
        assert_eq!(told["status"], "failed", "{told}");
    }
    // What begins when it is disabled already, as far as it may begin at all.
    let save = json!({ "method": "GET", "path": "/save" });
    let told = api.post(EXECUTIONS, save.clone()).await.is(201);
    assert!(told["status"] == "failed" && told["errors"].as_str().unwrap().contains("disabled"), "{told}");
    let last = api.post(EXECUTIONS, queued(&save)).await.is(202);
    assert_eq!(larder.web("demo", Method::GET, "/f/save").send().await.unwrap().status(), 404);
    for queued in [later, last] {
        let path = format!("{EXECUTIONS}/{}", queued["$id"].as_str().unwrap());
        let ended = eventually("its end", async || {
            let execution = api.get(&path).await.is(200);
            matches!(execution["status"].as_str(), Some("failed" | "completed")).then_some(execution)
        })
        .await;
        assert!(ended["status"] == "failed" && ended["errors"].as_str().unwrap().contains("disabled"), "{ended}");
    }
    assert_eq!(api.transactions().await, Vec::<Value>::new());
    // Without effects it can be tried, and enabled it saves again.
    let fine = api.post(EXECUTIONS, json!({ "method": "GET", "path": "/fine" })).await.is(201);
    assert_eq!(fine["status"], "completed");
    switch(true).await;
    assert_eq!(api.execute("f", save).await["status"], "completed");
    assert_eq!(api.transactions().await.len(), 1);
});

both!(committed_execution_is_reported_with_a_binary_response, async |on| {
    let (_larder, api) = saver(Options::on(on)).await;
    let asked = json!({ "method": "GET", "path": "/save-and-answer-bytes" });
    let told = api.post(EXECUTIONS, asked).await.is(201);
    assert_eq!(
        (&told["status"], &told["responseBody"], &told["responseBodyEncoding"]),
        (&json!("completed"), &json!("AP/+IQ=="), &json!("base64")),
        "{told}"
    );
    assert_eq!(api.transactions().await.len(), 1);
    let told = api.post(EXECUTIONS, json!({ "method": "GET", "path": "/fine" })).await.is(201);
    assert_eq!((&told["responseBody"], &told["responseBodyEncoding"]), (&json!("fine\n"), &json!("utf-8")));
});

both!(nobody_sends_events_in_the_name_of_a_function, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let event = |source: &str| json!({ "specversion": "1.0", "id": "x-1", "source": source, "type": "t" });
    let send = async |kind: &str, body: Value| {
        Api::send(api.request(Method::POST, "/events").header("content-type", kind).body(body.to_string())).await
    };
    for source in
        ["/functions/f", "/functions/f/schedule", "/functions/", "/functions", "/FUNCTIONS/f", "/%66unctions/f"]
    {
        let told = send("application/cloudevents+json", event(source)).await;
        let told = told.is_error(400, "general_argument_invalid");
        assert!(told.contains("`source`") && told.contains("reserved"), "{source}: {told}");
        let told = send("application/cloudevents-batch+json", json!([event("/fine"), event(source)])).await;
        assert!(told.is_error(400, "general_argument_invalid").contains("events[1].source"), "{source}");
        let binary = api.request(Method::POST, "/events").body("{}");
        let attributes = [("ce-specversion", "1.0"), ("ce-id", "b"), ("ce-source", source), ("ce-type", "t")];
        let binary = attributes.iter().fold(binary, |request, (name, value)| request.header(*name, *value));
        Api::send(binary).await.is_error(400, "general_argument_invalid");
    }
    for source in ["/functional", "functions/f", "https://bank.example/functions/f"] {
        send("application/cloudevents+json", event(source)).await.is(202);
    }
});

both!(granted_amounts_have_a_maximum_that_is_named, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.create_function("f", json!({})).await.is(201);
    let put = async |max: &str, sum: &str, currency: &str| {
        let grant = json!({ currency: { "max": max, "sum": sum, "period": "day" } });
        api.put("/functions/f/grants", json!({ "transactions": grant })).await
    };
    for (max, sum, currency) in [
        ("1", "92233720368547758.07", "SEK"),
        ("92233720368547758.07", "92233720368547758.07", "SEK"),
        ("1", "10000000000000.01", "SEK"),
        ("1", "1000000000000001", "JPY"),
        ("1", "99999999999999999999999", "JPY"),
    ] {
        let told = put(max, sum, currency).await;
        assert_eq!(told.status, 400, "{max} {sum} {currency}: {}", told.body);
        let told = told.body["message"].as_str().unwrap().to_owned();
        assert!(
            told.contains(&format!("transactions.{currency}"))
                && (told.contains("at most") || told.contains("too large")),
            "{told}"
        );
    }
    put("10000000000000.00", "10000000000000", "SEK").await.is(200);
    put("1", "1000000000000000", "JPY").await.is(200);
});

both!(run_and_ledger_agree_on_which_values_are_numbers, async |on| {
    let (larder, _) = saver(Options::on(on)).await;
    let get = async |path: String| {
        let answer = larder.web("demo", Method::GET, &path).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for (number, (value, bumped)) in [
        ("5", Some("6")),
        ("-7", Some("-6")),
        ("007", Some("8")),
        ("-0", Some("1")),
        ("9223372036854775807", None),
        ("+5", None),
        ("", None),
        ("5.0", None),
        ("1e3", None),
        ("x", None),
        ("00000000000000000000000000000005", None),
    ]
    .into_iter()
    .enumerate()
    {
        let (blind, seen) = (format!("blind-{number}"), format!("seen-{number}"));
        for key in [&blind, &seen] {
            assert_eq!(get(format!("/f/put?{key}={value}")).await.0, 200);
        }
        // As the ledger reads it, and as a run that looks at it does.
        let (status, _) = get(format!("/f/bump?{blind}")).await;
        assert_eq!(status, if bumped.is_some() { 200 } else { 502 }, "{value:?} for the ledger");
        assert_eq!(get(format!("/f/get?{blind}")).await.1, bumped.unwrap_or(value), "{value:?} for the ledger");
        let (_, told) = get(format!("/f/bump-and-look?{seen}")).await;
        assert_eq!(told.starts_with("Ok"), bumped.is_some(), "{value:?} for the run: {told}");
    }
});

both!(failure_reason_is_short_and_precedes_the_guests_output, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let limits = json!({ "logBytes": 262_144 });
    api.deploy("f", &guests::guest("hostile-saver"), json!({ "routes": ["/f"], "limits": limits })).await;
    let told = api.execute("f", json!({ "method": "GET", "path": "/long-reason" })).await;
    let errors = told["errors"].as_str().unwrap();
    assert!(errors.len() <= 17 << 10, "{} bytes", errors.len());
    assert!(errors.starts_with("no valid response: "), "{}", &errors[..100.min(errors.len())]);
    // What the guest wrote comes after the reason, however much it is.
    let told = api.execute("f", json!({ "method": "GET", "path": "/complain-and-trap" })).await;
    let errors = told["errors"].as_str().unwrap();
    assert!(errors.starts_with("trapped: ") && errors.contains("complaint"), "{}", &errors[..200.min(errors.len())]);
});

both!(revoked_grant_stops_the_next_outgoing_request, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let server = larder_tests::outside::Outside::start().await;
    api.deploy("caller", &guests::guest("caller"), json!({ "routes": ["/call"], "timeout": 25 })).await;
    let here = server.address.to_string();
    let grants = json!({ "http": [{ "scheme": "http", "hosts": [here], "network": "127.0.0.0/8" }] });
    let calls = json!([
        { "authority": here, "path": "/never", "first_byte_ms": 1_200 },
        { "authority": here, "path": "/second" },
    ]);
    let told = async |calls: &Value| -> Vec<Value> {
        let answer = larder.web("demo", Method::POST, "/call").body(calls.to_string()).send().await.unwrap();
        answer.json().await.unwrap()
    };
    let mut asked = 0;
    for how in ["revoked", "disabled"] {
        api.grant("caller", grants.clone()).await;
        let change = async {
            eventually("the first call", async || (server.asked().len() > asked).then_some(())).await;
            match how {
                "revoked" => api.grant("caller", json!({})).await,
                _ => {
                    let settings = json!({ "name": "caller", "routes": ["/call"], "timeout": 25, "enabled": false });
                    drop(api.put("/functions/caller", settings).await.is(200));
                }
            }
        };
        let (told, ()) = tokio::join!(told(&calls), change);
        assert_eq!(told[1]["error"], "HttpRequestDenied", "{how}: {told:?}");
        assert!(server.asked().iter().all(|asked| !asked.line.contains("/second")), "{how}");
        asked = server.asked().len();
    }
});
