//! The types of a project's events, from the schemas in its manifest, as code of its language. They are a module of the SDK:
//! `larder_sdk::events` in Rust, `@larder/sdk/events` in TypeScript, and so on.
//!
//! `larder types`, `larder build` and `larder test` write them, so code that does not fit a changed schema does not compile.

mod assemblyscript;
mod c;
mod go;
mod python;
mod rust;
pub mod shape;
mod typescript;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use self::shape::Object;
use crate::failure::Result;
use crate::manifest::{EventType, Language, Manifest};
use crate::world;

/// The types of events of a project.
pub type Types<'a> = Vec<(&'a str, &'a Object)>;

/// Writes the module, if it is not what it should be; gives the paths of its files.
pub fn write(folder: &Path, manifest: &Manifest) -> Result<Vec<PathBuf>> {
    let files = files(manifest.build.language, &manifest.events);
    for (path, text) in &files {
        let path = folder.join(path);
        // A file that is written is compiled again.
        if std::fs::read_to_string(&path).is_ok_and(|is| is == *text) {
            continue;
        }
        world::write_file(&path, text)?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

/// The files of the module, with their paths in a project. Without schemas it has no types.
pub fn files(language: Language, events: &BTreeMap<String, EventType>) -> Vec<(PathBuf, String)> {
    let types: Types = events.iter().map(|(kind, of)| (kind.as_str(), &of.shape)).collect();
    let file = |path: &str, text: String| vec![(PathBuf::from(path), text)];
    match language {
        Language::Rust => file(".larder/sdk/rust/src/events.rs", rust::module(&types)),
        Language::Ts | Language::Js => file(".larder/sdk/js/src/events.d.ts", typescript::module(&types)),
        Language::Python => file(".larder/sdk/python/src/larder_sdk/events.py", python::module(&types)),
        Language::Go => file(".larder/sdk/go/events/events.go", go::module(&types)),
        Language::AssemblyScript => file(".larder/sdk/assemblyscript/events.ts", assemblyscript::module(&types)),
        Language::C | Language::Zig => vec![
            (PathBuf::from(".larder/sdk/c/events.h"), c::header(&types)),
            (PathBuf::from(".larder/sdk/c/events.c"), c::source(&types)),
        ],
    }
}

/// What stands above the types of each language.
const ABOUT: &str = "The data of events, by the schemas in larder.toml. `larder types` writes this file.";

/// A description as lines that begin with `begin`.
fn doc(text: Option<&str>, begin: &str) -> String {
    text.into_iter()
        .flat_map(str::lines)
        .map(|line| format!("{begin} {}\n", line.trim()).replace("*/", "* /"))
        .collect()
}

/// A name that is not one of the language's own words.
fn free(name: &str, taken: &[&str]) -> String {
    if taken.contains(&name) { format!("{name}_") } else { name.to_owned() }
}

/// Text in quotes, as all of these languages write it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `merchant_name` → `merchantName`
fn camel(field: &str) -> String {
    let pascal = shape::pascal(field);
    let first = pascal.chars().next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(pascal.chars().skip(1)).collect()
}

#[cfg(test)]
mod tests;
