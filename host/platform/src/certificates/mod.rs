//! Certificates by ACME (RFC 8555): each name of the installation gets one from the operator's authority, renewed by itself.
//!
//! * [`names`]: which names need one. [`issue`]: the job of the scheduler, which claims names that are due.
//! * [`order`]: one claim, from the check that the name leads here to the stored certificate. [`probe`] is that check.
//! * [`authority`]: the authority, through the client for everything that leaves.
//! * [`present`]: the task of a process that serves, which puts what is stored into [`crate::tls`]; [`Stored`] answers challenges.
//!
//! The rules: **one order per name over all processes**, by a lease; **no order for a name that does not lead here**; **a partner
//! orders so many certificates in seven days and no more**, and holds up nobody else meanwhile; and **no challenge is answered for
//! a name that none was given for**. A process may die at any line: another one takes the name over
//! when its lease ends. Until then the certificate that is there stays.

/// Repeats a step whose nonce the authority did not take. It is no function: what a step borrows differs each time.
macro_rules! patiently {
    ($step:expr) => {{
        let mut left = $crate::certificates::order::NONCES_MAX;
        loop {
            match $step.await {
                Err(err) if $crate::certificates::order::is_nonce(&err) && left > 0 => left -= 1,
                done => break done,
            }
        }
    }};
}

pub(crate) mod authority;
mod names;
mod order;
pub(crate) mod probe;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use larder_egress::Client;
use larder_model::audit::Action;
use larder_model::certificates::{ChallengeKind, Order};
use larder_model::ids::PartnerId;
use larder_model::time::Millis;
use larder_secrets::Secrets;
use larder_store::OrderClaim;

use crate::audit::{self, Change};
use crate::common::{Common, Sealer, context};
use crate::error::Result;
use crate::tls::{Certificate, Challenges, Proof};

/// A process that dies holds up its name for so long.
const LEASE: Duration = Duration::from_secs(15);
/// Names that a process works on at once, each of another partner.
const AT_ONCE: usize = 4;
/// What is still read again of what was read: clocks of processes differ.
const OVERLAP_MS: Millis = 60_000;
/// Names that are not wanted any more are looked for so often, and whenever they change.
const NAMES_EVERY_MS: Millis = 60_000;

context! {
    /// The context of the job that orders certificates.
    Issuer {
        secrets: Secrets,
        egress: Client,
    }
}

/// Orders what is due until the process drains.
pub async fn issue(issuer: Issuer) {
    let (issuer, last) = (&issuer, &Mutex::default());
    let names = async {
        let mut wanted = (Wanted::new(), 0);
        while !rest(issuer, want(issuer, &mut wanted).await).await {}
    };
    let orders = (0..AT_ONCE).map(|_| async move { while !rest(issuer, order_next(issuer, last).await).await {} });
    tokio::join!(names, futures::future::join_all(orders));
}

/// Waits for the next step: not at all after one that did something. `true`: the process drains.
async fn rest(issuer: &Issuer, done: larder_store::Result<bool>) -> bool {
    let poll = issuer.settings.acme.poll;
    let pause = match done {
        Ok(true) => Duration::ZERO,
        Ok(false) => poll,
        Err(err) => {
            tracing::warn!(error = %err, "certificates: a step failed; it is repeated");
            poll
        }
    };
    let drain = issuer.life.drain();
    tokio::select! {
        () = tokio::time::sleep(pause) => drain.is_cancelled(),
        () = drain.cancelled() => true,
    }
}

type Wanted = BTreeMap<String, Option<PartnerId>>;

/// Asks for the names of the installation if they have changed since, or it is long ago.
async fn want(issuer: &Issuer, wanted: &mut (Wanted, Millis)) -> larder_store::Result<bool> {
    let now = issuer.clock.now_ms();
    if names::wanted(issuer) != wanted.0 || now >= wanted.1 + NAMES_EVERY_MS {
        // What this process has not heard of yet must not be forgotten: another one may just have ordered it.
        issuer.directory.refresh_all().await?;
        let names = names::wanted(issuer);
        issuer.store.want_certificates(&names, now).await?;
        *wanted = (names, now);
    }
    Ok(false)
}

/// Orders one certificate; `false` if none is due. `last` is the partner whose turn it was.
async fn order_next(issuer: &Issuer, last: &Mutex<String>) -> larder_store::Result<bool> {
    let now = issuer.clock.now_ms();
    let until = now + LEASE.as_millis() as Millis;
    let after = last.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    let claimed = issuer.store.claim_certificate_order(&issuer.holder, &after, now, until).await?;
    let Some(claim) = claimed else { return Ok(false) };
    let partner = claim.partner.as_ref().map(|partner| partner.as_str().to_owned());
    *last.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = partner.unwrap_or_default();
    let Some(done) = hold(issuer, &claim).await? else {
        tracing::warn!(name = claim.name, "the claim of a name was lost; another process orders its certificate");
        return Ok(true);
    };
    let result = match done {
        Ok(order::Done::NotYet { due_at_ms }) => {
            issuer.store.defer_certificate_order(&claim, "", due_at_ms).await?;
            "not yet"
        }
        Ok(order::Done::Waits { why, due_at_ms }) => {
            tracing::warn!(name = claim.name, why, "{} is not ordered: {why}", claim.name);
            issuer.store.defer_certificate_order(&claim, &why, due_at_ms).await?;
            "waits"
        }
        Ok(order::Done::Issued { certificate, renew_at_ms }) => {
            issuer.store.store_certificate(&claim, &certificate, renew_at_ms).await?;
            tracing::info!(name = claim.name, "{} has a new certificate", claim.name);
            "issued"
        }
        Err(failed) => {
            let due_at = order::retry_at(issuer, &claim, &failed).await?;
            tracing::warn!(
                name = claim.name,
                why = failed.why,
                "{} did not get a certificate: {}",
                claim.name,
                failed.why
            );
            issuer.store.fail_certificate_order(&claim, &failed.why, due_at).await?;
            "failed"
        }
    };
    metrics::counter!("larder_certificate_orders_total", "result" => result).increment(1);
    Ok(true)
}

