//! Uploads in chunks, as the clients send files of more than 5 MiB: in any order, to any process, over restarts.

use futures::future::join_all;
use larder_tests::{Answer, Api, Backend, Larder, Options, both, guests};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

const CHUNK: usize = 5 << 20;

/// Sends these bytes as a part of a file.
async fn send_bytes(api: &Api, function: &str, id: Option<&str>, range: &str, bytes: &[u8]) -> Answer {
    let file = Part::bytes(bytes.to_vec()).file_name("code.wasm");
    let form = Form::new().part("code", file).text("activate", "true");
    let path = format!("/functions/{function}/deployments");
    let mut request = api.request(Method::POST, &path).header("content-range", range).multipart(form);
    if let Some(id) = id {
        request = request.header("x-appwrite-id", id);
    }
    Api::send(request).await
}

/// Sends the chunk at this place.
async fn send(api: &Api, id: Option<&str>, file: &[u8], ordinal: usize) -> Answer {
    let (start, end) = (ordinal * CHUNK, ((ordinal + 1) * CHUNK).min(file.len()));
    let range = format!("bytes {start}-{}/{}", end - 1, file.len());
    send_bytes(api, "f", id, &range, &file[start..end]).await
}

fn id(deployment: &Value) -> &str {
    deployment["$id"].as_str().expect("an id")
}

async fn download(api: &Api, id: &str) -> Vec<u8> {
    let path = format!("/functions/f/deployments/{id}/download");
    let answer = api.request(Method::GET, &path).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    answer.bytes().await.expect("a body").to_vec()
}

both!(chunks_come_in_any_order_to_any_process_and_over_restarts, async |on| {
    let objects = tempfile::tempdir().expect("a folder");
    let options = || {
        let url = format!("file://{}", objects.path().display());
        let options = Options::on(on).fresh().set("LARDER_OBJECTS__URL", url);
        options.set("LARDER_BUILD__UPLOAD_BYTES_MAX", "60000000").set("LARDER_BUILD__DEADLINE", "5m")
    };
    let mut larder = Larder::start_with(options()).await;
    larder.api().create_function("f", json!({ "routes": ["/hello"] })).await.is(201);
    let file = guests::padded(9 * CHUNK + 7);
    let first = send(&larder.api(), None, &file, 0).await.is(202);
    let id = id(&first);
    assert_eq!((&first["chunksTotal"], &first["chunksUploaded"]), (&json!(10), &json!(1)), "{first:#}");
    assert_eq!((&first["status"], &first["sourceSize"]), (&json!("waiting"), &json!(file.len())));
    let path = format!("/functions/f/deployments/{id}");
    larder.api().get(&format!("{path}/download")).await.is_error(400, "build_not_ready");
    let duplicate = json!({ "deploymentId": id });
    larder.api().post("/functions/f/deployments/duplicate", duplicate).await.is_error(400, "build_not_ready");

    // The process dies; what was acknowledged is there, and the rest comes from behind, eight at once and to whichever process.
    larder.kill();
    larder.restart().await;
    let other = match on {
        Backend::Services => Some(larder.start_beside(options()).await),
        Backend::Embedded => None,
    };
    let (one, two) = (larder.api(), other.as_ref().unwrap_or(&larder).api_of(Some("demo"), Some(larder.key())));
    send(&two, Some(id), &file, 9).await.is(202);
    let rest = (1..9).rev().map(|ordinal| send(if ordinal % 2 == 0 { &one } else { &two }, Some(id), &file, ordinal));
    let answers = join_all(rest).await;
    let mut uploaded: Vec<u64> =
        answers.into_iter().map(|answer| answer.is(202)["chunksUploaded"].as_u64().expect("a number")).collect();
    uploaded.sort_unstable();
    assert_eq!(uploaded, (3..=10).collect::<Vec<_>>(), "each of them counted once");
    let built = one.built("f", &first).await;
    assert_eq!(built["status"], "ready", "{}", built["buildLogs"]);
    assert!(built["buildLogs"].as_str().expect("logs").contains("10 chunks"), "{}", built["buildLogs"]);
    assert!(download(&two, id).await == file);
    let answer = larder.web("demo", Method::GET, "/hello?name=Anna").send().await.expect("an answer");
    assert!(answer.text().await.expect("a body").contains("Anna"));

    // A chunk that comes again starts nothing.
    let again = send(&one, Some(id), &file, 4).await.is(202);
    assert_eq!((&again["$id"], &again["chunksUploaded"], &again["status"]), (&json!(id), &json!(10), &json!("ready")));
    assert_eq!(one.get("/functions/f/deployments").await.is(200)["total"], 1);
});

