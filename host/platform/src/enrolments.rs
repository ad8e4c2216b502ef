//! Enrolments: which end users take part in which functions. A key of the partner changes all of them, an end user their own, in
//! functions that are open to them.

use larder_model::audit::Action;
use larder_model::ids::{EnrolmentId, FunctionId, PartnerId};
use larder_model::{Enrolment, EnrolmentStatus, PausedBy as By};
use larder_store::Store;

use crate::audit::{self, Change, fields};
use crate::common::Common;
use crate::directory::{FunctionView, Tenant};
use crate::error::{Error, Result};
use crate::jobs::retention;

pub async fn create(common: &Common, tenant: &Tenant, enrolment: &Enrolment, by: By) -> Result<()> {
    if let Some(view) = tenant.functions.get(&enrolment.function) {
        check_settings(view, &enrolment.settings)?;
    }
    let change = Change::new(Action::EnrolmentCreate, enrolment.id.as_str()).after(fields::enrolment(enrolment));
    let inserted = recorded(common, &enrolment.partner, by, change).insert_enrolment(enrolment).await;
    inserted.map_err(Error::EnrolmentExists.on_conflict())
}

/// An end user joins a function, under the topic that they choose if there are several.
pub async fn join(
    common: &Common,
    tenant: &Tenant,
    end_user: &str,
    function: FunctionId,
    topic: Option<String>,
    settings: String,
) -> Result<Enrolment> {
    let view = tenant.functions.get(&function).filter(|view| view.function.enabled);
    let view = view.ok_or(larder_store::Error::NotFound { what: "function" })?;
    let enrolling = &view.function.enrolling;
    if !enrolling.is_open() {
        return Err(Error::EnrolmentNotOpen);
    }
    let topic = enrolling.topic(end_user, topic).map_err(|why| Error::invalid("topic", why))?;
    let (partner, most) = (&tenant.partner.id, common.settings.identity.enrolments_per_end_user);
    // Requests at the same moment may exceed it by their number, which is bounded, too.
    if common.store.has_enrolments(partner, end_user, most).await? {
        return Err(Error::TooMany { of: "saver", most: most.into(), what: "enrolments" });
    }
    let now = common.clock.now_ms();
    let enrolment = Enrolment {
        partner: partner.clone(),
        id: EnrolmentId::generate(&common.clock),
        function,
        end_user: end_user.to_owned(),
        topic,
        settings,
        status: EnrolmentStatus::Active,
        paused_by: None,
        created_at_ms: now,
        updated_at_ms: now,
    };
    create(common, tenant, &enrolment, By::EndUser).await?;
    Ok(enrolment)
}

/// Replaces what is given. `settings` are the text of a JSON object.
pub async fn update(
    common: &Common,
    tenant: &Tenant,
    old: &Enrolment,
    status: Option<EnrolmentStatus>,
    settings: Option<&str>,
    by: By,
) -> Result<()> {
    let view = tenant.functions.get(&old.function).map(|view| &**view);
    may_change(view, old, status.is_some(), by)?;
    if let (Some(view), Some(settings)) = (view, settings) {
        check_settings(view, settings)?;
    }
    let now = common.clock.now_ms();
    let after = serde_json::json!({ "status": status.unwrap_or(old.status).word(), "newSettings": settings.is_some() });
    let change = Change::new(Action::EnrolmentUpdate, old.id.as_str()).before(fields::enrolment(old)).after(after);
    let updated = recorded(common, &old.partner, by, change)
        .update_enrolment(&old.partner, &old.id, status, settings, by, now)
        .await;
    updated.map_err(|err| paused_meanwhile(err, by))
}

/// Deletes an enrolment with its state. Its executions and transactions stay.
pub async fn delete(common: &Common, partner: &PartnerId, id: &EnrolmentId, by: By) -> Result<()> {
    let change = Change::new(Action::EnrolmentDelete, id.as_str());
    let removal = recorded(common, partner, by, change).delete_enrolment(partner, id, by, common.clock.now_ms()).await;
    let removal = removal.map_err(|err| paused_meanwhile(err, by))?;
    retention::sweep_at_once(common, &removal).await;
    Ok(())
}

/// The end user leaves the function.
pub async fn end(common: &Common, tenant: &Tenant, old: &Enrolment) -> Result<()> {
    may_change(tenant.functions.get(&old.function).map(|view| &**view), old, true, By::EndUser)?;
    delete(common, &old.partner, &old.id, By::EndUser).await
}

/// What end users do with what is their own is in the enrolment itself.
fn recorded(common: &Common, partner: &PartnerId, by: By, change: Change<'_>) -> Store {
    match by {
        By::Partner => audit::of(common, partner.clone(), change),
        By::EndUser => common.store.clone(),
    }
}

fn may_change(view: Option<&FunctionView>, old: &Enrolment, status: bool, by: By) -> Result<()> {
    let paused = old.status == EnrolmentStatus::Paused && old.paused_by != Some(By::EndUser);
    match by {
        By::Partner => Ok(()),
        By::EndUser if !view.is_some_and(|view| view.function.enrolling.is_open()) => Err(Error::EnrolmentNotOpen),
        By::EndUser if status && paused => Err(Error::EnrolmentPaused),
        By::EndUser => Ok(()),
    }
}

/// It was there a moment ago.
fn paused_meanwhile(err: larder_store::Error, by: By) -> Error {
    match (by, err) {
        (By::EndUser, larder_store::Error::NotFound { .. }) => Error::EnrolmentPaused,
        (_, err) => err.into(),
    }
}

fn check_settings(view: &FunctionView, settings: &str) -> Result<()> {
    view.function.enrolling.schema.check(settings).map_err(|why| Error::invalid("settings", why))
}
