//! Admission of runs to the instances and the memory of the process.
//!
//! A run takes an instance and reserves the memory that its function may use, so that an admitted run never finds the
//! machine without memory. Tenants ([`Lane`]) share both by the rule of [`share`]; a run that cannot begin waits in the queue
//! of its tenant. Whatever becomes free goes to the tenant with the fewest instances among those whose next run fits: so it is
//! used at once, and no tenant's backlog delays the first run of another.
//!
//! While nobody waits a run takes no lock: it adds itself to the counters and takes that back if it did not fit. The rule:
//! **whoever waits looks at the counters after it has joined the queue, and whoever leaves looks at the queue after it has left
//! the counters**, so one of both sees the other. A run that did not fit joins the queue, so what it added for a moment keeps
//! nobody waiting.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard};

use larder_model::share;
use tokio::sync::oneshot;

use crate::fairness::Lane;

/// What all runs share.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    pub instances: u64,
    pub memory_bytes: u64,
    /// The memory that the runs of one tenant may have together.
    pub tenant_memory_bytes: u64,
}

pub struct Instances {
    capacity: Capacity,
    taken: Taken,
    waiting: AtomicUsize,
    queues: Mutex<Queues>,
}

/// The instances of the process or of a tenant that are taken, and their memory.
#[derive(Default)]
pub(crate) struct Taken {
    pub instances: AtomicU64,
    pub memory_bytes: AtomicU64,
}

#[derive(Default)]
struct Queues {
    /// Those of tenants that have one, by their lanes' ids.
    tenants: HashMap<u64, Queue>,
    arrivals: u64,
}

struct Queue {
    lane: Arc<Lane>,
    waiters: VecDeque<Waiter>,
}

struct Waiter {
    memory_bytes: u64,
    arrival: u64,
    grant: oneshot::Sender<Permit>,
}

/// An instance and its memory, until it is dropped.
pub struct Permit {
    instances: Arc<Instances>,
    lane: Arc<Lane>,
    memory_bytes: u64,
}

impl Taken {
    /// Adds one instance, and returns what was taken before.
    fn add(&self, memory_bytes: u64) -> (u64, u64) {
        (self.instances.fetch_add(1, SeqCst), self.memory_bytes.fetch_add(memory_bytes, SeqCst))
    }

    fn remove(&self, memory_bytes: u64) {
        self.instances.fetch_sub(1, SeqCst);
        self.memory_bytes.fetch_sub(memory_bytes, SeqCst);
    }

    fn now(&self) -> (u64, u64) {
        (self.instances.load(SeqCst), self.memory_bytes.load(SeqCst))
    }
}

impl Instances {
    pub fn new(capacity: Capacity) -> Arc<Instances> {
        Arc::new(Instances { capacity, taken: Taken::default(), waiting: 0.into(), queues: Mutex::default() })
    }

    /// An instance for a run of this tenant that may use this much memory. Dropping the future leaves the queue.
    pub async fn enter(self: &Arc<Self>, lane: &Arc<Lane>, memory_bytes: u64) -> Permit {
        if self.waiting.load(SeqCst) == 0
            && let Some(permit) = self.take(lane, memory_bytes)
        {
            return permit;
        }
        let (grant, granted) = oneshot::channel();
        let unwanted = {
            let mut queues = self.lock();
            self.remove_cancelled(&mut queues, lane);
            queues.arrivals += 1;
            let waiter = Waiter { memory_bytes, arrival: queues.arrivals, grant };
            let queue = || Queue { lane: lane.clone(), waiters: VecDeque::new() };
            queues.tenants.entry(lane.id()).or_insert_with(queue).waiters.push_back(waiter);
            self.waiting.fetch_add(1, SeqCst);
            self.admit_waiting(&mut queues)
        };
        drop(unwanted);
        match granted.await {
            Ok(permit) => permit,
            Err(_) => unreachable!("a queue is dropped with the process only"),
        }
    }

    fn fits(&self, all: (u64, u64), own: (u64, u64), memory_bytes: u64) -> bool {
        own.1.saturating_add(memory_bytes) <= self.capacity.tenant_memory_bytes
            && share::fits(self.capacity.instances, all.0, own.0, 1)
            && share::fits(self.capacity.memory_bytes, all.1, own.1, memory_bytes)
    }

    fn take(self: &Arc<Self>, lane: &Arc<Lane>, memory_bytes: u64) -> Option<Permit> {
        let (own, all) = (lane.taken.add(memory_bytes), self.taken.add(memory_bytes));
        if self.fits(all, own, memory_bytes) {
            return Some(Permit { instances: self.clone(), lane: lane.clone(), memory_bytes });
        }
        self.taken.remove(memory_bytes);
        lane.taken.remove(memory_bytes);
        None
    }

    /// Admits every run that fits; returns the permits of runs that have stopped waiting, to be dropped without the lock.
    fn admit_waiting(self: &Arc<Self>, queues: &mut Queues) -> Vec<Permit> {
        let mut unwanted = Vec::new();
        while self.waiting.load(SeqCst) > 0 {
            let all = self.taken.now();
            let next = queues
                .tenants
                .iter()
                .filter_map(|(id, queue)| Some((*id, queue.lane.taken.now(), queue.waiters.front()?)))
                .filter(|(_, own, first)| first.grant.is_closed() || self.fits(all, *own, first.memory_bytes))
                .min_by_key(|(_, own, first)| (!first.grant.is_closed(), own.0, first.arrival))
                .map(|(id, ..)| id);
            let Some(queue) = next.and_then(|id| queues.tenants.get_mut(&id)) else { break };
            let Some(first) = queue.waiters.front() else { break };
            let permit = match first.grant.is_closed() {
                true => None,
                false => match self.take(&queue.lane, first.memory_bytes) {
                    Some(permit) => Some(permit),
                    // Another run has taken it, which looks at the queue when it ends.
                    None => break,
                },
            };
            let (id, waiter) = (queue.lane.id(), queue.waiters.pop_front());
            if queue.waiters.is_empty() {
                queues.tenants.remove(&id);
            }
            self.waiting.fetch_sub(1, SeqCst);
            if let (Some(waiter), Some(permit)) = (waiter, permit) {
                unwanted.extend(waiter.grant.send(permit).err());
            }
        }
        unwanted
    }

