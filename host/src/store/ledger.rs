//! Outcomes, many in one database transaction.
//!
//! For each: is its attempt still the holder? would its reads give the same again? can its effects be applied? Only
//! then anything of it is written; what drops out leaves nothing behind and does not disturb the others. The outcomes
//! of a group see each other's state in their order.

use std::collections::{BTreeMap, HashMap};

use larder_runtime::imports::state::Read;
use larder_runtime::{Effect, Event};

use super::db::{Tx, Value, json};
use super::state::{self, Scope};
use super::{Result, Store, enrolments, events, executions, functions};
use crate::args;
use crate::clock::{Clock, Millis, rfc3339};
use crate::ids::{EventId, FunctionId, PartnerId};
use crate::model::{Execution, ExecutionStatus, StoredEvent};

/// An execution that has ended, with what it wants to change.
#[derive(Clone, Debug)]
pub struct Ended {
    /// As it shall be recorded.
    pub execution: Execution,
    /// Who claimed it from the queue; `None` if it has no row yet.
    pub holder: Option<String>,
    /// Put back into the queue, to run then, instead of being ended.
    pub retry_at_ms: Option<Millis>,
    pub reads: Vec<Read>,
    pub effects: Vec<Effect>,
    /// Whom an enrolled run saves for.
    pub end_user: Option<String>,
    /// Of the events that it emits.
    pub depth: u32,
}

/// What became of an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Committed {
        emitted: bool,
    },
    /// Something that the run read has changed: run it again.
    Conflict,
    /// The claim ran out and somebody else has it, or the function is gone: the outcome is dropped.
    Fenced,
    /// An effect cannot be applied; the execution is recorded as failed with this text.
    Refused(String),
}

impl Store {
    /// Writes a group. The verdicts are in its order.
    pub async fn commit_outcomes(&self, group: &[Ended], clock: &Clock) -> Result<Vec<Verdict>> {
        self.db
            .tx("commit_outcomes", &(group, clock), |tx, (group, clock)| {
                Box::pin(async move {
                    let mut commit =
                        Commit { now: clock.now_ms(), clock, functions: HashMap::new(), rows: Rows::default() };
                    let mut verdicts = Vec::with_capacity(group.len());
                    for ended in *group {
                        verdicts.push(commit.one(tx, ended).await?);
                    }
                    commit.rows.insert(tx).await?;
                    Ok(verdicts)
                })
            })
            .await
    }
}

struct Commit<'a> {
    now: Millis,
    clock: &'a Clock,
    functions: HashMap<(PartnerId, FunctionId), bool>,
    rows: Rows,
}

/// What goes in as multi-row statements at the end.
#[derive(Default)]
struct Rows {
    executions: Vec<Vec<Value>>,
    transactions: Vec<Vec<Value>>,
    events: Vec<Vec<Value>>,
}

impl Rows {
    async fn insert(self, tx: &mut Tx<'_>) -> Result<()> {
        executions::insert_ended(tx, self.executions).await?;
        let transactions =
            format!("-- insert_transactions\n INSERT INTO transactions ({})", super::transactions::COLUMNS);
        tx.insert(&transactions, self.transactions).await?;
        events::insert(tx, self.events).await
    }
}

/// State after an outcome: the value to stand there, or none.
type Writes = BTreeMap<String, Option<Vec<u8>>>;

