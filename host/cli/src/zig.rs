//! Builds projects in C and Zig, both by the compiler of Zig, which comes as `ziglang` from PyPI. What they make is a core
//! module: it imports what its code calls and nothing else, and Larder makes the component.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use include_dir::{Dir, include_dir};
use tokio::process::Command;

use crate::component;
use crate::failure::{Failure, Result};
use crate::manifest::{Language, Manifest};
use crate::world;

static SDK: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../sdk/c");

/// Where the SDK lies in a project.
const SDK_FOLDER: &str = ".larder/sdk/c";
const BUILD_FOLDER: &str = ".larder/build";
/// The sources of the SDK that are part of a function, and of one that answers HTTP.
const GUIDE: [&str; 3] = ["larder.c", "guide.c", "events.c"];
const HTTP: [&str; 4] = ["larder.c", "guide.c", "events.c", "http.c"];
/// A CGI program exports no handler, which the bindings would. The host takes memory from it all the same.
const NO_HANDLER: [&str; 2] = ["-DLARDER_HTTP", "-D__export_name__(name)=__unused__"];
const TARGET: &str = "wasm32-wasi";
/// As Rust has it. The compiler would take sixteen times as much, of the memory of each run.
const STACK_BYTES: u32 = 1 << 20;
/// Where a project's own tools are installed.
const VENV: &str = ".venv/bin/python";
/// The lowest version that the SDK and the templates are tried with.
const VERSION: &str = "0.17.0";

/// The files of the SDK, with their paths in a project.
pub fn sdk() -> impl Iterator<Item = (PathBuf, &'static str)> {
    SDK.files().map(|file| {
        let text = file.contents_utf8().expect("the SDK is text, as a test checks");
        (Path::new(SDK_FOLDER).join(file.path()), text)
    })
}

/// Builds the project's core module.
pub async fn build(folder: &Path, manifest: &Manifest) -> Result<()> {
    let zig = find(folder).await?;
    prepare(folder)?;
    let output = component::of(manifest).expect("cargo builds no C");
    let http = answers(manifest);
    let make = |of: &str| [zig.clone(), vec![of.into(), "-target".into(), TARGET.into()]].concat();
    let include = format!("-I{SDK_FOLDER}");
    if manifest.build.language == Language::C {
        let mut line = make("cc");
        line.extend(["-Os", "-Wall", "-Wextra", &include, "-o", &text(&output)].map(String::from));
        match http {
            true => line.extend(NO_HANDLER.into_iter().chain(["-Wl,--export=cabi_realloc"]).map(String::from)),
            false => line.push("-mexec-model=reactor".into()),
        }
        line.push(format!("-Wl,-z,stack-size={STACK_BYTES}"));
        line.extend(own(folder, "src", "c")?);
        line.extend(guide(http));
        return run(folder, &line).await;
    }
    let bindings = translate(folder, make("translate-c"), http, false).await?;
    let mut line = make("build-exe");
    line.extend(["-O", "ReleaseSmall", "-rdynamic", "-lc", &include].map(String::from));
    line.extend([format!("-femit-bin={}", text(&output)), "--stack".into(), STACK_BYTES.to_string()]);
    if http {
        line.extend(["--export=cabi_realloc", "-cflags"].into_iter().chain(NO_HANDLER).chain(["--"]).map(String::from));
    } else {
        line.push("-mexec-model=reactor".into());
    }
    line.extend(guide(http));
    line.extend(["--dep", "larder", "-Mroot=src/app.zig"].map(String::from));
    line.push(format!("-Mlarder={bindings}"));
    run(folder, &line).await
}

/// Runs the project's tests, compiled for this machine with a double of Larder.
pub async fn test(folder: &Path, manifest: &Manifest) -> Result<()> {
    let zig = find(folder).await?;
    prepare(folder)?;
    let make = |of: &str| [zig.clone(), vec![of.into()]].concat();
    let include = format!("-I{SDK_FOLDER}");
    let http = answers(manifest);
    let kit = guide(http).chain([source("testing.c")]);
    // What the bindings say of imports and exports is for another machine.
    let mut flags = vec!["-Wno-unknown-attributes", "-Wno-ignored-attributes", "-DLARDER_TEST"];
    flags.extend(http.then_some(NO_HANDLER[0]));
    if manifest.build.language == Language::C {
        let program = Path::new(BUILD_FOLDER).join("test");
        let mut line = make("cc");
        line.extend(["-g", "-Wall", "-Wextra", &include, "-o", &text(&program)].map(String::from));
        line.extend(flags.into_iter().map(String::from));
        line.extend([own(folder, "test", "c")?, own(folder, "src", "c")?].concat());
        line.extend(kit);
        run(folder, &line).await?;
        let program = std::path::absolute(folder.join(&program)).unwrap_or(program);
        run(folder, &[text(&program)]).await?;
        eprintln!("the tests pass");
        return Ok(());
    }
    let bindings = translate(folder, make("translate-c"), http, true).await?;
    let mut line = make("test");
    line.extend(["-lc".into(), include, "-cflags".into()]);
    line.extend(flags.into_iter().map(String::from));
    line.push("--".into());
    line.extend(kit);
    let modules =
        ["--dep", "larder", "--dep", "app", "-Mroot=test/app_test.zig", "--dep", "larder", "-Mapp=src/app.zig"];
    line.extend(modules.map(String::from));
    line.push(format!("-Mlarder={bindings}"));
    run(folder, &line).await
}

