//! Builds projects in Go by the stock compiler. What it makes is a core module for WASI preview 1, and Larder makes the
//! component.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use include_dir::{Dir, include_dir};
use tokio::process::Command;

use crate::component;
use crate::failure::{Failure, Result};
use crate::manifest::Manifest;
use crate::world;

static SDK: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../sdk/go");

/// Where the SDK lies in a project.
const SDK_FOLDER: &str = ".larder/sdk/go";
/// Where a project's own compiler is installed.
const VENV: &str = ".venv/bin/go";
/// The lowest version that exports functions to the host.
const VERSION: [u32; 2] = [1, 24];
const INSTALL: &str = "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt";

/// The files of the SDK, with their paths in a project.
pub fn sdk() -> impl Iterator<Item = (PathBuf, &'static str)> {
    SDK.files().map(|file| {
        let text = file.contents_utf8().expect("the SDK is text, as a test checks");
        (Path::new(SDK_FOLDER).join(file.path()), text)
    })
}

/// Builds the project's core module.
pub async fn build(folder: &Path, manifest: &Manifest) -> Result<()> {
    let output = component::of(manifest).expect("cargo builds no Go");
    let mut go = prepared(folder).await?;
    go.args(["build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"]).arg(output).arg(".");
    run(go.envs([("GOOS", "wasip1"), ("GOARCH", "wasm")])).await
}

/// Runs the project's tests, compiled for this machine with a double of Larder.
pub async fn test(folder: &Path) -> Result<()> {
    let mut go = prepared(folder).await?;
    run(go.args(["test", "./..."]).env_remove("GOOS").env_remove("GOARCH")).await
}

/// The compiler, in a project that has the SDK of this version.
async fn prepared(folder: &Path) -> Result<Command> {
    let program = find(folder).await?;
    sdk().try_for_each(|(path, text)| world::write_file(&folder.join(path), text))?;
    Ok(command(&program, folder))
}

/// Go: the project's own, else the one on the path.
async fn find(folder: &Path) -> Result<PathBuf> {
    let own = std::path::absolute(folder.join(VENV)).unwrap_or_else(|_| folder.join(VENV));
    for go in [own, PathBuf::from("go")] {
        let Ok(output) = command(&go, folder).args(["env", "GOVERSION"]).output().await else { continue };
        if output.status.success() {
            return check(&String::from_utf8_lossy(&output.stdout), &go).map(|()| go);
        }
    }
    Err(Failure::usage(format!("go is not installed; install Go 1.24 or later, or run:\n  {INSTALL}")))
}

fn check(version: &str, go: &Path) -> Result<()> {
    let version = version.trim();
    let parts = version.trim_start_matches("go").split(['.', '-', 'r', 'b']).take(2);
    let numbers: Vec<u32> = parts.map_while(|part| part.parse().ok()).collect();
    if numbers.as_slice() >= VERSION.as_slice() {
        return Ok(());
    }
    Err(Failure::usage(format!("`{}` is {version}, and this needs go1.24 or later; run:\n  {INSTALL}", go.display())))
}

fn command(go: &Path, folder: &Path) -> Command {
    let mut command = Command::new(go);
    // The compiler that was checked, and no other project's settings.
    command.current_dir(folder).stdin(Stdio::null()).envs([("GOTOOLCHAIN", "local"), ("GOWORK", "off")]);
    command
}

async fn run(go: &mut Command) -> Result<()> {
    // What tools print is progress, not our data.
    let ended = go.stdout(Stdio::from(std::io::stderr())).stderr(Stdio::inherit()).status().await;
    let status = ended.map_err(|err| component::unstartable("go", &err))?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::failed(format!("`go` failed ({status})"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_go_is_named() {
        for good in ["go1.24\n", "go1.24.1", "go1.27.3", "go1.25rc1", "go2.0"] {
            assert!(check(good, Path::new("go")).is_ok(), "{good}");
        }
        for old in ["go1.23.9\n", "go1.9", "devel", ""] {
            let why = check(old, Path::new("go")).unwrap_err().text().unwrap();
            assert!(why.contains("this needs go1.24") && why.contains("pip install"), "{why}");
        }
    }
}
