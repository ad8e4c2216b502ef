//! Who may have an instance: admission of runs to the instances and the memory of the process.
//!
//! A run takes an instance and reserves the memory that its function may use, so that what was admitted never finds the
//! machine without memory. Tenants ([`Lane`]) share both by the rule of [`share`]; a run that cannot begin waits in a line of
//! its tenant. Whatever becomes free goes to the tenant that has the fewest instances, among those that wait and fit: so it is
//! used at once, and no backlog of one tenant stands before the first run of another.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};

use larder_model::share;
use tokio::sync::oneshot;

use crate::turns::Lane;

/// What there is.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub instances: u64,
    pub memory_bytes: u64,
    /// The memory that the runs of one tenant may have together.
    pub tenant_memory_bytes: u64,
}

pub struct Instances {
    room: Room,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    instances: u64,
    memory_bytes: u64,
    /// Those that have or want something, by their lanes' ids.
    tenants: HashMap<u64, Tenant>,
    waiting: usize,
    arrivals: u64,
}

struct Tenant {
    lane: Arc<Lane>,
    instances: u64,
    memory_bytes: u64,
    line: VecDeque<Waiter>,
}

struct Waiter {
    memory_bytes: u64,
    arrival: u64,
    tell: oneshot::Sender<Permit>,
}

/// An instance and its memory, until it is dropped.
pub struct Permit {
    instances: Arc<Instances>,
    lane: u64,
    memory_bytes: u64,
}

impl Instances {
    pub fn new(room: Room) -> Arc<Instances> {
        Arc::new(Instances { room, state: Mutex::default() })
    }

    /// An instance for a run of this tenant that may use so much memory. Whoever stops waiting leaves the line.
    pub async fn enter(self: &Arc<Self>, lane: &Arc<Lane>, memory_bytes: u64) -> Permit {
        let told = {
            let mut state = self.lock();
            state.forget_those_who_left(lane);
            if state.tenant(lane).line.is_empty() && self.fits(&state, lane.id(), memory_bytes) {
                return self.take(&mut state, lane.id(), memory_bytes);
            }
            let (tell, told) = oneshot::channel();
            state.arrivals += 1;
            state.waiting += 1;
            let waiter = Waiter { memory_bytes, arrival: state.arrivals, tell };
            state.tenant(lane).line.push_back(waiter);
            told
        };
        match told.await {
            Ok(permit) => permit,
            Err(_) => unreachable!("a line is dropped with the process only"),
        }
    }

    fn fits(&self, state: &State, lane: u64, memory_bytes: u64) -> bool {
        let (instances, own_memory) = state.tenants.get(&lane).map_or((0, 0), |own| (own.instances, own.memory_bytes));
        own_memory + memory_bytes <= self.room.tenant_memory_bytes
            && share::fits(self.room.instances, state.instances, instances, 1)
            && share::fits(self.room.memory_bytes, state.memory_bytes, own_memory, memory_bytes)
    }

    fn take(self: &Arc<Self>, state: &mut State, lane: u64, memory_bytes: u64) -> Permit {
        state.instances += 1;
        state.memory_bytes += memory_bytes;
        if let Some(tenant) = state.tenants.get_mut(&lane) {
            tenant.instances += 1;
            tenant.memory_bytes += memory_bytes;
            tenant.lane.reserved_bytes.store(tenant.memory_bytes, Relaxed);
        }
        Permit { instances: self.clone(), lane, memory_bytes }
    }

