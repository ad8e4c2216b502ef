//! Schedules: cron expressions → due times → executions, each fired once.
//!
//! A row in `schedules` holds the next nominal time of an armed schedule. Firing inserts what it triggers under the key
//! (function, nominal time) and moves the row to the next time, in one transaction: a restart neither skips nor doubles
//! a firing. Firings missed for longer than `scheduler.catch_up` are not made up for; the others are, marked late.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use larder_model::Trigger;
use larder_model::cron::Cron;
use larder_model::ids::{FunctionId, PartnerId};
use larder_model::time::{Millis, instant};
use larder_signals::Work;
use larder_signals::crash::{self, Point};
use larder_store::{Queue, Waiting};
use metrics::counter;

use crate::backlog;
use crate::common::Common;
use crate::directory::FunctionView;
use crate::jobs::driver::{Job, Next};
use crate::jobs::events::{Cause, Triggered};
use crate::jobs::fairness;

/// A firing that is this much later than its nominal time is recorded as late.
const LATE_MS: Millis = 10_000;

/// Arms or disarms a function's schedule after a change of the function or its deployment. A firing that is due but
/// was not made yet stays due.
pub async fn arm(common: &Common, partner: &PartnerId, function: &FunctionId) -> larder_store::Result<()> {
    let view = common.directory.function(partner, function);
    let present = common.store.schedule(partner, function).await?;
    let wanted = view.as_deref().and_then(|view| wanted(common, view, present));
    if wanted != present {
        common.store.set_schedule(partner, function, wanted).await?;
        common.queue.push(Work::Schedules);
    }
    Ok(())
}

/// When the schedule is to fire next, if it stands at `present` now.
fn wanted(common: &Common, view: &FunctionView, present: Option<Millis>) -> Option<Millis> {
    let (cron, now) = (armed(view)?, common.clock.now_ms());
    match present {
        Some(at) if at <= now && next(&cron, view, at - 1) == Some(at) => Some(at),
        _ => next(&cron, view, now),
    }
}

/// The schedule of a function that is enabled, deployed and has one.
pub fn armed(view: &FunctionView) -> Option<Cron> {
    let scheduled = view.function.enabled && view.active.is_some() && !view.function.schedule.is_empty();
    if scheduled { Cron::parse(&view.function.schedule).ok() } else { None }
}

fn next(cron: &Cron, view: &FunctionView, after: Millis) -> Option<Millis> {
    cron.next_after(instant(after), &view.timezone.rules()).map(|at: DateTime<Utc>| at.timestamp_millis())
}

/// Between two looks whether every schedule is armed.
const ARM_ALL: Duration = Duration::from_secs(60);

/// Arms every schedule, for a process that died between a change and the arming after it: one query for all of them.
pub async fn arm_all(common: &Common) -> larder_store::Result<()> {
    let present: HashMap<(PartnerId, FunctionId), Millis> =
        common.store.schedules().await?.into_iter().map(|(partner, function, at)| ((partner, function), at)).collect();
    for (partner, tenant) in common.directory.tenants().iter() {
        for (function, view) in tenant.functions.iter().filter(|(_, view)| !view.function.schedule.is_empty()) {
            let present = present.get(&(partner.clone(), function.clone())).copied();
            if wanted(common, view, present) != present {
                // It may have been fired or changed since they were read.
                arm(common, partner, function).await?;
            }
        }
    }
    Ok(())
}

/// Takes a firing away that nothing is to come of, unless it was armed anew meanwhile.
async fn disarm(common: &Common, due: &(PartnerId, FunctionId, Millis)) -> larder_store::Result<()> {
    common.store.fire_schedule(due, None, &[], &[]).await.map(|_| ())
}

/// Firings of one step, and partners that share them.
const BATCH: u32 = 100;
const PARTNERS: u32 = 20;

/// Fires what is due, as much of each partner. The schedules of a partner that has as many executions waiting as it may
/// rest, as if nobody had looked: what they miss is made up for, marked late.
pub async fn step(common: &Common) -> larder_store::Result<bool> {
    let now = common.clock.now_ms();
    let rests = |waiting: &Waiting| backlog::is_full(common, waiting);
    let partners = fairness::next(common, Queue::Schedules, vec![], PARTNERS, rests).await?;
    let each = BATCH / u32::try_from(partners.len().max(1)).unwrap_or(PARTNERS);
    let mut fired = false;
    for partner in &partners {
        for firing in common.store.due_schedules(partner, now, each).await? {
            fire(common, &firing, now).await?;
            fired = true;
        }
    }
    Ok(fired)
}

async fn fire(common: &Common, due: &(PartnerId, FunctionId, Millis), now: Millis) -> larder_store::Result<()> {
    let (partner, function, nominal) = due;
    // Another process may have made or changed the schedule a moment ago.
    common.directory.refresh(partner).await?;
    let Some(view) = common.directory.function(partner, function) else {
        return disarm(common, due).await;
    };
    let Some(cron) = armed(&view) else { return disarm(common, due).await };
    let late = now - nominal;
    let catch_up = common.settings.scheduler.catch_up.as_millis() as Millis;
    let mut triggered = Triggered::default();
    let following = if late > catch_up {
        counter!("larder_schedule_firings_total", "kind" => "missed").increment(1);
        tracing::warn!(
            partner.id = %partner, function.id = %function, nominal_at_ms = nominal, late_ms = late,
            "firings of {function} were missed for longer than scheduler.catch_up and are left out"
        );
        next(&cron, &view, now - catch_up)
    } else {
        let late = (late > LATE_MS).then_some(late);
        triggered.add(
            common,
            &view.function,
            Cause { trigger: Trigger::Schedule, event: None, nominal: Some((*nominal, late)) },
        );
        next(&cron, &view, *nominal)
    };
    crash::point(Point::FiringComputed);
    if common.store.fire_schedule(due, following, &triggered.executions, &triggered.fanouts).await?
        && !triggered.is_empty()
    {
        let kind = if late > LATE_MS { "late" } else { "on_time" };
        counter!("larder_schedule_firings_total", "kind" => kind).increment(1);
        crash::point(Point::Fired);
        triggered.counts(common);
        triggered.wake(common);
    }
    Ok(())
}

/// Fires schedules.
pub struct Schedules {
    common: Common,
    /// When it was last looked whether all are armed.
    armed: Option<Instant>,
}

impl Schedules {
    pub fn new(common: Common) -> Schedules {
        Schedules { common, armed: None }
    }
}

impl Job for Schedules {
    const WORK: Work = Work::Schedules;
    type Permit = ();

    fn poll(&self) -> Duration {
        self.common.settings.scheduler.poll
    }

    async fn acquire(&mut self) {}

    async fn step(&mut self, (): ()) -> larder_store::Result<Next> {
        let (common, poll) = (&self.common, self.poll());
        if self.armed.is_none_or(|at| at.elapsed() >= ARM_ALL) {
            self.armed = Some(Instant::now());
            if let Err(err) = arm_all(common).await {
                tracing::error!(error = %err, "schedules could not be armed");
            }
        }
        if step(common).await? {
            return Ok(Next::Now);
        }
        // What is due and rests is looked at again with the next poll.
        Ok(Next::Within(match common.store.next_schedule(common.clock.now_ms()).await {
            Ok(Some(at)) => poll.min(Duration::from_millis((at - common.clock.now_ms()).max(1) as u64)),
            _ => poll,
        }))
    }
}