impl Commit<'_> {
    async fn one(&mut self, tx: &mut Tx<'_>, ended: &Ended) -> Result<Verdict> {
        const HOLDER: &str = "-- execution_holder
            SELECT 1 FROM executions WHERE partner_id = ? AND id = ? AND lease_holder = ? AND attempt = ?";
        let e = &ended.execution;
        if !self.function_exists(tx, &e.partner, &e.function).await? {
            return Ok(Verdict::Fenced);
        }
        if let Some(holder) = &ended.holder
            && tx.row(HOLDER, args![&e.partner, &e.id, holder, e.attempt]).await?.is_none()
        {
            return Ok(Verdict::Fenced);
        }
        let scope = Scope { partner: e.partner.clone(), function: e.function.clone(), enrolment: e.enrolment.clone() };
        for read in &ended.reads {
            if !still_true(tx, &scope, read).await? {
                return Ok(Verdict::Conflict);
            }
        }
        let checked = match nobody_to_save_for(tx, ended).await? {
            Some(why) => Err(why),
            None => writes(tx, &scope, &ended.effects).await?,
        };
        let writes = match checked {
            Ok(writes) => writes,
            Err(why) => {
                let mut failed = e.clone();
                failed.status = ExecutionStatus::Failed;
                failed.response_status = 500;
                failed.errors = why.clone();
                self.record(tx, ended, &failed).await?;
                return Ok(Verdict::Refused(why));
            }
        };
        write_state(tx, &scope, e.id.as_str(), writes).await?;
        let emitted = self.collect(ended);
        self.record(tx, ended, e).await?;
        Ok(Verdict::Committed { emitted })
    }

    async fn function_exists(&mut self, tx: &mut Tx<'_>, partner: &PartnerId, function: &FunctionId) -> Result<bool> {
        let key = (partner.clone(), function.clone());
        if let Some(known) = self.functions.get(&key) {
            return Ok(*known);
        }
        let exists = functions::exists(tx, partner, function).await?;
        self.functions.insert(key, exists);
        Ok(exists)
    }

    /// Rows of the transactions and events; gives whether there are events.
    fn collect(&mut self, ended: &Ended) -> bool {
        let e = &ended.execution;
        let events_before = self.rows.events.len();
        for effect in &ended.effects {
            match effect {
                Effect::Transaction { id, end_user, amount_minor, currency, memo, .. } => {
                    // The runtime has checked that exactly one of the two is there.
                    let end_user = ended.end_user.as_ref().or(end_user.as_ref()).map_or("", String::as_str);
                    self.rows.transactions.push(args![
                        &e.partner,
                        id,
                        &e.id,
                        &e.function,
                        e.enrolment.as_ref(),
                        end_user,
                        *amount_minor,
                        currency,
                        memo.as_ref(),
                        self.now
                    ]);
                }
                Effect::Emit(event) => self.rows.events.push(events::row(&self.emitted(ended, event))),
                Effect::SetState { .. } | Effect::DeleteState { .. } | Effect::IncrementState { .. } => {}
            }
        }
        self.rows.events.len() > events_before
    }

    fn emitted(&self, ended: &Ended, event: &Event) -> StoredEvent {
        StoredEvent {
            partner: ended.execution.partner.clone(),
            row: EventId::generate(self.clock),
            id: event.id.clone(),
            source: format!("/functions/{}", ended.execution.function),
            kind: event.kind.clone(),
            subject: event.subject.clone(),
            time: rfc3339(self.now),
            data_content_type: event.data_content_type.clone(),
            data: event.data.to_vec(),
            depth: ended.depth,
            created_at_ms: self.now,
        }
    }

    async fn record(&mut self, tx: &mut Tx<'_>, ended: &Ended, e: &Execution) -> Result<()> {
        const END: &str = "-- end_execution
            UPDATE executions SET status = ?, deployment_id = ?, request = ?, response_status = ?, response_headers = ?, logs = ?, errors = ?, wall_us = ?,
                cpu_us = ?, memory_peak_bytes = ?, updated_at_ms = ?, due_at_ms = NULL, lease_holder = NULL, body = NULL
            WHERE partner_id = ? AND id = ? AND lease_holder = ? AND attempt = ?";
        const RETRY: &str = "-- retry_execution
            UPDATE executions SET status = 'waiting', errors = ?, updated_at_ms = ?, due_at_ms = ?, failures = ?, lost = 0, lease_holder = NULL
            WHERE partner_id = ? AND id = ? AND lease_holder = ? AND attempt = ?";
        match (&ended.holder, ended.retry_at_ms) {
            (None, _) => {
                self.rows.executions.push(executions::row(e));
                Ok(())
            }
            (Some(holder), Some(at)) => {
                let args = args![&e.errors, self.now, at, e.failures, &e.partner, &e.id, holder, e.attempt];
                tx.run(RETRY, args).await?.exactly_one("execution")
            }
            (Some(holder), None) => {
                let args = args![
                    e.status.word(),
                    e.deployment.as_ref(),
                    json(&e.request.recorded()),
                    e.response_status,
                    json(&e.response_headers),
                    &e.logs,
                    &e.errors,
                    e.wall_us,
                    e.cpu_us,
                    e.memory_peak_bytes,
                    self.now,
                    &e.partner,
                    &e.id,
                    holder,
                    e.attempt
                ];
                tx.run(END, args).await?.exactly_one("execution")
            }
        }
    }
}

