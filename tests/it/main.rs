//! The one test binary: a file per subject, each at the outermost door that is still fast.

#![allow(clippy::disallowed_methods, reason = "tests spawn as they like and ask the real time")]

mod answers;
mod api_deployments;
mod api_executions;
mod api_functions;
mod api_lists;
mod bodies;
mod builds;
mod canary;
mod claims;
mod command_line;
mod connections;
mod corpus;
mod crash;
mod dead_letters;
mod egress;
mod environment;
mod events;
mod failover;
mod feeds;
mod grants;
mod hostile;
mod hot_path;
mod idempotency;
mod incoming;
mod isolation;
mod lifecycle;
mod limits;
mod objects;
mod processes;
mod queue;
mod schedules;
mod secrets;
mod serve;
mod settings;
mod shares;
mod streaming;
mod tail;
mod toolchains;
mod uploads;
mod upstreams;
mod web_door;
