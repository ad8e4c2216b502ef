//! The machine's own clocks and randomness.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use super::{Clocks, Error, Random};

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClocks;

static EARLIER: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Clocks for SystemClocks {
    #[allow(clippy::disallowed_methods, reason = "this is the guest's clock; the host's decisions do not depend on it")]
    fn wall(&self) -> Duration {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        EARLIER.elapsed()
    }
}

/// The operating system's randomness, for every purpose.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn secure(&self, bytes: &mut [u8]) -> Result<(), Error> {
        getrandom::fill(bytes).map_err(|err| Error(format!("no randomness: {err}")))
    }

    fn insecure(&self, bytes: &mut [u8]) -> Result<(), Error> {
        self.secure(bytes)
    }

    fn insecure_seed(&self) -> Result<u128, Error> {
        let mut bytes = [0; 16];
        self.secure(&mut bytes)?;
        Ok(u128::from_le_bytes(bytes))
    }
}
