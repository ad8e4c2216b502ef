//! Artifacts on disk: `DIGEST.cwasm`, machine code, and `DIGEST.json`, what is known of it and the seal over both. Those of
//! modules that programs share are `DIGEST.module.cwasm` and `DIGEST.module.json`.
//!
//! The rule: **machine code is run only under this installation's seal**. The seal is a keyed hash over what was compiled and
//! its digest, the engine that the code is for, the metadata and the code; it is checked when this process first opens a
//! file. Files are written under another name, synced and renamed: one that is mapped never changes.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, DirBuilder, File, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use larder_model::Digest;
use rustix::fs::{Timespec, Timestamps, UTIME_NOW};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use crate::compile::Artifact;

const TEMPORARY_PREFIX: &str = "unfinished-";
/// What a compile that takes the longest has left behind by then is nobody's.
const TEMPORARY_AGE_MAX: Duration = Duration::from_secs(3_600);
/// Files whose seal need not be checked again; beyond that, some are.
const CHECKED_MAX: usize = 10_000;

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };

/// The cache folder.
pub struct Folder {
    path: PathBuf,
    key: [u8; 32],
    engine_hash: u64,
    checked: Mutex<HashMap<Name, Identity>>,
    /// Held while an artifact and its sidecar are put in their places, so that they belong together.
    placing: Mutex<()>,
}

/// What an artifact was compiled from.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Name {
    /// An upload.
    Program(Digest),
    /// A core module that was cut out of uploads.
    Module(Digest),
}

#[derive(Serialize, Deserialize)]
struct Sidecar<T> {
    artifact: T,
    seal: String,
}

/// Tells a file from one that took its place.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    /// Of the whole sidecar that it was checked with.
    sidecar: blake3::Hash,
}

/// Why there is no artifact to load.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("there is none")]
    Missing,
    #[error("{0}")]
    Foreign(String),
    /// It is ours, and the engine does not take it.
    #[error("{0}")]
    Unfit(String),
}

