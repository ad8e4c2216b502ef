//! Bulk actions: who asked for what, how far it is, and until when it can be undone.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use larder_model::ids::{BulkActionId, ExecutionId, FunctionId};
use larder_model::{BulkAction, BulkKind, BulkStatus, Letters};
use larder_platform::bulk_actions::{self, Chosen};
use larder_store::LetterGroup;
use larder_store::listing::Listing;
use larder_wire::scopes::Scope;

use crate::api::bulk_actions::{find, kind};
use crate::api::requests::{self, Ids};
use crate::app::App;
use crate::console::account::Answer;
use crate::console::asked::{Asked, Pager};
use crate::console::fields::Fields;
use crate::console::page::{Page, ok, redirect};
use crate::console::visitor::Desk;
use crate::problem::{Kind, Problem};

/// The most that is counted: from there on there may be more.
const COUNTED_MAX: u64 = Listing::COUNT_MAX as u64;

#[derive(Template)]
#[template(path = "bulk-actions.html")]
struct List {
    p: Page,
    rows: Vec<BulkAction>,
    pager: Pager,
    asked: Asked,
    statuses: &'static [&'static str],
}

pub async fn list(State(app): State<App>, desk: Desk) -> Answer {
    desk.caller.may(Scope::ExecutionsRead)?;
    let asked = Asked::of(&desk.reader.visitor);
    let listing = asked.filtered(&[("function", "function_id"), ("status", "status")]);
    let mut rows = app.store.list_bulk_actions(&desk.caller.partner, &listing).await?.rows;
    let pager = asked.pager(&mut rows, |row| row.id.as_str());
    let p = desk.page(&app, "bulk_actions.title");
    Ok(ok(&List { p, rows, pager, asked, statuses: BulkStatus::WORDS }))
}

#[derive(Template)]
#[template(path = "bulk-action.html")]
struct One {
    p: Page,
    action: BulkAction,
}

pub async fn one(State(app): State<App>, desk: Desk, ids: Ids) -> Answer {
    desk.caller.may(Scope::ExecutionsRead)?;
    let action = find(&app, &desk.caller, &ids).await?;
    let p = desk.page(&app, "bulk_action.title");
    let title = format!("{} · {}", p.t("bulk_action.title"), action.id);
    Ok(ok(&One { p: p.titled(title), action }))
}

#[derive(Template)]
#[template(path = "confirm-bulk.html")]
struct Confirm {
    p: Page,
    kind: BulkKind,
    group: LetterGroup,
    undo_s: u64,
}

/// A page that says what would be done with how many: nobody does it by one click.
pub async fn confirm(State(app): State<App>, desk: Desk) -> Answer {
    desk.caller.may(Scope::ExecutionsWrite)?;
    let asked = Asked::of(&desk.reader.visitor);
    let function: FunctionId = requests::id("function", asked.get("function"))?;
    let kind = kind(asked.get("action"))?;
    let reason = Some(asked.get("reason")).filter(|reason| !reason.is_empty());
    let group = app.store.letter_group(&desk.caller.partner, &function, reason).await?;
    let group = group.ok_or_else(|| Problem::not_found(Kind::DeadLetterNotFound, "Dead letter"))?;
    let title = match kind {
        BulkKind::Redrive => "bulk.redrive_title",
        BulkKind::Discard => "bulk.discard_title",
    };
    let undo_s = app.settings.worker.bulk_undo.as_secs();
    Ok(ok(&Confirm { p: desk.page(&app, title), kind, group, undo_s }))
}

/// Of a group, up to what the person saw of it, or of rows that they chose.
pub async fn begin(State(app): State<App>, desk: Desk, fields: Fields) -> Answer {
    desk.caller.may(Scope::ExecutionsWrite)?;
    let kind = kind(fields.get("action"))?;
    let ids: Vec<ExecutionId> = fields.all("id").map(|id| requests::id("id", id)).collect::<Result<_, _>>()?;
    let is_group = ids.is_empty();
    if is_group && fields.get("function").is_empty() {
        return Err(Problem::argument("id", "no row was chosen: check the boxes of those that are meant").into());
    }
    let chosen = Chosen {
        function: is_group.then(|| requests::id("function", fields.get("function"))).transpose()?,
        reason: is_group.then(|| fields.get("reason").to_owned()),
        ids,
    };
    let before = fields.get("before").parse().ok();
    let by = desk.caller.key.as_ref().map_or("", |key| key.as_str());
    let begun = bulk_actions::begin(&app, &desk.caller.tenant, by, kind, chosen, before).await?;
    Ok(back(&desk, &begun.id, "done.asked"))
}

fn back(desk: &Desk, id: &BulkActionId, done: &str) -> Response {
    redirect(&desk.reader.visitor.at(&format!("/bulk-actions/{id}?done={done}")))
}

pub async fn pause(State(app): State<App>, desk: Desk, ids: Ids, _: Fields) -> Answer {
    desk.caller.may(Scope::ExecutionsWrite)?;
    let id = ids.get("bulkActionId")?;
    bulk_actions::pause(&app, &desk.caller.partner, &id).await?;
    Ok(back(&desk, &id, "done.paused"))
}

pub async fn resume(State(app): State<App>, desk: Desk, ids: Ids, _: Fields) -> Answer {
    desk.caller.may(Scope::ExecutionsWrite)?;
    let id = ids.get("bulkActionId")?;
    bulk_actions::resume(&app, &desk.caller.partner, &id).await?;
    Ok(back(&desk, &id, "done.resumed"))
}

pub async fn cancel(State(app): State<App>, desk: Desk, ids: Ids, _: Fields) -> Answer {
    desk.caller.may(Scope::ExecutionsWrite)?;
    let id = ids.get("bulkActionId")?;
    bulk_actions::cancel(&app, &desk.caller.partner, &id).await?;
    Ok(back(&desk, &id, "done.cancelled"))
}
