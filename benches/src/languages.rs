//! The template `http` of each language, built as its guide says: what its component weighs, how long it compiles, and what calls
//! of it cost in process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use larder_model::Digest;
use larder_tests::Larder;
use tempfile::TempDir;

use crate::guests::{self, Around};
use crate::in_process::{WARM_UP, runtime};
use crate::measure::{median, microseconds};
use crate::{machine, say};

/// What `larder new` calls it, and the engine of its manifest.
const LANGUAGES: [(&str, &str); 8] = [
    ("rust", ""),
    ("c", ""),
    ("zig", ""),
    ("assemblyscript", ""),
    ("go", ""),
    ("ts", "quickjs"),
    ("ts", "starling"),
    ("python", ""),
];
/// The template answers `GET /hello` as every hello does.
const NAME: &str = "hello";
const PINNED: &str = "python3 -m venv .venv && .venv/bin/pip install --quiet -r requirements.txt";

/// Prints the table.
pub async fn run(quick: bool, rounds: u32) -> anyhow::Result<()> {
    println!(
        "The template http in each language, {rounds} first calls, each from its sealed artifact\n{}",
        machine::facts()
    );
    println!("{:<24}{:>10}{:>12}{:>12}{:>12}{:>14}", "", "size", "compiled", "first call", "warm call", "memory");
    let calls = if quick { 50 } else { 2_000 };
    for (language, engine) in LANGUAGES {
        let name = format!("{language} {engine}");
        say(&format!("building {name}"));
        let folder = TempDir::new()?;
        match built(folder.path(), language, engine) {
            Ok(wasm) => println!("{name:<24}{}", measured(&wasm, folder.path(), rounds, calls).await?),
            Err(why) => println!("{name:<24}not built: {why}"),
        }
    }
    Ok(())
}

/// The component of a new project, or why there is none.
fn built(folder: &Path, language: &str, engine: &str) -> Result<Vec<u8>, String> {
    let larder = |arguments: &[&str], project: &Path| said(Command::new(Larder::binary()).args(arguments), project);
    larder(&["new", NAME, "--lang", language, "--template", "http"], folder)?;
    let project = folder.join(NAME);
    let text = |err: std::io::Error| err.to_string();
    if !engine.is_empty() {
        let manifest = project.join("larder.toml");
        let written = std::fs::read_to_string(&manifest).map_err(text)?;
        std::fs::write(&manifest, written.replace("[build]", &format!("[build]\nengine = \"{engine}\"")))
            .map_err(text)?;
    }
    // Where a compiler is missing, the template brings it.
    if language != "python" && project.join("requirements.txt").is_file() {
        said(Command::new("sh").args(["-c", PINNED]), &project)?;
    }
    let component = larder(&["build"], &project).or_else(|why| {
        let (_, line) = why.split_once("add it: ").ok_or(why.clone())?;
        said(Command::new("sh").args(["-c", line]), &project)?;
        larder(&["build"], &project)
    })?;
    std::fs::read(project.join(PathBuf::from(component.trim()))).map_err(text)
}

/// What a command printed, or the last line of what it complained about.
fn said(command: &mut Command, folder: &Path) -> Result<String, String> {
    let output = command.current_dir(folder).output().map_err(|err| err.to_string())?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("it failed").to_owned()),
    }
}

async fn measured(wasm: &[u8], folder: &Path, rounds: u32, calls: usize) -> anyhow::Result<String> {
    let cache = folder.join("artifacts");
    let begun = Instant::now();
    runtime(&cache)?.compile(wasm.to_vec().into()).await?;
    let compiled = begun.elapsed();
    let around = Around::new();
    let other = guests::small();
    let (mut first, mut warm, mut memory) = (vec![], vec![], 0);
    for _ in 0..rounds {
        let runtime = runtime(&cache)?;
        // The pool, the threads and the allocator are warm, and the program is not.
        let warming = guests::program(&runtime, &other).await?;
        for _ in 0..WARM_UP {
            guests::larder_event(&warming, &around, guests::ANYTHING).await;
        }
        let begun = Instant::now();
        let program = guests::load(&runtime, &Digest::of(wasm)).await?;
        memory = guests::larder_hello(&program, &around).await.memory_peak_bytes;
        first.push(nanos(begun.elapsed()));
        for _ in 0..calls / rounds as usize + 1 {
            let begun = Instant::now();
            guests::larder_hello(&program, &around).await;
            warm.push(nanos(begun.elapsed()));
        }
    }
    let size = format!("{} kB", wasm.len() / 1_000);
    let memory = format!("{} kB", memory / 1_000);
    let time = microseconds;
    let compiled = time(nanos(compiled));
    Ok(format!("{size:>10}{compiled:>12}{:>12}{:>12}{memory:>14}", time(median(first)), time(median(warm))))
}

fn nanos(took: Duration) -> f64 {
    took.as_nanos() as f64
}
