//! Fan-outs: a trigger for many enrolments is stored as one row with a cursor.

use larder_model::ids::{EnrolmentId, ExecutionId, PartnerId};
use larder_model::time::{Clock, SKEW_MS};
use larder_model::{Fanout, RequestRecord, Trigger, trigger_key};
use larder_signals::crash::{self, Point};

use crate::db::{Lock, Row, Tx};
use crate::executions::{self, NewExecution};
use crate::{Result, Store, args};

impl Store {
    /// Fan-outs of a partner whose cursor has not reached the end, oldest first.
    pub async fn waiting_fanouts(&self, partner: &PartnerId, limit: u32) -> Result<Vec<Fanout>> {
        const WAITING: &str = "-- waiting_fanouts
            SELECT partner_id, id, function_id, trigger_kind, event_row, nominal_at_ms, late_ms, topic, cursor_id, created_at_ms
            FROM fanouts /*! FORCE INDEX (fanouts_by_waiting) */ WHERE waiting = 1 AND partner_id = ? ORDER BY created_at_ms LIMIT ?";
        self.db.rows(WAITING, args![partner, limit]).await?.iter().map(fanout).collect()
    }

    /// Inserts the executions of the next `page` enrolments and moves the cursor past them, in one transaction. Returns their
    /// number; fewer than `page` is the end, and so is a function that is disabled or deleted. Returns `None` if another process
    /// is moving the cursor or has moved it.
    ///
    /// An enrolment is included if it existed when the fan-out was created. The two times may come from different machines, so an
    /// enrolment that seems up to [`SKEW_MS`] newer is included too: nobody misses an event after their enrolment is confirmed.
    pub async fn expand_fanout(&self, fanout: &Fanout, page: u32, clock: &Clock) -> Result<Option<u32>> {
        const FUNCTION: &str = "-- function_of_fanout
            SELECT enabled FROM functions WHERE partner_id = ? AND id = ?";
        const LOCK: &str = "-- lock_fanout
            SELECT 1 FROM fanouts WHERE partner_id = ? AND id = ? AND cursor_id = ? AND waiting = 1";
        const NEXT: &str = "-- next_enrolments
            SELECT id FROM enrolments WHERE partner_id = ? AND function_id = ? AND topic = ? AND status = 'active'
            AND id > ? AND created_at_ms <= ? ORDER BY id LIMIT ?";
        const NEXT_OF_ALL: &str = "-- next_enrolments_of_all_topics
            SELECT id FROM enrolments WHERE partner_id = ? AND function_id = ? AND status = 'active'
            AND id > ? AND created_at_ms <= ? ORDER BY id LIMIT ?";
        const MOVE: &str = "-- move_fanout
            UPDATE fanouts SET cursor_id = ?, waiting = ? WHERE partner_id = ? AND id = ?";
        self.db
            .tx("expand_fanout", &(fanout, page, clock), |tx, (fanout, page, clock)| {
                Box::pin(async move {
                    let f = *fanout;
                    let function = tx.locked(Lock::Shared, FUNCTION, args![&f.partner, &f.function]).await?;
                    let enabled = function.first().map_or(Ok(false), |row| row.flag(0))?;
                    if tx.locked(Lock::Skip, LOCK, args![&f.partner, &f.id, &f.cursor]).await?.is_empty() {
                        return Ok(None);
                    }
                    if !enabled {
                        tx.run(MOVE, args![&f.cursor, false, &f.partner, &f.id]).await?.exactly_one("fan-out")?;
                        return Ok(Some(0));
                    }
                    let until = f.created_at_ms + SKEW_MS;
                    let rows = match &f.topic {
                        Some(topic) => {
                            tx.rows(NEXT, args![&f.partner, &f.function, topic, &f.cursor, until, *page]).await?
                        }
                        None => tx.rows(NEXT_OF_ALL, args![&f.partner, &f.function, &f.cursor, until, *page]).await?,
                    };
                    let enrolments =
                        rows.iter().map(|row| row.id::<EnrolmentId>(0, "enrolments.id")).collect::<Result<Vec<_>>>()?;
                    let cursor = enrolments.last().map_or(f.cursor.as_str(), |last| last.as_str());
                    let waiting = enrolments.len() == *page as usize;
                    tx.run(MOVE, args![cursor, waiting, &f.partner, &f.id]).await?.exactly_one("fan-out")?;
                    let now = clock.now_ms();
                    let executions: Vec<NewExecution> = enrolments
                        .into_iter()
                        .map(|enrolment| NewExecution {
                            id: ExecutionId::generate(clock),
                            trigger_key: Some(trigger_key(&["fanout", f.id.as_str(), enrolment.as_str()])),
                            enrolment: Some(enrolment),
                            partner: f.partner.clone(),
                            function: f.function.clone(),
                            trigger: f.trigger,
                            event: f.event.clone(),
                            nominal_at_ms: f.nominal_at_ms,
                            late_ms: f.late_ms,
                            scheduled_at_ms: None,
                            request: RequestRecord::default(),
                            body: None,
                            now,
                        })
                        .collect();
                    executions::insert_new(tx, &executions).await?;
                    crash::point(Point::FanoutExpanding);
                    Ok(Some(executions.len() as u32))
                })
            })
            .await
    }
}

pub(super) async fn insert_new(tx: &mut Tx<'_>, fanouts: &[Fanout]) -> Result<()> {
    let rows = fanouts
        .iter()
        .map(|f| {
            args![
                &f.partner,
                &f.id,
                &f.function,
                f.trigger_key(),
                f.trigger.word(),
                f.event.as_ref(),
                f.nominal_at_ms,
                f.late_ms,
                f.topic.as_ref(),
                &f.cursor,
                true,
                f.created_at_ms
            ]
        })
        .collect();
    tx.insert(
        "-- insert_fanouts
        INSERT INTO fanouts (partner_id, id, function_id, trigger_key, trigger_kind, event_row, nominal_at_ms, late_ms, topic, cursor_id, waiting, created_at_ms)",
        rows,
    )
    .await
}

fn fanout(row: &Row) -> Result<Fanout> {
    Ok(Fanout {
        partner: row.id(0, "fanouts.partner_id")?,
        id: row.id(1, "fanouts.id")?,
        function: row.id(2, "fanouts.function_id")?,
        trigger: row.parse(3, "fanouts.trigger_kind", Trigger::from_word)?,
        event: row.maybe_id(4, "fanouts.event_row")?,
        nominal_at_ms: row.maybe_int(5)?,
        late_ms: row.maybe_int(6)?,
        topic: row.maybe_text(7)?,
        cursor: row.text(8)?,
        created_at_ms: row.int(9)?,
    })
}
