//! Programs in memory: digest → ready [`Program`], a bounded number of them.
//!
//! Looking one up is what every call does, so it takes no lock: the whole map is replaced when it changes, which is
//! rare. Concurrent loads of one digest are coalesced: the first one loads, the others wait for its result. What nobody has asked for
//! for a while is given back ([`Cache::forget`]).

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use larder_model::Digest;

use crate::source::LoadError;
use crate::world::Program;

/// Each loaded program costs a descriptor and three mappings besides its memory.
const PROGRAMS_MAX: usize = 1_000;

type Loaded = Result<Arc<Program>, LoadError>;
/// One load, shared by all that wait for it.
type Load = Arc<tokio::sync::Mutex<Option<Loaded>>>;

pub struct Cache {
    programs: ArcSwap<HashMap<Digest, Arc<Program>>>,
    /// Writers take turns; it is not held across a load.
    loads: Mutex<HashMap<Digest, Load>>,
    started: Instant,
}

impl Cache {
    pub fn new() -> Cache {
        Cache { programs: ArcSwap::default(), loads: Mutex::default(), started: Instant::now() }
    }

    pub fn get(&self, digest: &Digest) -> Option<Arc<Program>> {
        let program = self.programs.load().get(digest).cloned()?;
        let now = self.started.elapsed().as_secs();
        // Written once a second at most, so that the cores do not fight over it.
        if program.last_used.load(Relaxed) != now {
            program.last_used.store(now, Relaxed);
        }
        Some(program)
    }

    /// The program from memory, else the result of `load`, which runs once for all concurrent callers.
    pub async fn get_or_load(&self, digest: &Digest, load: impl Future<Output = Loaded>) -> Loaded {
        if let Some(program) = self.get(digest) {
            return Ok(program);
        }
        let shared = self.loads().entry(*digest).or_default().clone();
        let mut result = shared.lock().await;
        if let Some(loaded) = &*result {
            return loaded.clone();
        }
        // Another load may have ended between the look-up and joining.
        let loaded = match self.get(digest) {
            Some(program) => Ok(program),
            None => load.await,
        };
        let mut loads = self.loads();
        if let Ok(program) = &loaded {
            self.insert(digest, program.clone());
        }
        loads.remove(digest);
        *result = Some(loaded.clone());
        loaded
    }

    /// Gives back the programs that nobody has asked for since then; gives how many. Those that run go on.
    pub fn forget(&self, idle: Duration) -> u64 {
        let _one_writer = self.loads();
        let now = self.started.elapsed().as_secs();
        let is_used = |program: &Program| now.saturating_sub(program.last_used.load(Relaxed)) < idle.as_secs();
        let programs = self.programs.load();
        let used: HashMap<Digest, Arc<Program>> =
            programs.iter().filter(|(_, program)| is_used(program)).map(|(digest, it)| (*digest, it.clone())).collect();
        let gone = (programs.len() - used.len()) as u64;
        if gone > 0 {
            self.programs.store(Arc::new(used));
        }
        gone
    }

    /// Called with `loads` locked: one writer at a time.
    fn insert(&self, digest: &Digest, program: Arc<Program>) {
        let mut programs = HashMap::clone(&self.programs.load());
        program.last_used.store(self.started.elapsed().as_secs(), Relaxed);
        programs.insert(*digest, program);
        while programs.len() > PROGRAMS_MAX {
            let Some(oldest) =
                programs.iter().filter(|(key, _)| *key != digest).min_by_key(|(_, it)| it.last_used.load(Relaxed))
            else {
                break;
            };
            let oldest = *oldest.0;
            programs.remove(&oldest);
        }
        self.programs.store(Arc::new(programs));
    }

    fn loads(&self) -> MutexGuard<'_, HashMap<Digest, Load>> {
        self.loads.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
