//! Today: what waits, what has failed, what comes next.

use askama::Template;
use axum::extract::State;
use larder_model::ids::FunctionId;
use larder_model::time::{Millis, instant};
use larder_platform::backlog;
use larder_platform::jobs::schedules;
use larder_store::Waiting;
use larder_store::listing::Listing;
use larder_wire::scopes::Scope;

use crate::app::App;
use crate::console::account::Answer;
use crate::console::page::{Page, ok};
use crate::console::visitor::Desk;

/// Firings that are shown.
const FIRINGS: usize = 10;

#[derive(Template)]
#[template(path = "today.html")]
struct Today {
    p: Page,
    waiting: Waiting,
    dead_letters: u64,
    count_max: u64,
    paused: u64,
    firings: Vec<(Millis, FunctionId, String)>,
}

pub async fn page(State(app): State<App>, desk: Desk) -> Answer {
    let caller = &desk.caller;
    caller.may(Scope::ExecutionsRead)?;
    let counted = Listing { total: true, ..Listing::first(1) };
    let paused = counted.clone().equal("status", larder_model::FanoutStatus::Paused.word());
    let now = instant(app.clock.now_ms());
    let armed = caller.tenant.functions.values().filter_map(|view| {
        let next = schedules::armed(view)?.next_after(now, &view.timezone.rules())?;
        Some((next.timestamp_millis(), view.function.id.clone(), view.function.name.clone()))
    });
    let mut firings: Vec<_> = armed.collect();
    firings.sort();
    firings.truncate(FIRINGS);
    Ok(ok(&Today {
        p: desk.page(&app, "today.title"),
        waiting: backlog::waiting(&app, &caller.tenant).await?,
        dead_letters: app.store.list_dead_letters(&caller.partner, &counted).await?.total,
        count_max: Listing::COUNT_MAX.into(),
        paused: app.store.list_fanouts(&caller.partner, &paused).await?.total,
        firings,
    }))
}
