//! How many calls a partner has made in the present minute.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI64, AtomicU64};

#[derive(Default)]
pub struct Calls {
    /// Minutes since the epoch.
    minute: AtomicI64,
    /// Of this process.
    own: AtomicU64,
    /// How many of them the others have been told of.
    reported: AtomicU64,
    /// Of all processes, as far as they have reported, this one included.
    all: AtomicU64,
}

impl Calls {
    /// Those of all processes in this minute, as far as it is known; a new minute begins with none.
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

    /// Those of this process in this minute, if there are any.
    pub fn own(&self, minute: i64) -> Option<u64> {
        let own = self.own.load(Relaxed);
        (own > 0 && self.minute.load(Relaxed) == minute).then_some(own)
    }

    /// How many of its own the others do not know of.
    pub fn unreported(&self, own: u64) -> u64 {
        own.saturating_sub(self.reported.load(Relaxed))
    }

    /// The others know of `own` now, and `all` is the sum.
    pub fn shared(&self, own: u64, all: u64) {
        self.reported.store(own, Relaxed);
        self.all.store(all, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Calls;

    #[test]
    fn what_others_told_counts_and_a_new_minute_begins_with_none() {
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
