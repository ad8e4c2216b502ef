//! Modules that several programs share: in memory once, as long as one of them is, and made by one build at a time.
//!
//! What makes it safe that a module made for one tenant's upload runs in another's: it is found by the digest of its bytes, which
//! both uploads contain, and the process that compiled it read nothing else ([`crate::build`]). So whatever it does, it does to
//! those who uploaded it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use larder_model::Digest;
use wasmtime::{Engine, Module};

use crate::seal::{Folder, Unusable};

#[derive(Default)]
pub struct Modules {
    loaded: Mutex<HashMap<Digest, Weak<Module>>>,
    builds: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
}

impl Modules {
    /// From memory, else from its sealed artifact.
    pub fn load(&self, folder: &Folder, engine: &Engine, digest: &Digest) -> Result<Arc<Module>, Unusable> {
        if let Some(module) = self.loaded(digest) {
            folder.module_is_used(digest);
            return Ok(module);
        }
        let module = folder.load_module(engine, digest).map_err(|err| match err {
            Unusable::Unfit(why) => Unusable::Unfit(format!("its module {digest}: {why}")),
            Unusable::Missing | Unusable::Foreign(_) => Unusable::Foreign(format!("its module {digest}: {err}")),
        })?;
        let mut loaded = lock(&self.loaded);
        // Another program may have loaded it meanwhile.
        if let Some(module) = loaded.get(digest).and_then(Weak::upgrade) {
            return Ok(module);
        }
        let module = Arc::new(module);
        loaded.retain(|_, module| module.strong_count() > 0);
        loaded.insert(*digest, Arc::downgrade(&module));
        Ok(module)
    }

    /// Only if it is in memory.
    pub fn loaded(&self, digest: &Digest) -> Option<Arc<Module>> {
        lock(&self.loaded).get(digest)?.upgrade()
    }

    /// Who builds a module holds the lock of its digest.
    pub fn build(&self, digest: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut builds = lock(&self.builds);
        if let Some(build) = builds.get(digest).and_then(Weak::upgrade) {
            return build;
        }
        let build = Arc::default();
        builds.retain(|_, build| build.strong_count() > 0);
        builds.insert(*digest, Arc::downgrade(&build));
        build
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
