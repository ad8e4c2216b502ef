//! Accepted events. An event is stored first, under the key of its source and id, and handed to functions later.

use super::db::{Row, Tx, Value};
use super::executions::{self, NewExecution};
use super::{Result, Store};
use super::{fanouts, functions};
use crate::args;
use crate::clock::Millis;
use crate::ids::{EventId, PartnerId};
use crate::model::{Fanout, StoredEvent, trigger_key};

const COLUMNS: &str = "partner_id, row_id, dedup_key, id, source, kind, subject, time, data_content_type, data, depth, waiting, created_at_ms";
const FIND_KEY: &str = "-- find_event_key
    SELECT row_id FROM events WHERE partner_id = ? AND dedup_key = ?";

/// The answer for one event: its row, and whether it was there before.
#[derive(Clone, Debug)]
pub struct NewEvent {
    pub row: EventId,
    pub duplicate: bool,
}

/// What of an event decides to whom it goes.
#[derive(Clone, Debug)]
pub struct WaitingEvent {
    pub partner: PartnerId,
    pub row: EventId,
    pub kind: String,
    pub subject: Option<String>,
}

impl Store {
    /// Stores events, all or none. One whose source and id the partner sent before keeps its first row and content.
    pub async fn insert_events(&self, events: &[StoredEvent]) -> Result<Vec<NewEvent>> {
        self.db
            .tx("insert_events", events, |tx, events| {
                Box::pin(async move {
                    let mut answers = Vec::with_capacity(events.len());
                    for event in events {
                        let row = row(event);
                        let known = tx.row(FIND_KEY, vec![row[0].clone(), row[2].clone()]).await?;
                        answers.push(match known {
                            Some(known) => NewEvent { row: known.id(0, "events.row_id")?, duplicate: true },
                            None => {
                                insert(tx, vec![row]).await?;
                                NewEvent { row: event.row.clone(), duplicate: false }
                            }
                        });
                    }
                    Ok(answers)
                })
            })
            .await
    }

    pub async fn event(&self, partner: &PartnerId, row_id: &EventId) -> Result<Option<StoredEvent>> {
        const FIND: &str = "-- find_event
            SELECT partner_id, row_id, id, source, kind, subject, time, data_content_type, data, depth, created_at_ms
            FROM events WHERE partner_id = ? AND row_id = ?";
        self.db.row(FIND, args![partner, row_id]).await?.as_ref().map(event).transpose()
    }

    /// Events that were not handed to functions yet, of all partners, oldest first.
    pub async fn waiting_events(&self, limit: u32) -> Result<Vec<WaitingEvent>> {
        let sql = format!(
            "-- waiting_events
            SELECT partner_id, row_id, kind, subject FROM events WHERE waiting = 1 ORDER BY created_at_ms LIMIT {limit}"
        );
        let event = |row: &Row| {
            Ok(WaitingEvent {
                partner: row.id(0, "events.partner_id")?,
                row: row.id(1, "events.row_id")?,
                kind: row.text(2)?,
                subject: row.maybe_text(3)?,
            })
        };
        self.db.rows(&sql, vec![]).await?.iter().map(event).collect()
    }

    /// Removes up to `limit` events, and as many fan-outs, that are older and were handed over, of all partners. Their
    /// keys go with them: an event sent again after that counts as new.
    pub async fn delete_old_events(&self, before: Millis, limit: u32) -> Result<u64> {
        let events = format!(
            "-- delete_old_events
            DELETE FROM events WHERE row_id IN (SELECT row_id FROM (SELECT row_id FROM events WHERE waiting = 0 AND created_at_ms < ? LIMIT {limit}) AS batch)"
        );
        let fanouts = format!(
            "-- delete_old_fanouts
            DELETE FROM fanouts WHERE id IN (SELECT id FROM (SELECT id FROM fanouts WHERE waiting = 0 AND created_at_ms < ? LIMIT {limit}) AS batch)"
        );
        self.db
            .tx("delete_old_events", &(events, fanouts, before), |tx, (events, fanouts, before)| {
                Box::pin(async move {
                    Ok(tx.run(events, args![*before]).await?.0 + tx.run(fanouts, args![*before]).await?.0)
                })
            })
            .await
    }

    /// Hands an event over: what it triggers and that it did, in one transaction. `false` if somebody else did.
    pub async fn route_event(
        &self,
        event: &WaitingEvent,
        executions: &[NewExecution],
        fanouts: &[Fanout],
    ) -> Result<bool> {
        const DONE: &str = "-- route_event
            UPDATE events SET waiting = 0 WHERE partner_id = ? AND row_id = ? AND waiting = 1";
        self.db
            .tx("route_event", &(event, executions, fanouts), |tx, (event, executions, fanouts)| {
                Box::pin(async move {
                    if tx.run(DONE, args![&event.partner, &event.row]).await?.0 == 0 {
                        return Ok(false);
                    }
                    // A function may have been deleted since it was found to listen.
                    for new in *executions {
                        if functions::exists(tx, &new.partner, &new.function).await? {
                            executions::insert_new(tx, std::slice::from_ref(new)).await?;
                        }
                    }
                    for fanout in *fanouts {
                        if functions::exists(tx, &fanout.partner, &fanout.function).await? {
                            fanouts::insert_new(tx, std::slice::from_ref(fanout)).await?;
                        }
                    }
                    Ok(true)
                })
            })
            .await
    }
}

pub(super) fn row(event: &StoredEvent) -> Vec<Value> {
    let key = trigger_key(&[&event.source, &event.id]);
    args![
        &event.partner,
        &event.row,
        key,
        &event.id,
        &event.source,
        &event.kind,
        event.subject.as_ref(),
        &event.time,
        &event.data_content_type,
        event.data.as_slice(),
        event.depth,
        true,
        event.created_at_ms
    ]
}

pub(super) async fn insert(tx: &mut Tx<'_>, rows: Vec<Vec<Value>>) -> Result<()> {
    tx.insert(&format!("-- insert_events\n INSERT INTO events ({COLUMNS})"), rows).await
}

fn event(row: &Row) -> Result<StoredEvent> {
    Ok(StoredEvent {
        partner: row.id(0, "events.partner_id")?,
        row: row.id(1, "events.row_id")?,
        id: row.text(2)?,
        source: row.text(3)?,
        kind: row.text(4)?,
        subject: row.maybe_text(5)?,
        time: row.text(6)?,
        data_content_type: row.text(7)?,
        data: row.bytes(8)?,
        depth: row.int(9)? as u32,
        created_at_ms: row.int(10)?,
    })
}
