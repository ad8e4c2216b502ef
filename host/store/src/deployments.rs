//! Deployments and their builds.

use std::collections::{BTreeSet, HashMap, HashSet};

use hex::FromHex;
use larder_model::ids::{DeploymentId, FunctionId, KeyId, PartnerId};
use larder_model::time::{Clock, Millis};
use larder_model::{Approval, BuildStatus, Deployment, Digest, Exports, SourceFormat, json};

use crate::audit::Said;
use crate::db::{Lock, Row, Tx, Value, one_of};
use crate::listing::{self, Column, Kind, Listing, Page, Source};
use crate::{Error, Result, Store, args, grants, partners, upload_chunks};

const COLUMNS: &str = "partner_id, id, function_id, status, activate, kind, entrypoint, digest, source_bytes, build_bytes, build_ms, \
    build_logs, exports, grants, uploader, approved_by, approved_at_ms, created_at_ms, updated_at_ms, build_lost, settings, origin, \
    format, source_digest, component_bytes, uploading";
pub(super) const SOURCE: Source = Source {
    name: "deployments",
    table: "deployments",
    columns: COLUMNS,
    id: "id",
    indexed: &[],
    by_time: false,
    long: &["build_logs"],
};

/// The columns by which lists of deployments can be filtered.
pub const FILTERS: &[Column] = &[
    Column { attribute: "$id", column: "id", kind: Kind::Text },
    Column { attribute: "$createdAt", column: "created_at_ms", kind: Kind::Time },
    Column { attribute: "$updatedAt", column: "updated_at_ms", kind: Kind::Time },
    Column { attribute: "buildSize", column: "build_bytes", kind: Kind::Int },
    Column { attribute: "sourceSize", column: "source_bytes", kind: Kind::Int },
    Column { attribute: "totalSize", column: "(source_bytes + build_bytes)", kind: Kind::Int },
    Column { attribute: "buildDuration", column: "build_ms", kind: Kind::Seconds(1_000) },
    Column { attribute: "status", column: "status", kind: Kind::Text },
    Column { attribute: "activate", column: "activate", kind: Kind::Flag },
    Column { attribute: "type", column: "kind", kind: Kind::Text },
];

/// The newest and the active deployment of a function.
#[derive(Clone, Debug, Default)]
pub struct Heads {
    pub active_created_at_ms: Option<Millis>,
    /// The newest deployment, active or not.
    pub latest: Option<(DeploymentId, BuildStatus, Millis)>,
}

/// What a call needs of an active deployment.
#[derive(Clone, Debug)]
pub struct ActiveDeployment {
    pub id: DeploymentId,
    /// `manual` or `cli`.
    pub kind: String,
    pub digest: Digest,
    pub exports: Option<Exports>,
}

impl Store {
    /// Returns the newest and the active deployments of these functions.
    pub async fn deployment_heads(
        &self,
        partner: &PartnerId,
        functions: &[&FunctionId],
    ) -> Result<HashMap<FunctionId, Heads>> {
        /// The maximum number of functions in one statement.
        const CHUNK: usize = 500;
        let mut all: HashMap<FunctionId, Heads> = HashMap::new();
        for chunk in functions.chunks(CHUNK) {
            let ids = one_of(chunk.iter().map(|id| Value::from(*id)));
            // The newest deployment is looked up for each function, so the cost does not depend on the number of
            // deployments.
            let heads = format!(
                "-- deployment_heads
                SELECT f.deployment_id, (SELECT n.id FROM deployments n WHERE n.partner_id = f.partner_id AND n.function_id = f.id
                    ORDER BY n.created_at_ms DESC, n.id DESC LIMIT 1)
                FROM functions f WHERE f.partner_id = ? AND f.id IN ({})",
                ids.marks
            );
            let (mut active, mut wanted) = (HashSet::new(), BTreeSet::new());
            for row in self.db.rows(&heads, [args![partner], ids.args].concat()).await? {
                active.extend(row.maybe_text(0)?);
                wanted.extend(row.maybe_text(0)?.into_iter().chain(row.maybe_text(1)?));
            }
            if wanted.is_empty() {
                continue;
            }
            let ids = one_of(wanted.into_iter().map(Value::Text));
            let found = format!(
                "-- find_deployment_heads
                SELECT function_id, id, status, created_at_ms FROM deployments WHERE partner_id = ? AND id IN ({})
                ORDER BY created_at_ms, id",
                ids.marks
            );
            for row in self.db.rows(&found, [args![partner], ids.args].concat()).await? {
                let heads = all.entry(row.id(0, "deployments.function_id")?).or_default();
                let created = row.int(3)?;
                if active.contains(&row.text(1)?) {
                    heads.active_created_at_ms = Some(created);
                }
                let status = row.parse(2, "deployments.status", BuildStatus::from_word)?;
                heads.latest = Some((row.id(1, "deployments.id")?, status, created));
            }
        }
        Ok(all)
    }

