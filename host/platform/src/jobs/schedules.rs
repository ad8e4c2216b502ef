//! Schedules: cron expressions → due times → executions, each fired once.
//!
//! A row in `schedules` holds the next nominal time of an armed schedule. A firing inserts what it triggers under the key
//! (function, nominal time) and moves the row to the next time, in one transaction, which it shares with the partner's other
//! firings that are due. So a restart neither skips nor repeats a firing. Missed firings are caught up and marked late, except
//! those older than `scheduler.catch_up`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use larder_model::Trigger;
use larder_model::cron::Cron;
use larder_model::ids::{FunctionId, PartnerId};
use larder_model::time::{Millis, instant};
use larder_signals::Work;
use larder_signals::crash::{self, Point};
use larder_store::{Error, Firing, Queue, Waiting};
use metrics::counter;

use crate::backlog;
use crate::common::Common;
use crate::directory::FunctionView;
use crate::jobs::driver::{Job, Next};
use crate::jobs::events::{Cause, Triggered};
use crate::jobs::fairness;

/// A firing that is this much later than its nominal time is recorded as late.
const LATE_MS: Millis = 10_000;

/// Arms or disarms a function's schedule after a change of the function or its deployment. A firing that is due stays due.
pub async fn arm(common: &Common, partner: &PartnerId, function: &FunctionId) -> larder_store::Result<()> {
    let view = common.directory.function(partner, function);
    let present = common.store.schedule(partner, function).await?;
    let wanted = view.as_deref().and_then(|view| wanted(common, view, present));
    if wanted != present {
        common.store.set_schedule(partner, function, wanted).await?;
        common.signals.push(Work::Schedules);
    }
    Ok(())
}

/// The next time of the schedule, if its row has `present` now.
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

/// The interval at which all schedules are checked.
const ARM_ALL: Duration = Duration::from_secs(60);

/// Arms every schedule, in case a process died between a change and the arming after it. One query reads all of them.
pub async fn arm_all(common: &Common) -> larder_store::Result<()> {
    let present: HashMap<(PartnerId, FunctionId), Millis> =
        common.store.schedules().await?.into_iter().map(|(partner, function, at)| ((partner, function), at)).collect();
    for (partner, tenant) in common.directory.tenants().iter() {
        for (function, view) in tenant.functions.iter().filter(|(_, view)| !view.function.schedule.is_empty()) {
            let present = present.get(&(partner.clone(), function.clone())).copied();
            if wanted(common, view, present) != present {
                // It may have fired or changed since the query.
                arm(common, partner, function).await?;
            }
        }
    }
    Ok(())
}

/// Firings in one step, and partners that share them.
const BATCH: u32 = 256;
const PARTNERS: u32 = 20;

/// Fires due schedules, the same number for each partner. Schedules of a partner that has reached its limit of waiting
/// executions are held back. What they miss is caught up and marked late.
pub async fn step(common: &Common) -> larder_store::Result<bool> {
    let now = common.clock.now_ms();
    let rests = |waiting: &Waiting| backlog::is_full(common, waiting);
    let partners = fairness::next(common, Queue::Schedules, vec![], PARTNERS, rests).await?;
    let each = BATCH / u32::try_from(partners.len().max(1)).unwrap_or(PARTNERS);
    let mut any = false;
    for partner in &partners {
        let due = common.store.due_schedules(partner, now, each).await?;
        if !due.is_empty() {
            // Another process may have made or changed a schedule a moment ago.
            common.directory.refresh(partner).await?;
            let firings: Vec<Firing> =
                due.into_iter().map(|(_, function, at)| firing(common, partner, function, at, now)).collect();
            fire(common, partner, &firings, now).await?;
            any = true;
        }
    }
    Ok(any)
}

/// What a due time of a schedule triggers, and its next time. One that was disarmed meanwhile triggers nothing.
fn firing(common: &Common, partner: &PartnerId, function: FunctionId, at: Millis, now: Millis) -> Firing {
    let mut triggered = Triggered::default();
    let view = common.directory.function(partner, &function);
    let cron = view.as_deref().and_then(armed);
    let (late, catch_up) = (now - at, common.settings.scheduler.catch_up.as_millis() as Millis);
    let next = match (&view, &cron) {
        (Some(view), Some(cron)) if late > catch_up => {
            counter!("larder_schedule_firings_total", "kind" => "missed").increment(1);
            tracing::warn!(
                partner.id = %partner, function.id = %function, nominal_at_ms = at, late_ms = late,
                "firings of {function} were missed for longer than scheduler.catch_up and are skipped"
            );
            next(cron, view, now - catch_up)
        }
        (Some(view), Some(cron)) => {
            let late = (late > LATE_MS).then_some(late);
            let cause = Cause { trigger: Trigger::Schedule, event: None, nominal: Some((at, late)) };
            triggered.add(common, &view.function, cause);
            next(cron, view, at)
        }
        _ => None,
    };
    Firing { function, at, next, executions: triggered.executions, fanouts: triggered.fanouts }
}

/// Fires schedules of a partner together; one after the other if the database refuses them, so that only the one at fault is
/// held up.
async fn fire(common: &Common, partner: &PartnerId, firings: &[Firing], now: Millis) -> larder_store::Result<()> {
    crash::point(Point::FiringComputed);
    match common.store.fire_schedules(partner, firings).await {
        Ok(fired) => {
            let fired = firings.iter().zip(fired).filter_map(|(firing, fired)| fired.then_some(firing));
            report(common, fired, now);
            Ok(())
        }
        Err(Error::Unavailable(why)) => Err(Error::Unavailable(why)),
        Err(err) if firings.len() == 1 => Err(err),
        Err(_) => {
            let mut result = Ok(());
            for firing in firings.chunks(1) {
                result = Box::pin(fire(common, partner, firing, now)).await.and(result);
            }
            result
        }
    }
}

/// Tells the metrics and the workers what was fired.
fn report<'f>(common: &Common, fired: impl Iterator<Item = &'f Firing>, now: Millis) {
    let mut triggered = Triggered::default();
    for firing in fired.filter(|firing| !(firing.executions.is_empty() && firing.fanouts.is_empty())) {
        let kind = if now - firing.at > LATE_MS { "late" } else { "on_time" };
        counter!("larder_schedule_firings_total", "kind" => kind).increment(1);
        triggered.executions.extend(firing.executions.iter().cloned());
        triggered.fanouts.extend(firing.fanouts.iter().cloned());
    }
    if !triggered.is_empty() {
        crash::point(Point::Fired);
        triggered.counts(common);
        triggered.wake(common);
    }
}

/// Fires schedules.
pub struct Schedules {
    common: Common,
    /// When all schedules were last checked.
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
        // Due schedules that are held back are checked again at the next poll.
        Ok(Next::Within(match common.store.next_schedule(common.clock.now_ms()).await {
            Ok(Some(at)) => poll.min(Duration::from_millis((at - common.clock.now_ms()).max(1) as u64)),
            _ => poll,
        }))
    }
}
