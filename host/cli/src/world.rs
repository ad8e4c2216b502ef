//! The world of a project in another language than Rust: it imports what the manifest asks for, and nothing else.
//!
//! Toolchains of these languages import all of the world that they build for, called or not. Somebody who approves a
//! deployment would then read rights that the function does not use.

use std::path::Path;

use include_dir::{Dir, include_dir};
use larder_model::Grants;

use crate::failure::{Failure, Result};

static WIT: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../sdk/wit");
/// As much of WASI 0.2 as guides use.
static WASI: Dir = include_dir!("$CARGO_MANIFEST_DIR/wit");

/// An import of the world.
pub struct Import {
    /// Its name in the guide.
    pub name: &'static str,
    pub interface: &'static str,
}

pub const fn import(name: &'static str, interface: &'static str) -> Import {
    Import { name, interface }
}

/// What every function may import.
const FREE: [Import; 6] = [
    import("enrolment", "larder:function/enrolment@0.1.0"),
    import("attributes", "larder:function/attributes@0.1.0"),
    import("stdout", "wasi:cli/stdout@0.2.6"),
    import("stderr", "wasi:cli/stderr@0.2.6"),
    import("environment", "wasi:cli/environment@0.2.6"),
    import("random", "wasi:random/random@0.2.6"),
];

/// The imports of a function with these grants.
pub fn imports(grants: &Grants) -> Vec<Import> {
    let granted = [
        (!grants.transactions.is_empty(), import("savings", "larder:function/savings@0.1.0")),
        (grants.state, import("state", "larder:function/state@0.1.0")),
        (!grants.events.is_empty(), import("events", "larder:function/events@0.1.0")),
        (!grants.upstreams.is_empty(), import("signing", "larder:function/signing@0.1.0")),
    ];
    granted.into_iter().filter(|(granted, _)| *granted).map(|(_, import)| import).chain(FREE).collect()
}

/// What handles events.
pub const HANDLER: &str = "larder:function/handler@0.1.0";

/// Writes the world `app` of these imports and exports, and the packages that it names, into a folder.
pub fn write(folder: &Path, imports: &[Import], exports: &[&str]) -> Result<()> {
    let imports: Vec<&str> = imports.iter().map(|import| import.interface).collect();
    write_own(folder, &imports, exports)?;
    write_packages(folder, &WASI)
}

/// The same without the packages of WASI.
pub fn write_own(folder: &Path, imports: &[&str], exports: &[&str]) -> Result<()> {
    let imports: String = imports.iter().map(|import| format!("    import {import};\n")).collect();
    let exports: String = exports.iter().map(|export| format!("    export {export};\n")).collect();
    let world = format!("package local:app;\n\nworld app {{\n{imports}{exports}}}\n");
    write_file(&folder.join("world.wit"), &world)?;
    write_packages(folder, &WIT)
}

fn write_packages(folder: &Path, packages: &Dir) -> Result<()> {
    for file in packages.files() {
        let name = file.path().file_stem().unwrap_or_default();
        let text = file.contents_utf8().expect("WIT is text, as a test checks");
        write_file(&folder.join("deps").join(name).join(file.path()), text)?;
    }
    Ok(())
}

/// Writes a file and the folders above it.
pub fn write_file(path: &Path, text: &str) -> Result<()> {
    let failed = |err: std::io::Error| Failure::failed(format!("cannot write {}: {err}", path.display()));
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_imports_what_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let grants = Grants { state: true, ..Grants::default() };
        write(folder.path(), &imports(&grants), &[HANDLER, crate::web::INCOMING]).unwrap();
        let mut resolve = wit_parser::Resolve::default();
        let (package, _) = resolve.push_dir(folder.path()).unwrap();
        let world = &resolve.worlds[resolve.select_world(&[package], Some("app")).unwrap()];
        let names: Vec<String> = world.imports.keys().map(|key| resolve.name_world_key(key)).collect();
        assert!(names.contains(&"larder:function/state@0.1.0".into()), "{names:?}");
        assert!(!names.iter().any(|name| name.contains("savings") || name.contains("signing")), "{names:?}");
    }
}