/// Works on a claim while its lease is extended; `None` if that was lost.
async fn hold(
    issuer: &Issuer,
    claim: &OrderClaim,
) -> larder_store::Result<Option<std::result::Result<order::Done, order::Failed>>> {
    let mut work = std::pin::pin!(order::obtain(issuer, claim));
    loop {
        tokio::select! {
            done = &mut work => return Ok(Some(done)),
            () = tokio::time::sleep(LEASE / 3) => {}
        }
        let until = issuer.clock.now_ms() + LEASE.as_millis() as Millis;
        match issuer.store.hold_certificate_order(claim, until).await {
            Ok(()) => {}
            Err(larder_store::Error::NotFound { .. }) => return Ok(None),
            Err(err) => return Err(err),
        }
    }
}

/// Presents stored certificates as they change, until the process drains.
pub async fn present(sealer: Sealer) {
    let (drain, poll) = (sealer.life.drain(), sealer.settings.acme.poll);
    let mut since = 0;
    loop {
        match sealer.store.certificates_since(since).await {
            Ok(changed) => {
                for stored in changed {
                    since = since.max(stored.changed_at_ms - OVERLAP_MS);
                    show(&sealer, &stored);
                }
            }
            Err(err) => tracing::warn!(error = %err, "certificates could not be read; those in memory stay"),
        }
        if let Err(err) = forget(&sealer).await {
            tracing::warn!(error = %err, "forgotten names could not be read; their certificates stay in memory");
        }
        tokio::select! {
            () = tokio::time::sleep(poll) => {}
            () = drain.cancelled() => return,
        }
    }
}

/// Takes out of memory what this process has no name for any more, unless the database has it: then the name is another process's
/// news.
async fn forget(sealer: &Sealer) -> larder_store::Result<()> {
    let wanted = names::wanted(sealer);
    let named = sealer.certificates.all().into_iter().filter_map(|(name, _)| name);
    let unwanted: Vec<String> = named.filter(|name| !wanted.contains_key(name)).collect();
    if unwanted.is_empty() {
        return Ok(());
    }
    let there = sealer.store.with_certificate(&unwanted).await?;
    for name in unwanted.iter().filter(|name| !there.contains(*name)) {
        sealer.certificates.remove(name);
    }
    Ok(())
}

fn show(sealer: &Sealer, stored: &larder_model::certificates::Certificate) {
    let known = sealer.certificates.named(&stored.name);
    if known.is_some_and(|known| known.not_after_ms == stored.not_after_ms) {
        return;
    }
    let key = sealer.secrets.open(&["certificate", &stored.name], &stored.sealed_key);
    let read = key.map_err(|err| err.to_string()).and_then(|key| {
        let read = Certificate::from_pem(&stored.chain, &key.text(), sealer.clock.now_ms());
        read.map_err(|why| why.to_string())
    });
    match read {
        Ok(certificate) => sealer.certificates.set(&stored.name, certificate),
        Err(why) => tracing::warn!(name = stored.name, why, "a stored certificate is not presented: {why}"),
    }
}

/// Answers challenges of the database, whichever process gave them.
pub struct Stored(pub Common);

#[async_trait]
impl Challenges for Stored {
    async fn answer(&self, host: &str, token: &str) -> Option<String> {
        self.find(host, ChallengeKind::Http01, token).await
    }

    async fn proof(&self, host: &str) -> Option<Proof> {
        let answer = self.find(host, ChallengeKind::TlsAlpn01, "").await?;
        Proof::of(host, &answer).map_err(|why| tracing::warn!(name = host, %why, "a proof could not be made")).ok()
    }
}

impl Stored {
    async fn find(&self, host: &str, kind: ChallengeKind, token: &str) -> Option<String> {
        let found = self.0.store.challenge(host, kind, token, self.0.clock.now_ms()).await;
        found.map_err(|err| tracing::warn!(name = host, error = %err, "a challenge could not be read")).ok().flatten()
    }
}

/// Starts to answer challenges in a process that serves.
pub fn answer(common: &Common) {
    common.certificates.answer_by(Arc::new(Stored(common.clone())));
}

/// How many names there are, and those after this one, in order.
pub async fn list(common: &Common, after: &str, limit: u32) -> Result<(usize, Vec<Order>)> {
    Ok(common.store.certificate_orders(after, limit).await?)
}

/// Lets a name be ordered at once, whatever its certificate.
pub async fn renew(common: &Common, name: &str) -> Result<Order> {
    audit::of(common, None, Change::new(Action::CertificateRenew, name)).hurry_certificate_order(name).await?;
    let order = common.store.certificate_order(name).await?;
    order.ok_or(larder_store::Error::NotFound { what: "certificate" }.into())
}
