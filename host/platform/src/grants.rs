//! Grants: every change of what a function may do.

use larder_model::audit::Action;
use larder_model::grants::Difference;
use larder_model::ids::KeyId;
use larder_model::{BuildStatus, Deployment, Function, Grants};
use larder_store::Approved;

use crate::audit::{self, Change, fields};
use crate::common::Common;
use crate::deployments::changed;
use crate::error::{Error, Result};

/// Makes these grants the effective ones of the function. `may_upload`: the key may upload deployments too.
pub async fn set(common: &Common, function: &Function, new: &Grants, by: &KeyId, may_upload: bool) -> Result<()> {
    let (partner, id) = (&function.partner, &function.id);
    let change = |action| {
        let change = Change::new(action, id.as_str());
        change.from_to(fields::grants(&function.grants), fields::grants(new))
    };
    let store = audit::of(common, partner.clone(), change(Action::GrantsSet));
    if !store.set_grants(partner, id, new, by, may_upload, &common.clock).await? {
        audit::record(common, partner.clone(), change(Action::GrantsSetRefused)).await?;
        return Err(Error::OwnUpload(
            "one that may not upload as well (functions.write), and that uploaded nothing of this function, can extend the grants",
        ));
    }
    changed(common, partner, id).await?;
    let difference = Difference::between(&function.grants, new);
    tracing::info!(
        partner.id = %partner, function.id = %id, key.id = %by,
        widens = difference.extensions.join("; "), narrows = difference.reductions.join("; "), "grants of {id} were set"
    );
    Ok(())
}

/// Approves the grants that the deployment requests, as they were read under this digest. Activates it if it was uploaded for
/// that; returns whether it did.
pub async fn approve(
    common: &Common,
    function: &Function,
    deployment: &Deployment,
    digest: &str,
    by: &KeyId,
) -> Result<bool> {
    if matches!(deployment.status, BuildStatus::Failed | BuildStatus::Canceled) {
        return Err(Error::BuildEnded(deployment.status.word()));
    }
    let asked = deployment.grants.as_ref().ok_or(Error::NoOwnGrants)?;
    let change = |action| {
        let change = Change::new(action, deployment.id.as_str());
        change.from_to(fields::grants(&function.grants), fields::grants(asked))
    };
    let partner = || deployment.partner.clone();
    let store = audit::of(common, partner(), change(Action::DeploymentApprove));
    let active = match store.approve_grants(deployment, digest, by, &common.clock).await? {
        Approved::Yes { active } => active,
        Approved::Changed => return Err(Error::GrantsChanged),
        Approved::OwnUpload => {
            audit::record(common, partner(), change(Action::DeploymentApproveRefused)).await?;
            return Err(Error::OwnUpload(
                "whoever uploaded the deployment has asked for it, whichever key they use now",
            ));
        }
    };
    changed(common, &deployment.partner, &deployment.function).await?;
    tracing::info!(
        partner.id = %deployment.partner, function.id = %deployment.function, deployment.id = %deployment.id, key.id = %by,
        uploader.id = deployment.uploader.as_ref().map(KeyId::as_str).unwrap_or_default(),
        widens = Difference::between(&function.grants, asked).extensions.join("; "),
        "grants of deployment {} were approved", deployment.id
    );
    Ok(active)
}
