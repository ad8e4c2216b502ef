//! Administrators and their roles. These queries belong to the installation and cross partners: an administrator may have
//! several.

use larder_model::administrators::{Administrator, Role, RoleIn};
use larder_model::ids::AdministratorId;

use crate::db::{Row, Tx, Value};
use crate::{Error, Result, Store, args};

const COLUMNS: &str =
    "id, email, name, password_hash, email_verified_at_ms, sealed_totp, password_at_ms, created_at_ms, updated_at_ms";
/// Follows the columns where administrators are read.
const OF_PROVIDER: &str = "(SELECT 1 FROM provider_accounts WHERE administrator_id = administrators.id)";

impl Store {
    /// Inserts an administrator. `Conflict` if the address is taken.
    pub async fn insert_administrator(&self, administrator: &Administrator) -> Result<()> {
        self.db.tx("insert_administrator", administrator, |tx, a| Box::pin(insert(tx, a))).await
    }

    /// Replaces everything but the second factor. With a new password all sessions but `keep` end.
    pub async fn update_administrator(&self, administrator: &Administrator, keep: Option<&str>) -> Result<()> {
        const UPDATE: &str = "-- update_administrator
            UPDATE administrators SET email = ?, name = ?, password_hash = ?, email_verified_at_ms = ?, password_at_ms = ?, updated_at_ms = ?
            WHERE id = ?";
        const END: &str = "-- end_sessions_of_password
            DELETE FROM sessions WHERE administrator_id = ? AND created_at_ms < ? AND id <> ?";
        const FORGET: &str = "-- delete_administrator_roles
            DELETE FROM administrator_roles WHERE administrator_id = ?";
        self.db
            .tx("update_administrator", &(administrator, keep), |tx, (a, keep)| {
                Box::pin(async move {
                    let args = args![
                        &a.email,
                        &a.name,
                        &a.password_hash,
                        a.email_verified_at_ms,
                        a.password_at_ms,
                        a.updated_at_ms,
                        &a.id
                    ];
                    tx.run(UPDATE, args).await?.exactly_one("administrator")?;
                    let _ = tx.run(END, args![&a.id, a.password_at_ms, keep.unwrap_or_default()]).await?;
                    let _ = tx.run(FORGET, args![&a.id]).await?;
                    put_roles(tx, a).await
                })
            })
            .await
    }

    /// Deletes an administrator with all sessions.
    pub async fn delete_administrator(&self, id: &AdministratorId) -> Result<()> {
        const DELETE: &str = "-- delete_administrator
            DELETE FROM administrators WHERE id = ?";
        const ROLES: &str = "-- delete_roles_of_administrator
            DELETE FROM administrator_roles WHERE administrator_id = ?";
        const SESSIONS: &str = "-- delete_sessions_of_administrator
            DELETE FROM sessions WHERE administrator_id = ?";
        const LINKS: &str = "-- delete_links_of_administrator
            DELETE FROM administrator_links WHERE administrator_id = ?";
        const CODES: &str = "-- delete_codes_of_administrator
            DELETE FROM recovery_codes WHERE administrator_id = ?";
        const ACCOUNT: &str = "-- delete_provider_account
            DELETE FROM provider_accounts WHERE administrator_id = ?";
        const MAILS: &str = "-- delete_mails_of_administrator
            DELETE FROM mails WHERE administrator_id = ?";
        self.db
            .tx("delete_administrator", id, |tx, id| {
                Box::pin(async move {
                    tx.run(DELETE, args![id]).await?.exactly_one("administrator")?;
                    for rows in [ROLES, LINKS, CODES, ACCOUNT, MAILS] {
                        let _ = tx.run(rows, args![id]).await?;
                    }
                    tx.run(SESSIONS, args![id]).await.map(|_| ())
                })
            })
            .await
    }

    pub async fn administrator(&self, id: &AdministratorId) -> Result<Option<Administrator>> {
        let sql = format!("-- find_administrator\n SELECT {COLUMNS}, {OF_PROVIDER} FROM administrators WHERE id = ?");
        let Some(row) = self.db.row(&sql, args![id]).await? else { return Ok(None) };
        let mut found = administrator(&row)?;
        let roles = self.roles("WHERE administrator_id = ?", args![id]).await?;
        found.roles = roles.into_iter().map(|(_, role)| role).collect();
        Ok(Some(found))
    }

