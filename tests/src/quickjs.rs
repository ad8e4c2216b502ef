//! Programs in JavaScript, built as their authors build them: by `larder build`, with node and what it installs.

use std::path::Path;
use std::process::Command;

use crate::Larder;

/// Can they be built here?
pub fn has_node() -> bool {
    let works = |tool: &str| Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    works("node") && works("npm")
}

/// The component of a project of these files below `src`.
pub fn build(manifest: &str, sources: &[(String, String)]) -> Vec<u8> {
    let scratch = crate::folder("larder-quickjs-");
    larder(scratch.path(), &["new", "project", "--lang", "js"]);
    let project = scratch.path().join("project");
    for (name, text) in sources {
        std::fs::write(project.join("src").join(name), text).expect("a file");
    }
    std::fs::write(project.join("larder.toml"), manifest).expect("a file");
    larder(&project, &["build"]);
    std::fs::read(project.join("app.wasm")).expect("the component")
}

fn larder(folder: &Path, arguments: &[&str]) {
    let output = Command::new(Larder::binary()).args(arguments).current_dir(folder).output().expect("larder runs");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "larder {arguments:?}: {}{}", said(&output.stdout), said(&output.stderr));
}
