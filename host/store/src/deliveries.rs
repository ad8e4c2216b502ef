//! The deliveries of an event: the functions that received it, and the states of their executions.

use std::collections::BTreeMap;

use larder_model::ids::{EventId, ExecutionId, FunctionId, PartnerId};
use larder_model::time::Millis;
use larder_model::{ExecutionStatus, StoredEvent, trigger_key};

use crate::db::{Row, Value, one_of};
use crate::{Result, Store, args, events};

/// The maximum number of executions of one event that are counted; there may be more.
pub const COUNTED_MAX: u32 = 10_000;

/// The number of places of a run's savings and events that are looked at for its events.
pub const EMITTED_MAX: usize = 64;

const COLUMNS: &str = "row_id, id, source, kind, subject, time, waiting, created_at_ms";

/// How an event is identified.
#[derive(Clone, Copy, Debug)]
pub enum EventName<'a> {
    Row(&'a EventId),
    /// Its source and id, which are unique together.
    SourceAndId(&'a str, &'a str),
}

/// An event without its data.
#[derive(Clone, Debug)]
pub struct EventHead {
    pub row: EventId,
    pub id: String,
    pub source: String,
    pub kind: String,
    pub subject: Option<String>,
    pub time: String,
    /// It has not been routed to functions yet.
    pub waiting: bool,
    pub created_at_ms: Millis,
}

/// The delivery of an event to one function.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// The function runs once per enrolment.
    pub per_enrolment: bool,
    /// Further enrolments may still receive it.
    pub expanding: bool,
    /// The number of executions in each state.
    pub executions: BTreeMap<&'static str, u64>,
}

impl Store {
    pub async fn event_head(&self, partner: &PartnerId, name: EventName<'_>) -> Result<Option<EventHead>> {
        let (column, value) = match name {
            EventName::Row(row) => ("row_id", row.to_string()),
            EventName::SourceAndId(source, id) => ("dedup_key", trigger_key(&[source, id])),
        };
        let sql = format!("-- event_head\n SELECT {COLUMNS} FROM events WHERE partner_id = ? AND {column} = ?");
        self.db.row(&sql, args![partner, value]).await?.as_ref().map(head).transpose()
    }

    /// The newest events, of one type or all, without their data: those before this row.
    pub async fn newest_events(
        &self,
        partner: &PartnerId,
        kind: Option<&str>,
        before: Option<&EventId>,
        limit: u32,
    ) -> Result<Vec<EventHead>> {
        let (mut more, mut values) = (String::new(), args![partner]);
        if let Some(kind) = kind {
            more += " AND kind = ?";
            values.push(kind.into());
        }
        if let Some(before) = before {
            more += " AND row_id < ?";
            values.push(before.into());
        }
        values.push(limit.into());
        let sql = format!(
            "-- newest_events
            SELECT {COLUMNS} FROM events WHERE partner_id = ?{more} ORDER BY row_id DESC LIMIT ?"
        );
        self.db.rows(&sql, values).await?.iter().map(head).collect()
    }

    /// The events among the first [`EMITTED_MAX`] savings and events of a run: their ids name the run and their place.
    pub async fn emitted_by(
        &self,
        partner: &PartnerId,
        function: &FunctionId,
        run: &ExecutionId,
    ) -> Result<Vec<EventHead>> {
        let source = StoredEvent::source_of(function);
        let key = |place: usize| Value::from(trigger_key(&[&source, &format!("{run}-{place}")]));
        let keys = one_of((1..=EMITTED_MAX).map(key));
        let sql = format!(
            "-- emitted_by
            SELECT {COLUMNS} FROM events WHERE partner_id = ? AND dedup_key IN ({}) ORDER BY row_id",
            keys.marks
        );
        self.db.rows(&sql, [args![partner], keys.args].concat()).await?.iter().map(head).collect()
    }

    /// An event with its data.
    pub async fn event(&self, partner: &PartnerId, name: EventName<'_>) -> Result<Option<StoredEvent>> {
        let Some(head) = self.event_head(partner, name).await? else { return Ok(None) };
        Ok(self.events([(partner, &head.row)]).await?.pop())
    }

    /// Grouped by function.
    pub async fn deliveries(&self, partner: &PartnerId, event: &EventId) -> Result<BTreeMap<FunctionId, Delivery>> {
        const FANOUTS: &str = "-- fanouts_of_event
            SELECT function_id, CASE WHEN status IN ('running', 'paused') THEN 1 ELSE 0 END FROM fanouts WHERE partner_id = ? AND event_row = ?";
        let executions = format!(
            "-- executions_of_event
            SELECT function_id, status, COUNT(*) FROM (SELECT function_id, status FROM executions
                WHERE partner_id = ? AND event_row = ? LIMIT {COUNTED_MAX}) AS counted GROUP BY function_id, status"
        );
        let packed = format!(
            "-- packed_executions_of_event
            SELECT function_id, CAST(SUM(runs) AS SIGNED INTEGER) FROM (SELECT function_id, runs FROM execution_packs
                WHERE partner_id = ? AND event_row = ? LIMIT {COUNTED_MAX}) AS counted GROUP BY function_id"
        );
        let mut all: BTreeMap<FunctionId, Delivery> = BTreeMap::new();
        for row in self.db.rows(FANOUTS, args![partner, event]).await? {
            let expanding = row.flag(1)?;
            all.insert(
                row.id(0, "fanouts.function_id")?,
                Delivery { per_enrolment: true, expanding, ..Delivery::default() },
            );
        }
        // All of them are completed.
        for row in self.db.rows(&packed, args![partner, event]).await? {
            let of = all.entry(row.id(0, "execution_packs.function_id")?).or_default();
            *of.executions.entry(ExecutionStatus::Completed.word()).or_default() += row.int(1)? as u64;
        }
        for row in self.db.rows(&executions, args![partner, event]).await? {
            let status = row.parse(1, "executions.status", ExecutionStatus::from_word)?;
            let of = all.entry(row.id(0, "executions.function_id")?).or_default();
            *of.executions.entry(status.word()).or_default() += row.int(2)? as u64;
        }
        Ok(all)
    }

    /// Returns, for each of these events whose source and id are already stored, whether its content differs from the
    /// stored event.
    pub async fn differ(&self, events: &[&StoredEvent]) -> Result<Vec<bool>> {
        const STORED: &str = "-- content_of_event
            SELECT kind, subject, data_content_type, data FROM events WHERE partner_id = ? AND dedup_key = ?";
        let mut differ = Vec::with_capacity(events.len());
        for event in events {
            let found = self.db.row(STORED, args![&event.partner, events::key(event)]).await?;
            differ.push(match found {
                Some(row) => {
                    row.text(0)? != event.kind
                        || row.maybe_text(1)? != event.subject
                        || row.text(2)? != event.data_content_type
                        || row.bytes(3)? != event.data[..]
                }
                None => false,
            });
        }
        Ok(differ)
    }
}

fn head(row: &Row) -> Result<EventHead> {
    Ok(EventHead {
        row: row.id(0, "events.row_id")?,
        id: row.text(1)?,
        source: row.text(2)?,
        kind: row.text(3)?,
        subject: row.maybe_text(4)?,
        time: row.text(5)?,
        waiting: row.flag(6)?,
        created_at_ms: row.int(7)?,
    })
}
