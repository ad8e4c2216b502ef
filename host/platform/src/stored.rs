//! How much each partner stores, as this process knows it, and the bound of that.
//!
//! The sums are counted in the background ([`count`], one process) and followed by every process ([`follow`]). What this
//! process has stored since counts on top, so that a partner cannot run away from a count: a bound is overrun by what other
//! processes have stored since the last one, no more.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use larder_model::ids::PartnerId;
use larder_model::time::Millis;
use larder_store::Counting;
use tokio::time::Instant;

use crate::common::Common;
use crate::quotas::{Cap, Exceeded};

/// Rows of one statement.
const PAGE: u32 = 1_000;
/// Between two counts of everything.
const PERIOD: Duration = Duration::from_secs(60);
/// A page is followed by a rest of so many times as long as it took: counting has a fifth of one connection.
const REST: u32 = 4;
/// Between two looks at what was counted.
const FOLLOW: Duration = Duration::from_secs(5);

/// Of one partner.
#[derive(Debug, Default)]
pub struct Stored {
    counted: AtomicU64,
    counted_at_ms: AtomicI64,
    /// By this process, since the count before the last and since the last: a count does not tell at which row it was when
    /// something was stored, so that is kept for one more.
    before: AtomicU64,
    since: AtomicU64,
}

impl Stored {
    pub fn bytes(&self) -> u64 {
        let load = |of: &AtomicU64| of.load(Ordering::Relaxed);
        load(&self.counted) + load(&self.before) + load(&self.since)
    }

    /// This process has stored so many more.
    pub fn add(&self, bytes: u64) {
        self.since.fetch_add(bytes, Ordering::Relaxed);
    }

    fn is_counted(&self, bytes: u64, at: Millis) {
        if self.counted_at_ms.swap(at, Ordering::Relaxed) != at {
            self.counted.store(bytes, Ordering::Relaxed);
            self.before.store(self.since.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// May the partner store so many bytes more?
pub fn admit(common: &Common, stored: &Stored, more: u64) -> Result<(), Exceeded> {
    let (most, used) = (common.settings.records.bytes_per_partner, stored.bytes());
    if most > 0 && used + more > most { Err(Exceeded::new(Cap::StoredBytes, most, used)) } else { Ok(()) }
}

/// Counts what each partner stores, one after the other, until the process drains.
pub async fn count(common: Common) {
    let drain = common.life.drain();
    loop {
        let partners: Vec<PartnerId> = common.directory.tenants().keys().cloned().collect();
        for partner in partners {
            if let Err(err) = count_one(&common, &partner).await {
                tracing::warn!(partner.id = %partner, error = %err, "what {partner} stores could not be counted");
            }
            if common.life.is_draining() {
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = drain.cancelled() => return,
        }
    }
}

async fn count_one(common: &Common, partner: &PartnerId) -> larder_store::Result<()> {
    let drain = common.life.drain();
    let mut counting = Counting::default();
    loop {
        let begun = Instant::now();
        match common.store.count_stored(partner, counting, PAGE).await? {
            Ok(bytes) => return common.store.set_stored(partner, bytes, common.clock.now_ms()).await,
            Err(further) => counting = further,
        }
        tokio::select! {
            () = tokio::time::sleep(begun.elapsed() * REST) => {}
            () = drain.cancelled() => return Ok(()),
        }
    }
}

/// Follows what was counted, for as long as the process lives.
pub async fn follow(common: Common) {
    let drain = common.life.drain();
    while !drain.is_cancelled() {
        match common.store.stored().await {
            Ok(all) => {
                let tenants = common.directory.tenants();
                for (partner, bytes, at) in all {
                    if let Some(tenant) = tenants.get(&partner) {
                        tenant.stored.is_counted(bytes, at);
                    }
                }
            }
            Err(err) => tracing::warn!(error = %err, "what partners store could not be looked up"),
        }
        tokio::select! {
            () = tokio::time::sleep(FOLLOW) => {}
            () = drain.cancelled() => return,
        }
    }
}
