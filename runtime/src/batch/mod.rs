//! Batch work: what nobody waits for runs on threads of its own.
//!
//! Calls that somebody waits for run on the executor's threads. Executions of the queue and ranges of fan-outs run here, on as
//! many threads of a lower priority: the operating system takes the processor from them as soon as a call needs it. Each
//! thread takes the task whose turn it is ([`turns`]), polls it once and charges the CPU time of the poll to its tenant.
//!
//! * [`Batch::run`] runs a future there. It may use everything of tokio, whose own threads poll timers and sockets.
//! * A guest that computes for long is interrupted at each tick and goes to the end of its tenant's queue. A future of many
//!   short runs must yield between them.
//!
//! The rule: **a task that waits holds no thread**.

mod turns;

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use turns::Turns;

use crate::cpu;
use crate::fairness::Lane;

/// Classes of batch work. Those of one tenant take turns, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Executions that are run one by one.
    Queued,
    /// Ranges of fan-outs.
    FanOut,
}

/// The nice value of the threads. Against a thread of the executor that computes all the time, one of them gets a tenth.
const NICE: i32 = 10;

thread_local! {
    static IS_BATCH: Cell<bool> = const { Cell::new(false) };
}

/// Is this thread one of those that run batch work?
pub(crate) fn is_this_thread() -> bool {
    IS_BATCH.get()
}

/// The threads that run batch work. They start with the first work, and end when this is dropped.
pub struct Batch {
    shared: Arc<Shared>,
    started: Once,
}

struct Shared {
    state: Mutex<State>,
    /// Something is ready, or the threads shall end.
    changed: Condvar,
}

struct State {
    turns: Turns<Arc<Task>>,
    /// Threads that wait for work.
    idle: usize,
    closed: bool,
}

impl Batch {
    pub(crate) fn new() -> Batch {
        let state = Mutex::new(State { turns: Turns::new(), idle: 0, closed: false });
        Batch { shared: Arc::new(Shared { state, changed: Condvar::new() }), started: Once::new() }
    }

    /// Runs this as work of a tenant. If it panics, so does the returned future; if that is dropped, the work is dropped.
    pub fn run<W>(&self, lane: &Lane, class: Class, work: W) -> impl Future<Output = W::Output> + Send + use<W>
    where
        W: Future<Output: Send + 'static> + Send + 'static,
    {
        self.started.call_once(|| self.start());
        let (sender, result) = oneshot::channel();
        let task = Arc::new(Task {
            shared: self.shared.clone(),
            tenant: lane.id(),
            class,
            state: AtomicU8::new(IDLE),
            cancelled: AtomicBool::new(false),
            work: Mutex::new(Some(Box::pin(async move {
                // Nobody is told if nobody waits any more.
                let _ = sender.send(AssertUnwindSafe(work).catch_unwind().await);
            }))),
        });
        task.clone().wake();
        let task = CancelOnDrop(task);
        async move {
            let ended = result.await;
            drop(task);
            match ended.expect("the work panicked while it was dropped") {
                Ok(value) => value,
                Err(panic) => resume_unwind(panic),
            }
        }
    }

    /// Charges CPU time that was used elsewhere for this tenant's work.
    pub fn charge(&self, lane: &Lane, class: Class, cpu: Duration) {
        self.shared.lock().turns.charge(lane.id(), class, cpu);
    }

    /// The CPU time by which the turn of this tenant is decided.
    pub fn used(&self, lane: &Lane) -> Duration {
        self.shared.lock().turns.used(lane.id())
    }

