//! Admission: may this call begin now?

use tokio::sync::OwnedSemaphorePermit;

use crate::partners::Tenant;

/// The partner has as many calls under way as it may.
#[derive(Debug, thiserror::Error)]
#[error("too many calls at once")]
pub struct TooMany;

/// Room for one call of the partner, until the permit is dropped.
pub fn admit(tenant: &Tenant) -> Result<OwnedSemaphorePermit, TooMany> {
    tenant.permits.clone().try_acquire_owned().map_err(|_| {
        metrics::counter!("larder_calls_refused_total", "reason" => "concurrency").increment(1);
        TooMany
    })
}
