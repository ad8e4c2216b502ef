//! Named external services. Those of the operator are in every partner's snapshot, so a change of one counts as a change of
//! all partners.

use larder_model::grants::leads;
use larder_model::ids::PartnerId;
use larder_model::{Upstream, json};

use crate::db::{Row, Tx};
use crate::grants::{self, Changer};
use crate::{Error, Result, Store, args, partners};

const COLUMNS: &str =
    "partner_id, name, origin, credential, settings, sealed, secret_revision, created_at_ms, updated_at_ms";

/// The key of the conflict when a partner's name is taken by an upstream of the operator.
pub const OPERATORS: &str = "operator's upstream";

impl Store {
    /// Inserts an upstream. `Conflict` if the owner has one with this name, or if this is a partner's and the operator has
    /// one.
    pub async fn insert_upstream(&self, upstream: &Upstream, by: &Changer<'_>) -> Result<()> {
        self.db
            .tx("insert_upstream", &(upstream, by), |tx, (u, by)| {
                Box::pin(async move {
                    touch(tx, u.owner.as_ref()).await?;
                    if u.owner.is_some() && one(tx, None, &u.name).await?.is_some() {
                        return Err(Error::Conflict { key: OPERATORS.into() });
                    }
                    let before = grants::by_name(tx, u.owner.as_ref(), &u.name).await?;
                    let row = args![
                        column(u.owner.as_ref()),
                        &u.name,
                        u.settings.origin(),
                        u.settings.credential.word(),
                        json(&u.settings),
                        u.sealed.clone(),
                        &u.secret_revision,
                        u.created_at_ms,
                        u.updated_at_ms
                    ];
                    tx.insert(&format!("-- insert_upstream\n INSERT INTO upstreams ({COLUMNS})"), vec![row]).await?;
                    before.changed(tx, by, "was created").await
                })
            })
            .await
    }

    /// Replaces settings and credential. `Contended` if it has been changed since it was read as `old`.
    pub async fn update_upstream(&self, old: &Upstream, new: &Upstream, by: &Changer<'_>) -> Result<()> {
        const UPDATE: &str = "-- update_upstream
            UPDATE upstreams SET origin = ?, credential = ?, settings = ?, sealed = ?, secret_revision = ?, updated_at_ms = ?
            WHERE partner_id = ? AND name = ? AND updated_at_ms = ?";
        self.db
            .tx("update_upstream", &(old, new, by), |tx, (old, new, by)| {
                Box::pin(async move {
                    touch(tx, new.owner.as_ref()).await?;
                    let before = grants::by_name(tx, new.owner.as_ref(), &new.name).await?;
                    let args = args![
                        new.settings.origin(),
                        new.settings.credential.word(),
                        json(&new.settings),
                        new.sealed.clone(),
                        &new.secret_revision,
                        new.updated_at_ms,
                        column(new.owner.as_ref()),
                        &new.name,
                        old.updated_at_ms
                    ];
                    if tx.run(UPDATE, args).await?.exactly_one("upstream").is_err() {
                        return Err(Error::Contended("the upstream was changed meanwhile".into()));
                    }
                    before.changed(tx, by, &format!("was changed: {}", old.changes(new).join(", "))).await
                })
            })
            .await
    }

    pub async fn delete_upstream(&self, owner: Option<&PartnerId>, name: &str, by: &Changer<'_>) -> Result<()> {
        const DELETE: &str = "-- delete_upstream
            DELETE FROM upstreams WHERE partner_id = ? AND name = ?";
        self.db
            .tx("delete_upstream", &(owner, name, by), |tx, (owner, name, by)| {
                Box::pin(async move {
                    touch(tx, *owner).await?;
                    let before = grants::by_name(tx, *owner, name).await?;
                    tx.run(DELETE, args![column(*owner), *name]).await?.exactly_one("upstream")?;
                    before.changed(tx, by, "was deleted").await
                })
            })
            .await
    }

    /// The upstreams of this owner, by name.
    pub async fn upstreams(&self, owner: Option<&PartnerId>) -> Result<Vec<Upstream>> {
        let sql = format!("-- list_upstreams\n SELECT {COLUMNS} FROM upstreams WHERE partner_id = ? ORDER BY name");
        self.db.rows(&sql, args![column(owner)]).await?.iter().map(upstream).collect()
    }
}

/// The upstream with this owner and name.
async fn one(tx: &mut Tx<'_>, owner: Option<&PartnerId>, name: &str) -> Result<Option<Upstream>> {
    let sql = format!("-- one_upstream\n SELECT {COLUMNS} FROM upstreams WHERE partner_id = ? AND name = ?");
    tx.row(&sql, args![column(owner), name]).await?.as_ref().map(upstream).transpose()
}

/// The upstreams that a partner's functions can call.
pub(super) async fn called(tx: &mut Tx<'_>, partner: &PartnerId) -> Result<Vec<Upstream>> {
    let sql = format!(
        "-- upstreams_that_are_called\n SELECT {COLUMNS} FROM upstreams WHERE partner_id IN (?, '') ORDER BY name"
    );
    let all: Vec<Upstream> = tx.rows(&sql, args![partner]).await?.iter().map(upstream).collect::<Result<_>>()?;
    Ok(leads::called(all))
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
        secret_revision: row.text(6)?,
        created_at_ms: row.int(7)?,
        updated_at_ms: row.int(8)?,
    })
}
