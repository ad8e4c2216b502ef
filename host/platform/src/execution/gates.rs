//! Gates let an execution finish that keeps losing races.
//!
//! State is optimistic: a run whose reads changed in the meantime is repeated. Under constant contention it could lose forever.
//! After [`RACES_MAX`] lost races it closes the gate of its scope. Later runs wait at the gate, runs in progress end, and then
//! it runs alone. While no gate is closed, passing costs one atomic read. `Store::lock_state` does the same for other
//! processes; the ledger of every process observes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use larder_store::state::Scope;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Lost races after which the gate is closed.
pub const RACES_MAX: u32 = 3;

#[derive(Clone, Default)]
pub struct Gates(Arc<Shared>);

#[derive(Default)]
struct Shared {
    closed: AtomicUsize,
    gates: DashMap<Scope, Gate>,
}

#[derive(Default)]
struct Gate {
    lock: Arc<Mutex<()>>,
    /// Runs that have closed the gate or wait to close it.
    holders: usize,
}

/// A closed gate. It opens when this is dropped.
pub struct Closed {
    _lock: OwnedMutexGuard<()>,
    _count: Count,
}

/// Keeps a gate in the map while it is needed, also if the waiting run is dropped.
struct Count {
    gates: Gates,
    scope: Scope,
}

impl Gates {
    /// Waits while the gate of this scope is closed.
    pub async fn pass(&self, scope: &Scope) {
        if self.0.closed.load(Ordering::Acquire) == 0 {
            return;
        }
        let Some(lock) = self.0.gates.get(scope).map(|gate| gate.lock.clone()) else { return };
        drop(lock.lock().await);
    }

    /// Closes the gate of this scope. Only one run at a time holds it closed.
    pub async fn close(&self, scope: &Scope) -> Closed {
        let lock = {
            let mut gate = self.0.gates.entry(scope.clone()).or_default();
            gate.holders += 1;
            gate.lock.clone()
        };
        self.0.closed.fetch_add(1, Ordering::Release);
        let count = Count { gates: self.clone(), scope: scope.clone() };
        let lock = lock.lock_owned().await;
        Closed { _lock: lock, _count: count }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.gates.0.closed.fetch_sub(1, Ordering::Release);
        self.gates.0.gates.remove_if_mut(&self.scope, |_, gate| {
            gate.holders -= 1;
            gate.holders == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_gate_blocks_other_runs_and_is_removed_when_opened() {
        let gates = Gates::default();
        let scope = |function: &str| Scope {
            partner: "p".parse().unwrap(),
            function: function.parse().unwrap(),
            enrolment: None,
        };
        let closed = gates.close(&scope("a")).await;
        gates.pass(&scope("b")).await;
        let a = scope("a");
        let mut waiting = Box::pin(gates.pass(&a));
        assert!(futures::poll!(&mut waiting).is_pending());
        // A run that stops waiting to close the gate leaves nothing behind.
        {
            let mut second = Box::pin(gates.close(&a));
            assert!(futures::poll!(&mut second).is_pending());
        }
        drop(closed);
        waiting.await;
        assert!(gates.0.gates.is_empty());
        assert_eq!(gates.0.closed.load(Ordering::Relaxed), 0);
    }
}
