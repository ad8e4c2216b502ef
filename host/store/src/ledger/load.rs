//! Loads what the decisions about a group depend on. The rows stay locked until the transaction ends, and few statements
//! are run.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use larder_model::ids::{EnrolmentId, ExecutionId, FunctionId, PartnerId};
use larder_model::state::{NUMBER_BYTES_MAX, Read, Version, whole_number};
use larder_model::time::{Clock, Millis};
use larder_model::{Amount, Currency, Effect, Grants};

use crate::db::{Lock, PART, Tx, Value, by_partner, one_of, parts};
use crate::event_roots::Descendants;
use crate::ledger::decide::{Commit, Rows, named_savers, saver, scope, touches_state};
use crate::ledger::{Ended, Origin};
use crate::state::{self, Scope};
use crate::transactions::{sum_of_amounts, summed};
use crate::{Result, args};

const DAY_MS: Millis = 24 * 60 * 60 * 1_000;

/// The current state of a function.
pub(super) struct FunctionNow {
    pub(super) enabled: bool,
    pub(super) made_at_ms: Millis,
    /// The effective grants; read only if the group has effects of the function.
    pub(super) grants: Option<Grants>,
}

/// The active enrolments of the end users for whom the group has effects.
#[derive(Default)]
pub(super) struct ActiveEnrolments {
    pub(super) enrolments: HashSet<(PartnerId, EnrolmentId)>,
    pub(super) end_users: HashSet<(PartnerId, FunctionId, String)>,
}

/// The current holder and attempt of an execution.
pub(super) struct Lease {
    pub(super) holder: Option<String>,
    pub(super) attempt: u32,
}

/// A stored value of state, with its version.
pub(super) struct StateEntry {
    pub(super) version: Version,
    pub(super) value: EntryValue,
}

/// As much of a value as the decisions need.
pub(super) enum EntryValue {
    /// Written by an outcome of the group.
    Written(Vec<u8>),
    /// Stored in the database; the number that it is, if it is one and an increment needs it.
    Stored(Option<i64>),
}

impl StateEntry {
    pub(super) fn number(&self) -> Option<i64> {
        match &self.value {
            EntryValue::Written(value) => whole_number(value),
            EntryValue::Stored(number) => *number,
        }
    }
}

type Key<'a> = (&'a PartnerId, &'a ExecutionId);

/// Are the enrolments of a group all that its function has between the first and the last of them?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbours {
    Yes,
    Unknown,
}

/// The savings of one function for one end user in one currency.
pub(super) type Account = (PartnerId, FunctionId, String, Currency);

impl<'a> Commit<'a> {
    pub(super) async fn load(
        tx: &mut Tx<'_>,
        group: &[Ended],
        refused: Option<&'a str>,
        neighbours: Neighbours,
        clock: &'a Clock,
    ) -> Result<Commit<'a>> {
        let functions = functions_of(tx, group).await?;
        // The ids of a range belong to its enrolments, so they have no rows.
        let rows = group.iter().filter(|ended| ended.origin != Origin::Range);
        let leases = holders(tx, rows.map(|ended| (&ended.execution.partner, &ended.execution.id))).await?;
        let active = active_enrolments_of(tx, group).await?;
        let state = state_of(tx, group, neighbours).await?.into_iter().map(|(key, entry)| (key, Some(entry))).collect();
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
}

/// The existing functions of the group, locked against deletion. Functions whose own state the group reads or changes are
/// locked exclusively, because a key that does not exist cannot be locked.
async fn functions_of(tx: &mut Tx<'_>, group: &[Ended]) -> Result<HashMap<(PartnerId, FunctionId), FunctionNow>> {
    const NOW: &str = "-- function_of_group
        SELECT enabled, grants, created_at_ms FROM functions WHERE partner_id = ? AND id = ?";
    let mut wanted: BTreeMap<(&PartnerId, &FunctionId), (Lock, bool)> = BTreeMap::new();
    for ended in group {
        let e = &ended.execution;
        let (lock, effects) = wanted.entry((&e.partner, &e.function)).or_insert((Lock::Shared, false));
        if e.enrolment.is_none() && touches_state(ended) {
            *lock = Lock::Exclusive;
        }
        *effects |= !ended.effects.is_empty();
    }
    let mut found = HashMap::new();
    for ((partner, function), (lock, effects)) in wanted {
        if let Some(row) = tx.locked(lock, NOW, args![partner, function]).await?.first() {
            let grants = if effects { Some(row.json(1, "functions.grants")?) } else { None };
            found.insert(
                (partner.clone(), function.clone()),
                FunctionNow { enabled: row.flag(0)?, made_at_ms: row.int(2)?, grants },
            );
        }
    }
    Ok(found)
}

