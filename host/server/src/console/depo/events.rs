//! Events as they came, one of them with what it set off, and one that is sent to try.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use larder_model::events::StoredEvent;
use larder_model::ids::{EventId, PartnerId};
use larder_store::{EventHead, EventName};
use larder_wire::scopes::Scope;

use super::causes::{self, Node, What};
use crate::api::events;
use crate::api::requests::Ids;
use crate::app::App;
use crate::console::account::Answer;
use crate::console::asked::{AFTER, Asked, Pager, ROWS};
use crate::console::fields::Fields;
use crate::console::page::{Page, ok, redirect};
use crate::console::visitor::Desk;
use crate::problem::{Kind, Problem};

#[derive(Template)]
#[template(path = "events.html")]
struct List {
    p: Page,
    rows: Vec<EventHead>,
    pager: Pager,
    asked: Asked,
}

pub async fn list(State(app): State<App>, desk: Desk) -> Answer {
    desk.caller.may(Scope::EventsRead)?;
    let asked = Asked::of(&desk.reader.visitor);
    let before = match asked.get(AFTER) {
        "" => None,
        id => Some(id.parse::<EventId>().map_err(|why| Problem::argument(AFTER, why))?),
    };
    let kind = Some(asked.get("type")).filter(|kind| !kind.is_empty());
    let mut rows = app.store.newest_events(&desk.caller.partner, kind, before.as_ref(), ROWS + 1).await?;
    let pager = asked.pager(&mut rows, |row| row.row.as_str());
    Ok(ok(&List { p: desk.page(&app, "events.title"), rows, pager, asked }))
}

#[derive(Template)]
#[template(path = "event.html")]
struct One {
    p: Page,
    event: StoredEvent,
    /// `None`: this person may not read it.
    data: Option<String>,
    nodes: Vec<Node>,
}

pub async fn one(State(app): State<App>, desk: Desk, ids: Ids) -> Answer {
    desk.caller.may(Scope::EventsRead)?;
    let (partner, id): (_, EventId) = (&desk.caller.partner, ids.get("eventId")?);
    let found = app.store.event(partner, EventName::Row(&id)).await?;
    let event = found.ok_or_else(|| Problem::not_found(Kind::EventNotFound, "Event"))?;
    let nodes = causes::tree(&app, partner, &id).await?;
    Ok(ok(&One { p: desk.page(&app, "event.title"), data: data(&desk, &event), event, nodes }))
}

/// The data of an event, for those who may read them.
pub fn data(desk: &Desk, event: &StoredEvent) -> Option<String> {
    if !desk.caller.has(Scope::EventsData) {
        return None;
    }
    events::data_were_read(&desk.caller, event);
    Some(String::from_utf8_lossy(&event.data).into_owned())
}

#[derive(Template)]
#[template(path = "new-event.html")]
struct New {
    p: Page,
    /// Sent twice, it is the same event.
    id: String,
    kind: String,
    subject: String,
    data: String,
}

/// A form with the shape of the last event of the type, if there is one.
pub async fn new(State(app): State<App>, desk: Desk) -> Answer {
    desk.caller.may(Scope::EventsWrite)?;
    let asked = Asked::of(&desk.reader.visitor);
    let kind = asked.get("type").to_owned();
    let last = match desk.caller.has(Scope::EventsData) && !kind.is_empty() {
        true => last(&app, &desk, &kind).await?,
        false => None,
    };
    let subject = last.as_ref().and_then(|event| event.subject.clone()).unwrap_or_default();
    let data = last.and_then(|event| data(&desk, &event)).unwrap_or_else(|| "{}".into());
    let p = desk.page(&app, "events.send");
    Ok(ok(&New { p, id: app.clock.ulid(), kind, subject, data }))
}

async fn last(app: &App, desk: &Desk, kind: &str) -> Result<Option<StoredEvent>, Problem> {
    let partner: &PartnerId = &desk.caller.partner;
    let Some(head) = app.store.newest_events(partner, Some(kind), None, 1).await?.pop() else { return Ok(None) };
    Ok(app.store.event(partner, EventName::Row(&head.row)).await?)
}

/// Sends it as a program would, with the same checks.
pub async fn send(State(app): State<App>, desk: Desk, fields: Fields) -> Answer {
    desk.caller.may(Scope::EventsWrite)?;
    let data = fields.get("data");
    serde_json::from_str::<serde::de::IgnoredAny>(data).map_err(|err| Problem::argument("data", err))?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let attributes =
        [("specversion", "1.0"), ("id", fields.get("id")), ("source", SOURCE), ("type", fields.get("type"))];
    let subject = Some(("subject", fields.get("subject"))).filter(|(_, subject)| !subject.is_empty());
    for (name, value) in attributes.into_iter().chain(subject) {
        let value = HeaderValue::try_from(in_header(value)).map_err(|err| Problem::argument(name, err))?;
        headers.insert(HeaderName::try_from(format!("ce-{name}")).map_err(Problem::internal)?, value);
    }
    let accepted = events::accept(&app, &desk.caller, &headers, data.as_bytes()).await?;
    let row = accepted.events.first().map(|event| event.row.clone());
    let row = row.ok_or_else(|| Problem::internal("one event was sent and none accepted"))?;
    Ok(redirect(&desk.reader.visitor.at(&format!("/events/{row}?done=done.sent"))))
}

/// The source of what people send to try.
const SOURCE: &str = "/console";

/// An attribute in a header: what is no plain character, as the bytes of it in percent (CloudEvents, HTTP binding).
fn in_header(value: &str) -> String {
    let byte = |byte: u8| match byte {
        b'!'..=b'~' if !matches!(byte, b'"' | b'%') => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    value.bytes().map(byte).collect()
}
