//! The charts of the first page: what was saved, against the same weekday of the week before, and what was given up for what. They are
//! read once in [`FRESH`] for a partner, however many look, because a sum reads every saving of a day.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use chrono::{Days, NaiveDate};
use larder_model::Amount;
use larder_model::ids::PartnerId;
use larder_model::time::Millis;
use larder_platform::dead_letters;
use larder_store::db::Value;
use larder_store::listing::{Filter, Listing, Op};
use larder_store::{Error, LetterGroup};
use larder_wire::scopes::Scope;

use crate::app::App;
use crate::console::chart::Chart;
use crate::console::page::Page;
use crate::console::visitor::Desk;
use crate::problem::Problem;

/// How old figures may be.
const FRESH: Duration = Duration::from_secs(30);
/// Groups of dead letters that are read, and those of them that are shown.
const GROUPS: usize = 100;
const SHOWN: usize = 8;

/// What the charts show.
pub struct Figures {
    /// By currency, from the beginning of the day and until the same time of the day a week before; `None`: too many to be summed up.
    saved: Option<BTreeMap<&'static str, [Amount; 2]>>,
    /// The largest first.
    groups: Vec<LetterGroup>,
}

pub async fn charts(app: &App, desk: &Desk, p: &Page) -> Result<Vec<Chart>, Problem> {
    let look = &desk.reader.visitor.look;
    let none = || Problem::internal("a day has no beginning");
    let (day, today) = look.day(None, p.now).ok_or_else(none)?;
    let before = NaiveDate::parse_from_str(&day, "%Y-%m-%d").ok().and_then(|day| day.checked_sub_days(Days::new(7)));
    let before = before.map(|day| day.format("%Y-%m-%d").to_string());
    let (_, week_before) = look.day(before.as_deref(), p.now).ok_or_else(none)?;
    let partner = &desk.caller.partner;
    let figures = match app.streams.figures(partner, today.start, FRESH) {
        Some(known) => known,
        None => {
            let so_far = p.now - today.start;
            let spans = [today.start..p.now + 1, week_before.start..week_before.start + so_far + 1];
            let mut groups = dead_letters::groups(app, &desk.caller.tenant, None, GROUPS).await?.0;
            groups.sort_by_key(|group| Reverse(group.count));
            groups.truncate(SHOWN);
            let found = Arc::new(Figures { saved: saved(app, partner, spans).await?, groups });
            app.streams.keep_figures(partner, today.start, found.clone());
            found
        }
    };
    let mut charts = Vec::new();
    if desk.caller.has(Scope::TransactionsRead)
        && let Some(saved) = figures.saved.as_ref().filter(|saved| !saved.is_empty())
    {
        charts.push(of_savings(p, saved));
    }
    if !figures.groups.is_empty() {
        charts.push(of_reasons(p, &figures.groups));
    }
    Ok(charts)
}

async fn saved(
    app: &App,
    partner: &PartnerId,
    spans: [Range<Millis>; 2],
) -> Result<Option<BTreeMap<&'static str, [Amount; 2]>>, Problem> {
    let mut all: BTreeMap<&'static str, [Amount; 2]> = BTreeMap::new();
    for (at, span) in spans.into_iter().enumerate() {
        let values = vec![Value::Int(span.start), Value::Int(span.end - 1)];
        let mut listing = Listing::newest(1);
        listing.filters.push(Filter::Compare { column: "created_at_ms", op: Op::Between, values });
        match app.store.sum_transactions(partner, &listing).await {
            Ok(sums) => {
                for sum in sums {
                    let currency = sum.amount.currency();
                    let zero = Amount::from_minor_units(0, currency);
                    let sums = all.entry(currency.code()).or_insert([zero, zero]);
                    let most = Amount::from_minor_units(i64::MAX, currency);
                    sums[at] = sums[at].checked_add(sum.amount).unwrap_or(most);
                }
            }
            Err(Error::TooSlow(_)) => return Ok(None),
            Err(err) => return Err(err.into()),
        }
    }
    Ok(Some(all))
}

fn of_savings(p: &Page, saved: &BTreeMap<&'static str, [Amount; 2]>) -> Chart {
    let columns = vec![p.t("chart.today"), p.t("chart.week_before")];
    let sentence = |[now, before]: &[Amount; 2]| {
        let (now, before) = (p.money(now), p.money(before));
        format!("{now} {}, {before} {}.", p.t("chart.saved_now"), p.t("chart.saved_before"))
    };
    let summary = saved.values().map(sentence).collect::<Vec<_>>().join(" ");
    let bar = |amount: &Amount| (u64::try_from(amount.minor_units()).unwrap_or_default(), p.money(amount));
    let rows = saved.iter().map(|(code, sums)| ((*code).to_owned(), sums.iter().map(bar).collect()));
    Chart::new(p.t("chart.saved"), summary, columns, rows.collect(), false)
}

fn of_reasons(p: &Page, groups: &[LetterGroup]) -> Chart {
    let count = |group: &LetterGroup| {
        let number = p.number(&group.count);
        if group.count >= Listing::COUNT_MAX.into() { format!("{number} {}", p.t("list.or_more")) } else { number }
    };
    let label = |group: &LetterGroup| {
        let reason = group.reason.as_deref().unwrap_or_else(|| p.t("bulk.no_reason"));
        format!("{}: {}", group.function, p.clean(reason))
    };
    let largest = groups.first().map(|group| format!("{} {}", count(group), label(group))).unwrap_or_default();
    let summary = format!("{} {largest}", p.t("chart.most"));
    let rows = groups.iter().map(|group| (label(group), vec![(group.count, count(group))])).collect();
    Chart::new(p.t("chart.reasons"), summary, vec![p.t("dead_letters.count")], rows, true)
}