    pub async fn insert_deployment(&self, deployment: &Deployment) -> Result<()> {
        const ASKED: &str = "-- asked_for_deployment
            UPDATE deployments SET asked_by = ? WHERE partner_id = ? AND id = ?";
        self.db
            .tx("insert_deployment", deployment, |tx, d| {
                Box::pin(async move {
                    if !crate::functions::exists(tx, &d.partner, &d.function).await? {
                        return Err(Error::NotFound { what: "function" });
                    }
                    let row = args![
                        &d.partner,
                        &d.id,
                        &d.function,
                        d.status.word(),
                        d.activate,
                        &d.kind,
                        &d.entrypoint,
                        hex::encode(d.digest.0),
                        d.source_bytes,
                        d.build_bytes,
                        d.build_ms,
                        &d.build_logs,
                        d.exports.as_ref().map(json),
                        d.grants.as_ref().map(json),
                        d.uploader.as_ref(),
                        d.approval.as_ref().map(|approval| &approval.by),
                        d.approval.as_ref().map(|approval| approval.at_ms),
                        d.created_at_ms,
                        d.updated_at_ms,
                        d.build_lost,
                        d.settings.as_ref().map(json),
                        d.origin.as_ref(),
                        d.source_format.word(),
                        other_source(d),
                        d.component_bytes,
                        d.uploading
                    ];
                    tx.insert(&format!("-- insert_deployment\n INSERT INTO deployments ({COLUMNS})"), vec![row])
                        .await?;
                    let Some(uploader) = &d.uploader else { return Ok(()) };
                    let asked_by = partners::behind(tx, &d.partner, uploader.as_str()).await?;
                    tx.run(ASKED, args![asked_by, &d.partner, &d.id]).await?.exactly_one("deployment")
                })
            })
            .await
    }

    pub async fn deployment(
        &self,
        partner: &PartnerId,
        function: &FunctionId,
        id: &DeploymentId,
    ) -> Result<Option<Deployment>> {
        let scope = vec![("partner_id", partner.into()), ("function_id", function.into())];
        listing::one(&self.db, &SOURCE, scope, id, deployment).await
    }

    pub async fn list_deployments(
        &self,
        partner: &PartnerId,
        function: &FunctionId,
        listing: &Listing,
    ) -> Result<Page<Deployment>> {
        let scope = vec![("partner_id", partner.into()), ("function_id", function.into())];
        listing::list(&self.lists, &SOURCE, scope, listing, deployment).await
    }