/// The holders of those executions that have rows, locked until the transaction ends.
async fn holders<'k>(
    tx: &mut Tx<'_>,
    keys: impl IntoIterator<Item = Key<'k>>,
) -> Result<HashMap<(PartnerId, ExecutionId), Lease>> {
    let mut found = HashMap::new();
    for (partner, ids) in by_partner(keys) {
        let ids = one_of(ids.into_iter().map(Value::from));
        let sql = format!(
            "-- execution_holders
            SELECT id, lease_holder, attempt FROM executions WHERE partner_id = ? AND id IN ({}) ORDER BY id",
            ids.marks
        );
        for row in tx.locked(Lock::Exclusive, &sql, [args![partner], ids.args].concat()).await? {
            let lease = Lease { holder: row.maybe_text(1)?, attempt: row.int(2)? as u32 };
            found.insert((partner.clone(), row.id(0, "executions.id")?), lease);
        }
    }
    Ok(found)
}

/// The active enrolments of all end users for whom the group has effects, locked until the transaction ends. The locks also
/// protect their state and their savings, because everybody who saves for one of them takes the same locks.
async fn active_enrolments_of(tx: &mut Tx<'_>, group: &[Ended]) -> Result<ActiveEnrolments> {
    let mut wanted: BTreeMap<(&PartnerId, &FunctionId), BTreeSet<&String>> = BTreeMap::new();
    for ended in group.iter().filter(|ended| !ended.effects.is_empty()) {
        let e = &ended.execution;
        let end_users: BTreeSet<&String> = ended.end_user.iter().chain(named_savers(ended)).collect();
        if !end_users.is_empty() {
            wanted.entry((&e.partner, &e.function)).or_default().extend(end_users);
        }
    }
    let mut found = ActiveEnrolments::default();
    for ((partner, function), end_users) in wanted {
        // Part after part, in the order in which everybody takes these locks.
        for end_users in parts(end_users.into_iter().map(Value::from)) {
            let sql = format!(
                "-- active_enrolments
                SELECT id, end_user FROM enrolments /*! FORCE INDEX (enrolments_by_user) */
                WHERE partner_id = ? AND function_id = ? AND end_user IN ({}) AND status = 'active' ORDER BY end_user, topic",
                end_users.marks
            );
            for row in tx.locked(Lock::Exclusive, &sql, [args![partner, function], end_users.args].concat()).await? {
                found.enrolments.insert((partner.clone(), row.id(0, "enrolments.id")?));
                found.end_users.insert((partner.clone(), function.clone(), row.text(1)?));
            }
        }
    }
    Ok(found)
}

/// The savings for the end users of the group, each within the period of its grant. Without transactions in the group, no
/// statement is run. The locks of [`active_enrolments_of`] protect them from changes.
async fn saved_by(
    tx: &mut Tx<'_>,
    group: &[Ended],
    functions: &HashMap<(PartnerId, FunctionId), FunctionNow>,
    now: Millis,
) -> Result<HashMap<Account, Amount>> {
    /// End users and currencies.
    type Wanted<'a> = (BTreeSet<&'a str>, BTreeSet<Currency>);
    let mut wanted: BTreeMap<(&PartnerId, &FunctionId), Wanted<'_>> = BTreeMap::new();
    for ended in group {
        for effect in &ended.effects {
            if let Effect::Transaction { end_user, amount, .. } = effect {
                let e = &ended.execution;
                let (end_users, currencies) = wanted.entry((&e.partner, &e.function)).or_default();
                end_users.insert(saver(ended, end_user.as_ref()));
                currencies.insert(amount.currency());
            }
        }
    }
    let mut found = HashMap::new();
    for ((partner, function), (end_users, currencies)) in wanted {
        let of = (partner.clone(), function.clone());
        let Some(grants) = functions.get(&of).and_then(|function| function.grants.as_ref()) else { continue };
        let end_users = parts(end_users.into_iter().map(Value::from));
        for grant in currencies.into_iter().filter_map(|currency| grants.transactions.get(currency)) {
            let currency = grant.currency();
            let after = now - Millis::from(grant.period().days()) * DAY_MS;
            for end_users in &end_users {
                let sql = format!(
                    "-- saved_within_period
                    SELECT end_user, {}
                    FROM transactions /*! FORCE INDEX (transactions_by_saver) */
                    WHERE partner_id = ? AND function_id = ? AND end_user IN ({}) AND currency = ? AND created_at_ms > ?
                    GROUP BY end_user",
                    sum_of_amounts!(),
                    end_users.marks
                );
                let args = [args![partner, function], end_users.args.clone(), args![currency.code(), after]].concat();
                for row in tx.rows(&sql, args).await? {
                    let account = (of.0.clone(), of.1.clone(), row.text(0)?, currency);
                    found.insert(account, summed(&row, 1, currency)?);
                }
            }
        }
    }
    Ok(found)
}

