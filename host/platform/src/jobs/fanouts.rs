//! Fan-outs → executions, a page of enrolments at a time.

use std::time::Duration;

use larder_model::ids::PartnerId;
use larder_signals::Work;
use larder_signals::crash::{self, Point};
use larder_store::{Queue, Waiting};

use crate::backlog;
use crate::common::Common;
use crate::jobs::driver::{Job, Next};
use crate::jobs::fairness;

/// Enrolments of one transaction.
const PAGE: u32 = 200;
/// Partners of one step.
const PARTNERS: u32 = 8;
/// Fan-outs of a partner that are looked at, until there is one that no other worker is at.
const FANOUTS: u32 = 4;

/// Expands fan-outs.
pub struct Fanouts(pub Common);

impl Job for Fanouts {
    const WORK: Work = Work::Fanouts;
    type Permit = ();

    fn poll(&self) -> Duration {
        self.0.settings.worker.poll
    }

    async fn acquire(&mut self) {}

    async fn step(&mut self, (): ()) -> larder_store::Result<Next> {
        Ok(Next::after(step(&self.0).await?, self.poll()))
    }
}

/// Gives a fan-out of each partner its next page. Those of a partner rest while more of its executions are due than the
/// workers shall have before them, or as many wait as may, so that one large fan-out is a cursor and not a hundred thousand
/// rows.
pub async fn step(common: &Common) -> larder_store::Result<bool> {
    let worker = &common.settings.worker;
    let (due_max, waiting_max) = (u64::from(worker.due_max), u64::from(worker.waiting_per_partner));
    let rests = |waiting: &Waiting| waiting.due >= due_max || waiting.executions >= waiting_max;
    let mut moved = false;
    for partner in fairness::next(common, Queue::Fanouts, vec![], PARTNERS, rests).await? {
        match expand(common, &partner, waiting_max).await {
            Ok(one) => moved |= one,
            // It is this partner's alone.
            Err(
                err @ (larder_store::Error::Conflict { .. }
                | larder_store::Error::Statement { .. }
                | larder_store::Error::BadRow { .. }),
            ) => {
                tracing::error!(partner.id = %partner, error = %err, "a fan-out of {partner} could not go on");
            }
            Err(err) => return Err(err),
        }
    }
    Ok(moved)
}

/// Gives the partner's oldest fan-out its next page.
async fn expand(common: &Common, partner: &PartnerId, waiting_max: u64) -> larder_store::Result<bool> {
    let tenant = common.directory.tenant(partner);
    let waiting = match &tenant {
        Some(tenant) => backlog::waiting(common, tenant).await?.executions,
        None => 0,
    };
    let page = u64::from(PAGE).min(waiting_max.saturating_sub(waiting)).max(1) as u32;
    for fanout in common.store.waiting_fanouts(partner, FANOUTS).await? {
        // `None`: another worker has it, or had it before.
        let Some(made) = common.store.expand_fanout(&fanout, page, &common.clock).await? else { continue };
        crash::point(Point::FanoutExpanded);
        metrics::counter!("larder_fanout_executions_total").increment(made.into());
        if let Some(tenant) = &tenant {
            tenant.backlog.add(Waiting { executions: made.into(), due: made.into(), ..Waiting::default() });
        }
        common.queue.push(Work::Executions);
        return Ok(true);
    }
    Ok(false)
}