impl Folder {
    pub fn open(path: &Path, key: [u8; 32], engine: &Engine) -> Result<Folder, String> {
        let say = |err: io::Error| format!("the cache folder {}: {err}", path.display());
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(say)?;
        check_owner(&fs::metadata(path).map_err(say)?).map_err(|why| {
            format!(
                "the cache folder {}: {why}: machine code is loaded from it, so only its owner may write to it",
                path.display()
            )
        })?;
        sweep(path);
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Folder {
            path: path.into(),
            key,
            engine_hash: hasher.finish(),
            checked: Mutex::default(),
            placing: Mutex::default(),
        })
    }

    /// Where the compiler may write; gone again unless it is given to [`Folder::keep`].
    pub fn temporary(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(&self.path)
    }

    /// Seals a finished artifact and puts it in its place.
    pub fn keep(&self, name: Name, code: NamedTempFile, artifact: &impl Serialize) -> io::Result<()> {
        let seal = self.seal(name, artifact, &mut File::open(code.path())?)?;
        code.as_file().sync_all()?;
        let sidecar = Sidecar { artifact, seal: seal.to_hex().to_string() };
        let mut file = self.temporary()?;
        serde_json::to_writer(&mut file, &sidecar)?;
        file.as_file().sync_all()?;
        let _placing = self.placing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // Between these two the seal does not match; whoever loads then compiles again.
        code.persist(self.code(name))?;
        file.persist(self.sidecar(name))?;
        File::open(&self.path)?.sync_all()
    }

    /// The size of an artifact's machine code, 0 if there is none.
    pub fn code_bytes(&self, name: Name) -> u64 {
        fs::metadata(self.code(name)).map_or(0, |file| file.len())
    }

    /// What is known of a sealed artifact, if this installation made it for this engine, and its sidecar.
    fn find<T: Serialize + DeserializeOwned>(&self, name: Name) -> Result<(T, File), Unusable> {
        let mut file = File::open(self.sidecar(name)).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(unreadable)?;
        let sidecar: Sidecar<T> =
            serde_json::from_slice(&bytes).map_err(|err| Unusable::Foreign(format!("its sidecar: {err}")))?;
        let seal = blake3::Hash::from_hex(&sidecar.seal)
            .map_err(|err| Unusable::Foreign(format!("its sidecar's seal: {err}")))?;
        let mut code = File::open(self.code(name)).map_err(unreadable)?;
        let metadata = code.metadata().map_err(unreadable)?;
        check_owner(&metadata).map_err(Unusable::Foreign)?;
        let identity = Identity::of(&metadata, blake3::hash(&bytes));
        if self.checked().get(&name) == Some(&identity) {
            return Ok((sidecar.artifact, file));
        }
        // `Hash` compares in constant time.
        if self.seal(name, &sidecar.artifact, &mut code).map_err(unreadable)? != seal {
            return Err(Unusable::Foreign("its seal does not match".into()));
        }
        let mut checked = self.checked();
        if checked.len() >= CHECKED_MAX {
            checked.clear();
        }
        checked.insert(name, identity);
        Ok((sidecar.artifact, file))
    }

    /// Maps the machine code of an upload's sealed artifact.
    pub fn load(&self, engine: &Engine, digest: &Digest) -> Result<(Component, Artifact), Unusable> {
        let name = Name::Program(*digest);
        let (artifact, sidecar) = self.find(name)?;
        #[expect(
            unsafe_code,
            reason = "the file is machine code of our own compiler for this engine: its seal was \
                                        checked by `find`, and files in this folder are replaced, never changed"
        )]
        let component = unsafe { Component::deserialize_file(engine, self.code(name)) };
        used_now(&sidecar);
        Ok((component.map_err(|err| Unusable::Unfit(format!("{err:#}")))?, artifact))
    }

    /// The same of a module.
    pub fn load_module(&self, engine: &Engine, digest: &Digest) -> Result<Module, Unusable> {
        let name = Name::Module(*digest);
        let ((), sidecar) = self.find(name)?;
        #[expect(unsafe_code, reason = "as in `load`")]
        let module = unsafe { Module::deserialize_file(engine, self.code(name)) };
        used_now(&sidecar);
        module.map_err(|err| Unusable::Unfit(format!("{err:#}")))
    }

    /// Notes that a module is used once more that is in memory. Its artifact may be gone.
    pub fn module_is_used(&self, digest: &Digest) {
        if let Ok(sidecar) = File::open(self.sidecar(Name::Module(*digest))) {
            used_now(&sidecar);
        }
    }

    /// Removes the artifacts that were not loaded for longest, until the others have no more than `bytes_max`; gives how
    /// many. A program that is in memory keeps what it has mapped. A module is used when one of its programs is: it goes after
    /// them.
    pub fn evict(&self, bytes_max: u64) -> io::Result<u64> {
        let _placing = self.placing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut artifacts = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let code = entry?.path();
            if code.extension().is_some_and(|extension| extension == "cwasm") {
                let sidecar = code.with_extension("json");
                let used = fs::metadata(&sidecar).map_or((0, 0), |file| (file.mtime(), file.mtime_nsec()));
                artifacts.push((used, fs::metadata(&code)?.len(), code, sidecar));
            }
        }
        artifacts.sort();
        let mut bytes: u64 = artifacts.iter().map(|(_, bytes, ..)| bytes).sum();
        let mut evicted = 0;
        for (_, size, code, sidecar) in artifacts {
            if bytes <= bytes_max {
                break;
            }
            let _ = fs::remove_file(sidecar);
            fs::remove_file(code)?;
            bytes -= size;
            evicted += 1;
        }
        Ok(evicted)
    }

    fn seal(&self, name: Name, artifact: &impl Serialize, code: &mut File) -> io::Result<blake3::Hash> {
        let metadata = serde_json::to_vec(artifact)?;
        // By itself: behind the other parts its blocks would lie across the hash's own, which takes twice as long.
        let code = blake3::Hasher::new().update_reader(code)?.finalize();
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        let (kind, digest) = match &name {
            Name::Program(digest) => (None, digest),
            Name::Module(digest) => (Some(&b"module"[..]), digest),
        };
        let parts = [&digest.0[..], &self.engine_hash.to_le_bytes(), &metadata, code.as_bytes()];
        for part in kind.into_iter().chain(parts) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Ok(hasher.finalize())
    }

    fn checked(&self) -> std::sync::MutexGuard<'_, HashMap<Name, Identity>> {
        self.checked.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn code(&self, name: Name) -> PathBuf {
        self.path.join(format!("{name}.cwasm"))
    }

    fn sidecar(&self, name: Name) -> PathBuf {
        self.path.join(format!("{name}.json"))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Program(digest) => write!(f, "{digest}"),
            Name::Module(digest) => write!(f, "{digest}.module"),
        }
    }
}

impl Identity {
    fn of(file: &Metadata, sidecar: blake3::Hash) -> Identity {
        Identity {
            device: file.dev(),
            inode: file.ino(),
            bytes: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            sidecar,
        }
    }
}

/// A sidecar's time tells when its artifact was last used; the code's own is part of how a checked file is known again.
fn used_now(sidecar: &File) {
    let _ = rustix::fs::futimens(sidecar, &Timestamps { last_access: NOW, last_modification: NOW });
}

/// Nobody but this user can change it, neither now nor while it is mapped.
fn check_owner(file: &Metadata) -> Result<(), String> {
    let (mode, owner, own) = (file.mode() & 0o7777, file.uid(), rustix::process::geteuid().as_raw());
    if owner != own {
        return Err(format!("it belongs to user {owner}, and this is user {own}"));
    }
    if mode & 0o022 != 0 {
        return Err(format!("others may write to it (mode {mode:03o})"));
    }
    Ok(())
}

fn unreadable(err: io::Error) -> Unusable {
    match err.kind() {
        io::ErrorKind::NotFound => Unusable::Missing,
        _ => Unusable::Foreign(err.to_string()),
    }
}

/// Removes what compiles of a process that died have left.
fn sweep(path: &Path) {
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX);
        let age = entry.metadata().and_then(|file| file.modified()).ok().and_then(|time| time.elapsed().ok());
        if ours && age.is_some_and(|age| age > TEMPORARY_AGE_MAX) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
