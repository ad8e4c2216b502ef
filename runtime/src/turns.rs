//! Who computes next: guests that compute for long leave room to those that do not.
//!
//! All guests of a process share the executor's threads. One that computes is interrupted at each tick and goes to the
//! end of the line, but fifty such guests make a line in which everybody else waits for half a second. So there are two
//! gates before a poll of a guest, which let as many through as leave a thread to everyone else:
//!
//! * that of its [`Lane`], which the runs of one tenant share, while these compute for more than their part;
//! * for a run that has computed for long itself, one of the whole process. A lane that is narrow lets only so many come
//!   there, and it is first come, first served, so tenants take turns however many runs they have.
//!
//! The rule: **a turn is held within one poll only**, so nothing that a guest waits for can hold up another.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// A run that has computed for so long takes turns.
pub const LONG: Duration = Duration::from_millis(5);
/// A lane stays narrow for so long after its runs last computed for more than their part.
const NARROW_FOR_MS: u64 = 1_000;
/// What its runs compute is summed up over so long; their part is half of what all threads can, and half of that while the
/// lane is narrow, so that it does not widen under those who still want more.
const WINDOW_MS: u64 = 50;

/// What all lanes of the process share.
struct Process {
    threads: usize,
    gate: Arc<Semaphore>,
    /// The beginning of the lanes' clock.
    began: Instant,
}

static PROCESS: LazyLock<Process> = LazyLock::new(|| {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Process { threads, gate: Arc::new(Semaphore::new(room(threads))), began: Instant::now() }
});

/// All threads but one.
fn room(threads: usize) -> usize {
    (threads - 1).max(1)
}

/// What the runs of one tenant share.
pub struct Lane {
    id: u64,
    /// Memory that its runs may use now, by their limits.
    pub(crate) reserved_bytes: AtomicU64,
    gate: Arc<Semaphore>,
    /// On the process's clock, in milliseconds.
    narrow_until: AtomicU64,
    window: AtomicU64,
    spent_ns: AtomicU64,
}

impl Default for Lane {
    fn default() -> Lane {
        static LANES: AtomicU64 = AtomicU64::new(0);
        Lane {
            id: LANES.fetch_add(1, Relaxed),
            reserved_bytes: 0.into(),
            gate: Arc::new(Semaphore::new(room(PROCESS.threads))),
            narrow_until: 0.into(),
            window: 0.into(),
            spent_ns: 0.into(),
        }
    }
}

impl Lane {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Memory that its runs may use now, by their limits.
    pub fn reserved_bytes(&self) -> u64 {
        self.reserved_bytes.load(Relaxed)
    }

    /// One of its runs has computed for so long.
    pub(crate) fn spend(&self, ns: u64) {
        let now = now_ms();
        if self.window.load(Relaxed) != now / WINDOW_MS {
            self.window.store(now / WINDOW_MS, Relaxed);
            self.spent_ns.store(0, Relaxed);
        }
        let part_ns = WINDOW_MS * 1_000_000 * PROCESS.threads as u64 / if self.is_narrow(now) { 4 } else { 2 };
        if self.spent_ns.fetch_add(ns, Relaxed) + ns > part_ns {
            self.narrow_until.store(now + NARROW_FOR_MS, Relaxed);
        }
    }

    fn is_narrow(&self, now_ms: u64) -> bool {
        now_ms < self.narrow_until.load(Relaxed)
    }
}

fn now_ms() -> u64 {
    PROCESS.began.elapsed().as_millis() as u64
}

/// One run's place in the lines.
pub(crate) struct Place<'a> {
    lane: &'a Lane,
    /// The lines that it stands in: most runs never do.
    lines: [Option<PollSemaphore>; 2],
    /// What has been passed already.
    passed: [Option<OwnedSemaphorePermit>; 2],
}

/// The right to be polled once.
pub(crate) struct Turn {
    _passed: [Option<OwnedSemaphorePermit>; 2],
}

impl<'a> Place<'a> {
    pub fn new(lane: &'a Lane) -> Place<'a> {
        Place { lane, lines: [None, None], passed: [None, None] }
    }

    /// `long`: it has computed for [`LONG`] already.
    pub fn poll_turn(&mut self, cx: &mut Context<'_>, long: bool) -> Poll<Turn> {
        for (at, shut) in [self.lane.is_narrow(now_ms()), long].into_iter().enumerate() {
            if !shut {
                // Whoever stands in a line that it need not pass would be given a turn there and keep it.
                self.lines[at] = None;
                continue;
            }
            if self.passed[at].is_some() {
                continue;
            }
            let gate = if at == 0 { &self.lane.gate } else { &PROCESS.gate };
            let line = self.lines[at].get_or_insert_with(|| PollSemaphore::new(gate.clone()));
            match line.poll_acquire(cx) {
                // A gate that was closed would let everyone through; none ever is.
                Poll::Ready(passed) => self.passed[at] = passed,
                Poll::Pending => {
                    // The lane may have become narrow while it stood in the second line: the turn that it was given there
                    // may be what those wait for who have passed this gate.
                    self.lines[at + 1..].fill_with(|| None);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Turn { _passed: std::mem::take(&mut self.passed) })
    }
}

/// Wakes the task when the executor has looked at its timers and sockets. A guest that waited for its turn is woken by
/// the one before it and would run at once: such a chain of guests would keep its thread from ever looking.
pub(crate) fn rest(cx: &mut Context<'_>) {
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn turn(place: &mut Place<'_>, long: bool) -> Option<Turn> {
        match place.poll_turn(&mut Context::from_waker(Waker::noop()), long) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_lane_that_becomes_narrow_holds_up_nobody_for_ever() {
        let room = room(PROCESS.threads);
        let lanes: Vec<Lane> = (0..room).map(|_| Lane::default()).collect();
        let mut others: Vec<Place<'_>> = lanes.iter().map(Place::new).collect();
        let taken: Vec<Turn> = others.iter_mut().filter_map(|place| turn(place, true)).collect();
        assert_eq!(taken.len(), room);
        // The first one waits at the gate of the process while its lane is wide, the others have passed that of the lane.
        let lane = Lane::default();
        let mut first = Place::new(&lane);
        assert!(turn(&mut first, true).is_none());
        lane.spend(WINDOW_MS * 1_000_000 * PROCESS.threads as u64);
        let mut later: Vec<Place<'_>> = (0..room).map(|_| Place::new(&lane)).collect();
        assert!(later.iter_mut().all(|place| turn(place, true).is_none()));
        drop(taken);
        assert!(turn(&mut first, true).is_none());
        assert!(later.iter_mut().all(|place| turn(place, true).is_some()));
    }

    #[test]
    fn a_narrow_lane_leaves_a_thread_and_a_wide_one_does_not_count() {
        let (lane, room) = (Lane::default(), room(PROCESS.threads));
        let mut places: Vec<Place<'_>> = (0..room + 2).map(|_| Place::new(&lane)).collect();
        let wide: Vec<Turn> = places.iter_mut().filter_map(|place| turn(place, false)).collect();
        assert_eq!(wide.len(), room + 2);
        lane.spend(WINDOW_MS * 1_000_000 * PROCESS.threads as u64);
        let mut narrow: Vec<Turn> = places.iter_mut().filter_map(|place| turn(place, false)).collect();
        assert_eq!(narrow.len(), room);
        // Others have lanes of their own, and whoever gives up its turn lets the next one in.
        assert!(turn(&mut Place::new(&Lane::default()), false).is_some());
        narrow.pop();
        assert!(places.iter_mut().any(|place| turn(place, false).is_some()));
    }
}
