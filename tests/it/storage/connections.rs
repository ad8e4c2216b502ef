//! MariaDB and Redis as a bank has them: reached by TLS under an authority of its own, with a password from a file.

use std::path::{Path, PathBuf};

use larder_secrets::write_private;
use larder_tests::outside::Authority;
use larder_tests::services::{Database, MariaDb, Redis, free_port};
use larder_tests::{Larder, Options, eventually, guests};
use mysql_async::prelude::Queryable;
use serde_json::json;

const PASSWORD: &str = "a-password-that-no-message-may-carry";

/// Files of a test, and the authority that its server's certificate is from.
struct Files {
    folder: tempfile::TempDir,
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    /// An authority that has nothing to do with it.
    stranger: PathBuf,
    password: PathBuf,
    wrong_password: PathBuf,
}

impl Files {
    fn new() -> Files {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let (certificate, key) = authority.issue_files(folder.path(), &["127.0.0.1"]);
        let [password, wrong_password, other] = ["password", "wrong", "other"].map(|name| folder.path().join(name));
        write_private(&password, &format!("{PASSWORD}\n")).unwrap();
        write_private(&wrong_password, "wrong").unwrap();
        std::fs::create_dir(&other).unwrap();
        let (authority, stranger) = (authority.file(folder.path()), Authority::new().file(&other));
        Files { folder, authority, certificate, key, stranger, password, wrong_password }
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_is_reached_by_tls_and_with_a_password_from_a_file() {
    let files = Files::new();
    let arguments = [("ssl-cert", &files.certificate), ("ssl-key", &files.key)];
    let arguments = arguments.map(|(name, file)| format!("--{name}={}", file.display())).to_vec();
    let server = MariaDb::start_with(&files.folder.path().join("mariadb"), arguments);
    let database = Database::create_on(&server.url()).await;
    let mut connection = database.connect().await;
    for statement in [
        format!("CREATE USER larder IDENTIFIED BY '{PASSWORD}' REQUIRE SSL"),
        format!("GRANT ALL ON {}.* TO larder", database.name()),
    ] {
        connection.query_drop(statement).await.unwrap();
    }
    let url = format!("mysql://larder@127.0.0.1:{}/{}", server.port(), database.name());
    let settings = |authority: &Path, password: &Path| {
        [
            ("LARDER_DATABASE__URL", url.clone()),
            ("LARDER_DATABASE__CA_FILE", text(authority)),
            ("LARDER_DATABASE__PASSWORD_FILE", text(password)),
        ]
    };
    for (authority, password, named) in [
        (files.authority.as_path(), files.wrong_password.as_path(), "Access denied"),
        (Path::new(""), &files.password, "Access denied"),
        (&files.stranger, &files.password, "certificate"),
        (&files.folder.path().join("none.pem"), &files.password, "database.ca_file"),
        (&files.authority, &files.folder.path().join("none"), "database.password_file"),
    ] {
        let said = Larder::refusal(&settings(authority, password));
        assert!(said.contains(named), "{named}: {said}");
        assert!(!said.contains(PASSWORD), "{said}");
    }

    let larder = start(settings(&files.authority, &files.password)).await;
    larder.api().deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/hello"] })).await;
    assert_eq!(larder.web("demo", reqwest::Method::GET, "/hello").send().await.unwrap().status(), 200);
    // Whoever is connected as this user is so by TLS: MariaDB lets nobody else in.
    let connected: Option<u64> = connection
        .query_first("SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'larder'")
        .await
        .unwrap();
    assert!(connected > Some(0), "{connected:?}");
    assert!(!larder.log().contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_reached_by_tls_and_with_a_password_from_a_file() {
    let files = Files::new();
    let port = free_port();
    let arguments = vec![
        "--tls-port".into(),
        port.to_string(),
        "--tls-cert-file".into(),
        text(&files.certificate),
        "--tls-key-file".into(),
        text(&files.key),
        "--tls-ca-cert-file".into(),
        text(&files.authority),
        "--tls-auth-clients".into(),
        "no".into(),
    ];
    let server = Redis::start_with(&files.folder.path().join("redis"), arguments);
    server.send(&format!("CONFIG SET requirepass {PASSWORD}")).unwrap();
    let url = format!("rediss://127.0.0.1:{port}");
    // Over a database of its own each: the master keys are too.
    let settings = |database: &Database, url: &str, authority: &Path, password: &Path| {
        [
            ("LARDER_DATABASE__URL", database.url()),
            ("LARDER_REDIS__URL", url.to_owned()),
            ("LARDER_REDIS__CA_FILE", text(authority)),
            ("LARDER_REDIS__PASSWORD_FILE", text(password)),
        ]
    };
    for (url, authority, password, named) in [
        (url.as_str(), &files.folder.path().join("none.pem"), &files.password, "redis.ca_file"),
        (&url, &files.password, &files.password, "redis.ca_file"),
        (&server.url(), &files.authority, &files.password, "rediss://"),
        (&url, &files.authority, &files.folder.path().join("none"), "redis.password_file"),
    ] {
        let database = Database::create().await;
        let said = Larder::refusal(&settings(&database, url, authority, password));
        assert!(said.contains(named), "{named}: {said}");
    }
    // A Redis that lets nobody in is one that is away: work goes on from the database.
    for (authority, password) in [(&files.stranger, &files.password), (&files.authority, &files.wrong_password)] {
        let database = Database::create().await;
        let larder = start(settings(&database, &url, authority, password)).await;
        assert!(larder.log().contains("work is found by polling"), "{}", larder.log());
        let (_, said) = larder.internal("/health/ready?verbose").await;
        assert!(said.contains("gone for"), "{said}");
    }
    let database = Database::create().await;
    let larder = start(settings(&database, &url, &files.authority, &files.password)).await;
    eventually("a read that waits, by TLS", async || {
        let clients = server.send(&format!("AUTH {PASSWORD}\r\nCLIENT LIST")).unwrap();
        let waits =
            |client: &str| client.contains(&format!("laddr=127.0.0.1:{port} ")) && client.contains("cmd=xreadgroup");
        clients.lines().any(waits).then_some(())
    })
    .await;
    let (_, said) = larder.internal("/health/ready?verbose").await;
    assert!(!said.contains("gone for"), "{said}");
    assert!(!larder.log().contains(PASSWORD));
}

async fn start<const N: usize>(settings: [(&'static str, String); N]) -> Larder {
    let set = |options: Options, (name, value): (&'static str, String)| options.set(name, value);
    Larder::start_with(settings.into_iter().fold(Options::default(), set)).await
}
