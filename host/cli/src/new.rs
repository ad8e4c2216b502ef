//! `larder new`: a project that builds without a checkout of Larder. The templates, the SDK and the WIT travel in the
//! binary.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use serde_json::json;

use crate::failure::{Failure, Result};
use crate::manifest::Language;
use crate::{Session, assemblyscript, event_types, go, javascript, python, zig};

static SAVEHACK: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/savehack");
static HTTP: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/http");
static TS: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/ts");
static JS: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/js");
static C: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/c");
static ZIG: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/zig");
static GO: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/go");
static ASSEMBLYSCRIPT: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/assemblyscript");
/// What differs from those.
static TS_HTTP: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/ts-http");
static JS_HTTP: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/js-http");
static C_HTTP: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/c-http");
static ZIG_HTTP: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/zig-http");
static GO_HTTP: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/go-http");
static ASSEMBLYSCRIPT_HTTP: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/assemblyscript-http");
static PYTHON: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/python");
static PYTHON_HTTP: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/python-http");
/// What both templates of Python have.
static PYTHON_ALL: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/python-all");
static SDK: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../sdk/rust/src");
static SDK_MANIFEST: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/Cargo.toml"));
static WIT: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../sdk/wit");

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Templates:
  savehack  reacts to events for each enrolled saver and creates savings
  http      answers HTTP requests: through the standard wasi:http, in C, Zig, Go and AssemblyScript as a CGI program

The SDK of the language comes with the project.

Examples:
  larder new round-up
  larder new round-up --lang ts && cd round-up && larder test && larder build
  larder new hello --template http && cd hello && larder build && larder deploy")]
