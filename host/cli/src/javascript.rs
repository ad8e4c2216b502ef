//! Builds and tests projects in TypeScript and JavaScript: `src/index.ts` is checked by tsc where that is installed, bundled by
//! esbuild with the SDK, loaded once in node to see what it handles, and made a component with QuickJS by componentize-qjs. All of
//! them come from npm, as the project's `package-lock.json` pins them. The SDK and the world come with this binary.

use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use larder_model::Grants;
use serde::Deserialize;
use tokio::process::Command;

use crate::component;
use crate::console::Console;
use crate::failure::{Failure, Result};
use crate::manifest::{Engine, Language, Manifest};
use crate::npm::{self, run, started};
use crate::starling;
use crate::web;
use crate::world::{self, Import};

static SDK: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../sdk/js/src");
static SDK_PACKAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/js/package.json"));

/// Where the SDK lies in a project.
const SDK_FOLDER: &str = ".larder/sdk/js";
/// What a build makes.
const BUILD_FOLDER: &str = ".larder/build";
pub const COMPONENT: &str = "app.wasm";
/// How files with tests end.
const TESTS: [&str; 3] = [".test.ts", ".test.js", ".test.mjs"];

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
    let starling = manifest.build.engine == Engine::Starling;
    prepare(folder, console).await?;
    if starling {
        starling::find(folder)?;
    }
    if language == Language::Ts && folder.join("tsconfig.json").is_file() && npm::tool(folder, "tsc").is_file() {
        run(folder, "tsc", &["--noEmit"]).await?;
    }
    let handles = check(folder, manifest, language).await?;
    let build = Path::new(BUILD_FOLDER);
    let wit = build.join("wit");
    // What a build before has left may name what is no longer asked for.
    match std::fs::remove_dir_all(folder.join(&wit)) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
            return Err(Failure::failed(format!("cannot write {}: {err}", wit.display())));
        }
        _ => {}
    }
    let (entry, bundled, made) = (build.join("entry.js"), build.join("bundle.js"), build.join("app.wasm"));
    let output = folder.join(component::of(manifest).expect("cargo builds no JavaScript"));
    let failed = |err: std::io::Error| Failure::failed(format!("cannot write {}: {err}", output.display()));
    if starling {
        world::write_file(&folder.join(&entry), &starling::entry_point(&manifest.grants, &handles, &source(language)))?;
        starling::write_world(folder, &wit, &manifest.grants, &handles)?;
        bundle(folder, &entry, &bundled, &[]).await?;
        starling::componentize(folder, &wit, &bundled, &made, fetches(&manifest.grants)).await?;
        return std::fs::copy(folder.join(&made), &output).map(drop).map_err(failed);
    }
    let imports = imports(&manifest.grants, &handles);
    let exports = [(handles.event, world::HANDLER), (handles.request, web::INCOMING)];
    let exports: Vec<&str> = exports.into_iter().filter_map(|(handled, export)| handled.then_some(export)).collect();
    world::write(&folder.join(&wit), &imports, &exports)?;
    world::write_file(&folder.join(&entry), &entry_point(&imports, &handles, language))?;
    bundle(folder, &entry, &bundled, &[]).await?;
    let (bundled, wit) = (text(&bundled), text(&wit));
    let options = ["--sync", "--wit", &wit, "--world", "app", "--js", &bundled, "--output", &text(&made)];
    run(folder, "componentize-qjs", &options).await?;
    let component = std::fs::read(folder.join(&made)).map_err(failed)?;
    std::fs::write(&output, web::rename(&component)?).map_err(failed)
}

/// What the project's function handles.
#[derive(Deserialize)]
pub struct Handles {
    pub event: bool,
    pub request: bool,
    /// It listens for `fetch` by itself, without the SDK.
    pub listens: bool,
}

/// Loads the function in node as building the component does, where mistakes can be told with their places.
async fn check(folder: &Path, manifest: &Manifest, language: Language) -> Result<Handles> {
    let build = Path::new(BUILD_FOLDER);
    let (entry, bundled, report) = (build.join("check.js"), build.join("check.mjs"), build.join("handles.json"));
    let source = source(language);
    let code = match manifest.build.engine {
        Engine::QuickJs => {
            format!("import \"@larder/sdk/building\";\nexport {{ default }} from \"../../{source}\";\n")
        }
        Engine::Starling => starling::check(&source),
    };
    world::write_file(&folder.join(&entry), &code)?;
    bundle(folder, &entry, &bundled, &["--sourcemap"]).await?;
    let mut node = Command::new("node");
    node.args(["--enable-source-maps", "--no-warnings"]).arg(Path::new(SDK_FOLDER).join("src/check.js"));
    node.args([&bundled, &report]).arg(&source);
    started(folder, node, &source).await?;
    let handles = std::fs::read(folder.join(&report)).map_err(|err| Failure::failed(format!("{source}: {err}")))?;
    let handles: Handles =
        serde_json::from_slice(&handles).map_err(|err| Failure::failed(format!("{source}: {err}")))?;
    if !handles.request && !manifest.function.routes.is_empty() {
        let missing =
            format!("{source} has no onRequest, so nothing answers there: add it to defineFunction, or remove this");
        return Err(Failure::Usage(manifest.complaint("function.routes", missing)));
    }
    Ok(handles)
}

