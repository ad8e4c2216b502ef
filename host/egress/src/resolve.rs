//! Names → addresses, by a resolver whose every answer comes from a name server.
//!
//! The system's own would also ask the hosts file and try search domains, on threads that cannot be stopped. This one asks
//! the servers it is given (or those of `/etc/resolv.conf`) for exactly the name, keeps nothing, and gives all addresses or
//! none. Whether they may be connected to is for the caller to say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use larder_model::outgoing::Error;
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// How long one server has for an answer; each is asked twice.
const PATIENCE: Duration = Duration::from_secs(2);
const ROUNDS: usize = 2;
/// Names that lead to names.
const ALIASES_MAX: usize = 8;
/// Addresses of one name.
const ADDRESSES_MAX: usize = 32;
/// Without EDNS, a server puts no more into a datagram.
const DATAGRAM_BYTES: usize = 512;
const CONFIGURATION: &str = "/etc/resolv.conf";

pub struct Resolver {
    /// Empty: those of the system, looked up each time because they change.
    servers: Vec<SocketAddr>,
}

/// Why a server's answer is of no use.
enum Failed {
    /// The name is not there, says who must know.
    NoSuchName,
    /// Another server may do better.
    Server(String),
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
        let (v4, v6) = tokio::join!(ask(&servers, name, TYPE::A), ask(&servers, name, TYPE::AAAA));
        let addresses = match (v4, v6) {
            (Ok(mut v4), Ok(v6)) => {
                v4.extend(v6);
                v4
            }
            // A server that fails on one kind of address still knows the other; one that knows no name knows neither.
            (Ok(some), Err(_)) | (Err(_), Ok(some)) if !some.is_empty() => some,
            (Err(Failed::Server(why)), _) | (_, Err(Failed::Server(why))) => {
                return Err(Error::Dns(format!("the name {name} could not be resolved: {why}")));
            }
            (Err(Failed::NoSuchName), _) | (_, Err(Failed::NoSuchName)) => vec![],
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

async fn ask(servers: &[SocketAddr], name: &str, kind: TYPE) -> Result<Vec<IpAddr>, Failed> {
    let mut last = Failed::Server("there is no name server".into());
    for server in servers.iter().cycle().take(servers.len() * ROUNDS) {
        let answer = tokio::time::timeout(PATIENCE, ask_one(*server, name, kind)).await;
        match answer.unwrap_or_else(|_| Err(Failed::Server(format!("the name server {server} does not answer")))) {
            Err(failed @ Failed::Server(_)) => last = failed,
            said => return said,
        }
    }
    Err(last)
}

async fn ask_one(server: SocketAddr, name: &str, kind: TYPE) -> Result<Vec<IpAddr>, Failed> {
    let failed = |err: std::io::Error| Failed::Server(format!("the name server {server}: {err}"));
    let mut random = [0; 2];
    getrandom::fill(&mut random).expect("the operating system gives random bytes");
    let id = u16::from_ne_bytes(random);
    let query = query(id, name, kind)?;
    // A new socket has a new port, which a forger must guess with the id; connected, it hears that server only.
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.map_err(failed)?;
    socket.connect(server).await.map_err(failed)?;
    socket.send(&query).await.map_err(failed)?;
    let mut answer = vec![0; DATAGRAM_BYTES];
    loop {
        let length = socket.recv(&mut answer).await.map_err(failed)?;
        match read(&answer[..length], id, name, kind) {
            Said::Nothing => {}
            Said::Truncated => break,
            Said::Answer(addresses) => return addresses,
        }
    }
    let mut stream = TcpStream::connect(server).await.map_err(failed)?;
    stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], &query].concat()).await.map_err(failed)?;
    let length = stream.read_u16().await.map_err(failed)?;
    answer.resize(length.into(), 0);
    stream.read_exact(&mut answer).await.map_err(failed)?;
    match read(&answer, id, name, kind) {
        Said::Answer(addresses) => addresses,
        Said::Nothing | Said::Truncated => Err(Failed::Server(format!("the name server {server} answers nonsense"))),
    }
}

fn query(id: u16, name: &str, kind: TYPE) -> Result<Vec<u8>, Failed> {
    let name = Name::new(name).map_err(|err| Failed::Server(err.to_string()))?;
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().map_err(|err| Failed::Server(err.to_string()))
}

enum Said {
    /// No answer to our question.
    Nothing,
    Truncated,
    Answer(Result<Vec<IpAddr>, Failed>),
}

fn read(bytes: &[u8], id: u16, name: &str, kind: TYPE) -> Said {
    let (Ok(packet), Ok(asked)) = (Packet::parse(bytes), Name::new(name)) else { return Said::Nothing };
    let ours = |question: &Question| question.qname == asked && question.qtype == QTYPE::TYPE(kind);
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) || !packet.questions.first().is_some_and(ours) {
        return Said::Nothing;
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Said::Truncated;
    }
    Said::Answer(match packet.rcode() {
        RCODE::NoError => Ok(addresses(&packet, asked, kind)),
        RCODE::NameError => Err(Failed::NoSuchName),
        other => Err(Failed::Server(format!("the name server answers {other:?}"))),
    })
}

/// Of the name, or of the last of those that it leads to.
fn addresses(packet: &Packet, mut owner: Name, kind: TYPE) -> Vec<IpAddr> {
    for _ in 0..ALIASES_MAX {
        let alias = packet.answers.iter().find_map(|record| match &record.rdata {
            RData::CNAME(alias) if record.name == owner => Some(alias.0.clone().into_owned()),
            _ => None,
        });
        match alias {
            Some(alias) => owner = alias,
            None => break,
        }
    }
    let of_owner = packet.answers.iter().filter(|record| record.name == owner && record.class == CLASS::IN);
    of_owner
        .filter_map(|record| match (&record.rdata, kind) {
            (RData::A(a), TYPE::A) => Some(Ipv4Addr::from_bits(a.address).into()),
            (RData::AAAA(aaaa), TYPE::AAAA) => Some(Ipv6Addr::from_bits(aaaa.address).into()),
            _ => None,
        })
        .collect()
}
