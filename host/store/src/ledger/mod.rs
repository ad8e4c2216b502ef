//! The ledger: commits many outcomes in one database transaction.
//!
//! For each outcome: does its attempt still hold the lease? are its reads still valid? can its effects be applied? Only
//! then is anything of it written. A rejected outcome leaves nothing behind and does not affect the others. The outcomes of
//! a group see each other's state in their order.
//!
//! A group is committed in three steps, so that the number of statements does not grow with the outcomes:
//! [`load`](Commit::load) locks and reads what the decisions depend on, [`decide`](Commit::decide) runs without the
//! database, and [`write`](Commit::write) writes. Locks are taken in one order everywhere (functions, executions,
//! enrolments, state; each by key), so that the groups of several processes wait for each other without deadlocks.

mod commit_marks;
mod load;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Mutex;

use larder_model::ids::{EventId, ExecutionId, FunctionId, PartnerId};
use larder_model::state::{Read, whole_number};
use larder_model::time::{Clock, Millis, rfc3339};
use larder_model::{Effect, Event, Execution, ExecutionStatus, StoredEvent, amount};
use larder_signals::crash::{self, Point};

use self::load::{
    Account, ActiveEnrolments, EntryValue, FunctionNow, Lease, StateEntry, active_enrolments_of, functions_of, holders,
    list_is_unchanged, saved_by, state_of,
};
use crate::db::{Tx, Value};
use crate::event_roots::{Descendants, Root};
use crate::state::{self, Scope};
use crate::{Error, Result, Store, args, events, executions};

/// An execution that has ended, with the changes that it requests.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The record to be written.
    pub execution: Execution,
    /// The holder of its lease; `None` if it has no row yet.
    pub holder: Option<String>,
    /// If set, the execution returns to the queue for this time instead of ending.
    pub retry_at_ms: Option<Millis>,
    pub reads: Vec<Read>,
    pub effects: Vec<Effect>,
    /// The end user of an enrolled run.
    pub end_user: Option<String>,
    /// The depth of the events that it emits.
    pub depth: u32,
    pub root: Root,
    /// When the function that ran was created; `None` accepts any function with its id. A function that was deleted and
    /// created again is another one.
    pub function_made_at_ms: Option<Millis>,
}

impl Ended {
    /// The approximate number of keys that it reads or writes.
    pub fn keys(&self) -> usize {
        let read = |read: &Read| match read {
            Read::Key { .. } => 1,
            Read::List { seen, .. } => 1 + seen.len(),
        };
        self.reads.iter().map(read).sum::<usize>() + self.effects.len()
    }

    /// The approximate number of bytes that it writes.
    pub fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let effect = |effect: &Effect| match effect {
            Effect::SetState { key, value } => key.len() + value.len(),
            Effect::DeleteState { key } | Effect::IncrementState { key, .. } => key.len(),
            Effect::Transaction { id, end_user, memo, .. } => id.len() + text(end_user) + text(memo),
            Effect::Emit(event) => event.data.len() + event.kind.len() + text(&event.subject),
        };
        self.effects.iter().map(effect).sum::<usize>() + self.execution.logs.len() + self.execution.errors.len()
    }
}

/// The result of committing one outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitResult {
    Committed {
        emitted: bool,
    },
    /// Something that the run has read has changed: run it again.
    Conflict,
    /// The lease expired and another holder has it, or the execution is already written: the outcome is dropped.
    Fenced,
    /// The function was deleted: the outcome is dropped.
    Gone,
    /// An effect cannot be applied. The execution is recorded as failed with this text, and as a dead letter if another run
    /// would fail in the same way.
    Refused {
        why: String,
        dead_lettered: bool,
    },
}

/// Creates a unique name for this process.
pub(super) fn process() -> String {
    commit_marks::mark()
}

impl Store {
    /// Commits a group and returns the results in its order. `Unknown` if the connection broke during COMMIT and the
    /// outcome could not be looked up.
    pub async fn commit_outcomes(&self, group: &[Ended], clock: &Clock) -> Result<Vec<CommitResult>> {
        self.write_outcomes(group, None, clock).await
    }

