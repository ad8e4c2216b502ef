//! Decides a group without a database: the result of each outcome, given the loaded and locked rows, and the rows to be written.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use larder_model::ids::{EventId, ExecutionId, FunctionId, PartnerId};
use larder_model::state::{Read, whole_number};
use larder_model::time::{Clock, Millis, rfc3339};
use larder_model::{Amount, Currency, Effect, Event, Execution, ExecutionStatus, StoredEvent};

use super::load::{Account, ActiveEnrolments, EntryValue, FunctionNow, Lease, StateEntry};
use super::{CommitResult, Ended, Origin};
use crate::db::Value;
use crate::event_roots::Descendants;
use crate::state::Scope;
use crate::{args, events, executions, packs};

/// The state of a group that is being committed.
pub(super) struct Commit<'a> {
    pub(super) now: Millis,
    pub(super) clock: &'a Clock,
    /// The reason to refuse all of it, if there is one.
    pub(super) refused: Option<&'a str>,
    /// The existing functions.
    pub(super) functions: HashMap<(PartnerId, FunctionId), FunctionNow>,
    pub(super) leases: HashMap<(PartnerId, ExecutionId), Lease>,
    pub(super) active: ActiveEnrolments,
    /// The savings within the period of each grant, including the outcomes decided so far.
    pub(super) saved: HashMap<Account, Amount>,
    pub(super) descendants: Descendants,
    /// The state including the outcomes decided so far.
    pub(super) state: HashMap<(Scope, String), Option<StateEntry>>,
    /// The keys of state to be written.
    pub(super) changed: BTreeSet<(Scope, String)>,
    pub(super) changed_scopes: HashSet<Scope>,
    /// Executions that have listed state and would get another list now.
    pub(super) stale_lists: HashSet<ExecutionId>,
    /// State that is locked for one execution.
    pub(super) locks: HashMap<Scope, ExecutionId>,
    pub(super) rows: Rows,
}

/// The rows to be written at the end.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) ended: Vec<Execution>,
    pub(super) dead_letters: Vec<Execution>,
    pub(super) retried: Vec<(Execution, Millis)>,
    /// Runs of a range that are executions of their own from now on.
    pub(super) waiting: Vec<(Execution, Millis)>,
    pub(super) inserted: Vec<Vec<Value>>,
    /// Records of a range that packs can have.
    pub(super) packable: Vec<Execution>,
    pub(super) packs: Vec<Vec<Value>>,
    pub(super) transactions: Vec<Vec<Value>>,
    pub(super) events: Vec<Vec<Value>>,
}

