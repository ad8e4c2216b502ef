//! When the schedules of all functions fire next, and which are overdue.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use larder_model::cron::Cron;
use larder_model::ids::FunctionId;
use larder_model::time::{Millis, instant};
use larder_model::zones::{Rules, Zone};
use larder_platform::jobs::schedules;
use larder_wire::scopes::Scope;

use crate::app::App;
use crate::console::account::Answer;
use crate::console::page::{Page, ok};
use crate::console::visitor::Desk;

/// Firings that are shown, and overdue schedules.
const FIRINGS: usize = 30;

struct Scheduled {
    function: FunctionId,
    name: String,
    cron: Cron,
    zone: Zone,
}

struct Firing {
    at: Millis,
    of: Arc<Scheduled>,
    /// On the wall clock of the function's zone.
    wall: String,
    /// The wall clock does not show what the schedule says: a clock change has skipped that.
    moved: bool,
}

#[derive(Template)]
#[template(path = "schedules.html")]
struct Schedules {
    p: Page,
    all: Vec<Arc<Scheduled>>,
    firings: Vec<Firing>,
    overdue: Vec<(Millis, FunctionId)>,
    catch_up: String,
}

pub async fn page(State(app): State<App>, desk: Desk) -> Answer {
    let caller = &desk.caller;
    caller.may(Scope::FunctionsRead)?;
    let all: Vec<Arc<Scheduled>> = caller
        .tenant
        .functions
        .values()
        .filter_map(|view| {
            let (function, name) = (view.function.id.clone(), view.function.name.clone());
            Some(Arc::new(Scheduled { function, name, cron: schedules::armed(view)?, zone: view.timezone.clone() }))
        })
        .collect();
    let now = app.clock.now_ms();
    let due = app.store.due_schedules(&caller.partner, now, FIRINGS as u32).await?;
    let p = desk.page(&app, "schedules.title");
    let catch_up = format!("{}\u{a0}min", app.settings.scheduler.catch_up.as_secs() / 60);
    Ok(ok(&Schedules {
        catch_up: p.t("schedules.catch_up").replace("{catch_up}", &catch_up),
        p,
        firings: next(&all, now, &app.zones.utc().rules()),
        all,
        overdue: due.into_iter().map(|(_, function, at)| (at, function)).collect(),
    }))
}

/// The firings of all, soonest first: the next of each is known, and the soonest of them makes room for its own next.
fn next(all: &[Arc<Scheduled>], now: Millis, utc: &Rules) -> Vec<Firing> {
    let after =
        |of: &Scheduled, at: Millis| Some(of.cron.next_after(instant(at), &of.zone.rules())?.timestamp_millis());
    let mut coming = BTreeMap::new();
    for (number, of) in all.iter().enumerate() {
        coming.extend(after(of, now).map(|at| ((at, number), of)));
    }
    let mut firings = Vec::new();
    while firings.len() < FIRINGS
        && let Some(((at, number), of)) = coming.pop_first()
    {
        let wall = of.zone.rules().local(instant(at)).naive_local();
        // The same expression on a clock that never changes.
        let moved = of.cron.next_after(wall.and_utc() - chrono::TimeDelta::seconds(1), utc) != Some(wall.and_utc());
        firings.push(Firing { at, of: of.clone(), wall: wall.format("%Y-%m-%d %H:%M").to_string(), moved });
        coming.extend(after(of, at).map(|at| ((at, number), of)));
    }
    firings
}

#[cfg(test)]
mod tests {
    use larder_model::zones::Zones;

    use super::*;

    #[test]
    fn a_skipped_time_is_marked_and_the_soonest_come_first() {
        let zones = Zones::new(std::path::Path::new(""));
        let scheduled = |id: &str, text: &str, zone: &str| {
            let zone = zones.zone(zone).unwrap();
            Arc::new(Scheduled {
                function: id.parse().unwrap(),
                name: id.into(),
                cron: Cron::parse(text).unwrap(),
                zone,
            })
        };
        let all = [scheduled("night", "30 2 * * *", "Europe/Stockholm"), scheduled("noon", "0 12 * * *", "UTC")];
        // 2027-03-27T12:30Z; the clocks go forward in the night to the 28th.
        let now = chrono::DateTime::parse_from_rfc3339("2027-03-27T12:30:00Z").unwrap().timestamp_millis();
        let firings = next(&all, now, &zones.utc().rules());
        assert_eq!(firings.len(), FIRINGS);
        let said: Vec<_> =
            firings.iter().take(3).map(|one| (one.of.name.as_str(), one.wall.as_str(), one.moved)).collect();
        assert_eq!(
            said,
            [
                ("night", "2027-03-28 03:00", true),
                ("noon", "2027-03-28 12:00", false),
                ("night", "2027-03-29 02:30", false)
            ]
        );
        assert!(firings.is_sorted_by_key(|firing| firing.at));
    }
}
