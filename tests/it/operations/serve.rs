//! `larder serve`: what it refuses to start with, and that it serves: partners by their hosts, artifacts made again.

use std::path::{Path, PathBuf};
use std::process::Command;

use larder_secrets::write_private;
use larder_tests::{Api, Backend, Larder, Options, both, guests};
use rustix::process::Signal;
use serde_json::json;

const MASTER: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddee01";
const OPERATOR: &str = "operator-key-0123456789abcdefghijklmnop";

/// A file of settings with both keys beside it.
fn configured(folder: &Path) -> PathBuf {
    let (master, operator) = (folder.join("master.key"), folder.join("operator.key"));
    write_private(&master, &format!("{MASTER}\n")).unwrap();
    write_private(&operator, &format!("{OPERATOR}\n")).unwrap();
    let config = folder.join("larder.toml");
    let text = format!(
        "data = {:?}\n[server]\nlisten = \"127.0.0.1:0\"\ninternal = \"127.0.0.1:0\"\nroot_url = \"https://bank.test\"\n\
         [secrets]\nmaster_key_file = {master:?}\noperator_key_file = {operator:?}\n",
        folder.join("data")
    );
    std::fs::write(&config, text).unwrap();
    config
}

/// What it says when it does not start.
fn refusal(config: &Path, arguments: &[&str]) -> String {
    let output =
        Command::new(Larder::binary()).args(["serve", "--config"]).arg(config).args(arguments).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_or_unsafe_files_are_refused_by_name() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path());
    let (master, operator) = (folder.path().join("master.key"), folder.path().join("operator.key"));
    let names = |said: &str, named: &[&str]| {
        for name in named {
            assert!(said.contains(name), "{name} is not named: {said}");
        }
    };
    for (file, setting) in [(&master, "secrets.master_key_file"), (&operator, "secrets.operator_key_file")] {
        let (text, path) = (std::fs::read_to_string(file).unwrap(), file.to_str().unwrap());
        std::fs::remove_file(file).unwrap();
        names(&refusal(&config, &[]), &[setting, path]);
        std::fs::write(file, &text).unwrap();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
        names(&refusal(&config, &[]), &[setting, path, "chmod 600"]);
        std::fs::remove_file(file).unwrap();
        write_private(file, &"0".repeat(64)).unwrap();
        names(&refusal(&config, &[]), &[setting, path, "placeholder"]);
        for text in ["short", "", "changeme"] {
            write_private(file, text).unwrap();
            names(&refusal(&config, &[]), &[setting, path]);
        }
        write_private(file, &text).unwrap();
    }
    let (text, path) = (std::fs::read_to_string(&master).unwrap(), master.to_str().unwrap());
    for (keys, named) in [
        ("0123456789abcdef".repeat(4), "line 1 is a placeholder"),
        (format!("{text}{text}"), "line 2 repeats"),
        (format!("# the newest first\n{text}{}\n", &text[2..]), "line 3 must hold 64 hex digits"),
        ((0..9).map(|n| format!("{}{n}\n", &MASTER[..63])).collect(), "holds 9 keys, 8 at most"),
    ] {
        write_private(&master, &keys).unwrap();
        let said = refusal(&config, &[]);
        names(&said, &["secrets.master_key_file", path, named]);
        assert!(!said.contains(&MASTER[..16]) && !said.contains(&MASTER[48..]), "{said}");
    }
    write_private(&master, &text).unwrap();
    names(&refusal(&config, &["--roles", "web,worker,scheduler"]), &["--roles", "Maintenance"]);
    names(&refusal(&folder.path().join("none.toml"), &[]), &["--config", "none.toml"]);

    let fine = std::fs::read_to_string(&config).unwrap();
    for (section, named) in [
        ("[worker]\nleese = \"30s\"\n", &["worker", "leese"][..]),
        ("[wroker]\nlease = \"30s\"\n", &["wroker"]),
        ("[worker]\nlease = \"soon\"\n", &["worker.lease"]),
        ("[records]\nall = 3\n", &["records.all"]),
    ] {
        std::fs::write(&config, format!("{fine}{section}")).unwrap();
        names(&refusal(&config, &[]), named);
    }
    let empty = fine.lines().filter(|line| !line.starts_with("operator")).map(|line| format!("{line}\n"));
    std::fs::write(&config, empty.collect::<String>()).unwrap();
    names(&refusal(&config, &[]), &["secrets.operator_key_file"]);
    let empty = fine.lines().filter(|line| !line.starts_with("master")).map(|line| format!("{line}\n"));
    std::fs::write(&config, empty.collect::<String>()).unwrap();
    names(&refusal(&config, &[]), &["secrets.master_key_file"]);
}