/// The state on which reads and increments depend: versions, and the numbers to be incremented. Other values are not
/// loaded, because runs may have read very many. The locks of [`functions_of`] and [`active_enrolments_of`] protect it from
/// changes.
async fn state_of(
    tx: &mut Tx<'_>,
    group: &[Ended],
    neighbours: Neighbours,
) -> Result<HashMap<(Scope, String), StateEntry>> {
    /// Enrolment and name, and whether its number is needed.
    type Wanted<'a> = BTreeMap<(&'a str, &'a str), bool>;
    let mut wanted: BTreeMap<(&PartnerId, &FunctionId), Wanted<'_>> = BTreeMap::new();
    for ended in group.iter().filter(|ended| touches_state(ended)) {
        let e = &ended.execution;
        let enrolment = e.enrolment.as_ref().map_or("", EnrolmentId::as_str);
        let entries = wanted.entry((&e.partner, &e.function)).or_default();
        for read in &ended.reads {
            if let Read::Key { key, .. } = read {
                entries.entry((enrolment, key)).or_default();
            }
        }
        for effect in &ended.effects {
            if let Effect::IncrementState { key, .. } = effect {
                entries.insert((enrolment, key), true);
            }
        }
    }
    let mut found = HashMap::new();
    let number = format!("CASE WHEN LENGTH(value) <= {NUMBER_BYTES_MAX} THEN value END");
    for ((partner, function), entries) in wanted {
        for (counts, value) in [(false, "NULL"), (true, number.as_str())] {
            let entries: Vec<_> =
                entries.iter().filter(|(_, count)| **count == counts).map(|(entry, _)| *entry).collect();
            let columns = format!("enrolment_id, name, version, {value}");
            for (sql, args) in look_ups(&columns, &entries, neighbours) {
                for row in tx.rows(&sql, [args![partner, function], args].concat()).await? {
                    let enrolment = if row.text(0)?.is_empty() { None } else { Some(row.id(0, "state.enrolment_id")?) };
                    let scope = Scope { partner: partner.clone(), function: function.clone(), enrolment };
                    let value = EntryValue::Stored(row.maybe_bytes(3)?.as_deref().and_then(whole_number));
                    found.insert((scope, row.text(1)?), StateEntry { version: row.text(2)?, value });
                }
            }
        }
    }
    Ok(found)
}

/// The statements that look up these entries of a function's state. Keys of neighbours are a range of the primary key, which
/// costs much less than so many single places.
pub fn look_ups(columns: &str, entries: &[(&str, &str)], neighbours: Neighbours) -> Vec<(String, Vec<Value>)> {
    /// Names of a range.
    const NAMES: usize = 8;
    /// Entries from which a range is worth it.
    const MANY: usize = 64;
    let of_function = format!("SELECT {columns} FROM state WHERE partner_id = ? AND function_id = ?");
    let names: BTreeSet<&str> = entries.iter().map(|(_, name)| *name).collect();
    let enrolments: BTreeSet<&str> = entries.iter().map(|(enrolment, _)| *enrolment).collect();
    if let (Some(first), Some(last)) = (enrolments.first(), enrolments.last())
        && neighbours == Neighbours::Yes
        && entries.len() >= MANY
        && names.len() <= NAMES
    {
        let names = one_of(names.into_iter().map(Value::from));
        let sql = format!(
            "-- state_of_range_of_group
            {of_function} AND enrolment_id >= ? AND enrolment_id <= ? AND name IN ({})",
            names.marks
        );
        return vec![(sql, [args![*first, *last], names.args].concat())];
    }
    let single = |part: &[(&str, &str)]| {
        let mut part = part.to_vec();
        part.resize(part.len().next_power_of_two(), part[part.len() - 1]);
        let places = vec!["(enrolment_id = ? AND name = ?)"; part.len()].join(" OR ");
        let sql = format!("-- state_of_group\n {of_function} AND ({places})");
        (sql, part.into_iter().flat_map(|(enrolment, name)| args![enrolment, name]).collect())
    };
    entries.chunks(PART).map(single).collect()
}

/// Would the list return the same now?
async fn list_is_unchanged(
    tx: &mut Tx<'_>,
    scope: &Scope,
    prefix: &str,
    after: Option<&str>,
    limit: u32,
    seen: &[(String, Version)],
) -> Result<bool> {
    let rows = tx.rows(state::LIST_VERSIONS, state::list_args(scope, prefix, after, limit)).await?;
    let mut now = Vec::with_capacity(rows.len());
    for row in rows {
        now.push((row.text(0)?, row.text(1)?));
    }
    Ok(now.iter().take_while(|(name, _)| name.starts_with(prefix)).eq(seen))
}
