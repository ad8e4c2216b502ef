//! Fair use of the executor's threads: guests that compute for long leave room for those that do not.
//!
//! All guests that somebody waits for share the executor's threads; the others have their own ([`crate::batch`]). A guest that
//! computes is interrupted at each tick and goes to the end of the run queue, but fifty such guests make a queue in which
//! everybody else waits for half a second. Two limiters therefore stand before each poll of a guest on these threads. Both
//! admit as many guests as leave one thread to everyone else:
//!
//! * the limiter of its [`Lane`], which the runs of one tenant share, while these compute for more than their share;
//! * one limiter of the whole process, for a run that has computed for long itself. A throttled lane lets only so many runs
//!   reach it, and it is first come, first served, so tenants alternate however many runs they have.
//!
//! The rule: **a permit is held within one poll only**, so nothing that a guest waits for can hold up another guest.

use std::cell::Cell;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

use crate::batch;
use crate::instances::Taken;

/// A run that has computed for longer than this is limited.
pub const LONG: Duration = Duration::from_millis(5);
/// How long a lane stays throttled after its runs last computed for more than their share.
const THROTTLED_FOR_MS: u64 = 1_000;
/// The window over which the CPU time of a lane's runs is summed up. Their share is half of what all threads have, and half of
/// that while the lane is throttled, so that it stays throttled under runs that still want more.
const WINDOW_MS: u64 = 50;

/// How long guests that wake each other may compute on a thread before it polls its timers and sockets.
const CHAIN_NS: u64 = 1_000_000;

/// What all lanes of the process share.
struct Process {
    threads: usize,
    limiter: Arc<Semaphore>,
    /// The start of the lanes' clock.
    began: Instant,
}

static PROCESS: LazyLock<Process> = LazyLock::new(|| {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Process { threads, limiter: Arc::new(Semaphore::new(permits(threads))), began: Instant::now() }
});

/// All threads but one.
fn permits(threads: usize) -> usize {
    (threads - 1).max(1)
}

/// What the runs of one tenant share.
pub struct Lane {
    id: u64,
    /// What its runs have now, by their limits.
    pub(crate) taken: Taken,
    limiter: Arc<Semaphore>,
    /// On the process's clock, in milliseconds.
    throttled_until: AtomicU64,
    window: AtomicU64,
    spent_ns: AtomicU64,
}

impl Default for Lane {
    fn default() -> Lane {
        static LANES: AtomicU64 = AtomicU64::new(0);
        Lane {
            id: LANES.fetch_add(1, Relaxed),
            taken: Taken::default(),
            limiter: Arc::new(Semaphore::new(permits(PROCESS.threads))),
            throttled_until: 0.into(),
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
        self.taken.memory_bytes.load(Relaxed)
    }

    /// One of its runs has computed for this long.
    pub(crate) fn spend(&self, ns: u64) {
        if batch::is_this_thread() {
            return;
        }
        let now = now_ms();
        if self.window.load(Relaxed) != now / WINDOW_MS {
            self.window.store(now / WINDOW_MS, Relaxed);
            self.spent_ns.store(0, Relaxed);
        }
        let share_ns = WINDOW_MS * 1_000_000 * PROCESS.threads as u64 / if self.is_throttled(now) { 4 } else { 2 };
        if self.spent_ns.fetch_add(ns, Relaxed) + ns > share_ns {
            self.throttled_until.store(now + THROTTLED_FOR_MS, Relaxed);
        }
    }

    fn is_throttled(&self, now_ms: u64) -> bool {
        now_ms < self.throttled_until.load(Relaxed)
    }
}

fn now_ms() -> u64 {
    PROCESS.began.elapsed().as_millis() as u64
}

/// The limiters as one run sees them: first that of its lane, then that of the process.
pub(crate) struct Limiter<'a> {
    lane: &'a Lane,
    /// Where it waits: most runs never do.
    waiting: [Option<PollSemaphore>; 2],
    /// What it was granted already.
    granted: [Option<OwnedSemaphorePermit>; 2],
}

/// The right to be polled once.
pub(crate) struct Permit {
    _granted: [Option<OwnedSemaphorePermit>; 2],
}

