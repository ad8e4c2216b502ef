//! Bulk actions on dead letters, a batch at a time: the action that has waited longest is next, so that all go on.

use std::time::Duration;

use larder_model::BulkKind;
use larder_model::ids::{BulkActionId, PartnerId};
use larder_model::time::Millis;
use larder_signals::Work;
use larder_signals::crash::{self, Point};

use crate::backlog;
use crate::common::Common;
use crate::jobs::driver::{Job, Next};

/// Actions that are read at once.
const ACTIONS: u32 = 16;
/// The rest of an action whose partner has too much waiting, or whose batch failed.
const REST: Duration = Duration::from_secs(5);

pub struct BulkActions(pub Common);

impl Job for BulkActions {
    const WORK: Work = Work::BulkActions;
    type Permit = ();

    fn poll(&self) -> Duration {
        self.0.settings.worker.poll
    }

    async fn acquire(&mut self) {}

    async fn step(&mut self, (): ()) -> larder_store::Result<Next> {
        let due = self.0.store.due_bulk_actions(self.0.clock.now_ms(), ACTIONS).await?;
        for (partner, id, kind) in &due {
            if let Err(err) = advance(&self.0, partner, id, *kind).await {
                match err {
                    larder_store::Error::Contended(_) | larder_store::Error::Unavailable(_) => return Err(err),
                    // This affects only this action.
                    err => {
                        tracing::error!(partner.id = %partner, bulk_action.id = %id, error = %err, "a batch failed");
                        hold(&self.0, partner, id, "the last batch failed; it is tried again").await?;
                    }
                }
            }
        }
        Ok(Next::after(!due.is_empty(), self.poll()))
    }
}

async fn hold(common: &Common, partner: &PartnerId, id: &BulkActionId, why: &str) -> larder_store::Result<()> {
    let now = common.clock.now_ms();
    common.store.hold_bulk_action(partner, id, now + REST.as_millis() as Millis, why, now).await
}

async fn advance(common: &Common, partner: &PartnerId, id: &BulkActionId, kind: BulkKind) -> larder_store::Result<()> {
    let mut size = common.settings.worker.bulk_batch;
    if kind == BulkKind::Redrive {
        let Some(tenant) = common.directory.tenant(partner) else {
            return hold(common, partner, id, "this process does not know the partner yet").await;
        };
        match backlog::admit_redriven(common, &tenant, size).await? {
            Ok(admitted) => size = admitted,
            Err(exceeded) => return hold(common, partner, id, &exceeded.to_string()).await,
        }
    }
    let Some(batch) = common.store.advance_bulk_action(partner, id, size, common.clock.now_ms()).await? else {
        return Ok(());
    };
    crash::point(Point::BulkWritten);
    metrics::counter!("larder_bulk_letters_total", "action" => kind.word()).increment(batch.done);
    if kind == BulkKind::Redrive && batch.done > 0 {
        common.signals.push(Work::Executions);
    }
    if batch.ended {
        tracing::info!(partner.id = %partner, bulk_action.id = %id, "a bulk action has ended");
    }
    Ok(())
}
