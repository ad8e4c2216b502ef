//! What is too old goes, a page at a time, in the order of its age.
//!
//! A page is found by the index of the age and removed by its keys: on MariaDB a `DELETE` with a subquery reads the whole
//! table for each batch. What has to stay is stepped over once in a sweep, so it holds nothing up.

use larder_model::ids::PartnerId;
use larder_model::time::Millis;

use crate::db::{Value, by_partner, one_of};
use crate::{Result, Store, args};

/// How far a sweep has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    at_ms: Millis,
    id: String,
}

/// A table whose rows have an age, and what of it may go.
pub struct Aged {
    table: &'static str,
    id: &'static str,
    goes: &'static str,
}

/// Events that were handed over. Their keys go with them: an event sent again after that counts as new. One goes while an
/// execution or a fan-out may still need it, dead letters among them.
pub const EVENTS: Aged = Aged {
    table: "events",
    id: "row_id",
    goes: "waiting = 0
        AND NOT EXISTS (SELECT 1 FROM executions WHERE executions.partner_id = events.partner_id AND executions.event_row = events.row_id
            AND (executions.due_at_ms IS NOT NULL OR executions.buried_at_ms IS NOT NULL))
        AND NOT EXISTS (SELECT 1 FROM fanouts WHERE fanouts.partner_id = events.partner_id AND fanouts.event_row = events.row_id
            AND fanouts.waiting = 1)",
};

/// Fan-outs that have come to their end.
pub const FANOUTS: Aged = Aged { table: "fanouts", id: "id", goes: "waiting = 0" };

impl Store {
    /// Looks at up to `limit` rows behind `cursor`, of all partners, and removes those that are older and need not stay. Gives
    /// how many, and the place behind them; `None`: there are no more.
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
