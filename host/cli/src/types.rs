//! `larder types`: the SDK of this version, the types of events that have a schema, and the world of the manifest, which is where editors, type checkers and binding
//! generators take the types of Larder from.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::build::Project;
use crate::console::count;
use crate::failure::Result;
use crate::manifest::{Language, Manifest};
use crate::{Session, assemblyscript, event_types, go, javascript, new, python, world, zig};

/// Where the world is. A build makes its own.
const WORLD: &str = ".larder/wit";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Writes .larder/sdk, the SDK of the project's language as this version of `larder` has it, and .larder/wit, the world that \
imports what [grants] of larder.toml asks for and nothing else. After a checkout, or with another version of `larder`, an editor \
finds all types again, without a build. Events that have a schema in [events] have a type in the SDK, which `larder build` and \
`larder test` keep up to date as well. Other toolchains bind the world: `wit-bindgen c .larder/wit --world app`.

Examples:
  larder types
  larder types --dir round-up")]
pub struct Args {
    #[command(flatten)]
    project: Project,
}

pub fn run(args: &Args, session: &Session) -> Result<()> {
    let (folder, manifest) = args.project.open()?;
    let sdk = write(&folder, &manifest)?;
    let console = &session.console;
    if console.json {
        return console.value(&json!({ "sdk": sdk, "world": WORLD }));
    }
    console.note(&format!("wrote {} of the SDK", count(sdk.len(), "file")));
    console.line(&folder.join(WORLD).display().to_string())
}

/// Writes all of it; gives the paths of the SDK's files.
pub fn write(folder: &Path, manifest: &Manifest) -> Result<Vec<PathBuf>> {
    let sdk: Vec<(PathBuf, &str)> = match manifest.build.language {
        Language::Rust => new::rust_sdk().collect(),
        Language::Ts | Language::Js => javascript::sdk().collect(),
        Language::Python => python::sdk().collect(),
        Language::C | Language::Zig => zig::sdk().collect(),
        Language::Go => go::sdk().collect(),
        Language::AssemblyScript => assemblyscript::sdk().collect(),
    };
    for (path, text) in &sdk {
        world::write_file(&folder.join(path), text)?;
    }
    let grants = &manifest.grants;
    let calls_out = !grants.http.is_empty() || !grants.upstreams.is_empty();
    let outgoing = calls_out.then(|| world::import("outgoing", "wasi:http/outgoing-handler@0.2.6"));
    let imports: Vec<_> = world::imports(grants).into_iter().chain(outgoing).collect();
    world::write(&folder.join(WORLD), &imports, &[world::HANDLER])?;
    let events = event_types::write(folder, manifest)?;
    Ok(sdk.into_iter().map(|(path, _)| path).chain(events).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_asks_for_what_the_manifest_asks_for() {
        let of = |grants: &str| {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("larder.toml");
            std::fs::write(&file, format!("[function]\nid = \"f\"\n\n[build]\nlanguage = \"c\"\n\n[grants]\n{grants}"))
                .unwrap();
            write(folder.path(), &Manifest::read(&file).unwrap()).unwrap();
            let mut resolve = wit_parser::Resolve::default();
            let (package, _) = resolve.push_dir(folder.path().join(WORLD)).unwrap();
            let world = &resolve.worlds[resolve.select_world(&[package], Some("app")).unwrap()];
            let names = world.imports.keys().map(|key| resolve.name_world_key(key));
            names.collect::<Vec<_>>().join(" ")
        };
        let little = of("state = true\n");
        assert!(little.contains("larder:function/state@0.1.0"), "{little}");
        assert!(!little.contains("savings") && !little.contains("outgoing-handler"), "{little}");
        let more =
            of("upstreams = [\"rates\"]\ntransactions.SEK = { max = \"10.00\", sum = \"50.00\", period = \"day\" }\n");
        assert!(more.contains("savings") && more.contains("signing") && more.contains("outgoing-handler"), "{more}");
        assert!(!more.contains("state@"), "{more}");
    }
}
