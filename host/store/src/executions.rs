//! Executions: the queue of record and the records of completed runs.
//!
//! `due_at_ms` is when an execution may next be claimed: its scheduled time while it waits, the end of its lease while it
//! runs, and NULL once it has ended. A claim raises `attempt`. An outcome is written only under the holder and attempt of
//! its claim (see [`crate::ledger`]), so the late result of an expired claim is dropped.

use std::collections::HashMap;

use larder_model::ids::{EnrolmentId, EventId, ExecutionId, FunctionId, PartnerId};
use larder_model::time::Millis;
use larder_model::{Execution, ExecutionStatus, RequestRecord, Trigger, json};

use crate::db::{Lock, Row, Tx, Value, by_partner, one_of};
use crate::listing::{self, Column, Kind, Listing, Page, Source};
use crate::{Error, Result, Store, args, packs};

pub(super) const COLUMNS: &str = "partner_id, id, function_id, deployment_id, trigger_kind, status, trigger_key, event_row, enrolment_id, \
    nominal_at_ms, late_ms, scheduled_at_ms, request, attempt, response_status, response_headers, logs, errors, wall_us, cpu_us, \
    memory_peak_bytes, created_at_ms, updated_at_ms, failures, lost, buried_at_ms, \
    host_failing_since_ms, bury_reason";
/// The number of columns in `COLUMNS`. Further columns of a longer select start at this position.
const WIDTH: usize = 28;
pub(super) const SOURCE: Source = Source {
    name: "executions",
    table: "executions",
    columns: COLUMNS,
    id: "id",
    indexed: &["event_row", "enrolment_id"],
    by_time: true,
    long: &["logs", "errors"],
};

/// The columns by which lists of executions can be filtered.
pub const FILTERS: &[Column] = &[
    Column { attribute: "$id", column: "id", kind: Kind::Text },
    Column { attribute: "$createdAt", column: "created_at_ms", kind: Kind::Time },
    Column { attribute: "$updatedAt", column: "updated_at_ms", kind: Kind::Time },
    Column { attribute: "trigger", column: "trigger_kind", kind: Kind::Text },
    Column { attribute: "status", column: "status", kind: Kind::Text },
    Column { attribute: "responseStatusCode", column: "response_status", kind: Kind::Int },
    Column { attribute: "requestMethod", column: REQUEST_METHOD, kind: Kind::Text },
    Column { attribute: "requestPath", column: REQUEST_PATH, kind: Kind::JsonText },
    Column { attribute: "duration", column: "wall_us", kind: Kind::Seconds(1_000_000) },
    Column { attribute: "deploymentId", column: "deployment_id", kind: Kind::Text },
    Column { attribute: "enrolmentId", column: "enrolment_id", kind: Kind::Text },
    Column { attribute: "eventId", column: "event_row", kind: Kind::Text },
];

/// What `request` begins with, as JSON: `{"method":"GET","path":"/a?b","headers":[…]}`. A quote within the path is escaped, so
/// the first `","headers":` is its end. These have no index and cost nothing to write.
pub(super) const REQUEST_METHOD: &str = r#"SUBSTR(request, 12, INSTR(request, '","path":"') - 12)"#;
pub(super) const REQUEST_PATH: &str = r#"SUBSTR(request, INSTR(request, '","path":"') + 10,
    INSTR(request, '","headers":') - INSTR(request, '","path":"') - 10)"#;

/// An execution to be run.
#[derive(Clone, Debug)]
pub struct NewExecution {
    pub partner: PartnerId,
    pub id: ExecutionId,
    pub function: FunctionId,
    pub trigger: Trigger,
    pub trigger_key: Option<String>,
    pub event: Option<EventId>,
    pub enrolment: Option<EnrolmentId>,
    pub nominal_at_ms: Option<Millis>,
    pub late_ms: Option<Millis>,
    /// The time to run at; `None` runs it at once.
    pub scheduled_at_ms: Option<Millis>,
    pub request: RequestRecord,
    /// The request body, stored until the execution ends.
    pub body: Option<Vec<u8>>,
    pub now: Millis,
}

/// An execution that this process has claimed.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub execution: Execution,
    pub body: Vec<u8>,
    pub holder: String,
    /// The lease of an earlier claim expired before the execution ended.
    pub stolen: bool,
}

