//! The environment is shared with others: what is no setting is left alone, and texts are texts.

use larder_tests::{Backend, Larder, Options, both};

/// What Kubernetes sets for services called `larder`, `larder-redis` and `larder-redis--cache`, what Docker's links set, and
/// words of nobody in particular.
const FOREIGN: [(&str, &str); 16] = [
    ("LARDER_PORT", "tcp://10.43.0.17:8080"),
    ("LARDER_SERVICE_HOST", "10.43.0.17"),
    ("LARDER_SERVICE_PORT", "8080"),
    ("LARDER_SERVICE_PORT_HTTP", "8080"),
    ("LARDER_PORT_8080_TCP", "tcp://10.43.0.17:8080"),
    ("LARDER_PORT_8080_TCP_ADDR", "10.43.0.17"),
    ("LARDER_PORT_8080_TCP_PORT", "8080"),
    ("LARDER_PORT_8080_TCP_PROTO", "tcp"),
    ("LARDER_REDIS_SERVICE_HOST", "10.43.0.18"),
    ("LARDER_REDIS_PORT", "tcp://10.43.0.18:6379"),
    ("LARDER_REDIS__CACHE_SERVICE_HOST", "10.43.0.19"),
    ("LARDER_REDIS__CACHE_PORT_6379_TCP_ADDR", "10.43.0.19"),
    ("LARDER__CACHE_PORT", "tcp://10.43.0.20:6379"),
    ("LARDER_REDIS_NAME", "/larder/redis"),
    ("LARDER_SERVER", "yes"),
    ("LARDER_VERSION", "1.2.3"),
];

both!(unknown_variables_are_ignored_and_named_once, async |on| {
    let foreign = FOREIGN.iter().fold(Options::on(on), |options, (name, value)| options.set(name, *value));
    let larder = Larder::start_with(foreign.set("LARDER_LOG__FILTER", "larder=debug")).await;
    let log = larder.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("are ignored")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    for (name, _) in FOREIGN {
        assert!(lines[0].split([' ', '"', '=']).any(|word| word == name), "{name}: {}", lines[0]);
    }
    assert!(!lines[0].contains("LARDER_LOG__FILTER") && !lines[0].contains("LARDER_CRASH"), "{}", lines[0]);
});

#[tokio::test(flavor = "multi_thread")]
async fn variables_whose_names_are_not_unicode_are_ignored() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let mut larder = std::process::Command::new(Larder::binary());
    larder.args(["dev", "--listen", "127.0.0.1:0", "--internal", "nowhere", "--data"]).arg(folder.path());
    larder.env("SOMEBODYS_FOLDER", std::ffi::OsStr::from_bytes(b"/srv/\xff"));
    larder.env(std::ffi::OsStr::from_bytes(b"LARDER_\xff__X"), "1");
    let said = String::from_utf8(larder.output().unwrap().stderr).unwrap();
    assert!(said.contains("server.internal") && !said.contains("panicked"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_need_no_quotes_and_lists_no_brackets() {
    let options = Options::on(Backend::Services)
        .set("LARDER_REDIS__PREFIX", "2026")
        .set("LARDER_OBJECTS__REGION", "true")
        .set("LARDER_SERVER__PROXIES", "10.0.0.0/8, 192.0.2.7")
        .set("LARDER_EGRESS__PRIVATE_NETWORKS", "127.0.0.0/8")
        .set("LARDER_WORKER__LEASE", "20s")
        .set("LARDER_RECORDS__BUFFER", "10_000")
        .set("LARDER_RECORDS__ALL", "true");
    Larder::start_with(options).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_variable_and_shows_how_the_setting_is_written() {
    // What is set, and what is said of it: the variable, the setting, and an example.
    for (variable, value, said) in [
        ("LARDER_WORKER__LEASE", "20", ["worker.lease", "lease = \""]),
        ("LARDER_WORKER__ATTEMPTS", "many", ["worker.attempts", "written 3"]),
        ("LARDER_WORKER__ATTEMPTS", "-1", ["worker.attempts", "attempts = 3"]),
        ("LARDER_WORKER__ATTEMPTS", "0", ["worker.attempts", "at least 1"]),
        ("LARDER_RECORDS__ALL", "yes", ["records.all", "true or false"]),
        ("LARDER_SERVER__ROOT_URL", "example.org", ["server.root_url", "http://"]),
        ("LARDER_SERVER__PROXIES", "10.0.0.0/8,here", ["server.proxies", "10.0.0.0/8"]),
        ("LARDER_SERVER__PROXIES", "[10.0.0.0/8]", ["server.proxies", "[\"a\", \"b\"]"]),
        ("LARDER_LOG__FORMAT", "xml", ["log.format", "format = \"text\""]),
        ("LARDER_SERVER__LISEN", "127.0.0.1:1", ["server.lisen", "root_url"]),
        ("LARDER_SEVER__LISTEN", "127.0.0.1:1", ["sever.listen", "partners"]),
        ("LARDER_WORKER__LEASE__MAX", "20s", ["worker.lease__max", "lease"]),
        ("_APP_FUNCTIONS_TIMEOUT", "soon", ["_APP_FUNCTIONS_TIMEOUT", "whole number"]),
        ("_APP_FUNCTIONS_TIMEOUT", "1000", ["functions.timeout_max", "900s"]),
    ] {
        let printed = Larder::refusal(&[(variable, value.to_owned())]);
        for word in [variable, said[0], said[1]] {
            assert!(printed.contains(word), "{variable}={value}: {word} is missing in\n{printed}");
        }
    }
}
