//! Sessions of administrators, and failed attempts to begin one.

use larder_model::administrators::Session;
use larder_model::ids::{AdministratorId, SessionId};
use larder_model::time::Millis;

use crate::db::{Lock, Row};
use crate::{Error, Result, Store, args};

const COLUMNS: &str =
    "id, administrator_id, secret_hash, address, agent, created_at_ms, updated_at_ms, ends_at_ms, expires_at_ms";

/// What attempts to sign in are counted for.
#[derive(Clone, Debug)]
pub struct AttemptKey {
    /// A hash of the account or the address.
    pub id: String,
    /// Failures after which there is no delay yet.
    pub free: u32,
    pub delay_max_ms: Millis,
}

impl AttemptKey {
    /// How long after so many failures the next attempt must wait.
    fn delay_ms(&self, failures: i64) -> Millis {
        let beyond = failures - i64::from(self.free);
        if beyond <= 0 { 0 } else { (1_000 << (beyond - 1).min(20)).min(self.delay_max_ms) }
    }
}

/// How often the first attempts at the same time are told apart.
const BEGINNINGS: u32 = 16;
/// Failures are forgotten after so long without one.
const FORGOTTEN_MS: Millis = 24 * 60 * 60 * 1_000;
/// How long it is known what became of a letter.
const MAILS_KEPT_MS: Millis = 30 * 24 * 60 * 60 * 1_000;

impl Store {
    /// Begins a session. Of more than `most` of this administrator the oldest end.
    pub async fn insert_session(&self, session: &Session, most: u32) -> Result<()> {
        const OLDEST: &str = "-- oldest_sessions
            SELECT id FROM sessions WHERE administrator_id = ? ORDER BY created_at_ms DESC, id DESC";
        self.db
            .tx("insert_session", &(session, most), |tx, (s, most)| {
                Box::pin(async move {
                    let all = tx.rows(OLDEST, args![&s.administrator]).await?;
                    for row in all.iter().skip((*most as usize).saturating_sub(1)) {
                        let _ = tx.run(DELETE, args![&row.text(0)?, &s.administrator]).await?;
                    }
                    let row = args![
                        &s.id,
                        &s.administrator,
                        &s.secret_hash,
                        &s.address,
                        &s.agent,
                        s.created_at_ms,
                        s.updated_at_ms,
                        s.ends_at_ms,
                        s.expires_at_ms
                    ];
                    tx.insert(&format!("-- insert_session\n INSERT INTO sessions ({COLUMNS})"), vec![row]).await
                })
            })
            .await
    }

    pub async fn session(&self, id: &SessionId) -> Result<Option<Session>> {
        let sql = format!("-- find_session\n SELECT {COLUMNS} FROM sessions WHERE id = ?");
        self.db.row(&sql, args![id]).await?.as_ref().map(session).transpose()
    }

    /// The sessions of an administrator, the newest first.
    pub async fn sessions(&self, of: &AdministratorId) -> Result<Vec<Session>> {
        let sql = format!(
            "-- list_sessions\n SELECT {COLUMNS} FROM sessions WHERE administrator_id = ? ORDER BY created_at_ms DESC, id DESC"
        );
        self.db.rows(&sql, args![of]).await?.iter().map(session).collect()
    }

    /// Moves the end of a session on, and its token.
    pub async fn update_session(&self, session: &Session) -> Result<()> {
        const UPDATE: &str = "-- update_session
            UPDATE sessions SET secret_hash = ?, updated_at_ms = ?, ends_at_ms = ? WHERE id = ?";
        let args = args![&session.secret_hash, session.updated_at_ms, session.ends_at_ms, &session.id];
        self.db.run(UPDATE, args).await.map(|_| ())
    }

    /// Ends a session of this administrator.
    pub async fn delete_session(&self, id: &SessionId, of: &AdministratorId) -> Result<()> {
        self.db.run(DELETE, args![id, of]).await?.exactly_one("session")
    }

    /// Ends all sessions of this administrator but one.
    pub async fn delete_other_sessions(&self, of: &AdministratorId, keep: &SessionId) -> Result<()> {
        const OTHERS: &str = "-- delete_other_sessions
            DELETE FROM sessions WHERE administrator_id = ? AND id <> ?";
        self.db.run(OTHERS, args![of, keep]).await.map(|_| ())
    }

    /// Ends all sessions of this administrator.
    pub async fn delete_sessions(&self, of: &AdministratorId) -> Result<()> {
        const ALL: &str = "-- delete_all_sessions
            DELETE FROM sessions WHERE administrator_id = ?";
        self.db.run(ALL, args![of]).await.map(|_| ())
    }

    /// Counts an attempt as failed before it is made, so that attempts at the same time count as well. Returns 0, or until when
    /// the next attempt must wait; it is not counted then.
    pub async fn begin_attempt(&self, keys: &[AttemptKey], now: Millis) -> Result<Millis> {
        for _ in 1..BEGINNINGS {
            match self.try_begin_attempt(keys, now).await {
                // Another attempt has just been the first.
                Err(Error::Conflict { .. }) => {}
                begun => return begun,
            }
        }
        self.try_begin_attempt(keys, now).await
    }

