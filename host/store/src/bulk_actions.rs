//! Bulk actions on dead letters. A batch, how far the action is and whether it goes on change in one transaction under the lock of
//! the action's row: a process that dies leaves no batch half done or half counted, and none is done twice.

use larder_model::ids::{BulkActionId, ExecutionId, PartnerId};
use larder_model::time::Millis;
use larder_model::{BulkAction, BulkKind, BulkStatus, Letters, json};
use larder_signals::crash::{self, Point};

use crate::db::{Lock, Row, Tx};
use crate::letter_groups::of_group;
use crate::listing::{self, Column, Kind, Listing, Page, Source};
use crate::{Error, Result, Store, args, dead_letters};

const COLUMNS: &str = "partner_id, id, kind, status, function_id, reason, letters, before_ms, asked_by, begins_at_ms, held_back, \
    expected, done, failed, created_at_ms, updated_at_ms";
const SOURCE: Source = Source {
    name: "bulk_actions",
    table: "bulk_actions",
    columns: COLUMNS,
    id: "id",
    indexed: &[],
    by_time: false,
    long: &[],
};

/// The columns by which lists of bulk actions can be filtered.
pub const FILTERS: &[Column] = &[
    Column { attribute: "$id", column: "id", kind: Kind::Text },
    Column { attribute: "$createdAt", column: "created_at_ms", kind: Kind::Time },
    Column { attribute: "action", column: "kind", kind: Kind::Text },
    Column { attribute: "functionId", column: "function_id", kind: Kind::Text },
    Column { attribute: "status", column: "status", kind: Kind::Text },
];

/// What a batch did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    pub done: u64,
    pub failed: u64,
    /// Nothing of the action is left.
    pub ended: bool,
}

/// How far an action is: the last dead letter that was looked at.
struct Cursor {
    at_ms: Millis,
    id: String,
}