impl<'a> Limiter<'a> {
    pub fn new(lane: &'a Lane) -> Limiter<'a> {
        Limiter { lane, waiting: [None, None], granted: [None, None] }
    }

    /// `long`: it has computed for [`LONG`] already.
    pub fn poll_permit(&mut self, cx: &mut Context<'_>, long: bool) -> Poll<Permit> {
        if batch::is_this_thread() {
            return Poll::Ready(Permit { _granted: [None, None] });
        }
        for (at, applies) in [self.lane.is_throttled(now_ms()), long].into_iter().enumerate() {
            if !applies {
                // Whoever waits at a limiter that does not apply would be granted a permit there and keep it.
                self.waiting[at] = None;
                continue;
            }
            if self.granted[at].is_some() {
                continue;
            }
            let limiter = if at == 0 { &self.lane.limiter } else { &PROCESS.limiter };
            let waiting = self.waiting[at].get_or_insert_with(|| PollSemaphore::new(limiter.clone()));
            match waiting.poll_acquire(cx) {
                // A limiter that was closed would admit everyone; none ever is.
                Poll::Ready(granted) => self.granted[at] = granted,
                Poll::Pending => {
                    // The lane may have been throttled while the run waited for the process's permit. If it has been granted
                    // that meanwhile, runs that already have their lane's permit may be waiting for it.
                    self.waiting[at + 1..].fill_with(|| None);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Permit { _granted: std::mem::take(&mut self.granted) })
    }
}

thread_local! {
    /// What guests have computed on this thread since it last yielded to the executor.
    static COMPUTED_NS: Cell<u64> = const { Cell::new(0) };
}

/// A guest has computed for this long on this thread.
pub(crate) fn computed(ns: u64) {
    COMPUTED_NS.set(COMPUTED_NS.get().saturating_add(ns));
}

/// Must a guest that was woken by another one yield first? A guest that waited for a permit is woken by the one before it and
/// would run at once: such a chain of guests would keep its thread from ever polling timers and sockets. Short guests may form
/// one of up to [`CHAIN_NS`], because each yield costs a system call and holds the permit meanwhile.
pub(crate) fn owes_the_executor() -> bool {
    let owes = COMPUTED_NS.get() > CHAIN_NS;
    if owes {
        COMPUTED_NS.set(0);
    }
    owes
}

/// Wakes the task after the executor has polled its timers and sockets.
pub(crate) fn yield_to_executor(cx: &mut Context<'_>) {
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn permit(limiter: &mut Limiter<'_>, long: bool) -> Option<Permit> {
        match limiter.poll_permit(&mut Context::from_waker(Waker::noop()), long) {
            Poll::Ready(permit) => Some(permit),
            Poll::Pending => None,
        }
    }

    #[test]
    fn throttling_a_lane_blocks_no_run_for_ever() {
        let permits = permits(PROCESS.threads);
        let lanes: Vec<Lane> = (0..permits).map(|_| Lane::default()).collect();
        let mut others: Vec<Limiter<'_>> = lanes.iter().map(Limiter::new).collect();
        let taken: Vec<Permit> = others.iter_mut().filter_map(|limiter| permit(limiter, true)).collect();
        assert_eq!(taken.len(), permits);
        // The first one waits for the process while its lane is not throttled, the others have their lane's permit.
        let lane = Lane::default();
        let mut first = Limiter::new(&lane);
        assert!(permit(&mut first, true).is_none());
        lane.spend(WINDOW_MS * 1_000_000 * PROCESS.threads as u64);
        let mut later: Vec<Limiter<'_>> = (0..permits).map(|_| Limiter::new(&lane)).collect();
        assert!(later.iter_mut().all(|limiter| permit(limiter, true).is_none()));
        drop(taken);
        assert!(permit(&mut first, true).is_none());
        assert!(later.iter_mut().all(|limiter| permit(limiter, true).is_some()));
    }

    #[test]
    fn throttled_lane_leaves_one_thread_to_others() {
        let (lane, permits) = (Lane::default(), permits(PROCESS.threads));
        let mut limiters: Vec<Limiter<'_>> = (0..permits + 2).map(|_| Limiter::new(&lane)).collect();
        let unlimited: Vec<Permit> = limiters.iter_mut().filter_map(|limiter| permit(limiter, false)).collect();
        assert_eq!(unlimited.len(), permits + 2);
        lane.spend(WINDOW_MS * 1_000_000 * PROCESS.threads as u64);
        let mut throttled: Vec<Permit> = limiters.iter_mut().filter_map(|limiter| permit(limiter, false)).collect();
        assert_eq!(throttled.len(), permits);
        // Others have lanes of their own, and a permit that is given back goes to the next run.
        assert!(permit(&mut Limiter::new(&Lane::default()), false).is_some());
        throttled.pop();
        assert!(limiters.iter_mut().any(|limiter| permit(limiter, false).is_some()));
    }
}
