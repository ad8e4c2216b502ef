//! The clocks of a guest, at the grain of a millisecond, so that no guest can measure its neighbours.
//!
//! Both go on from the moment at which the run began, so neither goes back while it lasts, whatever is done to the
//! machine's clock meanwhile.

use std::time::{Duration, Instant, SystemTime};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

const GRAIN: Duration = Duration::from_millis(1);

#[derive(Clone, Copy)]
pub struct Clock {
    began: Instant,
    /// The real time at which it began, since the epoch.
    began_at: Duration,
}

impl Clock {
    #[allow(clippy::disallowed_methods, reason = "this is the guest's clock; the host's decisions do not depend on it")]
    pub fn begin() -> Clock {
        let began_at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Clock { began: Instant::now(), began_at }
    }
}

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        GRAIN
    }

    fn now(&self) -> Duration {
        Duration::from_millis((self.began_at + self.began.elapsed()).as_millis() as u64)
    }
}

/// Begins with the run, and so tells nothing of the host's age; at one grain and not at 0, which the runtime of Go takes
/// for a broken clock.
impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        GRAIN.as_nanos() as u64
    }

    fn now(&self) -> u64 {
        (GRAIN + self.began.elapsed()).as_millis() as u64 * GRAIN.as_nanos() as u64
    }
}
