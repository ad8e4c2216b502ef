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

/// The state of something that Larder depends on. Clients of different ages read the one or the list.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Dependency {
    #[serde(flatten)]
    pub worst: DependencyStatus,
    pub total: u64,
    pub statuses: Vec<DependencyStatus>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct DependencyStatus {
    pub name: String,
    /// Milliseconds that it took to answer.
    pub ping: u64,
    /// `pass` or `fail`.
    pub status: String,
}

/// What waits in a queue, of the project.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct QueueSize {
    pub size: u64,
}

/// The clocks of the database and of this process, in seconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Time {
    pub remote_time: i64,
    pub local_time: i64,
    pub diff: i64,
}

/// There is no scanner of files.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct AntiVirus {
    pub version: String,
    /// `disabled`.
    pub status: String,
}
