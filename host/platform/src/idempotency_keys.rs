//! Idempotency keys: the context of those who use them, and the number of keys of each partner.

use std::sync::Arc;

use dashmap::DashMap;
use larder_model::ids::PartnerId;
use larder_model::time::Millis;
use larder_secrets::Secrets;

use crate::common::{Common, context};

context! {
    /// The context of requests under idempotency keys.
    Idempotency {
        /// Encrypts the answers that are kept.
        secrets: Secrets,
        counts: Arc<KeyCounts>,
    }
}

/// The approximate number of keys of each partner: counted periodically, and incremented as keys are claimed.
#[derive(Default)]
pub struct KeyCounts(DashMap<PartnerId, Counted>);

#[derive(Clone, Copy)]
struct Counted {
    keys: u64,
    at: Millis,
}

/// How long a count is valid, and one that has reached the limit.
const COUNTED: Millis = 60_000;
const COUNTED_FULL: Millis = 1_000;

impl KeyCounts {
    pub async fn of(&self, common: &Common, partner: &PartnerId, limit: u64) -> larder_store::Result<u64> {
        let now = common.clock.now_ms();
        let known = self.0.get(partner).map(|counted| *counted);
        match known {
            Some(known) if now - known.at < if known.keys < limit { COUNTED } else { COUNTED_FULL } => Ok(known.keys),
            _ => {
                let keys = common.store.count_idempotency_keys(partner, limit).await?;
                self.0.insert(partner.clone(), Counted { keys, at: now });
                Ok(keys)
            }
        }
    }

    pub fn add_one(&self, partner: &PartnerId) {
        if let Some(mut counted) = self.0.get_mut(partner) {
            counted.keys += 1;
        }
    }
}
