//! The plain types and rules of Larder, without I/O: no tokio, SQL, network or WebAssembly.
//!
//! * Entities as they are stored: [`partners`], [`functions`], [`deployments`], [`executions`], [`enrolments`], [`events`],
//!   [`fanouts`], [`transactions`], [`variables`], [`feeds`], [`rules`], [`webhooks`], [`upstreams`] with their [`breakers`],
//!   [`identities`]; their [`ids`]; their keys ([`trigger_key`]). [`run_keys`]. [`administrators`] and their sessions.
//! * What a run may do and did: [`grants`], [`limits`], [`state`], [`outgoing`], [`outcome`], [`retries`], [`amount`].
//! * Formats: [`cloudevents`], [`attributes`], [`feed_mapping`], [`cron`] with [`zones`], [`fields`], [`text`], [`strict_json`],
//!   [`json_schema`] with [`settings_schema`] and [`event_schemas`].
//! * Who reaches what: [`doors`]; by which [`certificates`], through which [`fronts`]. The network as text: [`net`]. The operator's [`settings`]. The [`time`]. The rule of sharing: [`share`].

pub mod administrators;
pub mod amount;
pub mod artifact;
pub mod attributes;
pub mod audit;
pub mod breakers;
pub mod bulk_actions;
pub mod certificates;
pub mod cloudevents;
pub mod cron;
pub mod deployments;
pub mod doors;
pub mod enrolments;
pub mod event_schemas;
pub mod events;
pub mod executions;
pub mod fanouts;
pub mod feed_mapping;
pub mod feeds;
pub mod fields;
pub mod fronts;
pub mod functions;
pub mod grants;
pub mod identities;
pub mod ids;
mod json;
pub mod json_schema;
pub mod limits;
pub mod mails;
pub mod net;
pub mod outcome;
pub mod outgoing;
pub mod partners;
pub mod providers;
pub mod retries;
pub mod rules;
pub mod run_keys;
pub mod settings;
pub mod settings_schema;
pub mod share;
pub mod state;
pub mod strict_json;
pub mod text;
pub mod time;
pub mod transactions;
pub mod trigger_key;
pub mod upstreams;
pub mod variables;
pub mod webhooks;
mod words;
pub mod zones;

/// The version of Larder.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

pub use amount::{Amount, Currency};
pub use artifact::{Digest, Exports};
pub use bulk_actions::{BulkAction, BulkKind, BulkStatus, Letters};
pub use deployments::{Approval, BuildStatus, Deployment, SourceFormat};
pub use enrolments::{Enrolment, EnrolmentStatus, PausedBy};
pub use event_schemas::{EventRules, EventSchemas};
pub use events::{Event, StoredEvent};
pub use executions::{Execution, ExecutionStatus, RequestRecord, Trigger};
pub use fanouts::{Fanout, FanoutStatus};
pub use feeds::{Feed, FeedSettings, Progress};
pub use functions::{EnrolBy, Enrolling, Function, FunctionSettings, LimitSettings, Per, Topics};
pub use grants::{
    GrantChange, GrantChangeKind, Grants, HttpGrant, Period, Scheme, TransactionGrant, TransactionGrants,
};
pub use identities::{EndUser, Identity, IdentitySettings};
pub use json::json;
pub use limits::{Exceeded, LimitKind, Limits, Usage};
pub use outcome::{Effect, End, Failure, Logs, Outcome};
pub use partners::{ApiKey, Partner};
pub use rules::Rule;
pub use run_keys::RunKey;
pub use transactions::Transaction;
pub use trigger_key::{delivery_key, trigger_key};
pub use upstreams::{Upstream, UpstreamSettings};
pub use variables::Variable;
pub use webhooks::Webhook;
