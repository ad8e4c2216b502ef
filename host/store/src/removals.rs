//! Deletion of entities that have many rows.
//!
//! * [`mark`]: records the removal in the transaction that deletes the entity's main row, so that nothing of it takes
//!   effect from then on.
//! * [`Store::sweep_removal`]: deletes the other rows in batches, each in a short transaction.
//!
//! The rule: **a removal stays until no row is left**, and until then nothing new may have the same id.

use larder_model::ids::{EnrolmentId, FunctionId, PartnerId};
use larder_model::time::Millis;

use crate::db::{Row, Tx, Value, one_of};
use crate::{Error, Result, Store, args};

/// The deleted entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    Function(FunctionId),
    Enrolment(FunctionId, EnrolmentId),
}

/// A deleted entity of which rows are left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    pub partner: PartnerId,
    pub what: Removed,
}

/// The result of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    pub rows: u64,
    /// No row is left.
    pub done: bool,
}

/// The rows of a function in one table. Tables come first whose rows could still create rows of the next.
struct Part {
    table: &'static str,
    /// The columns that identify a row within the function.
    key: &'static str,
}

const OF_FUNCTION: &[Part] = &[
    Part { table: "deployments", key: "id" },
    Part { table: "upload_chunks", key: "deployment_id" },
    Part { table: "fanouts", key: "id" },
    Part { table: "fanout_ranges", key: "id" },
    Part { table: "executions", key: "id" },
    Part { table: "execution_packs", key: "id" },
    Part { table: "variables", key: "id" },
    Part { table: "enrolments", key: "id" },
];

impl Removed {
    fn kind(&self) -> &'static str {
        match self {
            Removed::Function(_) => "function",
            Removed::Enrolment(..) => "enrolment",
        }
    }

    fn id(&self) -> &str {
        match self {
            Removed::Function(id) => id.as_str(),
            Removed::Enrolment(_, id) => id.as_str(),
        }
    }

    fn function(&self) -> &FunctionId {
        match self {
            Removed::Function(id) | Removed::Enrolment(id, _) => id,
        }
    }
}

/// Records that the rows of this entity are to be deleted.
pub(super) async fn mark(tx: &mut Tx<'_>, removal: &Removal, now: Millis) -> Result<()> {
    const MARK: &str = "-- insert_removal
        INSERT INTO removals (partner_id, kind, id, function_id, created_at_ms) VALUES (?, ?, ?, ?, ?)";
    let Removal { partner, what } = removal;
    tx.run(MARK, args![partner, what.kind(), what.id(), what.function(), now]).await?.exactly_one("removal")
}

/// Returns `BeingRemoved` while rows of a deleted function with this id are left.
pub(super) async fn refuse_being_removed(tx: &mut Tx<'_>, partner: &PartnerId, function: &FunctionId) -> Result<()> {
    const FIND: &str = "-- find_removal_of_function
        SELECT 1 FROM removals WHERE partner_id = ? AND kind = 'function' AND id = ?";
    match tx.row(FIND, args![partner, function]).await? {
        Some(_) => Err(Error::BeingRemoved(function.clone())),
        None => Ok(()),
    }
}

impl Store {
    /// Returns up to `limit` unfinished removals, across all partners, oldest first.
    pub async fn removals(&self, limit: u32) -> Result<Vec<Removal>> {
        let sql = format!(
            "-- list_removals
            SELECT partner_id, kind, id, function_id FROM removals ORDER BY created_at_ms LIMIT {limit}"
        );
        self.db.rows(&sql, vec![]).await?.iter().map(removal).collect()
    }

    /// Counts the unfinished removals of a partner.
    pub async fn count_removals(&self, partner: &PartnerId) -> Result<u64> {
        const COUNT: &str = "-- count_removals
            SELECT COUNT(*) FROM removals WHERE partner_id = ?";
        Ok(self.db.row(COUNT, args![partner]).await?.map_or(Ok(0), |row| row.int(0))? as u64)
    }

