//! Programs in memory: digest → ready [`Program`], a bounded number of them.
//!
//! Looking one up is what every call does, so it takes no lock: the whole map is replaced when it changes, which is
//! rare. Loading is done once per digest even in a rush: the first one loads, the others wait for what it gets.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use arc_swap::ArcSwap;
use larder_model::Digest;

use crate::runtime::LoadError;
use crate::world::Program;

/// Each loaded program costs a descriptor and three mappings besides its memory.
const PROGRAMS_MAX: usize = 1_000;

type Loaded = Result<Arc<Program>, LoadError>;
/// What those who wait for one load share.
type Flight = Arc<tokio::sync::Mutex<Option<Loaded>>>;

pub struct Cache {
    programs: ArcSwap<HashMap<Digest, Arc<Program>>>,
    /// Writers take turns; it is not held across a load.
    flights: Mutex<HashMap<Digest, Flight>>,
    started: Instant,
}

impl Cache {
    pub fn new() -> Cache {
        Cache { programs: ArcSwap::default(), flights: Mutex::default(), started: Instant::now() }
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

    /// The program from memory, or what `load` gives, whoever of those who ask at once gets to run it.
    pub async fn get_or_load(&self, digest: &Digest, load: impl Future<Output = Loaded>) -> Loaded {
        if let Some(program) = self.get(digest) {
            return Ok(program);
        }
        let flight = self.flights().entry(*digest).or_default().clone();
        let mut landed = flight.lock().await;
        if let Some(loaded) = &*landed {
            return loaded.clone();
        }
        // It may have landed between the look at the map and joining.
        let loaded = match self.get(digest) {
            Some(program) => Ok(program),
            None => load.await,
        };
        let mut flights = self.flights();
        if let Ok(program) = &loaded {
            self.insert(digest, program.clone());
        }
        flights.remove(digest);
        *landed = Some(loaded.clone());
        loaded
    }

    /// Called with `flights` locked: one writer at a time.
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

    fn flights(&self) -> MutexGuard<'_, HashMap<Digest, Flight>> {
        self.flights.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
