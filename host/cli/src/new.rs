//! `larder new`: a project that builds without a checkout of Larder. The templates, the SDK and the WIT travel in the
//! binary.

use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use serde_json::json;

use crate::Session;
use crate::failure::{Failure, Result};

static SAVEHACK: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/savehack");
static HTTP: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/http");
static JAVASCRIPT: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/javascript");
static PYTHON: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/python");
static SDK: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../sdk/rust/src");
static SDK_MANIFEST: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/Cargo.toml"));
static WIT: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../sdk/wit");

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Templates:
  savehack  reacts to events for each enrolled saver and creates savings; uses the SDK, which comes with it
  http      answers HTTP requests through the standard wasi:http; uses the SDK, which comes with it
  javascript, python
            a savehack in that language, with a world that imports only what it is granted

Examples:
  larder new round-up
  larder new hello --template http && cd hello && larder build && larder deploy")]
pub struct Args {
    /// The project's folder, and the function's id: a to z, 0 to 9 and -, beginning with a letter
    name: String,
    #[arg(long, value_enum, default_value_t = Template::Savehack)]
    template: Template,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Template {
    Savehack,
    Http,
    Javascript,
    Python,
}

pub fn run(args: &Args, session: &Session) -> Result<()> {
    let folder = PathBuf::from(&args.name);
    let files = create(&args.name, args.template, &folder)?;
    let console = &session.console;
    if console.json {
        return console.value(&json!({ "folder": folder, "files": files }));
    }
    console.note("next:");
    console.note(&format!("  cd {} && larder build && larder deploy", args.name));
    console.line(&folder.display().to_string())
}

/// The paths that were written, from the project's folder.
fn create(name: &str, template: Template, folder: &Path) -> Result<Vec<PathBuf>> {
    check_name(name)?;
    let failed = |path: &Path, err: std::io::Error| Failure::failed(format!("cannot write {}: {err}", path.display()));
    match std::fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => {}
        Ok(false) => return Err(Failure::usage(format!("{} is there and not empty", folder.display()))),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
        Err(err) => return Err(Failure::usage(format!("cannot use {}: {err}", folder.display()))),
    }
    let files = files(name, template);
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

fn files(name: &str, template: Template) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = match template {
        Template::Savehack => &SAVEHACK,
        Template::Http => &HTTP,
        Template::Javascript => &JAVASCRIPT,
        Template::Python => &PYTHON,
    };
    let mut files: Vec<_> =
        all(dir).map(|(path, content)| (renamed(path), render(content, name).into_bytes())).collect();
    let wit =
        |folder: &Path| all(&WIT).map(|(path, text)| (folder.join(path), text.as_bytes().to_vec())).collect::<Vec<_>>();
    if matches!(template, Template::Javascript | Template::Python) {
        files.extend(wit(Path::new("wit/deps/larder")));
    }
    if matches!(template, Template::Savehack | Template::Http) {
        let sdk = Path::new(".larder/sdk");
        files.push((sdk.join("rust/Cargo.toml"), SDK_MANIFEST.as_bytes().to_vec()));
        files.extend(all(&SDK).map(|(path, content)| (sdk.join("rust/src").join(path), content.as_bytes().to_vec())));
        files.extend(wit(&sdk.join("wit")));
    }
    files
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
        for template in [Template::Savehack, Template::Http, Template::Javascript, Template::Python] {
            let parent = tempfile::tempdir().unwrap();
            let folder = parent.path().join("my-hack");
            create("my-hack", template, &folder).unwrap();
            let read =
                |path: &str| std::fs::read_to_string(folder.join(path)).unwrap_or_else(|err| panic!("{path}: {err}"));
            let (code, wit) = match template {
                Template::Savehack => ("src/lib.rs", ".larder/sdk/wit/larder.wit"),
                Template::Http => ("src/lib.rs", ".larder/sdk/rust/Cargo.toml"),
                Template::Javascript => ("app.js", "wit/deps/larder/larder.wit"),
                Template::Python => ("app.py", "wit/deps/larder/larder.wit"),
            };
            assert!(!read(code).is_empty() && !read(wit).is_empty());
            assert!(read("README.md").starts_with("# my-hack\n") && !read(".gitignore").is_empty());
            let manifest = super::super::manifest::Manifest::read(&folder.join("larder.toml")).unwrap();
            assert_eq!(manifest.function.id, "my-hack");
            // The SDK is beside the project only if the project wants it.
            let of_sdk = folder.join(".larder/sdk");
            let is_rust = matches!(template, Template::Savehack | Template::Http);
            assert_eq!(of_sdk.join("rust/src/lib.rs").is_file(), is_rust);
            if is_rust {
                assert!(read("Cargo.toml").contains("name = \"my-hack\""));
                assert_eq!(read("Cargo.toml").contains(".larder/sdk/rust"), of_sdk.exists());
            } else {
                // Its world imports nothing that it does not ask for.
                let world = read("wit/world.wit");
                let imports: Vec<&str> = world.lines().filter(|line| line.trim().starts_with("import ")).collect();
                assert_eq!(imports, ["    import larder:function/savings@0.1.0;"]);
                assert!(manifest.build.command.is_some() && manifest.build.component.is_some());
            }
            for (path, content) in files("my-hack", template) {
                assert!(path.extension().is_none_or(|extension| extension != "tmpl"), "{}", path.display());
                assert!(path.starts_with(".larder") || !String::from_utf8(content).unwrap().contains("{{name"));
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
            let failure = create(name, Template::Http, &parent.path().join("x")).expect_err(name);
            assert_eq!(failure.exit_code(), 2);
        }
        assert!(!parent.path().join("x").exists());

        std::fs::write(parent.path().join("mine.txt"), "precious").unwrap();
        let failure = create("a", Template::Http, parent.path()).unwrap_err();
        assert!(failure.text().unwrap().ends_with("is there and not empty"));
        let file = parent.path().join("mine.txt");
        assert!(create("a", Template::Http, &file).unwrap_err().text().unwrap().contains("cannot use"));
    }

    #[test]
    fn placeholders_are_the_name_and_the_crates_name() {
        assert_eq!(render("{{name}} {{crate_name}} { { name } }", "my-hack"), "my-hack my_hack { { name } }");
    }
}