/// How many executions of a partner shall be claimed.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub partner: PartnerId,
    pub count: u32,
    /// Those among them under which a worker has died.
    pub stolen: u32,
}

/// Bytes of the request bodies in one claim of a partner, unless one body alone has more.
const CLAIMED_BYTES_MAX: i64 = 8 << 20;

impl NewExecution {
    /// The execution in its waiting state.
    pub fn execution(&self) -> Execution {
        let status = if self.scheduled_at_ms.is_some() { ExecutionStatus::Scheduled } else { ExecutionStatus::Waiting };
        let (partner, id, function) = (self.partner.clone(), self.id.clone(), self.function.clone());
        Execution {
            trigger_key: self.trigger_key.clone(),
            event: self.event.clone(),
            enrolment: self.enrolment.clone(),
            nominal_at_ms: self.nominal_at_ms,
            late_ms: self.late_ms,
            scheduled_at_ms: self.scheduled_at_ms,
            request: self.request.clone(),
            ..Execution::new(partner, id, function, self.trigger, status, self.now)
        }
    }
}

impl Store {
    pub async fn insert_execution(&self, new: &NewExecution) -> Result<()> {
        match self.insert_once(new).await {
            // The second insert waits for the first one, if that is still in progress, and finds its row if it was
            // committed.
            Err(Error::Unknown(why)) => match self.insert_once(new).await {
                // The id was generated for this execution alone.
                Err(Error::Conflict { .. }) => Ok(()),
                // The first insert may have been committed all the same.
                Err(Error::Unavailable(_) | Error::Contended(_)) => Err(Error::Unknown(why)),
                done => done,
            },
            done => done,
        }
    }

    async fn insert_once(&self, new: &NewExecution) -> Result<()> {
        self.db
            .tx("insert_execution", new, |tx, new| {
                Box::pin(async move {
                    if !crate::functions::exists(tx, &new.partner, &new.function).await? {
                        return Err(Error::NotFound { what: "function" });
                    }
                    insert_new(tx, std::slice::from_ref(new)).await
                })
            })
            .await
    }

    /// Claims due executions, up to a limit for each partner. Executions whose lease has expired are claimed before waiting
    /// ones.
    pub async fn claim_executions(
        &self,
        holder: &str,
        now: Millis,
        lease_until: Millis,
        wanted: &[Wanted],
    ) -> Result<Vec<Claimed>> {
        let lookup = format!(
            "-- due_executions
            SELECT {COLUMNS}, LENGTH(body) FROM executions /*! FORCE INDEX (executions_by_status) */
            WHERE partner_id = ? AND status = ? AND due_at_ms <= ? ORDER BY due_at_ms LIMIT ?"
        );
        self.db
            .tx(
                "claim_executions",
                &(lookup, holder, now, lease_until, wanted),
                |tx, (lookup, holder, now, lease_until, wanted)| {
                    Box::pin(async move {
                        let mut claimed = Vec::new();
                        for Wanted { partner, count, stolen } in *wanted {
                            let (mut rows, mut bytes) = (Vec::new(), 0);
                            // An execution whose worker died was due before all waiting ones and keeps its position,
                            // however many there are.
                            for (status, most) in [
                                (ExecutionStatus::Processing, stolen),
                                (ExecutionStatus::Scheduled, count),
                                (ExecutionStatus::Waiting, count),
                            ] {
                                let left = (*most as usize).saturating_sub(rows.len());
                                if left > 0 {
                                    // Rows that another process is claiming at this moment are skipped.
                                    let args = args![partner, status.word(), *now, left];
                                    for row in tx.locked(Lock::Skip, lookup, args).await? {
                                        bytes += row.maybe_int(WIDTH)?.unwrap_or_default();
                                        if rows.is_empty() || bytes <= CLAIMED_BYTES_MAX {
                                            rows.push(row);
                                        }
                                    }
                                }
                            }
                            claimed.extend(with_bodies(tx, partner, rows, holder).await?);
                        }
                        take(tx, &claimed, *lease_until, *now).await?;
                        Ok(claimed)
                    })
                },
            )
            .await
    }