/// Does it call outside services?
fn fetches(grants: &Grants) -> bool {
    !grants.http.is_empty() || !grants.upstreams.is_empty()
}

/// Interfaces of the guide's world. All of it is imported, called or not.
fn imports(grants: &Grants, handles: &Handles) -> Vec<Import> {
    let fetches = fetches(grants);
    let web = [
        (fetches || handles.request, world::import("types", web::TYPES)),
        (fetches, world::import("outgoing", web::OUTGOING)),
    ];
    let web = web.into_iter().filter_map(|(used, import)| used.then_some(import));
    world::imports(grants).into_iter().chain(web).collect()
}

fn source(language: Language) -> String {
    format!("src/index.{}", if language == Language::Ts { "ts" } else { "js" })
}

async fn bundle(folder: &Path, entry: &Path, output: &Path, more: &[&str]) -> Result<()> {
    let (entry, outfile) = (text(entry), format!("--outfile={}", text(output)));
    let mut options = vec![entry.as_str(), "--bundle", "--format=esm", "--target=es2022", "--log-level=warning"];
    // The engine runs a module from beginning to end when the component is built.
    options.extend(["--supported:top-level-await=false", "--external:larder:*", "--external:wasi:*", &outfile]);
    options.extend(more);
    run(folder, "esbuild", &options).await
}

/// Runs the project's tests in node.
pub async fn test(folder: &Path, manifest: &Manifest, console: &Console) -> Result<()> {
    prepare(folder, console).await?;
    let tests = npm::files_of_tests(&folder.join("test"), &TESTS);
    if tests.is_empty() {
        return Err(Failure::usage("there is no test/*.test.ts or test/*.test.js"));
    }
    let tests: Vec<String> = tests.iter().map(|test| text(&Path::new("test").join(test))).collect();
    let out = Path::new(BUILD_FOLDER).join("test");
    let outdir = format!("--outdir={}", text(&out));
    let mut options: Vec<&str> = tests.iter().map(String::as_str).collect();
    options.extend(["--bundle", "--platform=node", "--format=esm", "--log-level=warning", "--out-extension:.js=.mjs"]);
    options.extend(["--sourcemap", &outdir]);
    let waits = format!("--inject:{SDK_FOLDER}/src/waiting.js");
    if manifest.build.engine == Engine::Starling {
        options.push(&waits);
    }
    run(folder, "esbuild", &options).await?;
    let built = npm::files_of_tests(&folder.join(&out), &TESTS).into_iter().map(|file| text(&out.join(file)));
    let mut node = Command::new("node");
    node.args(["--enable-source-maps", "--test"]).args(built);
    started(folder, node, "node --test").await
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// What the component runs: binds what the world imports to the SDK, and exports the project's function.
fn entry_point(imports: &[Import], handles: &Handles, language: Language) -> String {
    let lines: String =
        imports.iter().map(|import| format!("import * as {} from {:?};\n", import.name, import.interface)).collect();
    let is_web = |import: &&Import| [web::TYPES, web::OUTGOING].contains(&import.interface);
    let mut names: Vec<&str> = imports.iter().filter(|import| !is_web(import)).map(|import| import.name).collect();
    if imports.iter().any(|import| import.interface == web::OUTGOING) {
        names.push("http: client(types, outgoing)");
    }
    let mut exports = String::new();
    if handles.event {
        exports += "export const handler = definition;\n";
    }
    if handles.request {
        exports += "export const incomingHandler = server(types, definition.serve);\n";
    }
    format!(
        "import \"@larder/sdk/globals\";\nimport {{ bind }} from \"@larder/sdk/host\";\n\
         import {{ client, server }} from \"@larder/sdk/wasi-http\";\n{lines}\
         import definition from \"../../{}\";\n\nbind({{ {} }});\n{exports}",
        source(language),
        names.join(", ")
    )
}

/// Writes the SDK of this version, and installs the project's tools.
async fn prepare(folder: &Path, console: &Console) -> Result<()> {
    npm::check_node().await?;
    for (path, text) in sdk() {
        world::write_file(&folder.join(path), text)?;
    }
    npm::install(folder, "esbuild", "ts", console).await
}
