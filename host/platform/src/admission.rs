//! Admission: may this call begin now?
//!
//! Calls at once are counted by this process. Calls in a minute are counted by all processes together: each counts its
//! own, and a few times a second they exchange their sums through Redis ([`share`]), so that a call is decided from memory.
//! Without Redis each process has its own count.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use larder_model::time::Millis;
use tokio::sync::OwnedSemaphorePermit;

use crate::bodies::Fault;
use crate::common::Common;
use crate::directory::Tenant;
use crate::quotas::{Cap, Exceeded};

pub(crate) const MINUTE_MS: Millis = 60_000;
/// Between two exchanges of counts.
const SHARE: Duration = Duration::from_millis(200);
/// How long a minute's sum is kept for others.
const KEPT: Duration = Duration::from_secs(120);

/// Would a call be admitted now? Asked before its body is read, so that nobody sends one for nothing.
pub fn check(common: &Common, tenant: &Tenant) -> Result<(), Fault> {
    check_rate(common, tenant)?;
    common.bodies.check_answers(&tenant.bodies)?;
    if tenant.permits.available_permits() == 0 { Err(at_once(common).into()) } else { Ok(()) }
}

/// Room for one call of the partner, until it is dropped.
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

/// Room for one call of the partner that may use so much memory.
pub fn admit(common: &Common, tenant: &Tenant, memory_bytes: u64) -> Result<Admitted, Fault> {
    check_rate(common, tenant)?;
    common.bodies.check_answers(&tenant.bodies)?;
    let permit = tenant.permits.clone().try_acquire_owned().map_err(|_| at_once(common))?;
    let used = tenant.memory.fetch_add(memory_bytes, Relaxed).max(tenant.memory_in_use());
    // From here on dropping it gives the memory back.
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

/// One more call in this minute.
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

/// How long a read waits for its turn.
const READ_WAIT: Duration = Duration::from_secs(5);

/// Room for one read of the partner through the API, until the permit is dropped. One partner's reads take turns, so that
/// they hold no more than a share of the readers.
pub async fn admit_read(common: &Common, tenant: &Tenant) -> Result<OwnedSemaphorePermit, Exceeded> {
    let most = common.settings.server.reads_per_partner as u64;
    let turn = tokio::time::timeout(READ_WAIT, tenant.reads.clone().acquire_owned());
    turn.await.map(|permit| permit.expect("never closed")).map_err(|_| Exceeded::new(Cap::ReadsAtOnce, most, most))
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
            if let Some(all) = common.queue.count(&key, tenant.calls.untold(own), KEPT).await {
                tenant.calls.shared(own, all);
            }
        }
    }
}
