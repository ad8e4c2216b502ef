//! Admission of calls: rate and concurrency limits.
//!
//! Each process counts concurrent calls by itself. Calls per minute are counted over all processes: each counts its own, and a
//! few times a second they exchange their counts through Redis ([`share`]). So a call is admitted from memory. Without Redis
//! each process has its own count.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use larder_model::EndUser;
use larder_model::time::Millis;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::bodies::Fault;
use crate::common::Common;
use crate::directory::Tenant;
use crate::quotas::{Cap, Exceeded};

pub(crate) const MINUTE_MS: Millis = 60_000;
/// Between two exchanges of counts.
const SHARE: Duration = Duration::from_millis(200);
/// How long the count of a minute is stored for other processes.
const KEPT: Duration = Duration::from_secs(120);

/// Would a call be admitted now? This is checked before the body is read, so that no client sends one in vain.
pub fn check(common: &Common, tenant: &Tenant) -> Result<(), Fault> {
    check_rate(common, tenant)?;
    common.bodies.check_answers(&tenant.bodies)?;
    if tenant.permits.available_permits() == 0 { Err(at_once(common).into()) } else { Ok(()) }
}

/// The permit for one call of the partner, until it is dropped.
pub struct Admitted {
    _permit: OwnedSemaphorePermit,
    memory: Arc<AtomicU64>,
    memory_bytes: u64,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.memory.fetch_sub(self.memory_bytes, Relaxed);
    }
}

/// Admits one call of the partner that may use this much memory.
pub fn admit(common: &Common, tenant: &Tenant, memory_bytes: u64) -> Result<Admitted, Fault> {
    check_rate(common, tenant)?;
    common.bodies.check_answers(&tenant.bodies)?;
    let permit = tenant.permits.clone().try_acquire_owned().map_err(|_| at_once(common))?;
    let used = tenant.memory.fetch_add(memory_bytes, Relaxed).max(tenant.memory_in_use());
    // From here on, dropping it releases the memory.
    let admitted = Admitted { _permit: permit, memory: tenant.memory.clone(), memory_bytes };
    let most = common.settings.runtime.memory_bytes_per_partner;
    if used.saturating_add(memory_bytes) > most {
        return Err(Exceeded::new(Cap::GuestMemory, most, used).into());
    }
    count(common, tenant);
    Ok(admitted)
}

fn at_once(common: &Common) -> Exceeded {
    let most = common.settings.server.calls_per_partner as u64;
    Exceeded::new(Cap::CallsAtOnce, most, most)
}

/// Counts one more call in this minute.
pub(crate) fn count(common: &Common, tenant: &Tenant) {
    if common.settings.server.calls_per_minute > 0 {
        tenant.calls.add();
    }
}

/// May the partner make another call in this minute?
pub(crate) fn check_rate(common: &Common, tenant: &Tenant) -> Result<(), Exceeded> {
    let most = common.settings.server.calls_per_minute;
    if most > 0 {
        let now = common.clock.now_ms();
        let made = tenant.calls.known(now.div_euclid(MINUTE_MS));
        if made >= most {
            let left_ms = (MINUTE_MS - now.rem_euclid(MINUTE_MS)) as u64;
            return Err(Exceeded::new(Cap::CallsPerMinute, most, made).retry_after_s(left_ms.div_ceil(1_000) as u32));
        }
    }
    Ok(())
}

/// How long a read waits for a permit.
const READ_WAIT: Duration = Duration::from_secs(5);

/// Admits one read of the partner through the API, until the permit is dropped. The permits bound a partner's concurrent
/// reads to its share of the readers.
pub async fn admit_read(common: &Common, tenant: &Tenant) -> Result<OwnedSemaphorePermit, Exceeded> {
    let most = common.settings.server.reads_per_partner as u64;
    let permit = tokio::time::timeout(READ_WAIT, tenant.reads.clone().acquire_owned());
    permit.await.map(|permit| permit.expect("never closed")).map_err(|_| Exceeded::new(Cap::ReadsAtOnce, most, most))
}

/// Requests of a partner's end users for what is theirs, at once and in this process.
pub struct EndUsers {
    all: Arc<Semaphore>,
    /// Of each end user that has some.
    each: Mutex<HashMap<String, u32>>,
}

impl EndUsers {
    pub fn new(at_once: usize) -> EndUsers {
        EndUsers { all: Arc::new(Semaphore::new(at_once)), each: Mutex::default() }
    }

    /// How many of all permits are free.
    pub fn free(&self) -> usize {
        self.all.available_permits()
    }

    /// How many the end user has who has most.
    pub fn most(&self) -> u32 {
        self.each().values().copied().max().unwrap_or_default()
    }

    fn each(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.each.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The permit of one request of an end user, until it is dropped.
pub struct EndUserPermit {
    end_users: Arc<EndUsers>,
    id: String,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Drop for EndUserPermit {
    fn drop(&mut self) {
        let mut each = self.end_users.each();
        if let Some(own) = each.get_mut(&self.id) {
            *own -= 1;
            if *own == 0 {
                each.remove(&self.id);
            }
        }
    }
}

/// Admits one request of an end user for what is theirs: some at once of each, so that nobody takes the place of others.
pub async fn admit_end_user(common: &Common, tenant: &Tenant, user: &EndUser) -> Result<EndUserPermit, Exceeded> {
    let settings = &common.settings.identity;
    let end_users = tenant.end_users.clone();
    {
        let mut each = end_users.each();
        let own = each.entry(user.id.clone()).or_default();
        if *own >= settings.requests_per_end_user {
            let most = settings.requests_per_end_user.into();
            return Err(Exceeded::new(Cap::EndUserRequests, most, most));
        }
        *own += 1;
    }
    // From here on, dropping it releases what was counted.
    let mut permit = EndUserPermit { end_users: end_users.clone(), id: user.id.clone(), _permit: None };
    let most = settings.requests_per_partner as u64;
    let wait = tokio::time::timeout(READ_WAIT, end_users.all.clone().acquire_owned());
    let all = wait.await.map_err(|_| Exceeded::new(Cap::EndUsersRequests, most, most))?;
    permit._permit = Some(all.expect("never closed"));
    Ok(permit)
}

/// Exchanges counts with the other processes until this one drains.
pub async fn share(common: Common) {
    let drain = common.life.drain();
    loop {
        tokio::select! {
            () = tokio::time::sleep(SHARE) => {}
            () = drain.cancelled() => return,
        }
        let minute = common.clock.now_ms().div_euclid(MINUTE_MS);
        for (partner, tenant) in common.directory.tenants().iter() {
            let Some(own) = tenant.calls.own(minute) else { continue };
            let key = format!("calls:{partner}:{minute}");
            if let Some(all) = common.signals.increment(&key, tenant.calls.unreported(own), KEPT).await {
                tenant.calls.shared(own, all);
            }
        }
    }
}
