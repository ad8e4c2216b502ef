//! Packs: the records of successful runs of a fan-out, many in one row.
//!
//! A row of its own in `executions` costs MariaDB more than everything else that a run writes: it is wide and has ten
//! indexes. Nothing claims, retries or redrives a run that succeeded, so the ledger writes up to [`RUNS`] of them as one value
//! ([`records`]). Runs that failed, runs with long logs, and fewer than [`RUNS_MIN`] are rows as ever.
//!
//! Whoever reads executions finds them as if they were rows: by id here, in lists by [`list`].

use larder_model::ids::{DeploymentId, EventId, ExecutionId, FunctionId, PackId, PartnerId};
use larder_model::time::{Clock, Millis};
use larder_model::{Execution, ExecutionStatus, RequestRecord, Trigger};

use crate::db::{Db, Lock, Row, Tx, Value};
use crate::listing::{Column, Kind, Source};
use crate::{Result, Store, args};

pub(super) mod list;
mod records;

/// Records of a pack. A reader who looks for one unpacks all of them.
const RUNS: usize = 100;
/// Fewer are not worth a pack: it has five indexes too.
const RUNS_MIN: usize = 32;
/// Logs and errors of a record in a pack, so that a pack is read in one small piece.
const TEXT_MAX: usize = 2_048;

const COLUMNS: &str = "partner_id, id, function_id, deployment_id, trigger_kind, event_row, nominal_at_ms, late_ms, created_at_ms, \
    updated_at_ms, runs, first_id, last_id, first_enrolment_id, last_enrolment_id, text_bytes, records, wall_us";
pub(super) const SOURCE: Source = Source {
    name: "execution_packs",
    table: "execution_packs",
    columns: COLUMNS,
    id: "id",
    indexed: &["event_row"],
    by_time: false,
    long: &[],
};

/// The filters of executions that all records of a pack meet or miss together. Their columns have the same names here.
pub(super) const FILTERS: &[Column] = &[
    Column { attribute: "$createdAt", column: "created_at_ms", kind: Kind::Time },
    Column { attribute: "$updatedAt", column: "updated_at_ms", kind: Kind::Time },
    Column { attribute: "trigger", column: "trigger_kind", kind: Kind::Text },
    Column { attribute: "deploymentId", column: "deployment_id", kind: Kind::Text },
    Column { attribute: "eventId", column: "event_row", kind: Kind::Text },
];

/// A row of packed records, and what these have in common.
pub(super) struct Pack {
    partner: PartnerId,
    id: PackId,
    function: FunctionId,
    deployment: Option<DeploymentId>,
    trigger: Trigger,
    event: Option<EventId>,
    nominal_at_ms: Option<Millis>,
    late_ms: Option<Millis>,
    created_at_ms: Millis,
    updated_at_ms: Millis,
    records: Vec<u8>,
}

impl Pack {
    fn executions(&self) -> Result<Vec<Execution>> {
        records::decode(self)
    }

    /// The values of `COLUMNS` with these records, of which there is at least one.
    fn row(&self, runs: &[Execution]) -> Vec<Value> {
        let ids = || runs.iter().map(|e| &e.id);
        let enrolments = || runs.iter().filter_map(|e| e.enrolment.as_ref());
        args![
            &self.partner,
            &self.id,
            &self.function,
            self.deployment.as_ref(),
            self.trigger.word(),
            self.event.as_ref(),
            self.nominal_at_ms,
            self.late_ms,
            self.created_at_ms,
            self.updated_at_ms,
            runs.len(),
            ids().min(),
            ids().max(),
            enrolments().min(),
            enrolments().max(),
            runs.iter().map(|e| e.logs.len() + e.errors.len()).sum::<usize>(),
            records::encode(runs),
            runs.iter().map(|e| e.wall_us).sum::<u64>()
        ]
    }
}

/// May the record of this run of a fan-out be packed? Then a pack keeps all of it.
pub(super) fn is_packable(e: &Execution) -> bool {
    e.status == ExecutionStatus::Completed
        && e.enrolment.is_some()
        && e.dead_lettered_at_ms.is_none()
        && e.host_failing_since_ms.is_none()
        && e.failures == 0
        && e.lost == 0
        && e.trigger_key.is_none()
        && e.scheduled_at_ms.is_none()
        && e.request == RequestRecord::default()
        && e.logs.len() + e.errors.len() <= TEXT_MAX
}

