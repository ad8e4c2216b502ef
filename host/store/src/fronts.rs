//! Fronts and the authority of their certificates. These queries belong to the installation.

use larder_model::fronts::{FRONTS_MAX, Front};
use larder_model::time::Millis;

use crate::audit::Said;
use crate::db::{Lock, Row, Tx};
use crate::{Error, Result, Store, args};

/// The name of the one authority.
pub const AUTHORITY: &str = "fronts";

/// An authority with its sealed key.
pub struct FrontAuthority {
    /// In PEM.
    pub certificate: String,
    pub sealed_key: Vec<u8>,
}

/// What became of an enrolment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontEnrolled {
    Done,
    /// A front of this name has another key.
    Exists,
    /// There are as many as there may be.
    Full,
}

impl Store {
    pub async fn front_authority(&self) -> Result<Option<FrontAuthority>> {
        const FIND: &str = "-- front_authority
            SELECT certificate, sealed_key FROM front_authorities WHERE name = ?";
        let read = |row: Row| Ok(FrontAuthority { certificate: row.text(0)?, sealed_key: row.bytes(1)? });
        self.db.row(FIND, args![AUTHORITY]).await?.map(read).transpose()
    }

    /// Stores the authority, unless another process has just made one.
    pub async fn first_front_authority(&self, first: &FrontAuthority, now: Millis) -> Result<()> {
        const INSERT: &str = "-- insert_front_authority
            INSERT INTO front_authorities (name, certificate, sealed_key, created_at_ms) VALUES (?, ?, ?, ?)";
        let args = args![AUTHORITY, &first.certificate, first.sealed_key.as_slice(), now];
        match self.db.run(INSERT, args).await {
            Ok(_) | Err(Error::Conflict { .. }) => Ok(()),
            Err(err) => Err(err),
        }
    }

    /// All fronts, by name.
    pub async fn fronts(&self) -> Result<Vec<Front>> {
        const ALL: &str = "-- fronts
            SELECT name, key_hash, names, not_after_ms, created_at_ms FROM fronts ORDER BY name";
        self.db.rows(ALL, vec![]).await?.iter().map(front).collect()
    }

    /// Enrols a front, or the same one once more: a front that has this key already keeps the time of its enrolment.
    pub async fn enrol_front(&self, front: &Front) -> Result<FrontEnrolled> {
        self.db
            .tx_when(
                "enrol_front",
                front,
                |done| Said::when(*done == FrontEnrolled::Done),
                |tx, front| Box::pin(enrol(tx, front)),
            )
            .await
    }

    /// Writes down until when a front has a certificate. `NotFound` if it was removed, or has another key.
    pub async fn renew_front(&self, name: &str, key_hash: &str, not_after: Millis) -> Result<()> {
        const RENEW: &str = "-- renew_front
            UPDATE fronts SET not_after_ms = ? WHERE name = ? AND key_hash = ?";
        self.db.run(RENEW, args![not_after, name, key_hash]).await?.exactly_one("front")
    }

    pub async fn remove_front(&self, name: &str) -> Result<()> {
        const REMOVE: &str = "-- remove_front
            DELETE FROM fronts WHERE name = ?";
        self.db.run(REMOVE, args![name]).await?.exactly_one("front")
    }
}

async fn enrol(tx: &mut Tx<'_>, front: &Front) -> Result<FrontEnrolled> {
    const KNOWN: &str = "-- enrolled_fronts
        SELECT name, key_hash FROM fronts";
    const INSERT: &str = "-- insert_front
        INSERT INTO fronts (name, key_hash, names, not_after_ms, created_at_ms) VALUES (?, ?, ?, ?, ?)";
    const AGAIN: &str = "-- enrol_front_again
        UPDATE fronts SET names = ?, not_after_ms = ? WHERE name = ?";
    let known = tx.locked(Lock::Exclusive, KNOWN, vec![]).await?;
    let known: Vec<(String, String)> =
        known.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect::<Result<_>>()?;
    let names = larder_model::json(&front.names);
    match known.iter().find(|(name, _)| *name == front.name) {
        Some((_, key_hash)) if *key_hash != front.key_hash => Ok(FrontEnrolled::Exists),
        Some(_) => {
            tx.run(AGAIN, args![names, front.not_after_ms, &front.name]).await?.exactly_one("front")?;
            Ok(FrontEnrolled::Done)
        }
        None if known.len() >= FRONTS_MAX => Ok(FrontEnrolled::Full),
        None => {
            let args = args![&front.name, &front.key_hash, names, front.not_after_ms, front.created_at_ms];
            tx.run(INSERT, args).await?.exactly_one("front")?;
            Ok(FrontEnrolled::Done)
        }
    }
}

fn front(row: &Row) -> Result<Front> {
    Ok(Front {
        name: row.text(0)?,
        key_hash: row.text(1)?,
        names: row.json(2, "fronts.names")?,
        not_after_ms: row.int(3)?,
        created_at_ms: row.int(4)?,
    })
}
