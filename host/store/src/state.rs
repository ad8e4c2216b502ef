//! State of functions and enrolments. It is read here and written only by [`crate::ledger`].

use std::collections::HashMap;

use larder_model::ids::{EnrolmentId, ExecutionId, FunctionId, PartnerId};
use larder_model::state::Version;
use larder_model::time::Millis;

use crate::db::{Lock, Row, Tx, Value, parts};
use crate::ledger::{Neighbours, look_ups};
use crate::{Result, Store, args, functions};

/// The owner of state: a function, or one of its enrolments.
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

/// A key of a function's state, and the enrolment that it belongs to, if it is not the function's own.
pub type Place = (Option<EnrolmentId>, String);

pub(super) const GET: &str = "-- get_state
    SELECT value, version FROM state WHERE partner_id = ? AND function_id = ? AND enrolment_id = ? AND name = ?";
/// A range instead of a prefix match, so that the primary key serves it; the caller drops the rows after the prefix.
pub(super) const LIST: &str = "-- list_state
    SELECT name, value, version FROM state WHERE partner_id = ? AND function_id = ? AND enrolment_id = ? AND name >= ? AND name > ?
    ORDER BY name LIMIT ?";

/// The same list without values: it checks whether a list that a run has read is unchanged.
pub(super) const LIST_VERSIONS: &str = "-- list_state_versions
    SELECT name, version FROM state WHERE partner_id = ? AND function_id = ? AND enrolment_id = ? AND name >= ? AND name > ?
    ORDER BY name LIMIT ?";

impl Store {
    pub async fn get_state(&self, scope: &Scope, name: &str) -> Result<Option<(Vec<u8>, Version)>> {
        let row = self.db.row(GET, args![&scope.partner, &scope.function, scope.enrolment_text(), name]).await?;
        row.map(|row| Ok((row.bytes(0)?, row.text(1)?))).transpose()
    }

    /// Several keys of a function's state, each with the enrolment that it belongs to. One without a value is not among the
    /// answers.
    pub async fn get_states(
        &self,
        partner: &PartnerId,
        function: &FunctionId,
        mut places: Vec<Place>,
    ) -> Result<HashMap<Place, (Vec<u8>, Version)>> {
        if places.len() == 1
            && let Some((enrolment, name)) = places.pop()
        {
            let scope = Scope { partner: partner.clone(), function: function.clone(), enrolment };
            let found = self.get_state(&scope, &name).await?;
            return Ok(found.map(|found| ((scope.enrolment, name), found)).into_iter().collect());
        }
        let entries: Vec<(&str, &str)> = places
            .iter()
            .map(|(enrolment, name)| (enrolment.as_ref().map_or("", EnrolmentId::as_str), name.as_str()))
            .collect();
        let mut found = HashMap::new();
        for (sql, args) in look_ups("enrolment_id, name, value, version", &entries, Neighbours::Unknown) {
            for row in self.db.rows(&sql, [args![partner, function], args].concat()).await? {
                let enrolment = if row.text(0)?.is_empty() { None } else { Some(row.id(0, "state.enrolment_id")?) };
                found.insert((enrolment, row.text(1)?), (row.bytes(2)?, row.text(3)?));
            }
        }
        Ok(found)
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

    /// Locks this state for one execution until `until`: no other execution, in any process, may change it or depend on it.
    /// Returns `false` while another execution has the lock.
    pub async fn lock_state(&self, scope: &Scope, id: &ExecutionId, now: Millis, until: Millis) -> Result<bool> {
        const OTHER: &str = "-- state_lock
            SELECT 1 FROM state_locks WHERE partner_id = ? AND function_id = ? AND enrolment_id = ? AND execution_id <> ? AND until_ms > ?";
        self.db
            .tx("lock_state", &(scope, id, now, until), |tx, (scope, id, now, until)| {
                Box::pin(async move {
                    // Concurrent callers are serialized here: a row that does not exist cannot be locked.
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

/// The locks on state, across all partners. There are hardly ever any.
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

/// Deletes these keys of one scope.
pub(super) async fn delete(tx: &mut Tx<'_>, scope: &Scope, names: Vec<Value>) -> Result<()> {
    for names in parts(names) {
        let sql = format!(
            "-- delete_state
            DELETE FROM state WHERE partner_id = ? AND function_id = ? AND enrolment_id = ? AND name IN ({})",
            names.marks
        );
        let place = args![&scope.partner, &scope.function, scope.enrolment_text()];
        let _ = tx.run(&sql, [place, names.args].concat()).await?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use larder_model::Effect;
    use larder_model::Grants;

    use super::*;
    use crate::Root;
    use crate::ledger::{CommitResult, Ended, Origin};
    use larder_model::Execution;
    use larder_model::ExecutionStatus;
    use larder_model::Function;
    use larder_model::Trigger;
    use larder_model::time::Clock;

    fn ended(id: &ExecutionId, scope: &Scope, now: Millis) -> Ended {
        let (partner, function) = (scope.partner.clone(), scope.function.clone());
        Ended {
            execution: Execution::new(partner, id.clone(), function, Trigger::Http, ExecutionStatus::Completed, now),
            origin: Origin::Call,
            retry_at_ms: None,
            reads: vec![],
            effects: vec![Effect::IncrementState { key: "count".into(), by: 1 }],
            end_user: None,
            depth: 1,
            root: Root { key: id.to_string(), descendants_max: 1 },
            function_made_at_ms: None,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_state_lock_excludes_other_executions_until_released_or_expired() {
        let folder = tempfile::tempdir().unwrap();
        let settings = larder_model::settings::Settings::load(None, &[]).unwrap();
        let store = Store::open(&settings.database, folder.path()).await.unwrap();
        let clock = Clock::manual(1_000);
        let scope = Scope { partner: "p".parse().unwrap(), function: "f".parse().unwrap(), enrolment: None };
        store.insert_partner(&scope.partner, "P", 0).await.unwrap();
        let grants = Grants { state: true, ..Grants::default() };
        let function = Function { grants, ..Function::new(scope.partner.clone(), scope.function.clone(), 0) };
        store.insert_function(&function).await.unwrap();
        let ids: Vec<ExecutionId> = (0..6).map(|_| ExecutionId::generate(&clock)).collect();
        let commit =
            async |id: &ExecutionId| store.commit_outcomes(&[ended(id, &scope, 0)], &clock).await.unwrap().remove(0);
        let committed = CommitResult::Committed { emitted: false };

        assert!(store.lock_state(&scope, &ids[0], 1_000, 2_000).await.unwrap());
        assert!(!store.lock_state(&scope, &ids[1], 1_000, 2_000).await.unwrap());
        assert_eq!(commit(&ids[1]).await, CommitResult::Conflict);
        assert_eq!(commit(&ids[0]).await, committed);
        store.unlock_state(&scope, &ids[0]).await.unwrap();
        assert_eq!(commit(&ids[1]).await, committed);
        // A committed outcome is not written again.
        assert_eq!(commit(&ids[1]).await, CommitResult::Fenced);

        assert!(store.lock_state(&scope, &ids[2], 1_000, 2_000).await.unwrap());
        clock.advance(1_001);
        assert_eq!(commit(&ids[3]).await, committed);
        assert!(store.lock_state(&scope, &ids[4], clock.now_ms(), 3_000).await.unwrap());
        let (value, _) = store.get_state(&scope, "count").await.unwrap().unwrap();
        assert_eq!(value, b"3");
    }
}
