//! Proxy rules: domains by which functions are called.

use larder_model::Rule;
use larder_model::ids::{FunctionId, PartnerId, RuleId};
use larder_model::rules::check_domain;
use larder_store::DeployedRule;

use crate::common::Common;
use crate::error::{Error, Result};
use crate::quotas::{Cap, Exceeded};

/// Gives a function this domain.
pub async fn create(
    common: &Common,
    partner: &PartnerId,
    id: RuleId,
    function: FunctionId,
    domain: &str,
) -> Result<DeployedRule> {
    let domain =
        check_domain(domain, &common.settings.server.functions_domain).map_err(|why| Error::invalid("domain", why))?;
    let (most, has) = (common.settings.server.rules_per_partner, common.store.rules(partner).await?.len());
    if has >= most {
        return Err(Exceeded::new(Cap::Rules, most as u64, has as u64).into());
    }
    let now = common.clock.now_ms();
    let rule = Rule { partner: partner.clone(), id, function, domain, created_at_ms: now, updated_at_ms: now };
    common.store.insert_rule(&rule).await.map_err(|err| match err {
        larder_store::Error::NotFound { what: "function" } => Error::RuleWithoutFunction,
        err => Error::RuleExists.on_conflict()(err),
    })?;
    common.directory.reload(partner).await?;
    let deployment = common.store.function(partner, &rule.function).await?.and_then(|function| function.deployment);
    Ok((rule, deployment))
}

pub async fn delete(common: &Common, partner: &PartnerId, id: &RuleId) -> Result<()> {
    common.store.delete_rule(partner, id).await?;
    Ok(common.directory.reload(partner).await?)
}
