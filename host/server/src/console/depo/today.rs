//! Today: what waits, what has failed, what comes next.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use larder_model::ids::FunctionId;
use larder_model::time::{Millis, instant};
use larder_platform::backlog;
use larder_platform::directory::Tenant;
use larder_platform::jobs::schedules;
use larder_store::listing::Listing;
use larder_wire::scopes::Scope;

use crate::app::App;
use crate::console::account::Answer;
use crate::console::chart::Chart;
use crate::console::depo::figures;
use crate::console::live::{Counts, Topic};
use crate::console::page::{Page, ok};
use crate::console::visitor::Desk;

/// Firings that are shown.
const FIRINGS: usize = 10;
/// How old counts may be.
const COUNTED: Duration = Duration::from_millis(500);

#[derive(Template)]
#[template(path = "today.html")]
struct Today {
    p: Page,
    counters: Vec<Counter>,
    charts: Vec<Chart>,
    firings: Vec<(Millis, FunctionId, String)>,
}

pub async fn page(State(app): State<App>, desk: Desk) -> Answer {
    let caller = &desk.caller;
    caller.may(Scope::ExecutionsRead)?;
    let now = instant(app.clock.now_ms());
    let armed = caller.tenant.functions.values().filter_map(|view| {
        let next = schedules::armed(view)?.next_after(now, &view.timezone.rules())?;
        Some((next.timestamp_millis(), view.function.id.clone(), view.function.name.clone()))
    });
    let mut firings: Vec<_> = armed.collect();
    firings.sort();
    firings.truncate(FIRINGS);
    let p = desk.page(&app, "today.title").watching(&desk, Topic::Today);
    let counters = counters(&p, counts(&app, &caller.tenant).await?);
    let charts = figures::charts(&app, &desk, &p).await?;
    Ok(ok(&Today { p, counters, charts, firings }))
}

/// A number of the first page: its id there, the key of its text, and the number as people read it.
pub struct Counter {
    pub id: &'static str,
    pub text: &'static str,
    pub number: String,
}

/// The counts of a partner. However many look, they are counted once in [`COUNTED`].
pub async fn counts(app: &App, tenant: &Tenant) -> larder_store::Result<Counts> {
    let partner = &tenant.partner.id;
    if let Some(known) = app.streams.counts(partner, COUNTED) {
        return Ok(known);
    }
    let counted = Listing { total: true, ..Listing::first(1) };
    let paused = counted.clone().equal("status", larder_model::FanoutStatus::Paused.word());
    let found = Counts {
        waiting: backlog::waiting(app, tenant).await?,
        dead_letters: app.store.list_dead_letters(partner, &counted).await?.total,
        paused: app.store.list_fanouts(partner, &paused).await?.total,
    };
    app.streams.keep_counts(partner, found);
    Ok(found)
}

pub fn counters(p: &Page, counts: Counts) -> Vec<Counter> {
    let Counts { waiting, dead_letters, paused } = counts;
    let counter = |id, text, number: u64| Counter { id, text, number: p.number(&number) };
    let mut all = vec![
        counter("count-due", "today.due", waiting.due),
        counter("count-executions", "today.executions", waiting.executions),
        counter("count-fanouts", "today.fanouts", waiting.fanouts),
        counter("count-paused", "today.paused", paused),
        counter("count-events", "today.events", waiting.events),
    ];
    let mut dead = counter("count-dead-letters", "today.dead_letters", dead_letters);
    if dead_letters >= Listing::COUNT_MAX.into() {
        dead.number = format!("{} {}", dead.number, p.t("list.or_more"));
    }
    all.push(dead);
    all
}
