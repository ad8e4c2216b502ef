//! Writes the rows of a decided group, with one statement for each kind of row where possible.

use std::collections::BTreeMap;

use super::decide::Commit;
use super::load::{EntryValue, StateEntry};
use crate::db::{Tx, Value};
use crate::state::{self, Scope};
use crate::{Result, args, events, executions, packs};

impl Commit<'_> {
    pub(super) async fn write(self, tx: &mut Tx<'_>) -> Result<()> {
        const STATE_KEY: [&str; 4] = ["partner_id", "function_id", "enrolment_id", "name"];
        executions::end(tx, self.rows.ended).await?;
        for execution in &self.rows.dead_letters {
            executions::dead_letter(tx, execution).await?;
        }
        for (execution, at) in &self.rows.retried {
            executions::retry(tx, execution, *at).await?;
        }
        executions::insert_ended(tx, self.rows.inserted).await?;
        packs::insert(tx, self.rows.packs).await?;
        executions::insert_waiting(tx, &self.rows.waiting).await?;
        let transactions =
            format!("-- insert_transactions\n INSERT INTO transactions ({})", crate::transactions::COLUMNS);
        tx.insert(&transactions, self.rows.transactions).await?;
        let mut set = Vec::new();
        let mut deleted: BTreeMap<Scope, Vec<Value>> = BTreeMap::new();
        for key in &self.changed {
            let (scope, name) = key;
            match self.state.get(key).and_then(Option::as_ref) {
                Some(StateEntry { version, value: EntryValue::Written(value) }) => {
                    let place = args![&scope.partner, &scope.function, scope.enrolment_text(), name];
                    set.push([place, args![value.as_slice(), version]].concat());
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
