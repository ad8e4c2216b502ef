//! ARCHITECTURE.md: each invariant names the tests that hold it, and the layers are those of the crates.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use larder_tests::workspace;

use super::markdown::pages;

fn text() -> String {
    std::fs::read_to_string(workspace().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md")
}

/// Files below a folder of the workspace that end like this.
pub fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    fn collect(folder: &Path, end: &str, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
                collect(&path, end, into);
            } else if path.to_string_lossy().ends_with(end) {
                into.push(path);
            }
        }
    }
    let mut found = vec![];
    collect(&workspace().join(folder), end, &mut found);
    found
}

pub fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|err| panic!("{}: {err}", file.display()))
}

/// `- **I7** text. Tests: `one`, `two`.` → (7, [one, two])
fn invariants(text: &str) -> Vec<(usize, Vec<String>)> {
    let section =
        text.split("\n## ").find(|section| section.starts_with("Invariants")).expect("the section Invariants");
    let items = section.split("\n- **I").skip(1);
    items
        .map(|item| {
            let (number, item) = item.split_once("**").expect("a number");
            // The last item ends with its paragraph, and so does the one before a heading.
            let item = item.split("\n\n").next().unwrap_or_default();
            let tests = item.split_once("Tests:").map_or("", |(_, tests)| tests);
            (number.parse().expect("a number"), tests.split('`').skip(1).step_by(2).map(str::to_owned).collect())
        })
        .collect()
}

/// The names of all tests in the workspace.
fn tests() -> BTreeSet<String> {
    let folders = ["tests", "host", "runtime", "sdk", "examples"];
    let mut found = BTreeSet::new();
    for file in folders.iter().flat_map(|folder| files(folder, ".rs")) {
        let mut is_test = false;
        for line in read(&file).lines().map(str::trim_start) {
            let name = |line: &str| {
                line.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default().to_owned()
            };
            if let Some(rest) = line.strip_prefix("both!(") {
                found.insert(name(rest));
            } else if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
                found.insert(name(rest));
                is_test = false;
            }
        }
    }
    found
}

/// What is wrong with the invariants, given the tests that exist.
fn wrong(text: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut wrong = vec![];
    for (at, (number, named)) in invariants(text).into_iter().enumerate() {
        if number != at + 1 {
            wrong.push(format!("I{number} stands where I{} should", at + 1));
        }
        if named.is_empty() {
            wrong.push(format!("I{number} names no test"));
        }
        wrong.extend(
            named.iter().filter(|name| !tests.contains(*name)).map(|name| format!("I{number}: no test {name}")),
        );
    }
    wrong
}

#[test]
fn every_invariant_names_tests_that_exist() {
    let (text, tests) = (text(), tests());
    assert!(invariants(&text).len() >= 20 && tests.len() > 300, "{} tests", tests.len());
    assert_eq!(wrong(&text, &tests), [] as [&str; 0]);
    // Damaged, it is found.
    let named = &invariants(&text)[0].1[0];
    assert_eq!(wrong(&text.replace(&format!("`{named}`"), "`no_such_test`"), &tests)[0], "I1: no test no_such_test");
    let bare = text.replacen("- **I2**", "- **I2** Nothing.\n\n- **I2**", 1);
    assert_eq!(wrong(&bare, &tests)[0], "I2 names no test");
}

/// Tests named in recipes and in the page on testing.
#[test]
fn every_test_within_the_text_exists() {
    let (tests, mut checked) = (tests(), 0);
    for page in pages() {
        if page.name.starts_with("docs/recipes/") || page.name == "docs/testing.md" {
            let is_name = |span: &String| span.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            for span in page.spans().into_iter().filter(|span| is_name(span) && span.matches('_').count() > 2) {
                assert!(tests.contains(&span), "{}: no test {span}", page.name);
                checked += 1;
            }
        }
    }
    assert!(checked > 10, "{checked}");
}

