//! Whose a domain is: a partner's own domain is its once DNS says so.
//!
//! * [`verify`]: looks for the proof of a rule now. [`check`]: the job of the scheduler that looks again.
//!
//! The proof is a CNAME record that leads to `P.TARGET` (`P-api.TARGET` for the API), or a TXT record at `_larder.DOMAIN` that
//! names it. It names the partner, so that nobody can be given a domain whose owner meant somebody else.
//!
//! The rules: **nothing is served at a domain that is not proved**; **a domain is whoever's proves it now**: a rule that had it
//! before and cannot any more gives it up at once, and to nobody after `server.domain_grace`; and **a look-up that fails says
//! nothing**, neither for nor against.

use std::time::Duration;

use larder_egress::Client;
use larder_model::Rule;
use larder_model::rules::{Proof, check_domain, look_again_at_ms};
use larder_model::time::Millis;
use tokio::sync::Semaphore;

use crate::common::context;
use crate::error::{Error, Result};

context! {
    /// The context of services that ask DNS for a proof.
    Domains {
        egress: Client,
    }
}

/// Aliases that are followed from a domain.
const ALIASES_MAX: usize = 8;
/// A look for a proof takes no longer.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// Looks at once, in this process. A partner has [`crate::directory::Tenant::looks`].
static LOOKS: Semaphore = Semaphore::const_new(16);
/// Between two looks at one rule, whoever asks.
const REST_MS: Millis = 2_000;
/// After a look-up that failed.
const FAILED_MS: Millis = 5 * 60_000;
/// Partners whose rules are looked at together by the job, one rule of each.
const TOGETHER: u32 = 8;

/// What DNS says.
enum Found {
    Proved,
    Not(String),
    /// It does not answer.
    Unknown(String),
}

/// Looks for the proof of a rule, unless somebody did a moment ago. An error says what is missing.
pub async fn verify(domains: &Domains, rule: &Rule) -> Result<()> {
    if rule.proof.is_none() {
        let parent = &domains.settings.server.functions_domain;
        return check_domain(&rule.domain, parent)
            .map(drop)
            .map_err(|why| Error::RuleNotProved(format!("The domain {why}")));
    }
    let now = domains.clock.now_ms();
    if domains.store.claim_rule(rule, now - REST_MS, now).await? {
        look(domains, rule).await?;
    }
    let found = domains.store.rule(&rule.partner, &rule.id).await?;
    let found = found.ok_or(larder_store::Error::NotFound { what: "rule" })?.rule;
    match found.proof {
        Some(proof) if !proof.holds => Err(Error::RuleNotProved(proof.why)),
        Some(_) | None => Ok(()),
    }
}

