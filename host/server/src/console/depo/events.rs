//! One event: what came, and what it set off.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State;
use larder_model::events::StoredEvent;
use larder_model::ids::{EventId, FunctionId};
use larder_store::{Delivery, EventName};
use larder_wire::scopes::Scope;

use crate::api::requests::Ids;
use crate::app::App;
use crate::console::account::Answer;
use crate::console::page::{Page, ok};
use crate::console::visitor::Desk;
use crate::problem::{Kind, Problem};

#[derive(Template)]
#[template(path = "event.html")]
struct One {
    p: Page,
    event: StoredEvent,
    data: String,
    deliveries: BTreeMap<FunctionId, Delivery>,
}

pub async fn one(State(app): State<App>, desk: Desk, ids: Ids) -> Answer {
    desk.caller.may(Scope::EventsRead)?;
    let (partner, id): (_, EventId) = (&desk.caller.partner, ids.get("eventId")?);
    let found = app.store.event(partner, EventName::Row(&id)).await?;
    let event = found.ok_or_else(|| Problem::not_found(Kind::EventNotFound, "Event"))?;
    let deliveries = app.store.deliveries(partner, &id).await?;
    let data = String::from_utf8_lossy(&event.data).into_owned();
    Ok(ok(&One { p: desk.page(&app, "event.title"), event, data, deliveries }))
}