    /// Records an outcome as failed for this reason, without any of its effects.
    pub async fn refuse_outcome(&self, ended: &Ended, why: &str, clock: &Clock) -> Result<CommitResult> {
        let results = self.write_outcomes(std::slice::from_ref(ended), Some(why), clock).await?;
        Ok(results.into_iter().next().expect("one for each"))
    }

    async fn write_outcomes(&self, group: &[Ended], refused: Option<&str>, clock: &Clock) -> Result<Vec<CommitResult>> {
        loop {
            let decided = Mutex::new(vec![]);
            let mark = commit_marks::mark();
            let with = (group, refused, clock, &decided, (&*self.process, mark.as_str()));
            let written = self
                .ledger
                .tx("commit_outcomes", &with, |tx, (group, refused, clock, decided, (process, mark))| {
                    Box::pin(async move {
                        let mut commit = Commit::load(tx, group, *refused, clock).await?;
                        let results = group.iter().map(|ended| commit.decide(ended)).collect();
                        *decided.lock().expect("no panic under the lock") = results;
                        let now = commit.now;
                        commit.write(tx).await?;
                        commit_marks::leave(tx, process, mark, now).await?;
                        crash::point(Point::LedgerWriting);
                        Ok(())
                    })
                })
                .await;
            let results = decided.into_inner().expect("no panic under the lock");
            match written {
                Ok(()) => {
                    crash::point(Point::LedgerCommitted);
                    return Ok(results);
                }
                Err(Error::Unknown(why)) => match self.was_committed(&mark).await {
                    Some(true) => return Ok(results),
                    // Nothing was written, so everything can be decided again.
                    Some(false) => {
                        tracing::info!(why, "a commit whose answer was lost did not take place; it is repeated")
                    }
                    None => return Err(Error::Unknown(why)),
                },
                Err(err) => return Err(err),
            }
        }
    }
}

/// The state of a group that is being committed.
struct Commit<'a> {
    now: Millis,
    clock: &'a Clock,
    /// The reason to refuse all of it, if there is one.
    refused: Option<&'a str>,
    /// The existing functions.
    functions: HashMap<(PartnerId, FunctionId), FunctionNow>,
    leases: HashMap<(PartnerId, ExecutionId), Lease>,
    active: ActiveEnrolments,
    /// The savings within the period of each grant, including the outcomes decided so far.
    saved: HashMap<Account, i64>,
    descendants: Descendants,
    /// The state including the outcomes decided so far.
    state: HashMap<(Scope, String), Option<StateEntry>>,
    /// The keys of state to be written.
    changed: BTreeSet<(Scope, String)>,
    changed_scopes: HashSet<Scope>,
    /// Executions that have listed state and would get another list now.
    stale_lists: HashSet<ExecutionId>,
    /// State that is locked for one execution.
    locks: HashMap<Scope, ExecutionId>,
    rows: Rows,
}

/// The rows to be written at the end.
#[derive(Default)]
struct Rows {
    ended: Vec<Execution>,
    dead_letters: Vec<Execution>,
    retried: Vec<(Execution, Millis)>,
    inserted: Vec<Vec<Value>>,
    transactions: Vec<Vec<Value>>,
    events: Vec<Vec<Value>>,
}

