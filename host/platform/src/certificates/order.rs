//! One claim of a name: is it time, does the name lead here, the order, its challenge, the certificate.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, Identifier, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use larder_model::Digest;
use larder_model::certificates::{self, COUNTED_MS, Certificate, Challenge, ChallengeKind};
use larder_model::time::{Millis, instant};
use larder_store::OrderClaim;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::authority::{self, Said};
use super::{Issuer, probe};
use crate::tls;

/// How long an authority may take for each of the two things that it is waited for.
const PATIENCE: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(500)).timeout(Duration::from_secs(120));
/// An order that takes longer has failed.
const ORDER_MAX: Duration = Duration::from_secs(300);
/// A challenge is answered for so long.
const CHALLENGE_MS: Millis = 15 * 60_000;
/// A request is repeated so often whose nonce the authority does not take (RFC 8555, section 6.5).
pub const NONCES_MAX: usize = 16;
/// An authority is asked for its suggestion at least so often (RFC 9773, section 4.3.2).
const ASK_AGAIN_MAX: Duration = Duration::from_secs(24 * 3600);
/// A name whose partner may order no more is looked at again after so long: the setting may be another one then.
const WAITS_MAX_MS: Millis = 3_600_000;
/// What is told of a failure.
const WHY_CHARS_MAX: usize = 1_000;

/// Why a name did not get a certificate.
#[derive(Debug)]
pub struct Failed {
    pub why: String,
    /// When the authority wants to be asked again; 0: it did not say.
    pub again_at_ms: Millis,
}

impl Failed {
    pub fn new(why: String) -> Failed {
        Failed { why: why.chars().take(WHY_CHARS_MAX).collect(), again_at_ms: 0 }
    }
}

impl From<Error> for Failed {
    fn from(err: Error) -> Failed {
        Failed::new(format!("the authority: {err}"))
    }
}

impl From<larder_store::Error> for Failed {
    fn from(err: larder_store::Error) -> Failed {
        Failed::new(err.to_string())
    }
}

impl From<larder_secrets::Error> for Failed {
    fn from(err: larder_secrets::Error) -> Failed {
        Failed::new(err.to_string())
    }
}

/// What became of a claim.
pub enum Done {
    Issued {
        certificate: Certificate,
        renew_at_ms: Millis,
    },
    /// Its partner has ordered as many as it may.
    Waits {
        why: String,
        due_at_ms: Millis,
    },
    /// Its certificate is good for longer.
    NotYet {
        due_at_ms: Millis,
    },
}

pub async fn obtain(issuer: &Issuer, claim: &OrderClaim) -> Result<Done, Failed> {
    let said = Said::default();
    let done = tokio::time::timeout(ORDER_MAX, obtain_within(issuer, claim, &said)).await;
    let done = done.unwrap_or_else(|_| Err(Failed::new(format!("it took longer than {ORDER_MAX:?}"))));
    done.map_err(|failed| Failed { again_at_ms: said.again_at_ms(), ..failed })
}

/// When a name is tried again that failed: not before the authority wants it.
pub async fn retry_at(issuer: &Issuer, claim: &OrderClaim, failed: &Failed) -> larder_store::Result<Millis> {
    let not_after_ms = issuer.store.certificate(&claim.name).await?.map(|certificate| certificate.not_after_ms);
    let own = certificates::retry_at_ms(issuer.clock.now_ms(), claim.failures + 1, not_after_ms);
    Ok(own.max(failed.again_at_ms))
}

async fn obtain_within(issuer: &Issuer, claim: &OrderClaim, said: &Said) -> Result<Done, Failed> {
    let account = authority::account(issuer, said).await?;
    let old = issuer.store.certificate(&claim.name).await?;
    let suggestion = match &old {
        Some(old) => suggestion(&account, old).await,
        None => None,
    };
    if let Some(old) = &old
        && !claim.is_forced
    {
        let (renew_at_ms, ask_again) = match &suggestion {
            Some(suggestion) => (suggestion.renew_at_ms, suggestion.ask_again),
            None => (certificates::renew_at_ms(old.not_before_ms, old.not_after_ms), ASK_AGAIN_MAX),
        };
        let now = issuer.clock.now_ms();
        if renew_at_ms > now {
            return Ok(Done::NotYet { due_at_ms: renew_at_ms.min(now + ask_again.as_millis() as Millis) });
        }
    }
    probe::leads_here(issuer, claim).await?;
    let renews = old.as_ref().is_some_and(|old| old.not_after_ms > issuer.clock.now_ms());
    if let Some(waits) = count(issuer, claim, renews).await? {
        return Ok(waits);
    }
    let names = [Identifier::Dns(claim.name.clone())];
    let mut new = NewOrder::new(&names);
    if let Some(suggestion) = suggestion {
        new = new.replaces(suggestion.of);
    }
    let mut order = patiently!(account.new_order(&new))?;
    answer_challenges(issuer, &claim.name, &mut order).await?;
    let ready = patiently!(order.poll_ready(&PATIENCE))?;
    if ready == OrderStatus::Invalid {
        return Err(Failed::new(refusal(&mut order).await));
    }
    let key = patiently!(order.finalize())?;
    let chain = patiently!(order.poll_certificate(&PATIENCE))?;
    let certificate = checked(issuer, &claim.name, chain, &key)?;
    let renew_at_ms = match self::suggestion(&account, &certificate).await {
        Some(suggestion) => {
            let ask_again_at = issuer.clock.now_ms() + suggestion.ask_again.as_millis() as Millis;
            suggestion.renew_at_ms.min(ask_again_at)
        }
        None => certificates::renew_at_ms(certificate.not_before_ms, certificate.not_after_ms),
    };
    Ok(Done::Issued { certificate, renew_at_ms })
}

