//! Accepted events. An event is first stored under its source and id, and routed to functions later.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use larder_model::ids::{EventId, PartnerId};
use larder_model::{Fanout, StoredEvent, json, trigger_key};

use crate::db::{Lock, Row, Tx, Value, by_partner, one_of};
use crate::executions::{self, NewExecution};
use crate::{Error, Result, Store, args, fanouts, functions};

const COLUMNS: &str = "partner_id, row_id, dedup_key, id, source, kind, subject, time, data_content_type, data, depth, waiting, created_at_ms, attributes, root";

/// The result of storing one event: its row, and whether it was already stored.
#[derive(Clone, Debug)]
pub struct NewEvent {
    pub row: EventId,
    pub duplicate: bool,
}

/// The attributes of an event that decide its routing.
#[derive(Clone, Debug)]
pub struct WaitingEvent {
    pub partner: PartnerId,
    pub row: EventId,
    pub kind: String,
    pub subject: Option<String>,
}

impl Store {
    /// Stores all events or none. An event whose source and id the partner has already sent keeps its first row and
    /// content.
    pub async fn insert_events(&self, events: &[StoredEvent]) -> Result<Vec<NewEvent>> {
        match self.insert_events_once(events).await {
            // Another process stored one of them at the same moment, or the answer of the commit was lost: now it is
            // stored.
            Err(Error::Conflict { .. } | Error::Unknown(_)) => self.insert_events_once(events).await,
            done => done,
        }
    }

    async fn insert_events_once(&self, events: &[StoredEvent]) -> Result<Vec<NewEvent>> {
        self.db.tx("insert_events", events, |tx, events| Box::pin(insert_unknown(tx, events))).await
    }

    /// Returns those of these events that exist.
    pub async fn events(&self, keys: impl IntoIterator<Item = (&PartnerId, &EventId)>) -> Result<Vec<StoredEvent>> {
        let mut found = Vec::new();
        for (partner, rows) in by_partner(keys) {
            let rows = one_of(rows.into_iter().map(Value::from));
            let sql = format!(
                "-- find_events
                SELECT partner_id, row_id, id, source, kind, subject, time, data_content_type, data, depth, created_at_ms, attributes, root
                FROM events WHERE partner_id = ? AND row_id IN ({})",
                rows.marks
            );
            for row in self.db.rows(&sql, [args![partner], rows.args].concat()).await? {
                found.push(event(&row)?);
            }
        }
        Ok(found)
    }

    /// Returns a partner's events that have not been routed to functions, oldest first.
    pub async fn waiting_events(&self, partner: &PartnerId, limit: u32) -> Result<Vec<WaitingEvent>> {
        const WAITING: &str = "-- waiting_events
            SELECT partner_id, row_id, kind, subject FROM events /*! FORCE INDEX (events_by_waiting) */
            WHERE waiting = 1 AND partner_id = ? ORDER BY created_at_ms LIMIT ?";
        let event = |row: &Row| {
            Ok(WaitingEvent {
                partner: row.id(0, "events.partner_id")?,
                row: row.id(1, "events.row_id")?,
                kind: row.text(2)?,
                subject: row.maybe_text(3)?,
            })
        };
        self.db.rows(WAITING, args![partner, limit]).await?.iter().map(event).collect()
    }

    /// Marks events as routed and writes what they trigger, in one transaction. `versions` are the snapshots that decided
    /// the routing: if a partner has changed since, nothing is written. Events that others are routing at this moment are
    /// skipped.
    pub async fn route_events(
        &self,
        events: &[RoutedEvent<'_>],
        versions: &[(&PartnerId, Option<i64>)],
    ) -> Result<Routed> {
        const VERSION: &str = "-- partner_version
            SELECT version FROM partners WHERE id = ?";
        self.db
            .tx("route_events", &(events, versions), |tx, (events, versions)| {
                Box::pin(async move {
                    for (partner, version) in *versions {
                        let now = tx.row(VERSION, args![*partner]).await?.map(|row| row.int(0)).transpose()?;
                        if now != *version {
                            return Ok(Routed::Stale((*partner).clone()));
                        }
                    }
                    let ours = take_waiting(tx, events).await?;
                    let mut there = HashMap::new();
                    let (mut executions, mut fanouts) = (Vec::new(), Vec::new());
                    for routed in events.iter().filter(|routed| ours.contains(&routed.event.row)) {
                        // A function may have been deleted since it was matched.
                        let of = routed.executions.iter().map(|new| (&new.partner, &new.function));
                        for key in of.chain(routed.fanouts.iter().map(|fanout| (&fanout.partner, &fanout.function))) {
                            if let Entry::Vacant(entry) = there.entry(key) {
                                entry.insert(functions::exists(tx, key.0, key.1).await?);
                            }
                        }
                        executions.extend(
                            routed.executions.iter().filter(|new| there[&(&new.partner, &new.function)]).cloned(),
                        );
                        fanouts.extend(routed.fanouts.iter().filter(|f| there[&(&f.partner, &f.function)]).cloned());
                    }
                    executions::insert_new(tx, &executions).await?;
                    fanouts::insert_new(tx, &fanouts).await?;
                    Ok(Routed::Done(ours.len()))
                })
            })
            .await
    }
}

/// An event with the work that it triggers.
pub struct RoutedEvent<'a> {
    pub event: &'a WaitingEvent,
    pub executions: Vec<NewExecution>,
    pub fanouts: Vec<Fanout>,
}

