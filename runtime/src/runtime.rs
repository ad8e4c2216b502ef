//! Contract to be filled.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::{Call, Outcome, Run};

pub struct Settings {
    /// Folder of the sealed artifacts; may be deleted at any time; only this user may write to it.
    pub cache_dir: PathBuf,
    /// The installation's key for seals.
    pub seal_key: [u8; 32],
    /// Command that calls [`compiler_main`], usually this very binary with a hidden argument.
    pub compiler: Vec<std::ffi::OsString>,
    pub compile_deadline: Duration,
    pub compile_memory_bytes: u64,
    /// Instances that may live at once; more calls wait for their turn.
    pub instances_max: u32,
}

/// SHA-256 of an uploaded component.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Digest(pub [u8; 32]);

/// What triggers a component can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Exports {
    pub http: bool,
    pub handler: bool,
}

/// What compiling found out.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Artifact {
    pub digest: String,
    pub exports: Exports,
    /// All imports, `wasi:io/streams@0.2.6` and so on.
    pub imports: Vec<String>,
    /// It imports a capability that can change something.
    pub may_have_effects: bool,
    pub wasm_bytes: u64,
    pub artifact_bytes: u64,
    pub compile_ms: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The upload is at fault; the text names what and, where it helps, what to change.
    #[error("{0}")]
    Rejected(String),
    #[error("the host failed to compile: {0}")]
    Host(String),
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the upload is missing: {0}")]
    Source(String),
    #[error(transparent)]
    Compile(#[from] CompileError),
}

/// Gives the uploaded bytes when there is no valid artifact.
#[async_trait::async_trait]
pub trait Source: Send + Sync {
    async fn upload(&self, digest: &Digest) -> Result<Bytes, String>;
}

pub struct Runtime {}
pub struct Program {}

impl Runtime {
    pub fn new(_settings: Settings) -> Result<Arc<Runtime>, String> {
        todo!()
    }
    pub async fn compile(&self, _wasm: Bytes) -> Result<Artifact, CompileError> {
        todo!()
    }
    pub async fn load(&self, _digest: &Digest, _source: &dyn Source) -> Result<Arc<Program>, LoadError> {
        todo!()
    }
    /// Only if it is in memory: the hot path.
    pub fn loaded(&self, _digest: &Digest) -> Option<Arc<Program>> {
        todo!()
    }
}

impl Program {
    pub fn artifact(&self) -> &Artifact {
        todo!()
    }
    pub async fn run(&self, _call: Call, _run: Run) -> Outcome {
        todo!()
    }
}

/// The child's side of [`Runtime::compile`]: call it in `main` for the hidden argument, and exit with what it gives.
pub fn compiler_main() -> std::process::ExitCode {
    todo!()
}
