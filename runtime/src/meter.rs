//! What one execution uses while it runs, and the moment it is too much.
//!
//! * [`Meter`]: CPU time, peak memory, and the limit that ended the execution.
//! * [`Meter::watch`] runs the guest's future under its CPU and wall limits.
//! * [`Allowance`] is asked by wasmtime before any memory or table grows.
//!
//! CPU time is read from the thread's clock around each poll of the guest, so waiting is free. The engine's ticks
//! interrupt a poll that does not end: [`Meter::may_go_on`] charges what has passed of it, not a number of ticks,
//! because one bulk instruction can span many of them. A guest that has computed for long waits for its turn
//! ([`crate::turns`]) before each further poll.

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

use crate::turns::{self, Lane, Place};

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
    /// memories apart is work too, so that is done in the guest's turn and counted.
    pub async fn watch<T>(&self, guest: impl Future<Output = T>) -> Result<T, Exceeded> {
        let mut guest = pin!(Some(guest));
        let mut place = Place::new(&self.lane);
        let mut turn = None;
        let mut waited = false;
        let metered = poll_fn(|cx| {
            if turn.is_none() {
                let Poll::Ready(mine) = place.poll_turn(cx, self.is_long(self.spent_ns.load(Relaxed))) else {
                    waited = true;
                    return Poll::Pending;
                };
                turn = Some(mine);
                if std::mem::take(&mut waited) {
                    turns::rest(cx);
                    return Poll::Pending;
                }
            }
            self.entered_ns.store(thread_cpu_ns(), Relaxed);
            let Some(running) = guest.as_mut().as_pin_mut() else { unreachable!("who has ended is not polled") };
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
            turn = None;
            polled
        });
        let mut metered = pin!(metered);
        loop {
            let (limit, most) = self.most();
            match tokio::time::timeout_at((self.started + most).into(), metered.as_mut()).await {
                Ok(Ok(value)) => return Ok(value),
                // `may_go_on` has noted it.
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

    /// Asked from within a poll of the guest at each tick, and after it. `false`: it must be interrupted.
    pub fn may_go_on(&self) -> bool {
        let spent = self.spent_ns.load(Relaxed) + self.present_poll_ns();
        if spent <= nanoseconds(self.limits.cpu) {
            return true;
        }
        self.end(LimitKind::CpuMs, milliseconds(self.limits.cpu), spent / 1_000_000);
        false
    }

    /// Notes that a limit ended the execution; the first one counts.
    pub fn end(&self, limit: LimitKind, value: u64, used: u64) -> Exceeded {
        self.ended_by.get_or_init(|| Exceeded { limit, value, used }).clone()
    }

    pub fn ended_by(&self) -> Option<Exceeded> {
        self.ended_by.get().cloned()
    }

    /// A growth that was refused. Only if the guest then fails was it the reason.
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
        spent_ns > nanoseconds(turns::LONG)
    }

    fn spent_ms(&self) -> u64 {
        self.spent_ns.load(Relaxed) / 1_000_000
    }

    fn present_poll_ns(&self) -> u64 {
        thread_cpu_ns().saturating_sub(self.entered_ns.load(Relaxed))
    }
}

/// What is left of the memory limit: the sum over all memories and tables of one store.
pub struct Allowance {
    meter: Arc<Meter>,
    used: u64,
    /// The growth that was allowed last, to be taken back if it then fails.
    last: u64,
}

impl Allowance {
    pub fn new(meter: Arc<Meter>) -> Allowance {
        Allowance { meter, used: 0, last: 0 }
    }

    fn grow(&mut self, bytes: u64) -> bool {
        let sum = self.used.saturating_add(bytes);
        if sum > self.meter.limits.memory_bytes {
            self.meter.memory_refused_bytes.store(sum, Relaxed);
            return false;
        }
        self.used = sum;
        self.last = bytes;
        self.meter.memory_peak_bytes.fetch_max(sum, Relaxed);
        true
    }

    /// Allowed, but the pool or the guest's own maximum was in the way.
    fn take_back(&mut self) {
        self.used -= std::mem::take(&mut self.last);
    }
}

impl ResourceLimiter for Allowance {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current) as u64))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.take_back();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow((desired.saturating_sub(current) as u64).saturating_mul(TABLE_ELEMENT_BYTES)))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.take_back();
        Ok(())
    }
}

fn thread_cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
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

    #[test]
    fn memory_is_the_sum_and_a_failed_growth_is_taken_back() {
        let meter = Meter::new(Limits { memory_bytes: 1_000, ..Limits::DEFAULT }, Arc::default());
        let mut allowance = Allowance::new(meter.clone());
        assert!(allowance.memory_growing(0, 600, None).unwrap());
        assert!(allowance.table_growing(0, 50, None).unwrap());
        assert!(!allowance.memory_growing(600, 601, None).unwrap());
        assert_eq!(meter.refused_growth(), Some(Exceeded { limit: LimitKind::MemoryBytes, value: 1_000, used: 1_001 }));
        allowance.table_grow_failed(wasmtime::Error::msg("no room")).unwrap();
        assert!(allowance.memory_growing(600, 1_000, None).unwrap());
        assert_eq!(meter.usage().memory_peak_bytes, 1_000);
    }

    #[tokio::test]
    async fn waiting_is_free_and_wall_time_ends_it() {
        let limits = Limits { cpu: Duration::from_millis(1), wall: Duration::from_millis(30), ..Limits::DEFAULT };
        let meter = Meter::new(limits, Arc::default());
        let ended = meter.watch(std::future::pending::<()>()).await.unwrap_err();
        assert_eq!((ended.limit, ended.value), (LimitKind::WallMs, 30));
        assert!(meter.usage().cpu < limits.cpu);
    }
}