    /// Claims a build that is not finished and that nobody works on: the oldest build of the partner whose last build
    /// started longest ago. A partner has one build at a time, so neither many uploads nor slow ones delay the builds of
    /// others. The claim is exclusive until `until`.
    pub async fn claim_build(&self, holder: &str, now: Millis, until: Millis) -> Result<Option<Deployment>> {
        const NEXT: &str = "-- next_to_build
            SELECT w.partner_id FROM (SELECT partner_id, MIN(created_at_ms) AS since_ms FROM deployments
                WHERE uploading = 0 AND status IN ('waiting', 'processing', 'building')
                    AND (build_until_ms IS NULL OR build_until_ms <= ?)
                GROUP BY partner_id) AS w
            WHERE NOT EXISTS (SELECT 1 FROM deployments b WHERE b.partner_id = w.partner_id
                AND b.status IN ('waiting', 'processing', 'building', 'canceled') AND b.build_until_ms > ?)
            ORDER BY COALESCE((SELECT MAX(l.build_until_ms) FROM deployments l WHERE l.partner_id = w.partner_id), 0), w.since_ms
            LIMIT 1";
        // Most polls find nothing, so they must not take the writer's lock.
        while let Some(next) = self.db.row(NEXT, args![now, now]).await? {
            let claim = (next.id::<PartnerId>(0, "deployments.partner_id")?, holder, now, until);
            let claimed = self.db.tx("claim_build", &claim, |tx, claim| Box::pin(claim_build_of(tx, claim))).await?;
            if claimed.is_some() {
                return Ok(claimed);
            }
            // Another builder claimed it first and moved the partner to the end of the queue.
        }
        Ok(None)
    }

    /// Counts the partner's builds that have not ended, up to [`Listing::COUNT_MAX`].
    pub async fn count_builds(&self, partner: &PartnerId) -> Result<u64> {
        let sql = format!(
            "-- count_builds
            SELECT COUNT(*) FROM (SELECT 1 FROM deployments WHERE partner_id = ? AND uploading = 0
                AND status IN ('waiting', 'processing', 'building') LIMIT {}) AS counted",
            Listing::COUNT_MAX
        );
        Ok(self.lists.row(&sql, args![partner]).await?.map_or(Ok(0), |row| row.int(0))? as u64)
    }

    /// Extends the claim of a build. Returns `false` if the build was cancelled or another builder has claimed it.
    pub async fn keep_build(&self, deployment: &Deployment, holder: &str, until: Millis) -> Result<bool> {
        const KEEP: &str = "-- keep_build
            UPDATE deployments SET build_until_ms = ? WHERE partner_id = ? AND id = ? AND build_holder = ? AND status = 'building'";
        let kept = args![until, &deployment.partner, &deployment.id, holder];
        Ok(self.db.run(KEEP, kept).await?.0 > 0)
    }

    /// Releases a build that this builder has not finished. It can then be claimed again or, if it was cancelled, the
    /// partner's next build can start.
    pub async fn release_build(&self, deployment: &Deployment, holder: &str, now: Millis) -> Result<()> {
        const RELEASE: &str = "-- release_build
            UPDATE deployments SET build_until_ms = ? WHERE partner_id = ? AND id = ? AND build_holder = ?";
        let _ = self.db.run(RELEASE, args![now, &deployment.partner, &deployment.id, holder]).await?;
        Ok(())
    }

    /// For the start of a process that has the database to itself: all other builders are dead.
    pub async fn end_build_claims(&self, now: Millis) -> Result<()> {
        const END: &str = "-- end_build_claims
            UPDATE deployments SET build_until_ms = ? WHERE build_until_ms > ? AND status IN ('waiting', 'processing', 'building')";
        let _ = self.db.run(END, args![now, now]).await?;
        Ok(())
    }