/// Looks again at proofs that are due, until the process drains.
pub async fn check(domains: Domains) {
    let drain = domains.life.drain();
    let poll = (domains.settings.server.domain_recheck / 4).min(Duration::from_secs(30));
    loop {
        let pause = match step(&domains).await {
            Ok(0) => poll,
            Ok(_) => Duration::ZERO,
            Err(err) => {
                tracing::warn!(error = %err, "domains could not be looked at; they are at the next poll");
                poll
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = drain.cancelled() => return,
        }
    }
}

/// How many rules were looked at.
async fn step(domains: &Domains) -> Result<usize> {
    let now = domains.clock.now_ms();
    let partners = domains.store.partners_with_due_rules(now, TOGETHER).await?;
    let looks = partners.iter().map(|partner| async move {
        let Some(rule) = domains.store.due_rule(partner, now).await? else { return Ok(false) };
        if !domains.store.claim_rule(&rule, now - REST_MS, now).await? {
            return Ok(false);
        }
        match look(domains, &rule).await {
            // It was deleted meanwhile.
            Err(Error::Store(larder_store::Error::NotFound { .. })) | Ok(()) => Ok(true),
            Err(err) => Err(err),
        }
    });
    let looked: Vec<bool> = futures::future::try_join_all(looks).await?;
    Ok(looked.into_iter().filter(|looked| *looked).count())
}

/// Looks for the proof and stores what follows from it.
pub async fn look(domains: &Domains, rule: &Rule) -> Result<()> {
    let Some(proof) = &rule.proof else { return Ok(()) };
    // Whoever looks at many domains at once leaves those of others their turns: what is not looked at now is due for the job.
    let Some(tenant) = domains.directory.tenant(&rule.partner) else { return Ok(()) };
    let Ok(_turn) = tenant.looks.try_acquire() else { return Ok(()) };
    let (store, server) = (&domains.store, &domains.settings.server);
    let found = prove(domains, rule).await;
    let now = domains.clock.now_ms();
    let recheck_at = now + server.domain_recheck.as_millis() as Millis;
    let later = look_again_at_ms(now, rule.created_at_ms);
    let note = |due_at_ms, lost_at_ms, why| Proof { holds: proof.holds, due_at_ms, lost_at_ms, why };
    let noted = match (found, proof.holds) {
        (Found::Proved, true) => note(recheck_at, None, String::new()),
        (Found::Proved, false) => match take(domains, rule, now, recheck_at).await? {
            None => return Ok(()),
            Some(why) => note(later, None, why),
        },
        (Found::Not(why), false) => note(later, None, why),
        (Found::Not(why), true) => {
            let lost_at = proof.lost_at_ms.unwrap_or(now);
            let end = lost_at + server.domain_grace.as_millis() as Millis;
            if end <= now {
                tracing::warn!(partner.id = %rule.partner, domain = rule.domain, "{} is lost: {why}", rule.domain);
                store.lose_rule(rule, &why, now, later).await?;
                return Ok(domains.directory.reload(&rule.partner).await?);
            }
            let why = format!("the domain is served until {}: {why}", larder_model::time::rfc3339(end));
            note(recheck_at.min(end), Some(lost_at), why)
        }
        (Found::Unknown(why), _) => note(recheck_at.min(now + FAILED_MS), proof.lost_at_ms, why),
    };
    Ok(store.note_rule(rule, &noted).await?)
}

/// Gives a proved domain to the rule; a text says why not.
async fn take(domains: &Domains, rule: &Rule, now: Millis, due_at: Millis) -> Result<Option<String>> {
    let store = &domains.store;
    for _ in 0..2 {
        match store.prove_rule(rule, now, due_at).await {
            Ok(()) => {
                domains.directory.reload(&rule.partner).await?;
                tracing::info!(partner.id = %rule.partner, domain = rule.domain, "{} is proved", rule.domain);
                return Ok(None);
            }
            Err(larder_store::Error::Conflict { .. }) => {}
            Err(err) => return Err(err.into()),
        }
        let Some(holder) = store.holder_of_domain(&rule.domain).await? else { continue };
        match prove(domains, &holder).await {
            Found::Not(_) => {
                let why = "another project has proved this domain";
                store.lose_rule(&holder, why, now, look_again_at_ms(now, holder.created_at_ms)).await?;
                domains.directory.reload(&holder.partner).await?;
            }
            Found::Proved => return Ok(Some("another project has proved this domain before, and still does".into())),
            Found::Unknown(why) => return Ok(Some(why)),
        }
    }
    Ok(Some("another project has just proved this domain".into()))
}

async fn prove(domains: &Domains, rule: &Rule) -> Found {
    if rule.proof.is_none() {
        return Found::Proved;
    }
    let target = rule.reaches.target(&rule.partner, &domains.settings.domain_target());
    let looking = async {
        let _look = LOOKS.acquire().await;
        ask(&domains.egress, &rule.domain, &target).await
    };
    let late = |_| Found::Unknown(format!("DNS did not answer for {} within {} s", rule.domain, LOOK_MAX.as_secs()));
    tokio::time::timeout(LOOK_MAX, looking).await.unwrap_or_else(late)
}

async fn ask(dns: &Client, domain: &str, target: &str) -> Found {
    let text_at = format!("_larder.{domain}");
    let (led, texts) = tokio::join!(leads_to(dns, domain, target), dns.texts(&text_at));
    match (led, texts) {
        (Ok(None), _) => Found::Proved,
        (_, Ok(texts)) if texts.iter().any(|text| text.trim() == target) => Found::Proved,
        (Ok(Some(last)), Ok(_)) => {
            let now = if last == domain { "it has no CNAME record".to_owned() } else { format!("it leads to {last}") };
            Found::Not(format!(
                "{domain} must have a CNAME record to {target}, or {text_at} a TXT record \"{target}\"; {now}, and {text_at} has no \
                 such text"
            ))
        }
        (Err(why), _) | (_, Err(why)) => Found::Unknown(why.to_string()),
    }
}

/// Follows the aliases of a domain. `None`: they lead to the target; else where they end.
async fn leads_to(
    dns: &Client,
    domain: &str,
    target: &str,
) -> std::result::Result<Option<String>, larder_egress::Error> {
    let mut name = domain.to_owned();
    for _ in 0..ALIASES_MAX {
        match dns.alias(&name).await? {
            Some(to) if to == target => return Ok(None),
            Some(to) => name = to,
            None => break,
        }
    }
    Ok(Some(name))
}