    /// Runs that have stopped waiting hold up nobody.
    fn remove_cancelled(&self, queues: &mut Queues, lane: &Arc<Lane>) {
        let Some(queue) = queues.tenants.get_mut(&lane.id()) else { return };
        let before = queue.waiters.len();
        queue.waiters.retain(|waiter| !waiter.grant.is_closed());
        self.waiting.fetch_sub(before - queue.waiters.len(), SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.lane.taken.remove(self.memory_bytes);
        self.instances.taken.remove(self.memory_bytes);
        if self.instances.waiting.load(SeqCst) == 0 {
            return;
        }
        let mut queues = self.instances.lock();
        let unwanted = self.instances.admit_waiting(&mut queues);
        // Dropping one of them locks again.
        drop(queues);
        drop(unwanted);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    const MIB: u64 = 1 << 20;

    fn instances(instances: u64, memory: u64, tenant: u64) -> Arc<Instances> {
        Instances::new(Capacity { instances, memory_bytes: memory * MIB, tenant_memory_bytes: tenant * MIB })
    }

    fn now<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    /// As many as it gets at once.
    fn all(instances: &Arc<Instances>, lane: &Arc<Lane>, mib: u64) -> Vec<Permit> {
        std::iter::from_fn(|| now(pin!(instances.enter(lane, mib * MIB)))).collect()
    }

    #[tokio::test]
    async fn freed_instances_go_to_the_tenant_with_the_fewest() {
        let (instances, lanes) = (instances(16, 1_000, 1_000), [(); 3].map(|()| Arc::<Lane>::default()));
        let (mut first, second) = (all(&instances, &lanes[0], 1), all(&instances, &lanes[1], 1));
        assert_eq!((first.len(), second.len()), (14, 1));
        // Those of the first that wait came before everybody else's.
        let mut late = Box::pin(instances.enter(&lanes[0], MIB));
        assert!(now(late.as_mut()).is_none());
        let third = all(&instances, &lanes[2], 1);
        assert_eq!(third.len(), 1);
        let mut again = Box::pin(instances.enter(&lanes[1], MIB));
        assert!(now(again.as_mut()).is_none());
        // One that is free is kept for somebody who has less.
        first.pop();
        assert!(now(late.as_mut()).is_none() && now(again.as_mut()).is_none());
        drop(third);
        assert!(now(again.as_mut()).is_some() && now(late.as_mut()).is_none());
        first.clear();
        assert!(now(late.as_mut()).is_some());
    }

    #[tokio::test]
    async fn memory_is_reserved_within_the_budgets_of_process_and_tenant() {
        let (instances, lanes) = (instances(100, 800, 300), [(); 4].map(|()| Arc::<Lane>::default()));
        let held = all(&instances, &lanes[0], 100);
        assert_eq!((held.len(), lanes[0].reserved_bytes()), (3, 300 * MIB));
        let more = [all(&instances, &lanes[1], 100), all(&instances, &lanes[2], 50)];
        assert_eq!(more.each_ref().map(Vec::len), [3, 2]);
        assert_eq!(all(&instances, &lanes[3], 60).len(), 1);
        drop((held, more));
        assert_eq!(lanes.each_ref().map(|lane| lane.reserved_bytes()), [0; 4]);
        assert!(instances.lock().tenants.is_empty());
        assert_eq!(instances.taken.now(), (0, 0));
    }

    #[tokio::test]
    async fn cancelled_waiter_keeps_no_permit() {
        let (instances, lane) = (instances(1, 10, 10), Arc::<Lane>::default());
        let held = instances.enter(&lane, MIB).await;
        let mut waits: Vec<_> = (0..3).map(|_| Box::pin(instances.enter(&lane, MIB))).collect();
        assert!(waits.iter_mut().all(|wait| now(wait.as_mut()).is_none()));
        // One before it was granted, one after.
        drop(waits.remove(0));
        drop(held);
        drop(waits.remove(0));
        let last = now(waits[0].as_mut()).expect("it is the last one's");
        drop(last);
        assert_eq!((instances.taken.now(), instances.lock().tenants.len()), ((0, 0), 0));
    }

    #[test]
    fn runs_that_come_and_go_on_many_threads_exceed_no_bound_and_leave_nobody_waiting() {
        const BOUND: u64 = 3;
        let (instances, running) = (instances(BOUND, 30, 20), AtomicU64::new(0));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
        let (instances, running) = (&instances, Arc::new(running));
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..8 {
                let (instances, running, lane) = (instances.clone(), running.clone(), Arc::<Lane>::default());
                tasks.spawn(async move {
                    for _ in 0..2_000 {
                        let _permit = instances.enter(&lane, 10 * MIB).await;
                        assert!(running.fetch_add(1, SeqCst) < BOUND);
                        tokio::task::yield_now().await;
                        running.fetch_sub(1, SeqCst);
                    }
                });
            }
            while let Some(ended) = tasks.join_next().await {
                ended.unwrap();
            }
        });
        assert_eq!((instances.taken.now(), instances.lock().tenants.len()), ((0, 0), 0));
    }
}
