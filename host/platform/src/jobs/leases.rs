//! The leases that this process holds. Only these are renewed: what failed to end, because the database was unavailable or the
//! run panicked, is claimed again when its lease expires.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use dashmap::DashMap;
use larder_model::ids::{ExecutionId, PartnerId, RangeId};

use crate::common::Common;

/// Leases on things with such ids. Clones share their state.
pub struct Held<Id: Eq + Hash>(Arc<DashMap<Id, PartnerId>>);

/// The leases of executions.
pub type HeldExecutions = Held<ExecutionId>;
/// The leases of ranges of fan-outs.
pub type HeldRanges = Held<RangeId>;

/// One lease. Dropping it ends the renewals.
pub struct Lease<Id: Eq + Hash> {
    held: Held<Id>,
    id: Id,
}

impl<Id: Eq + Hash + Clone> Held<Id> {
    pub fn hold(&self, id: &Id, partner: &PartnerId) -> Lease<Id> {
        self.0.insert(id.clone(), partner.clone());
        Lease { held: self.clone(), id: id.clone() }
    }

    /// The number of leases, by partner.
    pub fn by_partner(&self) -> HashMap<PartnerId, u32> {
        let mut counts = HashMap::new();
        for entry in self.0.iter() {
            *counts.entry(entry.value().clone()).or_default() += 1;
        }
        counts
    }

    fn ids(&self) -> Vec<Id> {
        self.0.iter().map(|entry| entry.key().clone()).collect()
    }
}

impl<Id: Eq + Hash> Clone for Held<Id> {
    fn clone(&self) -> Held<Id> {
        Held(self.0.clone())
    }
}

impl<Id: Eq + Hash> Default for Held<Id> {
    fn default() -> Held<Id> {
        Held(Arc::default())
    }
}

impl<Id: Eq + Hash> Drop for Lease<Id> {
    fn drop(&mut self) {
        self.held.0.remove(&self.id);
    }
}

/// Renews the leases in good time, for as long as the process lives.
pub async fn renew(common: Common, executions: HeldExecutions, ranges: HeldRanges) {
    let lease = common.settings.worker.lease;
    loop {
        tokio::time::sleep(lease / 3).await;
        let until = common.clock.now_ms() + lease.as_millis() as i64;
        let renewed = common.store.renew_leases(&common.holder, &executions.ids(), until).await;
        if let Err(err) = renewed.and(common.store.renew_ranges(&common.holder, &ranges.ids(), until).await) {
            tracing::error!(error = %err, "leases could not be renewed");
        }
    }
}
