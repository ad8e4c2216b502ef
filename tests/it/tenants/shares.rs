//! What partners share in a process: instances, their memory, uploads on their way and builds. However much one or two of
//! them take, another finds its part at once.

use std::path::Path;
use std::time::Duration;

use larder_tests::hostile::bombs::slow_to_compile;
use larder_tests::{Api, Larder, Options, both, eventually, guests};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Calls that last, begun and in progress.
async fn asleep(larder: &Larder, partner: &str, api: &Api, calls: u64) {
    for _ in 0..calls {
        let call = larder.web(partner, Method::GET, "/hostile/sleep");
        tokio::spawn(async move { call.send().await });
    }
    api.in_progress(calls).await;
}

both!(two_partners_that_take_all_instances_leave_some_to_a_third, async |on| {
    let options = Options::on(on)
        .set("LARDER_RUNTIME__INSTANCES_MAX", "16")
        .set("LARDER_RUNTIME__MEMORY_BYTES_MAX", "17179869184")
        .set("LARDER_WORKER__EXECUTIONS_MAX", "4")
        .set("LARDER_SERVER__CALLS_PER_PARTNER", "20");
    let larder = Larder::start_with(options).await;
    let settings = json!({ "routes": ["/hostile"], "timeout": 60 });
    let quiet = larder.api();
    quiet.deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/hello"] })).await;
    for name in ["first", "second"] {
        let api = larder.partner(name).await;
        api.deploy("hostile", &guests::guest("hostile"), settings.clone()).await;
        asleep(&larder, name, &api, 20).await;
    }
    // Theirs do not end before 30 s, and more of them wait than there is room for.
    for _ in 0..5 {
        let call = larder.web("demo", Method::GET, "/hello?name=Anna").timeout(Duration::from_secs(10));
        assert_eq!(call.send().await.expect("an answer while they sleep").status(), 200);
    }
    let queued = quiet.post("/functions/hello/executions", json!({ "async": true })).await.is(202);
    let path = format!("/functions/hello/executions/{}", queued["$id"].as_str().expect("an id"));
    let ended = async || (quiet.get(&path).await.is(200)["status"] == "completed").then_some(());
    larder_tests::within(Duration::from_secs(10), "the queued execution", ended).await;
});

both!(memory_for_calls_of_a_partner_is_limited_and_the_sum_is_reported, async |on| {
    const NAME: &str = "runtime.memory_bytes_per_partner";
    let options = Options::on(on)
        .set("LARDER_RUNTIME__MEMORY_BYTES_PER_PARTNER", "268435456")
        .set("LARDER_BUILD__MEMORY_BYTES", "1099511627776");
    let larder = Larder::start_with(options).await;
    let log = larder.log();
    let line = log.lines().find(|line| line.contains("by the settings up to")).expect("the sum of the settings");
    for named in
        ["WARN", "runtime.memory_bytes_max", "server.body_bytes_held_max", "build.memory_bytes", "this machine has"]
    {
        assert!(line.contains(named), "{named} is not in {line}");
    }
    let (api, other) = (larder.api(), larder.partner("other").await);
    let settings = json!({ "routes": ["/hostile"], "timeout": 60, "execute": ["any"] });
    for api in [&api, &other] {
        api.deploy("hostile", &guests::guest("hostile"), settings.clone()).await;
    }
    asleep(&larder, "demo", &api, 4).await;
    assert_eq!(api.limit(NAME).await.1, 268_435_456);
    let refused = larder.web("demo", Method::GET, "/hostile/fine").send().await.expect("an answer");
    let (status, told) = (refused.status(), refused.text().await.expect("a body"));
    assert!(status == 429 && told.contains(NAME), "{status} {told}");
    let wanted = json!({ "path": "/hostile/fine" });
    let told = api.post("/functions/hostile/executions", wanted).await.is_error(429, "general_rate_limit_exceeded");
    assert!(told.contains(NAME), "{told}");
    let fine = larder.web("other", Method::GET, "/hostile/fine").send().await.expect("an answer");
    assert_eq!((fine.status().as_u16(), other.limit(NAME).await.1), (200, 0));
});

/// An upload of which so many bytes were sent and the end was not.
async fn half_an_upload(larder: &Larder, bytes: usize) -> TcpStream {
    let file = "--x\r\ncontent-disposition: form-data; name=\"code\"; filename=\"a.wasm\"\r\n\r\n";
    let head = format!(
        "POST /v1/functions/any/deployments HTTP/1.1\r\nhost: {}\r\nx-appwrite-project: demo\r\nx-appwrite-key: {}\r\n\
         content-type: multipart/form-data; boundary=x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{file}",
        larder.address(),
        larder.key(),
        file.len() + bytes + END.len(),
    );
    let mut stream = TcpStream::connect(larder.address()).await.expect("a connection");
    stream.write_all(head.as_bytes()).await.expect("a head");
    stream.write_all(&vec![b'x'; bytes]).await.expect("a file");
    stream
}