    /// Changes the state of an unfinished build. Returns `false` if it has ended meanwhile (for example, it was cancelled)
    /// or belongs to another holder. A build that becomes ready and was uploaded for activation becomes active in the same
    /// transaction, unless a later deployment is active, its grants need approval, or one of its routes now belongs to
    /// another function, which its log then says.
    pub async fn update_build(&self, deployment: &Deployment, holder: Option<&str>, clock: &Clock) -> Result<bool> {
        const UPDATE: &str = "-- update_build
            UPDATE deployments SET status = ?, build_bytes = ?, build_ms = ?, build_logs = ?, exports = ?, entrypoint = ?,
                digest = ?, source_digest = ?, component_bytes = ?, updated_at_ms = ?
            WHERE partner_id = ? AND id = ? AND (? IS NULL OR build_holder = ?) AND status IN ('waiting', 'processing', 'building')";
        const LOG: &str = "-- log_of_deployment
            UPDATE deployments SET build_logs = ? WHERE partner_id = ? AND id = ?";
        self.db
            .tx_when(
                "update_build",
                &(deployment, holder, clock),
                |moved| Said::when(*moved),
                |tx, (d, holder, clock)| {
                    Box::pin(async move {
                        partners::touch(tx, &d.partner).await?;
                        // The rows of a deleted function are removed later.
                        if !crate::functions::exists(tx, &d.partner, &d.function).await? {
                            return Ok(false);
                        }
                        let exports = d.exports.as_ref().map(json);
                        let logs = &d.build_logs;
                        let state = args![d.status.word(), d.build_bytes, d.build_ms, logs, exports, &d.entrypoint];
                        let found = args![hex::encode(d.digest.0), other_source(d), d.component_bytes, d.updated_at_ms];
                        let row = args![&d.partner, &d.id, *holder, *holder];
                        let moved = tx.run(UPDATE, [state, found, row].concat()).await?.0 == 1;
                        let put_together = d.source_digest != Digest::UNKNOWN && d.status.has_ended();
                        if moved && (put_together || d.status == BuildStatus::Canceled) {
                            upload_chunks::delete(tx, &d.partner, &d.id).await?;
                        }
                        let activates = d.status == BuildStatus::Ready && d.activate;
                        if moved && activates && !newer_is_active(tx, d).await? {
                            match grants::activate(tx, d, None, clock).await {
                                Err(Error::RouteTaken { route, function }) => {
                                    let log = format!("{logs}not activated: the route {route} belongs to {function}\n");
                                    tx.run(LOG, args![log, &d.partner, &d.id]).await?.exactly_one("deployment")?;
                                }
                                activated => drop(activated?),
                            }
                        }
                        Ok(moved)
                    })
                },
            )
            .await
    }

    /// Deletes up to `limit` deployments, across all partners, that have exceeded their function's retention, are not
    /// active and are not being built.
    pub async fn delete_old_deployments(&self, now: Millis, limit: u32) -> Result<u64> {
        const DELETE: &str = "-- delete_old_deployment
            DELETE FROM deployments WHERE partner_id = ? AND id = ?
            AND NOT EXISTS (SELECT 1 FROM functions WHERE functions.partner_id = ? AND functions.deployment_id = ?)";
        let sql = format!(
            "-- old_deployments
            SELECT d.partner_id, d.id FROM deployments d, functions f WHERE f.partner_id = d.partner_id AND f.id = d.function_id
            AND f.deployment_retention > 0 AND (f.deployment_id IS NULL OR f.deployment_id <> d.id)
            AND d.status IN ('ready', 'failed', 'canceled') AND d.created_at_ms < ? - f.deployment_retention * 86400000 LIMIT {limit}"
        );
        let mut deleted = 0;
        for row in self.db.rows(&sql, args![now]).await? {
            let key = (row.id::<PartnerId>(0, "deployments.partner_id")?, row.id::<DeploymentId>(1, "deployments.id")?);
            deleted += self
                .db
                .tx("delete_old_deployment", &key, |tx, (partner, id)| {
                    Box::pin(async move {
                        partners::touch(tx, partner).await?;
                        let gone = tx.run(DELETE, args![partner, id, partner, id]).await?.0;
                        if gone > 0 {
                            upload_chunks::delete(tx, partner, id).await?;
                        }
                        Ok(gone)
                    })
                })
                .await?;
        }
        Ok(deleted)
    }

