//! Outgoing HTTP.
//!
//! * [`Client`] sends requests to a [`Destination`] on behalf of a tenant. Every request that a tenant can cause goes through it:
//!   those of functions, upstreams and feeds.
//! * [`http_rule`] decides what a function's grants cover, [`larder_model::net::authority`] parses the target of a request, and
//!   [`larder_model::net::address`] decides which addresses are public.
//! * [`upstreams`] are named external services, with the credentials that the host adds.
//! * [`Calls`] are the outgoing calls of one execution: its grants, its limits and the headers of every call.
//!
//! The rules: **a name is resolved once, each of its addresses must be allowed, and the connection goes to one of them**;
//! **redirects are not followed**; **a call ends when its future and its response body are dropped**.

mod body;
mod calls;
mod client;
mod dns_transport;
mod effective_grants;
mod pool;
mod resolve;
pub mod upstreams;

use std::time::Duration;

use ipnet::IpNet;
use larder_model::Scheme;

pub use calls::Calls;
pub use client::Client;
pub use effective_grants::{EffectiveGrants, Tenants};
pub use larder_model::outgoing::{Body, Error};

use larder_model::net::authority::{Authority, Host};
use larder_model::net::http_rule;
use larder_model::outgoing;
use larder_model::settings;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    pub scheme: Scheme,
    pub host: Host,
    pub port: u16,
    /// The private networks that are allowed, if `egress.private_networks` allows them too.
    pub networks: Vec<IpNet>,
}

impl Destination {
    /// Without a port, the scheme's default port is used.
    pub fn new(scheme: Scheme, to: Authority, networks: Vec<IpNet>) -> Destination {
        Destination { scheme, host: to.host, port: to.port.unwrap_or(http_rule::default_port(scheme)), networks }
    }

    /// The value of the `Host` header.
    pub fn authority(&self) -> String {
        let port = Some(self.port).filter(|port| *port != http_rule::default_port(self.scheme));
        Authority { host: self.host.clone(), port }.to_string()
    }
}

/// The timeouts of a call.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// To establish a connection: resolving, connecting and TLS.
    pub connect: Duration,
    /// From then to the head of the response, including sending the request.
    pub first_byte: Duration,
    /// Between two parts of the response body.
    pub between_bytes: Duration,
    /// For the whole call.
    pub total: Duration,
}

impl Times {
    pub fn of(settings: &settings::Egress) -> Times {
        Times {
            connect: settings.connect_timeout,
            first_byte: settings.first_byte_timeout,
            between_bytes: settings.between_bytes_timeout,
            total: settings.timeout,
        }
    }

    /// The smaller of both values, for each timeout.
    pub fn at_most(self, other: outgoing::Times) -> Times {
        let least = |ours: Duration, theirs: Option<Duration>| theirs.map_or(ours, |theirs| theirs.min(ours));
        Times {
            connect: least(self.connect, other.connect),
            first_byte: least(self.first_byte, other.first_byte),
            between_bytes: least(self.between_bytes, other.between_bytes),
            total: self.total,
        }
    }
}
