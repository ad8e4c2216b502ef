//! Larder: a self-hosted function platform. See `ARCHITECTURE.md` for the map.

pub mod api;
pub mod app;
pub mod auth;
pub mod backlog;
pub mod bodies;
pub mod cli;
pub mod dev;
pub mod feeds;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod ledger;
pub mod machine;
pub mod needs;
pub mod objects;
pub mod partners;
pub mod quotas;
pub mod roles;
pub mod rotation;
pub mod schedule;
pub mod staging;
pub mod stored;
pub mod telemetry;
pub mod usage;
pub mod web;
pub mod workers;

/// Of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
