//! The world outside of Larder, on this machine: servers that behave and servers that do not, and names for them.
//!
//! * [`Outside`]: an HTTP server whose path says how it misbehaves. It keeps what it was asked.
//! * [`Names`]: a name server whose answers the test decides. [`Authority`]: certificates that somebody trusts.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::SupportedProtocolVersion;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use simple_dns::rdata::{A, AAAA, CNAME, RData, TXT};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `GET /path HTTP/1.1`.
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Which connection it came by, from 1.
    pub connection: usize,
}

impl Asked {
    /// All values of a header, with commas between them.
    pub fn header(&self, name: &str) -> String {
        let values: Vec<&str> =
            self.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str()).collect();
        values.join(",")
    }
}

/// Dropping it closes its listener and its connections.
pub struct Outside {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    open: AtomicUsize,
    asked: Mutex<Vec<Asked>>,
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Outside {
    pub async fn start() -> Outside {
        Outside::at("127.0.0.1:0").await
    }

    pub async fn at(address: &str) -> Outside {
        Outside::with(TcpListener::bind(address).await.expect("a port"), None)
    }

    /// With a certificate for these names.
    pub async fn start_tls(authority: &Authority, names: &[&str]) -> Outside {
        let acceptor = authority.acceptor(names);
        Outside::with(TcpListener::bind("127.0.0.1:0").await.expect("a port"), Some(acceptor))
    }

    fn with(listener: TcpListener, tls: Option<TlsAcceptor>) -> Outside {
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Seen::default());
        let accepting = tokio::spawn({
            let seen = seen.clone();
            async move {
                let mut serving = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let number = seen.connections.fetch_add(1, Ordering::SeqCst) + 1;
                    seen.open.fetch_add(1, Ordering::SeqCst);
                    let (seen, tls) = (seen.clone(), tls.clone());
                    serving.spawn(async move {
                        match tls {
                            None => serve(stream, &seen, number).await,
                            Some(tls) => match tls.accept(stream).await {
                                Ok(stream) => serve(stream, &seen, number).await,
                                Err(_) => None,
                            },
                        };
                        seen.open.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            }
        });
        Outside { address, seen, accepting }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Connections that the other side has not closed.
    pub fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.seen.asked.lock().expect("nobody panics").clone()
    }
}

/// Answers requests until one side is done.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, seen: &Seen, connection: usize) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let line = line(&mut stream).await?;
        let mut headers = Vec::new();
        loop {
            let text = self::line(&mut stream).await?;
            if text.is_empty() {
                break;
            }
            let (name, value) = text.split_once(':')?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut asked = Asked { line, headers, body: Vec::new(), connection };
        let target = asked.line.split(' ').nth(1)?.to_owned();
        let path = target.split('?').next()?.to_owned();
        if path == "/echo" {
            seen.asked.lock().expect("nobody panics").push(asked.clone());
            echo(&mut stream, &asked).await?;
            continue;
        }
        if path != "/deaf" {
            read_body(&mut stream, &mut asked).await?;
        }
        seen.asked.lock().expect("nobody panics").push(asked.clone());
        if !misbehave(&mut stream, &path, &target).await? {
            let text = "hello";
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len());
            send(&mut stream, &head).await?;
            if !asked.line.starts_with("HEAD ") {
                send(&mut stream, text).await?;
            }
        }
    }
}