both!(chunks_that_do_not_fit_are_refused_by_what_is_wrong, async |on| {
    let options = Options::on(on).set("LARDER_BUILD__UPLOAD_BYTES_MAX", "12000000");
    let larder = Larder::start_with(options.set("LARDER_RECORDS__BYTES_PER_PARTNER", "30000000")).await;
    let api = larder.api();
    for function in ["f", "g"] {
        api.create_function(function, json!({})).await.is(201);
    }
    let file = guests::padded(11_000_000);
    let range = "storage_invalid_content_range";
    send_bytes(&api, "f", None, "bytes 0-5242879/12000001", &file[..CHUNK])
        .await
        .is_error(400, "deployment_invalid_file_size");
    assert_eq!(api.get("/functions/f/deployments").await.is(200)["total"], 0, "nothing of it is kept");
    let first = send(&api, None, &file, 1).await.is(202);
    let upload = Some(id(&first));
    // Another total, an overlap, a gap, too little, and other bytes at a place that was sent.
    let said = send_bytes(&api, "f", upload, "bytes 0-5242879/11000001", &file[..CHUNK]).await.is_error(400, range);
    assert!(said.contains("11000000") && said.contains("11000001"), "{said}");
    for wrong in ["bytes 5-5242884/11000000", "bytes 0-99/11000000", "bytes 0-5242880/11000000", "bytes 0-10999999/10"]
    {
        send_bytes(&api, "f", upload, wrong, &file[..CHUNK]).await.is_error(400, range);
    }
    send_bytes(&api, "f", upload, "bytes 0-5242879/11000000", &file[..100]).await.is_error(400, range);
    let said =
        send_bytes(&api, "f", upload, "bytes 5242880-10485759/11000000", &file[..CHUNK]).await.is_error(400, range);
    assert!(said.contains("other bytes"), "{said}");
    // An id of another function, of another partner, of nobody, and none at all.
    let whole = "bytes 0-5242879/11000000";
    send_bytes(&api, "g", upload, whole, &file[..CHUNK]).await.is_error(404, "deployment_not_found");
    let stranger = larder.partner("stranger").await;
    stranger.create_function("f", json!({})).await.is(201);
    send_bytes(&stranger, "f", upload, whole, &file[..CHUNK]).await.is_error(404, "deployment_not_found");
    send_bytes(&api, "f", Some("nobody"), whole, &file[..CHUNK]).await.is_error(404, "deployment_not_found");
    send_bytes(&api, "f", Some("../x"), whole, &file[..CHUNK]).await.is_error(400, "general_argument_invalid");
    // The whole size counts from the first chunk on.
    let (limit, used) = api.limit("records.bytes_per_partner").await;
    assert!(limit == 30_000_000 && used >= 11_000_000, "{used}");
    send(&api, None, &file, 0).await.is(202);
    send(&api, None, &file, 0).await.is_error(413, "project_quota_exceeded");
    // A byte more than the range tells is cut off, as one client sends it. What was refused above was not kept.
    send_bytes(&api, "f", upload, whole, &file[..=CHUNK]).await.is(202);
    // As older clients send it: the whole file with every chunk.
    send_bytes(&api, "f", upload, "bytes 10485760-10999999/11000000", &file).await.is(202);
    let built = api.built("f", &first).await;
    assert_eq!(built["status"], "ready", "{}", built["buildLogs"]);
    assert!(download(&api, id(&first)).await == file);
    // What was canceled takes nothing more, and what was deleted is not there.
    let list = api.get("/functions/f/deployments").await.is(200);
    let second = list["deployments"].as_array().expect("a list").iter().find(|d| d["$id"] != first["$id"]).expect("it");
    let path = format!("/functions/f/deployments/{}", id(second));
    api.patch(&format!("{path}/status"), json!({})).await.is(200);
    send(&api, Some(id(second)), &file, 1).await.is_error(400, "build_already_completed");
    assert_eq!(api.delete(&path).await.status, 204);
    send(&api, Some(id(second)), &file, 1).await.is_error(404, "deployment_not_found");
});

both!(unfinished_uploads_are_swept, async |on| {
    let options = Options::on(on).set("LARDER_BUILD__UNFINISHED_UPLOADS", "2s");
    let mut larder = Larder::start_with(options).await;
    larder.api().create_function("f", json!({})).await.is(201);
    let file = guests::padded(11_000_000);
    let first = send(&larder.api(), None, &file, 0).await.is(202);
    let complete = larder.api().build("f", &guests::guest("hello-http"), false).await;
    larder.kill();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    larder.restart().await;
    let api = larder.api();
    larder_tests::eventually("the sweep at the start", async || {
        (api.get("/functions/f/deployments").await.is(200)["total"] == 1).then_some(())
    })
    .await;
    send(&api, Some(id(&first)), &file, 1).await.is_error(404, "deployment_not_found");
    assert_eq!(api.get(&format!("/functions/f/deployments/{}", id(&complete))).await.is(200)["status"], "ready");
});
