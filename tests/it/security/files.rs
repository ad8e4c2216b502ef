//! What lies in the data folder is its owner's alone, whatever umask Larder is started under.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use larder_tests::{Backend, Larder, Options, both, guests};
use reqwest::Method;
use serde_json::json;

/// Everything in a folder and the folder itself, by its permissions; what the harness writes is left out.
fn modes(folder: &Path) -> BTreeMap<String, u32> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    let mode = |path: &Path| std::fs::metadata(path).map(|about| about.permissions().mode() & 0o777);
    while let Some(inner) = folders.pop() {
        found.insert(inner.display().to_string(), mode(&inner).unwrap());
        for entry in std::fs::read_dir(&inner).unwrap() {
            let path = entry.unwrap().path();
            // What SQLite keeps for a moment may be gone by now.
            let Ok(mode) = mode(&path) else { continue };
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_none_or(|extension| extension != "log") {
                found.insert(path.display().to_string(), mode);
            }
        }
    }
    found
}

fn open(folder: &Path) -> Vec<(String, String)> {
    let open = modes(folder).into_iter().filter(|(_, mode)| mode & 0o077 != 0);
    open.map(|(path, mode)| (path, format!("{mode:o}"))).collect()
}

/// Uploads, a build, savings, state, records, events.
async fn busy(larder: &Larder) {
    let api = larder.api();
    api.deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/hello"] })).await;
    api.deploy("saves", &guests::guest("probe"), json!({ "events": ["probe.echo"] })).await;
    assert_eq!(larder.web("demo", Method::GET, "/hello").send().await.unwrap().status(), 200);
    for number in 0..5 {
        api.event(&number.to_string(), "probe.echo", None, json!({})).await;
        let queued = json!({ "path": "/hello", "method": "GET", "async": true });
        api.post("/functions/hello/executions", queued).await.is(202);
    }
    larder_tests::eventually("the queued runs to end", async || {
        let runs = api.executions("hello").await;
        runs.iter().filter(|run| run["status"] == "completed").count().ge(&6).then_some(())
    })
    .await;
}

both!(a_busy_process_leaves_nothing_that_others_may_read, async |on| {
    for umask in ["022", "000"] {
        let larder = Larder::start_with(Options { umask: Some(umask), ..Options::on(on).fresh() }).await;
        busy(&larder).await;
        let data = larder.data();
        assert_eq!(open(&data), [], "under umask {umask}");
        let names: Vec<String> = modes(&data).into_keys().collect();
        let mut wanted = vec!["master.key", "dev.env", "/objects/", "/artifacts/"];
        if on == Backend::Embedded {
            wanted.extend(["larder.db", "larder.db-wal"]);
        }
        for part in wanted {
            assert!(names.iter().any(|name| name.contains(part)), "{part} is not there: {names:?}");
        }
    }
});

#[tokio::test(flavor = "multi_thread")]
async fn permissions_left_open_by_an_earlier_version_are_closed_at_the_start() {
    let objects = tempfile::tempdir().unwrap();
    let url = format!("file://{}", objects.path().display());
    for elsewhere in [false, true] {
        let mut options = Options { umask: Some("022"), ..Options::default().fresh() };
        if elsewhere {
            options = options.set("LARDER_OBJECTS__URL", url.clone());
        }
        let mut larder = Larder::start_with(options).await;
        busy(&larder).await;
        larder.kill();
        let data = larder.data();
        for folder in [data.as_path(), objects.path()] {
            for path in modes(folder).into_keys().filter(|path| !path.ends_with(".key") && !path.contains("/artifacts"))
            {
                let mode = if Path::new(&path).is_dir() { 0o755 } else { 0o644 };
                std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            }
        }
        assert!(open(&data).len() > 3);
        larder.restart().await;
        assert_eq!(open(&data), []);
        if elsewhere {
            assert_eq!(open(objects.path()), []);
        }
        let log = larder.log();
        assert!(log.contains("were open to others") && log.contains(data.to_str().unwrap()), "{log}");
        // It serves what it had.
        assert_eq!(larder.web("demo", Method::GET, "/hello").send().await.unwrap().status(), 200);
    }
}
