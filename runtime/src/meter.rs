//! What one execution uses while it runs, and the moment it is too much.
//!
//! * [`Meter`]: CPU time, peak memory, and the limit that ended the execution.
//! * [`Meter::watch`] runs the guest's future under its CPU and wall limits.
//! * [`Allowance`] is asked by wasmtime before any memory or table grows.
//!
//! CPU time is read from the thread's clock around each poll of the guest, so waiting is free. The engine's ticks
//! interrupt a poll that does not end: [`Meter::may_go_on`] charges what has passed of it, not a number of ticks,
//! because one bulk instruction can span many of them. A guest that has computed for long needs a permit
//! ([`crate::fairness`]) before each further poll.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use larder_model::limits::{Exceeded, LimitKind, Limits, Usage};
use rustix::time::{ClockId, clock_gettime};
use wasmtime::ResourceLimiter;

use crate::engine::TABLE_ELEMENTS_MAX;
use crate::fairness::{self, Lane, Limiter};
use crate::fault::HostFault;

/// A table element's share of the memory limit.
const TABLE_ELEMENT_BYTES: u64 = 8;

pub struct Meter {
    limits: Limits,
    lane: Arc<Lane>,
    started: Instant,
    /// CPU time of the polls that are over.
    spent_ns: AtomicU64,
    /// The thread's clock at the beginning of the present poll. Written and read by the polling thread only.
    entered_ns: AtomicU64,
    memory_peak_bytes: AtomicU64,
    /// The sum that a refused growth would have led to; 0 while none was refused.
    memory_refused_bytes: AtomicU64,
    ended_by: OnceLock<Exceeded>,
    /// Its answer streams.
    streams: AtomicBool,
}

impl Meter {
    pub fn new(limits: Limits, lane: Arc<Lane>) -> Arc<Meter> {
        Arc::new(Meter {
            limits,
            lane,
            started: Instant::now(),
            spent_ns: AtomicU64::new(0),
            entered_ns: AtomicU64::new(0),
            memory_peak_bytes: AtomicU64::new(0),
            memory_refused_bytes: AtomicU64::new(0),
            ended_by: OnceLock::new(),
            streams: AtomicBool::new(false),
        })
    }

    /// Polls the guest to its end, or until its CPU or wall-clock time is gone. Then the guest is dropped: taking large
    /// memories apart is work too, so it is done under the guest's permit and counted.
    pub async fn watch<T>(&self, guest: impl Future<Output = T>) -> Result<T, Exceeded> {
        let mut guest = pin!(Some(guest));
        let mut limiter = Limiter::new(&self.lane);
        let mut permit = None;
        let mut waited = false;
        let metered = poll_fn(|cx| {
            if permit.is_none() {
                let Poll::Ready(granted) = limiter.poll_permit(cx, self.is_long(self.spent_ns.load(Relaxed))) else {
                    waited = true;
                    return Poll::Pending;
                };
                permit = Some(granted);
                if std::mem::take(&mut waited) {
                    fairness::yield_to_executor(cx);
                    return Poll::Pending;
                }
            }
            self.entered_ns.store(thread_cpu_ns(), Relaxed);
            let Some(running) = guest.as_mut().as_pin_mut() else {
                unreachable!("a guest that has ended is not polled")
            };
            let polled = match running.poll(cx) {
                Poll::Ready(value) => Poll::Ready(Ok(value)),
                Poll::Pending if !self.may_go_on() => Poll::Ready(Err(())),
                Poll::Pending => Poll::Pending,
            };
            if polled.is_ready() {
                guest.set(None);
            }
            let poll = self.present_poll_ns();
            self.spent_ns.fetch_add(poll, Relaxed);
            self.lane.spend(poll);
            permit = None;
            polled
        });
        let mut metered = pin!(metered);
        loop {
            let (limit, most) = self.most();
            match tokio::time::timeout_at((self.started + most).into(), metered.as_mut()).await {
                Ok(Ok(value)) => return Ok(value),
                // `may_go_on` has recorded it.
                Ok(Err(())) => return Err(self.end(LimitKind::CpuMs, milliseconds(self.limits.cpu), self.spent_ms())),
                // It has begun to stream meanwhile.
                Err(_elapsed) if self.most().1 > most => {}
                Err(_elapsed) => return Err(self.end(limit, milliseconds(most), milliseconds(self.started.elapsed()))),
            }
        }
    }

    /// The head of its answer leaves now: from here on the limit of a stream counts.
    pub fn stream(&self) {
        self.streams.store(true, Relaxed);
    }

    /// How long it may take, from its start.
    fn most(&self) -> (LimitKind, Duration) {
        match self.limits.stream {
            Some(stream) if self.streams.load(Relaxed) => (LimitKind::StreamMs, stream),
            _ => (LimitKind::WallMs, self.limits.wall),
        }
    }

    /// Called at each tick from within a poll of the guest, and after the poll. `false`: the guest must be interrupted.
    pub fn may_go_on(&self) -> bool {
        let spent = self.spent_ns.load(Relaxed) + self.present_poll_ns();
        if spent <= nanoseconds(self.limits.cpu) {
            return true;
        }
        self.end(LimitKind::CpuMs, milliseconds(self.limits.cpu), spent / 1_000_000);
        false
    }

    /// Records that a limit ended the execution; the first one counts.
    pub fn end(&self, limit: LimitKind, value: u64, used: u64) -> Exceeded {
        self.ended_by.get_or_init(|| Exceeded { limit, value, used }).clone()
    }

