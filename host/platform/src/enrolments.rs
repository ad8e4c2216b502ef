//! Enrolments: which end users take part in which functions.

use larder_model::ids::{EnrolmentId, PartnerId};
use larder_model::{Enrolment, EnrolmentStatus};

use crate::common::Common;
use crate::error::{Error, Result};
use crate::jobs::retention;

pub async fn create(common: &Common, enrolment: &Enrolment) -> Result<()> {
    let inserted = common.store.insert_enrolment(enrolment).await;
    inserted.map_err(Error::EnrolmentExists.on_conflict())
}

/// Replaces what is given. `settings` are the text of a JSON object.
pub async fn update(
    common: &Common,
    partner: &PartnerId,
    id: &EnrolmentId,
    status: Option<EnrolmentStatus>,
    settings: Option<&str>,
) -> Result<()> {
    Ok(common.store.update_enrolment(partner, id, status, settings, common.clock.now_ms()).await?)
}

/// Deletes an enrolment with its state. Its executions and transactions stay.
pub async fn delete(common: &Common, partner: &PartnerId, id: &EnrolmentId) -> Result<()> {
    let removal = common.store.delete_enrolment(partner, id, common.clock.now_ms()).await?;
    retention::sweep_at_once(common, &removal).await;
    Ok(())
}