    fn start(&self) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads {
            let (shared, executor) = (self.shared.clone(), Handle::current());
            let thread = std::thread::Builder::new().name("larder-batch".into());
            thread.spawn(move || shared.work(&executor)).expect("a process can start a few threads");
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn push(&self, state: &mut State, task: Arc<Task>) {
        state.turns.push(task.tenant, task.class, task);
        if state.idle > 0 {
            self.changed.notify_one();
        }
    }

    /// What each thread does.
    fn work(&self, executor: &Handle) {
        let _entered = executor.enter();
        IS_BATCH.set(true);
        // Linux has a nice value for each thread, and raising it is always allowed. Elsewhere it is that of the process.
        if cfg!(target_os = "linux") {
            let _ = rustix::process::setpriority_process(None, NICE);
        }
        let mut state = self.lock();
        while !state.closed {
            let Some(task) = state.turns.take() else {
                state.idle += 1;
                state = self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
                state.idle -= 1;
                continue;
            };
            drop(state);
            let before = cpu::of_thread();
            // What its drop panics with must not end the thread.
            let is_ready = catch_unwind(AssertUnwindSafe(|| task.poll())).unwrap_or(false);
            let used = cpu::of_thread().saturating_sub(before);
            state = self.lock();
            state.turns.charge(task.tenant, task.class, used);
            if is_ready {
                self.push(&mut state, task);
            }
        }
    }
}

/// One future, and where it is.
struct Task {
    shared: Arc<Shared>,
    tenant: u64,
    class: Class,
    state: AtomicU8,
    cancelled: AtomicBool,
    /// `None` when it has ended.
    work: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
}

/// It waits to be woken.
const IDLE: u8 = 0;
/// It waits for its turn.
const READY: u8 = 1;
/// It is being polled.
const RUNNING: u8 = 2;
/// It is being polled and was woken meanwhile.
const WOKEN: u8 = 3;

impl Task {
    /// Polls it once; `true` if it is ready to be polled again.
    fn poll(self: &Arc<Task>) -> bool {
        self.state.store(RUNNING, Ordering::SeqCst);
        let mut slot = self.work.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Some(work) = slot.as_mut() else { return false };
        let waker = Waker::from(self.clone());
        let cancelled = self.cancelled.load(Ordering::SeqCst);
        if cancelled || work.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Ready(()) {
            *slot = None;
            return false;
        }
        drop(slot);
        if self.state.compare_exchange(RUNNING, IDLE, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            return false;
        }
        self.state.store(READY, Ordering::SeqCst);
        true
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let woken = |state| match state {
            IDLE => Some(READY),
            RUNNING => Some(WOKEN),
            _ => None,
        };
        if self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, woken) == Ok(IDLE) {
            let shared = self.shared.clone();
            shared.push(&mut shared.lock(), self);
        }
    }
}

struct CancelOnDrop(Arc<Task>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        self.0.clone().wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_may_wait_for_tokio_and_for_other_work() {
        let (batch, lane) = (Batch::new(), Lane::default());
        let (sender, receiver) = oneshot::channel();
        let waits = batch.run(&lane, Class::Queued, async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            receiver.await.unwrap()
        });
        let sends = batch.run(&lane, Class::FanOut, async move {
            assert!(is_this_thread());
            tokio::task::yield_now().await;
            sender.send(7).unwrap();
        });
        let (received, ()) = tokio::join!(waits, sends);
        assert_eq!(received, 7);
        assert!(!is_this_thread());
        assert!(batch.used(&lane) > Duration::ZERO);
    }

    #[tokio::test]
    async fn panic_is_that_of_the_caller_and_the_threads_go_on() {
        let (batch, lane) = (Batch::new(), Lane::default());
        for _ in 0..100 {
            let panics = batch.run(&lane, Class::Queued, async { panic!("on purpose") });
            assert!(AssertUnwindSafe(panics).catch_unwind().await.is_err());
        }
        assert_eq!(batch.run(&lane, Class::Queued, async { 7 }).await, 7);
    }

    #[tokio::test]
    async fn work_is_dropped_with_its_caller() {
        let (batch, lane, held) = (Batch::new(), Lane::default(), Arc::new(()));
        let holds = held.clone();
        let waits = batch.run(&lane, Class::Queued, async move {
            std::future::pending::<()>().await;
            drop(holds);
        });
        drop(waits);
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