    /// Deletes up to `limit` rows of it.
    pub async fn sweep_removal(&self, removal: &Removal, limit: u32) -> Result<Swept> {
        const DONE: &str = "-- delete_removal
            DELETE FROM removals WHERE partner_id = ? AND kind = ? AND id = ?";
        let Removal { partner, what } = removal;
        if let Removed::Function(function) = what {
            for part in OF_FUNCTION {
                let rows = self.sweep_part(part, partner, function, limit).await?;
                if rows > 0 {
                    return Ok(Swept { rows, done: false });
                }
            }
        }
        let rows = self.sweep_state(partner, what, limit).await?;
        if rows > 0 {
            return Ok(Swept { rows, done: false });
        }
        let _ = self.db.run(DONE, args![partner, what.kind(), what.id()]).await?;
        Ok(Swept { rows: 0, done: true })
    }

    async fn sweep_part(&self, part: &Part, partner: &PartnerId, function: &FunctionId, limit: u32) -> Result<u64> {
        let Part { table, key } = part;
        let find = format!(
            "-- removed_{table}\n SELECT {key} FROM {table} WHERE partner_id = ? AND function_id = ? LIMIT {limit}"
        );
        let found = self.db.rows(&find, args![partner, function]).await?;
        if found.is_empty() {
            return Ok(0);
        }
        let keys = one_of(found.iter().map(|row| row.text(0).map(Value::Text)).collect::<Result<Vec<_>>>()?);
        // The plus keeps SQLite, which has no statistics, on the index of the keys.
        let scope = if *table == "variables" { "function_id" } else { "+function_id" };
        let delete = format!(
            "-- delete_removed_{table}\n DELETE FROM {table} WHERE partner_id = ? AND {scope} = ? AND {key} IN ({})",
            keys.marks
        );
        let args = [args![partner, function], keys.args].concat();
        self.db
            .tx("sweep_removal", &(delete, args), |tx, (delete, args)| {
                Box::pin(async move { Ok(tx.run(delete, args.clone()).await?.0) })
            })
            .await
    }

    /// The primary key of state is its scope and name, so a batch is a range of names.
    async fn sweep_state(&self, partner: &PartnerId, what: &Removed, limit: u32) -> Result<u64> {
        let mut scope = "partner_id = ? AND function_id = ?".to_owned();
        let mut args = args![partner, what.function()];
        if let Removed::Enrolment(_, enrolment) = what {
            scope += " AND enrolment_id = ?";
            args.extend(args![enrolment]);
        }
        let last = format!(
            "-- last_removed_state
            SELECT enrolment_id, name FROM state WHERE {scope} ORDER BY enrolment_id, name LIMIT 1 OFFSET {}",
            limit - 1
        );
        let mut delete = format!("-- delete_removed_state\n DELETE FROM state WHERE {scope}");
        let mut delete_args = args.clone();
        if let Some(last) = self.db.row(&last, args.clone()).await? {
            let (enrolment, name) = (last.text(0)?, last.text(1)?);
            delete += " AND (enrolment_id < ? OR (enrolment_id = ? AND name <= ?))";
            delete_args.extend(args![&enrolment, &enrolment, &name]);
        }
        let locks = format!("-- delete_removed_state_locks\n DELETE FROM state_locks WHERE {scope}");
        self.db
            .tx("sweep_state", &(delete, delete_args, locks, args), |tx, (delete, delete_args, locks, args)| {
                Box::pin(async move {
                    let rows = tx.run(delete, delete_args.clone()).await?.0;
                    let _ = tx.run(locks, args.clone()).await?;
                    Ok(rows)
                })
            })
            .await
    }
}

fn removal(row: &Row) -> Result<Removal> {
    let function = row.id(3, "removals.function_id")?;
    let what = match row.text(1)?.as_str() {
        "function" => Removed::Function(function),
        "enrolment" => Removed::Enrolment(function, row.id(2, "removals.id")?),
        other => {
            let why = format!("{other:?} is no kind of removal");
            return Err(Error::BadRow { table: "removals", column: "kind", why });
        }
    };
    Ok(Removal { partner: row.id(0, "removals.partner_id")?, what })
}
