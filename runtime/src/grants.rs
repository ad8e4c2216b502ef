//! What a function may reach, each with its bounds. Nothing is ambient: what is not granted answers with a refusal.
//!
//! The JSON form is what the API speaks and what is stored. Amounts are decimal text in major units, checked against
//! the currency's exponent by whoever takes grants in.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The default reaches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Grants {
    /// Outgoing HTTP; a request needs one grant that covers all of it.
    pub http: Vec<HttpGrant>,
    /// Named outside services, called as `http://NAME.upstream/path`.
    pub upstreams: BTreeSet<String>,
    /// Values that outlive a run.
    pub state: bool,
    /// Creating transactions, by ISO 4217 currency.
    pub transactions: BTreeMap<String, TransactionGrant>,
    /// Types of events that it may emit: dotted words, `*` for any one word.
    pub events: BTreeSet<String>,
    /// Secret variables that stand in its environment.
    pub secrets: BTreeSet<String>,
}

impl Grants {
    /// May this upstream be called, and signed for? A no says what to add.
    pub fn allow_upstream(&self, name: &str) -> Result<(), String> {
        if self.upstreams.contains(name) {
            return Ok(());
        }
        let all: Vec<&str> = self.upstreams.iter().map(String::as_str).chain([name]).collect();
        Err(format!(
            "the upstream {name:?} is not granted to this function; larder.toml, [grants]: upstreams = {all:?}"
        ))
    }
}

/// Requests to some hosts, with what one execution may spend on them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpGrant {
    #[serde(default)]
    pub scheme: Scheme,
    /// `api.sports.example`, `*.sports.example` for any name below it, either with a port (`:8443`).
    pub hosts: BTreeSet<String>,
    #[serde(default = "HttpGrant::methods")]
    pub methods: BTreeSet<String>,
    /// Prefixes of whole segments.
    #[serde(default = "HttpGrant::paths")]
    pub paths: BTreeSet<String>,
    /// Requests of one execution.
    #[serde(default = "HttpGrant::calls")]
    pub calls: u32,
    /// Bytes of one execution, both bodies of all its requests together.
    #[serde(default = "HttpGrant::bytes")]
    pub bytes: u64,
    /// The private network (CIDR) in which the hosts may lie; without it every address must be public.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

impl HttpGrant {
    fn methods() -> BTreeSet<String> {
        ["GET", "HEAD"].map(Into::into).into()
    }

    fn paths() -> BTreeSet<String> {
        ["/".into()].into()
    }

    fn calls() -> u32 {
        10
    }

    fn bytes() -> u64 {
        1 << 20
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    Http,
    #[default]
    Https,
}

/// Transactions in one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TransactionGrant {
    /// The largest single amount: `500.00`.
    pub max: String,
    /// What the function may save for one end user within `period`.
    pub sum: String,
    pub period: Period,
}

/// Back from the moment at which a transaction is booked: a rolling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// 24 hours.
    Day,
    /// 7 days.
    Week,
    /// 30 days.
    Month,
}
