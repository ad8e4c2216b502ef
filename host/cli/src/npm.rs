//! Node and npm: what a project's `package-lock.json` pins is installed in the project, and run from there.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::component;
use crate::console::Console;
use crate::failure::{Failure, Result};

const NODE_MIN: u32 = 20;

/// Installs what the project's lock file pins, unless it is there: `wanted` is one of its tools. A project of this `language`
/// is what to make otherwise.
pub async fn install(folder: &Path, wanted: &str, language: &str, console: &Console) -> Result<()> {
    let lock = folder.join("package-lock.json");
    // npm writes this file when it has installed what the lock file says.
    let installed = std::fs::metadata(folder.join("node_modules/.package-lock.json")).and_then(|file| file.modified());
    let package = folder.join("package.json");
    let pinned =
        std::fs::metadata(if lock.is_file() { &lock } else { &package }).and_then(|file| file.modified()).map_err(
            |err| Failure::usage(format!("package.json: {err}; `larder new --lang {language}` makes a project")),
        )?;
    if installed.is_ok_and(|installed| installed >= pinned) && tool(folder, wanted).is_file() {
        return Ok(());
    }
    console.note("installing what package-lock.json pins");
    let mut npm = Command::new("npm");
    npm.arg(if lock.is_file() { "ci" } else { "install" });
    npm.args(["--no-audit", "--no-fund", "--loglevel=error"]);
    started(folder, npm, "npm").await
}

pub async fn check_node() -> Result<()> {
    const INSTALL: &str =
        "install node 20 or newer with npm: apt-get install nodejs npm, brew install node, or https://nodejs.org";
    for program in ["node", "npm"] {
        let asked = Command::new(program).arg("--version").stdin(Stdio::null()).output().await;
        let version = match asked {
            Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            _ => return Err(Failure::usage(format!("{program} is not installed; {INSTALL}"))),
        };
        let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
        if program == "node" && major.is_some_and(|major| major < NODE_MIN) {
            return Err(Failure::usage(format!("node is {version}, and this needs {NODE_MIN}; {INSTALL}")));
        }
    }
    Ok(())
}

pub fn tool(folder: &Path, name: &str) -> PathBuf {
    folder.join("node_modules/.bin").join(name)
}

/// The package that brings a tool.
fn package_of(tool: &str) -> &str {
    match tool {
        "asc" => "assemblyscript",
        "tsc" => "typescript",
        // With the preview2-shim 0.26.1 that jco would take, its builds end with "No such file or directory (os error 44)".
        "jco" => "--save-exact @bytecodealliance/jco@1.35.0 @bytecodealliance/preview2-shim@0.26.0",
        tool => tool,
    }
}

/// The line that installs a tool in a project.
pub fn install_line(tool: &str) -> String {
    format!("npm install --save-dev {}", package_of(tool))
}

/// The program of a tool that the project has installed.
pub fn installed(folder: &Path, name: &str) -> Result<PathBuf> {
    // The program's path must not depend on the folder in which it runs.
    let program = std::path::absolute(tool(folder, name)).unwrap_or_else(|_| tool(folder, name));
    if program.is_file() {
        return Ok(program);
    }
    Err(Failure::usage(format!("{name} is not installed here; add it: {}", install_line(name))))
}

/// Runs a tool that the project has installed.
pub async fn run(folder: &Path, name: &str, options: &[&str]) -> Result<()> {
    let mut command = Command::new(installed(folder, name)?);
    command.args(options);
    started(folder, command, name).await
}

pub async fn started(folder: &Path, mut command: Command, name: &str) -> Result<()> {
    // What tools print is progress, not our data.
    let status = command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::from(std::io::stderr()))
        .status()
        .await
        .map_err(|err| component::unstartable(name, &err))?;
    if status.success() { Ok(()) } else { Err(Failure::failed(format!("`{name}` failed ({status})"))) }
}

/// Names of the files in a folder that end so.
pub fn files_of_tests(folder: &Path, ends: &[&str]) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| PathBuf::from(entry.file_name())).collect();
    found.retain(|name| ends.iter().any(|end| name.to_string_lossy().ends_with(end)));
    found.sort();
    found
}
