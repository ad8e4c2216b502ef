//! What Larder says over HTTP: shared by the server, the command line and the tests.
//!
//! * One file per resource: its objects, its lists and the bodies of its requests. [`problem`]: the error object and its kinds.
//! * [`pages`]: lists. [`queries`]: what a list is asked for. [`scopes`]: what a key may do. [`known`]: parts that a newer
//!   server may have extended.
//!
//! The rules: the names, the order and the presence of members are the wire format and do not change. Whoever reads a
//! response ignores members that it does not know, so words are strings here. A member that is added to a response
//! gets `#[serde(default)]`, for servers that do not send it yet. In a request, what is not given is not sent.

pub mod administrators;
pub mod audit;
pub mod bulk_actions;
pub mod certificates;
pub mod console;
pub mod dead_letters;
pub mod deployments;
pub mod enrolments;
pub mod events;
pub mod executions;
pub mod fanouts;
pub mod feeds;
pub mod fronts;
pub mod functions;
pub mod grants;
pub mod health;
pub mod identities;
pub mod known;
pub mod limits;
pub mod master_keys;
pub mod me;
pub mod pages;
pub mod partners;
pub mod problem;
pub mod queries;
pub mod rules;
pub mod runtimes;
pub mod schedules;
pub mod scopes;
pub mod transactions;
pub mod upstreams;
pub mod usage;
pub mod variables;
pub mod webhooks;

use chrono::SecondsFormat;
use larder_model::time::{Millis, instant};

/// The version of the wire format that clients are told.
pub const FORMAT_VERSION: &str = "1.9.5";

/// An id for the server to choose.
pub const UNIQUE: &str = "unique()";

/// `2026-11-05T09:30:00.000+00:00`.
pub fn datetime(ms: Millis) -> String {
    instant(ms).to_rfc3339_opts(SecondsFormat::Millis, false)
}
