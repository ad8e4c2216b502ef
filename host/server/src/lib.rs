//! Everything that speaks HTTP to clients: listeners, the management API, the web endpoint.
//!
//! * [`listener`]: accepts connections. [`request_head`], [`client_body`], [`write_timeout`], [`addresses`]: what a client may
//!   send, how slowly, and from where.
//! * [`routing`]: the Host header → partner and endpoint. [`proxies`]: who is behind a proxy.
//! * [`auth`]: credentials → who calls. [`problem`]: errors → HTTP.
//! * [`api`]: the management API, one file per resource. [`web`]: end users' requests to HTTP functions.

mod addresses;
pub mod api;
pub mod app;
pub mod auth;
mod client_body;
pub mod listener;
pub mod problem;
pub mod proxies;
mod request_head;
pub mod routing;
pub mod web;
mod write_timeout;
