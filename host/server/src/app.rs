//! What handlers are given.

use std::sync::Arc;

use larder_egress::upstreams::Upstreams;
use larder_model::zones::Zones;
use larder_platform::common::Common;
use larder_platform::execution::Executor;
use larder_platform::idempotency_keys::Counts;
use larder_platform::key_rotation::KeyRotation;
use larder_platform::ledger::Ledger;
use larder_platform::objects::Objects;
use larder_platform::uploads::Staging;
use larder_secrets::Secrets;

/// Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

pub struct Parts {
    pub common: Common,
    pub executor: Executor,
    pub key_rotation: KeyRotation,
    pub objects: Objects,
    pub secrets: Secrets,
    pub ledger: Ledger,
    pub staging: Staging,
    /// Keys of requests that partners have.
    pub idempotency: Counts,
    pub upstreams: Upstreams,
    pub zones: Zones,
    /// SHA-256 of the operator key's text.
    pub operator_key_hash: [u8; 32],
}

impl App {
    pub fn new(parts: Parts) -> App {
        App(Arc::new(parts))
    }
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl std::ops::Deref for Parts {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.common
    }
}
