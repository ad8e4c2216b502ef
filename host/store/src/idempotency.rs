//! Idempotency keys: a repeated request gets the answer of the first one.
//!
//! A row is inserted before its request does anything. Until `until_ms` the request is in progress and nobody else may
//! start it. After that its outcome is unknown, and the next caller takes over the row together with its `subject`.
//! **Whatever a request creates uses the subject as its id**, so two holders of one row create one thing: the primary key
//! of executions ensures it.

use larder_model::ids::{ExecutionId, PartnerId};
use larder_model::time::Millis;

use crate::db::Row;
use crate::{Error, Result, Store, args};

/// The number of attempts to read a row that others change at the same moment.
const LOOKS: u32 = 5;

/// A request with an idempotency key.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    pub partner: PartnerId,
    /// The hash of the key and of its user.
    pub key_hash: String,
    /// The hash of the request.
    pub request_hash: String,
}

/// The stored answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    pub status: u16,
    /// Sealed; `None` if it was too large to be stored.
    pub sealed: Option<String>,
}

/// The state of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The request may start, and is in progress until the requested time.
    Free {
        subject: ExecutionId,
        /// It started before and its outcome is unknown: what it created, if anything, already has this id.
        again: bool,
    },
    Answered {
        subject: ExecutionId,
        answer: KeptAnswer,
    },
    /// It is in progress.
    InFlight,
    /// The key belongs to another request.
    Mismatch,
    /// The key is new, and the limit of keys is reached.
    Full,
}

/// The right to answer a request, until `until_ms`.
#[derive(Clone, Debug)]
pub struct KeyHolder {
    pub request: KeyRequest,
    pub until_ms: Millis,
}

impl Store {
    /// Takes the key for a request. Answers from before `forgotten` are ignored. Without `room` only an existing key is
    /// used.
    pub async fn take_key(
        &self,
        request: &KeyRequest,
        subject: &ExecutionId,
        now: Millis,
        until: Millis,
        forgotten: Millis,
        room: bool,
    ) -> Result<Taken> {
        const INSERT: &str = "-- insert_idempotency_key
            INSERT INTO idempotency_keys (partner_id, key_hash, request_hash, subject, until_ms, created_at_ms) VALUES (?, ?, ?, ?, ?, ?)";
        const FIND: &str = "-- find_idempotency_key
            SELECT request_hash, subject, until_ms, status, answer, created_at_ms FROM idempotency_keys WHERE partner_id = ? AND key_hash = ?";
        const TAKE_OVER: &str = "-- take_over_idempotency_key
            UPDATE idempotency_keys SET until_ms = ? WHERE partner_id = ? AND key_hash = ? AND status IS NULL AND until_ms = ?";
        const FORGET: &str = "-- forget_idempotency_key
            DELETE FROM idempotency_keys WHERE partner_id = ? AND key_hash = ? AND subject = ? AND until_ms = ?";
        let KeyRequest { partner, key_hash, request_hash } = request;
        for _ in 0..LOOKS {
            let Some(row) = self.db.row(FIND, args![partner, key_hash]).await? else {
                if !room {
                    return Ok(Taken::Full);
                }
                let args = args![partner, key_hash, request_hash, subject, until, now];
                match self.db.run(INSERT, args).await {
                    Ok(_) => return Ok(Taken::Free { subject: subject.clone(), again: false }),
                    // Another process was faster, or the answer of the commit was lost: read the existing row.
                    Err(Error::Conflict { .. } | Error::Unknown(_)) => continue,
                    Err(err) => return Err(err),
                }
            };
            let found = Found::read(&row)?;
            if found.subject == *subject {
                return Ok(Taken::Free { subject: found.subject, again: false });
            }
            if found.created_at_ms < forgotten && found.until_ms <= now {
                let _ = self.db.run(FORGET, args![partner, key_hash, &found.subject, found.until_ms]).await?;
                continue;
            }
            if found.request_hash != *request_hash {
                return Ok(Taken::Mismatch);
            }
            if let Some(answer) = found.answer {
                return Ok(Taken::Answered { subject: found.subject, answer });
            }
            if found.until_ms > now {
                return Ok(Taken::InFlight);
            }
            if self.db.run(TAKE_OVER, args![until, partner, key_hash, found.until_ms]).await?.0 == 1 {
                return Ok(Taken::Free { subject: found.subject, again: true });
            }
        }
        Ok(Taken::InFlight)
    }

