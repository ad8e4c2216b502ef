//! Who changed what: of a partner, and of the installation. Both consoles show it alike.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::State;
use larder_model::audit::{Action, ActorKind, AuditRecord};
use larder_model::ids::PartnerId;
use larder_store::db::Value;
use larder_store::listing::{Filter, Op};
use larder_wire::audit::AuditObject;
use larder_wire::scopes::Scope;
use serde_json::Value as Json;

use super::account::Answer;
use super::asked::{Asked, Pager};
use super::page::{Page, ok};
use super::visitor::{Desk, OperatorsDesk, Visitor};
use crate::app::App;
use crate::problem::Problem;

/// Characters of a value that are shown; the API has the whole.
const VALUE_CHARS_MAX: usize = 400;

#[derive(Template)]
#[template(path = "audit.html")]
struct List {
    p: Page,
    rows: Vec<Line>,
    pager: Pager,
    asked: Asked,
    actions: &'static [&'static str],
}

/// A record as a line.
struct Line {
    record: AuditRecord,
    /// What differs: the member, before and after.
    changes: Vec<(String, String, String)>,
    /// Where what was changed is, below the console.
    subject: Option<String>,
    /// The key of the text that says what was done.
    done: String,
}

impl Line {
    fn of(record: AuditRecord) -> Line {
        let object = AuditObject::from(record.clone());
        let members = [&object.before, &object.after].into_iter().filter_map(Json::as_object);
        let names: BTreeSet<&String> = members.flat_map(|object| object.keys()).collect();
        let shown = |of: &Json, name: &str| match of.get(name) {
            None | Some(Json::Null) => String::new(),
            Some(Json::String(text)) => text.chars().take(VALUE_CHARS_MAX).collect(),
            Some(value) => value.to_string().chars().take(VALUE_CHARS_MAX).collect(),
        };
        let changes = names
            .into_iter()
            .map(|name| (name.clone(), shown(&object.before, name), shown(&object.after, name)))
            .collect();
        let function = object.after.get("functionId").and_then(Json::as_str);
        let is_gone = record.entry.action.word().ends_with(".delete");
        let subject = match record.entry.action.subject_kind() {
            _ if is_gone || record.owner.is_none() => None,
            "function" | "grants" => Some(format!("/functions/{}", record.entry.subject)),
            "fanout" => Some(format!("/fanouts/{}", record.entry.subject)),
            "deployment" => function.map(|of| format!("/functions/{of}/deployments/{}", record.entry.subject)),
            _ => None,
        };
        let done = format!("audit.{}", record.entry.action.word());
        Line { record, changes, subject, done }
    }

    fn is_of_nobody(&self) -> bool {
        self.record.entry.actor.kind == ActorKind::Nobody
    }
}

pub async fn of_partner(State(app): State<App>, desk: Desk) -> Answer {
    desk.caller.may(Scope::AuditRead)?;
    let p = desk.page(&app, "audit.title");
    list(&app, &desk.reader.visitor, p, Some(&desk.caller.partner)).await
}

pub async fn of_installation(State(app): State<App>, OperatorsDesk(reader): OperatorsDesk) -> Answer {
    list(&app, &reader.visitor, reader.page(&app, "audit.title"), None).await
}

async fn list(app: &App, visitor: &Visitor, p: Page, owner: Option<&PartnerId>) -> Answer {
    let asked = Asked::of(visitor);
    let filters = [("actor", "actor_id"), ("action", "action"), ("subject", "subject_id")];
    let mut listing = asked.filtered(&filters);
    let day = asked.get("day");
    if !day.is_empty() {
        let (_, span) = visitor
            .look
            .day(Some(day), app.clock.now_ms())
            .ok_or_else(|| Problem::argument("day", "must be a day such as 2026-12-01"))?;
        let values = vec![Value::Int(span.start), Value::Int(span.end - 1)];
        listing.filters.push(Filter::Compare { column: "created_at_ms", op: Op::Between, values });
    }
    let mut rows = app.store.list_audit_records(owner, &listing).await?.rows;
    let pager = asked.pager(&mut rows, |row| row.id.as_str());
    let rows = rows.into_iter().map(Line::of).collect();
    Ok(ok(&List { p, rows, pager, asked, actions: Action::WORDS }))
}

#[cfg(test)]
mod tests {
    use super::super::look::Language;
    use super::*;

    #[test]
    fn every_action_has_words() {
        for action in Action::WORDS {
            for language in [Language::English, Language::Swedish, Language::German] {
                assert_ne!(language.text(&format!("audit.{action}")), "?", "{action}");
            }
        }
    }
}
