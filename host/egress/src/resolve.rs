//! Names → addresses, by a resolver whose every answer comes from a name server.
//!
//! The system's own would also ask the hosts file and try search domains, on threads that cannot be stopped. This one asks
//! the servers it is given (or those of `/etc/resolv.conf`) for exactly the name, keeps nothing, and gives all addresses or
//! none. Whether they may be connected to is for the caller to say.
//!
//! hickory speaks DNS, follows aliases, and goes on to the next server. It gets a new resolver for each question, so that
//! nothing is cached and no tenant's question waits for, or is answered by, another's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy};
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::{Name, RecordType};
use larder_model::outgoing::Error;

use crate::dns_transport::Transport;

/// How long one server has for an answer; each is asked twice.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
const ROUNDS: usize = 2;
/// Addresses of one name.
const ADDRESSES_MAX: usize = 32;
const CONFIGURATION: &str = "/etc/resolv.conf";

pub struct Resolver {
    /// Empty: those of the system, looked up each time because they change.
    servers: Vec<SocketAddr>,
}

impl Resolver {
    pub fn new(servers: Vec<SocketAddr>) -> Resolver {
        Resolver { servers }
    }

    /// All addresses of a name, at least one.
    pub async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, Error> {
        // Not for name servers to say (RFC 6761).
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into()]);
        }
        let servers = self.servers().await;
        let (v4, v6) = tokio::join!(ask(&servers, name, RecordType::A), ask(&servers, name, RecordType::AAAA));
        let addresses = match (v4, v6) {
            (Ok(v4), Ok(v6)) => [v4, v6].concat(),
            // A server that fails on one kind of address still knows the other.
            (Ok(some), Err(_)) | (Err(_), Ok(some)) if !some.is_empty() => some,
            (Err(why), _) | (_, Err(why)) => {
                return Err(Error::Dns(format!("the name {name} could not be resolved: {why}")));
            }
        };
        match addresses.len() {
            0 => Err(Error::Dns(format!("the name {name} is not known or has no address"))),
            1..=ADDRESSES_MAX => Ok(addresses),
            many => Err(Error::Dns(format!("the name {name} has {many} addresses, up to {ADDRESSES_MAX} are allowed"))),
        }
    }

    async fn servers(&self) -> Vec<SocketAddr> {
        if !self.servers.is_empty() {
            return self.servers.clone();
        }
        let text = tokio::fs::read_to_string(CONFIGURATION).await.unwrap_or_default();
        let found: Vec<SocketAddr> = name_servers(&text).map(|address| (address, 53).into()).collect();
        if found.is_empty() { vec![(Ipv4Addr::LOCALHOST, 53).into()] } else { found }
    }
}

fn name_servers(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok()).take(3)
}

/// The addresses of one kind; none if the name is not known, says who must know.
async fn ask(servers: &[SocketAddr], name: &str, kind: RecordType) -> Result<Vec<IpAddr>, NetError> {
    let questions = servers.len() * ROUNDS;
    let config = servers.iter().map(|server| {
        let mut config = NameServerConfig::udp_and_tcp(server.ip());
        config.connections.iter_mut().for_each(|connection| connection.port = server.port());
        config
    });
    let config = ResolverConfig::from_name_servers(config.collect());
    let resolver = hickory_resolver::Resolver::builder_with_config(config, Transport).with_options(options(questions));
    // Of labels a name is complete: no search domain is added to it.
    let name = Name::from_labels(name.split('.').map(str::as_bytes))?;
    let lookup = async { resolver.build()?.lookup(name, kind).await };
    match tokio::time::timeout(SERVER_TIMEOUT * questions as u32, lookup).await {
        Ok(Ok(found)) => {
            let of_kind = found.answers().iter().filter(|record| record.record_type() == kind);
            Ok(of_kind.filter_map(|record| record.data.ip_addr()).collect())
        }
        Ok(Err(err)) if err.is_no_records_found() => Ok(vec![]),
        Ok(Err(err)) => Err(err),
        Err(_) => Err(NetError::Timeout),
    }
}

fn options(questions: usize) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = 0;
    options.timeout = SERVER_TIMEOUT;
    // In the given order, one after the other: whatever goes wrong with one, the next attempt is another's.
    options.server_ordering_strategy = ServerOrderingStrategy::RoundRobin;
    options.num_concurrent_reqs = 1;
    options.attempts = questions - 1;
    options.edns0 = false;
    // Of an alias only the addresses that it leads to.
    options.preserve_intermediates = false;
    options
}
