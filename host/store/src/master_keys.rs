//! The master key that seals, and the keys that each process knows. These queries belong to the installation and cross partners.
//!
//! The rule: **a key seals only if every live process knows it**. A process that reports its keys locks the row of the sealing
//! key shared, and a process that replaces that key locks it exclusively: so a process is either counted, or sees the new key.

use larder_model::json;
use larder_model::time::Millis;
use larder_secrets::keyring::MasterKeyId;

use crate::audit::Said;
use crate::db::{Lock, Row, Tx};
use crate::{Error, Result, Store, args};

const SEALING: &str = "-- sealing_key
    SELECT key_id, since_ms, rewrapped_at_ms FROM sealing_key WHERE one = 1";
const PROCESSES: &str = "-- list_processes
    SELECT id, name, known, sealing, sealing_since_ms, seen_at_ms FROM processes WHERE seen_at_ms >= ? ORDER BY name, id";

/// The report of a process.
#[derive(Clone, Debug)]
pub struct KeyUser {
    pub id: String,
    /// For display.
    pub name: String,
    pub known: Vec<MasterKeyId>,
    pub sealing: MasterKeyId,
    pub sealing_since_ms: Millis,
    pub seen_at_ms: Millis,
}

/// The key that seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealingKey {
    pub id: MasterKeyId,
    pub since_ms: Millis,
    /// When values under other keys were last rewrapped.
    pub rewrapped_at_ms: Millis,
}

/// The result of replacing the sealing key.
#[derive(Debug)]
pub enum Agreed {
    Yes(SealingKey),
    /// These live processes do not know it.
    Unknown(Vec<KeyUser>),
}

impl Store {
    /// Reports the keys that this process knows, and returns the key that seals. While there is none, the process's own becomes it.
    pub async fn report_keys(&self, user: &KeyUser) -> Result<SealingKey> {
        const FIRST: &str = "-- first_sealing_key
            INSERT INTO sealing_key (one, key_id, since_ms, rewrapped_at_ms) VALUES (1, ?, ?, 0)";
        let report = || {
            self.db.tx("tell_keys", user, |tx, user| {
                Box::pin(async move {
                    let sealing = match sealing(tx, Lock::Shared).await? {
                        Some(sealing) => sealing,
                        None => {
                            let args = args![user.sealing.to_string(), user.seen_at_ms];
                            tx.run(FIRST, args).await?.exactly_one("sealing key")?;
                            SealingKey { id: user.sealing, since_ms: user.seen_at_ms, rewrapped_at_ms: 0 }
                        }
                    };
                    let known: Vec<String> = user.known.iter().map(ToString::to_string).collect();
                    let row = args![
                        user.id.as_str(),
                        user.name.as_str(),
                        json(&known),
                        user.sealing.to_string(),
                        user.sealing_since_ms,
                        user.seen_at_ms
                    ];
                    let set = ["name", "known", "sealing", "sealing_since_ms", "seen_at_ms"];
                    tx.upsert("processes", &["id"], &set, vec![row]).await?;
                    Ok(sealing)
                })
            })
        };
        match report().await {
            // Another process inserted the first key at the same moment.
            Err(Error::Conflict { .. }) => report().await,
            done => done,
        }
    }

    /// Makes this the key that seals, if every process that was seen since `alive` knows it.
    pub async fn agree_on_key(&self, id: MasterKeyId, now: Millis, alive: Millis) -> Result<Agreed> {
        const REPLACE: &str = "-- replace_sealing_key
            UPDATE sealing_key SET key_id = ?, since_ms = ?, rewrapped_at_ms = 0 WHERE one = 1";
        self.db
            .tx_when(
                "agree_on_key",
                &(id, now, alive),
                |agreed| Said::when(matches!(agreed, Agreed::Yes(_))),
                |tx, (id, now, alive)| {
                    Box::pin(async move {
                        let present =
                            sealing(tx, Lock::Exclusive).await?.ok_or(Error::NotFound { what: "sealing key" })?;
                        if present.id == *id {
                            return Ok(Agreed::Yes(present));
                        }
                        let users = tx.rows(PROCESSES, args![*alive]).await?;
                        let mut users: Vec<KeyUser> = users.iter().map(user).collect::<Result<_>>()?;
                        users.retain(|user| !user.known.contains(id));
                        if !users.is_empty() {
                            return Ok(Agreed::Unknown(users));
                        }
                        tx.run(REPLACE, args![id.to_string(), *now]).await?.exactly_one("sealing key")?;
                        Ok(Agreed::Yes(SealingKey { id: *id, since_ms: *now, rewrapped_at_ms: 0 }))
                    })
                },
            )
            .await
    }

    /// Records that values were rewrapped under the key that seals.
    pub async fn note_rewrap(&self, now: Millis) -> Result<()> {
        const NOTE: &str = "-- note_rewrap
            UPDATE sealing_key SET rewrapped_at_ms = ? WHERE one = 1";
        self.db.run(NOTE, args![now]).await?.exactly_one("sealing key")
    }

    /// The processes that were seen since `alive`.
    pub async fn key_users(&self, alive: Millis) -> Result<Vec<KeyUser>> {
        self.db.rows(PROCESSES, args![alive]).await?.iter().map(user).collect()
    }

    /// Removes a process that ends, and processes that ended long ago.
    pub async fn forget_key_users(&self, id: &str, before: Millis) -> Result<()> {
        const FORGET: &str = "-- forget_processes
            DELETE FROM processes WHERE id = ? OR seen_at_ms < ?";
        self.db.run(FORGET, args![id, before]).await.map(drop)
    }

    pub async fn installation_key(&self, name: &str) -> Result<Option<Vec<u8>>> {
        const FIND: &str = "-- find_installation_key
            SELECT sealed FROM installation_keys WHERE name = ?";
        self.db.row(FIND, args![name]).await?.map(|row| row.bytes(0)).transpose()
    }

    /// Stores this as the key of the name, unless another process was faster. Returns the stored key.
    pub async fn first_installation_key(&self, name: &str, sealed: Vec<u8>, now: Millis) -> Result<Vec<u8>> {
        const INSERT: &str = "-- insert_installation_key
            INSERT INTO installation_keys (name, sealed, created_at_ms) VALUES (?, ?, ?)";
        match self.db.run(INSERT, args![name, sealed, now]).await {
            Ok(_) | Err(Error::Conflict { .. } | Error::Unknown(_)) => {}
            Err(err) => return Err(err),
        }
        self.installation_key(name).await?.ok_or(Error::NotFound { what: "installation key" })
    }
}

async fn sealing(tx: &mut Tx<'_>, lock: Lock) -> Result<Option<SealingKey>> {
    let rows = tx.locked(lock, SEALING, vec![]).await?;
    let read = |row: &Row| {
        Ok(SealingKey { id: row.id(0, "sealing_key.key_id")?, since_ms: row.int(1)?, rewrapped_at_ms: row.int(2)? })
    };
    rows.first().map(read).transpose()
}

fn user(row: &Row) -> Result<KeyUser> {
    let known: Vec<String> = row.json(2, "processes.known")?;
    Ok(KeyUser {
        id: row.text(0)?,
        name: row.text(1)?,
        known: known.iter().filter_map(|id| id.parse().ok()).collect(),
        sealing: row.id(3, "processes.sealing")?,
        sealing_since_ms: row.int(4)?,
        seen_at_ms: row.int(5)?,
    })
}
