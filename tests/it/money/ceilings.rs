//! Every documented limit can be reached on both databases: what a run may do commits.

use larder_tests::services::{Database, MariaDb};
use larder_tests::{Api, Larder, Options, both, eventually, guests};
use serde_json::{Value, json};

const EXECUTIONS: &str = "/functions/f/executions";

/// A larder with the function `f`, which may do as much as any, and one that runs for an enrolment.
async fn most(options: Options) -> (Larder, Api) {
    let larder = Larder::start_with(options).await;
    let api = larder.api();
    let limits = json!({ "effects": 10_000, "cpuMs": 20_000 });
    let guest = guests::guest("hostile-saver");
    let settings = |rest: Value| {
        let mut settings = json!({ "limits": limits, "timeout": 60 });
        settings.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        settings
    };
    api.deploy("f", &guest, settings(json!({ "routes": ["/f"] }))).await;
    api.deploy("own", &guest, settings(json!({ "per": "enrolment" }))).await;
    api.enrol("f", "anna", "all", json!({})).await;
    (larder, api)
}

fn many(what: &str) -> Value {
    json!({ "method": "GET", "path": format!("/many?{what}") })
}

#[track_caller]
fn done(execution: &Value, what: &str) {
    assert_eq!(
        (&execution["status"], &execution["responseBody"]),
        (&json!("completed"), &json!("done\n")),
        "{what}: {execution}"
    );
}

both!(largest_allowed_outcome_commits, async |on| {
    let (_larder, api) = most(Options::on(on)).await;
    for what in [
        "read=1000",
        "increment=1000",
        "increment=1000",
        "read=500&increment=500&set=500&delete=500&emit=500&save=500",
        "increment=10000",
        "set=10000",
        "delete=10000",
        "emit=10000",
        "save=1000",
        "value=62",
    ] {
        done(&api.execute("f", many(what)).await, what);
    }
    let anna = api.enrol("own", "anna", "all", json!({})).await;
    let mut own = many("own=10000");
    own["enrolmentId"] = anna.into();
    done(&api.execute("own", own).await, "own=10000");
    assert_eq!(api.transactions().await.len(), 500 + 1_000 + 10_000);
    // One more is not an accident but a limit with a name.
    for (what, limit) in
        [("increment=10001", "effects"), ("read=1001", "host_resources"), ("value=65", "host_resources")]
    {
        let told = api.execute("f", many(what)).await;
        assert!(told["status"] == "failed" && told["errors"].as_str().unwrap().contains(limit), "{what}: {told}");
    }
});

both!(group_of_largest_outcomes_commits, async |on| {
    let (_larder, api) = most(Options::on(on)).await;
    let asked = many("read=400&increment=400");
    let told = futures::future::join_all((0..24).map(|_| api.execute("f", asked.clone()))).await;
    for execution in &told {
        done(execution, "one of a group");
    }
    // Neither lost nor doubled: the first and the last number that each incremented.
    let read = api.execute("f", json!({ "method": "GET", "path": "/many-sum" })).await;
    assert_eq!(read["responseBody"], "24 24", "{read}");
});

both!(lists_of_state_have_a_budget_of_bytes, async |on| {
    let (_larder, api) = most(Options::on(on)).await;
    done(&api.execute("f", many("value=60")).await, "values");
    done(&api.execute("f", many("list=10")).await, "ten lists of 3.9 MB");
    // As many single reads as there are questions fit, of the largest values.
    done(&api.execute("f", many("value-read=60")).await, "reads");
    let told = api.execute("f", many("list=40")).await;
    assert!(told["status"] == "failed" && told["errors"].as_str().unwrap().contains("host_resources"), "{told}");
});

/// A server that takes the smallest packets that will do.
#[tokio::test(flavor = "multi_thread")]
async fn body_beyond_the_databases_packet_size_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = MariaDb::start_with(&folder.path().join("mariadb"), vec!["--max-allowed-packet=16M".into()]);
    let database = Database::create_on(&server.url()).await;
    let larder = Larder::start_with(Options::default().set("LARDER_DATABASE__URL", database.url())).await;
    let api = larder.api();
    let settings = json!({ "limits": { "responseBytes": 16 << 20 } });
    api.deploy("f", &guests::guest("hello-http"), settings).await;
    assert!(larder.log().contains("max_allowed_packet"), "{}", larder.log());
    let queue = async |body: String| {
        api.post(EXECUTIONS, json!({ "async": true, "method": "POST", "path": "/hello/echo", "body": body })).await
    };
    // The most characters, of two bytes each; and what a body may have in any case.
    for bytes in [12 << 20 | 1, 15 << 20, (16 << 20) - 200] {
        let told = queue("\u{e9}".repeat(bytes / 2 + 1)).await.is_error(413, "general_payload_too_large");
        assert!(told.contains("max_allowed_packet"), "{told}");
    }
    let (_, metrics) = larder.internal("/metrics").await;
    assert!(!metrics.contains("larder_store_broken_connections_total"), "{metrics}");
    let queued = queue("x".repeat(10_485_760)).await.is(202);
    let path = format!("{EXECUTIONS}/{}", queued["$id"].as_str().unwrap());
    let ended = eventually("it to run", async || {
        let execution = api.get(&path).await.is(200);
        (execution["status"] != "waiting" && execution["status"] != "processing").then_some(execution)
    })
    .await;
    assert_eq!(ended["status"], "completed", "{ended}");
}
