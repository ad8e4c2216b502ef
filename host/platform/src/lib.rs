//! The application layer: what Larder does, without HTTP servers and command lines.
//!
//! * [`directory`]: the tenants, as a snapshot in memory. [`admission`], [`backlog`], [`stored`], [`bodies`], [`uploads`] and
//!   [`idempotency_keys`] hold each tenant to its bounds, which [`quotas`] lists.
//! * [`deployments`]: every change of what a function runs.
//! * [`execution`]: the one way to run a function. [`ledger`]: the only writer of outcomes.
//! * [`jobs`]: what works in the background, one file per kind.
//! * [`feeds`] and [`standard_webhooks`]: items of outside services. [`needs`]: grants that an upload lacks.
//! * [`key_rotation`]: how another master key takes over. [`objects`]: uploaded bytes.

pub mod admission;
pub mod backlog;
pub mod bodies;
pub mod common;
pub mod deployments;
pub mod directory;
pub mod execution;
pub mod feeds;
pub mod idempotency_keys;
pub mod jobs;
pub mod key_rotation;
pub mod ledger;
pub mod needs;
pub mod objects;
pub mod quotas;
pub mod standard_webhooks;
pub mod stored;
pub mod uploads;
