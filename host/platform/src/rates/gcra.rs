//! The generic cell rate algorithm: so many requests a minute, of which some may come at once.
//!
//! All of its state is one number: the time at which everything that was taken is paid for. So taking is one atomic exchange.

use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

const MINUTE_US: u64 = 60_000_000;

/// A rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Between two requests, in microseconds.
    pub interval_us: i64,
    /// How many may come at once.
    pub burst: i64,
}

impl Rate {
    /// `per_minute` requests, of which those of `burst` may come at once; `None` for 0.
    pub fn new(per_minute: u64, burst: Duration) -> Option<Rate> {
        let interval_us = (MINUTE_US.checked_div(per_minute)?).max(1) as i64;
        let burst = u64::try_from(burst.as_micros()).unwrap_or(u64::MAX) / interval_us as u64;
        Some(Rate { interval_us, burst: burst.clamp(1, i64::MAX as u64 / interval_us as u64 / 2) as i64 })
    }

    /// The time that a whole burst pays for.
    fn window_us(self) -> i64 {
        self.interval_us * self.burst
    }
}

/// What is left after something was taken, or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    pub requests: i64,
    /// Until there is one again; 0 if there is.
    pub wait_us: i64,
    /// Until all of the burst is there again.
    pub reset_us: i64,
}

/// What one caller has taken. Cheap; takes no lock.
#[derive(Debug, Default)]
pub struct Gcra {
    paid_at_us: AtomicI64,
}

impl Gcra {
    /// Takes one request, if it is there.
    pub fn take(&self, rate: Rate, now_us: i64) -> Result<Left, Left> {
        let mut old = self.paid_at_us.load(Relaxed);
        loop {
            // A clock that was set back must not make anybody wait for longer than a whole burst takes.
            let paid_at = old.clamp(now_us, now_us.saturating_add(rate.window_us()));
            let room = (now_us + rate.window_us() - paid_at) / rate.interval_us;
            if room < 1 {
                let wait_us = paid_at + rate.interval_us - now_us - rate.window_us();
                return Err(Left { requests: 0, wait_us, reset_us: paid_at - now_us });
            }
            let new = paid_at + rate.interval_us;
            match self.paid_at_us.compare_exchange_weak(old, new, Relaxed, Relaxed) {
                Ok(_) => return Ok(Left { requests: room - 1, wait_us: 0, reset_us: new - now_us }),
                Err(other) => old = other,
            }
        }
    }

    /// How many are taken at this moment.
    pub fn taken(&self, rate: Rate, now_us: i64) -> u64 {
        let owed = (self.paid_at_us.load(Relaxed) - now_us).clamp(0, rate.window_us()) as u64;
        owed.div_ceil(rate.interval_us as u64)
    }

    /// Is everything paid for, so that nothing is lost with it?
    pub fn is_idle(&self, now_us: i64) -> bool {
        self.paid_at_us.load(Relaxed) <= now_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;
    const NOW: i64 = 1_790_000_000 * S;

    #[test]
    fn a_burst_and_then_the_rate() {
        // One a second, ten at once.
        let (rate, gcra) = (Rate::new(60, Duration::from_secs(10)).unwrap(), Gcra::default());
        assert_eq!(rate, Rate { interval_us: S, burst: 10 });
        for left in (0..10).rev() {
            let taken = gcra.take(rate, NOW).unwrap();
            assert_eq!((taken.requests, taken.reset_us), (left, (10 - left) * S));
        }
        assert_eq!(gcra.take(rate, NOW), Err(Left { requests: 0, wait_us: S, reset_us: 10 * S }));
        assert_eq!(gcra.take(rate, NOW + S / 4).unwrap_err().wait_us, 3 * S / 4);
        assert_eq!(gcra.take(rate, NOW + S).unwrap().requests, 0);
        assert!(gcra.take(rate, NOW + S).is_err());
        assert_eq!(gcra.taken(rate, NOW + S), 10);
        assert_eq!(gcra.take(rate, NOW + 6 * S).unwrap().requests, 4);
        // A pause gives no more than a burst.
        assert_eq!(gcra.take(rate, NOW + 900 * S).unwrap().requests, 9);
        assert!(!gcra.is_idle(NOW + 900 * S) && gcra.is_idle(NOW + 901 * S));
        // The clock goes back an hour: nobody waits for an hour.
        assert_eq!(gcra.take(rate, NOW - 3_600 * S).unwrap_err().wait_us, S);
    }

    #[test]
    fn no_more_than_the_rate_over_any_time_and_from_any_thread() {
        let (rate, gcra) = (Rate::new(600, Duration::from_secs(1)).unwrap(), Gcra::default());
        assert_eq!((rate.interval_us, rate.burst), (S / 10, 10));
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..20_000).filter(|at| gcra.take(rate, NOW + at * 100).is_ok()).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        // Two seconds: a burst, and twenty more.
        assert!((29..=30).contains(&taken), "{taken}");
    }

    #[test]
    fn rates_have_a_burst_of_at_least_one() {
        assert_eq!(Rate::new(0, Duration::from_secs(1)), None);
        assert_eq!(Rate::new(1, Duration::from_secs(1)).unwrap().burst, 1);
        let most = Rate::new(u64::MAX, Duration::from_secs(3_600)).unwrap();
        assert!(most.interval_us == 1 && Gcra::default().take(most, NOW).is_ok());
    }
}
