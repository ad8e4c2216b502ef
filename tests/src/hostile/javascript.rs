//! Attacks written in JavaScript (`tests/hostile/js`): all of them are one program on QuickJS, and the path of a request says which
//! one it makes.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::corpus::{self, Entry, World};
use crate::{quickjs, workspace};

const MANIFEST: &str = "[function]\nid = \"attacks\"\nname = \"attacks\"\nroutes = [\"/\"]\n[grants]\nstate = true\n\
    events = [\"attack.*\"]\ntransactions.SEK = { max = \"10.00\", sum = \"10.00\", period = \"day\" }\n[build]\nlanguage = \"js\"\n";

/// All of them; none, and a line that says so, where node or npm is missing.
pub fn all() -> Vec<Entry> {
    if !quickjs::has_node() {
        eprintln!("SKIPPED: node or npm is missing: no attack in JavaScript was made");
        return vec![];
    }
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    let files = corpus::files(&workspace().join("tests/hostile/js"), "js");
    let wasm = BUILT.get_or_init(|| build(&files));
    files.iter().map(|file| corpus::described(file, "// ", World::Js, wasm.clone())).collect()
}

/// The program of these files, and one that calls them.
fn build(files: &[PathBuf]) -> Vec<u8> {
    let (mut imports, mut attacks) = (String::new(), String::new());
    let mut sources = Vec::new();
    for file in files {
        let name = corpus::name(file);
        let variable = name.replace('-', "_");
        imports.push_str(&format!("import {variable} from \"./{name}.js\";\n"));
        attacks.push_str(&format!("  \"/{name}\": {variable},\n"));
        sources.push((format!("{name}.js"), std::fs::read_to_string(file).expect("a file")));
    }
    let index = format!(
        "import {{ defineFunction }} from \"@larder/sdk\";\n{imports}const attacks = {{\n{attacks}}};\n\
         export default defineFunction({{ onRequest: (request, run) => attacks[request.path](request, run) }});\n"
    );
    sources.push(("index.js".into(), index));
    quickjs::build(MANIFEST, &sources)
}