    /// Returns executions that this holder has claimed and not begun, as if they had not been claimed.
    pub async fn give_back_executions<'k>(
        &self,
        holder: &str,
        keys: impl Iterator<Item = (&'k PartnerId, &'k ExecutionId)>,
        now: Millis,
    ) -> Result<()> {
        // MariaDB assigns from left to right.
        const GIVE_BACK: &str = "-- give_back_executions
            UPDATE executions SET status = CASE WHEN lost > 1 THEN 'processing' ELSE 'waiting' END, attempt = attempt - 1, lost = lost - 1,
                lease_holder = NULL, due_at_ms = COALESCE(scheduled_at_ms, created_at_ms), updated_at_ms = ?
            WHERE partner_id = ? AND lease_holder = ? AND status = 'processing'";
        self.db
            .tx("give_back_executions", &(holder, by_partner(keys), now), |tx, (holder, keys, now)| {
                Box::pin(async move {
                    for (partner, ids) in keys {
                        let ids = one_of(ids.iter().map(|id| Value::from(*id)));
                        let sql = format!("{GIVE_BACK} AND id IN ({})", ids.marks);
                        let _ = tx.run(&sql, [args![*now, *partner, *holder], ids.args].concat()).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Extends this holder's leases on those of these executions that it still holds.
    pub async fn renew_leases(&self, holder: &str, ids: &[ExecutionId], lease_until: Millis) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        self.db
            .tx("renew_leases", &(holder, ids, lease_until), |tx, (holder, ids, lease_until)| {
                Box::pin(async move {
                    let ids = one_of(ids.iter().map(Value::from));
                    let sql = format!(
                        "-- renew_leases
                        UPDATE executions SET due_at_ms = ? WHERE lease_holder = ? AND status = 'processing' AND id IN ({})",
                        ids.marks
                    );
                    tx.run(&sql, [args![*lease_until, *holder], ids.args].concat()).await.map(|_| ())
                })
            })
            .await
    }

    /// Releases this holder's executions, none of which it runs any more, so that they can be claimed at once.
    pub async fn end_leases(&self, holder: &str, now: Millis) -> Result<u64> {
        const END: &str = "-- end_leases
            UPDATE executions SET due_at_ms = ? WHERE lease_holder = ? AND status = 'processing' AND due_at_ms > ?";
        Ok(self.db.run(END, args![now, holder, now]).await?.0)
    }

    /// Ends all leases at once. Only a process that has the database to itself may do so: all other holders are dead.
    pub async fn end_all_leases(&self, now: Millis) -> Result<u64> {
        const END: &str = "-- end_all_leases
            UPDATE executions SET due_at_ms = ? WHERE status = 'processing' AND due_at_ms > ?";
        Ok(self.db.run(END, args![now, now]).await?.0)
    }

    /// Deletes an execution of a function that no longer exists.
    pub async fn delete_orphan(&self, partner: &PartnerId, function: &FunctionId, id: &ExecutionId) -> Result<()> {
        const DELETE: &str = "-- delete_orphan_execution
            DELETE FROM executions WHERE partner_id = ? AND id = ?";
        self.db
            .tx("delete_orphan", &(partner, function, id), |tx, (partner, function, id)| {
                Box::pin(async move {
                    if !crate::functions::exists(tx, partner, function).await? {
                        let _ = tx.run(DELETE, args![*partner, *id]).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Returns when the next execution becomes due after `after`, across all partners.
    pub async fn next_due(&self, after: Millis) -> Result<Option<Millis>> {
        const NEXT: &str = "-- next_due_execution
            SELECT MIN(due_at_ms) FROM executions WHERE due_at_ms > ?";
        self.db.row(NEXT, args![after]).await?.map_or(Ok(None), |row| row.maybe_int(0))
    }

    /// When the oldest execution of a partner that waits was due, if it is: how far its queue lags behind.
    pub async fn oldest_due(&self, partner: &PartnerId, now: Millis) -> Result<Option<Millis>> {
        const OLDEST: &str = "-- oldest_due
            SELECT due_at_ms FROM executions /*! FORCE INDEX (executions_by_status) */
            WHERE partner_id = ? AND status = 'waiting' AND due_at_ms <= ? ORDER BY due_at_ms LIMIT 1";
        self.db.row(OLDEST, args![partner, now]).await?.map(|row| row.int(0)).transpose()
    }

    pub async fn execution(
        &self,
        partner: &PartnerId,
        function: &FunctionId,
        id: &ExecutionId,
    ) -> Result<Option<Execution>> {
        let scope = vec![("partner_id", partner.into()), ("function_id", function.into())];
        match listing::one(&self.db, &SOURCE, scope, id, execution).await? {
            None => packs::find(&self.db, partner, function, id).await,
            found => Ok(found),
        }
    }

    pub async fn list_executions(
        &self,
        partner: &PartnerId,
        function: &FunctionId,
        listing: &Listing,
    ) -> Result<Page<Execution>> {
        if self.has_packs(partner, function).await? {
            return packs::list::merged(self, partner, function, listing).await;
        }
        let scope = vec![("partner_id", partner.into()), ("function_id", function.into())];
        listing::list(&self.lists, &SOURCE, scope, listing, execution).await
    }

    /// Deletes an execution that has ended, has not started, or has failed and waits for a retry. Returns `Conflict` while
    /// it waits for its first attempt or runs.
    pub async fn delete_execution(&self, partner: &PartnerId, function: &FunctionId, id: &ExecutionId) -> Result<()> {
        const STATUS: &str = "-- execution_status
            SELECT status, failures, host_failing_since_ms FROM executions WHERE partner_id = ? AND function_id = ? AND id = ?";
        const DELETE: &str = "-- delete_execution
            DELETE FROM executions WHERE partner_id = ? AND function_id = ? AND id = ?";
        self.db
            .tx("delete_execution", &(partner, function, id), |tx, (partner, function, id)| {
                Box::pin(async move {
                    let rows = tx.locked(Lock::Exclusive, STATUS, args![*partner, *function, *id]).await?;
                    let Some(row) = rows.first() else {
                        let packed = packs::delete_one(tx, partner, function, id).await?;
                        return if packed { Ok(()) } else { Err(Error::NotFound { what: "execution" }) };
                    };
                    let failed = row.int(1)? > 0 || row.maybe_int(2)?.is_some();
                    match row.text(0)?.as_str() {
                        "waiting" if !failed => Err(Error::Conflict { key: "execution".into() }),
                        "processing" => Err(Error::Conflict { key: "execution".into() }),
                        _ => tx.run(DELETE, args![*partner, *function, *id]).await?.exactly_one("execution"),
                    }
                })
            })
            .await
    }

    /// Deletes up to `limit` ended executions that are older than `before`, across all partners.
    pub async fn delete_old_executions(&self, before: Millis, limit: u32) -> Result<u64> {
        let sql = format!(
            "-- old_executions
            SELECT partner_id, id FROM executions WHERE due_at_ms IS NULL AND updated_at_ms < ? LIMIT {limit}"
        );
        let old = self.db.rows(&sql, args![before]).await?;
        if old.is_empty() {
            return Ok(0);
        }
        let old: Vec<(PartnerId, ExecutionId)> = old
            .iter()
            .map(|row| Ok((row.id(0, "executions.partner_id")?, row.id(1, "executions.id")?)))
            .collect::<Result<_>>()?;
        self.db
            .tx("delete_old_executions", &(old, before), |tx, (old, before)| {
                Box::pin(async move {
                    let mut deleted = 0;
                    for (partner, ids) in by_partner(old.iter().map(|(partner, id)| (partner, id))) {
                        let ids = one_of(ids.into_iter().map(Value::from));
                        // An execution that was redriven meanwhile is not deleted.
                        let sql = format!(
                            "-- delete_old_executions
                            DELETE FROM executions WHERE partner_id = ? AND due_at_ms IS NULL AND updated_at_ms < ? AND id IN ({})",
                            ids.marks
                        );
                        deleted += tx.run(&sql, [args![partner, *before], ids.args].concat()).await?.0;
                    }
                    Ok(deleted)
                })
            })
            .await
    }
}

/// Claims these rows, which are locked, with the bodies of their requests.
async fn with_bodies(tx: &mut Tx<'_>, partner: &PartnerId, rows: Vec<Row>, holder: &str) -> Result<Vec<Claimed>> {
    let mut claimed = Vec::with_capacity(rows.len());
    let mut with_body = Vec::new();
    for row in rows {
        let mut execution = execution(&row)?;
        if row.maybe_int(WIDTH)?.unwrap_or_default() > 0 {
            with_body.push(execution.id.clone());
        }
        let stolen = execution.status == ExecutionStatus::Processing;
        execution.attempt += 1;
        execution.lost += 1;
        execution.status = ExecutionStatus::Processing;
        claimed.push(Claimed { execution, body: vec![], holder: holder.to_owned(), stolen });
    }
    if with_body.is_empty() {
        return Ok(claimed);
    }
    let ids = one_of(with_body.iter().map(Value::from));
    let sql =
        format!("-- claimed_bodies\n SELECT id, body FROM executions WHERE partner_id = ? AND id IN ({})", ids.marks);
    let mut bodies = HashMap::new();
    for row in tx.rows(&sql, [args![partner], ids.args].concat()).await? {
        bodies.insert(row.id::<ExecutionId>(0, "executions.id")?, row.maybe_bytes(1)?.unwrap_or_default());
    }
    for one in &mut claimed {
        one.body = bodies.remove(&one.execution.id).unwrap_or_default();
    }
    Ok(claimed)
}

/// Writes the leases of claimed executions, whose rows are locked.
async fn take(tx: &mut Tx<'_>, claimed: &[Claimed], lease_until: Millis, now: Millis) -> Result<()> {
    let Some(holder) = claimed.first().map(|one| &one.holder) else { return Ok(()) };
    for (partner, ids) in by_partner(claimed.iter().map(|one| (&one.execution.partner, &one.execution.id))) {
        let ids = one_of(ids.into_iter().map(Value::from));
        let sql = format!(
            "-- claim_executions
            UPDATE executions SET status = 'processing', attempt = attempt + 1, lost = lost + 1, lease_holder = ?, due_at_ms = ?, updated_at_ms = ?
            WHERE partner_id = ? AND id IN ({})",
            ids.marks
        );
        let _ = tx.run(&sql, [args![holder, lease_until, now, partner], ids.args].concat()).await?;
    }
    Ok(())
}

pub(super) async fn insert_new(tx: &mut Tx<'_>, new: &[NewExecution]) -> Result<()> {
    let rows = new
        .iter()
        .map(|new| {
            let mut values = row(&new.execution());
            values.extend(args![new.body.clone(), new.scheduled_at_ms.unwrap_or(new.now)]);
            values
        })
        .collect();
    tx.insert(&format!("-- insert_new_executions\n INSERT INTO executions ({COLUMNS}, body, due_at_ms)"), rows).await
}

/// Inserts executions that wait until a time.
pub(super) async fn insert_waiting(tx: &mut Tx<'_>, waiting: &[(Execution, Millis)]) -> Result<()> {
    let rows = waiting
        .iter()
        .map(|(execution, due)| {
            let mut values = row(execution);
            values.push((*due).into());
            values
        })
        .collect();
    tx.insert(&format!("-- insert_waiting_executions\n INSERT INTO executions ({COLUMNS}, due_at_ms)"), rows).await
}

/// Writes the final states of claimed executions, whose rows are locked. The private parts of their requests are removed.
pub(super) async fn end(tx: &mut Tx<'_>, ended: Vec<Execution>) -> Result<()> {
    let (key, set) = (["partner_id", "id"], COLUMNS.split(", ").skip(2).chain(["body", "due_at_ms", "lease_holder"]));
    let ended = ended.into_iter().map(|mut execution| {
        execution.request = execution.request.recorded();
        execution.lost = 0;
        let mut values = row(&execution);
        values.extend([Value::Null, Value::Null, Value::Null]);
        values
    });
    tx.upsert("executions", &key, &set.collect::<Vec<_>>(), ended.collect()).await
}

/// Makes a claimed execution, whose row is locked, a dead letter. The whole request is preserved, so that it can be
/// redriven.
pub(super) async fn dead_letter(tx: &mut Tx<'_>, e: &Execution) -> Result<()> {
    const DEAD_LETTER: &str = "-- bury_execution
        UPDATE executions SET status = ?, deployment_id = ?, response_status = ?, response_headers = ?, logs = ?, errors = ?, wall_us = ?,
            cpu_us = ?, memory_peak_bytes = ?, updated_at_ms = ?, failures = ?, lost = 0, host_failing_since_ms = NULL, buried_at_ms = ?,
            bury_reason = ?, due_at_ms = NULL, lease_holder = NULL
        WHERE partner_id = ? AND id = ?";
    let args = args![
        e.status.word(),
        e.deployment.as_ref(),
        e.response_status,
        json(&e.response_headers),
        &e.logs,
        &e.errors,
        e.wall_us,
        e.cpu_us,
        e.memory_peak_bytes,
        e.updated_at_ms,
        e.failures,
        e.dead_lettered_at_ms,
        bury_reason(e),
        &e.partner,
        &e.id
    ];
    tx.run(DEAD_LETTER, args).await?.exactly_one("execution")
}

/// Returns a claimed execution, whose row is locked, to the queue.
pub(super) async fn retry(tx: &mut Tx<'_>, e: &Execution, at: Millis) -> Result<()> {
    const RETRY: &str = "-- retry_execution
        UPDATE executions SET status = 'waiting', logs = ?, errors = ?, updated_at_ms = ?, failures = ?, lost = 0, host_failing_since_ms = ?,
            due_at_ms = ?, lease_holder = NULL
        WHERE partner_id = ? AND id = ?";
    let args = args![&e.logs, &e.errors, e.updated_at_ms, e.failures, e.host_failing_since_ms, at, &e.partner, &e.id];
    tx.run(RETRY, args).await?.exactly_one("execution")
}

/// Inserts executions that have ended.
pub(super) async fn insert_ended(tx: &mut Tx<'_>, rows: Vec<Vec<Value>>) -> Result<()> {
    tx.insert(&format!("-- insert_ended_executions\n INSERT INTO executions ({COLUMNS})"), rows).await
}

/// The values of `COLUMNS`.
pub(super) fn row(e: &Execution) -> Vec<Value> {
    args![
        &e.partner,
        &e.id,
        &e.function,
        e.deployment.as_ref(),
        e.trigger.word(),
        e.status.word(),
        e.trigger_key.as_ref(),
        e.event.as_ref(),
        e.enrolment.as_ref(),
        e.nominal_at_ms,
        e.late_ms,
        e.scheduled_at_ms,
        json(&e.request),
        e.attempt,
        e.response_status,
        json(&e.response_headers),
        &e.logs,
        &e.errors,
        e.wall_us,
        e.cpu_us,
        e.memory_peak_bytes,
        e.created_at_ms,
        e.updated_at_ms,
        e.failures,
        e.lost,
        e.dead_lettered_at_ms,
        e.host_failing_since_ms,
        bury_reason(e)
    ]
}

/// By which dead letters are grouped.
fn bury_reason(e: &Execution) -> Option<String> {
    e.dead_lettered_at_ms.map(|_| e.reason())
}

pub(super) fn execution(row: &Row) -> Result<Execution> {
    Ok(Execution {
        partner: row.id(0, "executions.partner_id")?,
        id: row.id(1, "executions.id")?,
        function: row.id(2, "executions.function_id")?,
        deployment: row.maybe_id(3, "executions.deployment_id")?,
        trigger: row.parse(4, "executions.trigger_kind", Trigger::from_word)?,
        status: row.parse(5, "executions.status", ExecutionStatus::from_word)?,
        trigger_key: row.maybe_text(6)?,
        event: row.maybe_id(7, "executions.event_row")?,
        enrolment: row.maybe_id(8, "executions.enrolment_id")?,
        nominal_at_ms: row.maybe_int(9)?,
        late_ms: row.maybe_int(10)?,
        scheduled_at_ms: row.maybe_int(11)?,
        request: row.json(12, "executions.request")?,
        attempt: row.int(13)? as u32,
        response_status: row.int(14)? as u16,
        response_headers: row.json(15, "executions.response_headers")?,
        logs: row.text(16)?,
        errors: row.text(17)?,
        wall_us: row.int(18)? as u64,
        cpu_us: row.int(19)? as u64,
        memory_peak_bytes: row.int(20)? as u64,
        created_at_ms: row.int(21)?,
        updated_at_ms: row.int(22)?,
        failures: row.int(23)? as u32,
        lost: row.int(24)? as u32,
        dead_lettered_at_ms: row.maybe_int(25)?,
        host_failing_since_ms: row.maybe_int(26)?,
    })
}
