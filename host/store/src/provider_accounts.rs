//! Administrators who sign in at the operator's provider. These queries belong to the installation.

use larder_model::administrators::Administrator;
use larder_model::ids::AdministratorId;

use crate::administrators::{insert, put_roles};
use crate::{Result, Store, args};

impl Store {
    /// Whose account this is.
    pub async fn administrator_of_provider(&self, subject_hash: &str) -> Result<Option<AdministratorId>> {
        const FIND: &str = "-- administrator_of_provider
            SELECT administrator_id FROM provider_accounts WHERE subject_hash = ?";
        let Some(row) = self.db.row(FIND, args![subject_hash]).await? else { return Ok(None) };
        row.id(0, "provider_accounts.administrator_id").map(Some)
    }

    /// Makes an administrator of this account. `Conflict` if the address or the account is another's.
    pub async fn insert_provider_account(&self, subject_hash: &str, administrator: &Administrator) -> Result<()> {
        self.db
            .tx("insert_provider_account", &(subject_hash, administrator), |tx, (subject_hash, a)| {
                Box::pin(async move {
                    insert(tx, a).await?;
                    let head = "-- insert_provider_account\n INSERT INTO provider_accounts (subject_hash, administrator_id, created_at_ms)";
                    tx.insert(head, vec![args![*subject_hash, &a.id, a.updated_at_ms]]).await
                })
            })
            .await
    }

    /// An administrator who has no password becomes this account, with the roles given. `NotFound` if they have one by now,
    /// `Conflict` if they are another account. All their sessions end.
    pub async fn take_for_provider(&self, subject_hash: &str, administrator: &Administrator) -> Result<()> {
        const LINKS: &str = "-- delete_links_of_provider_account
            DELETE FROM administrator_links WHERE administrator_id = ?";
        const TAKE: &str = "-- take_for_provider
            UPDATE administrators SET updated_at_ms = ? WHERE id = ? AND password_hash = ''";
        self.db
            .tx("take_for_provider", &(subject_hash, administrator), |tx, (subject_hash, a)| {
                Box::pin(async move {
                    tx.run(TAKE, args![a.updated_at_ms, &a.id]).await?.exactly_one("administrator")?;
                    let head = "-- insert_taken_account\n INSERT INTO provider_accounts (subject_hash, administrator_id, created_at_ms)";
                    tx.insert(head, vec![args![*subject_hash, &a.id, a.updated_at_ms]]).await?;
                    let _ = tx.run(LINKS, args![&a.id]).await?;
                    change(tx, a).await
                })
            })
            .await
    }

    /// What the provider says of somebody by now. All their sessions end, so that each has what its sign-in has proved.
    pub async fn change_provider_account(&self, administrator: &Administrator) -> Result<()> {
        self.db.tx("change_provider_account", administrator, |tx, a| Box::pin(change(tx, a))).await
    }
}

async fn change(tx: &mut crate::db::Tx<'_>, a: &Administrator) -> Result<()> {
    const CHANGE: &str = "-- change_provider_account
        UPDATE administrators SET email = ?, name = ?, email_verified_at_ms = ?, updated_at_ms = ? WHERE id = ?";
    const FORGET: &str = "-- delete_roles_of_provider_account
        DELETE FROM administrator_roles WHERE administrator_id = ?";
    const END: &str = "-- end_sessions_of_provider_account
        DELETE FROM sessions WHERE administrator_id = ?";
    let args = args![&a.email, &a.name, a.email_verified_at_ms, a.updated_at_ms, &a.id];
    tx.run(CHANGE, args).await?.exactly_one("administrator")?;
    let _ = tx.run(FORGET, args![&a.id]).await?;
    let _ = tx.run(END, args![&a.id]).await?;
    put_roles(tx, a).await
}