impl Commit<'_> {
    pub(super) fn decide(&mut self, ended: &Ended) -> CommitResult {
        let e = &ended.execution;
        let function = self.functions.get(&(e.partner.clone(), e.function.clone()));
        let same = |now: &&FunctionNow| ended.function_made_at_ms.is_none_or(|made| made == now.made_at_ms);
        let Some(enabled) = function.filter(same).map(|function| function.enabled) else {
            return CommitResult::Gone;
        };
        let held = match (&ended.origin, self.leases.get(&(e.partner.clone(), e.id.clone()))) {
            (Origin::Row(holder), Some(held)) => held.holder.as_ref() == Some(holder) && held.attempt == e.attempt,
            // The claim of the range was checked before.
            (Origin::Call | Origin::Range, None) => true,
            (Origin::Row(_), None) | (Origin::Call | Origin::Range, Some(_)) => false,
        };
        if !held {
            return CommitResult::Fenced;
        }
        if let Some(why) = self.refused {
            return self.refuse(ended, why.to_owned(), ended.origin.is_queued());
        }
        let scope = scope(ended);
        let kept_for_another = touches_state(ended) && self.locks.get(&scope).is_some_and(|id| *id != e.id);
        if kept_for_another || !ended.reads.iter().all(|read| self.still_true(&scope, &e.id, read)) {
            if ended.origin == Origin::Range {
                self.rows.waiting.push((untried(e), self.now));
            }
            return CommitResult::Conflict;
        }
        let stopped = if !enabled && !ended.effects.is_empty() {
            Some("the function is disabled: none of its effects is applied".to_owned())
        } else {
            self.nobody_to_save_for(ended)
        };
        if let Some(why) = stopped {
            return self.refuse(ended, why, false);
        }
        let applied = self
            .granted(ended)
            .and_then(|saved| Ok((saved, self.descendants.with(ended)?, self.writes(&scope, &ended.effects)?)));
        match applied {
            Err(why) => self.refuse(ended, why, ended.origin.is_queued()),
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
    fn still_true(&self, scope: &Scope, id: &ExecutionId, read: &Read) -> bool {
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
    fn nobody_to_save_for(&self, ended: &Ended) -> Option<String> {
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
    fn granted(&self, ended: &Ended) -> std::result::Result<HashMap<Account, Amount>, String> {
        let e = &ended.execution;
        let mut saved = HashMap::new();
        // Most outcomes change nothing, so no grants are loaded for them.
        let Some(grants) = self.functions.get(&(e.partner.clone(), e.function.clone())).and_then(|f| f.grants.as_ref())
        else {
            return Ok(saved);
        };
        for effect in &ended.effects {
            let Effect::Transaction { end_user, amount, .. } = effect else {
                grants.allow(effect)?;
                continue;
            };
            let grant = grants.allow_transaction(*amount)?;
            let currency = amount.currency();
            let account = account(ended, saver(ended, end_user.as_ref()), currency);
            let before = saved.get(&account).or_else(|| self.saved.get(&account));
            let before = before.copied().unwrap_or(Amount::from_minor_units(0, currency));
            if let Some(after) = before.checked_add(*amount).filter(|after| *after <= grant.sum()) {
                saved.insert(account, after);
                continue;
            }
            let days = grant.period().days();
            return Err(format!(
                "the grant transactions.{currency} is for {} {currency} within {days} day{} for one end user, {before} are \
                 saved already and this would save {amount} more (larder.toml, [grants]: transactions.{currency}.sum)",
                grant.sum(),
                if days == 1 { "" } else { "s" },
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
        failed.dead_lettered_at_ms = dead_lettered.then_some(self.now);
        self.record(ended, failed);
        CommitResult::Refused { why, dead_lettered }
    }

    fn record(&mut self, ended: &Ended, mut execution: Execution) {
        execution.updated_at_ms = self.now;
        match (&ended.origin, ended.retry_at_ms) {
            (Origin::Range, Some(at)) if execution.dead_lettered_at_ms.is_none() => {
                self.rows.waiting.push((execution, at))
            }
            (Origin::Range, _) if packs::is_packable(&execution) => self.rows.packable.push(execution),
            (Origin::Call | Origin::Range, _) => self.rows.inserted.push(executions::row(&execution)),
            (Origin::Row(_), Some(at)) => self.rows.retried.push((execution, at)),
            (Origin::Row(_), None) if execution.dead_lettered_at_ms.is_some() => self.rows.dead_letters.push(execution),
            (Origin::Row(_), None) => self.rows.ended.push(execution),
        }
    }

    /// Packs the records that can be packed, once all outcomes are decided.
    pub(super) fn pack(&mut self) {
        let (packs, few) = packs::pack(std::mem::take(&mut self.rows.packable), self.clock);
        self.rows.packs = packs;
        self.rows.inserted.extend(few.iter().map(executions::row));
    }

    /// Collects the rows of the transactions and events. Returns whether there are events.
    fn collect(&mut self, ended: &Ended) -> bool {
        let e = &ended.execution;
        let events_before = self.rows.events.len();
        for effect in &ended.effects {
            match effect {
                Effect::Transaction { id, end_user, amount, memo } => {
                    let end_user = saver(ended, end_user.as_ref());
                    self.rows.transactions.push(args![
                        &e.partner,
                        id,
                        &e.id,
                        &e.function,
                        e.enrolment.as_ref(),
                        end_user,
                        amount.minor_units(),
                        amount.currency().code(),
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
            source: StoredEvent::source_of(&ended.execution.function),
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
}

/// The execution as it was before it ran.
fn untried(e: &Execution) -> Execution {
    let (partner, id, function) = (e.partner.clone(), e.id.clone(), e.function.clone());
    Execution {
        event: e.event.clone(),
        enrolment: e.enrolment.clone(),
        nominal_at_ms: e.nominal_at_ms,
        late_ms: e.late_ms,
        ..Execution::new(partner, id, function, e.trigger, ExecutionStatus::Waiting, e.created_at_ms)
    }
}

/// State after an outcome: the new value, or none if it is deleted.
type Writes = BTreeMap<String, Option<Vec<u8>>>;

pub(super) fn scope(ended: &Ended) -> Scope {
    let e = &ended.execution;
    Scope { partner: e.partner.clone(), function: e.function.clone(), enrolment: e.enrolment.clone() }
}

/// Does it change state or depend on it?
pub(super) fn touches_state(ended: &Ended) -> bool {
    let state = |effect: &Effect| !matches!(effect, Effect::Transaction { .. } | Effect::Emit(_));
    !ended.reads.is_empty() || ended.effects.iter().any(state)
}

/// The end user of a saving; the runtime has checked that exactly one of the two is given.
pub(super) fn saver<'e>(ended: &'e Ended, named: Option<&'e String>) -> &'e str {
    ended.end_user.as_ref().or(named).map_or("", String::as_str)
}

fn account(ended: &Ended, end_user: &str, currency: Currency) -> Account {
    let e = &ended.execution;
    (e.partner.clone(), e.function.clone(), end_user.to_owned(), currency)
}

/// The end users for whom a function saves that does not run for one of them.
pub(super) fn named_savers(ended: &Ended) -> impl Iterator<Item = &String> {
    ended.effects.iter().filter_map(|effect| match effect {
        Effect::Transaction { end_user, .. } => end_user.as_ref(),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
