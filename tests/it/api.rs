//! The wire format: functions, deployments, executions, variables, lists, and the document that describes them.

use std::collections::BTreeSet;

use larder_tests::{Answer, Api, Larder, Options, eventually, guests};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

fn hello() -> Vec<u8> {
    guests::guest("hello-http")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

async fn sent(request: reqwest::RequestBuilder) -> Answer {
    Api::try_send(request).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_are_created_replaced_and_deleted() {
    let larder = Larder::start().await;
    let api = larder.api();
    let made = api.create_function("unique()", json!({})).await.is(201);
    let id = text(&made["$id"]);
    assert!(id.len() == 20 && id.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()), "{id}");
    assert_eq!(
        (&made["execute"], &made["timeout"], &made["enabled"], &made["logging"], &made["live"], &made["schedule"]),
        (&json!([]), &json!(15), &json!(true), &json!(true), &json!(true), &json!(""))
    );
    assert_eq!((&made["deploymentId"], &made["latestDeploymentCreatedAt"]), (&json!(""), &json!("")));
    let created = text(&made["$createdAt"]);
    assert!(created.len() == 29 && created.ends_with("+00:00"), "{created}");
    api.create_function(id, json!({})).await.is_error(409, "function_already_exists");

    let full = json!({
        "execute": ["any"], "timeout": 30, "schedule": "0 9 * * *", "timezone": "Europe/Stockholm", "enabled": false,
        "logging": false, "entrypoint": "e", "routes": ["/a"], "events": ["x.y"], "scopes": ["users.read"],
        "limits": { "memoryBytes": 1_000_000 }, "per": "enrolment", "unknown": { "is": "ignored" },
    });
    let made = api.create_function("full", full).await.is(201);
    assert_eq!(
        (&made["enabled"], &made["routes"], &made["limits"]["memoryBytes"]),
        (&json!(false), &json!(["/a"]), &json!(1_000_000))
    );
    let replaced = api.put("/functions/full", json!({ "name": "new" })).await.is(200);
    for (name, default) in [
        ("name", json!("new")),
        ("execute", json!([])),
        ("timeout", json!(15)),
        ("schedule", json!("")),
        ("timezone", json!("UTC")),
        ("enabled", json!(true)),
        ("logging", json!(true)),
        ("routes", json!([])),
        ("events", json!([])),
        ("per", json!("event")),
        // These stay.
        ("runtime", json!("wasi-0.2")),
        ("entrypoint", json!("e")),
    ] {
        assert_eq!(replaced[name], default, "{name}");
    }
    assert!(replaced["limits"].get("memoryBytes").is_none_or(|limit| limit != 1_000_000), "{}", replaced["limits"]);

    let deleted = api.request(Method::DELETE, "/functions/full").json(&json!({})).send().await.unwrap();
    assert_eq!((deleted.status().as_u16(), &deleted.headers()["content-type"]), (204, &"text/plain".parse().unwrap()));
    assert_eq!(deleted.bytes().await.unwrap().len(), 0);
    api.get("/functions/full").await.is_error(404, "function_not_found");
    api.delete("/functions/full").await.is_error(404, "function_not_found");
    api.create_function("full", json!({})).await.is(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_function_is_named() {
    let larder = Larder::start().await;
    let api = larder.api();
    for (settings, named) in [
        (json!({ "functionId": "-a" }), "functionId"),
        (json!({ "functionId": "a".repeat(37) }), "functionId"),
        (json!({ "name": "" }), "name"),
        (json!({ "name": "n".repeat(129) }), "name"),
        (json!({ "timeout": 0 }), "timeout"),
        (json!({ "timeout": 901 }), "timeout"),
        (json!({ "timeout": "15" }), "timeout"),
        (json!({ "enabled": "true" }), "enabled"),
        (json!({ "schedule": "* * * *" }), "schedule"),
        (json!({ "schedule": "0 0 30 2 *" }), "schedule"),
        (json!({ "schedule": "0 0 * * *", "timezone": "Europe/Stokholm" }), "timezone"),
        (json!({ "execute": ["*"] }), "execute"),
        (json!({ "events": ["a..b"] }), "events"),
        (json!({ "routes": ["a"] }), "routes"),
        (json!({ "routes": ["/a", "/a/"] }), "routes"),
        (json!({ "per": "user" }), "per"),
        (json!({ "limits": { "memoryBytes": u64::MAX } }), "limits.memoryBytes"),
        (json!({ "limits": { "cpuMs": 3_600_000_000u64 } }), "limits.cpuMs"),
        (json!({ "limits": { "logBytes": u64::MAX } }), "limits.logBytes"),
        (json!({ "limits": { "responseBytes": u64::MAX } }), "limits.responseBytes"),
        (json!({ "limits": { "effects": u32::MAX } }), "limits.effects"),
        (json!({ "limits": { "effects": 0 } }), "limits.effects"),
        (json!({ "limits": { "memory": 1 } }), "limits"),
        (json!({ "deploymentRetention": 36_501 }), "deploymentRetention"),
    ] {
        let said = api.create_function("f", settings.clone()).await.is_error(400, "general_argument_invalid");
        assert!(said.contains(named), "{settings}: {said}");
    }
    api.create_function("f", json!({ "runtime": "node-22" })).await.is_error(400, "general_argument_invalid");
    api.create_function("f", json!({ "runtime": "wasi-0.1" })).await.is_error(404, "function_runtime_unsupported");
    // The shape of an error, and that nobody keeps it.
    let answer = api.request(Method::GET, "/functions/none").send().await.unwrap();
    assert!(answer.headers()["cache-control"].to_str().unwrap().contains("no-store"));
    let body: Value = answer.json().await.unwrap();
    let names: BTreeSet<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["code", "message", "type", "version"]));
    // A malformed id is 400 even where nothing by that name exists; a route is told apart from a method.
    api.get("/functions/-x").await.is_error(400, "general_argument_invalid");
    api.put("/functions/none", json!({ "name": "n", "timeout": 0 })).await.is_error(400, "general_argument_invalid");
    api.put("/functions/none", json!({ "name": "n" })).await.is_error(404, "function_not_found");
    api.get("/nothing").await.is_error(404, "general_route_not_found");
    api.post("/ping", json!({})).await.is_error(405, "general_not_implemented");
    let broken = api.request(Method::POST, "/functions").body("{\"name\":").header("content-type", "application/json");
    sent(broken).await.is_error(400, "general_argument_invalid");
    // A route of another function is taken.
    api.create_function("f", json!({ "routes": ["/a"] })).await.is(201);
    let said = api.create_function("g", json!({ "routes": ["/b", "/a"] })).await;
    let said = said.is_error(409, "function_route_already_exists");
    assert!(said.contains("/a") && said.contains('f'), "{said}");
    api.get("/functions/g").await.is_error(404, "function_not_found");
    api.create_function("g", json!({ "routes": ["/b"] })).await.is(201);
    api.put("/functions/g", json!({ "name": "g", "routes": ["/a"] }))
        .await
        .is_error(409, "function_route_already_exists");
    assert_eq!(api.get("/functions/g").await.is(200)["routes"], json!(["/b"]));
}

fn query(method: &str, attribute: &str, values: Value) -> Value {
    json!({ "method": method, "attribute": attribute, "values": values })
}

fn bare(method: &str, values: Value) -> Value {
    json!({ "method": method, "values": values })
}

/// The ids of a page, as one text.
async fn ids(api: &Api, queries: &[Value]) -> String {
    let list = api.list("/functions", queries).await.is(200);
    let ids: Vec<&str> = list["functions"].as_array().unwrap().iter().map(|f| text(&f["$id"])).collect();
    ids.join("")
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_ordered_and_paged() {
    let larder = Larder::start().await;
    let api = larder.api();
    for (id, name, timeout, enabled) in
        [("a", "apple", 5, true), ("b", "Banana", 10, false), ("c", "cherry", 15, true), ("d", "apple pie", 20, true)]
    {
        api.create_function(id, json!({ "name": name, "timeout": timeout, "enabled": enabled })).await.is(201);
    }
    let first = text(&api.get("/functions/b").await.is(200)["$createdAt"]).to_owned();
    let or = |queries: Value| bare("or", queries);
    for (queries, expected) in [
        (vec![], "abcd"),
        (vec![query("equal", "name", json!(["apple"]))], "a"),
        (vec![query("equal", "$id", json!(["a", "c"]))], "ac"),
        (vec![query("notEqual", "name", json!(["apple"]))], "bcd"),
        (vec![query("lessThan", "timeout", json!([10]))], "a"),
        (vec![query("lessThanEqual", "timeout", json!([10]))], "ab"),
        (vec![query("greaterThan", "timeout", json!([10]))], "cd"),
        (vec![query("greaterThanEqual", "timeout", json!([10]))], "bcd"),
        (vec![query("between", "timeout", json!([10, 15]))], "bc"),
        (vec![query("notBetween", "timeout", json!([10, 15]))], "ad"),
        (vec![query("isNull", "name", json!([]))], ""),
        (vec![query("isNotNull", "name", json!([]))], "abcd"),
        (vec![query("startsWith", "name", json!(["app"]))], "ad"),
        (vec![query("notStartsWith", "name", json!(["app"]))], "bc"),
        (vec![query("endsWith", "name", json!(["pie"]))], "d"),
        (vec![query("notEndsWith", "name", json!(["e"]))], "bc"),
        (vec![query("contains", "name", json!(["pp", "nan"]))], "abd"),
        (vec![query("containsAny", "name", json!(["rr"]))], "c"),
        (vec![query("containsAll", "name", json!(["pp", "pie"]))], "d"),
        (vec![query("notContains", "name", json!(["an"]))], "acd"),
        (vec![query("contains", "name", json!(["%"]))], ""),
        (vec![query("equal", "enabled", json!([false]))], "b"),
        (vec![query("equal", "name", json!(["' OR 1=1 --"]))], ""),
        (vec![query("greaterThanEqual", "$createdAt", json!([first])), query("equal", "$id", json!(["b"]))], "b"),
        (vec![query("lessThan", "timeout", json!([20])), query("equal", "enabled", json!([true]))], "ac"),
        (
            vec![or(json!([
                query("equal", "name", json!(["cherry"])),
                bare(
                    "and",
                    json!([query("startsWith", "name", json!(["app"])), query("equal", "timeout", json!([20]))])
                ),
            ]))],
            "cd",
        ),
        // Inner queries as text, as some clients send them.
        (
            vec![or(json!([
                query("equal", "$id", json!(["a"])).to_string(),
                query("equal", "$id", json!(["d"])).to_string()
            ]))],
            "ad",
        ),
        (vec![query("orderDesc", "timeout", json!([]))], "dcba"),
        (vec![query("orderAsc", "enabled", json!([])), query("orderDesc", "timeout", json!([]))], "bdca"),
        (vec![bare("orderDesc", json!([]))], "dcba"),
        (vec![bare("orderDesc", json!(["$id"]))], "dcba"),
        (vec![bare("limit", json!([2]))], "ab"),
        (vec![bare("limit", json!([2])), bare("offset", json!([1]))], "bc"),
        (vec![bare("cursorAfter", json!(["b"]))], "cd"),
        (vec![bare("cursorBefore", json!(["d"])), bare("limit", json!([2]))], "bc"),
        (vec![bare("cursorAfter", json!(["c"])), bare("orderDesc", json!([]))], "ba"),
        (
            vec![
                bare("cursorBefore", json!(["b"])),
                query("orderDesc", "timeout", json!([])),
                bare("limit", json!([1])),
            ],
            "c",
        ),
        (vec![bare("cursorAfter", json!(["b"])), query("equal", "enabled", json!([true]))], "cd"),
        (vec![bare("cursorAfter", json!(["d"]))], ""),
    ] {
        assert_eq!(ids(&api, &queries).await, expected, "{}", json!(queries));
    }
    // Pages forth and back, over rows that were made in the same millisecond too.
    let mut seen = String::new();
    loop {
        let mut queries = vec![bare("limit", json!([1])), query("orderDesc", "enabled", json!([]))];
        queries.extend(seen.chars().last().map(|last| bare("cursorAfter", json!([last.to_string()]))));
        let page = ids(&api, &queries).await;
        if page.is_empty() {
            break;
        }
        seen += &page;
    }
    assert_eq!(seen, "acdb");

    let page = api.list("/functions", &[bare("limit", json!([1])), bare("offset", json!([1]))]).await.is(200);
    assert_eq!(page["total"], 4, "what matches, not what the page has");
    let uncounted = api.get("/functions?total=false").await.is(200);
    assert_eq!((&uncounted["total"], uncounted["functions"].as_array().unwrap().len()), (&json!(0), 4));
    assert_eq!(api.get("/functions?search=apple").await.is(200)["total"], 2);
    let encoded = "%7B%22method%22%3A%22limit%22%2C%22values%22%3A%5B1%5D%7D";
    for spelling in ["queries[]", "queries[0]", "queries"] {
        let list = api.get(&format!("/functions?{spelling}={encoded}&other=1")).await.is(200);
        assert_eq!(list["functions"].as_array().unwrap().len(), 1, "{spelling}");
    }
    for (wrong, kind, named) in [
        (bare("limit", json!([0])), "general_argument_invalid", "limit"),
        (bare("offset", json!([-1])), "general_argument_invalid", "offset"),
        (bare("cursorAfter", json!(["none"])), "general_cursor_not_found", "cursor"),
        (query("equal", "vars", json!(["x"])), "general_argument_invalid", "vars"),
        (query("equal", "timeout", json!(["x"])), "general_argument_invalid", "timeout"),
        (query("equal", "name", json!([])), "general_argument_invalid", "equal"),
        (query("sounds", "name", json!(["x"])), "general_argument_invalid", "sounds"),
        (query("search", "name", json!(["x"])), "general_query_invalid", "name"),
        (query("startsWith", "timeout", json!(["1"])), "general_argument_invalid", "timeout"),
        (bare("or", json!([])), "general_argument_invalid", "or"),
        (json!("limit"), "general_argument_invalid", "queries"),
    ] {
        let said = api.list("/functions", std::slice::from_ref(&wrong)).await.is_error(400, kind);
        assert!(said.contains(named), "{wrong}: {said}");
    }
    let many: Vec<Value> = (0..101).map(|_| query("equal", "enabled", json!([true]))).collect();
    api.list("/functions", &many).await.is_error(400, "general_argument_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_switch_when_ready_and_only_then() {
    let larder = Larder::start_with(Options::default().set("LARDER_BUILD__UPLOAD_BYTES_MAX", "3000000")).await;
    let api = larder.api();
    api.create_function("f", json!({ "routes": ["/hello"] })).await.is(201);
    let active = async || api.get("/functions/f").await.is(200)["deploymentId"].clone();
    let path = |deployment: &Value| format!("/functions/f/deployments/{}", text(&deployment["$id"]));

    let begun = api.upload("f", &hello(), true).await.is(202);
    assert!(["waiting", "processing", "building", "ready"].contains(&text(&begun["status"])), "{begun}");
    assert!(begun.as_object().unwrap().values().all(|value| !value.is_null()), "{begun}");
    let first = eventually("the build", async || {
        let deployment = api.get(&path(&begun)).await.is(200);
        (deployment["status"] == "ready").then_some(deployment)
    })
    .await;
    assert_eq!(
        (&first["resourceId"], &first["resourceType"], &first["type"]),
        (&json!("f"), &json!("functions"), &json!("manual"))
    );
    assert_eq!(first["sourceSize"], hello().len());
    assert_eq!(active().await, first["$id"]);

    // Ready, but nobody asked for it: the active one stays until it is made active, by either path, and back.
    let second = api.build("f", &guests::guest("probe"), false).await;
    assert_eq!((second["status"].as_str(), active().await), (Some("ready"), first["$id"].clone()));
    let function = api.get("/functions/f").await.is(200);
    assert_eq!(
        (&function["latestDeploymentId"], &function["latestDeploymentStatus"]),
        (&second["$id"], &json!("ready"))
    );
    api.patch("/functions/f/deployment", json!({ "deploymentId": second["$id"] })).await.is(200);
    assert_eq!(active().await, second["$id"]);
    api.patch(&path(&first), json!({})).await.is(200);
    assert_eq!(active().await, first["$id"]);
    assert_eq!(larder.web("demo", Method::GET, "/hello").send().await.unwrap().status(), 200);

    // What does not build leaves the active one.
    let failed = api.build("f", b"\0asm, or rather not", true).await;
    assert_eq!(failed["status"], "failed");
    assert_ne!(failed["buildLogs"], "");
    assert_eq!(active().await, first["$id"]);
    api.patch("/functions/f/deployment", json!({ "deploymentId": failed["$id"] }))
        .await
        .is_error(400, "build_not_ready");
    api.patch("/functions/f/deployment", json!({ "deploymentId": "none" })).await.is_error(404, "deployment_not_found");
    for ended in [&first, &failed] {
        api.patch(&format!("{}/status", path(ended)), json!({})).await.is_error(400, "build_already_completed");
    }

    let duplicate =
        api.post("/functions/f/deployments/duplicate", json!({ "deploymentId": first["$id"] })).await.is(202);
    eventually("the duplicate to be active", async || (active().await == duplicate["$id"]).then_some(())).await;

    // Bytes come back as they were sent, whole or in part.
    let download = async |range: Option<&str>| {
        let mut request = api.request(Method::GET, &format!("{}/download", path(&first)));
        if let Some(range) = range {
            request = request.header("range", range);
        }
        let answer = request.send().await.unwrap();
        let range = answer.headers().get("content-range").map(|range| range.to_str().unwrap().to_owned());
        (answer.status().as_u16(), range, answer.bytes().await.unwrap())
    };
    assert_eq!(download(None).await, (200, None, hello().into()));
    let total = hello().len();
    assert_eq!(
        download(Some("bytes=4-9")).await,
        (206, Some(format!("bytes 4-9/{total}")), hello()[4..10].to_vec().into())
    );
    assert_eq!(download(Some(&format!("bytes={total}-"))).await.0, 416);

    // Without the active one, nothing runs and the newest left is the latest.
    assert_eq!(api.delete(&path(&duplicate)).await.status, 204);
    assert_eq!(active().await, "");
    assert_eq!(larder.web("demo", Method::GET, "/hello").send().await.unwrap().status(), 404);
    api.post("/functions/f/executions", json!({})).await.is_error(404, "deployment_not_found");
    assert_eq!(api.get("/functions/f").await.is(200)["latestDeploymentId"], failed["$id"]);
    let list = api
        .list(
            "/functions/f/deployments",
            &[query("equal", "status", json!(["ready"])), bare("select", json!(["status"]))],
        )
        .await
        .is(200);
    assert_eq!(list["total"], 2, "{list}");
    assert!(
        list["deployments"][0].get("sourceSize").is_none() && list["deployments"][0]["$id"] == first["$id"],
        "{list}"
    );

    // Of another function, it is not there.
    api.create_function("g", json!({})).await.is(201);
    api.get(&path(&first).replace("/f/", "/g/")).await.is_error(404, "deployment_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_cannot_be_taken_are_refused_by_what_is_wrong() {
    let larder = Larder::start_with(Options::default().set("LARDER_BUILD__UPLOAD_BYTES_MAX", "1000")).await;
    let api = larder.api();
    api.create_function("f", json!({})).await.is(201);
    let upload = async |form: Form, range: Option<&str>| {
        let mut request = api.request(Method::POST, "/functions/f/deployments").multipart(form);
        if let Some(range) = range {
            request = request.header("content-range", range);
        }
        sent(request).await
    };
    let file =
        |bytes: usize, name: &str| Form::new().part("code", Part::bytes(vec![0; bytes]).file_name(name.to_owned()));
    upload(file(1001, "a.wasm"), None).await.is_error(400, "deployment_invalid_file_size");
    // Larger than what is read at all.
    upload(file(5_000_000, "a.wasm"), None).await.is_error(400, "deployment_invalid_file_size");
    upload(file(500, "a.wasm"), Some("bytes 0-499/1001")).await.is_error(400, "deployment_invalid_file_size");
    upload(file(500, "a.wasm"), Some("bytes 0-999/1000")).await.is_error(400, "storage_invalid_content_range");
    upload(file(500, "a.wasm"), Some("500 of them")).await.is_error(400, "storage_invalid_content_range");
    upload(file(5, "code.tar.gz"), None).await.is_error(400, "storage_file_type_unsupported");
    upload(Form::new().text("activate", "true"), None).await.is_error(400, "storage_file_empty");
    upload(file(0, "a.wasm"), None).await.is_error(400, "storage_file_empty");
    let said = upload(file(5, "a.wasm").text("activate", "yes"), None).await.is_error(400, "general_argument_invalid");
    assert!(said.contains("activate"), "{said}");
    api.upload("none", b"x", true).await.is_error(404, "function_not_found");
    for kind in ["template", "vcs"] {
        api.post(&format!("/functions/f/deployments/{kind}"), json!({})).await.is_error(405, "general_not_implemented");
    }
    assert_eq!(api.get("/functions/f/deployments").await.is(200)["total"], 0, "nothing of it is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_waits_can_be_canceled() {
    let larder = Larder::start().await;
    let api = larder.api();
    api.create_function("f", json!({})).await.is(201);
    // Builds run one after the other: what stands behind this many has not begun when it is canceled.
    let mut last = Value::Null;
    for _ in 0..3 {
        last = api.upload("f", &guests::guest("probe"), true).await.is(202);
    }
    let path = format!("/functions/f/deployments/{}", text(&last["$id"]));
    let answer = api.patch(&format!("{path}/status"), json!({})).await;
    if answer.status == 400 {
        // The machine was quicker than two requests; then it is ready and stays so.
        answer.is_error(400, "build_already_completed");
        return;
    }
    assert_eq!(answer.is(200)["status"], "canceled");
    api.patch("/functions/f/deployment", json!({ "deploymentId": last["$id"] })).await.is_error(400, "build_not_ready");
    eventually("the other builds", async || {
        let query = query("equal", "status", json!(["ready"]));
        (api.list("/functions/f/deployments", &[query]).await.is(200)["total"] == 2).then_some(())
    })
    .await;
    assert_eq!(api.get(&path).await.is(200)["status"], "canceled");
    assert_ne!(api.get("/functions/f").await.is(200)["deploymentId"], last["$id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn executions_run_now_or_in_the_queue() {
    let larder = Larder::start_with(Options::default().set("LARDER_SERVER__CALL_TIMEOUT", "1s")).await;
    let api = larder.api();
    api.post("/functions/f/executions", json!({})).await.is_error(404, "function_not_found");
    api.deploy("f", &hello(), json!({ "timeout": 10 })).await;
    let path = "/functions/f/executions";
    let echo = json!({ "path": "/hello/echo", "headers": { "content-type": "text/x" }, "body": "åäö" });
    let done = api.post(path, echo).await.is(201);
    assert_eq!(
        (&done["status"], &done["responseStatusCode"], &done["responseBody"], &done["trigger"], &done["requestMethod"]),
        (&json!("completed"), &json!(200), &json!("åäö"), &json!("http"), &json!("POST"))
    );
    let header = |execution: &Value, list: &str, name: &str| {
        execution[list].as_array().unwrap().iter().find(|header| header["name"] == name).map(|h| h["value"].clone())
    };
    assert_eq!(header(&done, "responseHeaders", "content-type"), Some(json!("text/x")));
    assert_eq!(header(&done, "responseHeaders", "x-appwrite-execution-id").as_ref(), Some(&done["$id"]));
    assert_eq!(
        (&done["functionId"], &done["resourceId"], &done["resourceType"]),
        (&json!("f"), &json!("f"), &json!("functions"))
    );
    // Read back, the body is gone and the rest is there.
    let id = format!("{path}/{}", text(&done["$id"]));
    let read = eventually("its record", async || {
        let answer = api.get(&id).await;
        (answer.status == 200).then_some(answer.body)
    })
    .await;
    assert_eq!(
        (&read["responseBody"], &read["status"], &read["requestPath"]),
        (&json!(""), &json!("completed"), &json!("/hello/echo"))
    );
    assert_eq!(header(&read, "responseHeaders", "content-type"), Some(json!("text/x")));

    // A 404 of the guest is an answer like any other.
    let done = api.post(path, json!({ "path": "/nowhere" })).await.is(201);
    assert_eq!((&done["status"], &done["responseStatusCode"]), (&json!("completed"), &json!(404)));

    let queued = api.post(path, json!({ "async": true, "path": "/hello", "method": "GET" })).await.is(202);
    assert_eq!(
        (&queued["status"], &queued["responseStatusCode"], &queued["scheduledAt"]),
        (&json!("waiting"), &json!(0), &Value::Null)
    );
    let id = format!("{path}/{}", text(&queued["$id"]));
    let ended = eventually("its end", async || {
        let execution = api.get(&id).await.is(200);
        (execution["status"] == "completed").then_some(execution)
    })
    .await;
    assert_eq!((&ended["responseStatusCode"], &ended["responseBody"]), (&json!(200), &json!("")));
    assert_eq!(api.delete(&id).await.status, 204);
    api.get(&id).await.is_error(404, "execution_not_found");
    api.delete(&id).await.is_error(404, "execution_not_found");

    // The cap of synchronous calls is not the queue's.
    let slow = json!({ "path": "/hello/slow?ms=1500", "method": "GET" });
    let said = api.post(path, slow).await.is_error(408, "function_synchronous_timeout");
    let failed = eventually("its record", async || {
        let query = query("equal", "status", json!(["failed"]));
        api.list(path, &[query]).await.is(200)["executions"].as_array()?.first().cloned()
    })
    .await;
    assert!(said.contains(text(&failed["$id"])), "{said}");
    let slow = json!({ "async": true, "path": "/hello/slow?ms=1500", "method": "GET" });
    let queued = api.post(path, slow).await.is(202);
    let id = format!("{path}/{}", text(&queued["$id"]));
    eventually("it to run", async || (api.get(&id).await.is(200)["status"] == "processing").then_some(())).await;
    api.delete(&id).await.is_error(400, "execution_in_progress");
    eventually("its end", async || (api.get(&id).await.is(200)["status"] == "completed").then_some(())).await;

    for (body, status, kind, named) in [
        (json!({ "method": "post" }), 400, "general_argument_invalid", "method"),
        (json!({ "path": "/a b" }), 400, "general_argument_invalid", "path"),
        (json!({ "async": "yes" }), 400, "general_argument_invalid", "async"),
        (json!({ "headers": { "x-appwrite-key": "k" } }), 400, "general_unknown", "x-appwrite"),
        (json!({ "enrolmentId": "e" }), 400, "general_argument_invalid", "enrolmentId"),
    ] {
        let said = api.post(path, body.clone()).await.is_error(status, kind);
        assert!(said.contains(named), "{body}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_the_owners_and_guests_call_what_lets_them() {
    let larder = Larder::start().await;
    let api = larder.api();
    api.deploy("f", &hello(), json!({ "execute": ["any"], "events": ["shop.sold"] })).await;
    let guest = larder.api_of(Some("demo"), None);
    let hello = json!({ "path": "/hello", "method": "GET" });
    let done = guest.post("/functions/f/executions", hello.clone()).await.is(201);
    assert_eq!(
        (&done["responseBody"], &done["logs"], &done["errors"]),
        (&json!("Hello, world!\n"), &json!(""), &json!(""))
    );
    guest.get("/functions/f/executions").await.is_error(401, "general_unauthorized_scope");

    // What the guest prints on an event is in the record, for keys.
    api.event("e", "shop.sold", None, json!({})).await.is(202);
    let logged = eventually("the event's execution", async || {
        let query = query("equal", "trigger", json!(["event"]));
        let list = api.list("/functions/f/executions", &[query]).await.is(200);
        list["executions"].as_array()?.iter().find(|e| e["status"] == "completed").cloned()
    })
    .await;
    assert!(text(&logged["logs"]).contains("shop.sold"), "{logged}");
    // Not when nothing is to be logged.
    api.put("/functions/f", json!({ "name": "f", "logging": false, "events": ["shop.sold"] })).await.is(200);
    api.event("e2", "shop.sold", None, json!({})).await.is(202);
    let silent = eventually("the second one", async || {
        let all = api.executions("f").await;
        all.into_iter().find(|e| e["trigger"] == "event" && e["$id"] != logged["$id"] && e["status"] == "completed")
    })
    .await;
    assert_eq!(silent["logs"], "");
    // The replacement took `execute` away, and a disabled function does not exist for guests.
    guest.post("/functions/f/executions", hello.clone()).await.is_error(401, "user_unauthorized");
    api.put("/functions/f", json!({ "name": "f", "enabled": false, "execute": ["any"] })).await.is(200);
    guest.post("/functions/f/executions", hello).await.is_error(404, "function_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_scheduled_waits_and_can_be_canceled() {
    let larder = Larder::start().await;
    let api = larder.api();
    api.deploy("f", &hello(), json!({})).await;
    let path = "/functions/f/executions";
    let later = chrono::Utc::now() + chrono::Duration::hours(1);
    let at = |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339();
    for (body, why) in [
        (json!({ "scheduledAt": at(later) }), "async"),
        (json!({ "async": true, "scheduledAt": at(chrono::Utc::now() - chrono::Duration::hours(1)) }), "minute"),
        (json!({ "async": true, "scheduledAt": "tomorrow" }), "scheduledAt"),
    ] {
        let said = api.post(path, body).await.is_error(400, "general_bad_request");
        assert!(said.contains(why), "{said}");
    }
    let body = json!({ "async": true, "scheduledAt": at(later), "path": "/hello" });
    let scheduled = api.post(path, body).await.is(202);
    assert_eq!((&scheduled["status"], &scheduled["trigger"]), (&json!("scheduled"), &json!("schedule")));
    let wanted = chrono::DateTime::parse_from_rfc3339(text(&scheduled["scheduledAt"])).unwrap();
    assert!((wanted.to_utc() - later).num_seconds().abs() <= 60);
    let id = format!("{path}/{}", text(&scheduled["$id"]));
    assert_eq!(api.delete(&id).await.status, 204);
    api.get(&id).await.is_error(404, "execution_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_reach_the_guest_and_secrets_are_never_shown() {
    const VALUE: &str = "s3cret-that-nobody-may-read-at-rest";
    let larder = Larder::start().await;
    let api = larder.api();
    api.deploy("f", &hello(), json!({ "routes": ["/hello"] })).await;
    let seen = async || {
        let answer = larder.web("demo", Method::GET, "/hello/variable").send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(seen().await.0, 404);
    let path = "/functions/f/variables";
    let made = api.post(path, json!({ "variableId": "unique()", "key": "GREETING", "value": VALUE })).await.is(201);
    assert_eq!(
        (&made["secret"], &made["value"], &made["resourceType"]),
        (&json!(true), &json!(""), &json!("function"))
    );
    assert_eq!(seen().await, (200, format!("{VALUE}\n")), "at the next execution");
    let id = format!("{path}/{}", text(&made["$id"]));
    let plain =
        api.post(path, json!({ "variableId": "p", "key": "PLAIN", "value": "v", "secret": false })).await.is(201);
    assert_eq!(plain["value"], "v");

    for shown in [
        api.get(&id).await,
        api.get(path).await,
        api.get("/functions/f").await,
        api.put(&id, json!({ "secret": true })).await,
    ] {
        let shown = shown.is(200).to_string();
        assert!(!shown.contains(VALUE), "{shown}");
    }
    api.put(&id, json!({ "secret": false })).await.is_error(400, "variable_cannot_unset_secret");
    api.put(&id, json!({})).await.is_error(400, "general_argument_invalid");
    api.put(&id, json!({ "key": "PLAIN" })).await.is_error(409, "variable_already_exists");
    api.post(path, json!({ "variableId": "p", "key": "OTHER", "value": "" }))
        .await
        .is_error(409, "variable_already_exists");
    api.post(path, json!({ "variableId": "q", "key": "PLAIN", "value": "" }))
        .await
        .is_error(409, "variable_already_exists");
    for (body, named) in [
        (json!({ "variableId": "q", "key": "A=B", "value": "" }), "key"),
        (json!({ "variableId": "q", "key": "", "value": "" }), "key"),
        (json!({ "variableId": "q", "key": "K" }), "value"),
        (json!({ "variableId": "q", "key": "K", "value": "v".repeat(8_193) }), "value"),
    ] {
        let said = api.post(path, body).await.is_error(400, "general_argument_invalid");
        assert!(said.contains(named), "{said}");
    }
    // Its key may change, and with it the place that it is sealed for.
    api.put(&id, json!({ "key": "RENAMED" })).await.is(200);
    assert_eq!(seen().await.0, 404);
    api.put(&id, json!({ "key": "GREETING" })).await.is(200);
    assert_eq!(seen().await.1, format!("{VALUE}\n"));

    for entry in std::fs::read_dir(larder.data()).unwrap() {
        let file = entry.unwrap().path();
        if file.is_file() {
            let bytes = std::fs::read(&file).unwrap();
            let found = bytes.windows(VALUE.len()).any(|window| window == VALUE.as_bytes());
            assert!(!found, "the value is readable in {}", file.display());
        }
    }
    assert_eq!(api.get(path).await.is(200)["total"], 2);
    assert_eq!(api.delete(&id).await.status, 204);
    api.get(&id).await.is_error(404, "variable_not_found");
    assert_eq!(seen().await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_firings_are_told_before_they_come() {
    let larder = Larder::start().await;
    let api = larder.api();
    let settings = json!({ "schedule": "30 2 * * *", "timezone": "Europe/Stockholm" });
    api.create_function("f", settings.clone()).await.is(201);
    let schedule = api.get("/functions/f/schedule?count=100").await.is(200);
    assert_eq!((&schedule["armed"], &schedule["timezone"]), (&json!(false), &json!("Europe/Stockholm")));
    assert_ne!(schedule["rule"], "");
    let next: Vec<_> = schedule["next"]
        .as_array()
        .unwrap()
        .iter()
        .map(|at| chrono::DateTime::parse_from_rfc3339(text(at)).unwrap())
        .collect();
    assert_eq!(next.len(), 100);
    assert!(next[0] > chrono::Utc::now() && next.is_sorted());
    for at in &next {
        let local = at.with_timezone(&chrono_tz::Europe::Stockholm).format("%H:%M").to_string();
        // On the day that skips half past two it fires at the change.
        assert!(local == "02:30" || local == "03:00", "{local}");
    }
    assert_eq!(api.get("/functions/f/schedule").await.is(200)["next"].as_array().unwrap().len(), 10);
    for count in ["0", "101", "x"] {
        let said =
            api.get(&format!("/functions/f/schedule?count={count}")).await.is_error(400, "general_argument_invalid");
        assert!(said.contains("count"), "{said}");
    }
    // Armed with a deployment, and no longer when it is disabled.
    api.build("f", &guests::guest("probe"), true).await;
    eventually("it to be armed", async || {
        (api.get("/functions/f/schedule").await.is(200)["armed"] == true).then_some(())
    })
    .await;
    let mut disabled = settings;
    disabled["name"] = "f".into();
    disabled["enabled"] = false.into();
    api.put("/functions/f", disabled).await.is(200);
    assert_eq!(api.get("/functions/f/schedule").await.is(200)["armed"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_whole_and_its_routes_are_there() {
    let larder = Larder::start().await;
    let document = larder.api_of(None, None).get("/openapi.json").await.is(200);
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("a reference within the document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let mut operations = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(id) = operation["operationId"].as_str() else { continue };
            assert!(operations.insert(id.to_owned()), "{id} is there twice");
            assert!(!operation["responses"].as_object().unwrap().is_empty(), "{id} has no responses");
            let filled: Vec<&str> = path
                .trim_start_matches("/v1")
                .split('/')
                .map(|part| if part.starts_with('{') { "x" } else { part })
                .collect();
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            for api in [larder.api(), larder.api_of(None, None)] {
                let answer = sent(api.request(method.clone(), &filled.join("/")).json(&json!({}))).await;
                let kind = answer.body["type"].as_str().unwrap_or_default();
                assert_ne!(kind, "general_route_not_found", "{method} {path}");
                assert!(answer.status < 500, "{method} {path}: {}", answer.body);
            }
        }
    }
    assert!(operations.len() > 30, "{operations:?}");
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            references.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| collect(member, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}
