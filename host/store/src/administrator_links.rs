//! Links of administrators. These queries belong to the installation: an administrator may have several partners.

use larder_model::administrators::{Administrator, Link, LinkKind};
use larder_model::ids::AdministratorId;

use crate::mails::{self, NewMail};
use crate::{Result, Store, args};

impl Store {
    /// Puts a link in the place of an older one of its kind, together with the letter that has it.
    pub async fn put_link(&self, link: &Link, mail: Option<&NewMail>) -> Result<()> {
        const OLD: &str = "-- delete_older_link
            DELETE FROM administrator_links WHERE administrator_id = ? AND kind = ?";
        const HEAD: &str = "-- insert_link
            INSERT INTO administrator_links (secret_hash, administrator_id, kind, created_at_ms, expires_at_ms)";
        self.db
            .tx("put_link", &(link, mail), |tx, (link, mail)| {
                Box::pin(async move {
                    let _ = tx.run(OLD, args![&link.administrator, link.kind.word()]).await?;
                    let row = args![
                        &link.secret_hash,
                        &link.administrator,
                        link.kind.word(),
                        link.created_at_ms,
                        link.expires_at_ms
                    ];
                    tx.insert(HEAD, vec![row]).await?;
                    match mail {
                        Some(mail) => mails::insert(tx, mail).await,
                        None => mails::replace(tx, &link.administrator, link.created_at_ms).await,
                    }
                })
            })
            .await
    }

    /// The link of this kind that a person has, expired or not.
    pub async fn link(&self, of: &AdministratorId, kind: LinkKind) -> Result<Option<Link>> {
        const FIND: &str = "-- find_link
            SELECT secret_hash, created_at_ms, expires_at_ms FROM administrator_links WHERE administrator_id = ? AND kind = ?";
        let Some(row) = self.db.row(FIND, args![of, kind.word()]).await? else { return Ok(None) };
        Ok(Some(Link {
            administrator: of.clone(),
            kind,
            secret_hash: row.text(0)?,
            created_at_ms: row.int(1)?,
            expires_at_ms: row.int(2)?,
        }))
    }

    /// Uses up a link that sets a password: the administrator has the new one, and all sessions end. `NotFound` if the link was
    /// used meanwhile.
    pub async fn set_password_by_link(&self, link: &Link, administrator: &Administrator) -> Result<()> {
        const USE: &str = "-- use_link
            DELETE FROM administrator_links WHERE secret_hash = ? AND administrator_id = ?";
        const SET: &str = "-- set_password
            UPDATE administrators SET password_hash = ?, password_at_ms = ?, updated_at_ms = ? WHERE id = ?";
        const END: &str = "-- end_sessions_of_link
            DELETE FROM sessions WHERE administrator_id = ?";
        self.db
            .tx("set_password_by_link", &(link, administrator), |tx, (link, a)| {
                Box::pin(async move {
                    tx.run(USE, args![&link.secret_hash, &a.id]).await?.exactly_one("link")?;
                    let args = args![&a.password_hash, a.password_at_ms, a.updated_at_ms, &a.id];
                    tx.run(SET, args).await?.exactly_one("administrator")?;
                    tx.run(END, args![&a.id]).await.map(|_| ())
                })
            })
            .await
    }
}
