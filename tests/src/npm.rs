//! Packages from npm that tests run, as their lock files pin them.

use std::path::PathBuf;
use std::process::Command;

use crate::{guests, workspace};

/// The folder with the `node_modules` of a folder of `tests`. It is made once for a lock file.
pub fn installed(of: &str) -> PathBuf {
    let sources = workspace().join("tests").join(of);
    let lock = std::fs::read(sources.join("package-lock.json")).expect("a lock file");
    let digest = &larder_model::Digest::of(&lock).to_string()[..16];
    let folder = guests::target_folder().join("npm").join(format!("{}-{digest}", of.replace('/', "-")));
    if !folder.exists() {
        // Beside its place first: whoever comes in between must not find half of it.
        let parent = folder.parent().expect("a parent");
        std::fs::create_dir_all(parent).expect("a folder");
        let new = tempfile::tempdir_in(parent).expect("a folder");
        for file in ["package.json", "package-lock.json"] {
            std::fs::copy(sources.join(file), new.path().join(file)).expect("a copy");
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(new.path());
        let status = npm.status().expect("npm runs: these tests need node and npm (make setup-console)");
        assert!(status.success(), "npm ci failed ({status})");
        // Another process may have been faster.
        let _ = std::fs::rename(new.keep(), &folder);
    }
    folder
}
