//! Deployments: every change of the code that a function runs.
//!
//! * [`begin`] stores a deployment and queues its build, [`cancel`] cancels it, and [`ended`] is called when it has ended.
//! * [`activate`] makes it the active one, if its grants are approved ([`crate::grants`]). [`delete`] removes it.
//!
//! The rule: **every change of what runs goes through [`changed`]**. So it takes effect in this process before the request is
//! answered, and in the others when they are notified.

use larder_model::audit::Action;
use larder_model::ids::{DeploymentId, FunctionId, KeyId, PartnerId};
use larder_model::{BuildStatus, Deployment, Digest, Function, FunctionSettings, Grants, SourceFormat};
use larder_signals::{DeploymentNotice, Work};

use crate::audit::{self, Change, fields};
use crate::common::Common;
use crate::error::{Error, Result};
use crate::jobs::schedules;

/// A deployment as it is uploaded.
pub struct NewDeployment {
    /// Activate it when it is ready.
    pub activate: bool,
    /// `manual` or `cli`.
    pub kind: String,
    pub entrypoint: String,
    pub source_format: SourceFormat,
    /// Unknown where the upload comes in chunks.
    pub source_digest: Digest,
    pub source_bytes: u64,
    /// The grants that it requests; `None`: those that the function has.
    pub grants: Option<Grants>,
    pub settings: Option<FunctionSettings>,
    pub origin: Option<String>,
    /// The key that uploaded it.
    pub uploader: Option<KeyId>,
}

/// Stores a deployment of this function and queues its build, which waits for the chunks of its upload ([`crate::chunks`]).
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
        source_format: new.source_format,
        source_digest: new.source_digest,
        source_bytes: new.source_bytes,
        digest: new.source_digest,
        component_bytes: 0,
        uploading: new.source_digest == Digest::UNKNOWN,
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
    let change = Change::new(Action::DeploymentCreate, deployment.id.as_str()).after(fields::deployment(&deployment));
    audit::of(common, deployment.partner.clone(), change).insert_deployment(&deployment).await?;
    common.signals.push(Work::Builds);
    tell(common, &deployment, true);
    Ok(deployment)
}

/// Cancels a build. One that was canceled before stays as it is.
pub async fn cancel(common: &Common, deployment: &mut Deployment) -> Result<()> {
    if deployment.status == BuildStatus::Canceled {
        return Ok(());
    }
    let change = Change::new(Action::DeploymentCancel, deployment.id.as_str())
        .before(serde_json::json!({ "functionId": deployment.function, "status": deployment.status.word() }));
    let store = audit::of(common, deployment.partner.clone(), change);
    deployment.status = BuildStatus::Canceled;
    deployment.build_logs.push_str("canceled\n");
    deployment.updated_at_ms = common.clock.now_ms();
    let canceled = store.update_build(deployment, None, &common.clock).await?;
    if !canceled {
        return Err(Error::BuildCompleted);
    }
    tell(common, deployment, false);
    Ok(())
}

/// Must be called after a build was recorded as ended: the deployment may have been activated with it.
pub async fn ended(common: &Common, deployment: &Deployment) -> larder_store::Result<()> {
    tell(common, deployment, false);
    if deployment.status == BuildStatus::Ready && deployment.activate {
        changed(common, &deployment.partner, &deployment.function).await?;
    }
    Ok(())
}

/// Activates a deployment that is ready. Returns `false`, and changes nothing, if its grants are not approved.
pub async fn activate(common: &Common, deployment: &Deployment, by: Option<&KeyId>) -> Result<bool> {
    if deployment.status != BuildStatus::Ready {
        return Err(Error::BuildNotReady(deployment.status.word()));
    }
    let before = common.store.function(&deployment.partner, &deployment.function).await?;
    let before = before.and_then(|function| function.deployment);
    let change = Change::new(Action::DeploymentActivate, deployment.id.as_str())
        .before(serde_json::json!({ "deploymentId": before }))
        .after(serde_json::json!({ "functionId": deployment.function, "deploymentId": deployment.id }));
    let approved = audit::of(common, deployment.partner.clone(), change)
        .activate_deployment(deployment, by, &common.clock)
        .await?;
    if approved {
        changed(common, &deployment.partner, &deployment.function).await?;
        tell(common, deployment, false);
    }
    Ok(approved)
}

pub async fn delete(common: &Common, deployment: &Deployment) -> Result<()> {
    let change = Change::new(Action::DeploymentDelete, deployment.id.as_str()).before(fields::deployment(deployment));
    audit::of(common, deployment.partner.clone(), change).delete_deployment(deployment).await?;
    Ok(changed(common, &deployment.partner, &deployment.function).await?)
}

/// Tells the live tail that a deployment has changed.
pub fn tell(common: &Common, deployment: &Deployment, created: bool) {
    common.signals.live_tail().deployment(|| DeploymentNotice {
        partner: deployment.partner.clone(),
        function: deployment.function.clone(),
        id: deployment.id.clone(),
        created,
    });
}

/// Makes a change of a function, its deployments, grants or variables take effect: reloads the tenant and arms the function's
/// schedule.
pub async fn changed(common: &Common, partner: &PartnerId, function: &FunctionId) -> larder_store::Result<()> {
    common.directory.reload(partner).await?;
    schedules::arm(common, partner, function).await
}
