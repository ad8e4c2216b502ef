//! Builds and tests projects in TypeScript and JavaScript: `src/index.ts` is checked by tsc where that is installed, bundled by
//! esbuild with the SDK, and made a component with QuickJS by componentize-qjs. All of them come from npm, as the project's
//! `package-lock.json` pins them. The SDK and the world come with this binary.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use include_dir::{Dir, include_dir};
use tokio::process::Command;

use crate::component;
use crate::console::Console;
use crate::failure::{Failure, Result};
use crate::manifest::{Language, Manifest};
use crate::world;

static SDK: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../sdk/js/src");
static SDK_PACKAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/js/package.json"));

/// Where the SDK lies in a project.
const SDK_FOLDER: &str = ".larder/sdk/js";
/// What a build makes.
const BUILD_FOLDER: &str = ".larder/build";
pub const COMPONENT: &str = "app.wasm";
const NODE_MIN: u32 = 20;

/// The files of the SDK, with their paths in a project.
pub fn sdk() -> impl Iterator<Item = (PathBuf, &'static str)> {
    let sources = SDK.files().map(|file| {
        (Path::new("src").join(file.path()), file.contents_utf8().expect("the SDK is text, as a test checks"))
    });
    let package = std::iter::once((PathBuf::from("package.json"), SDK_PACKAGE));
    package.chain(sources).map(|(path, text)| (Path::new(SDK_FOLDER).join(path), text))
}

/// Builds the project's component.
pub async fn build(folder: &Path, manifest: &Manifest, language: Language, console: &Console) -> Result<()> {
    prepare(folder, console).await?;
    if language == Language::Ts && folder.join("tsconfig.json").is_file() && tool(folder, "tsc").is_file() {
        run(folder, "tsc", &["--noEmit"]).await?;
    }
    let imports = world::imports(&manifest.grants);
    let build = Path::new(BUILD_FOLDER);
    let wit = build.join("wit");
    // What a build before has left may name what is no longer asked for.
    match std::fs::remove_dir_all(folder.join(&wit)) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
            return Err(Failure::failed(format!("cannot write {}: {err}", wit.display())));
        }
        _ => world::write(&folder.join(&wit), &imports, &[world::HANDLER])?,
    }
    let (entry, bundle) = (build.join("entry.js"), build.join("bundle.js"));
    world::write_file(&folder.join(&entry), &entry_point(&imports, language))?;
    let (entry, bundle, wit) = (text(&entry), text(&bundle), text(&wit));
    let outfile = format!("--outfile={bundle}");
    let mut options = vec![entry.as_str(), "--bundle", "--format=esm", "--target=es2022", "--log-level=warning"];
    // The engine runs a module from beginning to end when the component is built.
    options.extend(["--supported:top-level-await=false", "--external:larder:*", "--external:wasi:*", &outfile]);
    run(folder, "esbuild", &options).await?;
    let output = component::of(manifest).expect("cargo builds no JavaScript");
    let options = ["--sync", "--wit", &wit, "--world", "app", "--js", &bundle, "--output", &text(&output)];
    run(folder, "componentize-qjs", &options).await
}

/// Runs the project's tests in node.
pub async fn test(folder: &Path, console: &Console) -> Result<()> {
    prepare(folder, console).await?;
    let tests = files_of_tests(&folder.join("test"));
    if tests.is_empty() {
        return Err(Failure::usage("there is no test/*.test.ts or test/*.test.js"));
    }
    let tests: Vec<String> = tests.iter().map(|test| text(&Path::new("test").join(test))).collect();
    let out = Path::new(BUILD_FOLDER).join("test");
    let outdir = format!("--outdir={}", text(&out));
    let mut options: Vec<&str> = tests.iter().map(String::as_str).collect();
    options.extend(["--bundle", "--platform=node", "--format=esm", "--log-level=warning", "--out-extension:.js=.mjs"]);
    options.extend(["--sourcemap", &outdir]);
    run(folder, "esbuild", &options).await?;
    let built = files_of_tests(&folder.join(&out)).into_iter().map(|file| text(&out.join(file)));
    let mut node = Command::new("node");
    node.args(["--enable-source-maps", "--test"]).args(built);
    started(folder, node, "node --test").await
}

fn files_of_tests(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| PathBuf::from(entry.file_name())).collect();
    found.retain(|name| [".test.ts", ".test.js", ".test.mjs"].iter().any(|end| text(name).ends_with(end)));
    found.sort();
    found
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// What the component runs: binds what the world imports to the SDK, and exports the project's function.
fn entry_point(imports: &[world::Import], language: Language) -> String {
    let extension = if language == Language::Ts { "ts" } else { "js" };
    let names: Vec<&str> = imports.iter().map(|import| import.name).collect();
    let lines: String =
        imports.iter().map(|import| format!("import * as {} from {:?};\n", import.name, import.interface)).collect();
    format!(
        "import \"@larder/sdk/globals\";\nimport {{ bind }} from \"@larder/sdk/host\";\n{lines}\
         import definition from \"../../src/index.{extension}\";\n\n\
         if (typeof definition?.handle !== \"function\") {{\n  \
         throw new Error(\"src/index.{extension}: write `export default defineFunction({{ onEvent(event, run) {{ … }} }})`\");\n}}\n\
         bind({{ {} }});\nexport const handler = definition;\n",
        names.join(", ")
    )
}

/// Writes the SDK of this version, and installs what the project's lock file pins, unless it is there.
async fn prepare(folder: &Path, console: &Console) -> Result<()> {
    check_node(folder).await?;
    for (path, text) in sdk() {
        world::write_file(&folder.join(path), text)?;
    }
    let lock = folder.join("package-lock.json");
    // npm writes this file when it has installed what the lock file says.
    let installed = std::fs::metadata(folder.join("node_modules/.package-lock.json")).and_then(|file| file.modified());
    let package = folder.join("package.json");
    let wanted = std::fs::metadata(if lock.is_file() { &lock } else { &package })
        .and_then(|file| file.modified())
        .map_err(|err| Failure::usage(format!("package.json: {err}; `larder new --lang ts` makes a project")))?;
    if installed.is_ok_and(|installed| installed >= wanted) && tool(folder, "esbuild").is_file() {
        return Ok(());
    }
    console.note("installing what package-lock.json pins");
    let mut npm = Command::new("npm");
    npm.arg(if lock.is_file() { "ci" } else { "install" });
    npm.args(["--no-audit", "--no-fund", "--loglevel=error"]);
    started(folder, npm, "npm").await
}

async fn check_node(folder: &Path) -> Result<()> {
    const INSTALL: &str =
        "install node 20 or newer with npm: apt-get install nodejs npm, brew install node, or https://nodejs.org";
    for program in ["node", "npm"] {
        let asked = Command::new(program).arg("--version").current_dir(folder).stdin(Stdio::null()).output().await;
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

fn tool(folder: &Path, name: &str) -> PathBuf {
    folder.join("node_modules/.bin").join(name)
}

/// Runs a tool that the project has installed.
async fn run(folder: &Path, name: &str, options: &[&str]) -> Result<()> {
    // The program's path must not depend on the folder in which it runs.
    let program = std::path::absolute(tool(folder, name)).unwrap_or_else(|_| tool(folder, name));
    if !program.is_file() {
        return Err(Failure::usage(format!("{name} is not installed here; add it: npm install --save-dev {name}")));
    }
    let mut command = Command::new(program);
    command.args(options);
    started(folder, command, name).await
}

async fn started(folder: &Path, mut command: Command, name: &str) -> Result<()> {
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
