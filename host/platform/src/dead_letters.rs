//! Dead letters: executions that were given up.

use larder_model::Execution;
use larder_model::audit::Action;
use larder_model::ids::{ExecutionId, FunctionId, PartnerId};
use larder_model::time::Millis;
use larder_signals::Work;
use larder_store::{LetterGroup, Redriven};

use crate::audit::{self, Change};
use crate::backlog;
use crate::common::Common;
use crate::directory::Tenant;
use crate::error::Result;

/// Dead letters that one call redrives.
pub(crate) const REDRIVEN_MAX: u32 = 500;

/// Puts a dead letter back into the queue, with all its attempts before it.
pub async fn redrive(common: &Common, tenant: &Tenant, id: &ExecutionId) -> Result<Execution> {
    backlog::admit_redriven(common, tenant, 1).await??;
    let change = Change::new(Action::DeadLetterRedrive, id.as_str());
    let store = audit::of(common, tenant.partner.id.clone(), change);
    let redriven = store.redrive(&tenant.partner.id, id, common.clock.now_ms()).await?;
    common.signals.push(Work::Executions);
    Ok(redriven)
}

/// The same for dead letters of a function from before this time, a bounded number of them.
pub async fn redrive_all(common: &Common, tenant: &Tenant, function: &FunctionId, before: Millis) -> Result<Redriven> {
    let most = backlog::admit_redriven(common, tenant, REDRIVEN_MAX).await??;
    let now = common.clock.now_ms();
    let change = Change::new(Action::DeadLetterRedriveAll, function.as_str());
    let store = audit::of(common, tenant.partner.id.clone(), change);
    let redriven = store.redrive_dead_letters(&tenant.partner.id, function, None, before, most, now).await?;
    if redriven.total > 0 {
        common.signals.push(Work::Executions);
    }
    Ok(redriven)
}

/// Groups of dead letters after the given reason and function, and whether there are more.
pub async fn groups(
    common: &Common,
    tenant: &Tenant,
    after: Option<(String, String)>,
    limit: usize,
) -> Result<(Vec<LetterGroup>, bool)> {
    let functions: Vec<FunctionId> = tenant.functions.keys().cloned().collect();
    Ok(common.store.letter_groups(&tenant.partner.id, &functions, after, limit).await?)
}

/// Makes a dead letter a failed execution like any other.
pub async fn discard(common: &Common, partner: &PartnerId, id: &ExecutionId) -> Result<()> {
    let change = Change::new(Action::DeadLetterDiscard, id.as_str());
    Ok(audit::of(common, partner.clone(), change).discard_dead_letter(partner, id, common.clock.now_ms()).await?)
}
