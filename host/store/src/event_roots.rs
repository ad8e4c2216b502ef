//! Counts the events that descend from one root cause: an external event, a schedule firing or a call.
//!
//! A function may emit events, and the functions that they trigger may emit more, in other processes and after restarts.
//! All of them count for the root cause, which every event carries. The rule: **whatever emits has locked the row of its
//! root**, so the count is exact.

use std::collections::{BTreeMap, HashMap};

use larder_model::Effect;
use larder_model::ids::PartnerId;
use larder_model::time::Millis;

use crate::db::{Tx, Value, by_partner, one_of};
use crate::ledger::Ended;
use crate::{Result, Store, args};

const KEY: [&str; 2] = ["partner_id", "root"];

/// The root for which the events of a run count.
#[derive(Clone, Debug, Default)]
pub struct Root {
    /// The cause, unique within its partner.
    pub key: String,
    /// The maximum number of descendants.
    pub descendants_max: u64,
}

/// The numbers of descendants of a group's roots, including the outcomes decided so far.
#[derive(Default)]
pub(super) struct Descendants {
    counts: BTreeMap<(PartnerId, String), u64>,
    now: Millis,
}

impl Descendants {
    /// Reads and locks the roots for which the group emits. Without events in the group, no statement is run.
    pub(super) async fn of(tx: &mut Tx<'_>, group: &[Ended], now: Millis) -> Result<Descendants> {
        let emitting = group.iter().filter(|ended| emitted(ended) > 0);
        let wanted = by_partner(emitting.map(|ended| (&ended.execution.partner, ended.root.key.as_str())));
        if wanted.is_empty() {
            return Ok(Descendants::default());
        }
        let rows = wanted.iter().flat_map(|(partner, roots)| roots.iter().map(|root| args![*partner, *root, now]));
        tx.upsert("event_roots", &KEY, &["updated_at_ms"], rows.collect()).await?;
        let mut counts = BTreeMap::new();
        for (partner, roots) in wanted {
            let roots = one_of(roots.into_iter().map(Value::from));
            let sql = format!(
                "-- descendants_of_roots
                SELECT root, emitted FROM event_roots WHERE partner_id = ? AND root IN ({})",
                roots.marks
            );
            for row in tx.rows(&sql, [args![partner], roots.args].concat()).await? {
                counts.insert((partner.clone(), row.text(0)?), row.int(1)? as u64);
            }
        }
        Ok(Descendants { counts, now })
    }

    /// Returns the number of descendants of its root including this outcome, or why that exceeds the limit.
    pub(super) fn with(&self, ended: &Ended) -> std::result::Result<u64, String> {
        let (most, more) = (ended.root.descendants_max, emitted(ended));
        let before = self.counts.get(&key(ended)).copied().unwrap_or_default();
        if more == 0 || before + more <= most {
            return Ok(before + more);
        }
        Err(format!(
            "limit worker.descendants_per_event of {most} exceeded: {before} events have come of the event, firing or call \
             that caused this run, and it would emit {more} more"
        ))
    }

    pub(super) fn set(&mut self, ended: &Ended, count: u64) {
        if emitted(ended) > 0 {
            self.counts.insert(key(ended), count);
        }
    }

    pub(super) async fn write(self, tx: &mut Tx<'_>) -> Result<()> {
        let rows = self.counts.into_iter().map(|((partner, root), count)| args![&partner, root, count, self.now]);
        tx.upsert("event_roots", &KEY, &["emitted", "updated_at_ms"], rows.collect()).await
    }
}

fn emitted(ended: &Ended) -> u64 {
    ended.effects.iter().filter(|effect| matches!(effect, Effect::Emit(_))).count() as u64
}

fn key(ended: &Ended) -> (PartnerId, String) {
    (ended.execution.partner.clone(), ended.root.key.clone())
}

impl Store {
    /// Returns the largest number of descendants of any root of this partner.
    pub async fn most_descendants(&self, partner: &PartnerId) -> Result<u64> {
        const MOST: &str = "-- most_descendants
            SELECT MAX(emitted) FROM event_roots WHERE partner_id = ?";
        let most = self.db.row(MOST, args![partner]).await?.map_or(Ok(None), |row| row.maybe_int(0))?;
        Ok(most.unwrap_or_default() as u64)
    }

    /// Deletes up to `limit` counts that have not changed since then, across all partners.
    pub async fn delete_old_event_roots(&self, before: Millis, limit: u32) -> Result<u64> {
        let old = format!(
            "-- old_event_roots
            SELECT partner_id, root FROM event_roots WHERE updated_at_ms < ? LIMIT {limit}"
        );
        let mut of: HashMap<PartnerId, Vec<Value>> = HashMap::new();
        for row in self.db.rows(&old, args![before]).await? {
            of.entry(row.id(0, "event_roots.partner_id")?).or_default().push(row.text(1)?.into());
        }
        let mut deleted = 0;
        for (partner, roots) in of {
            deleted += self
                .db
                .tx("delete_old_event_roots", &(partner, one_of(roots), before), |tx, (partner, roots, before)| {
                    Box::pin(async move {
                        let sql = format!(
                            "-- delete_old_event_roots
                            DELETE FROM event_roots WHERE partner_id = ? AND updated_at_ms < ? AND root IN ({})",
                            roots.marks
                        );
                        Ok(tx.run(&sql, [args![&*partner, *before], roots.args.clone()].concat()).await?.0)
                    })
                })
                .await?;
        }
        Ok(deleted)
    }
}