    /// Lets in whoever fits; gives the permits of those who do not wait any more.
    fn let_in(self: &Arc<Self>, state: &mut State) -> Vec<Permit> {
        let mut unwanted = Vec::new();
        while state.waiting > 0 {
            let next = state
                .tenants
                .iter()
                .filter_map(|(lane, tenant)| Some((tenant.instances, tenant.line.front()?, *lane)))
                .filter(|(_, first, lane)| first.tell.is_closed() || self.fits(state, *lane, first.memory_bytes))
                .min_by_key(|(instances, first, _)| (!first.tell.is_closed(), *instances, first.arrival))
                .map(|(.., lane)| lane);
            let Some(lane) = next else { break };
            let Some(waiter) = state.tenants.get_mut(&lane).and_then(|tenant| tenant.line.pop_front()) else { break };
            state.waiting -= 1;
            if waiter.tell.is_closed() {
                state.remove_idle(lane);
                continue;
            }
            let permit = self.take(state, lane, waiter.memory_bytes);
            unwanted.extend(waiter.tell.send(permit).err());
        }
        unwanted
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn tenant(&mut self, lane: &Arc<Lane>) -> &mut Tenant {
        self.tenants.entry(lane.id()).or_insert_with(|| Tenant {
            lane: lane.clone(),
            instances: 0,
            memory_bytes: 0,
            line: VecDeque::new(),
        })
    }

    /// Nobody stands behind one that does not wait any more.
    fn forget_those_who_left(&mut self, lane: &Arc<Lane>) {
        let Some(tenant) = self.tenants.get_mut(&lane.id()) else { return };
        let before = tenant.line.len();
        tenant.line.retain(|waiter| !waiter.tell.is_closed());
        self.waiting -= before - tenant.line.len();
    }

    fn remove_idle(&mut self, lane: u64) {
        if self.tenants.get(&lane).is_some_and(|tenant| tenant.instances == 0 && tenant.line.is_empty()) {
            self.tenants.remove(&lane);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.instances.lock();
        state.instances -= 1;
        state.memory_bytes -= self.memory_bytes;
        if let Some(tenant) = state.tenants.get_mut(&self.lane) {
            tenant.instances -= 1;
            tenant.memory_bytes -= self.memory_bytes;
            tenant.lane.reserved_bytes.store(tenant.memory_bytes, Relaxed);
        }
        let unwanted = self.instances.let_in(&mut state);
        state.remove_idle(self.lane);
        // Dropping one of them locks again.
        drop(state);
        drop(unwanted);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    const MIB: u64 = 1 << 20;

    fn room(instances: u64, memory: u64, tenant: u64) -> Arc<Instances> {
        Instances::new(Room { instances, memory_bytes: memory * MIB, tenant_memory_bytes: tenant * MIB })
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
    async fn two_that_take_all_they_can_leave_some_for_a_third_and_what_they_give_back_is_his_first() {
        let (instances, lanes) = (room(16, 1_000, 1_000), [(); 3].map(|()| Arc::<Lane>::default()));
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
        let (instances, lanes) = (room(100, 800, 300), [(); 4].map(|()| Arc::<Lane>::default()));
        let held = all(&instances, &lanes[0], 100);
        assert_eq!((held.len(), lanes[0].reserved_bytes()), (3, 300 * MIB));
        let more = [all(&instances, &lanes[1], 100), all(&instances, &lanes[2], 50)];
        assert_eq!(more.each_ref().map(Vec::len), [3, 2]);
        assert_eq!(all(&instances, &lanes[3], 60).len(), 1);
        drop((held, more));
        assert_eq!(lanes.each_ref().map(|lane| lane.reserved_bytes()), [0; 4]);
        assert!(instances.lock().tenants.is_empty());
        assert_eq!(instances.lock().memory_bytes, 0);
    }

    #[tokio::test]
    async fn whoever_stops_waiting_takes_nothing_with_it() {
        let (instances, lane) = (room(1, 10, 10), Arc::<Lane>::default());
        let held = instances.enter(&lane, MIB).await;
        let mut waits: Vec<_> = (0..3).map(|_| Box::pin(instances.enter(&lane, MIB))).collect();
        assert!(waits.iter_mut().all(|wait| now(wait.as_mut()).is_none()));
        // One before it was told, one after.
        drop(waits.remove(0));
        drop(held);
        drop(waits.remove(0));
        let last = now(waits[0].as_mut()).expect("it is the last one's");
        drop(last);
        let state = instances.lock();
        assert_eq!((state.instances, state.tenants.len()), (0, 0));
    }
}
