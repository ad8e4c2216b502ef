//! Builds and tests projects in Python: `src/app.py` is checked by the SDK and by mypy where that is installed, and made a component
//! with CPython by componentize-py. The tools are those that the project's requirements pin with their hashes. The SDK and the world
//! come with this binary.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use include_dir::{Dir, include_dir};
use larder_model::Grants;
use serde::Deserialize;
use tokio::process::Command;

use crate::component;
use crate::console::Console;
use crate::failure::{Failure, Result};
use crate::manifest::Manifest;
use crate::world::{self, Import};

static SDK: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../sdk/python/src/larder_sdk");
static SDK_PACKAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/python/pyproject.toml"));

/// Where the SDK lies in a project.
const SDK_FOLDER: &str = ".larder/sdk/python";
/// What a build makes.
const BUILD_FOLDER: &str = ".larder/build";
const SOURCES: &str = "src";
const VENV: &str = ".venv";
/// What goes into the component and makes it, and what only checks it.
const REQUIREMENTS: [&str; 2] = ["requirements.txt", "requirements-dev.txt"];
/// The import that `run.fetch` calls.
const FETCH: &str = "fetch";
const VERSION_MIN: (u32, u32) = (3, 10);

/// The files of the SDK, with their paths in a project.
pub fn sdk() -> impl Iterator<Item = (PathBuf, &'static str)> {
    let sources = SDK.files().filter(|file| file.path().extension().is_some_and(|extension| extension != "pyc"));
    let sources = sources.map(|file| {
        let text = file.contents_utf8().expect("the SDK is text, as a test checks");
        (Path::new("src/larder_sdk").join(file.path()), text)
    });
    let package = std::iter::once((PathBuf::from("pyproject.toml"), SDK_PACKAGE));
    package.chain(sources).map(|(path, text)| (Path::new(SDK_FOLDER).join(path), text))
}

/// Builds the project's component.
pub async fn build(folder: &Path, manifest: &Manifest, console: &Console) -> Result<()> {
    let python = prepare(folder, console).await?;
    let granted = granted(&manifest.grants);
    let checked = check(folder, &python, &granted).await?;
    check_types(folder, &python, console).await?;
    let imports = imports(granted, &checked);
    let build = Path::new(BUILD_FOLDER);
    let (wit, entry) = (build.join("wit"), build.join("python"));
    // What a build before has left may name what is no longer asked for.
    match std::fs::remove_dir_all(folder.join(&wit)) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
            return Err(Failure::failed(format!("cannot write {}: {err}", wit.display())));
        }
        _ => world::write(&folder.join(&wit), &imports, &checked.exported())?,
    }
    world::write_file(&folder.join(&entry).join("entry.py"), &entry_point(&imports, &checked))?;
    let output = component::of(manifest).expect("cargo builds no Python");
    let mut componentize = python.tool(folder, "componentize-py");
    componentize.arg("-d").arg(&wit).args(["-w", "app", "componentize"]);
    for path in [&entry, Path::new(SDK_FOLDER).join("src").as_path(), Path::new(SOURCES)] {
        componentize.arg("-p").arg(path);
    }
    let said = output_of(componentize.arg("entry").arg("-o").arg(output), "componentize-py").await?;
    match said.status.success() {
        true => Ok(()),
        false => Err(Failure::failed(format!("`componentize-py` failed\n{}", plain(&text(&said.stderr))))),
    }
}

/// Runs the project's tests: by pytest where that is installed, else by unittest.
pub async fn test(folder: &Path, console: &Console) -> Result<()> {
    let python = prepare(folder, console).await?;
    let tests = std::fs::read_dir(folder.join("tests")).into_iter().flatten().flatten();
    let is_test = |name: &str| name.starts_with("test_") && name.ends_with(".py");
    if !tests.map(|entry| entry.file_name()).any(|name| is_test(&name.to_string_lossy())) {
        return Err(Failure::usage("there is no tests/test_*.py"));
    }
    let (name, options): (_, &[&str]) = match python.has("pytest") {
        true => ("pytest", &["-q", "tests"]),
        false => ("unittest", &["discover", "-s", "tests"]),
    };
    started(python.module(folder, name).args(options), name).await
}

/// The interpreter of a project and what it has.
struct Python {
    /// A folder as `python -m venv` makes it.
    venv: PathBuf,
    tools: Vec<String>,
}

impl Python {
    fn has(&self, tool: &str) -> bool {
        self.tools.iter().any(|own| own == tool)
    }

    fn program(&self) -> PathBuf {
        self.venv.join("bin/python")
    }

    /// `python -m MODULE` in the project's folder.
    fn module(&self, folder: &Path, module: &str) -> Command {
        let mut command = self.command(folder, self.program());
        command.args(["-m", module]);
        command
    }

    /// A program that a package has installed.
    fn tool(&self, folder: &Path, name: &str) -> Command {
        self.command(folder, self.venv.join("bin").join(name))
    }