/// The rows of packs for these runs of one range, and the runs that stay rows. All of them are packable.
pub(super) fn pack(runs: Vec<Execution>, clock: &Clock) -> (Vec<Vec<Value>>, Vec<Execution>) {
    if runs.len() < RUNS_MIN {
        return (vec![], runs);
    }
    let common = |e: &Execution| (e.created_at_ms, e.updated_at_ms, e.deployment.clone());
    let alike = runs.chunk_by(|a, b| common(a) == common(b));
    let packs = alike.flat_map(|alike| alike.chunks(RUNS)).map(|runs| {
        let e = &runs[0];
        let pack = Pack {
            partner: e.partner.clone(),
            id: PackId::generate(clock),
            function: e.function.clone(),
            deployment: e.deployment.clone(),
            trigger: e.trigger,
            event: e.event.clone(),
            nominal_at_ms: e.nominal_at_ms,
            late_ms: e.late_ms,
            created_at_ms: e.created_at_ms,
            updated_at_ms: e.updated_at_ms,
            records: vec![],
        };
        pack.row(runs)
    });
    (packs.collect(), vec![])
}

pub(super) async fn insert(tx: &mut Tx<'_>, rows: Vec<Vec<Value>>) -> Result<()> {
    tx.insert(&format!("-- insert_execution_packs\n INSERT INTO execution_packs ({COLUMNS})"), rows).await
}

/// The characters that the ids of neighbouring ranges of a fan-out have in common: the time and most of the ordinal (see
/// [`larder_model::time::derived_ulid`]).
const PREFIX: usize = 14;

/// The packs that can have an execution.
fn of_execution(partner: &PartnerId, function: &FunctionId, id: &ExecutionId) -> (String, Vec<Value>) {
    let sql = format!(
        "-- packs_of_execution
        SELECT {COLUMNS} FROM execution_packs WHERE partner_id = ? AND function_id = ? AND last_id >= ? AND last_id <= ? AND first_id <= ?"
    );
    // Behind every id with this prefix.
    let end = format!("{}~", id.as_str().get(..PREFIX).unwrap_or(id.as_str()));
    (sql, args![partner, function, id, end, id])
}

pub(super) async fn find(
    db: &Db,
    partner: &PartnerId,
    function: &FunctionId,
    id: &ExecutionId,
) -> Result<Option<Execution>> {
    let (sql, args) = of_execution(partner, function, id);
    for row in db.rows(&sql, args).await? {
        if let Some(found) = pack_of(&row)?.executions()?.into_iter().find(|e| e.id == *id) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Deletes an execution from its pack. `false` if no pack has it.
pub(super) async fn delete_one(
    tx: &mut Tx<'_>,
    partner: &PartnerId,
    function: &FunctionId,
    id: &ExecutionId,
) -> Result<bool> {
    const DELETE: &str = "-- delete_execution_pack
        DELETE FROM execution_packs WHERE partner_id = ? AND id = ?";
    let (sql, args) = of_execution(partner, function, id);
    for row in tx.locked(Lock::Exclusive, &sql, args).await? {
        let pack = pack_of(&row)?;
        let (gone, left): (Vec<_>, Vec<_>) = pack.executions()?.into_iter().partition(|e| e.id == *id);
        if gone.is_empty() {
            continue;
        }
        tx.run(DELETE, args![partner, &pack.id]).await?.exactly_one("pack of executions")?;
        if !left.is_empty() {
            insert(tx, vec![pack.row(&left)]).await?;
        }
        return Ok(true);
    }
    Ok(false)
}

fn pack_of(row: &Row) -> Result<Pack> {
    Ok(Pack {
        partner: row.id(0, "execution_packs.partner_id")?,
        id: row.id(1, "execution_packs.id")?,
        function: row.id(2, "execution_packs.function_id")?,
        deployment: row.maybe_id(3, "execution_packs.deployment_id")?,
        trigger: row.parse(4, "execution_packs.trigger_kind", Trigger::from_word)?,
        event: row.maybe_id(5, "execution_packs.event_row")?,
        nominal_at_ms: row.maybe_int(6)?,
        late_ms: row.maybe_int(7)?,
        created_at_ms: row.int(8)?,
        updated_at_ms: row.int(9)?,
        records: row.bytes(16)?,
    })
}

impl Store {
    /// Has a function records in packs?
    pub(crate) async fn has_packs(&self, partner: &PartnerId, function: &FunctionId) -> Result<bool> {
        const ANY: &str = "-- any_execution_pack
            SELECT 1 FROM execution_packs WHERE partner_id = ? AND function_id = ? LIMIT 1";
        Ok(self.db.row(ANY, args![partner, function]).await?.is_some())
    }
}
