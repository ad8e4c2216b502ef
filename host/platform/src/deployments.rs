//! Deployments: every change of what a function runs.
//!
//! * [`begin`] stores one and has it built; [`cancel`] ends a build that has not ended; [`ended`] is told of one that has.
//! * [`activate`] and [`approve`] make it what the function runs, if its grants are approved. [`delete`] removes it.
//!
//! The rule: **whatever changes what runs goes through [`changed`]**, so that it takes effect in this process before it is
//! answered, and in the others as they hear of it.

use larder_model::ids::{DeploymentId, FunctionId, KeyId, PartnerId};
use larder_model::{BuildStatus, Deployment, Digest, Function, FunctionSettings, Grants};
use larder_signals::Work;
use larder_store::{Approved, Result};

use crate::common::Common;
use crate::jobs::schedules;

/// A deployment as it is uploaded.
pub struct NewDeployment {
    /// Becomes the active one when it is ready.
    pub activate: bool,
    /// `manual` or `cli`.
    pub kind: String,
    pub entrypoint: String,
    pub digest: Digest,
    pub source_bytes: u64,
    /// What it asks for; `None`: whatever the function has.
    pub grants: Option<Grants>,
    pub settings: Option<FunctionSettings>,
    pub origin: Option<String>,
    /// The key that uploaded it.
    pub uploader: Option<KeyId>,
}

/// Stores a deployment of this function and has it built.
pub async fn begin(common: &Common, function: &Function, id: DeploymentId, new: NewDeployment) -> Result<Deployment> {
    let now = common.clock.now_ms();
    let deployment = Deployment {
        partner: function.partner.clone(),
        id,
        function: function.id.clone(),
        status: BuildStatus::Waiting,
        activate: new.activate,
        kind: new.kind,
        entrypoint: new.entrypoint,
        digest: new.digest,
        source_bytes: new.source_bytes,
        build_bytes: 0,
        build_ms: 0,
        build_logs: String::new(),
        build_lost: 0,
        exports: None,
        grants: new.grants,
        settings: new.settings,
        origin: new.origin,
        uploader: new.uploader,
        approval: None,
        created_at_ms: now,
        updated_at_ms: now,
    };
    common.store.insert_deployment(&deployment).await?;
    common.queue.push(Work::Builds);
    Ok(deployment)
}

/// Ends a build that has not ended; gives whether it had not.
pub async fn cancel(common: &Common, deployment: &mut Deployment) -> Result<bool> {
    deployment.status = BuildStatus::Canceled;
    deployment.build_logs.push_str("canceled\n");
    deployment.updated_at_ms = common.clock.now_ms();
    common.store.update_build(deployment, None, &common.clock).await
}

/// After its build was recorded as ended: a deployment that was uploaded to become active may have become so.
pub async fn ended(common: &Common, deployment: &Deployment) -> Result<()> {
    if deployment.status == BuildStatus::Ready && deployment.activate {
        changed(common, &deployment.partner, &deployment.function).await?;
    }
    Ok(())
}

/// Makes it what the function runs. Gives whether its grants were approved; otherwise nothing changes.
pub async fn activate(common: &Common, deployment: &Deployment, by: Option<&KeyId>) -> Result<bool> {
    let approved = common.store.activate_deployment(deployment, by, &common.clock).await?;
    if approved {
        changed(common, &deployment.partner, &deployment.function).await?;
    }
    Ok(approved)
}

/// Approves the grants that it asks for, as they were read under this digest. If it was uploaded to become active, it does.
pub async fn approve(common: &Common, deployment: &Deployment, digest: &str, by: &KeyId) -> Result<Approved> {
    let approved = common.store.approve_grants(deployment, digest, by, &common.clock).await?;
    if let Approved::Yes { .. } = approved {
        changed(common, &deployment.partner, &deployment.function).await?;
    }
    Ok(approved)
}

pub async fn delete(common: &Common, deployment: &Deployment) -> Result<()> {
    common.store.delete_deployment(deployment).await?;
    changed(common, &deployment.partner, &deployment.function).await
}

/// Lets a change of a function, its deployments, grants or variables take effect: reads the tenant again and arms the
/// function's schedule.
pub async fn changed(common: &Common, partner: &PartnerId, function: &FunctionId) -> Result<()> {
    common.directory.reload(partner).await?;
    schedules::arm(common, partner, function).await
}
