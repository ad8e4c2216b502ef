//! What every part of the platform is given.

use std::sync::Arc;

use larder_egress::Client;
use larder_egress::upstreams::Upstreams;
use larder_model::settings::Settings;
use larder_model::time::Clock;
use larder_model::zones::Zones;
use larder_runtime::Runtime;
use larder_secrets::Secrets;
use larder_signals::Queue;
use larder_signals::lifecycle::Lifecycle;
use larder_store::Store;

use crate::bodies::Bodies;
use crate::directory::Directory;
use crate::execution::gates::Gates;
use crate::idempotency_keys::Counts;
use crate::jobs::fairness::Turns;
use crate::ledger::Ledger;
use crate::objects::Objects;
use crate::uploads::Staging;

/// Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

impl App {
    pub fn new(parts: Parts) -> App {
        App(Arc::new(parts))
    }
}

impl App {
    /// What must outlive everything else: writes what the ledger holds, then lets others have what this process had claimed
    /// and does not run any more.
    pub async fn close(&self) {
        self.ledger.close().await;
        let now = self.clock.now_ms();
        let feeds = self.store.end_feed_leases(Some(&self.holder), now).await.map(|_| ());
        if let Err(err) = self.store.end_leases(&self.holder, now).await.and(feeds) {
            tracing::warn!(error = %err, "claims could not be given back; they run out");
        }
        if let Err(err) = crate::key_rotation::leave(self).await {
            tracing::warn!(error = %err, "others take this process for alive a little longer");
        }
    }
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

pub struct Parts {
    pub settings: Settings,
    pub clock: Clock,
    pub store: Store,
    pub objects: Objects,
    pub secrets: Secrets,
    pub directory: Directory,
    pub queue: Queue,
    pub ledger: Ledger,
    pub runtime: Arc<Runtime>,
    pub gates: Gates,
    pub bodies: Bodies,
    pub staging: Staging,
    /// Keys of requests that partners have.
    pub idempotency: Counts,
    pub turns: Turns,
    pub upstreams: Upstreams,
    pub zones: Zones,
    /// Through which everything goes that leaves by HTTP.
    pub egress: Client,
    pub life: Lifecycle,
    /// SHA-256 of the operator key's text.
    pub operator_key_hash: [u8; 32],
    /// Under which this process holds leases.
    pub holder: String,
}