const END: &[u8] = b"\r\n--x--\r\n";

/// Memory of the process that is its own: pages of its program and of files come and go with what runs.
fn own_bytes(larder: &Larder) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", larder.pid())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a size");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") << 10
}

both!(concurrent_uploads_of_a_partner_are_limited_and_not_held_in_memory, async |on| {
    let options = Options::on(on)
        // The open uploads send nothing for as long as a busy machine needs for the refusals.
        .set("LARDER_SERVER__CLIENT_TIMEOUT", "2m")
        .set("LARDER_BUILD__UPLOAD_BYTES_MAX", "20000000")
        .set("LARDER_BUILD__UPLOADS_PER_PARTNER", "3")
        .set("LARDER_BUILD__STAGED_BYTES_PER_PARTNER", "45000000");
    let larder = Larder::start_with(options).await;
    let api = larder.api();
    api.create_function("any", json!({})).await.is(201);
    let before = own_bytes(&larder);
    let mut open = vec![half_an_upload(&larder, 19_000_000).await, half_an_upload(&larder, 19_000_000).await];
    let (number, bytes) = ("build.uploads_per_partner", "build.staged_bytes_per_partner");
    let staged = async || (api.limit(bytes).await.1 >= 37_500_000).then_some(());
    eventually("the bytes to be counted", staged).await;
    let grown = own_bytes(&larder).saturating_sub(before);
    // Less than the uploads have; what else the process allocates meanwhile differs from run to run.
    assert!(grown < 30 << 20, "38 MB of uploads took {grown} bytes of memory");
    let told = api.upload("any", &vec![b'x'; 15_000_000], false).await.is_error(429, "general_rate_limit_exceeded");
    assert!(told.contains(bytes), "{told}");
    let third = half_an_upload(&larder, 100).await;
    eventually("the third", async || (api.limit(number).await.1 == 3).then_some(())).await;
    let told = api.upload("any", b"x", false).await.is_error(429, "general_rate_limit_exceeded");
    assert!(told.contains(number), "{told}");
    // What comes to an end is stored as it was sent; of the rest nothing stays.
    let mut whole = open.pop().expect("an upload");
    whole.write_all(END).await.expect("the end");
    let mut answer = String::new();
    whole.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let deployment: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).expect("a body")).expect("JSON");
    assert_eq!(deployment["sourceSize"], 19_000_000);
    let built = api.built("any", &deployment).await;
    let log = built["buildLogs"].as_str().expect("a log");
    assert!(log.starts_with("upload: 19000000 bytes, sha256 ab52c641a569c4ca"), "{log}");
    drop((open, third));
    eventually("the places to be given back", async || (api.limit(number).await.1 == 0).then_some(())).await;
    assert_eq!(api.limit(bytes).await.1, 0);
    assert_eq!(std::fs::read_dir(larder.data().join("uploads")).expect("a folder").count(), 0);
});

/// Compilers of the process: their nice values.
fn compilers(larder: &Larder) -> Vec<i64> {
    let own = larder.pid().to_string();
    let processes = std::fs::read_dir("/proc").expect("processes").flatten();
    let nice = |folder: &Path| {
        let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
        let command = std::fs::read_to_string(folder.join("cmdline")).ok()?;
        // Behind the name in parentheses: state, parent, …, and nice as the 19th field of all.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        (fields[1] == own && command.contains("__compile")).then(|| fields[16].parse().expect("a number"))
    };
    processes.filter_map(|process| nice(&process.path())).collect()
}

both!(builds_have_the_lowest_priority_and_are_one_at_a_time, async |on| {
    let larder = Larder::start_with(Options::on(on).fresh().set("LARDER_BUILD__DEADLINE", "10m")).await;
    let endless = slow_to_compile(&guests::guest("hello-http"), 600, 600, 1_000);
    let (api, other) = (larder.api(), larder.partner("other").await);
    for api in [&api, &other] {
        api.create_function("slow", json!({})).await.is(201);
        api.upload("slow", &endless, false).await.is(202);
    }
    eventually("the build to begin", async || (compilers(&larder) == [19]).then_some(())).await;
    let states = [&api, &other].map(async |api| {
        api.get("/functions/slow/deployments").await.is(200)["deployments"][0]["status"]
            .as_str()
            .expect("a word")
            .to_owned()
    });
    let states = futures::future::join_all(states).await;
    assert_eq!(states.iter().filter(|state| *state == "building").count(), 1, "{states:?}");
    assert_eq!(compilers(&larder), [19]);
});
