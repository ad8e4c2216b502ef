//! Executions: queueing them, looking them up and deleting them. They run in [`crate::execution`].

use std::time::{Duration, Instant};

use larder_model::Execution;
use larder_model::audit::Action;
use larder_model::ids::{ExecutionId, FunctionId, PartnerId};
use larder_model::time::{self, Millis};
use larder_signals::Work;
use larder_signals::crash::{self, Point};
use larder_store::NewExecution;

use crate::audit::{self, Change};
use crate::common::Common;
use crate::directory::Tenant;
use crate::error::{Error, Result};
use crate::execution::Executor;
use crate::{backlog, stored};

/// Between two look-ups of a record that another process is to write.
const LOOK: Duration = Duration::from_millis(25);

/// Queues an execution. `again`: it may have been queued under the same id before. Returns it as it was queued: by now it may
/// have ended.
pub async fn enqueue(common: &Common, tenant: &Tenant, new: &NewExecution, again: bool) -> Result<Execution> {
    let (bytes, most) = (new.body.as_ref().map_or(0, Vec::len), common.store.body_bytes_max());
    if bytes > most {
        return Err(Error::BodyOfQueued { bytes, most });
    }
    backlog::admit_execution(common, tenant, new.scheduled_at_ms.is_none()).await??;
    stored::admit(common, &tenant.stored, bytes as u64)?;
    tenant.stored.add(bytes as u64);
    match common.store.insert_execution(new).await {
        Err(larder_store::Error::Conflict { .. }) if again => {}
        Err(larder_store::Error::Unknown(why)) => {
            tracing::warn!(execution.id = %new.id, why, "it is not known whether an execution was queued");
            return Err(Error::OutcomeUnknown(new.id.clone()));
        }
        done => done?,
    }
    crash::point(Point::ExecutionQueued);
    common.signals.push(Work::Executions);
    Ok(new.execution())
}

/// The execution, even if its record is not written yet: this process or another one writes records later.
pub async fn find(
    executor: &Executor,
    partner: &PartnerId,
    function: &FunctionId,
    id: &ExecutionId,
) -> Result<Option<Execution>> {
    executor.ledger.settle(id).await?;
    let mut found = executor.store.execution(partner, function, id).await?;
    // A record is written no later than this after the call, which began when its id was made.
    let behind = 2 * executor.settings.records.flush;
    let longest = executor.settings.server.call_timeout + behind;
    let young = |at: Millis| executor.clock.now_ms() - at < longest.as_millis() as Millis;
    if let (None, Some((at, false))) = (&found, time::origin(id.as_str()))
        && young(at)
        && !executor.store.is_embedded()
    {
        let until = Instant::now() + behind;
        while found.is_none() && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
            found = executor.store.execution(partner, function, id).await?;
        }
    }
    Ok(found)
}

/// Deletes an execution that has ended, or cancels one that was to run later or again.
pub async fn delete(executor: &Executor, partner: &PartnerId, function: &FunctionId, id: &ExecutionId) -> Result<()> {
    find(executor, partner, function, id).await?;
    let change =
        Change::new(Action::ExecutionDelete, id.as_str()).before(serde_json::json!({ "functionId": function }));
    let deleted = audit::of(executor, partner.clone(), change).delete_execution(partner, function, id).await;
    deleted.map_err(Error::ExecutionInProgress.on_conflict())
}