/// Does what the path says; `false` if that is nothing out of the ordinary.
async fn misbehave(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str, target: &str) -> Option<bool> {
    let for_ever = async |stream: &mut _, part: &str, rest: u64| -> Option<bool> {
        loop {
            send(stream, part).await?;
            tokio::time::sleep(Duration::from_millis(rest)).await;
        }
    };
    match path {
        "/redirect" => {
            let to = target.split_once("to=")?.1;
            send(stream, &format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")).await?;
        }
        "/missing" => send(stream, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await?,
        "/empty" => send(stream, "HTTP/1.1 204 No Content\r\n\r\n").await?,
        "/never" | "/deaf" => gone(stream).await?,
        "/slow-body" => {
            send(stream, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegin").await?;
            gone(stream).await?;
        }
        "/trickle" => {
            send(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            for_ever(stream, "1\r\nx\r\n", 50).await?;
        }
        "/huge" => {
            send(stream, "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").await?;
            for_ever(stream, &"x".repeat(64 << 10), 0).await?;
        }
        "/big" => {
            let bytes: usize = target.split_once("bytes=")?.1.parse().ok()?;
            send(stream, &format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n")).await?;
            send(stream, &"x".repeat(bytes)).await?;
        }
        "/short" => {
            send(stream, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort").await?;
            return None;
        }
        "/long" => {
            let more = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled";
            send(stream, &format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello{more}")).await?;
        }
        "/bad-chunk" => {
            send(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n").await?;
        }
        "/cut-chunks" => {
            send(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").await?;
            return None;
        }
        "/two-lengths" => {
            send(stream, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 7\r\n\r\nhello").await?;
        }
        "/endless-header" => {
            send(stream, "HTTP/1.1 200 OK\r\nx-long: ").await?;
            for_ever(stream, &"x".repeat(1024), 0).await?;
        }
        "/many-headers" => {
            let headers: String = (0..300).map(|n| format!("x-{n}: y\r\n")).collect();
            send(stream, &format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n{headers}\r\nhello")).await?;
        }
        "/interim" => {
            for_ever(stream, &"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(100), 1).await?;
        }
        "/one-interim" => {
            send(stream, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await?;
        }
        "/switch" => {
            send(stream, "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n").await?;
        }
        "/nonsense" => send(stream, "I am no web server\r\n\r\n").await?,
        "/close" => return None,
        "/coded" => {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n";
            send(stream, &format!("{head}5\r\nhello\r\n0\r\n\r\n")).await?;
        }
        "/hop" => {
            let hop =
                "connection: x-private, close\r\nx-private: 1\r\nkeep-alive: timeout=5\r\nproxy-authenticate: x\r\n";
            send(stream, &format!("HTTP/1.1 200 OK\r\n{hop}x-kept: 1\r\ncontent-length: 5\r\n\r\nhello")).await?;
            return None;
        }
        _ => return Some(false),
    }
    Some(true)
}

/// Sends each part of the body back as it comes.
async fn echo(stream: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>, asked: &Asked) -> Option<()> {
    send(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
    let mut left: usize = asked.header("content-length").parse().unwrap_or_default();
    let chunked = asked.header("transfer-encoding") == "chunked";
    loop {
        let mut part = vec![0; 16 << 10];
        let bytes = if chunked {
            let bytes = usize::from_str_radix(&line(stream).await?, 16).ok()?;
            part.resize(bytes, 0);
            stream.read_exact(&mut part).await.ok()?;
            line(stream).await?;
            bytes
        } else {
            let most = left.min(part.len());
            stream.read(&mut part[..most]).await.ok()?
        };
        left = left.saturating_sub(bytes);
        send(stream, &format!("{bytes:x}\r\n")).await?;
        stream.write_all(&part[..bytes]).await.ok()?;
        send(stream, "\r\n").await?;
        if bytes == 0 {
            return Some(());
        }
    }
}

async fn read_body(stream: &mut BufReader<impl AsyncRead + Unpin>, asked: &mut Asked) -> Option<()> {
    if asked.header("transfer-encoding") == "chunked" {
        loop {
            let bytes = usize::from_str_radix(&line(stream).await?, 16).ok()?;
            let at = asked.body.len();
            asked.body.resize(at + bytes, 0);
            stream.read_exact(&mut asked.body[at..]).await.ok()?;
            line(stream).await?;
            if bytes == 0 {
                return Some(());
            }
        }
    }
    asked.body.resize(asked.header("content-length").parse().unwrap_or_default(), 0);
    stream.read_exact(&mut asked.body).await.ok().map(|_| ())
}

/// Without its end; `None` when the other side is gone.
async fn line(stream: &mut BufReader<impl AsyncRead + Unpin>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    Some(line.strip_suffix("\r\n")?.to_owned())
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), text: &str) -> Option<()> {
    stream.write_all(text.as_bytes()).await.ok()?;
    stream.flush().await.ok()
}

/// Waits until the other side closes.
async fn gone(stream: &mut (impl AsyncRead + Unpin)) -> Option<()> {
    let mut buffer = [0; 1024];
    let mut read = 1;
    while read > 0 {
        // What is still sent stays where it is: nobody listens.
        read = stream.read(&mut buffer).await.ok()?;
    }
    None
}

/// A name server. Dropping it stops it.
pub struct Names {
    pub address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    answering: [JoinHandle<()>; 2],
}

#[derive(Default)]
struct Zone {
    /// What a name's addresses are, at each question; the last stays.
    names: HashMap<String, Vec<Vec<IpAddr>>>,
    aliases: HashMap<String, String>,
    texts: HashMap<String, String>,
    /// IPv4 questions by name.
    asked: HashMap<String, usize>,
    failing: bool,
}

impl Drop for Names {
    fn drop(&mut self) {
        self.answering.iter().for_each(|task| task.abort());
    }
}

impl Names {
    pub async fn start() -> Names {
        let (udp, tcp, address) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
            let address = udp.local_addr().expect("an address");
            // The same port may be somebody's already.
            if let Ok(tcp) = TcpListener::bind(address).await {
                break (udp, tcp, address);
            }
        };
        let zone = Arc::new(Mutex::new(Zone::default()));
        let over_udp = tokio::spawn({
            let zone = zone.clone();
            async move {
                let mut buffer = [0; 512];
                while let Ok((bytes, from)) = udp.recv_from(&mut buffer).await {
                    let answer = zone.lock().expect("nobody panics").answer(&buffer[..bytes], 512);
                    let _ = udp.send_to(&answer, from).await;
                }
            }
        });
        let over_tcp = tokio::spawn({
            let zone = zone.clone();
            async move {
                while let Ok((mut stream, _)) = tcp.accept().await {
                    let Ok(bytes) = stream.read_u16().await else { continue };
                    let mut question = vec![0; bytes.into()];
                    if stream.read_exact(&mut question).await.is_ok() {
                        let answer = zone.lock().expect("nobody panics").answer(&question, usize::MAX);
                        let _ = stream.write_all(&[&(answer.len() as u16).to_be_bytes()[..], &answer].concat()).await;
                    }
                }
            }
        });
        Names { address, zone, answering: [over_udp, over_tcp] }
    }

    /// The addresses of a name, from now on.
    pub fn set(&self, name: &str, addresses: &[&str]) {
        self.set_each(name, &[addresses]);
    }

    /// The addresses of a name, at the first question and those after it.
    pub fn set_each(&self, name: &str, answers: &[&[&str]]) {
        let parse = |answer: &&[&str]| answer.iter().map(|address| address.parse().expect("an address")).collect();
        self.zone.lock().expect("nobody panics").names.insert(name.into(), answers.iter().map(parse).collect());
    }

    /// The name leads to another; one answer tells a whole chain, up to the first name that it repeats.
    pub fn alias(&self, name: &str, to: &str) {
        self.zone.lock().expect("nobody panics").aliases.insert(name.into(), to.into());
    }

    /// The text of a name.
    pub fn text(&self, name: &str, text: &str) {
        self.zone.lock().expect("nobody panics").texts.insert(name.into(), text.into());
    }

    /// The name has no alias and no text any more.
    pub fn forget(&self, name: &str) {
        let mut zone = self.zone.lock().expect("nobody panics");
        zone.aliases.remove(name);
        zone.texts.remove(name);
    }

    /// Does it know nothing from now on, and say that the fault is its own?
    pub fn fails(&self, failing: bool) {
        self.zone.lock().expect("nobody panics").failing = failing;
    }

    /// From now on it knows nothing, and says that the fault is its own.
    pub fn fail(&self) {
        self.zone.lock().expect("nobody panics").failing = true;
    }

    /// How often somebody asked for IPv4 addresses of the name.
    pub fn asked(&self, name: &str) -> usize {
        self.zone.lock().expect("nobody panics").asked.get(name).copied().unwrap_or_default()
    }
}

impl Zone {
    fn answer(&mut self, question: &[u8], bytes_max: usize) -> Vec<u8> {
        let packet = Packet::parse(question).expect("a question");
        let asked = packet.questions[0].clone();
        let mut name = asked.qname.to_string();
        let ipv4 = asked.qtype == QTYPE::TYPE(TYPE::A);
        let mut reply = Packet::new_reply(packet.id());
        reply.questions.push(asked.clone());
        let record =
            |name: &str, data| ResourceRecord::new(Name::new(name).expect("a name").into_owned(), CLASS::IN, 0, data);
        let own = match asked.qtype {
            QTYPE::TYPE(TYPE::CNAME) => {
                let to = self.aliases.get(&name);
                Some(to.map(|to| RData::CNAME(CNAME(Name::new(to).expect("a name").into_owned()))))
            }
            QTYPE::TYPE(TYPE::TXT) => {
                let text = self.texts.get(&name);
                Some(text.map(|text| RData::TXT(TXT::new().with_string(text).expect("a text").into_owned())))
            }
            _ => None,
        };
        if let Some(own) = own {
            match own {
                _ if self.failing => *reply.rcode_mut() = RCODE::ServerFailure,
                Some(data) => reply.answers.push(record(&name, data)),
                None => *reply.rcode_mut() = RCODE::NameError,
            }
            return reply.build_bytes_vec().expect("an answer");
        }
        let mut aliases = self.aliases.clone();
        while let Some(to) = aliases.remove(&name) {
            let target = Name::new(&to).expect("a name").into_owned();
            reply.answers.push(record(&name, RData::CNAME(CNAME(target))));
            name = to;
        }
        match self.names.get(&name) {
            _ if self.failing => *reply.rcode_mut() = RCODE::ServerFailure,
            None => *reply.rcode_mut() = RCODE::NameError,
            Some(answers) => {
                // Both families of one look get the same answer: questions for IPv6 are not counted.
                let at = self.asked.entry(name.clone()).or_default();
                let addresses = &answers[(*at).min(answers.len() - 1)];
                *at += usize::from(ipv4);
                let records =
                    addresses.iter().filter(|address| address.is_ipv4() == ipv4).map(|address| match address {
                        IpAddr::V4(address) => RData::A(A { address: address.to_bits() }),
                        IpAddr::V6(address) => RData::AAAA(AAAA { address: address.to_bits() }),
                    });
                reply.answers.extend(records.map(|data| record(&name, data)));
            }
        }
        let bytes = reply.build_bytes_vec().expect("an answer");
        if bytes.len() <= bytes_max {
            return bytes;
        }
        reply.answers.clear();
        reply.set_flags(PacketFlag::TRUNCATION);
        reply.build_bytes_vec().expect("an answer")
    }
}

/// A certificate authority of the test's own.
pub struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Authority { certificate, issuer: Issuer::new(params, key) }
    }

    /// Writes its certificate, for a `ca_file`.
    pub fn file(&self, folder: &Path) -> PathBuf {
        let file = folder.join("authority.pem");
        std::fs::write(&file, self.certificate.pem()).expect("a file");
        file
    }

    /// A certificate for a server with these names or addresses, and its key.
    fn issue(&self, names: &[&str]) -> (rcgen::Certificate, KeyPair) {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names).expect("parameters");
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }

    /// The same as files: certificate and key.
    pub fn issue_files(&self, folder: &Path, names: &[&str]) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.issue(names);
        let files = (folder.join("server.pem"), folder.join("server.key"));
        std::fs::write(&files.0, certificate.pem()).expect("a file");
        std::fs::write(&files.1, key.serialize_pem()).expect("a file");
        files
    }

    /// The same as texts in PEM, valid until the end of a year.
    pub fn issue_until(&self, names: &[&str], year: i32) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(names).expect("parameters");
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        // With the authority's own name it would be taken for self-signed.
        params.distinguished_name = rcgen::DistinguishedName::new();
        (params.signed_by(&key, &self.issuer).expect("a certificate").pem(), key.serialize_pem())
    }

    /// A client that trusts what it issues and offers these protocols by ALPN.
    pub fn client(&self, protocols: &[&str], versions: &[&'static SupportedProtocolVersion]) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.der().clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }

    pub fn acceptor(&self, names: &[&str]) -> TlsAcceptor {
        let (certificate, key) = self.issue(names);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a certificate and its key");
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}
