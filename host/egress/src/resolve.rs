//! Resolves names through DNS servers only.
//!
//! The system's resolver would also use the hosts file and search domains, on threads that cannot be cancelled. This one asks
//! the configured servers (or those of `/etc/resolv.conf`) for exactly the name, caches nothing, and returns all addresses or
//! none. The caller decides which addresses are allowed.
//!
//! hickory implements DNS, follows aliases and tries the next server. Each query gets a new resolver, so nothing is cached, and
//! no tenant's query waits for another's or is answered from it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy};
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::rdata::CNAME;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use larder_model::outgoing::Error;

use crate::dns_transport::Transport;

/// The timeout of one query to one server; each server is asked twice.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
const ROUNDS: usize = 2;
/// The maximum number of addresses of one name.
const ADDRESSES_MAX: usize = 32;
const CONFIGURATION: &str = "/etc/resolv.conf";

pub struct Resolver {
    /// If empty, the servers of the system are used and read for each query, because they can change.
    servers: Vec<SocketAddr>,
}

impl Resolver {
    pub fn new(servers: Vec<SocketAddr>) -> Resolver {
        Resolver { servers }
    }

    /// Returns all addresses of a name, at least one.
    pub async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, Error> {
        // Never sent to a server (RFC 6761).
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into()]);
        }
        let servers = self.servers().await;
        let addresses = async |kind| {
            let found = ask(&servers, name, kind).await?;
            Ok::<_, NetError>(found.iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>())
        };
        let (v4, v6) = tokio::join!(addresses(RecordType::A), addresses(RecordType::AAAA));
        let addresses = match (v4, v6) {
            (Ok(v4), Ok(v6)) => [v4, v6].concat(),
            // A server that fails for one record type may still answer the other.
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

    /// The name that this one is an alias of. Aliases of that are not followed.
    pub async fn alias(&self, name: &str) -> Result<Option<String>, Error> {
        let asked = Name::from_labels(name.split('.').map(str::as_bytes)).map_err(|err| Error::Dns(err.to_string()))?;
        let found = self.records(name, RecordType::CNAME).await?;
        let own = found.iter().find(|record| record.name == asked);
        Ok(own.and_then(|record| match &record.data {
            RData::CNAME(CNAME(to)) => Some(to.to_ascii().trim_end_matches('.').to_ascii_lowercase()),
            _ => None,
        }))
    }

    /// Each text is whole, however many strings it has.
    pub async fn texts(&self, name: &str) -> Result<Vec<String>, Error> {
        let found = self.records(name, RecordType::TXT).await?;
        let texts = found.iter().filter_map(|record| match &record.data {
            RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
            _ => None,
        });
        Ok(texts.collect())
    }

    async fn records(&self, name: &str, kind: RecordType) -> Result<Vec<Record>, Error> {
        let found = ask(&self.servers().await, name, kind).await;
        found.map_err(|why| Error::Dns(format!("{kind} of {name} could not be asked for: {why}")))
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

/// Returns the records of one type; none if the server says that the name has none.
async fn ask(servers: &[SocketAddr], name: &str, kind: RecordType) -> Result<Vec<Record>, NetError> {
    let questions = servers.len() * ROUNDS;
    let config = servers.iter().map(|server| {
        let mut config = NameServerConfig::udp_and_tcp(server.ip());
        config.connections.iter_mut().for_each(|connection| connection.port = server.port());
        config
    });
    let config = ResolverConfig::from_name_servers(config.collect());
    let resolver = hickory_resolver::Resolver::builder_with_config(config, Transport).with_options(options(questions));
    // A name made of labels is fully qualified: no search domain is added to it.
    let name = Name::from_labels(name.split('.').map(str::as_bytes))?;
    let lookup = async { resolver.build()?.lookup(name, kind).await };
    match tokio::time::timeout(SERVER_TIMEOUT * questions as u32, lookup).await {
        Ok(Ok(found)) => Ok(found.answers().iter().filter(|record| record.record_type() == kind).cloned().collect()),
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
    // In the given order, one after the other: after any failure the next attempt goes to the next server.
    options.server_ordering_strategy = ServerOrderingStrategy::RoundRobin;
    options.num_concurrent_reqs = 1;
    options.attempts = questions - 1;
    options.edns0 = false;
    // For an alias, only the addresses of its target.
    options.preserve_intermediates = false;
    options
}
