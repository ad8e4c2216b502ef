//! Shell samples. A page's blocks run in one shell, in which `PATH` has nothing but the commands below. None of them reaches
//! anything: `larder` checks its arguments, by its own definition of them, and others are stand-ins.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use larder_model::settings::Settings;
use larder_tests::{Larder, workspace};

use super::markdown::{Page, pages};

/// `new` and `settings` are done. Others are parsed twice: with `--help` behind them, which finds what does not exist, and
/// towards an address where nothing listens, which finds what is missing. The second would be too much for `dev`, `serve`,
/// `build` and `deploy`, which need no argument.
const LARDER: &str = r#"
case $1 in new | settings) exec "$LARDER_BINARY" "$@" ;; esac
refused() { printf 'refused: larder %s\n%s\n' "$*" "$said"; exit 1; }
said=$("$LARDER_BINARY" "$@" --help 2>&1 </dev/null) || refused "$@"
case $1 in dev | serve | build | deploy) exit 0 ;; esac
export LARDER_ENDPOINT=http://127.0.0.1:9/v1 LARDER_PARTNER=demo LARDER_KEY=x LARDER_OPERATOR_KEY=x
said=$("$LARDER_BINARY" "$@" 2>&1 </dev/null)
case $said in *'Usage: larder'*) refused "$@" ;; esac
exit 0"#;

/// The other commands that samples may use.
const COMMANDS: [(&str, &str); 5] = [
    ("make", r#"exec "$MAKE_BINARY" -n -C "$WORKSPACE" "$@" >/dev/null"#),
    // The package of a `cargo run -p PACKAGE` exists; nothing is built.
    (
        "cargo",
        r#"case "$1 $2" in "run -p") [ -f "$WORKSPACE/examples/$3/Cargo.toml" ] ;; "test "* | "build "*) ;; *) exit 1 ;; esac"#,
    ),
    ("rustup", r#"[ "$*" = "target add wasm32-wasip2" ]"#),
    ("curl", "exit 0"),
    ("openssl", r#"[ "$*" = "rand -hex 32" ] && printf '%032d%032d\n' 1 2"#),
];

/// Commands of the system that run as they are.
const REAL: [&str; 4] = ["cat", "cp", "mkdir", "sed"];

fn find(name: &str) -> std::path::PathBuf {
    let path = std::env::var_os("PATH").expect("PATH");
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file()).expect(name)
}

fn shell(folder: &Path) -> Command {
    let bin = folder.join("bin");
    std::fs::create_dir_all(&bin).expect("a folder");
    for (name, text) in COMMANDS.iter().chain(&[("larder", LARDER)]) {
        let file = bin.join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).expect("a command");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("a command");
    }
    for name in REAL {
        symlink(find(name), bin.join(name)).expect("a command");
    }
    let home = folder.join("home");
    std::fs::create_dir_all(&home).expect("a folder");
    let mut shell = Command::new("/bin/sh");
    shell.current_dir(home).env_clear().stdin(Stdio::null());
    shell.env("PATH", bin).env("LARDER_BINARY", Larder::binary()).env("WORKSPACE", workspace());
    shell.env("MAKE_BINARY", find("make")).env("HOME", folder);
    shell
}

/// Whatever of a page's blocks is refused.
fn refused(page: &Page) -> Option<String> {
    let blocks: String =
        page.fences().into_iter().filter(|fence| fence.language() == "sh").map(|fence| fence.text).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let output = shell(folder.path()).args(["-euc", &format!("exec 2>&1\n{blocks}")]).output().expect("a shell");
    let settings = folder.path().join("home/larder-server.toml");
    if settings.exists() {
        Settings::load(Some(&settings), &[]).expect("settings that a block writes");
    }
    let said = || format!("{}: {}", page.name, String::from_utf8_lossy(&output.stdout));
    (!output.status.success()).then(said)
}

#[test]
fn every_shell_sample_is_made_of_commands_that_exist() {
    let wrong: Vec<String> = pages().iter().filter_map(refused).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_shell_sample_with_a_wrong_command_is_found() {
    for sample in [
        "larder grants shwo f",
        "larder deploy --aprove",
        "larder upstream create aggregator",
        "larder events send --type",
        "nosuchcommand",
        "make nosuchtarget",
    ] {
        let page = Page { name: "sample".into(), text: format!("```sh\n{sample}\n```\n") };
        assert!(refused(&page).is_some(), "{sample}");
    }
}

/// Commands within the text, such as `larder deploy`.
#[test]
fn every_command_within_the_text_exists() {
    let (mut checked, mut wrong) = (0, vec![]);
    for page in pages() {
        for span in page.spans() {
            let Some(words) = span.strip_prefix("larder ") else { continue };
            let help = Command::new(Larder::binary()).args(words.split(' ')).arg("--help").output();
            checked += 1;
            if !help.expect("larder starts").status.success() {
                wrong.push(format!("{}: larder {words}", page.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 30, "{checked}");
}
