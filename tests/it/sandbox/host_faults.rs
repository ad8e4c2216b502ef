//! The host is at fault only for the host, and not for ever.

use larder_tests::{Larder, Options, both, eventually, guests};
use reqwest::Method;
use serde_json::{Value, json};

const EXECUTIONS: &str = "/functions/f/executions";

both!(requests_that_no_guest_can_receive_are_refused_at_the_endpoint, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.deploy("f", &guests::guest("hello-http"), json!({ "routes": ["/hello"] })).await;
    let long = "h".repeat(300);
    for queued in [true, false] {
        for host in ["\u{e9}", "a b", "", "a/b", "a:b", "a:65536", "a@b", "a?b", "a,b", "[::1", "\t", &long] {
            let asked = json!({ "async": queued, "method": "GET", "path": "/hello", "headers": { "host": host } });
            let told = api.post(EXECUTIONS, asked).await.is_error(400, "general_unknown");
            assert!(told.contains("host"), "{host:?}: {told}");
        }
        for (field, value) in [
            ("path", json!("/a b")),
            ("path", json!("/\u{7f}")),
            ("path", json!("/a#b")),
            ("path", json!(format!("/{}", "\u{e9}".repeat(2_048)))),
            ("method", json!("CONNECT")),
            ("method", json!("get")),
            ("headers", json!({ "x": "a\nb" })),
            ("headers", json!({ "x": "a\u{0}b" })),
            ("headers", json!({ "x\u{e9}": "1" })),
            ("headers", json!({ "x:y": "1" })),
        ] {
            let mut asked = json!({ "async": queued, "method": "GET", "path": "/hello" });
            asked[field] = value.clone();
            let told = api.post(EXECUTIONS, asked).await;
            assert_eq!(told.status, 400, "{field} {value}: {}", told.body);
        }
        // What is taken arrives.
        for (field, value) in [
            ("headers", json!({ "host": "shop.example:8443", "x-name": "Zo\u{eb}" })),
            (
                "headers",
                json!({ "host": "[::1]:80", "x": "a\tb", "transfer-encoding": "chunked", "te": "x", "expect": "y" }),
            ),
            ("path", json!("/hello?name=Zo\u{eb}")),
            ("path", json!("//hello")),
            ("path", json!("/hello?%zz&{}|\"")),
        ] {
            let mut asked = json!({ "async": queued, "method": "GET", "path": "/hello" });
            asked[field] = value.clone();
            let told = api.post(EXECUTIONS, asked).await;
            assert!([201, 202, 400].contains(&told.status), "{field} {value}: {}", told.body);
            if told.status == 400 {
                continue;
            }
            let path = format!("{EXECUTIONS}/{}", told.body["$id"].as_str().unwrap());
            let ended = eventually("its end", async || {
                let found = api.get(&path).await;
                let ended = matches!(found.body["status"].as_str(), Some("completed" | "failed"));
                (found.status == 200 && ended).then_some(found.body)
            })
            .await;
            assert!(!ended["errors"].as_str().unwrap().contains("host"), "{field} {value}: {ended}");
        }
    }
});

both!(host_failures_are_retried_at_growing_intervals_and_then_given_up, async |on| {
    let options = Options::on(on)
        .set("LARDER_WORKER__RETRY_DELAY", "100ms")
        .set("LARDER_WORKER__RETRY_HOST_FAILURES_FOR", "1500ms");
    let mut larder = Larder::start_with(options).await;
    let api = larder.api();
    api.deploy("f", &guests::guest("hello-http"), json!({ "routes": ["/hello"] })).await;
    // The program is gone, and so is the upload that it could be made of again.
    larder.kill();
    let kept = larder.scratch().join("kept");
    std::fs::create_dir_all(&kept).unwrap();
    for folder in ["objects", "artifacts"] {
        std::fs::rename(larder.data().join(folder), kept.join(folder)).unwrap();
    }
    larder.restart().await;
    let api = larder.api();
    let queue = async || {
        let asked = json!({ "async": true, "method": "GET", "path": "/hello" });
        api.post(EXECUTIONS, asked).await.is(202)["$id"].as_str().unwrap().to_owned()
    };
    let (id, deleted) = (queue().await, queue().await);
    let get = async |id: &str| api.get(&format!("{EXECUTIONS}/{id}")).await;
    // One that waits to be tried again can be deleted.
    eventually("the second to fail and be deleted", async || {
        let path = format!("{EXECUTIONS}/{deleted}");
        let waits = get(&deleted).await.body["errors"].as_str()?.contains("the host failed");
        (waits && api.delete(&path).await.status == 204).then_some(())
    })
    .await;
    assert_eq!(get(&deleted).await.status, 404);
    let dead_letter = eventually("it to be given up", async || {
        let found = get(&id).await.body;
        (found["status"] == "failed").then_some(found)
    })
    .await;
    let errors = dead_letter["errors"].as_str().unwrap();
    assert!(errors.contains("retry_host_failures_for") && errors.contains("the host failed"), "{errors}");
    assert!(dead_letter["buriedAt"].is_string(), "{dead_letter}");
    let tries = larder.log().matches("no artifact of").count();
    assert!((3..40).contains(&tries), "{tries} tries in 1.5 s");
    // Mended, it goes well.
    for folder in ["objects", "artifacts"] {
        let _ = std::fs::remove_dir_all(larder.data().join(folder));
        std::fs::rename(kept.join(folder), larder.data().join(folder)).unwrap();
    }
    api.post(&format!("/dead-letters/{id}/redrive"), json!({})).await.is(202);
    eventually("it to be done", async || (get(&id).await.body["status"] == "completed").then_some(())).await;
    assert_eq!(larder.web("demo", Method::GET, "/hello").send().await.unwrap().status(), 200);
    let _: Value = dead_letter;
});
