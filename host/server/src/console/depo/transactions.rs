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

/// What the address asks for.
pub struct Wanted {
    pub day: String,
    pub listing: Listing,
    pub asked: Asked,
}

impl Wanted {
    pub fn of(app: &App, desk: &Desk) -> Result<Wanted, Problem> {
        let asked = Asked::of(&desk.reader.visitor);
        let given = Some(asked.get("day")).filter(|day| !day.is_empty());
        let (day, span) = desk
            .reader
            .visitor
            .look
            .day(given, app.clock.now_ms())
            .ok_or_else(|| Problem::argument("day", "must be a day such as 2026-12-01"))?;
        let filters = [("function", "function_id"), ("user", "end_user"), ("currency", "currency")];
        let mut listing = asked.filtered(&filters);
        listing.filters.push(Filter::Compare {
            column: "created_at_ms",
            op: Op::Between,
            values: vec![Value::Int(span.start), Value::Int(span.end - 1)],
        });
        Ok(Wanted { day, listing, asked })
    }
}

pub async fn list(State(app): State<App>, desk: Desk) -> Answer {
    desk.caller.may(Scope::TransactionsRead)?;
    let partner = &desk.caller.partner;
    let Wanted { day, listing, asked } = Wanted::of(&app, &desk)?;
    let sums = app.store.sum_transactions(partner, &Listing { cursor: None, ..listing.clone() }).await?;
    let mut rows = app.store.list_transactions(partner, &listing).await?.rows;
    let pager = asked.pager(&mut rows, |row| row.id.as_str());
    Ok(ok(&List { p: desk.page(&app, "transactions.title"), day, sums, rows, pager, asked }))
}