/// Files and folders named in ARCHITECTURE.md, in the recipes and in the page on testing.
#[test]
fn every_file_within_the_text_exists() {
    let (mut checked, mut wrong) = (0, vec![]);
    for page in pages() {
        if page.name != "ARCHITECTURE.md" && page.name != "docs/testing.md" && !page.name.starts_with("docs/recipes/") {
            continue;
        }
        for span in page.spans() {
            let named = ["host/", "runtime/", "sdk/", "tests/", "examples/"].iter().any(|top| span.starts_with(top));
            // Files that a recipe adds do not exist yet.
            if !named || ["*", "NNNN", "widgets"].iter().any(|part| span.contains(part)) {
                continue;
            }
            checked += 1;
            if !workspace().join(&span).exists() {
                wrong.push(format!("{}: {span}", page.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 40, "{checked}");
}

/// Crate → its floor, 0 at the top, by the picture of the layers.
fn floors(text: &str) -> BTreeMap<String, usize> {
    let line = text.lines().find(|line| line.starts_with("larder → ")).expect("the picture of the layers");
    let floors = line.split('→').enumerate();
    floors.flat_map(|(floor, crates)| crates.split('·').map(move |name| (name.trim().to_owned(), floor))).collect()
}

/// The Cargo.toml of each crate of the platform, by package.
fn crates() -> BTreeMap<String, toml::Table> {
    let manifests = files("host", "Cargo.toml").into_iter().chain(files("runtime", "Cargo.toml"));
    let manifests = manifests.map(|file| read(&file).parse::<toml::Table>().expect("a manifest"));
    manifests.map(|manifest| (manifest["package"]["name"].as_str().expect("a name").to_owned(), manifest)).collect()
}

/// Dependencies of one crate on another that does not stand below it.
fn upward(crates: &BTreeMap<String, toml::Table>, floors: &BTreeMap<String, usize>) -> Vec<String> {
    let floor = |package: &str| {
        let name = package.strip_prefix("larder-").unwrap_or(package);
        *floors.get(name).unwrap_or_else(|| panic!("{name} is not in the picture of the layers"))
    };
    let mut found = vec![];
    for (package, manifest) in crates {
        let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table).into_iter().flatten();
        for (other, _) in dependencies.filter(|(other, _)| crates.contains_key(*other)) {
            if floor(other) <= floor(package) {
                found.push(format!("{package} depends on {other}"));
            }
        }
    }
    found
}

#[test]
fn crates_use_only_what_stands_below_them() {
    let (crates, floors) = (crates(), floors(&text()));
    assert!(crates.len() > 1);
    assert_eq!(upward(&crates, &floors), [] as [&str; 0]);
    // The other way round, all of them are wrong.
    let turned = floors.iter().map(|(name, floor)| (name.clone(), 100 - floor)).collect();
    assert!(!upward(&crates, &turned).is_empty());
}

/// What only one crate may name, by the folder that it lies in.
const ALONE: [(&str, &[&str], &str); 5] = [
    ("SQL", &["SELECT ", "INSERT INTO ", "DELETE FROM "], "store"),
    ("SQLite", &["rusqlite::"], "store"),
    ("MariaDB", &["mysql_async::"], "store"),
    ("Redis", &["fred::"], "signals"),
    ("wasmtime", &["wasmtime::"], "runtime"),
];

#[test]
fn each_outside_service_is_spoken_to_by_one_crate() {
    let mut wrong = vec![];
    for file in files("host", ".rs").into_iter().chain(files("runtime", ".rs")) {
        let text = read(&file);
        for (what, words, place) in ALONE {
            let named = words.iter().any(|word| text.contains(word));
            if named && !file.components().any(|part| part.as_os_str() == place) {
                wrong.push(format!("{}: only {place} has {what}", file.display()));
            }
        }
    }
    assert_eq!(wrong, [] as [&str; 0]);
}

/// Verbs of the store's methods that change what callers have made.
const CHANGES: [&str; 12] = [
    "insert_",
    "update_",
    "delete_",
    "set_",
    "activate_",
    "approve_",
    "redrive",
    "discard_",
    "take_page",
    "pause_",
    "resume_",
    "cancel_",
];

#[test]
fn handlers_change_state_through_services() {
    let changes = |file: &PathBuf| {
        let text: String = read(file).split_whitespace().collect();
        CHANGES.iter().any(|verb| text.contains(&format!(".store.{verb}")))
    };
    let found = |folder: &str| files(folder, ".rs").into_iter().filter(changes).collect::<Vec<_>>();
    assert_eq!([found("host/server"), found("host/larder")], [vec![], vec![]] as [Vec<PathBuf>; 2]);
    assert!(!found("host/platform").is_empty(), "services do");
}

#[test]
fn the_linter_forbids_the_time_of_the_system_and_loose_tasks() {
    let forbidden = read(&workspace().join("clippy.toml"));
    for path in
        ["std::time::SystemTime::now", "chrono::Utc::now", "tokio::spawn", "tokio::task::spawn", "std::env::set_var"]
    {
        assert!(forbidden.contains(&format!("path = \"{path}\"")), "{path}");
    }
    for (package, manifest) in crates() {
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace")?.as_bool());
        assert_eq!(inherits, Some(true), "{package} has the lints of the workspace");
    }
    // Only the clock, the guest's clock and Lifecycle have an exception; tests may do as they like.
    let excepted = files("host", ".rs").into_iter().chain(files("runtime/src", ".rs"));
    let excepted =
        excepted.filter(|file| !file.ends_with("tests.rs") && read(file).contains("clippy::disallowed_methods"));
    let names: BTreeSet<String> =
        excepted.map(|file| file.file_name().expect("a name").to_string_lossy().into_owned()).collect();
    assert_eq!(names, ["lifecycle.rs", "system.rs", "time.rs"].map(str::to_owned).into());
}

#[test]
fn fuzz_targets_are_compiled_with_the_profile_of_the_workspace() {
    let profile = |file: &str| {
        let manifest: toml::Table = read(&workspace().join(file)).parse().expect("TOML");
        manifest["profile"]["dev"].clone()
    };
    assert_eq!(profile("Cargo.toml"), profile("fuzz/Cargo.toml"), "dependencies are compiled twice otherwise");
}
