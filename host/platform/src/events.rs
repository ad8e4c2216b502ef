//! Events that partners send. They are routed to functions by [`crate::jobs::events`].

use larder_model::StoredEvent;
use larder_model::cloudevents::CloudEvent;
use larder_model::ids::{EventId, PartnerId};
use larder_signals::Work;
use larder_signals::crash::{self, Point};
use larder_store::EventName;
use metrics::counter;

use crate::common::Common;
use crate::directory::Tenant;
use crate::error::{Error, Result};
use crate::{backlog, stored};

/// An event that is stored.
pub struct Accepted {
    /// As it was sent.
    pub event: StoredEvent,
    /// The row under which it is stored: an earlier one if the event is a duplicate.
    pub row: EventId,
    /// Its source and id were stored before.
    pub duplicate: bool,
    /// It is a duplicate with other content.
    pub differs: bool,
}

/// Stores events, all or none of them, and has them routed. The functions that they reach run later.
pub async fn accept(common: &Common, tenant: &Tenant, events: Vec<CloudEvent>) -> Result<Vec<Accepted>> {
    fit(common, tenant, &events).await?;
    backlog::admit_events(common, tenant, events.len()).await??;
    let rows: Vec<StoredEvent> = events.into_iter().map(|event| row(common, &tenant.partner.id, event)).collect();
    let bytes = rows.iter().map(|event| event.data.len() as u64).sum();
    stored::admit(common, &tenant.stored, bytes)?;
    let answers = common.store.insert_events(&rows).await?;
    tenant.stored.add(bytes);
    crash::point(Point::EventStored);
    common.signals.push(Work::Events);
    let duplicates = || rows.iter().zip(&answers).filter(|(_, answer)| answer.duplicate).map(|(event, _)| event);
    let mut differ = common.store.differ(&duplicates().collect::<Vec<_>>()).await?.into_iter();
    let accepted = rows.into_iter().zip(answers).map(|(event, answer)| Accepted {
        event,
        row: answer.row,
        duplicate: answer.duplicate,
        differs: answer.duplicate && differ.next().unwrap_or(false),
    });
    Ok(accepted.collect())
}

/// Refuses events whose data are not what the functions that take them say. One that was accepted before stays accepted, whatever
/// has been said since.
async fn fit(common: &Common, tenant: &Tenant, events: &[CloudEvent]) -> Result<()> {
    for (at, event) in events.iter().enumerate() {
        let Err(unfit) = tenant.event_rules.check(&event.kind, &event.data_content_type, &event.data) else { continue };
        let name = EventName::SourceAndId(&event.source, &event.id);
        if common.store.event_head(&tenant.partner.id, name).await?.is_some() {
            continue;
        }
        counter!("larder_events_unfit_total").increment(1);
        return Err(Error::EventUnfit {
            name: if events.len() == 1 { "data".into() } else { format!("events[{at}].data") },
            why: unfit.to_string(),
            id: event.id.clone(),
            kind: event.kind.clone(),
        });
    }
    Ok(())
}

fn row(common: &Common, partner: &PartnerId, event: CloudEvent) -> StoredEvent {
    StoredEvent {
        partner: partner.clone(),
        row: EventId::generate(&common.clock),
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
        created_at_ms: common.clock.now_ms(),
    }
}