    /// The administrator with this address, and the hash of the password; it is empty until there is one.
    pub async fn password_of_email(&self, email: &str) -> Result<Option<(AdministratorId, String)>> {
        const FIND: &str = "-- password_of_email
            SELECT id, password_hash FROM administrators WHERE email = ?";
        let Some(row) = self.db.row(FIND, args![email]).await? else { return Ok(None) };
        Ok(Some((row.id(0, "administrators.id")?, row.text(1)?)))
    }

    /// All administrators, in order of creation.
    pub async fn administrators(&self) -> Result<Vec<Administrator>> {
        let sql = format!(
            "-- list_administrators\n SELECT {COLUMNS}, {OF_PROVIDER} FROM administrators ORDER BY created_at_ms, id"
        );
        let mut all: Vec<Administrator> =
            self.db.rows(&sql, vec![]).await?.iter().map(administrator).collect::<Result<_>>()?;
        let roles = self.roles("", vec![]).await?;
        for found in &mut all {
            found.roles = roles.iter().filter(|(of, _)| *of == found.id).map(|(_, role)| role.clone()).collect();
        }
        Ok(all)
    }

    async fn roles(&self, condition: &str, args: Vec<Value>) -> Result<Vec<(AdministratorId, RoleIn)>> {
        let sql = format!(
            "-- administrator_roles
            SELECT administrator_id, partner_id, role FROM administrator_roles {condition} ORDER BY administrator_id, partner_id"
        );
        let role = |row: &Row| {
            let partner = match row.text(1)?.as_str() {
                "" => None,
                _ => Some(row.id(1, "administrator_roles.partner_id")?),
            };
            let role = row.parse(2, "administrator_roles.role", Role::from_word)?;
            Ok((row.id(0, "administrator_roles.administrator_id")?, RoleIn { partner, role }))
        };
        self.db.rows(&sql, args).await?.iter().map(role).collect()
    }
}

pub(crate) async fn insert(tx: &mut Tx<'_>, a: &Administrator) -> Result<()> {
    let row = args![
        &a.id,
        &a.email,
        &a.name,
        &a.password_hash,
        a.email_verified_at_ms,
        Value::Null,
        a.password_at_ms,
        a.created_at_ms,
        a.updated_at_ms
    ];
    tx.insert(&format!("-- insert_administrator\n INSERT INTO administrators ({COLUMNS})"), vec![row]).await?;
    put_roles(tx, a).await
}

/// `NotFound` if a role is in a partner that does not exist.
pub(crate) async fn put_roles(tx: &mut Tx<'_>, administrator: &Administrator) -> Result<()> {
    const PARTNER: &str = "-- partner_of_role
        SELECT 1 FROM partners WHERE id = ?";
    let mut rows = Vec::new();
    for RoleIn { partner, role } in &administrator.roles {
        if let Some(partner) = partner
            && tx.row(PARTNER, args![partner]).await?.is_none()
        {
            return Err(Error::NotFound { what: "partner" });
        }
        rows.push(args![&administrator.id, partner.as_ref().map_or("", |partner| partner.as_str()), role.word()]);
    }
    let head = "-- insert_administrator_roles\n INSERT INTO administrator_roles (administrator_id, partner_id, role)";
    tx.insert(head, rows).await
}

fn administrator(row: &Row) -> Result<Administrator> {
    Ok(Administrator {
        id: row.id(0, "administrators.id")?,
        email: row.text(1)?,
        name: row.text(2)?,
        password_hash: row.text(3)?,
        email_verified_at_ms: row.maybe_int(4)?,
        second_factor: row.maybe_bytes(5)?.is_some(),
        is_of_provider: row.maybe_int(9)?.is_some(),
        roles: vec![],
        password_at_ms: row.int(6)?,
        created_at_ms: row.int(7)?,
        updated_at_ms: row.int(8)?,
    })
}
