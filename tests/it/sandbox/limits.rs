//! Limits that nobody set hold at their defaults, and no function can be given more than the ceilings.

use larder_tests::{Api, Larder, Options, both, eventually, guests};
use reqwest::Method;
use serde_json::json;

/// As `larder_model::Limits` has them; written out, because they are promised to users.
const CEILINGS: [(&str, u64); 6] = [
    ("memoryBytes", 268_435_456),
    ("cpuMs", 60_000),
    ("logBytes", 4_194_304),
    ("responseBytes", 33_554_432),
    ("effects", 10_000),
    ("attempts", 20),
];

both!(no_function_gets_more_than_the_ceilings, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.create_function("kept", json!({ "limits": { "cpuMs": 7 } })).await.is(201);
    for (name, most) in CEILINGS {
        for wrong in [0, most + 1] {
            let settings = json!({ "limits": { name: wrong } });
            let message =
                api.create_function("wrong", settings.clone()).await.is_error(400, "general_argument_invalid");
            let says = format!("limits.{name} must be 1 to {most}, not {wrong}");
            assert!(message.contains(&says), "{message}");
            let update = json!({ "name": "kept", "limits": settings["limits"] });
            api.put("/functions/kept", update).await.is_error(400, "general_argument_invalid");
        }
        let function = api.create_function(&format!("most-{name}"), json!({ "limits": { name: most } })).await.is(201);
        assert_eq!(function["limits"][name], most);
    }
    for wrong in [0, 901] {
        let message =
            api.create_function("wrong", json!({ "timeout": wrong })).await.is_error(400, "general_argument_invalid");
        assert!(message.contains("timeout") && message.contains("1 to 900"), "{message}");
    }
    // A limit that there is not, and one that is no number.
    for wrong in [json!({ "memory": 1 }), json!({ "cpuMs": "1000" }), json!({ "cpuMs": -1 })] {
        api.create_function("wrong", json!({ "limits": wrong })).await.is_error(400, "general_argument_invalid");
    }
    api.get("/functions/wrong").await.is_error(404, "function_not_found");
    assert_eq!(api.get("/functions/kept").await.is(200)["limits"], json!({ "cpuMs": 7 }));
});

both!(default_limits_are_enforced, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    for guest in ["hostile", "hostile-saver"] {
        api.deploy(guest, &guests::guest(guest), json!({ "routes": [format!("/{guest}")] })).await;
    }
    assert_eq!(api.get("/functions/hostile").await.is(200)["timeout"], 15);
    let attacks = [
        ("hostile", "spin", "limit cpu_ms of 1000 exceeded"),
        ("hostile", "grow", "limit memory_bytes of 67108864 exceeded"),
        ("hostile", "sleep", "limit wall_ms of 15000 exceeded"),
        ("hostile", "flood", "limit response_bytes of 8388608 exceeded"),
        ("hostile", "chatter", "log limit log_bytes of 1048576 reached"),
        ("hostile-saver", "effects?1001", "limit effects of 1000 exceeded"),
    ];
    let all = attacks.map(async |(function, path, says)| {
        let call = larder.web("demo", Method::GET, &format!("/{function}/{path}"));
        let answer = call.send().await.expect("a head");
        let id = answer.headers()["x-appwrite-execution-id"].to_str().expect("an id").to_owned();
        let _ = answer.bytes().await; // a flood breaks off
        let path = format!("/functions/{function}/executions/{id}");
        let execution = eventually("the record of the execution", async || {
            let answer = api.get(&path).await;
            (answer.status == 200).then_some(answer.body)
        })
        .await;
        let told = format!("{}{}", execution["logs"], execution["errors"]);
        assert!(told.contains(says), "{says:?} is not in what {path} left: {}", execution["errors"]);
    });
    futures::future::join_all(all).await;
});

both!(stored_bytes_of_a_partner_are_limited, async |on| {
    const MOST: u64 = 3_000_000;
    let options = Options::on(on).set("LARDER_RECORDS__BYTES_PER_PARTNER", MOST.to_string());
    let mut larder = Larder::start_with(options).await;
    let api = larder.api();
    let settings = json!({ "events": ["probe.save"], "limits": { "attempts": 1 } });
    api.deploy("probe", &guests::guest("probe"), settings).await;
    api.enrol("probe", "clock", "all", json!({})).await;
    let used = async |api: &Api| {
        let limits = api.get("/limits").await.is(200)["limits"].clone();
        let one = limits.as_array().unwrap().iter().find(|one| one["$id"] == "records.bytes_per_partner").cloned();
        let one = one.expect("it is listed");
        assert_eq!((&one["limit"], &one["unit"]), (&json!(MOST), &json!("bytes stored")));
        one["used"].as_u64().unwrap()
    };
    let upload = used(&api).await;
    assert!(upload >= guests::guest("probe").len() as u64, "{upload}");
    let data = json!("x".repeat(400_000));
    let mut sent = 0;
    let refused = loop {
        let answer = api.event(&format!("e{sent}"), "of.nobody", None, data.clone()).await;
        match answer.status {
            202 => sent += 1,
            _ => break answer,
        }
        assert!(sent < 10, "it has no end");
    };
    let said = refused.is_error(413, "project_quota_exceeded");
    assert!(said.contains("records.bytes_per_partner = 3000000"), "{said}");
    // The other doors name it too, and a run that would store more saves nothing.
    let body = "x".repeat(400_000);
    let asynchronous = json!({ "async": true, "body": body });
    api.post("/functions/probe/executions", asynchronous).await.is_error(413, "project_quota_exceeded");
    let large = [guests::guest("probe"), vec![0; 400_000]].concat();
    api.upload("probe", &large, false).await.is_error(413, "project_quota_exceeded");
    // A process that begins knows what was counted, or counts it.
    larder.kill();
    larder.restart().await;
    let api = larder.api();
    eventually("it to be counted", async || (used(&api).await > 400_000 * sent).then_some(())).await;
    api.event("again", "of.nobody", None, data.clone()).await.is_error(413, "project_quota_exceeded");
    assert_eq!(api.event("small", "of.nobody", None, json!(1)).await.status, 202);
});
