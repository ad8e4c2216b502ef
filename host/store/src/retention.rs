//! Deletes rows that have exceeded their retention, page by page in the order of their age.
//!
//! A page is found by the index of the age and deleted by its keys: on MariaDB a `DELETE` with a subquery reads the whole
//! table for each batch. Rows that must stay are passed over once in a sweep, so they do not block it.

use larder_model::ids::PartnerId;
use larder_model::time::Millis;

use crate::db::{Value, by_partner, one_of};
use crate::{Result, Store, args};

/// The position of a sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    at_ms: Millis,
    id: String,
}

/// A table whose rows have an age, and the condition under which they may be deleted.
pub struct Aged {
    table: &'static str,
    id: &'static str,
    goes: &'static str,
}

/// Routed events. Their keys are deleted with them: an event that is sent again after that counts as new. An event stays
/// while an execution, a dead letter or a fan-out may still need it.
pub const EVENTS: Aged = Aged {
    table: "events",
    id: "row_id",
    goes: "waiting = 0
        AND NOT EXISTS (SELECT 1 FROM executions WHERE executions.partner_id = events.partner_id AND executions.event_row = events.row_id
            AND (executions.due_at_ms IS NOT NULL OR executions.buried_at_ms IS NOT NULL))
        AND NOT EXISTS (SELECT 1 FROM fanouts WHERE fanouts.partner_id = events.partner_id AND fanouts.event_row = events.row_id
            AND fanouts.status IN ('running', 'paused'))",
};

/// The packed records of executions, all of which have ended.
pub const PACKS: Aged = Aged { table: "execution_packs", id: "id", goes: "1 = 1" };

/// Fan-outs that have ended.
pub const FANOUTS: Aged = Aged { table: "fanouts", id: "id", goes: "status IN ('completed', 'cancelled')" };

/// Bulk actions that have ended.
pub const BULK_ACTIONS: Aged = Aged { table: "bulk_actions", id: "id", goes: "is_open = 0" };

/// Keys of runs that have ended.
pub const RUN_KEYS: Aged = Aged { table: "run_keys", id: "id", goes: "1 = 1" };

/// Audit records.
pub const AUDIT_RECORDS: Aged = Aged { table: "audit_records", id: "id", goes: "1 = 1" };

impl Store {
    /// Checks up to `limit` rows after `cursor`, across all partners, and deletes the older ones that may be deleted.
    /// Returns their number and the next cursor; `None` if there are no more.
    pub async fn delete_aged(
        &self,
        aged: &Aged,
        before: Millis,
        cursor: &Cursor,
        limit: u32,
    ) -> Result<(u64, Option<Cursor>)> {
        let Aged { table, id, goes } = aged;
        let find = format!(
            "-- old_{table}
            SELECT created_at_ms, {id}, partner_id FROM {table} WHERE created_at_ms < ? AND created_at_ms >= ?
            AND (created_at_ms > ? OR {id} > ?) ORDER BY created_at_ms, {id} LIMIT {limit}"
        );
        let found = self.db.rows(&find, args![before, cursor.at_ms, cursor.at_ms, &cursor.id]).await?;
        let Some(last) = found.last() else { return Ok((0, None)) };
        let next = Cursor { at_ms: last.int(0)?, id: last.text(1)? };
        let keys: Vec<(PartnerId, String)> =
            found.iter().map(|row| Ok((row.id(2, "partner_id")?, row.text(1)?))).collect::<Result<_>>()?;
        let with = (keys, table, id, goes);
        let gone = self.db.tx("delete_aged", &with, |tx, (keys, table, id, goes)| {
            Box::pin(async move {
                let mut gone = 0;
                for (partner, ids) in by_partner(keys.iter().map(|(partner, id)| (partner, id))) {
                    let ids = one_of(ids.into_iter().map(Value::from));
                    let sql = format!(
                        "-- delete_old_{table}\n DELETE FROM {table} WHERE partner_id = ? AND {id} IN ({}) AND {goes}",
                        ids.marks
                    );
                    gone += tx.run(&sql, [args![partner], ids.args].concat()).await?.0;
                }
                Ok(gone)
            })
        });
        let gone = gone.await?;
        Ok((gone, (found.len() == limit as usize).then_some(next)))
    }
}
