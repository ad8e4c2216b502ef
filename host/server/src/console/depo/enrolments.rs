//! End users of functions: who takes part in what.

use askama::Template;
use axum::extract::State;
use larder_model::{Enrolment, EnrolmentStatus};
use larder_wire::scopes::Scope;

use crate::app::App;
use crate::console::account::Answer;
use crate::console::asked::{Asked, Pager};
use crate::console::page::{Page, ok};
use crate::console::visitor::Desk;

#[derive(Template)]
#[template(path = "enrolments.html")]
struct List {
    p: Page,
    rows: Vec<Enrolment>,
    pager: Pager,
    asked: Asked,
    statuses: &'static [&'static str],
}

pub async fn list(State(app): State<App>, desk: Desk) -> Answer {
    desk.caller.may(Scope::EnrolmentsRead)?;
    let asked = Asked::of(&desk.reader.visitor);
    let filters = [("function", "function_id"), ("user", "end_user"), ("status", "status")];
    let mut rows = app.store.list_enrolments(&desk.caller.partner, &asked.filtered(&filters)).await?.rows;
    let pager = asked.pager(&mut rows, |row| row.id.as_str());
    let statuses = EnrolmentStatus::WORDS;
    Ok(ok(&List { p: desk.page(&app, "enrolments.title"), rows, pager, asked, statuses }))
}