    async fn try_begin_attempt(&self, keys: &[AttemptKey], now: Millis) -> Result<Millis> {
        const COUNT: &str = "-- count_failure
            UPDATE sign_in_failures SET failures = ?, until_ms = ?, at_ms = ? WHERE id = ?";
        const HEAD: &str = "-- first_failure
            INSERT INTO sign_in_failures (id, failures, until_ms, at_ms)";
        self.db
            .tx("begin_attempt", &(keys, now), |tx, (keys, now)| {
                Box::pin(async move {
                    let mut found = Vec::new();
                    for key in *keys {
                        let rows = tx.locked(Lock::Exclusive, ATTEMPTS, args![&key.id]).await?;
                        let row = rows.first().map(|row| Ok((row.int(0)?, row.int(1)?, row.int(2)?)));
                        found.push((key, row.transpose()?));
                    }
                    let until = found.iter().filter_map(|(_, row)| row.map(|(_, until, _)| until)).max().unwrap_or(0);
                    if until > *now {
                        return Ok(until);
                    }
                    for (key, row) in found {
                        let Some((failures, _, at)) = row else {
                            tx.insert(HEAD, vec![args![&key.id, 1, now + key.delay_ms(1), *now]]).await?;
                            continue;
                        };
                        let failures = if at < now - FORGOTTEN_MS { 1 } else { failures + 1 };
                        let args = args![failures, now + key.delay_ms(failures), *now, &key.id];
                        tx.run(COUNT, args).await?.exactly_one("failure")?;
                    }
                    Ok(0)
                })
            })
            .await
    }

    /// The attempt succeeded: forgets all failures under `account`, and the one of this attempt under `address`.
    pub async fn end_attempt(&self, account: &AttemptKey, address: &AttemptKey) -> Result<()> {
        const FORGET: &str = "-- forget_failures
            DELETE FROM sign_in_failures WHERE id = ?";
        const TAKE_BACK: &str = "-- take_failure_back
            UPDATE sign_in_failures SET failures = failures - 1, until_ms = 0 WHERE id = ? AND failures > 0";
        self.db
            .tx("end_attempt", &(account, address), |tx, (account, address)| {
                Box::pin(async move {
                    let _ = tx.run(FORGET, args![&account.id]).await?;
                    tx.run(TAKE_BACK, args![&address.id]).await.map(|_| ())
                })
            })
            .await
    }

    /// Deletes up to `limit` sessions that have ended, failures that are forgotten, links that have expired and letters of long ago, of each.
    pub async fn delete_old_sessions(&self, now: Millis, limit: u32) -> Result<u64> {
        let batch = |table: &str, id: &str, column: &str| {
            format!(
                "-- delete_old_{table}
                DELETE FROM {table} WHERE {id} IN (SELECT {id} FROM (SELECT {id} FROM {table} WHERE {column} < ? ORDER BY {column} LIMIT {limit}) AS batch)"
            )
        };
        let ended = (batch("sessions", "id", "ends_at_ms"), now);
        let forgotten = (batch("sign_in_failures", "id", "at_ms"), now - FORGOTTEN_MS);
        let expired = (batch("administrator_links", "secret_hash", "expires_at_ms"), now);
        let letters = (batch("mails", "id", "created_at_ms"), now - MAILS_KEPT_MS);
        self.db
            .tx("delete_old_sessions", &[ended, forgotten, expired, letters], |tx, all| {
                Box::pin(async move {
                    let mut rows = 0;
                    for (sql, before) in all {
                        rows += tx.run(sql, args![*before]).await?.0;
                    }
                    Ok(rows)
                })
            })
            .await
    }
}

const DELETE: &str = "-- delete_session
    DELETE FROM sessions WHERE id = ? AND administrator_id = ?";
const ATTEMPTS: &str = "-- sign_in_failures
    SELECT failures, until_ms, at_ms FROM sign_in_failures WHERE id = ?";

fn session(row: &Row) -> Result<Session> {
    Ok(Session {
        id: row.id(0, "sessions.id")?,
        administrator: row.id(1, "sessions.administrator_id")?,
        secret_hash: row.text(2)?,
        address: row.text(3)?,
        agent: row.text(4)?,
        created_at_ms: row.int(5)?,
        updated_at_ms: row.int(6)?,
        ends_at_ms: row.int(7)?,
        expires_at_ms: row.int(8)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_to_its_bound() {
        let key = AttemptKey { id: String::new(), free: 3, delay_max_ms: 60_000 };
        let delays: Vec<Millis> = [0, 3, 4, 5, 9, 10, 60].map(|failures| key.delay_ms(failures)).into();
        assert_eq!(delays, [0, 0, 1_000, 2_000, 32_000, 60_000, 60_000]);
    }
}
