//! `Idempotency-Key` at the web endpoint: the same request, the same answer, one effect.

use larder_tests::{Api, Larder, Options, both, eventually, guests};
use reqwest::{Method, RequestBuilder};
use serde_json::json;

const KEY: &str = "a-key-that-is-long-enough";

#[derive(Debug, PartialEq)]
struct Told {
    status: u16,
    replayed: Option<String>,
    id: Option<String>,
    content_type: Option<String>,
    body: Vec<u8>,
}

async fn told(request: RequestBuilder) -> Told {
    try_told(request).await.expect("an answer")
}

async fn try_told(request: RequestBuilder) -> reqwest::Result<Told> {
    let answer = request.send().await?;
    let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
    let (replayed, id) = (header("idempotency-replayed"), header("x-appwrite-execution-id"));
    let (status, content_type) = (answer.status().as_u16(), header("content-type"));
    Ok(Told { status, replayed, id, content_type, body: answer.bytes().await?.into() })
}

fn kind(told: &Told) -> String {
    let body: serde_json::Value = serde_json::from_slice(&told.body).unwrap_or_default();
    body["type"].as_str().unwrap_or_default().to_owned()
}

async fn saver(options: Options) -> (Larder, Api) {
    let larder = Larder::start_with(options).await;
    let api = larder.api();
    for function in ["f", "g"] {
        api.deploy(function, &guests::guest("hostile-saver"), json!({ "routes": [format!("/{function}")] })).await;
        api.enrol(function, "anna", "all", json!({})).await;
    }
    (larder, api)
}

both!(repeated_call_under_its_key_gets_the_first_response, async |on| {
    let (larder, api) = saver(Options::on(on)).await;
    let call = |path: &str, key: &str| larder.web("demo", Method::POST, path).header("idempotency-key", key);
    let mut saved = 0;
    for (path, key) in [("/f/save", KEY), ("/f/save-and-answer-bytes", "bytes-need-their-own-key"), ("/g/save", KEY)] {
        let first = told(call(path, key).body("one")).await;
        assert_eq!((first.status, &first.replayed), (200, &None), "{path}: {first:?}");
        saved += 1;
        let again = told(call(path, &format!("\"{key}\"")).body("one")).await;
        assert_eq!(again.replayed.as_deref(), Some("true"), "{path}: {again:?}");
        assert_eq!(
            (again.status, &again.id, &again.content_type, &again.body),
            (200, &first.id, &first.content_type, &first.body)
        );
        assert_eq!(api.transactions().await.len(), saved, "{path}");
        if path == "/f/save" {
            // Of one function, the key stands for one request: another body, path, method or caller is another.
            for other in [
                call(path, KEY).body("two"),
                call("/f/fine", KEY).body("one"),
                call("/f/save?x", KEY).body("one"),
                larder.web("demo", Method::PUT, path).header("idempotency-key", KEY).body("one"),
                call(path, KEY).body("one").header("authorization", "Bearer b"),
                call(path, KEY).body("one").header("cookie", "session=b"),
            ] {
                let refused = told(other).await;
                assert_eq!((refused.status, kind(&refused).as_str()), (422, "general_idempotency_mismatch"));
            }
        }
    }
    // A failure is an answer as well, and so is what the function says.
    for (path, status) in [("/f/save-and-trap-midway", 502), ("/f/save-and-fail", 500), ("/f/nothing", 404)] {
        let key = format!("{KEY}-{status}");
        let first = told(call(path, &key)).await;
        let again = told(call(path, &key)).await;
        assert_eq!((first.status, again.status), (status, status), "{path}: {first:?} {again:?}");
        assert_eq!(
            (again.replayed.as_deref(), &again.id, &again.body),
            (Some("true"), &first.id, &first.body),
            "{path}"
        );
    }
    for key in ["short", "", "fifteen-letters", &"k".repeat(256), "\u{e9}-key-that-is-long-enough"] {
        let refused = told(call("/f/save", key)).await;
        assert_eq!((refused.status, kind(&refused).as_str()), (400, "general_argument_invalid"), "{key:?}");
    }
    let twice = told(call("/f/save", KEY).header("idempotency-key", "another-key-that-is-long")).await;
    assert_eq!(twice.status, 400);
    assert_eq!(api.transactions().await.len(), saved);
});

