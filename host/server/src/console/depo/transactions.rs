//! What was saved: sums of a day by function and currency, and the savings themselves.

use askama::Template;
use axum::extract::State;
use larder_model::Transaction;
use larder_store::Saved;
use larder_store::db::Value;
use larder_store::listing::{Filter, Listing, Op};
use larder_wire::scopes::Scope;

use crate::app::App;
use crate::console::account::Answer;
use crate::console::asked::{Asked, Pager};
use crate::console::page::{Page, ok};
use crate::console::visitor::Desk;
use crate::problem::Problem;

#[derive(Template)]
#[template(path = "transactions.html")]
struct List {
    p: Page,
    /// Of the reader's zone: `2026-12-01`.
    day: String,
    sums: Vec<Saved>,
    rows: Vec<Transaction>,
    pager: Pager,
    asked: Asked,
}

pub async fn list(State(app): State<App>, desk: Desk) -> Answer {
    desk.caller.may(Scope::TransactionsRead)?;
    let partner = &desk.caller.partner;
    let asked = Asked::of(&desk.reader.visitor);
    let p = desk.page(&app, "transactions.title");
    let given = Some(asked.get("day")).filter(|day| !day.is_empty());
    let (day, span) =
        p.look.day(given, p.now).ok_or_else(|| Problem::argument("day", "must be a day such as 2026-12-01"))?;
    let filters = [("function", "function_id"), ("user", "end_user"), ("currency", "currency")];
    let on_day = Filter::Compare {
        column: "created_at_ms",
        op: Op::Between,
        values: vec![Value::Int(span.start), Value::Int(span.end - 1)],
    };
    let mut listing = asked.filtered(&filters);
    listing.filters.push(on_day);
    let sums = app.store.sum_transactions(partner, &Listing { cursor: None, ..listing.clone() }).await?;
    let mut rows = app.store.list_transactions(partner, &listing).await?.rows;
    let pager = asked.pager(&mut rows, |row| row.id.as_str());
    Ok(ok(&List { p, day, sums, rows, pager, asked }))
}