/// Serves from a folder of its own; gives the API of a partner whose key was made by the command line.
async fn serving(on: Backend) -> (Larder, Api, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path());
    let larder = Larder::start_with(Options { serve: Some(config), ..Options::on(on) }).await;
    let operator = ["--operator-key", OPERATOR];
    let (code, out, err) = larder.cli(folder.path(), &[&["partner", "create", "acme"][..], &operator].concat()).await;
    assert_eq!(code, 0, "{out}{err}");
    let scopes = "functions.read,functions.write,executions.read,grants.read,grants.write";
    let make = ["--partner", "acme", "key", "create", "--scopes", scopes];
    let (code, out, err) = larder.cli(folder.path(), &[&make[..], &operator].concat()).await;
    assert_eq!(code, 0, "{err}");
    let key = out.lines().last().unwrap().trim().to_owned();
    let api = larder.api_of(None, Some(&key)).at("acme-api.bank.test");
    (larder, api, folder)
}

/// What the function says at the partner's web endpoint.
async fn hello(larder: &Larder) -> (u16, String) {
    let url = format!("http://{}/hello?name=Anna", larder.address());
    let answer = reqwest::Client::new().get(url).header("host", "acme.bank.test").send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

both!(partners_are_served_by_their_hosts, async |on| {
    let (mut larder, api, _folder) = serving(on).await;
    api.deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/hello"] })).await;
    assert_eq!(hello(&larder).await, (200, "Hello, Anna!\n".into()));
    assert_eq!(larder.internal("/health/ready").await.0, 200);
    // Neither host is served under a root that is not ours.
    assert_eq!(api.clone().at("acme-api.localhost").get("/functions").await.status, 404);
    larder.signal(Signal::TERM);
    assert_eq!(larder.ended().await, Some(0));
});

both!(artifacts_that_are_lost_or_damaged_are_made_again, async |on| {
    let (mut larder, api, _folder) = serving(on).await;
    api.deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/hello"] })).await;
    assert_eq!(hello(&larder).await.0, 200);
    let artifacts = larder.data().join("artifacts");
    let whole: Vec<(PathBuf, Vec<u8>)> =
        files(&artifacts).into_iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect();
    assert_eq!(whole.len(), 2, "the machine code and what is known of it");
    for (damage, said) in [("lost", "compiling it"), ("flipped", "compiled again"), ("truncated", "compiled again")] {
        // Both are lost at once.
        let files = if damage == "lost" { &whole[..1] } else { &whole };
        for (file, bytes) in files {
            larder.kill();
            match damage {
                "lost" => std::fs::remove_dir_all(&artifacts).unwrap(),
                "flipped" => {
                    let mut bytes = bytes.clone();
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                    std::fs::write(file, &bytes).unwrap();
                }
                _ => std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap(),
            }
            let before = larder.log().len();
            larder.restart().await;
            assert_eq!(hello(&larder).await, (200, "Hello, Anna!\n".into()), "{damage} {}", file.display());
            let log = larder.log()[before..].to_owned();
            assert!(log.contains(said), "{damage} {}: {log}", file.display());
            // What was made again is kept: the next start finds it.
            larder.kill();
            let before = larder.log().len();
            larder.restart().await;
            assert_eq!(hello(&larder).await.0, 200);
            let log = larder.log()[before..].to_owned();
            assert!(!log.contains("compiling it") && !log.contains("compiled again"), "{damage}: {log}");
        }
    }
});

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn health_check_of_a_container_says_why_its_process_is_not_ready() {
    let mut larder = Larder::start_with(Options::default()).await;
    let internal = larder.internal_address().to_owned();
    let check = || {
        let mut command = Command::new(Larder::binary());
        let output = command.arg("health").env("LARDER_SERVER__INTERNAL", &internal).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(check(), (true, String::new()));
    larder.kill();
    let (ready, why) = check();
    assert!(!ready && why.contains(&format!("nothing answers at http://{internal}/health/ready")), "{why}");
}
