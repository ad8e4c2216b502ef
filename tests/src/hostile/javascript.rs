//! Attacks written in JavaScript (`tests/hostile/js`): all of them are one program on QuickJS, built by `larder build`, and the
//! path of a request says which one it makes.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::corpus::{self, Entry, World};
use crate::{Larder, workspace};

const MANIFEST: &str = "[function]\nid = \"attacks\"\nname = \"attacks\"\nroutes = [\"/\"]\n[grants]\nstate = true\n\
    events = [\"attack.*\"]\ntransactions.SEK = { max = \"10.00\", sum = \"10.00\", period = \"day\" }\n[build]\nlanguage = \"js\"\n";

/// All of them; none, and a line that says so, where node or npm is missing.
pub fn all() -> Vec<Entry> {
    let works = |tool: &str| Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if !works("node") || !works("npm") {
        eprintln!("SKIPPED: node or npm is missing: no attack in JavaScript was made");
        return vec![];
    }
    let files = corpus::files(&folder(), "js");
    let wasm = built(&files.iter().map(|file| corpus::name(file)).collect::<Vec<_>>());
    files.iter().map(|file| corpus::described(file, "// ", World::Js, wasm.to_vec())).collect()
}

fn folder() -> std::path::PathBuf {
    workspace().join("tests/hostile/js")
}

/// The program, built once.
fn built(names: &[String]) -> &'static [u8] {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let scratch = crate::folder("larder-attacks-");
        larder(scratch.path(), &["new", "attacks", "--lang", "js"]);
        let project = scratch.path().join("attacks");
        let mut index = String::from("import { defineFunction } from \"@larder/sdk\";\n");
        for name in names {
            std::fs::copy(folder().join(format!("{name}.js")), project.join(format!("src/{name}.js"))).expect("a copy");
            index.push_str(&format!("import {} from \"./{name}.js\";\n", name.replace('-', "_")));
        }
        let attacks: Vec<String> = names.iter().map(|name| format!("\"/{name}\": {}", name.replace('-', "_"))).collect();
        index.push_str(&format!("const attacks = {{ {} }};\n", attacks.join(", ")));
        index.push_str("export default defineFunction({ onRequest: (request, run) => attacks[request.path](request, run) });\n");
        std::fs::write(project.join("src/index.js"), index).expect("a file");
        std::fs::write(project.join("larder.toml"), MANIFEST).expect("a file");
        larder(&project, &["build"]);
        std::fs::read(project.join("app.wasm")).expect("the component")
    })
}

fn larder(folder: &Path, arguments: &[&str]) {
    let output = Command::new(Larder::binary()).args(arguments).current_dir(folder).output().expect("larder runs");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "larder {arguments:?}: {}{}", said(&output.stdout), said(&output.stderr));
}
