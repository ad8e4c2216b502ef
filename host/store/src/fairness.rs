//! Fairness between partners: which partners have waiting work, and how much.
//!
//! * [`Store::partners_with`]: the partners with waiting work, in the order of their ids, starting after a given id.
//! * [`Store::waiting`]: the amount of one partner's waiting work, counted up to a limit.
//!
//! The rule: **a worker first selects a partner, then work of that partner**, with an index that starts with the partner,
//! so that it never scans another partner's backlog. If little work waits, one short read of all of it gives the partners;
//! if much work waits, each partner costs one index seek, whatever the size of its backlog.
//!
//! MariaDB is given the index (in a comment that SQLite ignores), because it chooses by statistics from a quiet moment:
//! with 300,000 waiting events of one partner, its own choice took 100 s. The subqueries have a `LIMIT 1`, which prevents
//! their conversion into a join that reads all rows.

use std::collections::BTreeSet;

use larder_model::ids::PartnerId;
use larder_model::time::Millis;

use crate::db::{Value, one_of};
use crate::{Result, Store, args};

/// The kinds of work that partners share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Executions that may be claimed.
    Executions,
    /// Events that have not been routed to functions.
    Events,
    /// Fan-outs whose cursor has not reached the end.
    Fanouts,
    /// Schedules that are due.
    Schedules,
}

impl Queue {
    /// Selects the partners of the first waiting rows, with a `?` for the current time if it matters.
    fn first(self) -> &'static str {
        match self {
            Queue::Executions => {
                "SELECT partner_id FROM executions /*! FORCE INDEX (executions_due) */ WHERE due_at_ms <= ? ORDER BY due_at_ms"
            }
            Queue::Events => {
                "SELECT partner_id FROM events /*! FORCE INDEX (events_by_waiting) */ WHERE waiting = 1 ORDER BY partner_id"
            }
            Queue::Fanouts => {
                "SELECT partner_id FROM fanouts /*! FORCE INDEX (fanouts_by_waiting) */ WHERE waiting = 1 ORDER BY partner_id"
            }
            Queue::Schedules => {
                "SELECT partner_id FROM schedules /*! FORCE INDEX (schedules_by_time) */ WHERE next_at_ms <= ? ORDER BY next_at_ms"
            }
        }
    }

    /// The condition that partner `p` has such work, with a `?` for each use of the current time.
    fn has_work(self) -> &'static str {
        match self {
            Queue::Executions => {
                "((SELECT due_at_ms FROM executions e /*! FORCE INDEX (executions_by_status) */
                    WHERE e.partner_id = p.id AND e.status = 'waiting' ORDER BY due_at_ms LIMIT 1) <= ?
                OR (SELECT due_at_ms FROM executions e /*! FORCE INDEX (executions_by_status) */
                    WHERE e.partner_id = p.id AND e.status = 'processing' ORDER BY due_at_ms LIMIT 1) <= ?
                OR (SELECT due_at_ms FROM executions e /*! FORCE INDEX (executions_by_status) */
                    WHERE e.partner_id = p.id AND e.status = 'scheduled' ORDER BY due_at_ms LIMIT 1) <= ?)"
            }
            Queue::Events => {
                "(SELECT 1 FROM events e /*! FORCE INDEX (events_by_waiting) */ WHERE e.waiting = 1 AND e.partner_id = p.id LIMIT 1) = 1"
            }
            Queue::Fanouts => {
                "(SELECT 1 FROM fanouts f /*! FORCE INDEX (fanouts_by_waiting) */ WHERE f.waiting = 1 AND f.partner_id = p.id LIMIT 1) = 1"
            }
            Queue::Schedules => {
                "(SELECT next_at_ms FROM schedules s /*! FORCE INDEX (schedules_by_partner) */
                    WHERE s.partner_id = p.id ORDER BY next_at_ms LIMIT 1) <= ?"
            }
        }
    }
}

/// The number of rows that are read across all partners; if there are fewer, they are all.
const FIRST: usize = 200;

/// The amount of a partner's waiting work, each number up to its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Waiting executions, due or not, and scheduled ones.
    pub executions: u64,
    /// Those of them that are due.
    pub due: u64,
    pub fanouts: u64,
    pub events: u64,
}

impl Store {
    /// Up to `limit` partners, without these, that have such work: those behind `after` by their ids, then the others.
    pub async fn partners_with(
        &self,
        queue: Queue,
        now: Millis,
        after: &str,
        without: &[PartnerId],
        limit: u32,
    ) -> Result<Vec<PartnerId>> {
        let first = queue.first();
        let times = |sql: &str| vec![Value::from(now); sql.matches('?').count()];
        let rows = self.db.rows(&format!("-- first_{queue:?}\n {first} LIMIT {FIRST}"), times(first)).await?;
        if rows.len() == FIRST {
            return self.walk_partners(queue, now, after, without, limit).await;
        }
        let found = rows.iter().map(|row| row.id(0, "a.partner_id")).collect::<Result<BTreeSet<PartnerId>>>()?;
        let (behind, others): (Vec<_>, Vec<_>) = found
            .into_iter()
            .filter(|partner| !without.contains(partner))
            .partition(|partner| partner.as_str() > after);
        Ok(behind.into_iter().chain(others).take(limit as usize).collect())
    }

