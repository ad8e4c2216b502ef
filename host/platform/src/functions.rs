//! Functions: what a partner owns. What they run is changed in [`crate::deployments`].

use larder_model::Function;
use larder_model::audit::Action;
use larder_model::ids::{FunctionId, PartnerId};
use larder_store::listing::Listing;
use larder_store::{Removal, Removed};

use crate::audit::{self, Change, fields};
use crate::common::Common;
use crate::deployments::changed;
use crate::directory::Tenant;
use crate::error::{Error, Result};
use crate::jobs::retention;

/// Of one partner. More would be missing in the directory's snapshot.
const FUNCTIONS_MAX: u32 = Listing::LIMIT_MAX;

pub async fn create(common: &Common, tenant: &Tenant, function: &Function) -> Result<()> {
    if tenant.functions.len() >= FUNCTIONS_MAX as usize {
        return Err(Error::TooMany { of: "project", most: FUNCTIONS_MAX.into(), what: "functions" });
    }
    let change = Change::new(Action::FunctionCreate, function.id.as_str()).after(fields::function(function));
    let store = audit::of(common, function.partner.clone(), change);
    let mut inserted = store.insert_function(function).await;
    if let Err(larder_store::Error::BeingRemoved(id)) = inserted {
        // What is left of the old one is removed now, if it is not much.
        let removal = Removal { partner: function.partner.clone(), what: Removed::Function(id) };
        retention::sweep_at_once(common, &removal).await;
        inserted = store.insert_function(function).await;
    }
    inserted.map_err(Error::FunctionExists.on_conflict())?;
    Ok(changed(common, &function.partner, &function.id).await?)
}

/// Stores changed settings of a function.
pub async fn update(common: &Common, function: &mut Function) -> Result<()> {
    let old = common.store.function(&function.partner, &function.id).await?;
    let old = old.ok_or(larder_store::Error::NotFound { what: "function" })?;
    let change = Change::new(Action::FunctionUpdate, old.id.as_str());
    let change = change.from_to(fields::function(&old), fields::function(function));
    function.updated_at_ms = common.clock.now_ms();
    audit::of(common, function.partner.clone(), change).update_function(function).await?;
    Ok(changed(common, &function.partner, &function.id).await?)
}

/// Deletes a function. The rest of its rows are removed later, in batches.
pub async fn delete(common: &Common, partner: &PartnerId, id: &FunctionId) -> Result<()> {
    let tenant = common.directory.tenant(partner);
    let old = tenant.as_ref().and_then(|tenant| tenant.functions.get(id)).map(|view| fields::function(&view.function));
    let change = Change::new(Action::FunctionDelete, id.as_str()).before(old.unwrap_or_default());
    let removal =
        audit::of(common, partner.clone(), change).delete_function(partner, id, common.clock.now_ms()).await?;
    changed(common, partner, id).await?;
    retention::sweep_at_once(common, &removal).await;
    Ok(())
}
