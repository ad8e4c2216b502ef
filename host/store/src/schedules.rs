//! The next firing time of each scheduled function. A row exists only while the schedule is armed.

use std::collections::{HashMap, HashSet};

use larder_model::Fanout;
use larder_model::ids::{FunctionId, PartnerId};
use larder_model::time::Millis;

use crate::db::{Lock, Row, Tx, Value, one_of};
use crate::executions::{self, NewExecution};
use crate::{Result, Store, args, fanouts};

/// A due time of a function's schedule.
#[derive(Clone, Debug)]
pub struct Firing {
    pub function: FunctionId,
    pub at: Millis,
    /// The schedule's next time; `None` disarms it.
    pub next: Option<Millis>,
    pub executions: Vec<NewExecution>,
    pub fanouts: Vec<Fanout>,
}

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

    /// Fires each once: writes what they trigger and their next times in one transaction. `false` for a firing that another
    /// process has fired, whose schedule was changed meanwhile, or whose very time has been fired before (the clock was set
    /// back).
    pub async fn fire_schedules(&self, partner: &PartnerId, firings: &[Firing]) -> Result<Vec<bool>> {
        self.db
            .tx("fire_schedules", &(partner, firings), |tx, (partner, firings)| {
                Box::pin(async move {
                    let at = lock(tx, partner, firings).await?;
                    let due = |firing: &Firing| at.get(&firing.function) == Some(&firing.at);
                    move_on(tx, partner, firings.iter().filter(|firing| due(firing))).await?;
                    let before = fired(tx, partner, firings).await?;
                    let fires = |firing: &Firing| due(firing) && !firing.keys().any(|key| before.contains(&key));
                    let now = || firings.iter().filter(|firing| fires(firing));
                    let executions: Vec<_> = now().flat_map(|firing| firing.executions.iter().cloned()).collect();
                    let fanouts: Vec<_> = now().flat_map(|firing| firing.fanouts.iter().cloned()).collect();
                    executions::insert_new(tx, &executions).await?;
                    fanouts::insert_new(tx, &fanouts).await?;
                    Ok(firings.iter().map(fires).collect())
                })
            })
            .await
    }
}

impl Firing {
    /// What tells that this time has been fired.
    fn keys(&self) -> impl Iterator<Item = String> {
        let of_executions = self.executions.iter().filter_map(|new| new.trigger_key.clone());
        of_executions.chain(self.fanouts.iter().map(Fanout::trigger_key))
    }
}

/// The present times of these schedules, locked until the transaction ends.
async fn lock(tx: &mut Tx<'_>, partner: &PartnerId, firings: &[Firing]) -> Result<HashMap<FunctionId, Millis>> {
    let functions = one_of(firings.iter().map(|firing| Value::from(&firing.function)));
    let sql = format!(
        "-- lock_schedules
        SELECT function_id, next_at_ms FROM schedules WHERE partner_id = ? AND function_id IN ({}) ORDER BY function_id",
        functions.marks
    );
    let rows = tx.locked(Lock::Exclusive, &sql, [args![partner], functions.args].concat()).await?;
    rows.iter().map(|row| Ok((row.id(0, "schedules.function_id")?, row.int(1)?))).collect()
}

/// Arms these schedules, which are locked, for their next times, or disarms them.
async fn move_on(tx: &mut Tx<'_>, partner: &PartnerId, firings: impl Iterator<Item = &Firing>) -> Result<()> {
    let (mut moved, mut ended) = (Vec::new(), Vec::new());
    for Firing { function, at, next, .. } in firings {
        match next {
            Some(next) => moved.push(args![partner, function, *next, *at]),
            None => ended.push(Value::from(function)),
        }
    }
    tx.upsert("schedules", &["partner_id", "function_id"], &["next_at_ms", "previous_at_ms"], moved).await?;
    if ended.is_empty() {
        return Ok(());
    }
    let ended = one_of(ended);
    let sql = format!(
        "-- end_schedules
        DELETE FROM schedules WHERE partner_id = ? AND function_id IN ({})",
        ended.marks
    );
    tx.run(&sql, [args![partner], ended.args].concat()).await.map(|_| ())
}

/// The keys of these firings that exist already.
async fn fired(tx: &mut Tx<'_>, partner: &PartnerId, firings: &[Firing]) -> Result<HashSet<String>> {
    let keys: Vec<String> = firings.iter().flat_map(Firing::keys).collect();
    if keys.is_empty() {
        return Ok(HashSet::new());
    }
    let keys = one_of(keys.into_iter().map(Value::from));
    let sql = format!(
        "-- firings_that_exist
        SELECT trigger_key FROM executions WHERE partner_id = ? AND trigger_key IN ({0})
        UNION ALL SELECT trigger_key FROM fanouts WHERE partner_id = ? AND trigger_key IN ({0})",
        keys.marks
    );
    let args = [args![partner], keys.args.clone(), args![partner], keys.args].concat();
    tx.rows(&sql, args).await?.iter().map(|row| row.text(0)).collect()
}

fn armed(row: &Row) -> Result<(PartnerId, FunctionId, Millis)> {
    Ok((row.id(0, "schedules.partner_id")?, row.id(1, "schedules.function_id")?, row.int(2)?))
}
