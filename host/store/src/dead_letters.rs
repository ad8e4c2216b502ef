//! Dead letters: executions that were given up. They are rows of `executions` with `buried_at_ms` set, and keep everything
//! that another run needs.

use larder_model::ids::{ExecutionId, FunctionId, PartnerId};
use larder_model::time::Millis;
use larder_model::{Execution, RequestRecord, json};

use crate::audit::Said;
use crate::db::{Lock, Tx, Value, one_of};
use crate::executions::{COLUMNS, execution};
use crate::listing::{self, Column, Filter, Kind, Listing, Op, Page, Source};
use crate::{Error, Result, Store, args};

pub(super) const SOURCE: Source = Source {
    name: "dead_letters",
    table: "executions",
    columns: COLUMNS,
    id: "id",
    indexed: &["event_row"],
    by_time: true,
    long: &["logs", "errors"],
};

/// The columns by which lists of dead letters can be filtered.
pub const FILTERS: &[Column] = &[
    Column { attribute: "$id", column: "id", kind: Kind::Text },
    Column { attribute: "$createdAt", column: "created_at_ms", kind: Kind::Time },
    Column { attribute: "$updatedAt", column: "updated_at_ms", kind: Kind::Time },
    Column { attribute: "buriedAt", column: "buried_at_ms", kind: Kind::Time },
    Column { attribute: "functionId", column: "function_id", kind: Kind::Text },
    Column { attribute: "trigger", column: "trigger_kind", kind: Kind::Text },
    Column { attribute: "responseStatusCode", column: "response_status", kind: Kind::Int },
    Column { attribute: "deploymentId", column: "deployment_id", kind: Kind::Text },
    Column { attribute: "enrolmentId", column: "enrolment_id", kind: Kind::Text },
    Column { attribute: "eventId", column: "event_row", kind: Kind::Text },
];

/// The number of redriven dead letters, and whether more can be redriven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redriven {
    pub total: u64,
    pub more: bool,
}

/// What a dead letter is set to when it goes back into the queue: at a time, given twice.
const REDRIVEN: &str = "status = 'waiting', failures = 0, lost = 0, host_failing_since_ms = NULL, buried_at_ms = NULL, \
    bury_reason = NULL, response_status = 0, due_at_ms = ?, updated_at_ms = ?";

/// Matches every dead letter, in a form that an index serves.
pub(super) fn only_dead_letters() -> Filter {
    Filter::Compare { column: "buried_at_ms", op: Op::Greater, values: vec![Value::Int(0)] }
}

/// A record says how many there were.
fn redriven(done: &Redriven) -> Said {
    if done.total == 0 {
        Said::Nothing
    } else {
        Said::After(serde_json::json!({ "redriven": done.total, "more": done.more }).to_string())
    }
}

impl Store {
    pub async fn list_dead_letters(&self, partner: &PartnerId, listing: &Listing) -> Result<Page<Execution>> {
        let mut listing = listing.clone();
        listing.filters.push(only_dead_letters());
        listing::list(&self.lists, &SOURCE, vec![("partner_id", partner.into())], &listing, execution).await
    }

    pub async fn dead_letter(&self, partner: &PartnerId, id: &ExecutionId) -> Result<Option<Execution>> {
        let found = listing::one(&self.db, &SOURCE, vec![("partner_id", partner.into())], id, execution).await?;
        Ok(found.filter(|execution| execution.dead_lettered_at_ms.is_some()))
    }

    /// Returns a dead letter to the queue with its full number of attempts, and returns the waiting execution. `NotFound`
    /// if it is not a dead letter or no longer one: of concurrent redrives, one succeeds.
    pub async fn redrive(&self, partner: &PartnerId, id: &ExecutionId, now: Millis) -> Result<Execution> {
        let redrive = format!(
            "-- redrive_dead_letter
            UPDATE executions SET {REDRIVEN} WHERE partner_id = ? AND id = ? AND buried_at_ms IS NOT NULL"
        );
        let find =
            format!("-- redriven_dead_letter\n SELECT {COLUMNS} FROM executions WHERE partner_id = ? AND id = ?");
        self.db
            .tx("redrive_dead_letter", &(redrive, find, partner, id, now), |tx, (redrive, find, partner, id, now)| {
                Box::pin(async move {
                    tx.run(redrive, args![*now, *now, *partner, *id]).await?.exactly_one("dead letter")?;
                    let row = tx.row(find, args![*partner, *id]).await?;
                    execution(&row.ok_or(Error::NotFound { what: "dead letter" })?)
                })
            })
            .await
    }

