//! Fronts: processes before the core that have no database (`larder serve --roles front`).
//!
//! * this module: the service that enrols, renews and removes them, and what a front is told of names and challenges.
//! * [`authority`]: the installation's authority for their certificates, and both sides of TLS between a front and a core.
//! * [`Known`]: the fronts that may connect, in memory. [`watch`] keeps it true.
//!
//! The rules: **the core decides**, whatever a front says: it is let in by its key, which must be enrolled at this moment, and
//! is told of no name that it does not serve. **No key of a front travels**: it sends the public half.

pub mod authority;
mod public_key;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use larder_model::audit::Action;
use larder_model::certificates::ChallengeKind;
use larder_model::fronts::{FRONTS_MAX, Front, NAMES_MAX, check_name, check_served};
use larder_model::time::Millis;
use larder_secrets::Secrets;
use larder_store::FrontEnrolled;
pub use public_key::PublicKey;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;

use crate::audit::{self, Change, fields};
use crate::common::context;
use crate::error::{Error, Result};

/// A core looks for removed fronts at least so often.
const LOOK_MAX: Duration = Duration::from_secs(5);

context! {
    /// The context of the service.
    Fronts {
        secrets: Secrets,
        known: Known,
    }
}

/// The fronts that may connect to this process, and what it shows them. Cheap to clone.
#[derive(Clone)]
pub struct Known(Arc<Shared>);

struct Shared {
    fronts: ArcSwap<HashMap<String, Arc<Front>>>,
    changed: watch::Sender<()>,
    /// How a handshake goes; `None` until the authority was read.
    config: ArcSwapOption<ServerConfig>,
}

/// A front as it has connected.
#[derive(Clone)]
pub struct Link {
    pub front: Arc<Front>,
    /// When the certificate ends by which it connected.
    pub not_after_ms: Millis,
    key: PublicKey,
}

impl Default for Known {
    fn default() -> Known {
        Known(Arc::new(Shared {
            fronts: ArcSwap::default(),
            changed: watch::Sender::new(()),
            config: ArcSwapOption::empty(),
        }))
    }
}

impl Known {
    /// The front to which a certificate of the authority belongs, if it is enrolled.
    pub fn find(&self, certificate: &CertificateDer<'_>) -> Option<Link> {
        let (name, key, not_after_ms) = authority::read(certificate)?;
        let front = self.0.fronts.load().get(&name).filter(|front| front.key_hash == key.hash()).cloned()?;
        Some(Link { front, not_after_ms, key })
    }

    /// Is the front of a link still enrolled as it was?
    pub fn is_current(&self, link: &Link) -> bool {
        let now = self.0.fronts.load();
        now.get(&link.front.name)
            .is_some_and(|front| front.key_hash == link.front.key_hash && front.names == link.front.names)
    }

    /// Changes when fronts do.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// How a core shakes hands with fronts; `None` as long as it does not know.
    pub fn config(&self) -> Option<Arc<ServerConfig>> {
        self.0.config.load_full()
    }

    fn set(&self, fronts: Vec<Front>) {
        let new: HashMap<_, _> = fronts.into_iter().map(|front| (front.name.clone(), front)).collect();
        let old = self.0.fronts.load();
        let same = old.len() == new.len()
            && new.iter().all(|(name, front)| old.get(name).is_some_and(|known| known.as_ref() == front));
        if !same {
            self.0.fronts.store(Arc::new(new.into_iter().map(|(name, front)| (name, Arc::new(front))).collect()));
            self.0.changed.send_replace(());
        }
    }
}

/// What an operator says of a new front.
pub struct NewFront {
    pub name: String,
    /// In PEM.
    pub public_key: String,
    pub names: Vec<String>,
}

