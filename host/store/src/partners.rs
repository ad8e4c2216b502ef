//! Partners and their API keys. These queries belong to the operator and the directory, and cross partners.
//!
//! The rule: **every change of a partner's snapshot begins with [`touch`]**. It counts the change, so that other processes
//! notice it, and serializes the changes of one partner, so that what a change has read stays true until it commits.

use larder_model::ids::{KeyId, PartnerId};
use larder_model::time::Millis;
use larder_model::{ApiKey, Partner, json};

use crate::db::{Row, Tx};
use crate::{Result, Store, args};

const INSERT: &str = "-- insert_partner
    INSERT INTO partners (id, name, created_at_ms, updated_at_ms) VALUES (?, ?, ?, ?)";
const LIST: &str = "-- list_partners
    SELECT id, name, approval_by_another, version, created_at_ms, updated_at_ms FROM partners ORDER BY id";
const FIND: &str = "-- find_partner
    SELECT id, name, approval_by_another, version, created_at_ms, updated_at_ms FROM partners WHERE id = ?";
const INSERT_KEY: &str = "-- insert_api_key
    INSERT INTO api_keys (id, partner_id, name, secret_hash, scopes, created_at_ms, expires_at_ms, made_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
const LIST_KEYS: &str = "-- list_api_keys
    SELECT id, partner_id, name, secret_hash, scopes, created_at_ms, expires_at_ms FROM api_keys
    WHERE partner_id = ? ORDER BY created_at_ms, id";
const DELETE_KEY: &str = "-- delete_api_key
    DELETE FROM api_keys WHERE partner_id = ? AND id = ?";

impl Store {
    pub async fn insert_partner(&self, id: &PartnerId, name: &str, now: Millis) -> Result<Partner> {
        let _ = self.db.run(INSERT, args![id, name, now, now]).await?;
        let (id, name) = (id.clone(), name.to_owned());
        Ok(Partner { id, name, approval_by_another: false, version: 0, created_at_ms: now, updated_at_ms: now })
    }

    pub async fn update_partner(&self, partner: &Partner) -> Result<()> {
        const UPDATE: &str = "-- update_partner
            UPDATE partners SET name = ?, approval_by_another = ?, updated_at_ms = ? WHERE id = ?";
        self.db
            .tx("update_partner", partner, |tx, p| {
                Box::pin(async move {
                    touch(tx, &p.id).await?;
                    let args = args![&p.name, p.approval_by_another, p.updated_at_ms, &p.id];
                    tx.run(UPDATE, args).await?.exactly_one("partner")
                })
            })
            .await
    }

    pub async fn partners(&self) -> Result<Vec<Partner>> {
        self.db.rows(LIST, vec![]).await?.iter().map(partner).collect()
    }

    pub async fn partner(&self, id: &PartnerId) -> Result<Option<Partner>> {
        self.db.row(FIND, args![id]).await?.as_ref().map(partner).transpose()
    }

    /// `maker`: the person or key that makes it. Whoever made that one made this one, too.
    pub async fn insert_key(&self, key: &ApiKey, maker: Option<&str>) -> Result<()> {
        self.db
            .tx("insert_key", &(key, maker), |tx, (key, maker)| {
                Box::pin(async move {
                    touch(tx, &key.partner).await?;
                    let maker = match maker {
                        Some(maker) => Some(behind(tx, &key.partner, maker).await?),
                        None => None,
                    };
                    let args = args![
                        &key.id,
                        &key.partner,
                        &key.name,
                        &key.secret_hash,
                        json(&key.scopes),
                        key.created_at_ms,
                        key.expires_at_ms,
                        maker
                    ];
                    tx.run(INSERT_KEY, args).await?.exactly_one("key")
                })
            })
            .await
    }

    pub async fn keys(&self, partner: &PartnerId) -> Result<Vec<ApiKey>> {
        let key = |row: &Row| {
            Ok(ApiKey {
                id: row.id(0, "api_keys.id")?,
                partner: row.id(1, "api_keys.partner_id")?,
                name: row.text(2)?,
                secret_hash: row.text(3)?,
                scopes: row.json(4, "api_keys.scopes")?,
                created_at_ms: row.int(5)?,
                expires_at_ms: row.maybe_int(6)?,
            })
        };
        self.db.rows(LIST_KEYS, args![partner]).await?.iter().map(key).collect()
    }

    pub async fn delete_key(&self, partner: &PartnerId, id: &KeyId) -> Result<()> {
        self.db
            .tx("delete_key", &(partner, id), |tx, (partner, id)| {
                Box::pin(async move {
                    touch(tx, partner).await?;
                    tx.run(DELETE_KEY, args![*partner, *id]).await?.exactly_one("key")
                })
            })
            .await
    }
}

/// Who is behind an actor: whoever made this key, or the actor itself.
pub(super) async fn behind(tx: &mut Tx<'_>, partner: &PartnerId, actor: &str) -> Result<String> {
    const MAKER: &str = "-- maker_of_key
        SELECT made_by FROM api_keys WHERE partner_id = ? AND id = ?";
    let made_by = tx.row(MAKER, args![partner, actor]).await?.map(|row| row.maybe_text(0)).transpose()?.flatten();
    Ok(made_by.unwrap_or_else(|| actor.to_owned()))
}

/// Counts a change of this partner's snapshot.
pub(super) async fn touch(tx: &mut Tx<'_>, partner: &PartnerId) -> Result<()> {
    const TOUCH: &str = "-- touch_partner
        UPDATE partners SET version = version + 1 WHERE id = ?";
    tx.run(TOUCH, args![partner]).await?.exactly_one("partner")
}

/// Counts a change of all partners' snapshots.
pub(super) async fn touch_all(tx: &mut Tx<'_>) -> Result<()> {
    const TOUCH: &str = "-- touch_partners
        UPDATE partners SET version = version + 1";
    tx.run(TOUCH, args![]).await.map(|_| ())
}

fn partner(row: &Row) -> Result<Partner> {
    Ok(Partner {
        id: row.id(0, "partners.id")?,
        name: row.text(1)?,
        approval_by_another: row.flag(2)?,
        version: row.int(3)?,
        created_at_ms: row.int(4)?,
        updated_at_ms: row.int(5)?,
    })
}
