//! [`Runtime`], the crate's entry point: it ties engine, compiler, cache folder and programs together.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use larder_model::Digest;
use larder_model::limits::Limits;
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::batch::Batch;
use crate::cache::Cache;
use crate::compile::{Artifact, CompileError};
use crate::engine;
use crate::imports::{self, State};
use crate::inspect::{Found, inspect};
use crate::instances::{Capacity, Instances};
use crate::seal::{Folder, Name, Unusable};
use crate::settings::Settings;
use crate::shared::Modules;
use crate::source::{LoadError, Source};
use crate::world::Program;

/// Artifacts of up to this size are loaded on the caller's thread: handing one over to another thread and back takes longer
/// than checking and mapping it.
const LOADED_HERE_BYTES_MAX: u64 = 1 << 20;

pub struct Runtime {
    pub(crate) settings: Settings,
    pub(crate) engine: Engine,
    linker: Arc<Linker<State>>,
    pub(crate) folder: Arc<Folder>,
    pub(crate) modules: Arc<Modules>,
    cache: Cache,
    pub(crate) compiles: Semaphore,
    instances: Arc<Instances>,
    batch: Batch,
}

impl Runtime {
    pub fn new(settings: Settings) -> Result<Arc<Runtime>, String> {
        if settings.instances_max == 0 {
            return Err("instances_max is 0: nothing could run".into());
        }
        if settings.memory_bytes_max.min(settings.memory_bytes_per_tenant) < Limits::CEILING.memory_bytes {
            return Err(format!("less memory than one function may have ({} bytes)", Limits::CEILING.memory_bytes));
        }
        let engine = engine::for_running(settings.instances_max)
            .map_err(|err| format!("cannot set up {} instances: {err:#}", settings.instances_max))?;
        let mut linker = Linker::new(&engine);
        imports::link(&mut linker).map_err(|err| format!("cannot link the imports: {err:#}"))?;
        let folder = Folder::open(&settings.cache_dir, settings.seal_key, &engine)?;
        let compiles = settings.builds_max + 1;
        Ok(Arc::new(Runtime {
            instances: Instances::new(Capacity {
                instances: settings.instances_max.into(),
                memory_bytes: settings.memory_bytes_max,
                tenant_memory_bytes: settings.memory_bytes_per_tenant,
            }),
            settings,
            engine,
            linker: Arc::new(linker),
            folder: Arc::new(folder),
            modules: Arc::default(),
            cache: Cache::new(),
            compiles: Semaphore::new(compiles),
            batch: Batch::new(),
        }))
    }

    /// What an upload is, before anything of it is compiled.
    pub async fn inspect(&self, wasm: Bytes) -> Result<Found, CompileError> {
        blocking(move || inspect(&wasm)).await?.map_err(CompileError::Rejected)
    }

    /// Compiles an upload and keeps its sealed artifact. One that is here already is not compiled again.
    pub async fn compile(&self, wasm: Bytes) -> Result<Artifact, CompileError> {
        let hashed = wasm.clone();
        let digest = blocking(move || Digest::of(&hashed)).await?;
        if let Ok(program) = self.load_sealed(&digest).await? {
            return Ok(program.artifact().clone());
        }
        self.compile_uncached(&digest, &wasm).await
    }

    /// From memory, else from the sealed artifact, else compiled again from its source.
    pub async fn load(&self, digest: &Digest, source: &dyn Source) -> Result<Arc<Program>, LoadError> {
        self.cache.get_or_load(digest, self.load_uncached(digest, source)).await
    }

    /// Only if it is in memory: the hot path.
    pub fn loaded(&self, digest: &Digest) -> Option<Arc<Program>> {
        self.cache.get(digest)
    }

    /// The threads for work that nobody waits for.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Slots of the pool that are in use: instances, and the memories, tables and stacks that go with them.
    pub fn slots_used(&self) -> u64 {
        let Some(pool) = self.engine.pooling_allocator_metrics() else { return 0 };
        pool.component_instances() + pool.core_instances() + (pool.memories() + pool.tables() + pool.stacks()) as u64
    }

    /// Gives back the memory of programs that were not called for so long, and returns how many. They are loaded again when they
    /// are called again.
    pub fn forget_programs(&self, idle: Duration) -> u64 {
        self.cache.forget(idle)
    }

    /// Removes the least recently loaded artifacts until the others have no more than `bytes_max` in the cache folder, and
    /// returns how many. They are compiled again when they are needed again.
    pub async fn evict_artifacts(&self, bytes_max: u64) -> Result<u64, CompileError> {
        let folder = self.folder.clone();
        blocking(move || folder.evict(bytes_max)).await?.map_err(cache_folder)
    }

    async fn load_uncached(&self, digest: &Digest, source: &dyn Source) -> Result<Arc<Program>, LoadError> {
        match self.load_sealed(digest).await? {
            Ok(program) => return Ok(program),
            Err(Unusable::Missing) => tracing::info!(digest = %digest, "no artifact of {digest}, compiling it"),
            Err(Unusable::Foreign(why) | Unusable::Unfit(why)) => {
                tracing::warn!(digest = %digest, why, "the artifact of {digest} is not used but compiled again: {why}");
            }
        }
        let wasm = source.upload(digest).await.map_err(LoadError::Source)?;
        let hashed = wasm.clone();
        if blocking(move || Digest::of(&hashed)).await? != *digest {
            return Err(LoadError::Source(format!("the bytes that were found are not those of {digest}")));
        }
        self.compile_uncached(digest, &wasm).await?;
        let program = self.load_sealed(digest).await?;
        Ok(program.map_err(|err| CompileError::Host(format!("the artifact just made cannot be loaded: {err}")))?)
    }

    pub(crate) async fn load_sealed(&self, digest: &Digest) -> Result<Result<Arc<Program>, Unusable>, CompileError> {
        let (folder, engine, digest) = (self.folder.clone(), self.engine.clone(), *digest);
        let (linker, instances, modules) = (self.linker.clone(), self.instances.clone(), self.modules.clone());
        let is_small = folder.code_bytes(Name::Program(digest)) <= LOADED_HERE_BYTES_MAX;
        let (from, with) = (folder.clone(), engine.clone());
        let load = move || from.load(&with, &digest);
        let (component, artifact) = match if is_small { load() } else { blocking(load).await? } {
            Ok(loaded) => loaded,
            Err(unusable) => return Ok(Err(unusable)),
        };
        // What it shares is large, and there already but for the first time.
        let is_there = artifact.shares.iter().all(|shared| modules.loaded(&shared.digest).is_some());
        let link = move || {
            let shares = artifact.shares.iter().map(|shared| modules.load(&folder, &engine, &shared.digest));
            let shares = shares.collect::<Result<Vec<_>, _>>()?;
            Program::link(&linker, &component, artifact, shares, instances)
                .map(Arc::new)
                .map_err(|err| Unusable::Unfit(format!("{err:#}")))
        };
        if is_small && is_there { Ok(link()) } else { blocking(link).await }
    }
}

/// File work and hashing, off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, CompileError> {
    tokio::task::spawn_blocking(work).await.map_err(|err| CompileError::Host(err.to_string()))
}

pub(crate) fn cache_folder(err: std::io::Error) -> CompileError {
    CompileError::Host(format!("the cache folder: {err}"))
}
