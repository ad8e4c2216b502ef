//! Larder: a self-hosted function platform. See `ARCHITECTURE.md` for the map.

pub mod api;
pub mod app;
pub mod auth;
pub mod backlog;
pub mod bodies;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crash;
pub mod dev;
pub mod egress;
pub mod events;
pub mod feeds;
pub mod fields;
pub mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod grants;
pub mod hop_by_hop;
pub mod ids;
pub mod ledger;
pub mod lifecycle;
pub mod machine;
pub mod model;
pub mod money;
pub mod objects;
pub mod partners;
pub mod queue;
pub mod quotas;
pub mod roles;
pub mod rotation;
pub mod schedule;
pub mod secrets;
pub mod staging;
pub mod store;
pub mod stored;
pub mod telemetry;
pub mod tls;
pub mod usage;
pub mod web;
pub mod workers;
pub mod zones;

/// Of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
