//! The web endpoint: HTTP between clients and functions.

mod answers;
mod bodies;
mod certificates;
mod compression;
mod domains;
mod doors;
mod fronts;
mod hot_path;
mod http2;
mod http_semantics;
mod idempotency;
mod incoming;
mod own_domains;
mod routes;
mod streaming;
mod tiers;
mod tls;
mod told;
