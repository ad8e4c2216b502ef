//! Proxy rules: domains of partners, by which their functions or their API are called.

use larder_model::Rule;
use larder_model::audit::Action;
use larder_model::ids::{PartnerId, RuleId};
use larder_model::rules::{Proof, Reaches, check_domain, check_own_domain, label_below};
use larder_store::ListedRule;

use crate::audit::{self, Change, fields};
use crate::common::Common;
use crate::domains::{self, Domains};
use crate::error::{Error, Result};
use crate::quotas::{Cap, Exceeded};

/// Gives a partner this domain. One of its own it must prove, and may have already.
pub async fn create(
    domains: &Domains,
    partner: &PartnerId,
    id: RuleId,
    reaches: Reaches,
    domain: &str,
) -> Result<ListedRule> {
    let invalid = |why| Error::invalid("domain", why);
    let functions = &domains.settings.server.functions_domain;
    let is_below = {
        let domain = domain.to_ascii_lowercase();
        !functions.is_empty() && (domain == *functions || label_below(&domain, functions).is_some())
    };
    let now = domains.clock.now_ms();
    let (domain, proof) = match (&reaches, is_below) {
        (Reaches::Function(_), true) => (check_domain(domain, functions).map_err(invalid)?, None),
        _ => {
            let (root, target) = (domains.settings.root_host().unwrap_or_default(), domains.settings.domain_target());
            let domain = check_own_domain(domain, &[&root, functions, &target]).map_err(invalid)?;
            if !partner.is_label() {
                return Err(invalid("no record can name this project: its id is no DNS label".into()));
            }
            let why = "the proof was not looked for yet".to_owned();
            (domain, Some(Proof { holds: false, due_at_ms: now, lost_at_ms: None, why }))
        }
    };
    let most = domains.settings.server.rules_per_partner;
    let has = domains.store.rules(partner).await?.len();
    if has >= most {
        return Err(Exceeded::new(Cap::Rules, most as u64, has as u64).into());
    }
    let rule = Rule { partner: partner.clone(), id, reaches, domain, proof, created_at_ms: now, updated_at_ms: now };
    let change = Change::new(Action::RuleCreate, rule.id.as_str()).after(fields::rule(&rule));
    audit::of(domains, partner.clone(), change).insert_rule(&rule).await.map_err(|err| match err {
        larder_store::Error::NotFound { what: "function" } => Error::RuleWithoutFunction,
        err => Error::RuleExists.on_conflict()(err),
    })?;
    match rule.proof {
        None => domains.directory.reload(partner).await?,
        Some(_) => domains::look(domains, &rule).await?,
    }
    let stored = domains.store.rule(partner, &rule.id).await?;
    stored.ok_or_else(|| larder_store::Error::NotFound { what: "rule" }.into())
}

pub async fn delete(common: &Common, partner: &PartnerId, id: &RuleId) -> Result<()> {
    let old = common.store.rule(partner, id).await?;
    let change = Change::new(Action::RuleDelete, id.as_str());
    let change = change.before(old.map(|old| fields::rule(&old.rule)).unwrap_or_default());
    audit::of(common, partner.clone(), change).delete_rule(partner, id).await?;
    Ok(common.directory.reload(partner).await?)
}
