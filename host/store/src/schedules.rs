//! The next firing time of each scheduled function. A row exists only while the schedule is armed.

use larder_model::Fanout;
use larder_model::ids::{FunctionId, PartnerId};
use larder_model::time::Millis;

use crate::db::Row;
use crate::executions::{self, NewExecution};
use crate::{Result, Store, args, fanouts};

impl Store {
    /// Arms the schedule for `next`, or disarms it.
    pub async fn set_schedule(&self, partner: &PartnerId, function: &FunctionId, next: Option<Millis>) -> Result<()> {
        const DELETE: &str = "-- delete_schedule
            DELETE FROM schedules WHERE partner_id = ? AND function_id = ?";
        self.db
            .tx("set_schedule", &(partner, function, next), |tx, (partner, function, next)| {
                Box::pin(async move {
                    match next {
                        Some(next) => {
                            let row = args![*partner, *function, *next];
                            tx.upsert("schedules", &["partner_id", "function_id"], &["next_at_ms"], vec![row]).await
                        }
                        None => tx.run(DELETE, args![*partner, *function]).await.map(|_| ()),
                    }
                })
            })
            .await
    }

    pub async fn schedule(&self, partner: &PartnerId, function: &FunctionId) -> Result<Option<Millis>> {
        const FIND: &str = "-- find_schedule
            SELECT next_at_ms FROM schedules WHERE partner_id = ? AND function_id = ?";
        self.db.row(FIND, args![partner, function]).await?.map(|row| row.int(0)).transpose()
    }

    /// All armed schedules, across all partners.
    pub async fn schedules(&self) -> Result<Vec<(PartnerId, FunctionId, Millis)>> {
        const ALL: &str = "-- all_schedules
            SELECT partner_id, function_id, next_at_ms FROM schedules";
        self.db.rows(ALL, vec![]).await?.iter().map(armed).collect()
    }

    /// A partner's schedules that are due, the most overdue first.
    pub async fn due_schedules(
        &self,
        partner: &PartnerId,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<(PartnerId, FunctionId, Millis)>> {
        const DUE: &str = "-- due_schedules
            SELECT partner_id, function_id, next_at_ms FROM schedules WHERE partner_id = ? AND next_at_ms <= ?
            ORDER BY next_at_ms LIMIT ?";
        self.db.rows(DUE, args![partner, now, limit]).await?.iter().map(armed).collect()
    }

    /// Returns when the next schedule fires after `after`, across all partners.
    pub async fn next_schedule(&self, after: Millis) -> Result<Option<Millis>> {
        const NEXT: &str = "-- next_schedule
            SELECT MIN(next_at_ms) FROM schedules WHERE next_at_ms > ?";
        self.db.row(NEXT, args![after]).await?.map_or(Ok(None), |row| row.maybe_int(0))
    }

    /// Fires once: writes what the firing triggers and the next time in one transaction. Returns `false` if another process
    /// fired it, if the schedule was changed meanwhile, or if this very time has been fired before (the clock was set
    /// back).
    pub async fn fire_schedule(
        &self,
        due: &(PartnerId, FunctionId, Millis),
        next: Option<Millis>,
        executions: &[NewExecution],
        fanouts: &[Fanout],
    ) -> Result<bool> {
        const MOVE: &str = "-- move_schedule
            UPDATE schedules SET next_at_ms = ? WHERE partner_id = ? AND function_id = ? AND next_at_ms = ?";
        const END: &str = "-- end_schedule
            DELETE FROM schedules WHERE partner_id = ? AND function_id = ? AND next_at_ms = ?";
        const FIRED: &str = "-- firing_exists
            SELECT 1 FROM executions WHERE partner_id = ? AND trigger_key = ?
            UNION ALL SELECT 1 FROM fanouts WHERE partner_id = ? AND trigger_key = ?";
        self.db
            .tx(
                "fire_schedule",
                &(due, next, executions, fanouts),
                |tx, ((partner, function, at), next, executions, fanouts)| {
                    Box::pin(async move {
                        let moved = match next {
                            Some(next) => tx.run(MOVE, args![*next, partner, function, *at]).await?,
                            None => tx.run(END, args![partner, function, *at]).await?,
                        };
                        if moved.0 == 0 {
                            return Ok(false);
                        }
                        let keys = executions.iter().filter_map(|new| new.trigger_key.clone());
                        for key in keys.chain(fanouts.iter().map(Fanout::trigger_key)) {
                            if tx.row(FIRED, args![partner, &key, partner, &key]).await?.is_some() {
                                return Ok(false);
                            }
                        }
                        executions::insert_new(tx, executions).await?;
                        fanouts::insert_new(tx, fanouts).await?;
                        Ok(true)
                    })
                },
            )
            .await
    }
}

fn armed(row: &Row) -> Result<(PartnerId, FunctionId, Millis)> {
    Ok((row.id(0, "schedules.partner_id")?, row.id(1, "schedules.function_id")?, row.int(2)?))
}
