//! Outgoing HTTP.
//!
//! * [`Client`] speaks to a [`Destination`] on behalf of a partner; everything that a tenant can make Larder call goes
//!   through it: functions, upstreams, feeds, notices.
//! * [`http_rule`] says what a function's grants cover, [`larder_model::net::authority`] whom a request is for, [`larder_model::net::address`] what is public.
//! * [`upstreams`] are outside services by name, with what the host adds to reach them.
//! * [`Calls`] are those of one execution: grants, bounds, and what every call carries.
//!
//! The rules: **a name is resolved once, every address it has must be allowed, and the connection goes to one of these**;
//! **no redirect is followed**; **everything about a call ends when its future and its answer's body are dropped**.

mod body;
mod calls;
mod client;
mod dns_transport;
mod in_force;
mod pool;
mod resolve;
pub mod upstreams;

use std::time::Duration;

use ipnet::IpNet;
use larder_model::Scheme;

pub use calls::Calls;
pub use client::Client;
pub use in_force::{InForce, Tenants};
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
    /// Private networks in which it may lie, as far as `egress.private_networks` has them too.
    pub networks: Vec<IpNet>,
}

impl Destination {
    /// Without a port it is that of the scheme.
    pub fn new(scheme: Scheme, to: Authority, networks: Vec<IpNet>) -> Destination {
        Destination { scheme, host: to.host, port: to.port.unwrap_or(http_rule::default_port(scheme)), networks }
    }

    /// As it stands in a `Host` header.
    pub fn authority(&self) -> String {
        let port = Some(self.port).filter(|port| *port != http_rule::default_port(self.scheme));
        Authority { host: self.host.clone(), port }.to_string()
    }
}

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Until there is a connection: resolving, connecting and TLS.
    pub connect: Duration,
    /// From there until the head of the answer, which includes sending the request.
    pub first_byte: Duration,
    /// Without anything of the answer's body.
    pub between_bytes: Duration,
    /// All of it.
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

    /// The smaller of both, each.
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