both!(call_in_progress_is_not_started_again, async |on| {
    let (larder, api) = saver(Options::on(on)).await;
    let call = || larder.web("demo", Method::POST, "/f/save-slowly?900").header("idempotency-key", KEY);
    let second = async {
        api.in_progress(1).await;
        let answer = call().send().await.unwrap();
        (answer.status().as_u16(), answer.headers().contains_key("retry-after"))
    };
    let (first, second) = tokio::join!(told(call()), second);
    assert_eq!((first.status, second), (200, (409, true)), "{first:?}");
    assert_eq!((told(call()).await.replayed.as_deref(), api.transactions().await.len()), (Some("true"), 1));
    // Somebody who hangs up is answered when they come back.
    let gone =
        || larder.web("demo", Method::POST, "/f/save-slowly?500").header("idempotency-key", "the-one-who-hangs-up");
    assert!(gone().timeout(std::time::Duration::from_millis(200)).send().await.is_err());
    let again = eventually("the end of the first", async || {
        let again = told(gone()).await;
        (again.status != 409).then_some(again)
    })
    .await;
    assert_eq!((again.status, again.replayed.as_deref(), api.transactions().await.len()), (200, Some("true"), 2));
});

both!(a_call_whose_process_died_takes_effect_once, async |on| {
    let options = Options::on(on).set("LARDER_CRASH", "ledger_committed:1").set("LARDER_SERVER__CALL_TIMEOUT", "1s");
    let (mut larder, _) = saver(options.set("LARDER_RECORDS__ALL", "true")).await;
    let call = |larder: &Larder| larder.web("demo", Method::POST, "/f/save").header("idempotency-key", KEY);
    assert!(try_told(call(&larder)).await.is_err(), "it died");
    larder.ended().await;
    larder.restart().await;
    let again = eventually("the key to run out", async || {
        let again = told(call(&larder)).await;
        (again.status != 409).then_some(again)
    })
    .await;
    assert_eq!((again.status, again.replayed.as_deref()), (200, Some("record")), "{again:?}");
    let transactions = larder.api().transactions().await;
    assert_eq!((transactions.len(), transactions[0]["executionId"].as_str()), (1, again.id.as_deref()));
});

both!(response_too_large_to_store_is_replaced_by_its_record, async |on| {
    let (larder, api) = saver(Options::on(on)).await;
    let call = || larder.web("demo", Method::POST, "/f/pour?300000").header("idempotency-key", KEY);
    let first = told(call()).await;
    assert_eq!((first.status, first.body.len()), (200, 300_000));
    let path = format!("/functions/f/executions/{}", first.id.clone().unwrap());
    eventually("its record", async || (api.get(&path).await.status == 200).then_some(())).await;
    let again = told(call()).await;
    assert_eq!(
        (again.status, again.replayed.as_deref(), &again.id, again.body.len()),
        (200, Some("record"), &first.id, 0)
    );
});

both!(idempotency_keys_of_a_partner_are_limited, async |on| {
    let (larder, api) = saver(Options::on(on).set("LARDER_RECORDS__IDEMPOTENCY_KEYS_PER_PARTNER", "5")).await;
    let call = |n: u32| larder.web("demo", Method::POST, "/f/fine").header("idempotency-key", format!("{KEY}-{n}"));
    let mut refused = None;
    for number in 0..12 {
        let told = told(call(number)).await;
        if told.status == 429 {
            refused = Some((number, told));
            break;
        }
        assert_eq!(told.status, 200);
    }
    let (number, told_) = refused.expect("a refusal");
    assert_eq!(number, 5, "{told_:?}");
    let body: serde_json::Value = serde_json::from_slice(&told_.body).unwrap();
    assert!(body["message"].as_str().unwrap().contains("records.idempotency_keys_per_partner"), "{body}");
    // What is known is still answered, what has no key is served, and the API has the same bound.
    assert_eq!(told(call(0)).await.replayed.as_deref(), Some("true"));
    assert_eq!(told(larder.web("demo", Method::POST, "/f/fine")).await.status, 200);
    let request = api.request(Method::POST, "/functions/f/executions").header("idempotency-key", "k");
    let refused = Api::send(request.json(&json!({ "method": "GET", "path": "/fine" }))).await;
    assert!(refused.is_error(429, "general_rate_limit_exceeded").contains("records.idempotency_keys_per_partner"));
    let limits = api.get("/limits").await.is(200).to_string();
    assert!(limits.contains("records.idempotency_keys_per_partner"), "{limits}");
});

both!(a_function_that_changes_nothing_needs_no_key, async |on| {
    let larder = Larder::start_on(on).await;
    larder.api().deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/hello"] })).await;
    for _ in 0..2 {
        let call = larder.web("demo", Method::POST, "/hello/echo").header("idempotency-key", KEY).body("x");
        let told = told(call).await;
        assert_eq!((told.status, told.replayed, told.body), (200, None, b"x".to_vec()));
    }
});
