//! The number of calls of a partner in the current minute.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI64, AtomicU64};

/// The calls of one partner in the current minute.
#[derive(Default)]
pub struct Calls {
    /// Minutes since the epoch.
    minute: AtomicI64,
    /// Calls of this process.
    own: AtomicU64,
    /// How many of these were reported to the other processes.
    reported: AtomicU64,
    /// Calls of all processes, this one included, as far as they have reported them.
    all: AtomicU64,
}

impl Calls {
    /// The known calls of all processes in this minute. A new minute begins at zero.
    pub fn known(&self, minute: i64) -> u64 {
        if self.minute.swap(minute, Relaxed) != minute {
            for count in [&self.own, &self.reported, &self.all] {
                count.store(0, Relaxed);
            }
        }
        let own = self.own.load(Relaxed);
        own.max(self.all.load(Relaxed) + self.unreported(own))
    }

    pub fn add(&self) {
        self.own.fetch_add(1, Relaxed);
    }

    /// The calls of this process in this minute, if there are any.
    pub fn own(&self, minute: i64) -> Option<u64> {
        let own = self.own.load(Relaxed);
        (own > 0 && self.minute.load(Relaxed) == minute).then_some(own)
    }

    /// How many of its own calls were not reported yet.
    pub fn unreported(&self, own: u64) -> u64 {
        own.saturating_sub(self.reported.load(Relaxed))
    }

    /// `own` was reported, and `all` is the sum over all processes.
    pub fn shared(&self, own: u64, all: u64) {
        self.reported.store(own, Relaxed);
        self.all.store(all, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Calls;

    #[test]
    fn reported_calls_count_and_a_new_minute_begins_at_zero() {
        let calls = Calls::default();
        assert_eq!(calls.known(7), 0);
        (0..3).for_each(|_| calls.add());
        assert_eq!((calls.known(7), calls.own(7), calls.own(8)), (3, Some(3), None));
        calls.shared(3, 10);
        calls.add();
        assert_eq!((calls.known(7), calls.unreported(4)), (11, 1));
        // Redis forgot: the own count still stands.
        calls.shared(4, 0);
        assert_eq!(calls.known(7), 4);
        assert_eq!(calls.known(8), 0);
    }
}
