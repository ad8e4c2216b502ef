//! Idempotency keys: what was answered to a request, so that the same request sent again gets the same answer.
//!
//! A row is inserted before its request does anything. Until `until_ms` the request is under way and nobody else may begin
//! it; after that it came to no known end, and who asks again takes the row over, together with its `subject`. **Whatever a
//! request makes has the subject for its id**, so what two holders make of one row is one thing: the primary key of
//! executions sees to it.

use larder_model::ids::{ExecutionId, PartnerId};
use larder_model::time::Millis;

use crate::db::Row;
use crate::{Error, Result, Store, args};

/// Looks at a row that others change at the same moment.
const LOOKS: u32 = 5;

/// A request under a key.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    pub partner: PartnerId,
    /// Of the key and of who uses it.
    pub key_hash: String,
    /// Of what is asked.
    pub request_hash: String,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    pub status: u16,
    /// Sealed; `None` if it was too large to be kept.
    pub sealed: Option<String>,
}

/// What stands under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The request may begin, and is under way until the time that was asked for.
    Free {
        subject: ExecutionId,
        /// It began before and came to no known end: what it made, if anything, has this id already.
        again: bool,
    },
    Answered {
        subject: ExecutionId,
        answer: KeptAnswer,
    },
    /// It is under way.
    InFlight,
    /// The key stands for another request.
    Mismatch,
    /// It is a new one, and there is no room for it.
    Full,
}

/// The right to answer a request, until `until_ms`.
#[derive(Clone, Debug)]
pub struct KeyHolder {
    pub request: KeyRequest,
    pub until_ms: Millis,
}

impl Store {
    /// Takes the key for a request. What was answered before `forgotten` is forgotten. Without `room` only what is there is
    /// looked at.
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
                    // Somebody else was quicker, or the answer of the commit was lost: look at what stands there.
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

    /// Keeps the answer of a request that this holder has under way; nothing happens if another took it over.
    pub async fn answer_key(&self, holder: &KeyHolder, answer: &KeptAnswer, now: Millis) -> Result<()> {
        const ANSWER: &str = "-- answer_idempotency_key
            UPDATE idempotency_keys SET status = ?, answer = ?, until_ms = ? WHERE partner_id = ? AND key_hash = ? AND status IS NULL AND until_ms = ?";
        let KeyRequest { partner, key_hash, .. } = &holder.request;
        let args = args![answer.status, answer.sealed.as_ref(), now, partner, key_hash, holder.until_ms];
        self.db.run(ANSWER, args).await.map(|_| ())
    }

    /// Lets a request that came to no known end be begun again.
    pub async fn lapse_key(&self, holder: &KeyHolder, now: Millis) -> Result<()> {
        const LAPSE: &str = "-- lapse_idempotency_key
            UPDATE idempotency_keys SET until_ms = ? WHERE partner_id = ? AND key_hash = ? AND status IS NULL AND until_ms = ?";
        let KeyRequest { partner, key_hash, .. } = &holder.request;
        self.db.run(LAPSE, args![now, partner, key_hash, holder.until_ms]).await.map(|_| ())
    }

    /// Forgets a request that was refused before it did anything.
    pub async fn free_key(&self, holder: &KeyHolder) -> Result<()> {
        const FREE: &str = "-- free_idempotency_key
            DELETE FROM idempotency_keys WHERE partner_id = ? AND key_hash = ? AND status IS NULL AND until_ms = ?";
        let KeyRequest { partner, key_hash, .. } = &holder.request;
        self.db.run(FREE, args![partner, key_hash, holder.until_ms]).await.map(|_| ())
    }

    /// How many keys a partner has, counted up to `most`.
    pub async fn count_idempotency_keys(&self, partner: &PartnerId, most: u64) -> Result<u64> {
        let sql = format!(
            "-- count_idempotency_keys
            SELECT COUNT(*) FROM (SELECT created_at_ms FROM idempotency_keys WHERE partner_id = ? LIMIT {most}) AS keys_of_partner"
        );
        Ok(self.db.row(&sql, args![partner]).await?.map_or(Ok(0), |row| row.int(0))? as u64)
    }

    /// Removes up to `limit` keys that are older and whose requests are not under way, of all partners.
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
