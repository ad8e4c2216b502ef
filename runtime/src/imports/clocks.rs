//! `wasi:clocks`, at the grain of a millisecond, so that no guest can measure its neighbours.
//!
//! Both clocks count from the moment at which the run began, so neither goes back while it lasts, whatever is done to the
//! machine's clock meanwhile.

use std::sync::Arc;
use std::time::Duration;

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use crate::backends::Clocks;

const GRAIN: Duration = Duration::from_millis(1);

#[derive(Clone)]
pub struct Clock {
    clocks: Arc<dyn Clocks>,
    began: Duration,
    /// The real time at which it began, since the epoch.
    began_at: Duration,
}

impl Clock {
    pub fn begin(clocks: Arc<dyn Clocks>) -> Clock {
        let (began, began_at) = (clocks.monotonic(), clocks.wall());
        Clock { clocks, began, began_at }
    }

    fn elapsed(&self) -> Duration {
        self.clocks.monotonic().saturating_sub(self.began)
    }
}

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        GRAIN
    }

    fn now(&self) -> Duration {
        Duration::from_millis((self.began_at + self.elapsed()).as_millis() as u64)
    }
}

/// Begins with the run, and so tells nothing of the host's age; at one grain and not at 0, which the runtime of Go takes
/// for a broken clock.
impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        GRAIN.as_nanos() as u64
    }

    fn now(&self) -> u64 {
        (GRAIN + self.elapsed()).as_millis() as u64 * GRAIN.as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Wall clock and monotonic clock, set by hand.
    struct Hands(Mutex<(Duration, Duration)>);

    impl Clocks for Hands {
        fn wall(&self) -> Duration {
            self.0.lock().unwrap().0
        }

        fn monotonic(&self) -> Duration {
            self.0.lock().unwrap().1
        }
    }

    #[test]
    fn clocks_count_whole_milliseconds_from_the_start_of_the_run() {
        let hands = Arc::new(Hands(Mutex::new((Duration::from_micros(1_000_900), Duration::from_micros(77_777)))));
        let clock = Clock::begin(hands.clone());
        assert_eq!(HostMonotonicClock::now(&clock), 1_000_000);
        assert_eq!(HostWallClock::now(&clock), Duration::from_millis(1_000));
        // The machine's clock is set back meanwhile.
        *hands.0.lock().unwrap() = (Duration::ZERO, Duration::from_micros(77_777 + 2_100));
        assert_eq!(HostMonotonicClock::now(&clock), 3_000_000);
        assert_eq!(HostWallClock::now(&clock), Duration::from_millis(1_003));
    }
}
