//! Fan-outs: how far each is, and what may be done with it.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use larder_model::ids::FanoutId;
use larder_model::{Fanout, FanoutStatus};
use larder_platform::fanouts::{self, Found};
use larder_wire::scopes::Scope;

use crate::api::requests::Ids;
use crate::app::App;
use crate::console::account::Answer;
use crate::console::asked::{Asked, Pager};
use crate::console::fields::Fields;
use crate::console::page::{Page, ok, redirect};
use crate::console::visitor::Desk;
use crate::problem::{Kind, Problem};

#[derive(Template)]
#[template(path = "fanouts.html")]
struct List {
    p: Page,
    rows: Vec<Fanout>,
    pager: Pager,
    asked: Asked,
    statuses: &'static [&'static str],
}

pub async fn list(State(app): State<App>, desk: Desk) -> Answer {
    desk.caller.may(Scope::ExecutionsRead)?;
    let asked = Asked::of(&desk.reader.visitor);
    let listing = asked.filtered(&[("function", "function_id"), ("status", "status")]);
    let mut rows = app.store.list_fanouts(&desk.caller.partner, &listing).await?.rows;
    let pager = asked.pager(&mut rows, |row| row.id.as_str());
    Ok(ok(&List { p: desk.page(&app, "fanouts.title"), rows, pager, asked, statuses: FanoutStatus::WORDS }))
}

#[derive(Template)]
#[template(path = "fanout.html")]
struct One {
    p: Page,
    found: Found,
}

async fn find(app: &App, desk: &Desk, ids: &Ids) -> Result<Fanout, Problem> {
    let found = app.store.fanout(&desk.caller.partner, &ids.get("fanoutId")?).await?;
    found.ok_or_else(|| Problem::not_found(Kind::FanoutNotFound, "Fan-out"))
}

async fn shown(app: &App, desk: &Desk, ids: &Ids) -> Result<One, Problem> {
    let found = fanouts::found(app, &desk.caller.tenant, find(app, desk, ids).await?).await?;
    let p = desk.page(app, "fanout.title");
    let title = format!("{} · {}", p.t("fanout.title"), found.fanout.id);
    Ok(One { p: p.titled(title), found })
}

pub async fn one(State(app): State<App>, desk: Desk, ids: Ids) -> Answer {
    desk.caller.may(Scope::ExecutionsRead)?;
    Ok(ok(&shown(&app, &desk, &ids).await?))
}

fn back(desk: &Desk, id: &FanoutId, done: &str) -> Response {
    redirect(&desk.reader.visitor.at(&format!("/fanouts/{id}?done={done}")))
}

pub async fn pause(State(app): State<App>, desk: Desk, ids: Ids, _: Fields) -> Answer {
    desk.caller.may(Scope::ExecutionsWrite)?;
    let id = ids.get("fanoutId")?;
    fanouts::pause(&app, &desk.caller.partner, &id).await?;
    Ok(back(&desk, &id, "done.paused"))
}

pub async fn resume(State(app): State<App>, desk: Desk, ids: Ids, _: Fields) -> Answer {
    desk.caller.may(Scope::ExecutionsWrite)?;
    let id = ids.get("fanoutId")?;
    fanouts::resume(&app, &desk.caller.partner, &id).await?;
    Ok(back(&desk, &id, "done.resumed"))
}

pub async fn redrive(State(app): State<App>, desk: Desk, ids: Ids, _: Fields) -> Answer {
    desk.caller.may(Scope::ExecutionsWrite)?;
    let fanout = find(&app, &desk, &ids).await?;
    fanouts::redrive(&app, &desk.caller.tenant, &fanout, app.clock.now_ms()).await?;
    Ok(back(&desk, &fanout.id, "done.redriven"))
}

#[derive(Template)]
#[template(path = "cancel-fanout.html")]
struct ConfirmCancel {
    p: Page,
    found: Found,
}

/// A page that says what cancelling does: nobody does it by one click.
pub async fn confirm_cancel(State(app): State<App>, desk: Desk, ids: Ids) -> Answer {
    desk.caller.may(Scope::ExecutionsWrite)?;
    let One { found, .. } = shown(&app, &desk, &ids).await?;
    Ok(ok(&ConfirmCancel { p: desk.page(&app, "fanout.cancel_title"), found }))
}

pub async fn cancel(State(app): State<App>, desk: Desk, ids: Ids, _: Fields) -> Answer {
    desk.caller.may(Scope::ExecutionsWrite)?;
    let id = ids.get("fanoutId")?;
    fanouts::cancel(&app, &desk.caller.partner, &id).await?;
    Ok(back(&desk, &id, "done.cancelled"))
}
