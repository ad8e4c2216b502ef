//! Several processes over one database: what one changes the others know, what they count they count together, and what a
//! database must be like.

use std::time::Duration;

use larder_tests::services::{Database, MariaDb};
use larder_tests::{Backend, Larder, Options, eventually, guests};
use reqwest::Method;
use serde_json::json;

async fn hello(larder: &Larder) -> reqwest::Response {
    larder.web("demo", Method::GET, "/hello").send().await.unwrap()
}

/// Uploads in a folder that the processes share.
fn sharing(folder: &std::path::Path) -> Options {
    Options::on(Backend::Services).set("LARDER_OBJECTS__URL", format!("file://{}", folder.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_reach_other_processes_at_once_with_redis_and_after_a_poll_without() {
    for redis in [true, false] {
        let objects = tempfile::tempdir().unwrap();
        // With Redis the poll would come too late for this test.
        let (poll, most) = if redis { ("10m", Duration::from_secs(2)) } else { ("200ms", Duration::from_secs(4)) };
        let options = || {
            let options = sharing(objects.path()).set("LARDER_PARTNERS__POLL", poll);
            if redis { options } else { options.set("LARDER_REDIS__URL", "") }
        };
        let one = Larder::start_with(options()).await;
        let two = one.start_beside(options()).await;
        assert_eq!(two.log().contains("by polling"), !redis, "{}", two.log());
        one.api().deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/hello"] })).await;
        let served = eventually("the other to serve it", async || (hello(&two).await.status() == 200).then_some(()));
        tokio::time::timeout(most + Duration::from_secs(20), served).await.unwrap();
        for enabled in [false, true, false] {
            let settings = json!({ "name": "hello", "routes": ["/hello"], "enabled": enabled });
            one.api().put("/functions/hello", settings).await.is(200);
            let expected = if enabled { 200 } else { 404 };
            let seen = eventually("the change", async || (hello(&two).await.status() == expected).then_some(()));
            tokio::time::timeout(most, seen).await.unwrap_or_else(|_| panic!("not within {most:?}, redis: {redis}"));
        }
        // A key that one has just made opens the other's door.
        let key =
            one.operator().post("/partners/demo/keys", json!({ "name": "k", "scopes": ["functions.read"] })).await;
        let secret = key.is(201)["secret"].as_str().unwrap().to_owned();
        two.api_of(Some("demo"), Some(&secret)).get("/functions").await.is(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_per_minute_are_counted_across_processes() {
    let objects = tempfile::tempdir().unwrap();
    let options = || sharing(objects.path()).set("LARDER_SERVER__CALLS_PER_MINUTE", "6");
    let one = Larder::start_with(options()).await;
    let two = one.start_beside(options()).await;
    one.api().deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/hello"] })).await;
    eventually("the other to know the route", async || (hello(&two).await.status() != 404).then_some(())).await;
    larder_tests::early_in_a_minute().await;
    let mut served = [0, 0];
    let refused = eventually("a refusal", async || {
        for (at, larder) in [&one, &two].into_iter().enumerate() {
            let answer = hello(larder).await;
            if answer.status() == 429 {
                return Some(answer);
            }
            served[at] += 1;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        None
    })
    .await;
    let retry_after: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&retry_after), "{retry_after}");
    assert!(served[0] + served[1] <= 6, "{served:?}");
    // It counts for executions through the API too, at the other process.
    eventually("the other to refuse", async || {
        let answer = two.api().post("/functions/hello/executions", json!({})).await;
        (answer.status == 429).then(|| answer.is_error(429, "general_rate_limit_exceeded"))
    })
    .await;
}

/// What a start over this database says.
fn refusal(url: &str) -> String {
    Larder::refusal(&[("LARDER_DATABASE__URL", url.into())])
}

#[tokio::test(flavor = "multi_thread")]
async fn unsuitable_database_is_refused_and_weak_durability_is_reported() {
    use mysql_async::prelude::Queryable;
    let folder = tempfile::tempdir().unwrap();
    let server = MariaDb::start(folder.path());
    let database = Database::create_on(&server.url()).await;
    let mut connection = database.connect().await;
    connection.query_drop("ALTER DATABASE COLLATE utf8mb4_general_ci").await.unwrap();
    let said = refusal(&database.url());
    assert!(said.contains("utf8mb4_nopad_bin") && said.contains("ALTER DATABASE"), "{said}");
    connection.query_drop("ALTER DATABASE COLLATE utf8mb4_nopad_bin").await.unwrap();
    let said = refusal(&format!("mysql://root@127.0.0.1:{}", server.port()));
    assert!(said.contains("must name a database"), "{said}");
    let said = refusal("mysql://root@127.0.0.1:1/larder");
    assert!(said.contains("cannot be reached"), "{said}");

    connection.query_drop("SET GLOBAL innodb_flush_log_at_trx_commit = 2").await.unwrap();
    let options = Options::default().set("LARDER_DATABASE__URL", database.url());
    let larder = Larder::start_with(options).await;
    let weak = "innodb_flush_log_at_trx_commit is 2 and not 1";
    assert!(larder.log().contains(weak), "{}", larder.log());
    let (status, text) = larder.internal("/health/ready?verbose").await;
    assert_eq!(status, 200);
    for line in ["ready", "database (MariaDB): ok", weak, "redis: none"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    // Not without being asked.
    assert_eq!(larder.internal("/health/ready").await, (200, "ready\n".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_start_together_create_the_tables_once() {
    let folder = tempfile::tempdir().unwrap();
    let first = Larder::start_with(sharing(folder.path())).await;
    let database = Database::create_on(larder_tests::services::mariadb_url()).await;
    let options = || sharing(folder.path()).set("LARDER_DATABASE__URL", database.url());
    let (one, two, three) =
        futures::join!(first.start_beside(options()), first.start_beside(options()), first.start_beside(options()));
    for larder in [one, two, three] {
        assert_eq!(larder.internal("/health/ready").await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn artifact_cache_is_bounded_and_removed_artifacts_are_compiled_again() {
    let mut larder = Larder::start_with(Options::default().fresh().set("LARDER_BUILD__CACHE_BYTES_MAX", "1")).await;
    larder.api().deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/hello"] })).await;
    let artifacts = larder.data().join("artifacts");
    let count = || std::fs::read_dir(&artifacts).unwrap().count();
    assert_eq!(count(), 2, "the machine code and what is known of it");
    larder.kill();
    larder.restart().await;
    eventually("the cache to be within its bound", async || (count() == 0).then_some(())).await;
    assert_eq!(hello(&larder).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn orphaned_uploads_are_removed_after_a_day() {
    let mut larder = Larder::start_on(Backend::Embedded).await;
    let api = larder.api();
    api.deploy("kept", &guests::guest("hello-http"), json!({ "routes": ["/hello"] })).await;
    api.deploy("gone", &guests::guest("probe"), json!({})).await;
    let objects = larder.data().join("objects");
    let all = || -> Vec<std::path::PathBuf> {
        let folders = std::fs::read_dir(&objects).unwrap().map(|entry| entry.unwrap().path());
        folders.flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path())).collect()
    };
    assert_eq!(all().len(), 2);
    api.delete("/functions/gone").await.is(204);
    // Not at once: an upload is there before its deployment is.
    larder.kill();
    larder.restart().await;
    assert_eq!(all().len(), 2);
    let days_ago = std::time::SystemTime::now() - Duration::from_secs(2 * 24 * 3600);
    for object in all() {
        std::fs::File::options().append(true).open(object).unwrap().set_modified(days_ago).unwrap();
    }
    larder.kill();
    larder.restart().await;
    eventually("the upload to go", async || (all().len() == 1).then_some(())).await;
    assert_eq!(hello(&larder).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_deployments_are_removed_after_their_retention_but_not_the_active_one() {
    use mysql_async::prelude::Queryable;
    let mut larder = Larder::start_on(Backend::Services).await;
    let api = larder.api();
    for (function, days) in [("kept", 0), ("short", 7)] {
        api.deploy(function, &guests::guest("hello-http"), json!({ "deploymentRetention": days })).await;
        assert_eq!(api.build(function, &guests::guest("hello-http"), false).await["status"], "ready");
    }
    let mut connection = larder.database().connect().await;
    connection.query_drop("UPDATE deployments SET created_at_ms = created_at_ms - 8 * 86400000").await.unwrap();
    larder.kill();
    larder.restart().await;
    let api = larder.api();
    let deployments =
        async |function: &str| api.all(&format!("/functions/{function}/deployments"), "deployments").await;
    eventually("the old deployment to go", async || (deployments("short").await.len() == 1).then_some(())).await;
    let active = api.get("/functions/short").await.is(200)["deploymentId"].clone();
    assert_eq!(deployments("short").await[0]["$id"], active);
    assert_eq!(deployments("kept").await.len(), 2);
}