impl Store {
    pub async fn insert_bulk_action(&self, action: &BulkAction) -> Result<()> {
        const INSERT: &str = "-- insert_bulk_action
            INSERT INTO bulk_actions (partner_id, id, kind, status, is_open, function_id, reason, letters, before_ms, asked_by,
                begins_at_ms, due_at_ms, expected, done, failed, cursor_at_ms, cursor_id, created_at_ms, updated_at_ms)
            VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, '', ?, ?)";
        let (function, reason, letters) = match &action.letters {
            Letters::Group { function, reason } => (Some(function), reason.as_deref(), None),
            Letters::These(ids) => (None, None, Some(json(ids))),
        };
        let args = args![
            &action.partner,
            &action.id,
            action.kind.word(),
            action.status.word(),
            function,
            reason,
            letters,
            action.before_ms,
            &action.asked_by,
            action.begins_at_ms,
            action.begins_at_ms,
            action.expected,
            action.created_at_ms,
            action.updated_at_ms
        ];
        self.db.run(INSERT, args).await?.exactly_one("bulk action")
    }

    pub async fn bulk_action(&self, partner: &PartnerId, id: &BulkActionId) -> Result<Option<BulkAction>> {
        listing::one(&self.db, &SOURCE, vec![("partner_id", partner.into())], id, action).await
    }

    pub async fn list_bulk_actions(&self, partner: &PartnerId, listing: &Listing) -> Result<Page<BulkAction>> {
        listing::list(&self.lists, &SOURCE, vec![("partner_id", partner.into())], listing, action).await
    }

    /// Counts those of a partner that have not ended.
    pub async fn count_bulk_actions(&self, partner: &PartnerId) -> Result<u64> {
        const COUNT: &str = "-- count_bulk_actions
            SELECT COUNT(*) FROM bulk_actions WHERE partner_id = ? AND is_open = 1";
        Ok(self.db.row(COUNT, args![partner]).await?.map_or(Ok(0), |row| row.int(0))? as u64)
    }

    /// Actions of any partner of which something is to be done, the one that waits longest first.
    pub async fn due_bulk_actions(&self, now: Millis, limit: u32) -> Result<Vec<(PartnerId, BulkActionId, BulkKind)>> {
        let sql = format!(
            "-- due_bulk_actions
            SELECT partner_id, id, kind FROM bulk_actions WHERE due_at_ms <= ? ORDER BY due_at_ms LIMIT {limit}"
        );
        let rows = self.db.rows(&sql, args![now]).await?;
        let due = rows.iter().map(|row| {
            let kind = row.parse(2, "bulk_actions.kind", BulkKind::from_word)?;
            Ok((row.id(0, "bulk_actions.partner_id")?, row.id(1, "bulk_actions.id")?, kind))
        });
        due.collect()
    }

    /// Does the next batch of an action. `None` if it is not due any more: somebody else did it, paused or cancelled it.
    pub async fn advance_bulk_action(
        &self,
        partner: &PartnerId,
        id: &BulkActionId,
        size: u32,
        now: Millis,
    ) -> Result<Option<Batch>> {
        let find = format!(
            "-- locked_bulk_action
            SELECT {COLUMNS}, cursor_at_ms, cursor_id FROM bulk_actions WHERE partner_id = ? AND id = ? AND due_at_ms <= ?"
        );
        self.db
            .tx("advance_bulk_action", &(find, partner, id, size, now), |tx, (find, partner, id, size, now)| {
                Box::pin(async move {
                    let rows = tx.locked(Lock::Exclusive, find, args![*partner, *id, *now]).await?;
                    let Some(row) = rows.first() else { return Ok(None) };
                    let cursor = Cursor { at_ms: row.int(16)?, id: row.text(17)? };
                    let batch = advance(tx, &action(row)?, cursor, *size, *now).await?;
                    crash::point(Point::BulkWriting);
                    Ok(Some(batch))
                })
            })
            .await
    }

    /// Puts the next batch of an action off, and says why.
    pub async fn hold_bulk_action(
        &self,
        partner: &PartnerId,
        id: &BulkActionId,
        until: Millis,
        why: &str,
        now: Millis,
    ) -> Result<()> {
        const HOLD: &str = "-- hold_bulk_action
            UPDATE bulk_actions SET due_at_ms = ?, held_back = ?, updated_at_ms = ?
            WHERE partner_id = ? AND id = ? AND due_at_ms <= ?";
        let why: String = why.chars().take(500).collect();
        let _ = self.db.run(HOLD, args![until, why, now, partner, id, now]).await?;
        Ok(())
    }

    /// `Conflict` unless it is in one of the states `from`.
    pub async fn change_bulk_action(
        &self,
        partner: &PartnerId,
        id: &BulkActionId,
        from: &[BulkStatus],
        to: BulkStatus,
        now: Millis,
    ) -> Result<()> {
        const NOW: &str = "-- status_of_bulk_action
            SELECT status, begins_at_ms FROM bulk_actions WHERE partner_id = ? AND id = ?";
        const SET: &str = "-- set_status_of_bulk_action
            UPDATE bulk_actions SET status = ?, is_open = ?, due_at_ms = ?, held_back = NULL, updated_at_ms = ?
            WHERE partner_id = ? AND id = ?";
        self.db
            .tx("change_bulk_action", &(partner, id, from, to, now), |tx, (partner, id, from, to, now)| {
                Box::pin(async move {
                    let rows = tx.locked(Lock::Exclusive, NOW, args![*partner, *id]).await?;
                    let row = rows.first().ok_or(Error::NotFound { what: "bulk action" })?;
                    let status = row.parse(0, "bulk_actions.status", BulkStatus::from_word)?;
                    if !from.contains(&status) {
                        return Err(Error::Conflict { key: format!("a bulk action that is {}", status.word()) });
                    }
                    let due = match to {
                        BulkStatus::Waiting | BulkStatus::Running => Some((*now).max(row.int(1)?)),
                        BulkStatus::Paused | BulkStatus::Completed | BulkStatus::Cancelled => None,
                    };
                    let is_open = i64::from(!to.is_ended());
                    tx.run(SET, args![to.word(), is_open, due, *now, *partner, *id]).await?.exactly_one("bulk action")
                })
            })
            .await
    }
}