/// Why effects for this enrolment, or for an end user that the function named, must not be applied: whoever paused or
/// withdrew while the run was under way saves nothing more.
async fn nobody_to_save_for(tx: &mut Tx<'_>, ended: &Ended) -> Result<Option<String>> {
    const ENROLMENT: &str = "-- enrolment_is_active
        SELECT 1 FROM enrolments WHERE partner_id = ? AND id = ? AND status = 'active'";
    let e = &ended.execution;
    if ended.effects.is_empty() {
        return Ok(None);
    }
    if let Some(id) = &e.enrolment {
        let active = tx.row(ENROLMENT, args![&e.partner, id]).await?.is_some();
        return Ok((!active).then(|| "the enrolment was paused or removed during this run".to_owned()));
    }
    for effect in &ended.effects {
        if let Effect::Transaction { end_user: Some(end_user), .. } = effect
            && tx.row(enrolments::IS_ENROLLED, args![&e.partner, &e.function, end_user]).await?.is_none()
        {
            return Ok(Some(format!("end user {end_user:?} has no active enrolment in this function any more")));
        }
    }
    Ok(None)
}

/// Would this read give the same again?
async fn still_true(tx: &mut Tx<'_>, scope: &Scope, read: &Read) -> Result<bool> {
    match read {
        Read::Key { key, version } => Ok(get(tx, scope, key).await?.map(|(_, version)| version) == *version),
        Read::List { prefix, after, limit, seen } => {
            let rows = tx.rows(state::LIST_VERSIONS, state::list_args(scope, prefix, after.as_deref(), *limit)).await?;
            let mut now = Vec::with_capacity(rows.len());
            for row in rows {
                now.push((row.text(0)?, row.text(1)?));
            }
            Ok(now.iter().take_while(|(name, _)| name.starts_with(prefix.as_str())).eq(seen))
        }
    }
}

async fn get(tx: &mut Tx<'_>, scope: &Scope, key: &str) -> Result<Option<(Vec<u8>, String)>> {
    let row = tx.row(state::GET, args![&scope.partner, &scope.function, scope.enrolment_text(), key]).await?;
    row.map(|row| Ok((row.bytes(0)?, row.text(1)?))).transpose()
}

/// What the state effects come to, or why one cannot be applied.
async fn writes(tx: &mut Tx<'_>, scope: &Scope, effects: &[Effect]) -> Result<Result<Writes, String>> {
    let mut writes = Writes::new();
    for effect in effects {
        match effect {
            Effect::SetState { key, value } => {
                writes.insert(key.clone(), Some(value.clone()));
            }
            Effect::DeleteState { key } => {
                writes.insert(key.clone(), None);
            }
            Effect::IncrementState { key, by } => {
                let present = match writes.get(key) {
                    Some(value) => value.clone(),
                    None => get(tx, scope, key).await?.map(|(value, _)| value),
                };
                let sum = match present {
                    None => Some(*by),
                    Some(bytes) => whole_number(&bytes).and_then(|number| number.checked_add(*by)),
                };
                match sum {
                    Some(sum) => writes.insert(key.clone(), Some(sum.to_string().into_bytes())),
                    None => {
                        return Ok(Err(format!(
                            "state {key:?} cannot be incremented by {by}: no whole number stands there, or it would leave 64 bits"
                        )));
                    }
                };
            }
            Effect::Transaction { .. } | Effect::Emit(_) => {}
        }
    }
    Ok(Ok(writes))
}

fn whole_number(bytes: &[u8]) -> Option<i64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

async fn write_state(tx: &mut Tx<'_>, scope: &Scope, version: &str, writes: Writes) -> Result<()> {
    const DELETE: &str = "-- delete_state
        DELETE FROM state WHERE partner_id = ? AND function_id = ? AND enrolment_id = ? AND name = ?";
    for (name, value) in writes {
        match value {
            Some(value) => {
                let key = [
                    ("partner_id", (&scope.partner).into()),
                    ("function_id", (&scope.function).into()),
                    ("enrolment_id", scope.enrolment_text().into()),
                    ("name", name.into()),
                ];
                tx.upsert("state", &key, &[("value", value.into()), ("version", version.into())]).await?;
            }
            None => {
                let _ = tx.run(DELETE, args![&scope.partner, &scope.function, scope.enrolment_text(), name]).await?;
            }
        }
    }
    Ok(())
}
