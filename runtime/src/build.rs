//! An upload → its sealed artifact, and those of the modules that it shares with others.
//!
//! What [`split`] cuts out of an upload is compiled by itself, in a process that reads nothing but the module, and kept under the
//! digest of its bytes; the rest imports it. If a part is refused, or the parts do not fit, the upload is compiled whole: so it is
//! refused in the same words as if nothing were shared. All processes together have the CPU time of one.

use std::time::{Duration, Instant};

use bytes::Bytes;
use larder_model::Digest;

use crate::compile::{self, Artifact, CompileError, Facts, Shared, What};
use crate::inspect::inspect;
use crate::runtime::{Runtime, blocking, cache_folder};
use crate::seal::{Name, Unusable};
use crate::split::{self, Split};

impl Runtime {
    pub(crate) async fn compile_uncached(&self, digest: &Digest, wasm: &Bytes) -> Result<Artifact, CompileError> {
        let _permit = self.compiles.acquire().await.map_err(|err| CompileError::Host(err.to_string()))?;
        let (started, mut cpu) = (Instant::now(), self.settings.compile_deadline);
        match self.compile_in_parts(digest, wasm, started, &mut cpu).await {
            Ok(Some(artifact)) => return Ok(artifact),
            Err(CompileError::Rejected(why)) if !cpu.is_zero() => {
                tracing::debug!(digest = %digest, why, "{digest} is compiled whole: {why}");
            }
            Ok(None) => {}
            Err(err) => return Err(err),
        }
        let code = self.folder.temporary().map_err(cache_folder)?;
        let facts = compile::compile(&self.settings, What::Upload, wasm, code.path(), &mut cpu).await?;
        self.keep(digest, wasm, facts, Vec::new(), code, started).await
    }

    /// `None` if it shares nothing.
    async fn compile_in_parts(
        &self,
        digest: &Digest,
        wasm: &Bytes,
        started: Instant,
        cpu: &mut Duration,
    ) -> Result<Option<Artifact>, CompileError> {
        let whole = wasm.clone();
        let pieces = blocking(move || {
            let split = split::split(&whole)?;
            Some((inspect(&whole).ok()?, split))
        });
        let Some((found, Split { rest, modules })) = pieces.await? else { return Ok(None) };
        let mut shares = Vec::new();
        for module in modules {
            self.compile_module(&module, cpu).await?;
            shares.push(Shared { digest: module.digest, wasm_bytes: module.bytes.len() as u64 });
        }
        let code = self.folder.temporary().map_err(cache_folder)?;
        compile::compile(&self.settings, What::Rest, &rest, code.path(), cpu).await?;
        self.keep(digest, wasm, found.into(), shares, code, started).await.map(Some)
    }

    /// Unless another program has it already. Its tenants are not told which of the two: what others have is not their business.
    async fn compile_module(&self, module: &split::Module, cpu: &mut Duration) -> Result<(), CompileError> {
        let build = self.modules.build(&module.digest);
        let _turn = build.lock().await;
        let (folder, engine, digest) = (self.folder.clone(), self.engine.clone(), module.digest);
        match blocking(move || folder.load_module(&engine, &digest).map(drop)).await? {
            Ok(()) => return Ok(()),
            Err(Unusable::Missing) => {
                tracing::info!(digest = %digest, "module {digest} is compiled for all programs that have it")
            }
            Err(Unusable::Foreign(why) | Unusable::Unfit(why)) => {
                tracing::warn!(digest = %digest, why, "the artifact of module {digest} is compiled again: {why}");
            }
        }
        let code = self.folder.temporary().map_err(cache_folder)?;
        compile::compile(&self.settings, What::Module, &module.bytes, code.path(), cpu).await?;
        let folder = self.folder.clone();
        blocking(move || folder.keep(Name::Module(digest), code, &())).await?.map_err(cache_folder)
    }

    async fn keep(
        &self,
        digest: &Digest,
        wasm: &Bytes,
        facts: Facts,
        shares: Vec<Shared>,
        code: tempfile::NamedTempFile,
        started: Instant,
    ) -> Result<Artifact, CompileError> {
        let artifact = Artifact {
            digest: digest.to_string(),
            exports: facts.exports,
            imports: facts.imports,
            may_have_effects: facts.may_have_effects,
            wasm_bytes: wasm.len() as u64,
            artifact_bytes: code.as_file().metadata().map_err(cache_folder)?.len(),
            compile_ms: started.elapsed().as_millis() as u64,
            shares,
        };
        let (folder, name, kept) = (self.folder.clone(), Name::Program(*digest), artifact.clone());
        blocking(move || folder.keep(name, code, &kept)).await?.map_err(cache_folder)?;
        // Only this engine knows the pool's bounds: a component beyond them is refused now, not at its first call.
        match self.load_sealed(digest).await? {
            Ok(_) => Ok(artifact),
            Err(Unusable::Unfit(why)) => Err(CompileError::Rejected(format!("it cannot be run: {why}"))),
            Err(err) => Err(CompileError::Host(format!("the artifact just made is gone: {err}"))),
        }
    }
}
