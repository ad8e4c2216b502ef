//! Events in, and what became of them.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use larder_model::ids::EventId;
use larder_model::time::instant;
use larder_model::{ExecutionStatus, Per, StoredEvent, cloudevents};
use larder_platform::common::Common;
use larder_platform::events;
use larder_platform::idempotency_keys::Idempotency;
use larder_store::{COUNTED_MAX, Delivery, EventHead, EventName};
use larder_wire::datetime;
use larder_wire::events::{Accepted, AcceptedEvent, Counts, DeliveryObject, EventObject};
use larder_wire::scopes::Scope;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::idempotency::{self, Begun, Made};
use crate::api::queries::pairs;
use crate::api::requests::{self, Ids};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create)).routes(routes!(get)).routes(routes!(content))
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
async fn create(
    State(keys): State<Idempotency>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.may(Scope::EventsWrite)?;
    let body = requests::bytes(body, keys.settings.server.body_bytes_max).await?;
    let attributes = attributes(&headers);
    let parts = [b"POST".as_slice(), b"/v1/events", &attributes, &body];
    let ticket = match idempotency::begin(&keys, &caller, None, &headers, &parts).await? {
        Begun::Answered(response) => return Ok(response),
        Begun::Go(ticket) => ticket,
    };
    let accepted = accept(&keys, &caller, &headers, &body).await;
    ticket.end(&keys, accepted.map(|accepted| Made::now(StatusCode::ACCEPTED, accepted))).await
}

/// The headers that are part of an event.
fn attributes(headers: &HeaderMap) -> Vec<u8> {
    let is_attribute =
        |name: &HeaderName| name == header::CONTENT_TYPE || name.as_str().starts_with(cloudevents::PREFIX);
    let mut lines: Vec<Vec<u8>> = headers
        .iter()
        .filter(|(name, _)| is_attribute(name))
        .map(|(name, value)| [name.as_str().as_bytes(), b":", value.as_bytes(), b"\n"].concat())
        .collect();
    lines.sort();
    lines.concat()
}

/// Parses and accepts what was sent.
pub async fn accept(common: &Common, caller: &Caller, headers: &HeaderMap, body: &[u8]) -> Result<Accepted, Problem> {
    let parsed = cloudevents::parse(headers, body, instant(common.clock.now_ms()));
    let parsed = parsed.map_err(|err| Problem::argument(&err.name(), &err.why))?;
    let accepted = events::accept(common, &caller.tenant, parsed).await?.into_iter().map(|accepted| AcceptedEvent {
        row: accepted.row.into(),
        id: accepted.event.id,
        source: accepted.event.source,
        duplicate: accepted.duplicate,
        differs: accepted.differs,
    });
    let events: Vec<AcceptedEvent> = accepted.collect();
    Ok(Accepted { total: events.len(), events })
}

fn counts(delivery: &Delivery) -> Counts {
    let count = |status: ExecutionStatus| delivery.executions.get(status.word()).copied().unwrap_or(0);
    Counts {
        waiting: count(ExecutionStatus::Waiting) + count(ExecutionStatus::Scheduled),
        processing: count(ExecutionStatus::Processing),
        completed: count(ExecutionStatus::Completed),
        failed: count(ExecutionStatus::Failed),
    }
}

/// What became of an event: whom it reached and how far they are. Needs `events.read` or `events.write`.
#[utoipa::path(get, path = "/v1/events/{eventId}", tag = "events", operation_id = "getEvent",
    params(("source" = Option<String>, Query,
        description = "With it, `eventId` is the event's own id at this source; without, its `$id`")),
    responses((status = 200, body = EventObject)))]
async fn get(
    State(common): State<Common>,
    caller: Caller,
    ids: Ids,
    RawQuery(query): RawQuery,
) -> Result<Json<EventObject>, Problem> {
    caller.may(Scope::EventsRead)?;
    let named = Named::of(&ids, query.as_deref())?;
    let head = common.store.event_head(&caller.partner, named.name()).await?;
    let head = head.ok_or_else(|| Problem::not_found(Kind::EventNotFound, "Event"))?;
    let deliveries = common.store.deliveries(&caller.partner, &head.row).await?;
    let expanding = deliveries.values().any(|delivery| delivery.expanding);
    let deliveries = deliveries.into_iter().map(|(function, delivery)| {
        let executions = counts(&delivery);
        DeliveryObject {
            function_id: function.into(),
            per: if delivery.per_enrolment { Per::Enrolment } else { Per::Event }.word().into(),
            enrolments: if delivery.per_enrolment { executions.all() } else { 0 },
            executions,
        }
    });
    Ok(Json(event(head, expanding, deliveries.collect())))
}

/// An event as it was accepted: a CloudEvent in structured mode, with its data as they were sent. Needs `events.data`, which no
/// other scope includes. Each read is logged with the key that made it.
#[utoipa::path(get, path = "/v1/events/{eventId}/content", tag = "events", operation_id = "getEventContent",
    params(("source" = Option<String>, Query,
        description = "With it, `eventId` is the event's own id at this source; without, its `$id`")),
    responses((status = 200, content_type = "application/cloudevents+json", body = serde_json::Value)))]
async fn content(
    State(common): State<Common>,
    caller: Caller,
    ids: Ids,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, Problem> {
    caller.may(Scope::EventsData)?;
    let named = Named::of(&ids, query.as_deref())?;
    let event = common.store.event(&caller.partner, named.name()).await?;
    let event = event.ok_or_else(|| Problem::not_found(Kind::EventNotFound, "Event"))?;
    data_were_read(&caller, &event);
    Ok(([(header::CONTENT_TYPE, "application/cloudevents+json")], cloudevents::written(&event)))
}

/// Each read of what an event says is logged.
pub fn data_were_read(caller: &Caller, event: &StoredEvent) {
    let key = caller.key.as_ref().map_or("", |key| key.as_str());
    tracing::info!(partner.id = %caller.partner, event.row = %event.row, key.id = key, "the data of event {} were read", event.row);
}

/// How a request names an event.
enum Named {
    Row(EventId),
    SourceAndId(String, String),
}

impl Named {
    fn of(ids: &Ids, query: Option<&str>) -> Result<Named, Problem> {
        let source = pairs(query.unwrap_or_default()).find(|(name, _)| name == "source").map(|(_, source)| source);
        Ok(match source {
            Some(source) => Named::SourceAndId(source, ids.text("eventId")?.to_owned()),
            None => Named::Row(ids.get("eventId")?),
        })
    }

    fn name(&self) -> EventName<'_> {
        match self {
            Named::Row(row) => EventName::Row(row),
            Named::SourceAndId(source, id) => EventName::SourceAndId(source, id),
        }
    }
}

fn event(head: EventHead, expanding: bool, deliveries: Vec<DeliveryObject>) -> EventObject {
    let executions = deliveries.iter().fold(Counts::default(), |sum, delivery| sum.plus(delivery.executions));
    EventObject {
        row: head.row.into(),
        created_at: datetime(head.created_at_ms),
        id: head.id,
        source: head.source,
        r#type: head.kind,
        subject: head.subject.unwrap_or_default(),
        time: head.time,
        status: match (head.waiting, expanding || executions.open() > 0) {
            (true, _) => "waiting",
            (false, true) => "processing",
            (false, false) => "done",
        }
        .into(),
        functions: deliveries.len(),
        enrolments: deliveries.iter().map(|delivery| delivery.enrolments).sum(),
        more: executions.all() >= u64::from(COUNTED_MAX),
        executions,
        deliveries,
    }
}