/// Does a batch of an action, whose row is locked.
async fn advance(tx: &mut Tx<'_>, action: &BulkAction, from: Cursor, size: u32, now: Millis) -> Result<Batch> {
    const PROGRESS: &str = "-- progress_of_bulk_action
        UPDATE bulk_actions SET status = ?, is_open = ?, due_at_ms = ?, held_back = NULL, done = done + ?, failed = failed + ?,
            cursor_at_ms = ?, cursor_id = ?, updated_at_ms = ?
        WHERE partner_id = ? AND id = ?";
    let partner = &action.partner;
    let (ids, at) = next(tx, action, from, size).await?;
    let ended = ids.len() < size as usize;
    let done = match action.kind {
        BulkKind::Redrive => dead_letters::redrive_these(tx, partner, &ids, action.before_ms, now).await?,
        BulkKind::Discard => {
            let mut done = 0;
            for id in &ids {
                match dead_letters::discard(tx, partner, id, action.before_ms, now).await {
                    Ok(()) => done += 1,
                    Err(Error::NotFound { .. } | Error::BadRow { .. }) => {}
                    Err(err) => return Err(err),
                }
            }
            done
        }
    };
    let failed = ids.len() as u64 - done;
    let status = if ended { BulkStatus::Completed } else { BulkStatus::Running };
    let due = (!ended).then_some(now);
    let args = args![status.word(), i64::from(!ended), due, done, failed, at.at_ms, &at.id, now, partner, &action.id];
    tx.run(PROGRESS, args).await?.exactly_one("bulk action")?;
    Ok(Batch { done, failed, ended })
}

/// The next dead letters of an action, in the order in which it takes them.
async fn next(tx: &mut Tx<'_>, action: &BulkAction, from: Cursor, size: u32) -> Result<(Vec<ExecutionId>, Cursor)> {
    let (function, reason) = match &action.letters {
        Letters::Group { function, reason } => (function, reason.as_deref()),
        Letters::These(ids) => {
            let ids: Vec<_> = ids.iter().filter(|id| id.as_str() > from.id.as_str()).take(size as usize).collect();
            let last = ids.last().map_or(from.id, |id| id.to_string());
            return Ok((ids.into_iter().cloned().collect(), Cursor { at_ms: 0, id: last }));
        }
    };
    let (of, values) = of_group(function, reason);
    let find = format!(
        "-- next_of_bulk_action
        SELECT buried_at_ms, id FROM executions /*! FORCE INDEX (executions_by_reason) */ WHERE partner_id = ? AND {of}
            AND buried_at_ms > 0 AND buried_at_ms >= ? AND buried_at_ms < ? AND (buried_at_ms > ? OR id > ?)
        ORDER BY buried_at_ms, id LIMIT {size}"
    );
    let range = args![from.at_ms, action.before_ms, from.at_ms, &from.id];
    let rows = tx.rows(&find, [args![&action.partner], values, range].concat()).await?;
    let at = match rows.last() {
        Some(row) => Cursor { at_ms: row.int(0)?, id: row.text(1)? },
        None => from,
    };
    let ids = rows.iter().map(|row| row.id(1, "executions.id")).collect::<Result<_>>()?;
    Ok((ids, at))
}

fn action(row: &Row) -> Result<BulkAction> {
    let letters = match row.maybe_id(4, "bulk_actions.function_id")? {
        Some(function) => Letters::Group { function, reason: row.maybe_text(5)? },
        None => Letters::These(row.json(6, "bulk_actions.letters")?),
    };
    Ok(BulkAction {
        partner: row.id(0, "bulk_actions.partner_id")?,
        id: row.id(1, "bulk_actions.id")?,
        kind: row.parse(2, "bulk_actions.kind", BulkKind::from_word)?,
        status: row.parse(3, "bulk_actions.status", BulkStatus::from_word)?,
        letters,
        before_ms: row.int(7)?,
        asked_by: row.text(8)?,
        begins_at_ms: row.int(9)?,
        held_back: row.maybe_text(10)?,
        expected: row.int(11)? as u64,
        done: row.int(12)? as u64,
        failed: row.int(13)? as u64,
        created_at_ms: row.int(14)?,
        updated_at_ms: row.int(15)?,
    })
}
