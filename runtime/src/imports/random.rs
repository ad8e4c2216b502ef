//! `wasi:random`. Ours and not wasmtime-wasi's, which asks its source once for each byte.

use std::sync::Arc;

use larder_model::limits::LimitKind;
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use super::State;
use crate::backends;
use crate::fault::HostFault;
use crate::meter::Meter;

/// Bytes in one call.
const BYTES_MAX: u64 = 64 << 10;

/// What a run asks for randomness.
pub(crate) struct Random {
    backend: Arc<dyn backends::Random>,
    /// A run has one, however often it asks.
    seed: Option<u128>,
    meter: Arc<Meter>,
}

impl Random {
    pub fn new(backend: Arc<dyn backends::Random>, meter: Arc<Meter>) -> Random {
        Random { backend, seed: None, meter }
    }

    /// An error traps the guest.
    fn bytes(&self, len: u64, fill: impl FnOnce(&mut [u8]) -> Filled) -> wasmtime::Result<Vec<u8>> {
        if len > BYTES_MAX {
            let exceeded = self.meter.end(LimitKind::HostResources, BYTES_MAX, len);
            return Err(wasmtime::Error::msg(exceeded.to_string()));
        }
        let mut bytes = vec![0; len as usize];
        fill(&mut bytes).map_err(fault)?;
        Ok(bytes)
    }
}

/// Instead of what wasmtime-wasi has linked.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    fn random(state: &mut State) -> &mut Random {
        &mut state.random
    }
    linker.allow_shadowing(true);
    random::add_to_linker::<_, HasSelf<Random>>(linker, random)?;
    insecure::add_to_linker::<_, HasSelf<Random>>(linker, random)?;
    insecure_seed::add_to_linker::<_, HasSelf<Random>>(linker, random)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl random::Host for Random {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.bytes(len, |bytes| self.backend.secure(bytes))
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        number(|bytes| self.backend.secure(bytes))
    }
}

impl insecure::Host for Random {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.bytes(len, |bytes| self.backend.insecure(bytes))
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        number(|bytes| self.backend.insecure(bytes))
    }
}

impl insecure_seed::Host for Random {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        let seed = match self.seed {
            Some(seed) => seed,
            None => self.backend.insecure_seed().map_err(fault)?,
        };
        self.seed = Some(seed);
        Ok((seed as u64, (seed >> 64) as u64))
    }
}

type Filled = Result<(), backends::Error>;

fn number(fill: impl FnOnce(&mut [u8]) -> Filled) -> wasmtime::Result<u64> {
    let mut bytes = [0; 8];
    fill(&mut bytes).map_err(fault)?;
    Ok(u64::from_le_bytes(bytes))
}

fn fault(err: backends::Error) -> HostFault {
    HostFault(format!("random: {err}"))
}