    fn command(&self, folder: &Path, program: PathBuf) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            // Else packages of another interpreter on this machine would come into the component.
            .env("VIRTUAL_ENV", &self.venv)
            .env("PYTHONPATH", format!("{SOURCES}:{SDK_FOLDER}/src"))
            .env("MYPYPATH", format!("{SOURCES}:{SDK_FOLDER}/src"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env_remove("PYTHONHOME")
            .env_remove("RUST_BACKTRACE");
        command
    }
}

/// What `installed.py` of the SDK answers.
#[derive(Deserialize)]
struct Installed {
    version: (u32, u32),
    #[serde(default)]
    missing: Vec<String>,
    #[serde(default)]
    tools: Vec<String>,
}

/// Writes the SDK of this version, and installs what the project's requirements pin into `.venv`, unless it is there. An
/// environment that is active is used as it is.
async fn prepare(folder: &Path, console: &Console) -> Result<Python> {
    for (path, text) in sdk() {
        world::write_file(&folder.join(path), text)?;
    }
    let files: Vec<&str> = REQUIREMENTS.into_iter().filter(|file| folder.join(file).is_file()).collect();
    if !files.contains(&REQUIREMENTS[0]) {
        let what = "requirements.txt is not there; `larder new --lang python` makes a project that has one";
        return Err(Failure::usage(what));
    }
    let active = std::env::var_os("VIRTUAL_ENV").filter(|path| !path.is_empty()).map(PathBuf::from);
    if let Some(venv) = active {
        let python = venv.join("bin/python");
        let installed = ask(folder, &python, &files[..1]).await?;
        return match installed.missing.first() {
            None => Ok(Python { venv, tools: installed.tools }),
            Some(pin) => Err(Failure::usage(format!(
                "{pin} is not installed in the active environment; run:\n  {} -m pip install --require-hashes -r {}",
                python.display(),
                files[0]
            ))),
        };
    }
    // The interpreter's path must not depend on the folder in which it runs.
    let venv = std::path::absolute(folder.join(VENV)).unwrap_or_else(|_| folder.join(VENV));
    let python = venv.join("bin/python");
    if python.is_file() {
        let installed = ask(folder, &python, &files).await?;
        if installed.missing.is_empty() {
            return Ok(Python { venv, tools: installed.tools });
        }
    } else {
        ask(folder, Path::new("python3"), &files[..1]).await?;
        let mut make = Command::new("python3");
        make.args(["-m", "venv"]).arg(&venv).current_dir(folder);
        if !output_of(&mut make, "python3").await?.status.success() {
            let install = "apt-get install python3-venv, or activate an environment of your own";
            return Err(Failure::usage(format!("python3 cannot make an environment in {VENV}; {install}")));
        }
    }
    console.note(&format!("installing what {} pins", files.join(" and ")));
    let mut options = vec!["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"];
    options.extend(files.iter().flat_map(|file| ["-r", file]));
    let mut pip = Command::new(&python);
    started(pip.args(&options).current_dir(folder).stdin(Stdio::null()), "pip install").await.map_err(|_| {
        let files: String = files.iter().map(|file| format!(" -r {file}")).collect();
        Failure::failed(format!(
            "`pip` failed; the line is:\n  {VENV}/bin/python -m pip install --require-hashes{files}"
        ))
    })?;
    let installed = ask(folder, &python, &files).await?;
    Ok(Python { venv, tools: installed.tools })
}

/// What an interpreter has of the requirements.
async fn ask(folder: &Path, python: &Path, files: &[&str]) -> Result<Installed> {
    let (major, minor) = VERSION_MIN;
    let install = format!(
        "install Python {major}.{minor} or newer: apt-get install python3 python3-venv, brew install python, or \
         https://www.python.org"
    );
    let script = format!("{SDK_FOLDER}/src/larder_sdk/installed.py");
    let mut command = Command::new(python);
    command.arg("-I").arg(script).args(files).current_dir(folder).stdin(Stdio::null());
    let said = match command.output().await {
        Ok(said) if said.status.success() => said,
        Ok(said) => {
            let why = text(&said.stderr);
            return Err(Failure::usage(format!("{} does not work; {install}\n{}", python.display(), why.trim_end())));
        }
        Err(_) => return Err(Failure::usage(format!("{} is not installed; {install}", python.display()))),
    };
    let installed: Installed = serde_json::from_slice(&said.stdout)
        .map_err(|err| Failure::failed(format!("{} answered something else: {err}", python.display())))?;
    if installed.version < VERSION_MIN {
        let (own, of) = installed.version;
        return Err(Failure::usage(format!("{} is Python {own}.{of}; {install}", python.display())));
    }
    Ok(installed)
}

/// What the SDK's check finds in the project.
#[derive(Deserialize)]
struct Checked {
    /// `event`, `request`.
    exports: Vec<String>,
    /// Modules that functions import while they run, when there are no files to read them from.
    imports: Vec<String>,
}

impl Checked {
    fn has(&self, kind: &str) -> bool {
        self.exports.iter().any(|own| own == kind)
    }

    fn exported(&self) -> Vec<&'static str> {
        let all = [("event", world::HANDLER), ("request", "wasi:http/incoming-handler@0.2.6")];
        all.into_iter().filter(|(kind, _)| self.has(kind)).map(|(_, interface)| interface).collect()
    }
}

