//! The cores that a front knows, and its connections to them.
//!
//! A core to which no connection can be made comes last for a while, which grows as long as it fails. A connection has one
//! request at a time: clients do not hold each other up.

use std::error::Error;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use larder_platform::fronts::authority::{CORE, Identity};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::Front;
use super::control::Asking;
use super::request_body::RequestBody;

/// A connection that was not used for so long is closed, before the core would.
pub const IDLE_MAX: Duration = Duration::from_secs(5);
/// Connections to a core that wait for a request.
const IDLE_CONNECTIONS_MAX: usize = 256;
/// Headers of an answer. How many a function may write is the core's matter.
const HEADERS_MAX: usize = 1_024;
/// How long a core comes last that has failed once, and at most.
const REST: Duration = Duration::from_millis(500);
const REST_MAX: Duration = Duration::from_secs(15);

/// Alerts by which a handshake ends whose certificate is not taken (RFC 8446, section 6.2).
const OF_CERTIFICATES: [AlertDescription; 6] = [
    AlertDescription::BadCertificate,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnknownCA,
    AlertDescription::AccessDenied,
];

pub struct Cores {
    all: Vec<Arc<Core>>,
    next: AtomicUsize,
    /// By whom connections are made from now on.
    pub identity: ArcSwap<Identity>,
    pub(super) asking: tokio::sync::Mutex<Option<Asking>>,
}

pub struct Core {
    pub address: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: Vec<Idle>,
    failures: u32,
    rests_until: Option<Instant>,
    /// Why the last connection to it failed.
    why: Option<String>,
}

struct Idle {
    line: Line,
    since: Instant,
}

/// A connection for requests.
pub struct Line {
    pub sender: SendRequest<RequestBody>,
    /// By whom it was made: it ends with that certificate.
    identity: Arc<Identity>,
}

impl Cores {
    pub fn new(addresses: &[String], identity: Identity) -> Cores {
        let core = |address: &String| Arc::new(Core { address: address.clone(), state: Mutex::default() });
        Cores {
            all: addresses.iter().map(core).collect(),
            next: AtomicUsize::new(0),
            identity: ArcSwap::from_pointee(identity),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// All of them, another one first each time, those that rest last.
    pub fn in_turn(&self) -> Vec<&Arc<Core>> {
        let first = self.next.fetch_add(1, Relaxed) % self.all.len().max(1);
        let (now, mut all) = (Instant::now(), Vec::with_capacity(self.all.len()));
        all.extend(self.all[first..].iter().chain(&self.all[..first]));
        all.sort_by_key(|core| core.state().rests_until.is_some_and(|until| until > now));
        all
    }

    /// A connection to the core that waits for a request.
    pub fn idle(&self, core: &Core) -> Option<Line> {
        let identity = self.identity.load();
        let mut state = core.state();
        while let Some(Idle { line, since }) = state.idle.pop() {
            let is_current = Arc::ptr_eq(&line.identity, &identity);
            if is_current && since.elapsed() < IDLE_MAX && line.sender.is_ready() {
                return Some(line);
            }
        }
        None
    }

    /// A new connection to the core.
    pub async fn open(&self, front: &Front, core: &Arc<Core>) -> Result<Line, String> {
        let identity = self.identity.load_full();
        let sender = self.connect(front, core, identity.requests.clone()).await?;
        Ok(Line { sender, identity })
    }

    /// Keeps a connection for the next request once the one before is over.
    pub fn keep(&self, front: &Front, core: &Arc<Core>, mut line: Line) {
        let (front, core) = (front.clone(), core.clone());
        front.life.clone().spawn_work("idle connection", async move {
            let ready = tokio::time::timeout(IDLE_MAX, line.sender.ready()).await;
            let mut state = core.state();
            if matches!(ready, Ok(Ok(()))) && state.idle.len() < IDLE_CONNECTIONS_MAX && !front.life.is_draining() {
                state.idle.push(Idle { line, since: Instant::now() });
            }
        });
    }

    /// Closes what was not used for [`IDLE_MAX`].
    pub fn tidy(&self) {
        for core in &self.all {
            core.state().idle.retain(|idle| idle.since.elapsed() < IDLE_MAX && !idle.line.sender.is_closed());
        }
    }

    /// Closes everything that waits, because the process drains. What is in use closes when it is over.
    pub async fn close(&self) {
        for core in &self.all {
            core.state().idle.clear();
        }
        self.asking.lock().await.take();
    }

    /// The core takes no more requests for now.
    pub fn leaves(&self, core: &Core) {
        core.state().idle.clear();
        core.failed("it is about to end".into());
    }

    /// Makes a connection for requests, or for questions.
    pub async fn connect<B>(
        &self,
        front: &Front,
        core: &Arc<Core>,
        config: Arc<ClientConfig>,
    ) -> Result<SendRequest<B>, String>
    where
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
    {
        let made = async {
            let stream = TcpStream::connect(&core.address).await?;
            stream.set_nodelay(true)?;
            // A core that vanishes without a word is noticed while an answer is awaited.
            let keepalive =
                TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5));
            SockRef::from(&stream).set_tcp_keepalive(&keepalive.with_retries(3))?;
            let name = ServerName::try_from(CORE).expect("a name");
            TlsConnector::from(config).connect(name, stream).await
        };
        let made = match tokio::time::timeout(front.settings.front.connect_timeout, made).await {
            Ok(made) => made.map_err(|err| err.to_string()),
            Err(_) => Err("no connection in time (front.connect_timeout)".to_owned()),
        };
        let made = match made {
            Ok(stream) => http1::Builder::new()
                .max_headers(HEADERS_MAX)
                .handshake(TokioIo::new(stream))
                .await
                .map_err(|err| err.to_string()),
            Err(why) => Err(why),
        };
        match made {
            Ok((sender, connection)) => {
                core.reached();
                let core = core.clone();
                front.life.spawn_work("connection to a core", async move {
                    if let Err(err) = connection.await {
                        core.broke(&err);
                    }
                });
                Ok(sender)
            }
            Err(why) => {
                core.failed(why.clone());
                Err(why)
            }
        }
    }

