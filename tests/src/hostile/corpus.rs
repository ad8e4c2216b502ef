//! The corpus: a file of `tests/hostile` for each attack, and uploads that are too large to write down. Those of [`javascript`] are in
//! `tests/hostile/js`.
//!
//! A file says in its head what it tries and how that must end; the rest is the inside of a core module, around which
//! [`component`] puts what all need. `;; world:` is `typed` unless it says `http`; `cgi`: it stays a core module, a program for
//! WASI preview 1; or `upload`, `module`: the file is a whole core module that must not get in, beside a good component or by
//! itself.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{PackageId, Resolve};

use super::{bombs, javascript};
use crate::{guests, workspace};

#[derive(Clone)]
pub struct Entry {
    pub name: String,
    pub tries: String,
    pub ends: Ends,
    pub world: World,
    pub wasm: Vec<u8>,
}

/// How an attack must end, with words that the build's or the execution's errors, or the answer, must have.
#[derive(Clone, PartialEq)]
pub enum Ends {
    Refused(String),
    Failed(String),
    Answers(String),
}

#[derive(Clone, Copy, PartialEq)]
pub enum World {
    Typed,
    Http,
    Cgi,
    /// A program on QuickJS.
    Js,
    Upload,
}

impl Entry {
    /// The function that makes this attack.
    pub fn function(&self) -> &str {
        if self.world == World::Js { "js" } else { &self.name }
    }

    /// Where it is called. Those in JavaScript are told apart by their paths.
    pub fn route(&self) -> String {
        if self.world == World::Js { "/".into() } else { format!("/{}", self.name) }
    }
}

impl Ends {
    fn parse(text: &str) -> Option<Ends> {
        let (kind, words) = text.split_once(':')?;
        let words = words.trim().to_owned();
        match kind {
            "refused" => Some(Ends::Refused(words)),
            "failed" => Some(Ends::Failed(words)),
            "answers" => Some(Ends::Answers(words)),
            _ => None,
        }
    }
}

/// All of them, built.
pub fn all() -> Vec<Entry> {
    let good = guests::guest("hello-http");
    let files = files(&workspace().join("tests/hostile"), "wat").into_iter();
    let files = files.filter(|file| !PARTS.contains(&name(file).as_str()));
    let mut entries: Vec<Entry> = files.map(|file| entry(&file, &good)).collect();
    entries.extend(bombs::all(&good));
    entries.extend(javascript::all());
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

pub(super) fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).expect("the corpus").map(|file| file.expect("a file").path());
    files.filter(|file| file.extension().is_some_and(|it| it == extension)).collect()
}

/// One of the files, built.
pub fn one(name: &str) -> Entry {
    entry(&workspace().join("tests/hostile").join(format!("{name}.wat")), &[])
}

/// Files around the entries.
const PARTS: [&str; 5] = ["prelude", "typed", "http", "cgi", "canary"];

pub(super) fn name(file: &Path) -> String {
    file.file_stem().expect("a name").to_string_lossy().into_owned()
}

fn entry(file: &Path, good: &[u8]) -> Entry {
    let text = std::fs::read_to_string(file).expect("a file");
    let said = said(&text, ";; ", "world");
    let world = match said {
        None | Some("typed") => World::Typed,
        Some("http") => World::Http,
        Some("cgi") => World::Cgi,
        Some("upload" | "module") => World::Upload,
        Some(other) => panic!("{}: there is no world {other}", file.display()),
    };
    let wasm = match world {
        World::Typed | World::Http => component(&text, world),
        World::Cgi => module(&text, world),
        World::Upload if said == Some("module") => wat::parse_str(format!("(module {text})")).expect("a core module"),
        World::Upload => bombs::beside(good, &wat::parse_str(&text).expect("a core module")),
        World::Js => unreachable!("they are not in the text format"),
    };
    described(file, ";; ", world, wasm)
}

/// What the head of a file says of it.
pub(super) fn described(file: &Path, comment: &str, world: World, wasm: Vec<u8>) -> Entry {
    let text = std::fs::read_to_string(file).expect("a file");
    let head = |what: &str| match said(&text, comment, what) {
        Some(said) => said.to_owned(),
        None => panic!("{} does not say `{comment}{what}: `", file.display()),
    };
    let ends = Ends::parse(&head("ends")).unwrap_or_else(|| panic!("{}: how does it end?", file.display()));
    Entry { name: name(file), tries: head("tries"), ends, world, wasm }
}

fn said<'a>(text: &'a str, comment: &str, what: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(comment)?.strip_prefix(what)?.strip_prefix(": "))
}

/// The component around an entry's text.
pub fn component(text: &str, world: World) -> Vec<u8> {
    let name = if world == World::Http { "http" } else { "typed" };
    let mut module = module(text, world);
    let (resolve, package) = contract();
    let world = resolve.select_world(&[*package], Some(name)).expect("a world");
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8).expect("a module");
    let encoder = ComponentEncoder::default();
    let component = encoder.module(&module).and_then(|mut encoder| encoder.encode());
    component.unwrap_or_else(|err| panic!("{err:#}\n{text}"))
}

/// The core module around an entry's text.
pub fn module(text: &str, world: World) -> Vec<u8> {
    let frame = match world {
        World::Http => include_str!("../../hostile/http.wat"),
        World::Cgi => include_str!("../../hostile/cgi.wat"),
        World::Typed | World::Js | World::Upload => include_str!("../../hostile/typed.wat"),
    };
    // Imports come first in a module, then its own things, in any order.
    let parts = [frame, include_str!("../../hostile/prelude.wat"), text];
    let (imports, own): (Vec<&str>, Vec<&str>) =
        parts.iter().flat_map(|part| part.lines()).partition(|line| line.starts_with("(import"));
    let module = format!("(module\n{}\n{}\n)", imports.join("\n"), own.join("\n"));
    wat::parse_str(&module).unwrap_or_else(|err| panic!("{err}\n{module}"))
}

/// The interfaces that the corpus imports.
fn contract() -> &'static (Resolve, PackageId) {
    static CONTRACT: OnceLock<(Resolve, PackageId)> = OnceLock::new();
    CONTRACT.get_or_init(|| {
        let mut resolve = Resolve::default();
        resolve.push_str("larder.wit", include_str!("../../../sdk/wit/larder.wit")).expect("our interfaces");
        let package =
            resolve.push_str("world.wit", include_str!("../../hostile/world.wit")).expect("WASI's interfaces");
        (resolve, package)
    })
}