    /// Does an upload, a component or a chunk with this digest belong to any deployment of any partner?
    pub async fn is_deployed(&self, digest: &Digest) -> Result<bool> {
        const FIND: &str = "-- find_digest
            SELECT 1 FROM deployments WHERE digest = ? UNION ALL SELECT 1 FROM deployments WHERE source_digest = ?
            UNION ALL SELECT 1 FROM upload_chunks WHERE digest = ? LIMIT 1";
        let digest = hex::encode(digest.0);
        Ok(self.db.row(FIND, args![&digest, &digest, &digest]).await?.is_some())
    }

    /// The active deployments of a partner's functions.
    pub async fn active_deployments(&self, partner: &PartnerId) -> Result<Vec<ActiveDeployment>> {
        // Without what is long: logs and settings would be read for every function after each change of any.
        const SQL: &str = "-- active_deployments
            SELECT id, kind, digest, exports FROM deployments WHERE partner_id = ?
            AND id IN (SELECT deployment_id FROM functions WHERE partner_id = ?)";
        let active = |row: &Row| {
            Ok(ActiveDeployment {
                id: row.id(0, "deployments.id")?,
                kind: row.text(1)?,
                digest: Digest(row.parse(2, "deployments.digest", |text| FromHex::from_hex(text).ok())?),
                exports: if row.maybe_text(3)?.is_some() { Some(row.json(3, "deployments.exports")?) } else { None },
            })
        };
        self.db.rows(SQL, args![partner, partner]).await?.iter().map(active).collect()
    }

    /// Activates a ready deployment. Returns `false` if its grants need approval.
    pub async fn activate_deployment(&self, d: &Deployment, by: Option<&KeyId>, clock: &Clock) -> Result<bool> {
        self.db
            .tx_when(
                "activate_deployment",
                &(d, by, clock),
                |active| Said::when(*active),
                |tx, (d, by, clock)| {
                    Box::pin(async move {
                        partners::touch(tx, &d.partner).await?;
                        grants::activate(tx, d, *by, clock).await
                    })
                },
            )
            .await
    }

    /// Deletes a deployment. If it was active, its function then has no active deployment.
    pub async fn delete_deployment(&self, deployment: &Deployment) -> Result<()> {
        const DELETE: &str = "-- delete_deployment
            DELETE FROM deployments WHERE partner_id = ? AND id = ?";
        const DEACTIVATE: &str = "-- deactivate_deployment
            UPDATE functions SET deployment_id = NULL WHERE partner_id = ? AND id = ? AND deployment_id = ?";
        self.db
            .tx("delete_deployment", deployment, |tx, d| {
                Box::pin(async move {
                    partners::touch(tx, &d.partner).await?;
                    tx.run(DELETE, args![&d.partner, &d.id]).await?.exactly_one("deployment")?;
                    upload_chunks::delete(tx, &d.partner, &d.id).await?;
                    let _ = tx.run(DEACTIVATE, args![&d.partner, &d.function, &d.id]).await?;
                    Ok(())
                })
            })
            .await
    }
}

/// Is a deployment active that was uploaded after this one?
pub(super) async fn newer_is_active(tx: &mut Tx<'_>, d: &Deployment) -> Result<bool> {
    const NEWER: &str = "-- newer_active_deployment
        SELECT 1 FROM functions, deployments WHERE functions.partner_id = ? AND functions.id = ?
        AND deployments.partner_id = functions.partner_id AND deployments.id = functions.deployment_id AND deployments.created_at_ms > ?";
    Ok(tx.row(NEWER, args![&d.partner, &d.function, d.created_at_ms]).await?.is_some())
}

