//! Named outside services. Those of the operator are in every partner's snapshot, so a change of one counts as a change
//! of all partners.

use super::db::{Row, Tx, json};
use super::{Error, Result, Store, partners};
use crate::args;
use crate::ids::PartnerId;
use crate::model::Upstream;

const COLUMNS: &str = "partner_id, name, origin, credential, settings, sealed, created_at_ms, updated_at_ms";

impl Store {
    /// `Conflict` if the owner has one of this name already.
    pub async fn insert_upstream(&self, upstream: &Upstream) -> Result<()> {
        self.db
            .tx("insert_upstream", upstream, |tx, u| {
                Box::pin(async move {
                    touch(tx, u.owner.as_ref()).await?;
                    let row = args![
                        column(u.owner.as_ref()),
                        &u.name,
                        u.settings.origin(),
                        u.settings.credential.word(),
                        json(&u.settings),
                        u.sealed.clone(),
                        u.created_at_ms,
                        u.updated_at_ms
                    ];
                    tx.insert(&format!("-- insert_upstream\n INSERT INTO upstreams ({COLUMNS})"), vec![row]).await
                })
            })
            .await
    }

    /// Replaces settings and credential; `Contended` if somebody else has changed it since it was read as `old`.
    pub async fn update_upstream(&self, old: &Upstream, new: &Upstream) -> Result<()> {
        const UPDATE: &str = "-- update_upstream
            UPDATE upstreams SET origin = ?, credential = ?, settings = ?, sealed = ?, updated_at_ms = ? WHERE partner_id = ? AND name = ? AND updated_at_ms = ?";
        self.db
            .tx("update_upstream", &(old, new), |tx, (old, new)| {
                Box::pin(async move {
                    touch(tx, new.owner.as_ref()).await?;
                    let args = args![
                        new.settings.origin(),
                        new.settings.credential.word(),
                        json(&new.settings),
                        new.sealed.clone(),
                        new.updated_at_ms,
                        column(new.owner.as_ref()),
                        &new.name,
                        old.updated_at_ms
                    ];
                    match tx.run(UPDATE, args).await?.exactly_one("upstream") {
                        Ok(()) => Ok(()),
                        Err(_) => Err(Error::Contended("the upstream was changed meanwhile".into())),
                    }
                })
            })
            .await
    }

    pub async fn delete_upstream(&self, owner: Option<&PartnerId>, name: &str) -> Result<()> {
        const DELETE: &str = "-- delete_upstream
            DELETE FROM upstreams WHERE partner_id = ? AND name = ?";
        self.db
            .tx("delete_upstream", &(owner, name), |tx, (owner, name)| {
                Box::pin(async move {
                    touch(tx, *owner).await?;
                    tx.run(DELETE, args![column(*owner), *name]).await?.exactly_one("upstream")
                })
            })
            .await
    }

    /// Those of this owner, by name.
    pub async fn upstreams(&self, owner: Option<&PartnerId>) -> Result<Vec<Upstream>> {
        let sql = format!("-- list_upstreams\n SELECT {COLUMNS} FROM upstreams WHERE partner_id = ? ORDER BY name");
        self.db.rows(&sql, args![column(owner)]).await?.iter().map(upstream).collect()
    }
}

async fn touch(tx: &mut Tx<'_>, owner: Option<&PartnerId>) -> Result<()> {
    match owner {
        Some(partner) => partners::touch(tx, partner).await,
        None => partners::touch_all(tx).await,
    }
}

fn column(owner: Option<&PartnerId>) -> &str {
    owner.map_or("", PartnerId::as_str)
}

fn upstream(row: &Row) -> Result<Upstream> {
    let owner = row.text(0)?;
    Ok(Upstream {
        owner: if owner.is_empty() { None } else { Some(row.id(0, "upstreams.partner_id")?) },
        name: row.text(1)?,
        settings: row.json(4, "upstreams.settings")?,
        sealed: row.maybe_bytes(5)?,
        created_at_ms: row.int(6)?,
        updated_at_ms: row.int(7)?,
    })
}
