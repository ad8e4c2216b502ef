//! Partners: the tenants of the installation.

use larder_model::Partner;
use larder_model::audit::Action;
use larder_model::ids::PartnerId;

use crate::audit::{self, Change, fields};
use crate::common::Common;
use crate::error::{Error, Result};

/// What the clients of the replaced platform call the project of people.
const CONSOLE: &str = "console";

pub async fn create(common: &Common, id: &PartnerId, name: &str) -> Result<Partner> {
    if common.settings.is_functions_domain_of(id.as_str()) {
        return Err(Error::PartnerAtFunctionsDomain);
    }
    if id.as_str() == CONSOLE {
        return Err(Error::invalid("partnerId", "is the name of what belongs to no partner"));
    }
    let change = Change::new(Action::PartnerCreate, id.as_str()).after(serde_json::json!({ "name": name }));
    let inserted = audit::of_installation(common, [id], change).insert_partner(id, name, common.clock.now_ms()).await;
    let partner = inserted.map_err(Error::PartnerExists.on_conflict())?;
    common.directory.reload(id).await?;
    Ok(partner)
}

/// Stores changed settings of a partner.
pub async fn update(common: &Common, partner: &mut Partner) -> Result<()> {
    let old = common.store.partner(&partner.id).await?.ok_or(larder_store::Error::NotFound { what: "partner" })?;
    let change = Change::new(Action::PartnerUpdate, old.id.as_str());
    let change = change.from_to(fields::partner(&old), fields::partner(partner));
    partner.updated_at_ms = common.clock.now_ms();
    audit::of_installation(common, [&old.id], change).update_partner(partner).await?;
    common.directory.reload(&partner.id).await?;
    tracing::info!(
        partner.id = %partner.id, approval_by_another = partner.approval_by_another,
        "the operator changed partner {}", partner.id
    );
    Ok(())
}
