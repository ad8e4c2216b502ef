//! Grants: what is in force, what deployments ask for, and who said yes.
//!
//! * [`activate`]: the one way in which a deployment becomes the active one.
//! * [`Store::set_grants`], [`Store::approve_grants`]: a key's doing.
//!
//! The rule: **what is in force widens by a key's yes only**. All of it is decided behind `partners::touch`, so for one
//! partner one after the other, and leaves a line in the history.

use larder_runtime::Grants;

use super::db::{Lock, Row, Tx, json};
use super::listing::{self, Column, Kind, Listing, Page, Source};
use super::{Error, Result, Store, deployments, partners};
use crate::args;
use crate::clock::Clock;
use crate::grants::{self, covers};
use crate::ids::{DeploymentId, FunctionId, KeyId, PartnerId};
use crate::model::{BuildStatus, Deployment, GrantChange, GrantChangeKind};

const COLUMNS: &str = "partner_id, id, function_id, kind, deployment_id, key_id, old_grants, new_grants, created_at_ms";
const SOURCE: Source = Source { name: "grant_changes", table: "grant_changes", columns: COLUMNS, id: "id" };

/// What lists of changes can be filtered by.
pub const FILTERS: &[Column] = &[
    Column { attribute: "$id", column: "id", kind: Kind::Text },
    Column { attribute: "$createdAt", column: "created_at_ms", kind: Kind::Time },
    Column { attribute: "functionId", column: "function_id", kind: Kind::Text },
    Column { attribute: "deploymentId", column: "deployment_id", kind: Kind::Text },
    Column { attribute: "keyId", column: "key_id", kind: Kind::Text },
    Column { attribute: "kind", column: "kind", kind: Kind::Text },
];

/// What came of a yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approved {
    Yes {
        /// The deployment runs now.
        active: bool,
    },
    /// What is in force, or asked for, is not what was read.
    Changed,
    /// The partner wants it of another key than the one that uploaded the deployment.
    OwnUpload,
}

impl Store {
    /// Puts grants in force. `false`: they widen, and the partner does not want that of a key that may also upload.
    pub async fn set_grants(
        &self,
        partner: &PartnerId,
        function: &FunctionId,
        new: &Grants,
        by: &KeyId,
        may_upload: bool,
        clock: &Clock,
    ) -> Result<bool> {
        const SET: &str = "-- set_grants
            UPDATE functions SET grants = ?, updated_at_ms = ? WHERE partner_id = ? AND id = ?";
        const REVOKE: &str = "-- revoke_approvals
            UPDATE deployments SET approved_by = NULL, approved_at_ms = NULL WHERE partner_id = ? AND function_id = ?";
        let with = (partner, function, new, by, may_upload, clock);
        self.db
            .tx("set_grants", &with, |tx, (partner, function, new, by, may_upload, clock)| {
                Box::pin(async move {
                    partners::touch(tx, partner).await?;
                    let old = in_force(tx, partner, function).await?;
                    if !covers(&old, new) && *may_upload && wants_another(tx, partner).await? {
                        return Ok(false);
                    }
                    let now = clock.now_ms();
                    tx.run(SET, args![json(new), now, *partner, *function]).await?.exactly_one("function")?;
                    if !covers(new, &old) {
                        // What was taken away must not come back with an old deployment.
                        let _ = tx.run(REVOKE, args![*partner, *function]).await?;
                    }
                    let change =
                        Change { partner, function, kind: GrantChangeKind::Set, deployment: None, key: Some(by) };
                    change.record(tx, &old, new, clock).await?;
                    Ok(true)
                })
            })
            .await
    }

    /// A yes to what a deployment asks for, as it was read: `digest` is that of [`grants::digest`]. One that was uploaded to
    /// become active does, unless a later one is.
    pub async fn approve_grants(&self, d: &Deployment, digest: &str, by: &KeyId, clock: &Clock) -> Result<Approved> {
        const APPROVE: &str = "-- approve_grants
            UPDATE deployments SET approved_by = ?, approved_at_ms = ?, updated_at_ms = ? WHERE partner_id = ? AND id = ?";
        const STATUS: &str = "-- status_of_deployment
            SELECT status FROM deployments WHERE partner_id = ? AND id = ?";
        self.db
            .tx("approve_grants", &(d, digest, by, clock), |tx, (d, digest, by, clock)| {
                Box::pin(async move {
                    partners::touch(tx, &d.partner).await?;
                    let old = in_force(tx, &d.partner, &d.function).await?;
                    let Some(asked) = &d.grants else { return Ok(Approved::Changed) };
                    if grants::digest(&old, asked) != *digest {
                        return Ok(Approved::Changed);
                    }
                    if d.uploader.as_ref() == Some(*by) && wants_another(tx, &d.partner).await? {
                        return Ok(Approved::OwnUpload);
                    }
                    let now = clock.now_ms();
                    let args = args![*by, now, now, &d.partner, &d.id];
                    tx.run(APPROVE, args).await?.exactly_one("deployment")?;
                    let kind = GrantChangeKind::Approved;
                    let change = Change {
                        partner: &d.partner,
                        function: &d.function,
                        kind,
                        deployment: Some(&d.id),
                        key: Some(by),
                    };
                    change.record(tx, &old, asked, clock).await?;
                    let rows = tx.locked(Lock::Exclusive, STATUS, args![&d.partner, &d.id]).await?;
                    let row = rows.first().ok_or(Error::NotFound { what: "deployment" })?;
                    let ready = row.parse(0, "deployments.status", BuildStatus::from_word)? == BuildStatus::Ready;
                    let active = ready
                        && d.activate
                        && !deployments::newer_is_active(tx, d).await?
                        && activate(tx, d, Some(by), clock).await?;
                    Ok(Approved::Yes { active })
                })
            })
            .await
    }