    /// Stores the answer of a request that this holder has in progress. It does nothing if another holder took over the
    /// request.
    pub async fn answer_key(&self, holder: &KeyHolder, answer: &KeptAnswer, now: Millis) -> Result<()> {
        const ANSWER: &str = "-- answer_idempotency_key
            UPDATE idempotency_keys SET status = ?, answer = ?, until_ms = ? WHERE partner_id = ? AND key_hash = ? AND status IS NULL AND until_ms = ?";
        let KeyRequest { partner, key_hash, .. } = &holder.request;
        let args = args![answer.status, answer.sealed.as_ref(), now, partner, key_hash, holder.until_ms];
        self.db.run(ANSWER, args).await.map(|_| ())
    }

    /// Allows a request whose outcome is unknown to be started again.
    pub async fn lapse_key(&self, holder: &KeyHolder, now: Millis) -> Result<()> {
        const LAPSE: &str = "-- lapse_idempotency_key
            UPDATE idempotency_keys SET until_ms = ? WHERE partner_id = ? AND key_hash = ? AND status IS NULL AND until_ms = ?";
        let KeyRequest { partner, key_hash, .. } = &holder.request;
        self.db.run(LAPSE, args![now, partner, key_hash, holder.until_ms]).await.map(|_| ())
    }

    /// Deletes the key of a request that was refused before it did anything.
    pub async fn free_key(&self, holder: &KeyHolder) -> Result<()> {
        const FREE: &str = "-- free_idempotency_key
            DELETE FROM idempotency_keys WHERE partner_id = ? AND key_hash = ? AND status IS NULL AND until_ms = ?";
        let KeyRequest { partner, key_hash, .. } = &holder.request;
        self.db.run(FREE, args![partner, key_hash, holder.until_ms]).await.map(|_| ())
    }

    /// Counts a partner's keys, up to `most`.
    pub async fn count_idempotency_keys(&self, partner: &PartnerId, most: u64) -> Result<u64> {
        let sql = format!(
            "-- count_idempotency_keys
            SELECT COUNT(*) FROM (SELECT created_at_ms FROM idempotency_keys WHERE partner_id = ? LIMIT {most}) AS keys_of_partner"
        );
        Ok(self.db.row(&sql, args![partner]).await?.map_or(Ok(0), |row| row.int(0))? as u64)
    }

    /// Deletes up to `limit` older keys whose requests are not in progress, across all partners.
    pub async fn delete_old_idempotency_keys(&self, before: Millis, limit: u32) -> Result<u64> {
        let sql = format!(
            "-- old_idempotency_keys
            SELECT partner_id, key_hash FROM idempotency_keys WHERE created_at_ms < ? AND until_ms < ? ORDER BY created_at_ms LIMIT {limit}"
        );
        const DELETE: &str = "-- delete_old_idempotency_key
            DELETE FROM idempotency_keys WHERE partner_id = ? AND key_hash = ? AND created_at_ms < ? AND until_ms < ?";
        let old = self.db.rows(&sql, args![before, before]).await?;
        if old.is_empty() {
            return Ok(0);
        }
        self.db
            .tx("delete_old_idempotency_keys", &(old, before), |tx, (old, before)| {
                Box::pin(async move {
                    let mut deleted = 0;
                    for row in old {
                        deleted += tx.run(DELETE, args![row.text(0)?, row.text(1)?, *before, *before]).await?.0;
                    }
                    Ok(deleted)
                })
            })
            .await
    }
}

struct Found {
    request_hash: String,
    subject: ExecutionId,
    until_ms: Millis,
    answer: Option<KeptAnswer>,
    created_at_ms: Millis,
}

impl Found {
    fn read(row: &Row) -> Result<Found> {
        let sealed = row.maybe_text(4)?;
        Ok(Found {
            request_hash: row.text(0)?,
            subject: row.id(1, "idempotency_keys.subject")?,
            until_ms: row.int(2)?,
            answer: row.maybe_int(3)?.map(|status| KeptAnswer { status: status as u16, sealed }),
            created_at_ms: row.int(5)?,
        })
    }
}
