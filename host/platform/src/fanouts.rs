//! Fan-outs: pausing, resuming and cancelling them, and redriving what failed. They are run by [`crate::jobs::fanouts`].

use larder_model::audit::Action;
use larder_model::fanouts::Progress;
use larder_model::ids::{FanoutId, PartnerId};
use larder_model::time::Millis;
use larder_model::{Fanout, FanoutStatus};
use larder_signals::Work;
use larder_store::{Redriven, Store, Waiting};

use crate::audit::{self, Change};
use crate::backlog;
use crate::common::Common;
use crate::dead_letters::REDRIVEN_MAX;
use crate::directory::Tenant;
use crate::error::{Error, Result};

/// What a fan-out of a partner is, and how far.
pub struct Found {
    pub fanout: Fanout,
    pub progress: Progress,
    /// Nothing of it is claimed for now.
    pub held_back: bool,
}

/// Adds to a fan-out how far it is.
pub async fn found(common: &Common, tenant: &Tenant, fanout: Fanout) -> Result<Found> {
    let progress = common.store.progress(&fanout).await?;
    let held_back = is_held_back(common, &backlog::waiting(common, tenant).await?);
    Ok(Found { held_back: held_back && fanout.status == FanoutStatus::Running, fanout, progress })
}

/// Is nothing of a partner's fan-outs claimed for now? Too many of its executions are due or waiting, or its functions emit
/// events faster than they can be routed.
pub fn is_held_back(common: &Common, waiting: &Waiting) -> bool {
    let worker = &common.settings.worker;
    waiting.due >= u64::from(worker.due_max)
        || waiting.executions >= u64::from(worker.waiting_per_partner)
        || backlog::emits_too_much(common, waiting)
}

/// Begins nothing more of a running fan-out. What has begun is committed.
pub async fn pause(common: &Common, partner: &PartnerId, id: &FanoutId) -> Result<()> {
    let paused =
        changing(common, partner, Action::FanoutPause, id).pause_fanout(partner, id, common.clock.now_ms()).await;
    or_conflict(paused, "The fan-out is not running")
}

/// Goes on with a paused fan-out.
pub async fn resume(common: &Common, partner: &PartnerId, id: &FanoutId) -> Result<()> {
    let resumed =
        changing(common, partner, Action::FanoutResume, id).resume_fanout(partner, id, common.clock.now_ms()).await;
    or_conflict(resumed, "The fan-out is not paused")?;
    common.signals.push(Work::Fanouts);
    Ok(())
}

/// Ends a fan-out for good. What is committed stays; runs in progress save nothing.
pub async fn cancel(common: &Common, partner: &PartnerId, id: &FanoutId) -> Result<()> {
    let cancelled =
        changing(common, partner, Action::FanoutCancel, id).cancel_fanout(partner, id, common.clock.now_ms()).await;
    or_conflict(cancelled, "The fan-out has ended already")
}

/// Redrives dead letters of a fan-out from before this time, a bounded number of them.
pub async fn redrive(common: &Common, tenant: &Tenant, fanout: &Fanout, before: Millis) -> Result<Redriven> {
    let most = backlog::admit_redriven(common, tenant, REDRIVEN_MAX).await??;
    let redriven = changing(common, &fanout.partner, Action::FanoutRedrive, &fanout.id)
        .redrive_fanout(fanout, before, most, common.clock.now_ms())
        .await?;
    if redriven.total > 0 {
        common.signals.push(Work::Executions);
    }
    Ok(redriven)
}

fn changing(common: &Common, partner: &PartnerId, action: Action, id: &FanoutId) -> Store {
    audit::of(common, partner.clone(), Change::new(action, id.as_str()))
}

fn or_conflict(done: larder_store::Result<()>, why: &'static str) -> Result<()> {
    match done {
        Err(larder_store::Error::Conflict { .. }) => Err(Error::FanoutStatus(why)),
        done => Ok(done?),
    }
}