    pub async fn list_grant_changes(&self, partner: &PartnerId, listing: &Listing) -> Result<Page<GrantChange>> {
        listing::list(&self.db, &SOURCE, vec![("partner_id", partner.into())], listing, change).await
    }
}

/// Makes a ready deployment the function's active one, and what it asks for the grants in force. `false`: that would widen
/// them, and nobody said yes to it.
pub(super) async fn activate(tx: &mut Tx<'_>, d: &Deployment, by: Option<&KeyId>, clock: &Clock) -> Result<bool> {
    const APPROVED: &str = "-- is_approved
        SELECT 1 FROM deployments WHERE partner_id = ? AND id = ? AND approved_by IS NOT NULL";
    const ACTIVATE: &str = "-- activate_deployment
        UPDATE functions SET deployment_id = ?, grants = ?, updated_at_ms = ? WHERE partner_id = ? AND id = ?";
    let old = in_force(tx, &d.partner, &d.function).await?;
    let new = d.grants.as_ref().unwrap_or(&old);
    if !covers(&old, new) && tx.locked(Lock::Exclusive, APPROVED, args![&d.partner, &d.id]).await?.is_empty() {
        return Ok(false);
    }
    let args = args![&d.id, json(new), clock.now_ms(), &d.partner, &d.function];
    tx.run(ACTIVATE, args).await?.exactly_one("function")?;
    let kind = GrantChangeKind::Activated;
    let change = Change { partner: &d.partner, function: &d.function, kind, deployment: Some(&d.id), key: by };
    change.record(tx, &old, new, clock).await?;
    Ok(true)
}

/// The function's grants, which are this transaction's to change.
async fn in_force(tx: &mut Tx<'_>, partner: &PartnerId, function: &FunctionId) -> Result<Grants> {
    const IN_FORCE: &str = "-- grants_in_force
        SELECT grants FROM functions WHERE partner_id = ? AND id = ?";
    let rows = tx.locked(Lock::Exclusive, IN_FORCE, args![partner, function]).await?;
    rows.first().ok_or(Error::NotFound { what: "function" })?.json(0, "functions.grants")
}

async fn wants_another(tx: &mut Tx<'_>, partner: &PartnerId) -> Result<bool> {
    const WANTS: &str = "-- wants_another_key
        SELECT approval_by_another FROM partners WHERE id = ?";
    tx.row(WANTS, args![partner]).await?.ok_or(Error::NotFound { what: "partner" })?.flag(0)
}

/// A line of the history to be.
struct Change<'a> {
    partner: &'a PartnerId,
    function: &'a FunctionId,
    kind: GrantChangeKind,
    deployment: Option<&'a DeploymentId>,
    key: Option<&'a KeyId>,
}

impl Change<'_> {
    async fn record(self, tx: &mut Tx<'_>, old: &Grants, new: &Grants, clock: &Clock) -> Result<()> {
        if old == new {
            return Ok(());
        }
        let row = args![
            self.partner,
            clock.ulid(),
            self.function,
            self.kind.word(),
            self.deployment,
            self.key,
            json(old),
            json(new),
            clock.now_ms()
        ];
        tx.insert(&format!("-- insert_grant_change\n INSERT INTO grant_changes ({COLUMNS})"), vec![row]).await
    }
}

fn change(row: &Row) -> Result<GrantChange> {
    Ok(GrantChange {
        partner: row.id(0, "grant_changes.partner_id")?,
        id: row.text(1)?,
        function: row.id(2, "grant_changes.function_id")?,
        kind: row.parse(3, "grant_changes.kind", GrantChangeKind::from_word)?,
        deployment: row.maybe_id(4, "grant_changes.deployment_id")?,
        key: row.maybe_id(5, "grant_changes.key_id")?,
        old: row.json(6, "grant_changes.old_grants")?,
        new: row.json(7, "grant_changes.new_grants")?,
        created_at_ms: row.int(8)?,
    })
}