    pub fn ended_by(&self) -> Option<Exceeded> {
        self.ended_by.get().cloned()
    }

    /// A growth that was refused. It is the reason of a failure only if the guest then fails.
    pub fn refused_growth(&self) -> Option<Exceeded> {
        let used = self.memory_refused_bytes.load(Relaxed);
        (used > 0).then_some(Exceeded { limit: LimitKind::MemoryBytes, value: self.limits.memory_bytes, used })
    }

    pub fn usage(&self) -> Usage {
        Usage {
            wall: self.started.elapsed(),
            cpu: Duration::from_nanos(self.spent_ns.load(Relaxed)),
            memory_peak_bytes: self.memory_peak_bytes.load(Relaxed),
        }
    }

    fn is_long(&self, spent_ns: u64) -> bool {
        spent_ns > nanoseconds(fairness::LONG)
    }

    fn spent_ms(&self) -> u64 {
        self.spent_ns.load(Relaxed) / 1_000_000
    }

    fn present_poll_ns(&self) -> u64 {
        thread_cpu_ns().saturating_sub(self.entered_ns.load(Relaxed))
    }
}

/// What is left of the memory limit: the sum over all memories and tables of one store.
///
/// The rule: **whether a guest's memory grows depends on the guest and its limit alone**. The pool has room for every limit
/// there is; if the machine has none, the run fails as the host's fault and the guest never learns of it.
pub struct Allowance {
    meter: Arc<Meter>,
    used: u64,
}

impl Allowance {
    pub fn new(meter: Arc<Meter>) -> Allowance {
        Allowance { meter, used: 0 }
    }

    /// `fits`: it stays within what the memory or table itself may have.
    fn grow(&mut self, bytes: u64, fits: bool) -> bool {
        let sum = self.used.saturating_add(bytes);
        if sum > self.meter.limits.memory_bytes {
            self.meter.memory_refused_bytes.store(sum, Relaxed);
            return false;
        }
        if fits {
            self.used = sum;
            self.meter.memory_peak_bytes.fetch_max(sum, Relaxed);
        }
        fits
    }
}

impl ResourceLimiter for Allowance {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current) as u64, maximum.is_none_or(|maximum| desired <= maximum)))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(no_memory(error))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let bytes = (desired.saturating_sub(current) as u64).saturating_mul(TABLE_ELEMENT_BYTES);
        Ok(self.grow(bytes, desired <= maximum.unwrap_or(TABLE_ELEMENTS_MAX).min(TABLE_ELEMENTS_MAX)))
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(no_memory(error))
    }
}

fn no_memory(error: wasmtime::Error) -> wasmtime::Error {
    HostFault(format!("memory within the function's limit was not to be had: {error:#}")).into()
}

/// The CPU time that this thread has used.
pub(crate) fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn thread_cpu_ns() -> u64 {
    thread_cpu().as_nanos() as u64
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowance(memory_bytes: u64) -> (Arc<Meter>, Allowance) {
        let meter = Meter::new(Limits { memory_bytes, ..Limits::DEFAULT }, Arc::default());
        (meter.clone(), Allowance::new(meter))
    }

    #[test]
    fn memory_is_the_sum_over_memories_and_tables() {
        let (meter, mut allowance) = allowance(1_000);
        assert!(allowance.memory_growing(0, 600, None).unwrap());
        assert!(allowance.table_growing(0, 50, None).unwrap());
        assert!(!allowance.memory_growing(600, 601, None).unwrap());
        assert_eq!(meter.refused_growth(), Some(Exceeded { limit: LimitKind::MemoryBytes, value: 1_000, used: 1_001 }));
        assert_eq!(meter.usage().memory_peak_bytes, 1_000);
    }

    #[test]
    fn growth_beyond_a_declared_maximum_is_refused() {
        let (meter, mut allowance) = allowance(1 << 20);
        assert!(!allowance.memory_growing(0, 601, Some(600)).unwrap());
        assert!(!allowance.table_growing(0, 51, Some(50)).unwrap());
        assert!(!allowance.table_growing(0, TABLE_ELEMENTS_MAX + 1, None).unwrap());
        assert!(allowance.memory_growing(0, 600, Some(600)).unwrap());
        assert_eq!((meter.usage().memory_peak_bytes, meter.refused_growth()), (600, None));
    }

    #[test]
    fn growth_refused_by_the_machine_is_a_host_failure() {
        let (_, mut allowance) = allowance(1_000);
        assert!(allowance.memory_growing(0, 600, None).unwrap());
        let failed = allowance.memory_grow_failed(wasmtime::Error::msg("out of memory")).unwrap_err();
        assert!(failed.downcast_ref::<HostFault>().is_some_and(|fault| fault.0.contains("out of memory")));
    }

    #[tokio::test]
    async fn waiting_costs_no_cpu_and_ends_at_the_wall_clock_limit() {
        let limits = Limits { cpu: Duration::from_millis(1), wall: Duration::from_millis(30), ..Limits::DEFAULT };
        let meter = Meter::new(limits, Arc::default());
        let ended = meter.watch(std::future::pending::<()>()).await.unwrap_err();
        assert_eq!((ended.limit, ended.value), (LimitKind::WallMs, 30));
        assert!(meter.usage().cpu < limits.cpu);
    }
}
