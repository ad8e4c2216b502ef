//! Builds projects in AssemblyScript by asc, which comes from npm as the project's `package-lock.json` pins it. What it makes is a
//! core module for WASI preview 1 that imports what its code calls, and Larder makes the component.

use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use tokio::process::Command;
use wasmparser::{Parser, Payload};

use crate::component;
use crate::console::Console;
use crate::failure::{Failure, Result};
use crate::manifest::Manifest;
use crate::npm;
use crate::world;

static SDK: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../sdk/assemblyscript");

/// Where the SDK lies in a project.
const SDK_FOLDER: &str = ".larder/sdk/assemblyscript";
const BUILD_FOLDER: &str = ".larder/build";
const SOURCE: &str = "src/index.ts";
/// The project's code says who handles what, and then the SDK runs the handler.
const ENTRY: &str = "import \"../../src/index\";
import { serve } from \"@larder/sdk\";
export { cabi_realloc } from \"@larder/sdk/abi\";
serve();
";
/// What AssemblyScript would have from a browser, by the SDK.
const OWN: [&str; 4] = ["abort=aborted", "trace=trace", "seed=seed", "console=console"];

/// The files of the SDK, with their paths in a project.
pub fn sdk() -> impl Iterator<Item = (PathBuf, &'static str)> {
    SDK.files().map(|file| {
        let text = file.contents_utf8().expect("the SDK is text, as a test checks");
        (Path::new(SDK_FOLDER).join(file.path()), text)
    })
}

/// Builds the project's core module.
pub async fn build(folder: &Path, manifest: &Manifest, console: &Console) -> Result<()> {
    let output = component::of(manifest).expect("cargo builds no AssemblyScript");
    prepare(folder, console).await?;
    compile(folder, &output, &["-O"]).await
}

/// Runs the project's tests in node: a double of Larder runs what asc compiled.
pub async fn test(folder: &Path, console: &Console) -> Result<()> {
    prepare(folder, console).await?;
    let tests = npm::files_of_tests(&folder.join("test"), &[".test.js", ".test.mjs"]);
    if tests.is_empty() {
        return Err(Failure::usage("there is no test/*.test.js"));
    }
    compile(folder, &Path::new(BUILD_FOLDER).join("test.wasm"), &["--debug"]).await?;
    let mut node = Command::new("node");
    node.arg("--test").args(tests.iter().map(|test| Path::new("test").join(test)));
    npm::started(folder, node, "node --test").await
}

async fn compile(folder: &Path, output: &Path, more: &[&str]) -> Result<()> {
    let (entry, output) = (format!("{BUILD_FOLDER}/entry.ts"), output.to_string_lossy().into_owned());
    world::write_file(&folder.join(&entry), ENTRY)?;
    let own: Vec<String> = OWN.iter().map(|own| own.replacen('=', "=~lib/@larder/sdk/wasi/", 1)).collect();
    let mut options = vec![entry.as_str(), "--exportStart", "_start", "-o", &output];
    options.extend(own.iter().flat_map(|own| ["--use", own]));
    options.extend(more);
    npm::run(folder, "asc", &options).await?;
    let file = folder.join(output);
    let module =
        std::fs::read(&file).map_err(|err| Failure::failed(format!("cannot read {}: {err}", file.display())))?;
    match foreign(&module) {
        None => Ok(()),
        Some(name) => {
            Err(Failure::failed(format!("{SOURCE} calls {name}, which only browsers have; {}", instead(&name))))
        }
    }
}

/// What the module would have from a browser.
fn foreign(module: &[u8]) -> Option<String> {
    let imports = Parser::new(0).parse_all(module).find_map(|payload| match payload {
        Ok(Payload::ImportSection(imports)) => Some(imports),
        _ => None,
    });
    let named = imports?.into_imports().flatten().find(|import| import.module == "env");
    named.map(|import| import.name.to_owned())
}

fn instead(name: &str) -> &'static str {
    match name.split('.').next() {
        Some("Date" | "performance") => "the time of an event is event.time",
        Some("crypto") => "random numbers come from Math.random",
        _ => "what a run may do is in @larder/sdk",
    }
}

/// Writes the SDK of this version, and installs the project's tools.
async fn prepare(folder: &Path, console: &Console) -> Result<()> {
    npm::check_node().await?;
    if !folder.join(SOURCE).is_file() {
        return Err(Failure::usage(format!(
            "there is no {SOURCE}; `larder new --lang assemblyscript` makes a project"
        )));
    }
    for (path, text) in sdk() {
        world::write_file(&folder.join(path), text)?;
    }
    npm::install(folder, "asc", "assemblyscript", console).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_has_is_named() {
        let of = |import: &str| foreign(&wat::parse_str(format!("(module {import})")).unwrap());
        assert_eq!(of(""), None);
        assert_eq!(of("(import \"wasi_snapshot_preview1\" \"fd_write\" (func))"), None);
        let name = of("(import \"a\" \"b\" (func)) (import \"env\" \"Date.now\" (func (result f64)))").unwrap();
        assert_eq!((name.as_str(), instead(&name)), ("Date.now", "the time of an event is event.time"));
    }
}
