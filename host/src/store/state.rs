//! State of functions and enrolments. It is read here and written by [`super::ledger`] only.

use std::collections::HashMap;

use larder_runtime::imports::state::Version;

use super::db::{Lock, Row, Tx, Value};
use super::{Result, Store, functions};
use crate::args;
use crate::clock::Millis;
use crate::ids::{EnrolmentId, ExecutionId, FunctionId, PartnerId};

/// Whose state: a function's own, or that of one enrolment in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    pub partner: PartnerId,
    pub function: FunctionId,
    pub enrolment: Option<EnrolmentId>,
}

impl Scope {
    pub(super) fn enrolment_text(&self) -> &str {
        self.enrolment.as_ref().map_or("", EnrolmentId::as_str)
    }
}

pub(super) const GET: &str = "-- get_state
    SELECT value, version FROM state WHERE partner_id = ? AND function_id = ? AND enrolment_id = ? AND name = ?";
/// A range rather than a prefix match, so that the primary key serves it; the rows behind the prefix are cut off by the caller.
pub(super) const LIST: &str = "-- list_state
    SELECT name, value, version FROM state WHERE partner_id = ? AND function_id = ? AND enrolment_id = ? AND name >= ? AND name > ?
    ORDER BY name LIMIT ?";

/// The same without the values: is what a run was given still so?
pub(super) const LIST_VERSIONS: &str = "-- list_state_versions
    SELECT name, version FROM state WHERE partner_id = ? AND function_id = ? AND enrolment_id = ? AND name >= ? AND name > ?
    ORDER BY name LIMIT ?";

pub(super) const DELETE: &str = "-- delete_state
    DELETE FROM state WHERE partner_id = ? AND function_id = ? AND enrolment_id = ? AND name = ?";

impl Store {
    pub async fn get_state(&self, scope: &Scope, name: &str) -> Result<Option<(Vec<u8>, Version)>> {
        let row = self.db.row(GET, args![&scope.partner, &scope.function, scope.enrolment_text(), name]).await?;
        row.map(|row| Ok((row.bytes(0)?, row.text(1)?))).transpose()
    }

    pub async fn list_state(
        &self,
        scope: &Scope,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, Vec<u8>, Version)>> {
        listed(self.db.rows(LIST, list_args(scope, prefix, after, limit)).await?, prefix)
    }

    /// Keeps everyone but this execution, in all processes, from changing or depending on this state before `until`. `false`
    /// while another has it.
    pub async fn lock_state(&self, scope: &Scope, id: &ExecutionId, now: Millis, until: Millis) -> Result<bool> {
        const OTHER: &str = "-- state_lock
            SELECT 1 FROM state_locks WHERE partner_id = ? AND function_id = ? AND enrolment_id = ? AND execution_id <> ? AND until_ms > ?";
        self.db
            .tx("lock_state", &(scope, id, now, until), |tx, (scope, id, now, until)| {
                Box::pin(async move {
                    // Those who want it follow each other: a row that is not there cannot be locked.
                    if !functions::lock(tx, &scope.partner, &scope.function, Lock::Exclusive).await? {
                        return Ok(true);
                    }
                    let place = args![&scope.partner, &scope.function, scope.enrolment_text()];
                    if tx.row(OTHER, [place.clone(), args![*id, *now]].concat()).await?.is_some() {
                        return Ok(false);
                    }
                    let row = [place, args![*id, *until]].concat();
                    let key = ["partner_id", "function_id", "enrolment_id"];
                    tx.upsert("state_locks", &key, &["execution_id", "until_ms"], vec![row]).await?;
                    Ok(true)
                })
            })
            .await
    }

    pub async fn unlock_state(&self, scope: &Scope, id: &ExecutionId) -> Result<()> {
        const UNLOCK: &str = "-- unlock_state
            DELETE FROM state_locks WHERE partner_id = ? AND function_id = ? AND enrolment_id = ? AND execution_id = ?";
        let args = args![&scope.partner, &scope.function, scope.enrolment_text(), id];
        let _ = self.db.run(UNLOCK, args).await?;
        Ok(())
    }
}

/// Whose state is kept for which execution. Of all partners: there are hardly ever any.
pub(super) async fn locks(tx: &mut Tx<'_>, now: Millis) -> Result<HashMap<Scope, ExecutionId>> {
    const LOCKS: &str = "-- state_locks
        SELECT partner_id, function_id, enrolment_id, execution_id FROM state_locks WHERE until_ms > ?";
    let mut found = HashMap::new();
    for row in tx.rows(LOCKS, args![now]).await? {
        let scope = Scope {
            partner: row.id(0, "state_locks.partner_id")?,
            function: row.id(1, "state_locks.function_id")?,
            enrolment: if row.text(2)?.is_empty() { None } else { Some(row.id(2, "state_locks.enrolment_id")?) },
        };
        found.insert(scope, row.id(3, "state_locks.execution_id")?);
    }
    Ok(found)
}

pub(super) fn list_args(scope: &Scope, prefix: &str, after: Option<&str>, limit: u32) -> Vec<Value> {
    args![&scope.partner, &scope.function, scope.enrolment_text(), prefix, after.unwrap_or(""), limit]
}

pub(super) fn listed(rows: Vec<Row>, prefix: &str) -> Result<Vec<(String, Vec<u8>, Version)>> {
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let name = row.text(0)?;
        if !name.starts_with(prefix) {
            break;
        }
        found.push((name, row.bytes(1)?, row.text(2)?));
    }
    Ok(found)
}
