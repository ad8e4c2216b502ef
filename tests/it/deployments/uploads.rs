//! Uploads that are no function: each is refused with what it is, nothing of it ever runs, and what ran before goes on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use larder_tests::hostile::bombs::slow_to_compile;
use larder_tests::{Api, Larder, Options, both, guests};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

async fn hello(larder: &Larder) {
    let call = larder.web("demo", Method::GET, "/hello?name=Anna").timeout(Duration::from_secs(10));
    let answer = call.send().await.expect("an answer within seconds");
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.expect("a body").contains("Anna"));
}

/// Uploads to the function `hello`, which has a deployment that works; gives what the build says.
async fn refused(larder: &Larder, api: &Api, wasm: &[u8]) -> String {
    let before = api.get("/functions/hello").await.is(200)["deploymentId"].clone();
    let deployment = api.build("hello", wasm, true).await;
    assert_eq!(deployment["status"], "failed", "{deployment:#}");
    assert_eq!(api.get("/functions/hello").await.is(200)["deploymentId"], before);
    let path = "/functions/hello/deployment";
    api.patch(path, json!({ "deploymentId": deployment["$id"] })).await.is_error(400, "build_not_ready");
    hello(larder).await;
    deployment["buildLogs"].as_str().expect("logs").to_owned()
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

both!(uploads_that_are_no_function_components_are_refused_with_the_reason, async |on| {
    let larder = Larder::start_with(Options::on(on).fresh()).await;
    let api = larder.api();
    let good = guests::guest("hello-http");
    api.deploy("hello", &good, json!({ "routes": ["/hello"] })).await;

    api.upload("hello", b"", true).await.is_error(400, "storage_file_empty");
    let refused = async |wasm: &[u8]| refused(&larder, &api, wasm).await;
    contains(&refused(b"hello, this is text").await, &["not WebAssembly"]);
    contains(&refused(b"(component)").await, &["WebAssembly text", "wasm-tools parse"]);
    contains(&refused(&guests::wat("(module)")).await, &["core WebAssembly module", "wasm32-wasip2"]);
    // Advice is for the language that made it.
    for (name, content, words) in [
        ("go:buildid", &b"x"[..], &["made by Go", "GOOS=wasip1"][..]),
        ("producers", b"\x01\x0cprocessed-by\x01\x03zig\x010", &["made by Zig", "wit-bindgen c"]),
        ("producers", b"\x01\x0cprocessed-by\x01\x05rustc\x010", &["made by Rust", "--target wasm32-wasip2"]),
    ] {
        let length = 1 + name.len() + content.len();
        let section = [&[0, length as u8, name.len() as u8], name.as_bytes(), content].concat();
        contains(&refused(&[guests::wat("(module)"), section].concat()).await, words);
    }
    let command = r#"(component (instance $run) (export "wasi:cli/run@0.2.6" (instance $run)))"#;
    contains(&refused(&guests::wat(command)).await, &["does not fit its world", "run"]);
    for cut in [2, good.len() / 2, good.len() - 1] {
        contains(&refused(&good[..cut]).await, &["cut off"]);
    }
    for unknown in ["wasi:keyvalue/store@0.2.0", "acme:bank/vault@1.0.0", "larder:function/treasury@0.1.0"] {
        let wasm = guests::wat(&format!(r#"(component (import "{unknown}" (instance)))"#));
        contains(&refused(&wasm).await, &[unknown, "which Larder does not have"]);
    }
    // Both ways in which components for the next version show.
    for newer in [
        r#"(component (import "wasi:http/types@0.3.0" (instance)))"#,
        r#"(component (instance $h) (export "wasi:http/handler@0.3.2" (instance $h)))"#,
    ] {
        contains(
            &refused(&guests::wat(newer)).await,
            &["made for WASI 0.3 (wasi:http/", "build it for 0.2", "larder-sdk"],
        );
    }
    contains(&refused(&guests::wat("(component)")).await, &["it exports nothing", "wasi:http/incoming-handler"]);

    // Machine code, made by this very installation: a component is the only thing that is taken.
    let artifact = std::fs::read(find(&larder.data(), "cwasm").expect("an artifact")).expect("a file");
    contains(&refused(&artifact).await, &["machine code", "upload the WebAssembly component"]);
    assert!(!larder.log().contains("panicked"), "{}", larder.log());
});

both!(an_upload_that_is_too_large_is_refused_and_not_kept, async |on| {
    let good = guests::guest("hello-http");
    let max = good.len();
    let larder =
        Larder::start_with(Options::on(on).fresh().set("LARDER_BUILD__UPLOAD_BYTES_MAX", max.to_string())).await;
    let api = larder.api();
    api.deploy("hello", &good, json!({ "routes": ["/hello"] })).await;
    let kept = bytes(&larder.data());
    let message = api.upload("hello", &vec![0; max + 1], true).await.is_error(400, "deployment_invalid_file_size");
    contains(&message, &[&max.to_string()]);
    // The host stops reading, so a client that goes on writing may find the connection closed before it reads why.
    let file = Part::bytes(vec![0; 40 * max]).file_name("function.wasm");
    let request = api.request(Method::POST, "/functions/hello/deployments").multipart(Form::new().part("code", file));
    match Api::try_send(request).await {
        Ok(answer) => drop(answer.is_error(400, "deployment_invalid_file_size")),
        Err(err) => assert!(err.is_request(), "{err:?}"),
    }
    let deployments = api.get("/functions/hello/deployments").await.is(200);
    assert_eq!(deployments["total"], 1, "{deployments:#}");
    // Nothing but the database grew.
    assert!(bytes(&larder.data()) < kept + 200_000);
    hello(&larder).await;
});

// Compiling takes time and memory that grow with the square of the code: a few hundred kilobytes are enough.
both!(compile_bombs_are_stopped_by_time_and_by_memory, async |on| {
    let good = guests::guest("hello-http");
    // Each is stopped by its own bound, however slow the machine is: the other one is far away.
    for (bomb, deadline, memory_bytes, says) in [
        (slow_to_compile(&good, 4_000, 4_000, 1), "150s", 512u64 << 20, "compiling needed more than 512 MiB of memory"),
        (slow_to_compile(&good, 600, 600, 1_000), "5s", 4 << 30, "compiling needed more than 5 s"),
    ] {
        let options = Options::on(on)
            .fresh()
            .set("LARDER_BUILD__DEADLINE", deadline)
            .set("LARDER_BUILD__MEMORY_BYTES", memory_bytes.to_string());
        let larder = Larder::start_with(options).await;
        let (api, pid) = (larder.api(), larder.pid());
        api.deploy("hello", &good, json!({ "routes": ["/hello"] })).await;
        assert!(bomb.len() < 16 << 20);
        let attack = refused(&larder, &api, &bomb);
        let mut attack = std::pin::pin!(attack);
        let mut neighbours = 0;
        let log = loop {
            tokio::select! {
                biased;
                log = &mut attack => break log,
                // Now and then: the compiler has the lowest priority, and would get nothing of a machine that is asked all the time.
                () = async { hello(&larder).await; tokio::time::sleep(Duration::from_millis(100)).await } => neighbours += 1,
            }
        };
        contains(&log, &[says]);
        assert!(neighbours > 5, "{neighbours} calls while it compiled");
        // Nothing is left of the compiler, and the next upload is built.
        assert_eq!(larder.pid(), pid);
        assert_eq!(children(pid), Vec::<String>::new());
        assert_eq!(larder.internal("/health/live").await.0, 200);
        let deployment: Value = api.build("hello", &guests::guest("hostile"), false).await;
        assert_eq!(deployment["status"], "ready", "{deployment:#}");
    }
});

/// The first file under the folder with this extension.
fn find(folder: &Path, extension: &str) -> Option<PathBuf> {
    files(folder).into_iter().find(|file| file.extension().is_some_and(|it| it == extension))
}

fn bytes(folder: &Path) -> u64 {
    files(folder).iter().filter_map(|file| file.metadata().ok()).map(|data| data.len()).sum()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.flat_map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { vec![entry.path()] }).collect()
}

/// The command lines of a process's children.
fn children(of: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{of}/task")).into_iter().flatten().filter_map(Result::ok);
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|pids| pids.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .map(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or(pid))
        .collect()
}
