//! What a function may reach at this moment, which can be less than when its run began.

use std::sync::Arc;

use larder_model::Grants;
use larder_model::ids::{FunctionId, PartnerId};

use crate::upstreams::UpstreamView;

/// What is known of the tenants, answered from memory.
pub trait Tenants: Send + Sync {
    /// The upstream that the partner's functions know by this name.
    fn upstream(&self, partner: &PartnerId, name: &str) -> Option<Arc<UpstreamView>>;

    /// What is granted to the function, or why nothing is.
    fn grants(&self, partner: &PartnerId, function: &FunctionId) -> Result<Arc<Grants>, String>;
}

/// Asked at each call out: what was taken away is gone for the next call of every run, in this process at once, in others when
/// they hear of it.
#[derive(Clone)]
pub struct InForce {
    tenants: Arc<dyn Tenants>,
    pub partner: PartnerId,
    function: FunctionId,
}

impl InForce {
    pub fn new(tenants: Arc<dyn Tenants>, partner: &PartnerId, function: &FunctionId) -> InForce {
        InForce { tenants, partner: partner.clone(), function: function.clone() }
    }

    /// What is granted, or why nothing is.
    pub fn grants(&self) -> Result<Arc<Grants>, String> {
        self.tenants.grants(&self.partner, &self.function)
    }
}
