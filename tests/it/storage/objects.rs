//! Where uploads lie: a bucket or a folder that processes share, and what comes of an object that is damaged or gone.

use std::path::{Path, PathBuf};

use larder_secrets::write_private;
use larder_tests::{Backend, Larder, Options, eventually, guests, s3};
use reqwest::Method;
use serde_json::json;

/// The settings of a bucket with a prefix.
fn bucket(endpoint: &str, key_file: &Path) -> Options {
    Options::on(Backend::Services)
        .fresh()
        .set("LARDER_OBJECTS__URL", "s3://uploads/of/larder")
        .set("LARDER_OBJECTS__ENDPOINT", endpoint)
        .set("LARDER_OBJECTS__REGION", "eu-north-1")
        .set("LARDER_OBJECTS__ACCESS_KEY_FILE", key_file.to_str().unwrap())
}

async fn hello(larder: &Larder) -> u16 {
    larder.web("demo", Method::GET, "/hello").send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn bucket_serves_every_process_and_damaged_objects_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let uploads = folder.path().join("uploads");
    std::fs::create_dir(&uploads).unwrap();
    let endpoint = s3::serve(folder.path()).await;
    let keys = tempfile::tempdir().unwrap();
    let key_file = keys.path().join("s3.key");
    write_private(&key_file, &format!("{}\n{}\n", s3::ID, s3::SECRET)).unwrap();
    let one = Larder::start_with(bucket(&endpoint, &key_file)).await;
    let api = one.api();
    api.deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/hello"] })).await;
    assert_eq!(hello(&one).await, 200);
    assert!(!one.data().join("objects").exists(), "something lies in the data folder");
    let object = only_file(&uploads.join("of/larder"));
    let hash = object.file_name().unwrap().to_str().unwrap().to_owned();

    // Another process has nothing of it in its data folder and fetches it.
    let two = one.start_beside(bucket(&endpoint, &key_file)).await;
    assert_eq!(hello(&two).await, 200);

    let whole = std::fs::read(&object).unwrap();
    let mut damaged = whole.clone();
    damaged[100] ^= 1;
    for (bytes, said) in [(Some(&damaged), "is corrupt"), (None, "not found")] {
        match bytes {
            Some(bytes) => std::fs::write(&object, bytes).unwrap(),
            None => std::fs::remove_file(&object).unwrap(),
        }
        let three = one.start_beside(bucket(&endpoint, &key_file)).await;
        assert_eq!(hello(&three).await, 503, "our fault, not the function's");
        let log = three.log();
        let named = log.lines().any(|line| line.contains(&hash) && line.to_lowercase().contains(said));
        assert!(named, "no line names {hash} as {said}:\n{log}");
        // Repaired, it serves without a restart.
        std::fs::write(&object, &whole).unwrap();
        eventually("the repaired object to serve", async || (hello(&three).await == 200).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_folder_serves_uploads_and_an_unusable_one_is_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let shared = folder.path().join("shared");
    let url = format!("file://{}", shared.display());
    let options = || Options::on(Backend::Services).fresh().set("LARDER_OBJECTS__URL", url.clone());
    let one = Larder::start_with(options()).await;
    one.api().deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/hello"] })).await;
    only_file(&shared);
    let two = one.start_beside(options()).await;
    assert_eq!(hello(&two).await, 200);

    let key_file = folder.path().join("s3.key");
    let refused = |settings: &[(&str, &str)]| {
        let mut larder = std::process::Command::new(Larder::binary());
        larder.args(["dev", "--listen", "127.0.0.1:0", "--internal", "127.0.0.1:0", "--data"]).arg(folder.path());
        let output = larder.envs(settings.iter().copied()).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let s3 = ("LARDER_OBJECTS__URL", "s3://uploads");
    let key = ("LARDER_OBJECTS__ACCESS_KEY_FILE", key_file.to_str().unwrap());
    for settings in [&[s3][..], &[s3, key]] {
        let said = refused(settings);
        assert!(said.contains("objects.access_key_file"), "{said}");
    }
    write_private(&key_file, "one line\n").unwrap();
    let said = refused(&[s3, key]);
    assert!(said.contains("objects.access_key_file") && said.contains("two lines"), "{said}");
    let said = refused(&[("LARDER_OBJECTS__URL", "file:///proc/no/folder")]);
    assert!(said.contains("objects.url") && said.contains("/proc/no/folder"), "{said}");
}

fn only_file(folder: &Path) -> PathBuf {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| !hidden(path)).collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    let entry = entries.remove(0);
    if entry.is_dir() { only_file(&entry) } else { entry }
}

/// The S3 server keeps notes of its own beside the objects.
fn hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}