pub struct Args {
    /// The project's folder, and the function's id: a to z, 0 to 9 and -, beginning with a letter
    name: String,
    /// What it is written in
    #[arg(long, value_enum, default_value_t = Lang::Rust)]
    lang: Lang,
    #[arg(long, value_enum, default_value_t = Template::Savehack)]
    template: Template,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Lang {
    Rust,
    Ts,
    Js,
    Python,
    C,
    Zig,
    Go,
    #[value(name = "assemblyscript")]
    AssemblyScript,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Template {
    Savehack,
    Http,
}

pub fn run(args: &Args, session: &Session) -> Result<()> {
    let folder = PathBuf::from(&args.name);
    let files = create(&args.name, args.lang, args.template, &folder)?;
    let console = &session.console;
    if console.json {
        return console.value(&json!({ "folder": folder, "files": files }));
    }
    console.note("next:");
    console.note(&format!("  cd {} && larder build && larder deploy", args.name));
    console.line(&folder.display().to_string())
}

/// The paths that were written, from the project's folder.
fn create(name: &str, lang: Lang, template: Template, folder: &Path) -> Result<Vec<PathBuf>> {
    check_name(name)?;
    let failed = |path: &Path, err: std::io::Error| Failure::failed(format!("cannot write {}: {err}", path.display()));
    match std::fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => {}
        Ok(false) => return Err(Failure::usage(format!("{} is there and not empty", folder.display()))),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
        Err(err) => return Err(Failure::usage(format!("cannot use {}: {err}", folder.display()))),
    }
    let files = files(name, lang, template);
    for (path, content) in &files {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).map_err(|err| failed(parent, err))?;
        std::fs::write(&path, content).map_err(|err| failed(&path, err))?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

fn check_name(name: &str) -> Result<()> {
    let fits = (1..=36).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits {
        return Ok(());
    }
    let rule = "1 to 36 of a to z, 0 to 9 and `-`, beginning with a letter";
    Err(Failure::usage(format!("a function's name has {rule}; {name:?} does not fit")))
}

fn files(name: &str, lang: Lang, template: Template) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = match (lang, template) {
        (Lang::Rust, Template::Savehack) => &SAVEHACK,
        (Lang::Rust, Template::Http) => &HTTP,
        (Lang::Ts, _) => &TS,
        (Lang::Js, _) => &JS,
        (Lang::Python, Template::Savehack) => &PYTHON,
        (Lang::Python, Template::Http) => &PYTHON_HTTP,
        (Lang::C, _) => &C,
        (Lang::Zig, _) => &ZIG,
        (Lang::Go, _) => &GO,
        (Lang::AssemblyScript, _) => &ASSEMBLYSCRIPT,
    };
    let own = match (lang, template) {
        (Lang::Ts, Template::Http) => Some(&TS_HTTP),
        (Lang::Js, Template::Http) => Some(&JS_HTTP),
        (Lang::C, Template::Http) => Some(&C_HTTP),
        (Lang::Zig, Template::Http) => Some(&ZIG_HTTP),
        (Lang::Go, Template::Http) => Some(&GO_HTTP),
        (Lang::AssemblyScript, Template::Http) => Some(&ASSEMBLYSCRIPT_HTTP),
        (Lang::Python, _) => Some(&PYTHON_ALL),
        _ => None,
    };
    // The same file may be rendered in one template and not in the other.
    let overridden = |path: &Path| own.is_some_and(|own| all(own).any(|(it, _)| renamed(it) == renamed(path)));
    let common = all(dir).filter(|(path, _)| !overridden(path));
    let mut files: Vec<_> = common
        .chain(own.into_iter().flat_map(all))
        .map(|(path, content)| (renamed(path), render(content, name).into_bytes()))
        .collect();
    match lang {
        Lang::Rust => {
            files.extend(rust_sdk().map(|(path, content)| (path, content.as_bytes().to_vec())));
        }
        Lang::Ts | Lang::Js => {
            files.extend(javascript::sdk().map(|(path, content)| (path, content.as_bytes().to_vec())));
        }
        Lang::C | Lang::Zig => files.extend(zig::sdk().map(|(path, content)| (path, content.as_bytes().to_vec()))),
        Lang::Python => files.extend(python::sdk().map(|(path, content)| (path, content.as_bytes().to_vec()))),
        Lang::Go => files.extend(go::sdk().map(|(path, content)| (path, content.as_bytes().to_vec()))),
        Lang::AssemblyScript => {
            files.extend(assemblyscript::sdk().map(|(path, content)| (path, content.as_bytes().to_vec())));
        }
    }
    let language = match lang {
        Lang::Rust => Language::Rust,
        Lang::Ts => Language::Ts,
        Lang::Js => Language::Js,
        Lang::Python => Language::Python,
        Lang::C => Language::C,
        Lang::Zig => Language::Zig,
        Lang::Go => Language::Go,
        Lang::AssemblyScript => Language::AssemblyScript,
    };
    let events = event_types::files(language, &BTreeMap::new());
    files.extend(events.into_iter().map(|(path, text)| (path, text.into_bytes())));
    files
}

/// The files of the SDK for Rust, with their paths in a project.
pub fn rust_sdk() -> impl Iterator<Item = (PathBuf, &'static str)> {
    let sdk = Path::new(".larder/sdk");
    // The project's own.
    let is_sdk = |(path, _): &(&Path, &str)| *path != Path::new("events.rs");
    let own = all(&SDK).filter(is_sdk).map(|(path, text)| (sdk.join("rust/src").join(path), text));
    let wit = all(&WIT).map(|(path, text)| (sdk.join("wit").join(path), text));
    [(sdk.join("rust/Cargo.toml"), SDK_MANIFEST)].into_iter().chain(own).chain(wit)
}

/// Every file below the folder, with its path from there.
fn all(dir: &'static Dir<'static>) -> Box<dyn Iterator<Item = (&'static Path, &'static str)>> {
    let own = dir.files().map(|file| {
        let text = file.contents_utf8().expect("templates and the SDK are text, as a test checks");
        (file.path(), text)
    });
    Box::new(own.chain(dir.dirs().flat_map(all)))
}

/// Files that tools would take for the repository's own have other names in the template.
fn renamed(path: &Path) -> PathBuf {
    match path.extension() {
        Some(extension) if extension == "tmpl" => path.with_extension(""),
        _ if path.ends_with("gitignore") => path.with_file_name(".gitignore"),
        _ => path.to_owned(),
    }
}

fn render(text: &str, name: &str) -> String {
    text.replace("{{name}}", name).replace("{{crate_name}}", &name.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_become_whole_projects() {
        for (lang, template, code, sdk) in [
            (Lang::Rust, Template::Savehack, "src/lib.rs", ".larder/sdk/wit/larder.wit"),
            (Lang::Rust, Template::Http, "src/lib.rs", ".larder/sdk/rust/Cargo.toml"),
            (Lang::Ts, Template::Savehack, "src/index.ts", ".larder/sdk/js/src/index.d.ts"),
            (Lang::Js, Template::Savehack, "src/index.js", ".larder/sdk/js/package.json"),
            (Lang::C, Template::Savehack, "src/app.c", ".larder/sdk/c/larder.h"),
            (Lang::Zig, Template::Savehack, "src/app.zig", ".larder/sdk/c/guide.c"),
            (Lang::Ts, Template::Http, "src/index.ts", "package-lock.json"),
            (Lang::Js, Template::Http, "src/index.js", "package-lock.json"),
            (Lang::Python, Template::Savehack, "src/app.py", ".larder/sdk/python/src/larder_sdk/py.typed"),
            (Lang::Python, Template::Http, "src/app.py", ".larder/sdk/python/src/larder_sdk/__init__.py"),
            (Lang::Go, Template::Savehack, "main.go", ".larder/sdk/go/larder.go"),
            (Lang::AssemblyScript, Template::Savehack, "src/index.ts", ".larder/sdk/assemblyscript/index.ts"),
            (Lang::C, Template::Http, "src/app.c", ".larder/sdk/c/http.c"),
            (Lang::Zig, Template::Http, "src/app.zig", ".larder/sdk/c/http.h"),
            (Lang::Go, Template::Http, "main.go", ".larder/sdk/go/http.go"),
            (Lang::AssemblyScript, Template::Http, "src/index.ts", "package-lock.json"),
        ] {
            let parent = tempfile::tempdir().unwrap();
            let folder = parent.path().join("my-hack");
            create("my-hack", lang, template, &folder).unwrap();
            let read =
                |path: &str| std::fs::read_to_string(folder.join(path)).unwrap_or_else(|err| panic!("{path}: {err}"));
            assert!(!read(code).is_empty() && folder.join(sdk).is_file());
            assert!(read("README.md").starts_with("# my-hack\n") && !read(".gitignore").is_empty());
            let manifest = super::super::manifest::Manifest::read(&folder.join("larder.toml")).unwrap();
            assert_eq!(manifest.function.id, "my-hack");
            // The SDK is beside the project only if the project wants it.
            assert_eq!(folder.join(".larder/sdk/rust/src/lib.rs").is_file(), lang == Lang::Rust);
            match lang {
                Lang::Rust => assert!(read("Cargo.toml").contains("path = \".larder/sdk/rust\"")),
                Lang::Ts | Lang::Js => assert!(read("package.json").contains("\"file:.larder/sdk/js\"")),
                Lang::AssemblyScript => {
                    assert!(read("package.json").contains("\"file:.larder/sdk/assemblyscript\""));
                    assert!(
                        !read("package-lock.json").contains("://"),
                        "a registry is nobody's but the installation's"
                    );
                }
                Lang::Go => {
                    assert!(read("go.mod").contains("replace larder => ./.larder/sdk/go"));
                    assert!(read("requirements.txt").contains("--hash=sha256:"));
                }
                Lang::C | Lang::Zig => {
                    let pins = read("requirements.txt");
                    assert!(pins.starts_with("ziglang==") && pins.contains("--hash=sha256:"), "{pins}");
                }
                Lang::Python => {
                    let pins = read("requirements.txt") + &read("requirements-dev.txt");
                    assert!(pins.contains("componentize-py==") && pins.contains("--hash=sha256:"), "{pins}");
                    assert!(!pins.contains("://"), "a registry is nobody's but the installation's: {pins}");
                }
            }
            // What a checkout lacks, `larder types` brings back as it was.
            std::fs::remove_dir_all(folder.join(".larder")).unwrap();
            crate::types::write(&folder, &manifest).unwrap();
            let files = files("my-hack", lang, template);
            let paths: std::collections::HashSet<_> = files.iter().map(|(path, _)| path).collect();
            assert_eq!(paths.len(), files.len());
            for (path, content) in files.iter().filter(|(path, _)| path.starts_with(".larder")) {
                assert_eq!(&std::fs::read(folder.join(path)).unwrap(), content, "{}", path.display());
            }
            for (path, content) in &files {
                assert!(path.extension().is_none_or(|extension| extension != "tmpl"), "{}", path.display());
                assert!(path.starts_with(".larder") || !std::str::from_utf8(content).unwrap().contains("{{name"));
            }
        }
    }

    #[test]
    fn an_unfit_name_or_folder_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let longest = "a".repeat(36);
        for name in ["a", "round-up2", &longest] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "Round", "2up", "-a", "a_b", "a/b", "..", "å", &"a".repeat(37)] {
            let failure = create(name, Lang::Rust, Template::Http, &parent.path().join("x")).expect_err(name);
            assert_eq!(failure.exit_code(), 2);
        }
        assert!(!parent.path().join("x").exists());

        std::fs::write(parent.path().join("mine.txt"), "precious").unwrap();
        let failure = create("a", Lang::Rust, Template::Http, parent.path()).unwrap_err();
        assert!(failure.text().unwrap().ends_with("is there and not empty"));
        let file = parent.path().join("mine.txt");
        assert!(create("a", Lang::Rust, Template::Http, &file).unwrap_err().text().unwrap().contains("cannot use"));
    }

    #[test]
    fn placeholders_are_the_name_and_the_crates_name() {
        assert_eq!(render("{{name}} {{crate_name}} { { name } }", "my-hack"), "my-hack my_hack { { name } }");
    }
}
