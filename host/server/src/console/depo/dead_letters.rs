//! Dead letters: executions that were given up.

use askama::Template;
use axum::extract::State;
use larder_model::{BulkKind, Execution};
use larder_platform::dead_letters;
use larder_store::LetterGroup;
use larder_store::listing::Listing;
use larder_wire::scopes::Scope;

use crate::api::requests::Ids;
use crate::app::App;
use crate::console::account::Answer;
use crate::console::asked::{AFTER, Asked, Pager};
use crate::console::fields::Fields;
use crate::console::live::Topic;
use crate::console::page::{Page, ok, redirect};
use crate::console::visitor::Desk;
use crate::problem::{Kind, Problem};

/// Groups that are shown.
const GROUPS: usize = 50;

#[derive(Template)]
#[template(path = "dead-letters.html")]
struct List {
    p: Page,
    groups: Vec<Group>,
    more_groups: bool,
    rows: Vec<Execution>,
    pager: Pager,
    asked: Asked,
}

/// A group, with what the addresses ask for where it is redriven and discarded.
struct Group {
    of: LetterGroup,
    at_least: bool,
    redrive: String,
    discard: String,
}

impl Group {
    fn new(of: LetterGroup) -> Group {
        let query = |kind: BulkKind| {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("action", kind.word()).append_pair("function", of.function.as_str());
            query.append_pair("reason", of.reason.as_deref().unwrap_or_default()).finish()
        };
        let (redrive, discard) = (query(BulkKind::Redrive), query(BulkKind::Discard));
        Group { at_least: of.count >= Listing::COUNT_MAX.into(), redrive, discard, of }
    }
}

pub async fn list(State(app): State<App>, desk: Desk) -> Answer {
    desk.caller.may(Scope::ExecutionsRead)?;
    let asked = Asked::of(&desk.reader.visitor);
    let listing = asked.filtered(&[("function", "function_id")]);
    let mut rows = app.store.list_dead_letters(&desk.caller.partner, &listing).await?.rows;
    let pager = asked.pager(&mut rows, |row| row.id.as_str());
    // The groups stand above the first page alone.
    let is_first = asked.get(AFTER).is_empty() && asked.get("function").is_empty();
    let (mut groups, more_groups) = match is_first {
        true => dead_letters::groups(&app, &desk.caller.tenant, None, GROUPS).await?,
        false => (vec![], false),
    };
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    let groups = groups.into_iter().map(Group::new).collect();
    let p = desk.page(&app, "dead_letters.title").watching(&desk, Topic::DeadLetters);
    Ok(ok(&List { p, groups, more_groups, rows, pager, asked }))
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
