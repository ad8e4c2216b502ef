//! The CPU time of a poll, without asking the kernel for most of them.
//!
//! The thread's CPU clock is a system call, which costs more than a short guest's own code. So a poll of up to [`SHORT_NS`] is
//! charged the time that has passed. A longer one may have been interrupted by other processes: it is charged what the thread's
//! clock has moved since its last reading, which is at most [`FRESH_NS`] older than the poll, if that is less.
//!
//! The rule: **a guest is never charged less than it has used**, and more only by what another process took from a poll of up to
//! [`SHORT_NS`], or by what the host computed on this thread in the [`FRESH_NS`] before an interrupted one.

use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

const SHORT_NS: u64 = 200_000;
const FRESH_NS: u64 = 1_000_000;

/// The beginning of a poll, for the thread that polls.
#[derive(Default)]
pub struct Mark {
    wall_ns: AtomicU64,
    /// The thread's clock at its last reading before the poll.
    thread_ns: AtomicU64,
}

/// One reading of a thread's clock.
#[derive(Clone, Copy)]
struct Reading {
    at_ns: u64,
    thread_ns: u64,
}

thread_local! {
    static LAST: Cell<Option<Reading>> = const { Cell::new(None) };
}

impl Mark {
    pub fn set(&self) {
        let now = wall_ns();
        let reading = match LAST.get() {
            Some(last) if now - last.at_ns <= FRESH_NS => last,
            _ => read(now),
        };
        self.wall_ns.store(now, Relaxed);
        self.thread_ns.store(reading.thread_ns, Relaxed);
    }

    /// The CPU time since the mark was set.
    pub fn spent_ns(&self) -> u64 {
        let now = wall_ns();
        let passed = now.saturating_sub(self.wall_ns.load(Relaxed));
        if passed <= SHORT_NS {
            return passed;
        }
        passed.min(read(now).thread_ns.saturating_sub(self.thread_ns.load(Relaxed)))
    }
}

fn read(at_ns: u64) -> Reading {
    let reading = Reading { at_ns, thread_ns: of_thread().as_nanos() as u64 };
    LAST.set(Some(reading));
    reading
}

/// The CPU time that this thread has used.
pub fn of_thread() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn wall_ns() -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGAN.elapsed().as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread_ns() -> u64 {
        read(wall_ns()).thread_ns
    }

    #[test]
    fn computing_is_charged_in_full_and_waiting_is_not() {
        let mark = Mark::default();
        mark.set();
        let before = thread_ns();
        while thread_ns() - before < 5_000_000 {}
        assert!(mark.spent_ns() >= 5_000_000);

        mark.set();
        std::thread::sleep(Duration::from_millis(20));
        assert!(mark.spent_ns() < 10_000_000);
    }

    #[test]
    fn a_short_poll_is_charged_the_time_that_passed() {
        let mark = Mark::default();
        mark.set();
        let least = Instant::now();
        while least.elapsed() < Duration::from_micros(10) {}
        assert!(mark.spent_ns() >= 10_000);
    }
}
