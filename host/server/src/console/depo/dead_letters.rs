//! Dead letters: executions that were given up.

use askama::Template;
use axum::extract::State;
use larder_model::Execution;
use larder_platform::dead_letters;
use larder_wire::scopes::Scope;

use crate::api::requests::Ids;
use crate::app::App;
use crate::console::account::Answer;
use crate::console::asked::{Asked, Pager};
use crate::console::fields::Fields;
use crate::console::live::Topic;
use crate::console::page::{Page, ok, redirect};
use crate::console::visitor::Desk;
use crate::problem::{Kind, Problem};

#[derive(Template)]
#[template(path = "dead-letters.html")]
struct List {
    p: Page,
    rows: Vec<Execution>,
    pager: Pager,
    asked: Asked,
}

pub async fn list(State(app): State<App>, desk: Desk) -> Answer {
    desk.caller.may(Scope::ExecutionsRead)?;
    let asked = Asked::of(&desk.reader.visitor);
    let listing = asked.filtered(&[("function", "function_id")]);
    let mut rows = app.store.list_dead_letters(&desk.caller.partner, &listing).await?.rows;
    let pager = asked.pager(&mut rows, |row| row.id.as_str());
    let p = desk.page(&app, "dead_letters.title").watching(&desk, Topic::DeadLetters);
    Ok(ok(&List { p, rows, pager, asked }))
}

pub async fn redrive(State(app): State<App>, desk: Desk, ids: Ids, _: Fields) -> Answer {
    desk.caller.may(Scope::ExecutionsWrite)?;
    let run = dead_letters::redrive(&app, &desk.caller.tenant, &ids.get("executionId")?).await?;
    let to = format!("/functions/{}/runs/{}?done=done.redriven", run.function, run.id);
    Ok(redirect(&desk.reader.visitor.at(&to)))
}

#[derive(Template)]
#[template(path = "discard.html")]
struct ConfirmDiscard {
    p: Page,
    run: Execution,
}

/// A page that says what discarding does: nobody does it by one click.
pub async fn confirm_discard(State(app): State<App>, desk: Desk, ids: Ids) -> Answer {
    desk.caller.may(Scope::ExecutionsWrite)?;
    let found = app.store.dead_letter(&desk.caller.partner, &ids.get("executionId")?).await?;
    let run = found.ok_or_else(|| Problem::not_found(Kind::DeadLetterNotFound, "Dead letter"))?;
    Ok(ok(&ConfirmDiscard { p: desk.page(&app, "discard.title"), run }))
}

pub async fn discard(State(app): State<App>, desk: Desk, ids: Ids, _: Fields) -> Answer {
    desk.caller.may(Scope::ExecutionsWrite)?;
    dead_letters::discard(&app, &desk.caller.partner, &ids.get("executionId")?).await?;
    Ok(redirect(&desk.reader.visitor.at("/dead-letters?done=done.discarded")))
}
