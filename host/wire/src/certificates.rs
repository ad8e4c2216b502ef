//! Certificates of the installation's names.

use larder_model::certificates::Order;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::datetime;
use crate::pages::{Row, page};

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Certificate)]
pub struct CertificateObject {
    /// The name.
    #[serde(rename = "$id")]
    pub id: String,
    /// `valid`, `waiting` (for its first one) or `failed` (to get its first one).
    pub status: String,
    /// When it ends; empty: there is none yet.
    pub not_after: String,
    /// When the authority is asked next.
    pub due: String,
    /// Failures in a row since the last certificate.
    pub failures: u32,
    /// Why the last attempt failed; empty if it did not.
    pub error: String,
}

page!(CertificateList { total: usize, certificates: CertificateObject });

impl Row for CertificateObject {
    fn id(&self) -> &str {
        &self.id
    }
}

impl CertificateObject {
    pub fn new(order: Order, now_ms: larder_model::time::Millis) -> CertificateObject {
        let status = match order.not_after_ms {
            Some(end) if end > now_ms => "valid",
            _ if order.failures > 0 => "failed",
            _ => "waiting",
        };
        CertificateObject {
            id: order.name,
            status: status.into(),
            not_after: order.not_after_ms.map(datetime).unwrap_or_default(),
            due: datetime(order.due_at_ms.max(0)),
            failures: order.failures,
            error: order.error,
        }
    }
}