    /// Each core, and why it cannot be reached if so.
    pub fn states(&self) -> Vec<(&str, Option<String>)> {
        self.all.iter().map(|core| (core.address.as_str(), core.state().why.clone())).collect()
    }
}

impl Core {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn reached(&self) {
        let mut state = self.state();
        if state.why.take().is_some() {
            tracing::info!(core = self.address, "the core {} is reached again", self.address);
        }
        (state.failures, state.rests_until) = (0, None);
    }

    fn failed(&self, why: String) {
        metrics::counter!("larder_front_core_failures_total", "core" => self.address.clone()).increment(1);
        let mut state = self.state();
        state.rests_until = Some(Instant::now() + (REST * (1 << state.failures.min(5))).min(REST_MAX));
        state.failures += 1;
        if state.why.as_ref() != Some(&why) {
            tracing::warn!(core = self.address, why, "the core {} cannot be reached: {why}", self.address);
            state.why = Some(why);
        }
    }

    /// A connection broke. The alert of a core that does not know the front comes only after the handshake.
    fn broke(&self, err: &hyper::Error) {
        if let Some(alert) = refusal(err) {
            return self.refused(alert);
        }
        tracing::debug!(core = self.address, error = %err, "a connection to the core {} broke", self.address);
    }

    /// It does not take the certificate of the front.
    pub fn refused(&self, alert: AlertDescription) {
        self.failed(format!(
            "it refuses the certificate of this front ({alert:?}); if the front was removed or its certificate has ended, enrol \
             it again: larder front enrol"
        ));
    }
}

/// The alert of a core that does not take the certificate of the front. It comes from the handshake, so nothing that was sent
/// after it was read.
pub fn refusal(err: &hyper::Error) -> Option<AlertDescription> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(err);
    while let Some(err) = cause {
        let alert = err.downcast_ref::<std::io::Error>().and_then(|err| err.get_ref());
        let alert = alert.and_then(|err| err.downcast_ref::<rustls::Error>());
        match alert {
            Some(rustls::Error::AlertReceived(alert)) if OF_CERTIFICATES.contains(alert) => return Some(*alert),
            _ => cause = err.source(),
        }
    }
    None
}
