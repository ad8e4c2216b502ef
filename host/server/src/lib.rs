//! Everything that speaks HTTP to clients: listeners, the management API, the web endpoint.
//!
//! * [`listener`]: accepts connections. [`request_head`], [`client_body`], [`write_timeout`] and [`addresses`] limit what a
//!   client may send, how slowly, and how many connections it may have.
//! * [`front`]: a process that passes requests on to another one, which has the database.
//! * [`routing`]: the Host header → partner and endpoint. [`proxies`]: the client behind a proxy.
//! * [`auth`]: credentials → caller. [`problem`]: errors → HTTP.
//! * [`api`]: the management API, one file per resource. [`web`]: end users' requests to HTTP functions. [`me`]: end users'
//!   requests for what is theirs. [`console`]: pages for people who have signed in.

mod addresses;
pub mod api;
pub mod app;
mod audited;
pub mod auth;
mod client_body;
mod console;
mod cors;
pub mod front;
mod letters;
pub mod listener;
mod me;
pub mod problem;
pub mod proxies;
mod request_head;
pub mod routing;
pub mod web;
mod write_timeout;
