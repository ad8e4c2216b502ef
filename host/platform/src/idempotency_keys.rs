//! How many idempotency keys each partner has.

use dashmap::DashMap;
use larder_model::ids::PartnerId;
use larder_model::time::Millis;

use crate::common::Common;

/// How many keys each partner has, about: counted now and then, and as they are taken.
#[derive(Default)]
pub struct Counts(DashMap<PartnerId, Counted>);

#[derive(Clone, Copy)]
struct Counted {
    keys: u64,
    at: Millis,
}

/// How long a count is good for, and one that leaves no room.
const COUNTED: Millis = 60_000;
const COUNTED_FULL: Millis = 1_000;

impl Counts {
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

    pub fn one_more(&self, partner: &PartnerId) {
        if let Some(mut counted) = self.0.get_mut(partner) {
            counted.keys += 1;
        }
    }
}
