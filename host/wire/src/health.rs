//! Which API there is, and how it is.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// Of the wire format.
    pub version: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Health {
    pub name: String,
    pub status: String,
    /// Milliseconds that the database took to answer.
    pub ping: u64,
    /// What Larder knows of the world outside, and how old that is.
    pub facts: Facts,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    pub time_zones: TimeZones,
    pub currencies: Currencies,
    pub certificate_authorities: CertificateAuthorities,
}

/// Whose certificates calls out believe; how many there are.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateAuthorities {
    pub system: usize,
    /// Only where the system has none.
    pub compiled_in: usize,
    /// Of `egress.ca_file`.
    pub file: usize,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct TimeZones {
    /// Of the IANA data, such as `2026f`; `null` where the folder does not say.
    pub version: Option<String>,
    /// A folder, or `compiled in`.
    pub source: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Currencies {
    /// The day of the ISO 4217 list.
    pub as_of: String,
}
