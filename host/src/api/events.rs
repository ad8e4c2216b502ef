//! Events in.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::idempotency::{self, Begun, Made};
use super::problem::Problem;
use super::wire;
use crate::app::App;
use crate::auth::{Caller, Scope};
use crate::backlog;
use crate::clock::instant;
use crate::crash::{self, Point};
use crate::events;
use crate::ids::EventId;
use crate::model::StoredEvent;
use crate::queue::Work;
use crate::stored;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create))
}

#[derive(Serialize, ToSchema)]
struct AcceptedEvent {
    #[serde(rename = "$id")]
    row: String,
    id: String,
    source: String,
    /// An event with this source and id was accepted before; this one changes nothing, and `$id` is that one's.
    duplicate: bool,
}

#[derive(Serialize, ToSchema)]
struct Accepted {
    total: usize,
    events: Vec<AcceptedEvent>,
}

/// Accepts CloudEvents 1.0: one in binary or structured mode, or a batch of up to 1000, all or none.
#[utoipa::path(post, path = "/v1/events", tag = "events", operation_id = "createEvents",
    request_body(content(
        (serde_json::Value = "application/cloudevents+json"),
        (Vec<serde_json::Value> = "application/cloudevents-batch+json"),
        (String = "application/octet-stream"),
    )),
    params(("Idempotency-Key" = Option<String>, Header, description = idempotency::DESCRIPTION)),
    responses((status = 202, body = Accepted)))]
async fn create(State(app): State<App>, caller: Caller, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    caller.may(Scope::EventsWrite)?;
    let body = wire::bytes(body, app.settings.server.body_bytes_max).await?;
    let attributes = attributes(&headers);
    let parts = [b"POST".as_slice(), b"/v1/events", &attributes, &body];
    let ticket = match idempotency::begin(&app, &caller, None, &headers, &parts).await? {
        Begun::Answered(response) => return Ok(response),
        Begun::Go(ticket) => ticket,
    };
    let accepted = accept(&app, &caller, &headers, &body).await;
    ticket.end(&app, accepted.map(|accepted| Made::now(StatusCode::ACCEPTED, accepted))).await
}

/// The headers that are part of an event.
fn attributes(headers: &HeaderMap) -> Vec<u8> {
    let is_attribute = |name: &HeaderName| name == header::CONTENT_TYPE || name.as_str().starts_with(events::PREFIX);
    let mut lines: Vec<Vec<u8>> = headers
        .iter()
        .filter(|(name, _)| is_attribute(name))
        .map(|(name, value)| [name.as_str().as_bytes(), b":", value.as_bytes(), b"\n"].concat())
        .collect();
    lines.sort();
    lines.concat()
}

async fn accept(app: &App, caller: &Caller, headers: &HeaderMap, body: &[u8]) -> Result<Accepted, Problem> {
    let now = app.clock.now_ms();
    let parsed = events::parse(headers, body, instant(now)).map_err(|err| Problem::argument(&err.name(), &err.why))?;
    backlog::admit_events(app, &caller.tenant, parsed.len()).await??;
    let rows: Vec<StoredEvent> = parsed
        .into_iter()
        .map(|event| StoredEvent {
            partner: caller.partner.clone(),
            row: EventId::generate(&app.clock),
            id: event.id,
            source: event.source,
            kind: event.kind,
            subject: event.subject,
            time: event.time,
            data_content_type: event.data_content_type,
            data: event.data.into(),
            attributes: event.attributes,
            depth: 0,
            root: None,
            created_at_ms: now,
        })
        .collect();
    let bytes = rows.iter().map(|event| event.data.len() as u64).sum();
    stored::admit(app, &caller.tenant.stored, bytes)?;
    let answers = app.store.insert_events(&rows).await?;
    caller.tenant.stored.add(bytes);
    crash::point(Point::EventStored);
    app.queue.push(Work::Events);
    let accepted = rows.into_iter().zip(answers).map(|(event, answer)| AcceptedEvent {
        row: answer.row.into(),
        id: event.id,
        source: event.source,
        duplicate: answer.duplicate,
    });
    let events: Vec<AcceptedEvent> = accepted.collect();
    Ok(Accepted { total: events.len(), events })
}