    /// The same if much work waits.
    async fn walk_partners(
        &self,
        queue: Queue,
        now: Millis,
        after: &str,
        without: &[PartnerId],
        limit: u32,
    ) -> Result<Vec<PartnerId>> {
        let (has_work, without) = (queue.has_work(), one_of(without.iter().map(Value::from)));
        let others =
            if without.args.is_empty() { String::new() } else { format!(" AND p.id NOT IN ({})", without.marks) };
        let times = vec![Value::from(now); has_work.matches('?').count()];
        let mut found: Vec<PartnerId> = Vec::new();
        for side in [">", "<="] {
            let left = limit - found.len() as u32;
            let sql = format!(
                "-- partners_with_{queue:?}
                SELECT p.id FROM partners p WHERE p.id {side} ?{others} AND {has_work} ORDER BY p.id LIMIT {left}"
            );
            let args = [args![after], without.args.clone(), times.clone()].concat();
            for row in self.db.rows(&sql, args).await? {
                found.push(row.id(0, "partners.id")?);
            }
            if found.len() as u32 == limit || after.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    /// Counts a partner's waiting work, each number up to its limit.
    pub async fn waiting(&self, partner: &PartnerId, now: Millis, most: &Waiting) -> Result<Waiting> {
        let sql = format!(
            "-- count_waiting
            SELECT (SELECT COUNT(*) FROM (SELECT partner_id FROM executions {by_status}
                    WHERE partner_id = ? AND status = 'waiting' LIMIT {executions}) AS a),
                (SELECT COUNT(*) FROM (SELECT partner_id FROM executions {by_status}
                    WHERE partner_id = ? AND status = 'scheduled' LIMIT {executions}) AS b),
                (SELECT COUNT(*) FROM (SELECT partner_id FROM executions {by_status}
                    WHERE partner_id = ? AND status = 'waiting' AND due_at_ms <= ? LIMIT {due}) AS c),
                (SELECT COUNT(*) FROM (SELECT partner_id FROM fanouts /*! FORCE INDEX (fanouts_by_waiting) */
                    WHERE waiting IN (1, 2) AND partner_id = ? LIMIT {fanouts}) AS d),
                (SELECT COUNT(*) FROM (SELECT partner_id FROM events /*! FORCE INDEX (events_by_waiting) */
                    WHERE waiting = 1 AND partner_id = ? LIMIT {events}) AS e)",
            by_status = "/*! FORCE INDEX (executions_by_status) */",
            executions = most.executions,
            due = most.due,
            fanouts = most.fanouts,
            events = most.events,
        );
        let row = self.db.row(&sql, args![partner, partner, partner, now, partner, partner]).await?;
        let count = |at: usize| row.as_ref().map_or(Ok(0), |row| row.int(at)).map(|count| count as u64);
        Ok(Waiting { executions: count(0)? + count(1)?, due: count(2)?, fanouts: count(3)?, events: count(4)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_model::settings::Settings;

    /// SQLite, which ignores the named index, chooses the same one.
    #[tokio::test(flavor = "multi_thread")]
    async fn looking_for_work_never_scans_another_partners_rows() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Settings::load(None, &[]).unwrap().database, folder.path()).await.unwrap();
        for queue in [Queue::Executions, Queue::Events, Queue::Fanouts, Queue::Schedules] {
            let walk = format!("SELECT p.id FROM partners p WHERE p.id > '' AND {}", queue.has_work());
            for sql in [walk.as_str(), queue.first()] {
                let mut named = sql.split("FORCE INDEX (").skip(1).map(|rest| rest.split(')').next().unwrap());
                let plan = format!("-- explain\n EXPLAIN QUERY PLAN {}", sql.replace('?', "1"));
                for row in store.db.rows(&plan, vec![]).await.unwrap() {
                    let step = row.text(3).unwrap();
                    assert!(!step.starts_with("SCAN") && !step.contains("TEMP B-TREE"), "{sql}: {step}");
                    if step.starts_with("SEARCH") && !step.starts_with("SEARCH p ") {
                        let index = named.next().unwrap();
                        assert!(step.contains(&format!("INDEX {index} (")), "{sql}: {step}");
                    }
                }
                assert_eq!(named.next(), None, "{sql}");
            }
        }
    }
}
