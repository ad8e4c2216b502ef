//! The application layer: what Larder does, without HTTP servers and command lines.
//!
//! * [`directory`]: an in-memory snapshot of the tenants. [`admission`], [`backlog`], [`stored`], [`rates`], [`bodies`], [`uploads`] and
//!   [`idempotency_keys`] enforce each tenant's limits, which [`quotas`] lists.
//! * Services, each the only place that changes the state of its subject: [`partners`], [`keys`], [`functions`], [`deployments`],
//!   [`grants`], [`variables`], [`enrolments`], [`upstreams`], [`feeds`], [`events`], [`executions`], [`fanouts`], [`dead_letters`],
//!   [`rules`], [`domains`], [`webhooks`], [`administrators`], [`administrator_links`], [`second_factors`], [`identity`],
//!   [`key_rotation`], [`fronts`]. A service checks
//!   the change against the state, stores it, and notifies whom it concerns before it returns. It refuses by [`Error`].
//! * [`audit`]: the record of each change, written with it.
//! * [`execution`]: the one way to run a function. [`run_keys`]: by which it calls the API meanwhile. [`ledger`]: the only writer of outcomes.
//! * [`jobs`]: background jobs, one file per kind.
//! * [`standard_webhooks`]: authentication of pushes. [`needs`]: grants that an upload lacks. [`objects`]: uploaded bytes.
//!   [`tls`]: the certificates that are presented. [`archives`]: the component in an upload that is an archive. [`chunks`]: uploads that come in several requests.

pub mod administrator_links;
pub mod administrators;
pub mod admission;
pub mod archives;
pub mod audit;
pub mod backlog;
pub mod bodies;
pub mod bulk_actions;
pub mod certificates;
pub mod chunks;
pub mod common;
pub mod dead_letters;
pub mod deployments;
pub mod directory;
pub mod domains;
pub mod enrolments;
mod error;
pub mod events;
pub mod execution;
pub mod executions;
pub mod fanouts;
pub mod feeds;
pub mod fronts;
pub mod functions;
pub mod grants;
pub mod idempotency_keys;
pub mod identity;
pub mod jobs;
pub mod key_rotation;
pub mod keys;
pub mod ledger;
pub mod mails;
pub mod needs;
pub mod objects;
pub mod partners;
pub mod providers;
pub mod quotas;
pub mod rates;
pub mod rules;
pub mod run_keys;
pub mod second_factors;
pub mod standard_webhooks;
pub mod stored;
pub mod tls;
pub mod uploads;
pub mod upstreams;
pub mod variables;
pub mod webhooks;

pub use error::{Error, Result};
