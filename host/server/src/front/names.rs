//! Which names are served here, and their certificates: a front asks a core, and remembers what it says for a while.
//!
//! Certificates that were fetched are in memory only. Each is asked for again every `front.poll`, and replaced or dropped as the
//! core says; while no core answers, they stay.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use http::Method;
use larder_model::{Digest, rules};
use larder_platform::tls::{Certificate, Challenges, Proof};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Front;
use super::control::NameAnswer;

/// Names that are remembered; strangers may ask for any.
const NAMES_MAX: usize = 10_000;
/// Questions at once. Whoever comes when there are so many waits as long as a handshake may take.
const AT_ONCE: usize = 16;

pub struct Names {
    known: Mutex<HashMap<String, Known>>,
    asking: Semaphore,
}

#[derive(Clone)]
struct Known {
    is_ours: bool,
    /// Digest of its certificate's chain, if it has one.
    certificate: Option<String>,
    asked: Instant,
}

impl Default for Names {
    fn default() -> Names {
        Names { known: Mutex::default(), asking: Semaphore::new(AT_ONCE) }
    }
}

impl Names {
    /// Has the certificate of the name in memory afterwards, if there is one.
    pub async fn learn(&self, front: &Front, name: &str) {
        let is_in_the_file = front.certificates.default_covers(name);
        if !is_in_the_file && let Err(why) = self.ask(front, name).await {
            tracing::debug!(name, why, "no core said whether {name} has a certificate: {why}");
        }
    }

    /// Does the core serve this host through this front? Not as long as no core answers.
    pub async fn is_ours(&self, front: &Front, host: &str) -> bool {
        self.ask(front, host).await.unwrap_or(false)
    }

    async fn ask(&self, front: &Front, name: &str) -> Result<bool, String> {
        let is_domain = name.len() <= 253 && name.contains('.') && name.split('.').all(rules::is_label);
        if !is_domain || name.parse::<std::net::IpAddr>().is_ok() {
            return Ok(false);
        }
        if let Some(is_ours) = self.fresh(front, name) {
            return Ok(is_ours);
        }
        let _permit = self.asking.acquire().await.map_err(|err| err.to_string())?;
        // Somebody else may have asked the same meanwhile.
        if let Some(is_ours) = self.fresh(front, name) {
            return Ok(is_ours);
        }
        self.fetch(front, name, None).await
    }

    fn fresh(&self, front: &Front, name: &str) -> Option<bool> {
        let known = self.known();
        let known = known.get(name)?;
        let is_fresh = known.certificate.is_some() || known.asked.elapsed() < front.settings.front.poll;
        is_fresh.then_some(known.is_ours)
    }

    /// Asks for a name. `digest` is that of the chain in memory.
    async fn fetch(&self, front: &Front, name: &str, digest: Option<&str>) -> Result<bool, String> {
        let path = format!("/names/{name}?{}", digest.unwrap_or_default());
        let answer = front.ask(Method::GET, &path).await?.ok_or("the core does not know the question")?;
        let answer: NameAnswer = serde_json::from_slice(&answer).map_err(|err| err.to_string())?;
        let certificate = match (&answer.certificate, digest) {
            (Some(sent), _) => {
                let read = Certificate::from_pem(&sent.chain, &sent.key, front.clock.now_ms());
                let read = read.map_err(|why| format!("the certificate of {name} is not presented: {why}"));
                let is_room = digest.is_some() || self.make_room();
                match read {
                    Ok(certificate) if is_room => front.certificates.set(name, certificate),
                    Ok(_) => return Ok(answer.is_ours),
                    Err(why) => {
                        tracing::warn!(name, why, "{why}");
                        return Ok(answer.is_ours);
                    }
                }
                Some(Digest::of(sent.chain.as_bytes()).to_string())
            }
            (None, Some(digest)) if answer.is_unchanged => Some(digest.to_owned()),
            (None, Some(_)) => {
                front.certificates.remove(name);
                None
            }
            (None, None) => None,
        };
        if self.make_room() {
            let known = Known { is_ours: answer.is_ours, certificate, asked: Instant::now() };
            self.known().insert(name.to_owned(), known);
        }
        Ok(answer.is_ours)
    }

    /// Forgets names without certificates if there are too many.
    fn make_room(&self) -> bool {
        let mut known = self.known();
        if known.len() >= NAMES_MAX {
            known.retain(|_, known| known.certificate.is_some());
        }
        known.len() < NAMES_MAX
    }

    /// Asks again for what is presented, and forgets the rest.
    pub async fn refresh(&self, front: &Front) {
        let poll = front.settings.front.poll;
        let presented: Vec<(String, String)> = {
            let mut known = self.known();
            known.retain(|_, known| known.certificate.is_some() || known.asked.elapsed() < poll);
            known.iter().filter_map(|(name, known)| Some((name.clone(), known.certificate.clone()?))).collect()
        };
        for (name, digest) in presented {
            if front.life.is_draining() {
                return;
            }
            if let Err(why) = self.fetch(front, &name, Some(&digest)).await {
                return tracing::debug!(why, "certificates could not be asked for again, those in memory stay: {why}");
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Answers authorities that check a name as the core says.
pub struct OfCores(pub Front);

impl OfCores {
    async fn ask(&self, path: &str) -> Option<String> {
        let _permit = self.0.names.asking.acquire().await.ok()?;
        let answer = self.0.ask(Method::GET, path).await.map_err(|why| tracing::warn!(why, "no core answers: {why}"));
        String::from_utf8(answer.ok()??.to_vec()).ok()
    }
}

#[async_trait]
impl Challenges for OfCores {
    async fn answer(&self, host: &str, token: &str) -> Option<String> {
        self.ask(&format!("/challenges/{host}/{token}")).await
    }

    async fn proof(&self, host: &str) -> Option<Proof> {
        if !host.split('.').all(rules::is_label) {
            return None;
        }
        let answer = self.ask(&format!("/challenges/{host}")).await?;
        Proof::of(host, &answer).map_err(|why| tracing::warn!(name = host, %why, "a proof could not be made")).ok()
    }
}
