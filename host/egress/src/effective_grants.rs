//! The grants that are effective at this moment, which can be fewer than when a run started.

use std::sync::Arc;

use larder_model::Grants;
use larder_model::ids::{FunctionId, PartnerId};

use crate::upstreams::UpstreamView;

/// The tenants, answered from memory.
pub trait Tenants: Send + Sync {
    /// Returns the upstream that the tenant's functions call by this name.
    fn upstream(&self, partner: &PartnerId, name: &str) -> Option<Arc<UpstreamView>>;

    /// Returns the grants of the function, or why it has none.
    fn grants(&self, partner: &PartnerId, function: &FunctionId) -> Result<Arc<Grants>, String>;
}

/// The effective grants of one function, looked up at each outgoing call. A revoked grant is refused from the next call of every
/// run on: in this process at once, in others when they are notified.
#[derive(Clone)]
pub struct EffectiveGrants {
    tenants: Arc<dyn Tenants>,
    pub partner: PartnerId,
    function: FunctionId,
}

impl EffectiveGrants {
    pub(crate) fn new(tenants: Arc<dyn Tenants>, partner: &PartnerId, function: &FunctionId) -> EffectiveGrants {
        EffectiveGrants { tenants, partner: partner.clone(), function: function.clone() }
    }

    /// Returns the effective grants, or why there are none.
    pub fn grants(&self) -> Result<Arc<Grants>, String> {
        self.tenants.grants(&self.partner, &self.function)
    }
}
