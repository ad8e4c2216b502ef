//! Artifacts of the guests that most tests deploy, compiled once for all installations of the tests.
//!
//! Larder loads machine code only under the seal of the installation that made it, and the key of the seal comes from the
//! master key. So the installations of the tests share one master key, and each begins with links to the same artifacts;
//! everything else is its own. Larder checks each artifact as always, and compiles whatever is not among them. Modules that programs
//! share, such as the engines of JavaScript and Python, are added to these when a test has had them compiled. A test of
//! builds, artifacts or master keys starts with [`Options::fresh`], which has neither.

use std::fs::{DirBuilder, create_dir_all, read_dir};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use larder_secrets::write_private;
use serde_json::json;

use crate::{Larder, Options, guests, process};

const DAY: Duration = Duration::from_secs(24 * 3600);
const MASTER_KEY: &str = "5d0c1f7be2a94863b1d7e05f3c8a6294f07b9d2e4a68c3510fd4b7863e9a21c5";

/// The folder of the artifacts of one build of Larder and of the guests.
fn folder() -> PathBuf {
    let binary = std::fs::metadata(Larder::binary()).expect("the binary");
    let mut of = ring::digest::Context::new(&ring::digest::SHA256);
    of.update(format!("{} {} {}", binary.len(), binary.mtime(), binary.mtime_nsec()).as_bytes());
    for name in guests::all() {
        of.update(&guests::guest(name));
    }
    let name: String = of.finish().as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    process::profile().join("compiled-guests").join(name)
}

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// Gives the data folder of a new installation the master key and the artifacts.
pub(crate) fn give(data: &Path) {
    // In a runtime of its own: the test's may be ending before it is done.
    let compiling = || std::thread::spawn(compile).join().expect("the guests compile");
    let folder = FOLDER.get_or_init(compiling);
    write_private(&data.join("master.key"), MASTER_KEY).expect("a key");
    let artifacts = data.join("artifacts");
    DirBuilder::new().mode(0o700).create(&artifacts).expect("a folder");
    for artifact in read_dir(folder).expect("the artifacts").flatten() {
        let place = artifacts.join(artifact.file_name());
        if artifact.path().extension().is_none() {
            continue; // an unfinished copy of another test
        }
        // Larder replaces and removes artifacts and never changes one. A link is refused where the folders lie on different disks.
        if std::fs::hard_link(artifact.path(), &place).is_err() {
            std::fs::copy(artifact.path(), &place).expect("a copy");
        }
    }
}

/// Keeps the modules that an installation has made for the ones after it.
pub(crate) fn take(data: &Path) {
    let (Some(folder), Ok(artifacts)) = (FOLDER.get(), read_dir(data.join("artifacts"))) else { return };
    for artifact in artifacts.flatten() {
        if artifact.file_name().to_string_lossy().contains(".module.") {
            let place = folder.join(artifact.file_name());
            // Under another name first: whoever looks finds all of it.
            let copy =
                tempfile::Builder::new().prefix("unfinished-").tempfile_in(folder).map(|file| file.into_temp_path());
            if let Ok(copy) = copy
                && !place.exists()
                && std::fs::copy(artifact.path(), &copy).is_ok()
            {
                let _ = copy.persist(place);
            }
        }
    }
}

/// Has a Larder compile the guests, unless this build of it has done so before.
#[tokio::main]
async fn compile() -> PathBuf {
    let folder = folder();
    if folder.exists() {
        return folder;
    }
    let all = folder.parent().expect("a folder");
    create_dir_all(all).expect("a folder");
    remove_old(all);
    let data = tempfile::tempdir_in(all).expect("a folder");
    write_private(&data.path().join("master.key"), MASTER_KEY).expect("a key");
    let options = Options { data: Some(data.path().into()), ..Options::default() };
    let larder = Larder::start_with(options).await;
    let api = larder.api();
    let mut grants = crate::wide();
    grants["upstreams"] = json!(["any"]);
    for name in guests::all() {
        api.create_function(name, json!({})).await.is(201);
        api.grant(name, grants.clone()).await;
        assert_eq!(api.build(name, &guests::guest(name), false).await["status"], "ready", "{name}");
    }
    drop(larder);
    // Another run of the tests may have been a moment earlier.
    let _ = std::fs::rename(data.path().join("artifacts"), &folder);
    folder
}

/// Removes what earlier builds of Larder have compiled; a run of the tests that goes on beside this one may still use its.
fn remove_old(all: &Path) {
    for folder in read_dir(all).expect("a folder").flatten() {
        let age = folder.metadata().and_then(|data| data.modified()).ok().and_then(|made| made.elapsed().ok());
        if age.is_some_and(|age| age > DAY) {
            let _ = std::fs::remove_dir_all(folder.path());
        }
    }
}