    /// Redrives up to `limit` dead letters of a function that were dead-lettered before the given time, oldest first. `of`
    /// selects those with this value in this column.
    pub async fn redrive_dead_letters(
        &self,
        partner: &PartnerId,
        function: &FunctionId,
        of: Option<(&'static str, Value)>,
        before: Millis,
        limit: u32,
        now: Millis,
    ) -> Result<Redriven> {
        let (of, value) =
            of.map_or((String::new(), None), |(column, value)| (format!("AND {column} = ?"), Some(value)));
        let more = format!(
            "-- any_dead_letter_of_function
            SELECT 1 FROM executions WHERE partner_id = ? AND function_id = ? AND buried_at_ms < ? {of} LIMIT 1"
        );
        let mut which = args![partner, function, before];
        which.extend(value);
        let redrive = format!(
            "-- redrive_dead_letters
            UPDATE executions SET {REDRIVEN}
            WHERE partner_id = ? AND buried_at_ms IS NOT NULL AND id IN (SELECT id FROM (SELECT id FROM executions
                WHERE partner_id = ? AND function_id = ? AND buried_at_ms < ? {of} ORDER BY buried_at_ms LIMIT {limit}) AS batch)"
        );
        self.db
            .tx_when(
                "redrive_dead_letters",
                &(redrive, more, partner, which, now),
                redriven,
                |tx, (redrive, more, partner, which, now)| {
                    Box::pin(async move {
                        let total = tx.run(redrive, [args![*now, *now, *partner], which.clone()].concat()).await?.0;
                        let more = tx.row(more, which.clone()).await?.is_some();
                        Ok(Redriven { total, more })
                    })
                },
            )
            .await
    }

    /// Turns a dead letter into a failed execution and removes the data that only another run would need. `NotFound` if it
    /// is not a dead letter.
    pub async fn discard_dead_letter(&self, partner: &PartnerId, id: &ExecutionId, now: Millis) -> Result<()> {
        self.db
            .tx("discard_dead_letter", &(partner, id, now), |tx, (partner, id, now)| {
                Box::pin(async move { discard(tx, partner, id, Millis::MAX, *now).await })
            })
            .await
    }
}

/// Redrives these dead letters, as far as they still are some from before this time, and returns how many.
pub(super) async fn redrive_these(
    tx: &mut Tx<'_>,
    partner: &PartnerId,
    ids: &[ExecutionId],
    before: Millis,
    now: Millis,
) -> Result<u64> {
    if ids.is_empty() {
        return Ok(0);
    }
    let these = one_of(ids.iter().map(Value::from));
    let redrive = format!(
        "-- redrive_these_dead_letters
        UPDATE executions SET {REDRIVEN} WHERE partner_id = ? AND id IN ({}) AND buried_at_ms < ?",
        these.marks
    );
    Ok(tx.run(&redrive, [args![now, now, partner], these.args, args![before]].concat()).await?.0)
}

/// Makes a dead letter from before this time a failed execution.
pub(super) async fn discard(
    tx: &mut Tx<'_>,
    partner: &PartnerId,
    id: &ExecutionId,
    before: Millis,
    now: Millis,
) -> Result<()> {
    const REQUEST: &str = "-- request_of_dead_letter
        SELECT request FROM executions WHERE partner_id = ? AND id = ? AND buried_at_ms < ?";
    const DISCARD: &str = "-- discard_dead_letter
        UPDATE executions SET buried_at_ms = NULL, bury_reason = NULL, body = NULL, request = ?, updated_at_ms = ?
        WHERE partner_id = ? AND id = ? AND buried_at_ms IS NOT NULL";
    let rows = tx.locked(Lock::Exclusive, REQUEST, args![partner, id, before]).await?;
    let row = rows.first().ok_or(Error::NotFound { what: "dead letter" })?;
    let request: RequestRecord = row.json(0, "executions.request")?;
    tx.run(DISCARD, args![json(&request.recorded()), now, partner, id]).await?.exactly_one("dead letter")
}