/// When an authority suggests to renew a certificate (RFC 9773).
struct Suggestion {
    of: CertificateIdentifier<'static>,
    renew_at_ms: Millis,
    ask_again: Duration,
}

/// `None` if the authority suggests nothing.
async fn suggestion(account: &Account, certificate: &Certificate) -> Option<Suggestion> {
    let leaf = CertificateDer::from_pem_slice(certificate.chain.as_bytes()).ok()?;
    let of = CertificateIdentifier::try_from(&leaf).ok()?.into_owned();
    let (info, ask_again) = match account.renewal_info(&of).await {
        Ok(found) => found,
        Err(Error::Unsupported(_)) => return None,
        Err(err) => {
            tracing::debug!(name = certificate.name, error = %err, "the authority did not say when to renew");
            return None;
        }
    };
    let (start, end) = (info.suggested_window.start, info.suggested_window.end);
    let ms = |seconds: i64| seconds.saturating_mul(1_000);
    let (start, end) = (ms(start.unix_timestamp()), ms(end.unix_timestamp()));
    // A point of the window that is the certificate's own, so that asking again does not move it.
    let Digest(bytes) = Digest::of(certificate.chain.as_bytes());
    let point = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let into = (i128::from((end - start).max(0)) * i128::from(point) / i128::from(u32::MAX)) as Millis;
    Some(Suggestion {
        of,
        renew_at_ms: start + into,
        ask_again: ask_again.clamp(Duration::from_secs(60), ASK_AGAIN_MAX),
    })
}

/// Counts the order that is about to be sent. A name of a partner that may send no more waits, unless an operator wants it, or it
/// would lose the certificate that it has.
async fn count(issuer: &Issuer, claim: &OrderClaim, renews: bool) -> Result<Option<Done>, Failed> {
    let Some(partner) = &claim.partner else { return Ok(None) };
    let (now, setting) = (issuer.clock.now_ms(), issuer.settings.acme.orders_per_partner);
    let most = (!renews && !claim.is_forced).then_some(setting);
    let order = (issuer.clock.ulid().to_string(), claim.name.as_str());
    let counted =
        issuer.store.count_certificate_order(partner, (&order.0, order.1), now - COUNTED_MS, now, most).await?;
    let Some(oldest) = counted else { return Ok(None) };
    let next = oldest + COUNTED_MS + 1;
    let why = format!(
        "waits: {partner} ordered {setting} certificates in the last 7 days (acme.orders_per_partner = {setting}), the next one may \
         be ordered at {}",
        instant(next).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    );
    Ok(Some(Done::Waits { why, due_at_ms: next.min(now + WAITS_MAX_MS) }))
}

pub async fn store_challenge(
    issuer: &Issuer,
    name: &str,
    kind: ChallengeKind,
    token: &str,
    answer: &str,
) -> Result<(), Failed> {
    let expires_at_ms = issuer.clock.now_ms() + CHALLENGE_MS;
    let (name, token, answer) = (name.to_owned(), token.to_owned(), answer.to_owned());
    Ok(issuer.store.put_challenge(&Challenge { name, kind, token, answer, expires_at_ms }).await?)
}

async fn answer_challenges(issuer: &Issuer, name: &str, order: &mut Order) -> Result<(), Failed> {
    let kind = issuer.settings.acme.challenge;
    let wanted = match kind {
        ChallengeKind::Http01 => ChallengeType::Http01,
        ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
    };
    // Reading the authorizations may have to be repeated, and each that is valid is passed over.
    for _ in 0..NONCES_MAX {
        let mut authorizations = order.authorizations();
        let mut refused = None;
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = match authorization {
                Ok(authorization) => authorization,
                Err(err) => {
                    refused = Some(err);
                    break;
                }
            };
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                other => return Err(Failed::new(format!("the authority has {other:?} of {name}"))),
            }
            let mut challenge = authorization
                .challenge(wanted.clone())
                .ok_or_else(|| Failed::new(format!("the authority does not offer {}", kind.as_str())))?;
            let answer = challenge.key_authorization();
            store_challenge(issuer, name, kind, &challenge.token, answer.as_str()).await?;
            patiently!(challenge.set_ready())?;
        }
        match refused {
            None => return Ok(()),
            Some(err) if is_nonce(&err) => {}
            Some(err) => return Err(err.into()),
        }
    }
    Err(Failed::new("the authority took none of its nonces".to_owned()))
}

/// Why an authority has refused an order.
async fn refusal(order: &mut Order) -> String {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let Ok(authorization) = authorization else { continue };
        if let Some(problem) = authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return format!("the authority could not check the name: {problem}");
        }
    }
    "the authority refused the order".to_owned()
}

/// The certificate if it is the one that was ordered: for this name, with this key, valid now.
fn checked(issuer: &Issuer, name: &str, chain: String, key: &str) -> Result<Certificate, Failed> {
    let now = issuer.clock.now_ms();
    let unfit = |why: String| Failed::new(format!("the authority's certificate is not taken: {why}"));
    let read = tls::Certificate::from_pem(&chain, key, now).map_err(|why| unfit(why.to_string()))?;
    if !read.covers(name) {
        return Err(unfit(format!("it is for {}", read.names.join(", "))));
    }
    let sealed_key = issuer.secrets.seal(&["certificate", name], key.as_bytes());
    let (not_before_ms, not_after_ms) = (read.not_before_ms, read.not_after_ms);
    Ok(Certificate { name: name.to_owned(), chain, sealed_key, not_before_ms, not_after_ms, changed_at_ms: now })
}

pub fn is_nonce(err: &Error) -> bool {
    matches!(err, Error::Api(problem) if problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:badNonce"))
}
