//! Bulk actions on dead letters: asking for them, pausing, resuming and cancelling them. They are done by
//! [`crate::jobs::bulk_actions`].

use larder_model::audit::Action;
use larder_model::ids::{BulkActionId, ExecutionId, FunctionId, PartnerId};
use larder_model::time::Millis;
use larder_model::{BulkAction, BulkKind, BulkStatus, Letters};
use larder_signals::Work;
use larder_store::Store;

use crate::audit::{self, Change};
use crate::common::Common;
use crate::directory::Tenant;
use crate::error::{Error, Result};
use crate::quotas::{Cap, Exceeded};

/// Dead letters that are named one by one.
const LETTERS_MAX: usize = 500;
/// Characters of a reason.
const REASON_CHARS: usize = 160;

/// Dead letters as a caller names them.
pub struct Chosen {
    /// With `reason`: those of a group. An empty reason is that of letters whose reason is not recorded.
    pub function: Option<FunctionId>,
    pub reason: Option<String>,
    pub ids: Vec<ExecutionId>,
}

impl Chosen {
    fn letters(mut self) -> Result<Letters> {
        match (self.function, self.reason) {
            (Some(function), Some(reason)) if self.ids.is_empty() => {
                if reason.chars().count() > REASON_CHARS {
                    return Err(Error::invalid("reason", format!("must have at most {REASON_CHARS} characters")));
                }
                Ok(Letters::Group { function, reason: Some(reason).filter(|reason| !reason.is_empty()) })
            }
            (None, None) if !self.ids.is_empty() => {
                self.ids.sort();
                self.ids.dedup();
                if self.ids.len() > LETTERS_MAX {
                    return Err(Error::invalid("ids", format!("must have at most {LETTERS_MAX} values")));
                }
                Ok(Letters::These(self.ids))
            }
            _ => Err(Error::invalid("body", "give `functionId` with `reason` (a group), or `ids`, and not both")),
        }
    }
}

/// Keeps a new action, which begins after the time to undo it. Of a group only what was given up before `before` is taken, and
/// nothing that is given up from now on.
pub async fn begin(
    common: &Common,
    tenant: &Tenant,
    asked_by: &str,
    kind: BulkKind,
    chosen: Chosen,
    before: Option<Millis>,
) -> Result<BulkAction> {
    let (partner, now) = (&tenant.partner.id, common.clock.now_ms());
    let letters = chosen.letters()?;
    if let Letters::Group { function, .. } = &letters
        && !tenant.functions.contains_key(function)
    {
        return Err(larder_store::Error::NotFound { what: "function" }.into());
    }
    let (most, has) =
        (u64::from(common.settings.worker.bulk_actions_per_partner), common.store.count_bulk_actions(partner).await?);
    if has >= most {
        return Err(Exceeded::new(Cap::BulkActions, most, has).into());
    }
    let before_ms = before.unwrap_or(now).min(now);
    let action = BulkAction {
        partner: partner.clone(),
        id: BulkActionId::generate(&common.clock),
        kind,
        expected: common.store.count_letters(partner, &letters, before_ms).await?,
        letters,
        before_ms,
        asked_by: asked_by.to_owned(),
        status: BulkStatus::Waiting,
        begins_at_ms: now + common.settings.worker.bulk_undo.as_millis() as Millis,
        held_back: None,
        done: 0,
        failed: 0,
        created_at_ms: now,
        updated_at_ms: now,
    };
    changing(common, partner, Action::BulkActionCreate, &action.id).insert_bulk_action(&action).await?;
    tracing::info!(partner.id = %partner, bulk_action.id = %action.id, by = asked_by, action = kind.word(),
        expected = action.expected, "{} of dead letters was asked for", kind.word());
    common.signals.push(Work::BulkActions);
    Ok(action)
}

/// Nothing more of it is done until it is resumed.
pub async fn pause(common: &Common, partner: &PartnerId, id: &BulkActionId) -> Result<()> {
    let from = [BulkStatus::Waiting, BulkStatus::Running];
    let store = changing(common, partner, Action::BulkActionPause, id);
    change(common, &store, partner, id, &from, BulkStatus::Paused, "The bulk action is neither waiting nor running")
        .await
}

/// Goes on with a paused action, no earlier than it was to begin.
pub async fn resume(common: &Common, partner: &PartnerId, id: &BulkActionId) -> Result<()> {
    let store = changing(common, partner, Action::BulkActionResume, id);
    change(common, &store, partner, id, &[BulkStatus::Paused], BulkStatus::Running, "The bulk action is not paused")
        .await
}

/// Ends it for good. What it has done stays.
pub async fn cancel(common: &Common, partner: &PartnerId, id: &BulkActionId) -> Result<()> {
    let from = [BulkStatus::Waiting, BulkStatus::Running, BulkStatus::Paused];
    let store = changing(common, partner, Action::BulkActionCancel, id);
    change(common, &store, partner, id, &from, BulkStatus::Cancelled, "The bulk action has ended already").await
}

fn changing(common: &Common, partner: &PartnerId, action: Action, id: &BulkActionId) -> Store {
    audit::of(common, partner.clone(), Change::new(action, id.as_str()))
}

async fn change(
    common: &Common,
    store: &Store,
    partner: &PartnerId,
    id: &BulkActionId,
    from: &[BulkStatus],
    to: BulkStatus,
    otherwise: &'static str,
) -> Result<()> {
    match store.change_bulk_action(partner, id, from, to, common.clock.now_ms()).await {
        Err(larder_store::Error::Conflict { .. }) => Err(Error::BulkActionStatus(otherwise)),
        done => {
            done?;
            common.signals.push(Work::BulkActions);
            Ok(())
        }
    }
}
