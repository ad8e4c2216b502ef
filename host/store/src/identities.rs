//! How the end users of partners prove who they are, and the keys of their issuers as they were last fetched.

use larder_model::identities::{FetchedKeys, Identity};
use larder_model::ids::PartnerId;
use larder_model::json;

use crate::db::Row;
use crate::{Result, Store, args, partners};

const COLUMNS: &str = "partner_id, settings, created_at_ms, updated_at_ms";

impl Store {
    /// Sets the identity settings of the partner, whether or not there are some.
    pub async fn put_identity(&self, identity: &Identity) -> Result<()> {
        self.db
            .tx("put_identity", identity, |tx, i| {
                Box::pin(async move {
                    partners::touch(tx, &i.partner).await?;
                    let row = args![&i.partner, json(&i.settings), i.created_at_ms, i.updated_at_ms];
                    let set = ["settings", "created_at_ms", "updated_at_ms"];
                    tx.upsert("identities", &["partner_id"], &set, vec![row]).await
                })
            })
            .await
    }

    /// Deletes the settings and the keys.
    pub async fn delete_identity(&self, partner: &PartnerId) -> Result<()> {
        const DELETE: &str = "-- delete_identity
            DELETE FROM identities WHERE partner_id = ?";
        const KEYS: &str = "-- delete_identity_keys
            DELETE FROM identity_keys WHERE partner_id = ?";
        self.db
            .tx("delete_identity", partner, |tx, partner| {
                Box::pin(async move {
                    partners::touch(tx, partner).await?;
                    tx.run(DELETE, args![partner]).await?.exactly_one("identity")?;
                    tx.run(KEYS, args![partner]).await.map(|_| ())
                })
            })
            .await
    }

    pub async fn identity(&self, partner: &PartnerId) -> Result<Option<Identity>> {
        let sql = format!("-- find_identity\n SELECT {COLUMNS} FROM identities WHERE partner_id = ?");
        self.db.row(&sql, args![partner]).await?.as_ref().map(identity).transpose()
    }

    /// Keeps the keys of the partner's issuer. Keys are no part of a snapshot.
    pub async fn put_identity_keys(&self, partner: &PartnerId, keys: &FetchedKeys) -> Result<()> {
        self.db
            .tx("put_identity_keys", &(partner, keys), |tx, (partner, keys)| {
                Box::pin(async move {
                    let row = args![*partner, &keys.jwks_url, &keys.document, keys.fetched_at_ms];
                    let set = ["jwks_url", "document", "fetched_at_ms"];
                    tx.upsert("identity_keys", &["partner_id"], &set, vec![row]).await
                })
            })
            .await
    }

    pub async fn identity_keys(&self, partner: &PartnerId) -> Result<Option<FetchedKeys>> {
        const FIND: &str = "-- find_identity_keys
            SELECT jwks_url, document, fetched_at_ms FROM identity_keys WHERE partner_id = ?";
        let keys =
            |row: &Row| Ok(FetchedKeys { jwks_url: row.text(0)?, document: row.text(1)?, fetched_at_ms: row.int(2)? });
        self.db.row(FIND, args![partner]).await?.as_ref().map(keys).transpose()
    }
}

fn identity(row: &Row) -> Result<Identity> {
    Ok(Identity {
        partner: row.id(0, "identities.partner_id")?,
        settings: row.json(1, "identities.settings")?,
        created_at_ms: row.int(2)?,
        updated_at_ms: row.int(3)?,
    })
}