/// Enrols a front and gives its certificate with that of the authority, in PEM. The same once more is as good as once.
pub async fn enrol(fronts: &Fronts, new: NewFront) -> Result<(Front, String)> {
    check_name(&new.name).map_err(|why| Error::invalid("name", why))?;
    let key = PublicKey::from_pem(&new.public_key).map_err(|why| Error::invalid("publicKey", why))?;
    if new.names.len() > NAMES_MAX {
        return Err(Error::invalid("names", format!("must have at most {NAMES_MAX} values")));
    }
    for name in &new.names {
        check_served(name).map_err(|why| Error::invalid("names", format!("{name:?} {why}")))?;
    }
    let authority = authority::of(fronts).await?;
    let now = fronts.clock.now_ms();
    let (pem, not_after_ms) = authority.certify(&new.name, &key, now, fronts.settings.front.lifetime)?;
    let NewFront { name, names, .. } = new;
    let front = Front { name, key_hash: key.hash(), names, not_after_ms, created_at_ms: now };
    let change = Change::new(Action::FrontEnrol, &front.name).after(fields::front(&front));
    match audit::of(fronts, None, change).enrol_front(&front).await? {
        FrontEnrolled::Done => {}
        FrontEnrolled::Exists => return Err(Error::FrontExists),
        FrontEnrolled::Full => {
            return Err(Error::TooMany { of: "installation", most: FRONTS_MAX as u64, what: "fronts" });
        }
    }
    refresh(fronts).await?;
    tracing::info!(front = front.name, key = front.key_hash, "the front {} is enrolled", front.name);
    let all = fronts.store.fronts().await?;
    let stored = all.into_iter().find(|one| one.name == front.name);
    Ok((stored.ok_or(larder_store::Error::NotFound { what: "front" })?, pem))
}

/// Gives a front a new certificate for the key by which it has connected.
pub async fn renew(fronts: &Fronts, link: &Link) -> Result<String> {
    let (name, now) = (&link.front.name, fronts.clock.now_ms());
    let authority = authority::of(fronts).await?;
    let (pem, not_after_ms) = authority.certify(name, &link.key, now, fronts.settings.front.lifetime)?;
    fronts.store.renew_front(name, &link.front.key_hash, not_after_ms).await?;
    Ok(pem)
}

/// From now on the front is refused, and its connections to this process end; those to other processes when they look next.
pub async fn remove(fronts: &Fronts, name: &str) -> Result<()> {
    audit::of(fronts, None, Change::new(Action::FrontRemove, name)).remove_front(name).await?;
    refresh(fronts).await?;
    tracing::info!(front = name, "the front {name} is removed");
    Ok(())
}

async fn refresh(fronts: &Fronts) -> Result<()> {
    fronts.known.set(fronts.store.fronts().await?);
    Ok(())
}

/// Keeps [`Known`] true until the process drains. While the database is away, what is known stays.
pub async fn watch(fronts: Fronts) {
    let (drain, every) = (fronts.life.drain(), fronts.settings.partners.poll.min(LOOK_MAX));
    let mut renew_at_ms = Millis::MIN;
    loop {
        if let Err(err) = look(&fronts, &mut renew_at_ms).await {
            tracing::warn!(error = %err, "fronts could not be read; those that are known stay");
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = drain.cancelled() => return,
        }
    }
}

async fn look(fronts: &Fronts, renew_at_ms: &mut Millis) -> Result<()> {
    refresh(fronts).await?;
    let now = fronts.clock.now_ms();
    if now >= *renew_at_ms {
        let (config, again_at_ms) = authority::of(fronts).await?.serve(&fronts.known, now)?;
        fronts.known.0.config.store(Some(config));
        *renew_at_ms = again_at_ms;
    }
    Ok(())
}

/// The stored certificate of exactly this name: its chain and its key, in PEM.
pub async fn certificate(fronts: &Fronts, name: &str) -> Result<Option<(String, String)>> {
    let Some(stored) = fronts.store.certificate(name).await? else { return Ok(None) };
    let key = fronts.secrets.open(&["certificate", name], &stored.sealed_key)?;
    Ok(Some((stored.chain, key.text().to_string())))
}

/// What an authority is answered that checks a name; without a token, by TLS-ALPN-01.
pub async fn challenge(fronts: &Fronts, name: &str, token: Option<&str>) -> Result<Option<String>> {
    let (kind, token) = match token {
        Some(token) => (ChallengeKind::Http01, token),
        None => (ChallengeKind::TlsAlpn01, ""),
    };
    Ok(fronts.store.challenge(name, kind, token, fronts.clock.now_ms()).await?)
}
