//! What handlers are given.

use std::sync::Arc;

use larder_model::zones::Zones;
use larder_platform::execution::Executor;
use larder_platform::idempotency_keys::KeyCounts;
use larder_platform::key_rotation::KeyRotation;
use larder_platform::uploads::Staging;

/// Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// Derefs to the [`Executor`], and so to what the whole platform shares.
pub struct Parts {
    pub executor: Executor,
    pub key_rotation: KeyRotation,
    pub staging: Staging,
    /// The number of idempotency keys of each partner.
    pub idempotency: KeyCounts,
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
    type Target = Executor;

    fn deref(&self) -> &Executor {
        &self.executor
    }
}