/// Does the project define `larder_serve` in place of the handler? It does if requests come to it.
fn answers(manifest: &Manifest) -> bool {
    !manifest.function.routes.is_empty()
}

/// The sources of the SDK in a function.
fn guide(http: bool) -> impl Iterator<Item = String> {
    let files: &[&str] = if http { &HTTP } else { &GUIDE };
    files.iter().map(|name| source(name))
}

/// Headers of the SDK as a module of Zig.
async fn translate(folder: &Path, mut line: Vec<String>, http: bool, testing: bool) -> Result<String> {
    let all = Path::new(BUILD_FOLDER).join("larder.h");
    let headers = [(true, "guide.h"), (true, "events.h"), (http, "http.h"), (testing, "testing.h")];
    let headers = headers.into_iter().filter(|(is_there, _)| *is_there);
    let text_of_all: String = headers.map(|(_, header)| format!("#include \"{header}\"\n")).collect();
    world::write_file(&folder.join(&all), &text_of_all)?;
    let bindings = Path::new(BUILD_FOLDER).join("larder.zig");
    line.extend(["-lc".into(), format!("-I{SDK_FOLDER}"), text(&all)]);
    line.extend(http.then(|| NO_HANDLER[0].into()));
    let translated = started(folder, &line, Stdio::piped()).await?;
    world::write_file(&folder.join(&bindings), &String::from_utf8_lossy(&translated))?;
    Ok(text(&bindings))
}

fn source(name: &str) -> String {
    format!("{SDK_FOLDER}/{name}")
}

/// Writes the SDK of this version, and makes the folder for what is built.
pub fn prepare(folder: &Path) -> Result<()> {
    let build = folder.join(BUILD_FOLDER);
    std::fs::create_dir_all(&build)
        .map_err(|err| Failure::failed(format!("cannot make the folder {}: {err}", build.display())))?;
    sdk().try_for_each(|(path, text)| world::write_file(&folder.join(path), text))
}

/// The project's own sources.
fn own(folder: &Path, below: &str, extension: &str) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder.join(below)).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| Path::new(below).join(entry.file_name())).collect();
    found.retain(|path| path.extension().is_some_and(|it| it == extension));
    found.sort();
    if found.is_empty() {
        return Err(Failure::usage(format!(
            "there is no {below}/*.{extension}; `larder new` makes a project that has one"
        )));
    }
    Ok(found.iter().map(|path| text(path)).collect())
}

/// The command that is Zig: the project's own, else the one on the path, else the one that this machine's Python has.
async fn find(folder: &Path) -> Result<Vec<String>> {
    let venv = std::path::absolute(folder.join(VENV)).unwrap_or_else(|_| folder.join(VENV));
    let python = |program: String| vec![program, "-m".into(), "ziglang".into()];
    for zig in [python(text(&venv)), vec!["zig".into()], python("python3".into())] {
        let asked = command(&zig).arg("version").stdin(Stdio::null()).output().await;
        let Ok(output) = asked else { continue };
        if output.status.success() {
            return check(&String::from_utf8_lossy(&output.stdout), &zig).map(|()| zig);
        }
    }
    Err(Failure::usage(format!("zig is not installed; run:\n  {INSTALL}")))
}

const INSTALL: &str = "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt";

fn check(version: &str, zig: &[String]) -> Result<()> {
    let number = |text: &str| -> Vec<u32> {
        text.trim().split(['.', '-', '+']).take(3).map_while(|part| part.parse().ok()).collect()
    };
    if number(version) >= number(VERSION) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "`{}` is {}, and this needs {VERSION}; run:\n  {INSTALL}",
        zig.join(" "),
        version.trim()
    )))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn command(line: &[String]) -> Command {
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]);
    command
}

async fn run(folder: &Path, line: &[String]) -> Result<()> {
    // What tools print is progress, not our data.
    started(folder, line, Stdio::from(std::io::stderr())).await.map(drop)
}

/// What it printed, if that was asked for.
async fn started(folder: &Path, line: &[String], stdout: Stdio) -> Result<Vec<u8>> {
    let mut command = command(line);
    let running = command.current_dir(folder).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::inherit()).spawn();
    let ended = match running {
        Ok(child) => child.wait_with_output().await,
        Err(err) => Err(err),
    };
    let output = ended.map_err(|err| component::unstartable("zig", &err))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(Failure::failed(format!("`zig` failed ({})", output.status))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_zig_is_named() {
        for good in ["0.17.0\n", "0.17.1", "0.18.0-dev.12+abc", "1.0.0"] {
            assert!(check(good, &["zig".into()]).is_ok(), "{good}");
        }
        for old in ["0.16.0\n", "0.9.1", "what"] {
            let why = check(old, &["zig".into()]).unwrap_err().text().unwrap();
            assert!(why.contains("this needs 0.17.0") && why.contains("pip install"), "{why}");
        }
    }
}
