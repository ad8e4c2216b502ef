//! The bytes that each partner stores, and their limit.
//!
//! One process counts them in the background ([`count`]), and every process follows the counts ([`follow`]). Each process adds
//! what it has stored since the last count. So a partner can exceed its limit only by what other processes have stored since
//! then.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use larder_model::ids::PartnerId;
use larder_model::time::Millis;
use larder_store::Counting;
use tokio::time::Instant;

use crate::common::Common;
use crate::quotas::{Cap, Exceeded};

/// Rows in one statement.
const PAGE: u32 = 1_000;
/// Between two counts of everything.
const PERIOD: Duration = Duration::from_secs(60);
/// After each page, counting pauses for this many times as long as the page took. So it uses a fifth of one connection.
const REST: u32 = 4;
/// Between two reads of the counts.
const FOLLOW: Duration = Duration::from_secs(5);

/// The stored bytes of one partner.
#[derive(Debug, Default)]
pub struct Stored {
    counted: AtomicU64,
    counted_at_ms: AtomicI64,
    /// Stored by this process between the last two counts, and since the last. Whether a count in progress has seen a new row is
    /// not known, so its bytes are added for one more count.
    before: AtomicU64,
    since: AtomicU64,
}

impl Stored {
    pub fn bytes(&self) -> u64 {
        let load = |of: &AtomicU64| of.load(Ordering::Relaxed);
        load(&self.counted) + load(&self.before) + load(&self.since)
    }

    /// Adds bytes that this process has stored.
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

/// May the partner store this many more bytes?
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
                tracing::warn!(partner.id = %partner, error = %err, "the stored bytes of {partner} could not be counted");
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

/// Follows the counts, for as long as the process lives.
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
            Err(err) => tracing::warn!(error = %err, "the stored bytes of partners could not be read"),
        }
        tokio::select! {
            () = tokio::time::sleep(FOLLOW) => {}
            () = drain.cancelled() => return,
        }
    }
}
