//! Counts the bytes of bodies that are held: by the process, by each tenant, and for callers without a key.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};

use larder_model::settings::Server;
use larder_model::share;

use crate::bodies::Fault;
use crate::quotas::{Cap, Exceeded};

/// The budget of the process. Cheap to clone.
#[derive(Clone)]
pub struct Bodies(pub(super) Arc<Budget>);

pub(crate) struct Budget {
    process_max: u64,
    tenant_max: u64,
    held: AtomicU64,
    pub answers_max: u64,
    pub tenant_answers_max: u64,
    pub answers: AtomicU64,
    /// Bytes of requests without a tenant: the operator's, and those whose tenant is not known yet.
    unassigned: Arc<TenantBytes>,
}

/// Bytes that the requests and answers of one tenant hold. Outlives reloads of the tenant.
#[derive(Default)]
pub struct TenantBytes {
    held: AtomicU64,
    /// The part of `held` that belongs to callers without a key.
    keyless: AtomicU64,
    /// Bytes of answers that clients have not read yet.
    pub(super) answers: AtomicU64,
}

impl TenantBytes {
    pub fn answers(&self) -> u64 {
        self.answers.load(Relaxed)
    }

    pub fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }
}

impl Bodies {
    pub fn new(settings: &Server) -> Bodies {
        Bodies(Arc::new(Budget {
            process_max: settings.body_bytes_held_max,
            tenant_max: settings.body_bytes_per_partner,
            held: AtomicU64::new(0),
            answers_max: settings.answer_bytes_held_max,
            tenant_answers_max: settings.answer_bytes_per_partner,
            answers: AtomicU64::new(0),
            unassigned: Arc::default(),
        }))
    }

    /// Bytes held by the whole process.
    pub fn held(&self) -> u64 {
        self.0.held.load(Relaxed)
    }

    /// The account of a new request.
    pub fn account(&self) -> Account {
        Account(Arc::new(Entry {
            budget: self.clone(),
            owner: OnceLock::new(),
            held: AtomicU64::new(0),
            streams: AtomicBool::new(false),
        }))
    }
}

/// The bytes that one request holds, until the last clone is dropped.
#[derive(Clone)]
pub struct Account(Arc<Entry>);

struct Entry {
    budget: Bodies,
    owner: OnceLock<Owner>,
    held: AtomicU64,
    streams: AtomicBool,
}

struct Owner {
    tenant: Arc<TenantBytes>,
    has_key: bool,
}

impl Account {
    /// Sets the tenant of the request. Only the first call counts, and it must precede reading the body.
    pub fn belongs_to(&self, tenant: &Arc<TenantBytes>, has_key: bool) {
        let _ = self.0.owner.set(Owner { tenant: tenant.clone(), has_key });
    }

    /// Charges nothing from now on: the body is passed on as it arrives.
    pub fn streams(&self) {
        self.0.streams.store(true, Relaxed);
    }

    pub(super) fn payers(&self) -> (Bodies, Arc<TenantBytes>) {
        (self.0.budget.clone(), self.0.owner().tenant.clone())
    }

    /// Charges `bytes` more.
    pub fn charge(&self, bytes: u64) -> Result<(), Fault> {
        let Entry { budget: Bodies(budget), streams, held, .. } = &*self.0;
        if streams.load(Relaxed) {
            return Ok(());
        }
        let owner = self.0.owner();
        let own = owner.tenant.held.fetch_add(bytes, Relaxed);
        let keyless = if owner.has_key { 0 } else { owner.tenant.keyless.fetch_add(bytes, Relaxed) + bytes };
        let all = budget.held.fetch_add(bytes, Relaxed);
        // From here on, dropping the account releases the bytes.
        held.fetch_add(bytes, Relaxed);
        let most = budget.tenant_max;
        if own + bytes > most {
            return Err(Exceeded::new(Cap::BodyBytes, most, own).into());
        }
        // Half of the tenant's budget is reserved for callers with a key.
        if keyless > most / 2 {
            return Err(Exceeded::new(Cap::BodyBytes, most / 2, keyless - bytes).into());
        }
        if !share::fits(budget.process_max, all, own, bytes) {
            metrics::counter!("larder_bodies_refused_total").increment(1);
            return Err(Fault::Full);
        }
        Ok(())
    }
}

impl Entry {
    fn owner(&self) -> &Owner {
        self.owner.get_or_init(|| Owner { tenant: self.budget.0.unassigned.clone(), has_key: false })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let held = self.held.load(Relaxed);
        if held == 0 {
            return;
        }
        let owner = self.owner();
        owner.tenant.held.fetch_sub(held, Relaxed);
        if !owner.has_key {
            owner.tenant.keyless.fetch_sub(held, Relaxed);
        }
        self.budget.0.held.fetch_sub(held, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_model::settings::Settings;

    #[test]
    fn tenant_keyless_callers_and_process_are_bounded_and_bytes_are_released() {
        let mut settings = Settings::load(None, &[]).unwrap().server;
        (settings.body_bytes_held_max, settings.body_bytes_per_partner) = (400, 200);
        let bodies = Bodies::new(&settings);
        let tenants: Vec<Arc<TenantBytes>> = (0..4).map(|_| Arc::default()).collect();
        let open = |tenant: usize, has_key| {
            let account = bodies.account();
            account.belongs_to(&tenants[tenant], has_key);
            account
        };
        let stranger = open(0, false);
        stranger.charge(100).unwrap();
        assert!(matches!(open(0, false).charge(1), Err(Fault::Exceeded(why)) if (why.limit, why.used) == (100, 100)));
        let backend = open(0, true);
        backend.charge(100).unwrap();
        assert!(matches!(open(0, true).charge(1), Err(Fault::Exceeded(why)) if (why.limit, why.used) == (200, 200)));
        // A second tenant cannot take the last eighth, of which a third one still finds a part.
        let second = open(1, true);
        second.charge(150).unwrap();
        assert!(matches!(open(1, true).charge(10), Err(Fault::Full)));
        open(2, true).charge(25).unwrap();
        let streamed = open(1, true);
        streamed.streams();
        streamed.charge(1_000_000).unwrap();
        drop((stranger, backend, second, streamed));
        assert_eq!((bodies.held(), tenants.iter().map(|tenant| tenant.held()).sum::<u64>()), (0, 0));
        // A request without a tenant is bounded, too.
        assert!(matches!(bodies.account().charge(101), Err(Fault::Exceeded(_))));
        assert_eq!(bodies.held(), 0);
    }
}
