//! The wire format of deployments: uploads, builds, activation.

use larder_tests::{Api, Larder, Options, both, eventually, guests};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

fn hello() -> Vec<u8> {
    guests::guest("hello-http")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

both!(deployments_switch_when_ready_and_only_then, async |on| {
    let larder = Larder::start_with(Options::on(on).fresh().set("LARDER_BUILD__UPLOAD_BYTES_MAX", "3000000")).await;
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
});

both!(invalid_uploads_are_refused_with_the_reason, async |on| {
    let larder = Larder::start_with(Options::on(on).set("LARDER_BUILD__UPLOAD_BYTES_MAX", "1000")).await;
    let api = larder.api();
    api.create_function("f", json!({})).await.is(201);
    let upload = async |form: Form, range: Option<&str>| {
        let mut request = api.request(Method::POST, "/functions/f/deployments").multipart(form);
        if let Some(range) = range {
            request = request.header("content-range", range);
        }
        Api::send(request).await
    };
    let file =
        |bytes: usize, name: &str| Form::new().part("code", Part::bytes(vec![0; bytes]).file_name(name.to_owned()));
    upload(file(1001, "a.wasm"), None).await.is_error(400, "deployment_invalid_file_size");
    // Larger than what is read at all: reading stops, so a client that goes on writing may see that before the answer.
    let request = api.request(Method::POST, "/functions/f/deployments").multipart(file(5_000_000, "a.wasm"));
    if let Ok(answer) = Api::try_send(request).await {
        answer.is_error(400, "deployment_invalid_file_size");
    }
    upload(file(500, "a.wasm"), Some("bytes 0-499/1001")).await.is_error(400, "deployment_invalid_file_size");
    upload(file(500, "a.wasm"), Some("bytes 0-999/1000")).await.is_error(400, "storage_invalid_content_range");
    upload(file(500, "a.wasm"), Some("500 of them")).await.is_error(400, "storage_invalid_content_range");
    upload(file(5, "code.zip"), None).await.is_error(400, "storage_file_type_unsupported");
    upload(Form::new().text("activate", "true"), None).await.is_error(400, "storage_file_empty");
    upload(file(0, "a.wasm"), None).await.is_error(400, "storage_file_empty");
    let said = upload(file(5, "a.wasm").text("activate", "yes"), None).await.is_error(400, "general_argument_invalid");
    assert!(said.contains("activate"), "{said}");
    api.upload("none", b"x", true).await.is_error(404, "function_not_found");
    for kind in ["template", "vcs"] {
        api.post(&format!("/functions/f/deployments/{kind}"), json!({})).await.is_error(405, "general_not_implemented");
    }
    assert_eq!(api.get("/functions/f/deployments").await.is(200)["total"], 0, "nothing of it is kept");
});

const BUILDS: u8 = 3;

/// The same component with another digest: a custom section of its own at the end.
fn distinct(mut wasm: Vec<u8>, number: u8) -> Vec<u8> {
    wasm.extend([0, 3, 1, b'n', number]);
    wasm
}

both!(a_build_that_waits_can_be_canceled, async |on| {
    let larder = Larder::start_with(Options::on(on).fresh()).await;
    let api = larder.api();
    api.create_function("f", json!({})).await.is(201);
    // Builds of a partner run one after the other: what stands behind others has not begun when it is canceled.
    let mut last = Value::Null;
    for number in 0..BUILDS {
        last = api.upload("f", &distinct(hello(), number), true).await.is(202);
    }
    let path = format!("/functions/f/deployments/{}", text(&last["$id"]));
    let answer = api.patch(&format!("{path}/status"), json!({})).await;
    assert_eq!(answer.is(200)["status"], "canceled");
    api.patch("/functions/f/deployment", json!({ "deploymentId": last["$id"] })).await.is_error(400, "build_not_ready");
    eventually("the other builds", async || {
        let query = query("equal", "status", json!(["ready"]));
        (api.list("/functions/f/deployments", &[query]).await.is(200)["total"] == BUILDS - 1).then_some(())
    })
    .await;
    assert_eq!(api.get(&path).await.is(200)["status"], "canceled");
    assert_ne!(api.get("/functions/f").await.is(200)["deploymentId"], last["$id"]);
});

fn query(method: &str, attribute: &str, values: Value) -> Value {
    json!({ "method": method, "attribute": attribute, "values": values })
}

fn bare(method: &str, values: Value) -> Value {
    json!({ "method": method, "values": values })
}