async fn claim_build_of(
    tx: &mut Tx<'_>,
    (partner, holder, now, until): &(PartnerId, &str, Millis, Millis),
) -> Result<Option<Deployment>> {
    const PARTNER: &str = "-- partner_to_build
        SELECT id FROM partners WHERE id = ?";
    const UNDER_WAY: &str = "-- build_under_way
        SELECT 1 FROM deployments WHERE partner_id = ? AND status IN ('waiting', 'processing', 'building', 'canceled') AND build_until_ms > ?";
    const CLAIM: &str = "-- claim_build
        UPDATE deployments SET build_holder = ?, build_until_ms = ?, build_lost = ? WHERE partner_id = ? AND id = ?";
    let unbuilt = format!(
        "-- unbuilt_deployment
        SELECT {COLUMNS} FROM deployments WHERE partner_id = ? AND uploading = 0 AND status IN ('waiting', 'processing', 'building')
        AND (build_until_ms IS NULL OR build_until_ms <= ?) ORDER BY created_at_ms, id LIMIT 1"
    );
    // Builders that claim a build of this partner are serialized.
    let _ = tx.locked(Lock::Exclusive, PARTNER, args![partner]).await?;
    if tx.row(UNDER_WAY, args![partner, *now]).await?.is_some() {
        return Ok(None);
    }
    let found = tx.locked(Lock::Exclusive, &unbuilt, args![partner, *now]).await?;
    let Some(mut deployment) = found.first().map(deployment).transpose()? else { return Ok(None) };
    // A builder had started it, and has neither finished it nor extended its claim.
    deployment.build_lost += u32::from(deployment.status == BuildStatus::Building);
    let claim = args![*holder, *until, deployment.build_lost, partner, &deployment.id];
    tx.run(CLAIM, claim).await?.exactly_one("deployment")?;
    Ok(Some(deployment))
}

/// The digest of the upload, unless it is the component.
fn other_source(d: &Deployment) -> Option<String> {
    (d.source_digest != d.digest).then(|| hex::encode(d.source_digest.0))
}

fn deployment(row: &Row) -> Result<Deployment> {
    let digest = Digest(row.parse(7, "deployments.digest", |text| FromHex::from_hex(text).ok())?);
    let source = "deployments.source_digest";
    let approval = match (row.maybe_id(15, "deployments.approved_by")?, row.maybe_int(16)?) {
        (Some(by), Some(at_ms)) => Some(Approval { by, at_ms }),
        _ => None,
    };
    Ok(Deployment {
        partner: row.id(0, "deployments.partner_id")?,
        id: row.id(1, "deployments.id")?,
        function: row.id(2, "deployments.function_id")?,
        status: row.parse(3, "deployments.status", BuildStatus::from_word)?,
        activate: row.flag(4)?,
        kind: row.text(5)?,
        entrypoint: row.text(6)?,
        source_format: row.parse(22, "deployments.format", SourceFormat::from_word)?,
        source_digest: match row.maybe_text(23)? {
            Some(_) => Digest(row.parse(23, source, |text| FromHex::from_hex(text).ok())?),
            None => digest,
        },
        digest,
        component_bytes: row.int(24)? as u64,
        uploading: row.flag(25)?,
        source_bytes: row.int(8)? as u64,
        build_bytes: row.int(9)? as u64,
        build_ms: row.int(10)? as u64,
        build_logs: row.text(11)?,
        exports: if row.maybe_text(12)?.is_some() { Some(row.json(12, "deployments.exports")?) } else { None },
        grants: if row.maybe_text(13)?.is_some() { Some(row.json(13, "deployments.grants")?) } else { None },
        uploader: row.maybe_id(14, "deployments.uploader")?,
        approval,
        created_at_ms: row.int(17)?,
        updated_at_ms: row.int(18)?,
        build_lost: row.int(19)? as u32,
        settings: if row.maybe_text(20)?.is_some() { Some(row.json(20, "deployments.settings")?) } else { None },
        origin: row.maybe_text(21)?,
    })
}