/// The result of routing events.
pub enum Routed {
    /// This many were routed.
    Done(usize),
    /// None was routed: this partner has changed meanwhile.
    Stale(PartnerId),
}

/// Marks events as routed, and returns those that nobody else has routed.
async fn take_waiting(tx: &mut Tx<'_>, events: &[RoutedEvent<'_>]) -> Result<HashSet<EventId>> {
    let mut ours = HashSet::new();
    for (partner, rows) in by_partner(events.iter().map(|routed| (&routed.event.partner, &routed.event.row))) {
        let rows = one_of(rows.into_iter().map(Value::from));
        let sql = format!(
            "-- lock_waiting_events
            SELECT row_id FROM events WHERE partner_id = ? AND row_id IN ({}) AND waiting = 1",
            rows.marks
        );
        let found = tx.locked(Lock::Skip, &sql, [args![partner], rows.args].concat()).await?;
        let found = found.iter().map(|row| row.id(0, "events.row_id")).collect::<Result<Vec<EventId>>>()?;
        if found.is_empty() {
            continue;
        }
        let rows = one_of(found.iter().map(Value::from));
        let sql = format!(
            "-- route_events
            UPDATE events SET waiting = 0 WHERE partner_id = ? AND row_id IN ({})",
            rows.marks
        );
        let _ = tx.run(&sql, [args![partner], rows.args].concat()).await?;
        ours.extend(found);
    }
    Ok(ours)
}

/// Stores those events whose source and id their partner has not stored.
pub(super) async fn insert_unknown(tx: &mut Tx<'_>, events: &[StoredEvent]) -> Result<Vec<NewEvent>> {
    let keys: Vec<String> = events.iter().map(key).collect();
    let mut known: HashMap<(PartnerId, String), EventId> = HashMap::new();
    for (partner, keys) in by_partner(events.iter().zip(&keys).map(|(event, key)| (&event.partner, key))) {
        let keys = one_of(keys.into_iter().map(Value::from));
        let sql = format!(
            "-- find_event_keys
            SELECT dedup_key, row_id FROM events WHERE partner_id = ? AND dedup_key IN ({})",
            keys.marks
        );
        for row in tx.rows(&sql, [args![partner], keys.args].concat()).await? {
            known.insert((partner.clone(), row.text(0)?), row.id(1, "events.row_id")?);
        }
    }
    let (mut answers, mut new) = (Vec::with_capacity(events.len()), Vec::new());
    for (event, key) in events.iter().zip(keys) {
        answers.push(match known.entry((event.partner.clone(), key)) {
            Entry::Occupied(known) => NewEvent { duplicate: *known.get() != event.row, row: known.get().clone() },
            Entry::Vacant(entry) => {
                entry.insert(event.row.clone());
                new.push(row(event));
                NewEvent { row: event.row.clone(), duplicate: false }
            }
        });
    }
    insert(tx, new).await?;
    Ok(answers)
}

pub(super) fn key(event: &StoredEvent) -> String {
    trigger_key(&[&event.source, &event.id])
}

pub(super) fn row(event: &StoredEvent) -> Vec<Value> {
    let key = key(event);
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
        &event.data[..],
        event.depth,
        true,
        event.created_at_ms,
        (!event.attributes.is_empty()).then(|| json(&event.attributes)),
        event.root.as_ref()
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
        data: row.bytes(8)?.into(),
        depth: row.int(9)? as u32,
        root: row.maybe_text(12)?,
        created_at_ms: row.int(10)?,
        attributes: match row.maybe_text(11)? {
            None => BTreeMap::new(),
            Some(_) => row.json(11, "events.attributes")?,
        },
    })
}
