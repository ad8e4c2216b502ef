//! The clocks of a guest: the real time, at the grain of a millisecond, so that no guest can measure its neighbours.

use std::time::{Duration, Instant, SystemTime};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

const GRAIN: Duration = Duration::from_millis(1);

pub struct WallClock;

impl HostWallClock for WallClock {
    fn resolution(&self) -> Duration {
        GRAIN
    }

    #[allow(clippy::disallowed_methods, reason = "this is the guest's clock; the host's decisions do not depend on it")]
    fn now(&self) -> Duration {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Duration::from_millis(now.as_millis() as u64)
    }
}

/// Begins at 0 with the run, and so tells nothing of the host's age.
pub struct MonotonicClock(pub Instant);

impl HostMonotonicClock for MonotonicClock {
    fn resolution(&self) -> u64 {
        GRAIN.as_nanos() as u64
    }

    fn now(&self) -> u64 {
        self.0.elapsed().as_millis() as u64 * GRAIN.as_nanos() as u64
    }
}