async fn check(folder: &Path, python: &Python, granted: &[Import]) -> Result<Checked> {
    let names = granted.iter().map(|import| import.name);
    let said = output_of(python.module(folder, "larder_sdk.check").arg(SOURCES).args(names), "python").await?;
    if !said.status.success() {
        return Err(Failure::failed(format!("this cannot be built:\n{}", text(&said.stderr).trim_end())));
    }
    // What the project itself prints stands before it.
    let answer = text(&said.stdout).lines().last().unwrap_or_default().to_owned();
    serde_json::from_str(&answer).map_err(|err| Failure::failed(format!("the check answered something else: {err}")))
}

async fn check_types(folder: &Path, python: &Python, console: &Console) -> Result<()> {
    if python.has("mypy") {
        return started(python.module(folder, "mypy").args(["--no-error-summary", SOURCES]), "mypy").await;
    }
    if python.has("pyright") {
        return started(python.module(folder, "pyright").arg(SOURCES), "pyright").await;
    }
    console.note("neither mypy nor pyright is installed here: types are not checked");
    Ok(())
}

/// What the manifest asks for. CPython has its own imports of WASI.
fn granted(grants: &Grants) -> Vec<Import> {
    let own = world::imports(grants).into_iter().filter(|import| import.interface.starts_with("larder:"));
    let calls_out = !grants.http.is_empty() || !grants.upstreams.is_empty();
    own.chain(calls_out.then_some(Import { name: FETCH, interface: "wasi:http/outgoing-handler@0.2.6" })).collect()
}

/// What the component imports: what is granted, and what goes with it and with answering requests.
fn imports(mut granted: Vec<Import>, checked: &Checked) -> Vec<Import> {
    if checked.has("request") || granted.iter().any(|import| import.name == FETCH) {
        granted.push(Import { name: "types", interface: "wasi:http/types@0.2.6" });
        granted.push(Import { name: "streams", interface: "wasi:io/streams@0.2.6" });
    }
    granted
}

/// What the component runs: binds what the world imports to the SDK, and exports the project's functions.
fn entry_point(imports: &[Import], checked: &Checked) -> String {
    // `larder:function/event-types@0.1.0` is the module `event_types`.
    let module = |interface: &str| interface.split(['/', '@']).nth(1).unwrap_or_default().replace('-', "_");
    let own = imports.iter().map(|import| (import.name, module(import.interface)));
    // The types of events come with the attributes, which everybody may ask for.
    let own: Vec<_> = own.chain([("event_types", "event_types".to_owned())]).collect();
    let modules: Vec<&str> = own.iter().map(|(_, module)| module.as_str()).collect();
    let bound: String = own.iter().map(|(name, module)| format!(", {name}={module}")).collect();
    // datetime.strptime reads its module at its first call, when there are no files.
    let inner: String = std::iter::once("_strptime")
        .chain(checked.imports.iter().map(String::as_str))
        .fold(String::new(), |lines, name| lines + &format!("import {name}\n"));
    let mut entry = format!(
        "# Written by `larder build`.\n{inner}import app\nfrom componentize_py_types import Err, Ok\n\
         from larder_sdk.component import Component\nfrom larder_sdk.function import EventFunction, RequestFunction\n\
         from wit_world import exports\nfrom wit_world.imports import {}\n\nCOMPONENT = Component(Ok, Err{bound})\n\n\n\
         def only(kind):\n    return next(one for one in vars(app).values() if isinstance(one, kind))\n",
        modules.join(", ")
    );
    if checked.has("event") {
        entry += "\n\nEVENT = only(EventFunction)\n\n\nclass Handler(exports.Handler):\n    def handle(self, e):\n        \
                  return COMPONENT.handle(EVENT, e)\n";
    }
    if checked.has("request") {
        entry += "\n\nREQUEST = only(RequestFunction)\n\n\nclass IncomingHandler(exports.IncomingHandler):\n    \
                  def handle(self, request, response_out):\n        COMPONENT.serve(REQUEST, request, response_out)\n";
    }
    entry
}

/// What the tool says of a program that fails when the component is built, without the tool's own stack.
fn plain(said: &str) -> String {
    let from = said.find("AssertionError: ").map_or(0, |at| at + "AssertionError: ".len());
    let to = said.find("\n\nCaused by:").unwrap_or(said.len());
    let of_program = said.get(from..to).unwrap_or(said).trim_end();
    // The folders that it was given, in their order.
    of_program.replace("\"/2/", &format!("\"{SOURCES}/"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn output_of(command: &mut Command, name: &str) -> Result<Output> {
    command.stdin(Stdio::null()).output().await.map_err(|err| component::unstartable(name, &err))
}

async fn started(command: &mut Command, name: &str) -> Result<()> {
    // What tools print is progress, not our data.
    let status = command
        .stdout(Stdio::from(std::io::stderr()))
        .status()
        .await
        .map_err(|err| component::unstartable(name, &err))?;
    if status.success() { Ok(()) } else { Err(Failure::failed(format!("`{name}` failed ({status})"))) }
}