impl<'a> Commit<'a> {
    async fn load(tx: &mut Tx<'_>, group: &[Ended], refused: Option<&'a str>, clock: &'a Clock) -> Result<Commit<'a>> {
        let functions = functions_of(tx, group).await?;
        let leases = holders(tx, group.iter().map(|ended| (&ended.execution.partner, &ended.execution.id))).await?;
        let active = active_enrolments_of(tx, group).await?;
        let state = state_of(tx, group).await?.into_iter().map(|(key, entry)| (key, Some(entry))).collect();
        let now = clock.now_ms();
        let saved = saved_by(tx, group, &functions, now).await?;
        let descendants = Descendants::of(tx, group, now).await?;
        let locks = if group.iter().any(touches_state) { state::locks(tx, now).await? } else { HashMap::new() };
        let mut stale_lists = HashSet::new();
        for ended in group {
            for read in &ended.reads {
                if let Read::List { prefix, after, limit, seen } = read
                    && !list_is_unchanged(tx, &scope(ended), prefix, after.as_deref(), *limit, seen).await?
                {
                    stale_lists.insert(ended.execution.id.clone());
                }
            }
        }
        Ok(Commit {
            now,
            clock,
            refused,
            functions,
            leases,
            active,
            saved,
            descendants,
            state,
            changed: BTreeSet::new(),
            changed_scopes: HashSet::new(),
            stale_lists,
            locks,
            rows: Rows::default(),
        })
    }

    fn decide(&mut self, ended: &Ended) -> CommitResult {
        let e = &ended.execution;
        let function = self.functions.get(&(e.partner.clone(), e.function.clone()));
        let same = |now: &&FunctionNow| ended.function_made_at_ms.is_none_or(|made| made == now.made_at_ms);
        let Some(enabled) = function.filter(same).map(|function| function.enabled) else {
            return CommitResult::Gone;
        };
        let held = match (&ended.holder, self.leases.get(&(e.partner.clone(), e.id.clone()))) {
            (Some(holder), Some(lease)) => lease.holder.as_ref() == Some(holder) && lease.attempt == e.attempt,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !held {
            return CommitResult::Fenced;
        }
        if let Some(why) = self.refused {
            return self.refuse(ended, why.to_owned(), ended.holder.is_some());
        }
        let scope = scope(ended);
        let locked_by_another = touches_state(ended) && self.locks.get(&scope).is_some_and(|id| *id != e.id);
        if locked_by_another || !ended.reads.iter().all(|read| self.is_unchanged(&scope, &e.id, read)) {
            return CommitResult::Conflict;
        }
        let stopped = if !enabled && !ended.effects.is_empty() {
            Some("the function is disabled: none of its effects is applied".to_owned())
        } else {
            self.enrolment_refusal(ended)
        };
        if let Some(why) = stopped {
            return self.refuse(ended, why, false);
        }
        let applied = self
            .granted(ended)
            .and_then(|saved| Ok((saved, self.descendants.with(ended)?, self.writes(&scope, &ended.effects)?)));
        match applied {
            Err(why) => self.refuse(ended, why, ended.holder.is_some()),
            Ok((saved, descendants, writes)) => {
                self.saved.extend(saved);
                self.descendants.set(ended, descendants);
                for (name, value) in writes {
                    let key = (scope.clone(), name);
                    let entry = |value| StateEntry { version: e.id.to_string(), value: EntryValue::Written(value) };
                    self.state.insert(key.clone(), value.map(entry));
                    self.changed.insert(key);
                    self.changed_scopes.insert(scope.clone());
                }
                let emitted = self.collect(ended);
                self.record(ended, e.clone());
                CommitResult::Committed { emitted }
            }
        }
    }

    /// Would this read return the same now?
    fn is_unchanged(&self, scope: &Scope, id: &ExecutionId, read: &Read) -> bool {
        match read {
            Read::Key { key, version } => {
                let now = self.state.get(&(scope.clone(), key.clone())).and_then(Option::as_ref);
                now.map(|entry| &entry.version) == version.as_ref()
            }
            // What an outcome of this group wrote is not in the database yet.
            Read::List { .. } => !self.stale_lists.contains(id) && !self.changed_scopes.contains(scope),
        }
    }

    /// Returns why effects for this enrolment, or for an end user that the function named, must not be applied: nothing is
    /// saved for anybody who paused or withdrew during the run.
    fn enrolment_refusal(&self, ended: &Ended) -> Option<String> {
        let e = &ended.execution;
        if ended.effects.is_empty() {
            return None;
        }
        if let Some(id) = &e.enrolment {
            let active = self.active.enrolments.contains(&(e.partner.clone(), id.clone()));
            return (!active).then(|| "the enrolment was paused or removed during this run".to_owned());
        }
        let gone = named_savers(ended).find(|end_user| {
            !self.active.end_users.contains(&(e.partner.clone(), e.function.clone(), (*end_user).clone()))
        })?;
        Some(format!("end user {gone:?} has no active enrolment in this function any more"))
    }

    /// Returns the savings including this outcome, or why the effective grants do not cover it.
    fn granted(&self, ended: &Ended) -> std::result::Result<HashMap<Account, i64>, String> {
        let e = &ended.execution;
        let mut saved = HashMap::new();
        // Most outcomes change nothing, so no grants are loaded for them.
        let Some(grants) = self.functions.get(&(e.partner.clone(), e.function.clone())).and_then(|f| f.grants.as_ref())
        else {
            return Ok(saved);
        };
        for effect in &ended.effects {
            grants.allow(effect, amount::exponent)?;
            let Effect::Transaction { end_user, amount_minor, currency, .. } = effect else { continue };
            let grant = &grants.transactions[currency];
            let account = account(ended, saver(ended, end_user.as_ref()), currency);
            let before = *saved.get(&account).or_else(|| self.saved.get(&account)).unwrap_or(&0);
            if let (Some(after), Ok(sum)) = (before.checked_add(*amount_minor), amount::minor(&grant.sum, currency))
                && after <= sum
            {
                saved.insert(account, after);
                continue;
            }
            let days = grant.period.days();
            return Err(format!(
                "the grant transactions.{currency} is for {} {currency} within {days} day{} for one end user, {} are \
                 saved already and this would save {} more (larder.toml, [grants]: transactions.{currency}.sum)",
                grant.sum,
                if days == 1 { "" } else { "s" },
                amount::decimal(before, currency),
                amount::decimal(*amount_minor, currency)
            ));
        }
        Ok(saved)
    }

    /// Returns the results of the state effects, or why one cannot be applied.
    fn writes(&self, scope: &Scope, effects: &[Effect]) -> std::result::Result<Writes, String> {
        let mut writes = Writes::new();
        for effect in effects {
            match effect {
                Effect::SetState { key, value } => {
                    writes.insert(key.clone(), Some(value.to_vec()));
                }
                Effect::DeleteState { key } => {
                    writes.insert(key.clone(), None);
                }
                Effect::IncrementState { key, by } => {
                    // The existing value, and the number that it is.
                    let present = match writes.get(key) {
                        Some(written) => written.as_deref().map(whole_number),
                        None => {
                            let stored = self.state.get(&(scope.clone(), key.clone())).and_then(Option::as_ref);
                            stored.map(StateEntry::number)
                        }
                    };
                    let sum = match present {
                        None => Some(*by),
                        Some(number) => number.and_then(|number| number.checked_add(*by)),
                    };
                    let Some(sum) = sum else {
                        return Err(format!(
                            "state {key:?} cannot be incremented by {by}: its value is not a whole number, or the sum would exceed 64 bits"
                        ));
                    };
                    writes.insert(key.clone(), Some(sum.to_string().into_bytes()));
                }
                Effect::Transaction { .. } | Effect::Emit(_) => {}
            }
        }
        Ok(writes)
    }

    /// Records the execution as failed, without its effects.
    fn refuse(&mut self, ended: &Ended, why: String, dead_lettered: bool) -> CommitResult {
        let mut failed = ended.execution.clone();
        failed.status = ExecutionStatus::Failed;
        failed.response_status = 500;
        failed.errors.clone_from(&why);
        failed.buried_at_ms = dead_lettered.then_some(self.now);
        self.record(ended, failed);
        CommitResult::Refused { why, dead_lettered }
    }

    fn record(&mut self, ended: &Ended, mut execution: Execution) {
        execution.updated_at_ms = self.now;
        match (&ended.holder, ended.retry_at_ms) {
            (None, _) => self.rows.inserted.push(executions::row(&execution)),
            (Some(_), Some(at)) => self.rows.retried.push((execution, at)),
            (Some(_), None) if execution.buried_at_ms.is_some() => self.rows.dead_letters.push(execution),
            (Some(_), None) => self.rows.ended.push(execution),
        }
    }

    /// Collects the rows of the transactions and events. Returns whether there are events.
    fn collect(&mut self, ended: &Ended) -> bool {
        let e = &ended.execution;
        let events_before = self.rows.events.len();
        for effect in &ended.effects {
            match effect {
                Effect::Transaction { id, end_user, amount_minor, currency, memo, .. } => {
                    let end_user = saver(ended, end_user.as_ref());
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
            data: event.data.clone(),
            attributes: event.attributes.clone(),
            depth: ended.depth,
            root: Some(ended.root.key.clone()),
            created_at_ms: self.now,
        }
    }

    async fn write(self, tx: &mut Tx<'_>) -> Result<()> {
        const STATE_KEY: [&str; 4] = ["partner_id", "function_id", "enrolment_id", "name"];
        executions::end(tx, self.rows.ended).await?;
        for execution in &self.rows.dead_letters {
            executions::dead_letter(tx, execution).await?;
        }
        for (execution, at) in &self.rows.retried {
            executions::retry(tx, execution, *at).await?;
        }
        executions::insert_ended(tx, self.rows.inserted).await?;
        let transactions =
            format!("-- insert_transactions\n INSERT INTO transactions ({})", crate::transactions::COLUMNS);
        tx.insert(&transactions, self.rows.transactions).await?;
        let mut set = Vec::new();
        let mut deleted: BTreeMap<Scope, Vec<Value>> = BTreeMap::new();
        for key in &self.changed {
            let (scope, name) = key;
            match self.state.get(key).and_then(Option::as_ref) {
                Some(StateEntry { version, value: EntryValue::Written(value) }) => {
                    let entry = args![&scope.partner, &scope.function, scope.enrolment_text(), name];
                    set.push([entry, args![value.as_slice(), version]].concat());
                }
                Some(StateEntry { value: EntryValue::Stored(_), .. }) => unreachable!("what was changed is written"),
                None => deleted.entry(scope.clone()).or_default().push(name.into()),
            }
        }
        tx.upsert("state", &STATE_KEY, &["value", "version"], set).await?;
        for (scope, names) in deleted {
            state::delete(tx, &scope, names).await?;
        }
        self.descendants.write(tx).await?;
        events::insert(tx, self.rows.events).await
    }
}

/// State after an outcome: the new value, or none if it is deleted.
type Writes = BTreeMap<String, Option<Vec<u8>>>;

fn scope(ended: &Ended) -> Scope {
    let e = &ended.execution;
    Scope { partner: e.partner.clone(), function: e.function.clone(), enrolment: e.enrolment.clone() }
}

/// Does it change state or depend on it?
fn touches_state(ended: &Ended) -> bool {
    let state = |effect: &Effect| !matches!(effect, Effect::Transaction { .. } | Effect::Emit(_));
    !ended.reads.is_empty() || ended.effects.iter().any(state)
}

/// Whose saving it is; the runtime has checked that exactly one of the two is there.
fn saver<'e>(ended: &'e Ended, named: Option<&'e String>) -> &'e str {
    ended.end_user.as_ref().or(named).map_or("", String::as_str)
}

fn account(ended: &Ended, end_user: &str, currency: &str) -> Account {
    let e = &ended.execution;
    (e.partner.clone(), e.function.clone(), end_user.to_owned(), currency.to_owned())
}

/// Whom a function that does not run for one end user saves for.
fn named_savers(ended: &Ended) -> impl Iterator<Item = &String> {
    ended.effects.iter().filter_map(|effect| match effect {
        Effect::Transaction { end_user, .. } => end_user.as_ref(),
        _ => None,
    })
}
