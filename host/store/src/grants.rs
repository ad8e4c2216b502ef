//! Grants: the effective grants of functions, those that deployments request, and their approvals.
//!
//! * [`activate`]: the only way in which a deployment becomes active.
//! * [`Store::set_grants`], [`Store::approve_grants`]: changes by an API key.
//! * [`by_name`], [`by_secret`]: wrap a change of what names lead to.
//!
//! The rule: **effective grants are extended only by the approval of a key**, and an approval covers what names lead to
//! when it is given. All decisions are made after `partners::touch`, so they are serialized for each partner, and each
//! leaves an entry in the history.

use larder_model::grants::{Leads, check, covers, leads as names};
use larder_model::ids::{DeploymentId, FunctionId, KeyId, PartnerId};
use larder_model::time::Clock;
use larder_model::variables::effective;
use larder_model::{BuildStatus, Deployment, Feed, GrantChange, GrantChangeKind, Grants, Variable, json};

use crate::audit::Said;
use crate::db::{Lock, Row, Tx};
use crate::listing::{self, Column, Kind, Listing, Page, Source};
use crate::{Error, Result, Store, args, deployments, feeds, functions, partners, upstreams, variables};

const COLUMNS: &str =
    "partner_id, id, function_id, kind, deployment_id, key_id, old_grants, new_grants, created_at_ms, note";
pub(super) const SOURCE: Source = Source {
    name: "grant_changes",
    table: "grant_changes",
    columns: COLUMNS,
    id: "id",
    indexed: &[],
    by_time: false,
    long: &[],
};

/// The columns by which lists of grant changes can be filtered.
pub const FILTERS: &[Column] = &[
    Column { attribute: "$id", column: "id", kind: Kind::Text },
    Column { attribute: "$createdAt", column: "created_at_ms", kind: Kind::Time },
    Column { attribute: "functionId", column: "function_id", kind: Kind::Text },
    Column { attribute: "deploymentId", column: "deployment_id", kind: Kind::Text },
    Column { attribute: "keyId", column: "key_id", kind: Kind::Text },
    Column { attribute: "kind", column: "kind", kind: Kind::Text },
];

/// The ids of keys that functions have while they run.
const RUNS_KEY: &str = "run-";

/// The result of an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approved {
    Yes {
        /// The deployment is active now.
        active: bool,
    },
    /// The effective or the requested grants are not those that were read.
    Changed,
    /// The partner requires another key than the one that uploaded the deployment.
    OwnUpload,
}

impl Store {
    /// Sets the effective grants. Returns `false` if that would extend them and the partner does not allow it to a key that
    /// may also upload.
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
            .tx_when(
                "set_grants",
                &with,
                |set| Said::when(*set),
                |tx, (partner, function, new, by, may_upload, clock)| {
                    Box::pin(async move {
                        partners::touch(tx, partner).await?;
                        let leads = leads(tx, partner, function).await?;
                        let (old, new) =
                            (leads.complete(&effective_grants(tx, partner, function).await?), &leads.bind(new));
                        if !covers(&old, new)
                            && wants_another(tx, partner).await?
                            && (*may_upload || has_asked(tx, partner, function, by).await?)
                        {
                            return Ok(false);
                        }
                        let now = clock.now_ms();
                        tx.run(SET, args![json(new), now, *partner, *function]).await?.exactly_one("function")?;
                        if !covers(new, &old) {
                            // A revoked grant must not come back with an old deployment.
                            let _ = tx.run(REVOKE, args![*partner, *function]).await?;
                        }
                        let change = Change::new(partner, Some(function), GrantChangeKind::Set, Some(by));
                        change.record(tx, &old, new, clock).await?;
                        Ok(true)
                    })
                },
            )
            .await
    }

    /// Approves the grants that a deployment requests, as they were read: `digest` is that of [`check::digest`]. A
    /// deployment that was uploaded for activation becomes active, unless a later one is.
    pub async fn approve_grants(&self, d: &Deployment, digest: &str, by: &KeyId, clock: &Clock) -> Result<Approved> {
        const APPROVE: &str = "-- approve_grants
            UPDATE deployments SET grants = ?, approved_by = ?, approved_at_ms = ?, updated_at_ms = ? WHERE partner_id = ? AND id = ?";
        const STATUS: &str = "-- status_of_deployment
            SELECT status FROM deployments WHERE partner_id = ? AND id = ?";
        const RUNS: &str = "-- deployment_runs
            SELECT 1 FROM functions WHERE partner_id = ? AND id = ? AND deployment_id = ?";
        self.db
            .tx_when(
                "approve_grants",
                &(d, digest, by, clock),
                |done| Said::when(matches!(done, Approved::Yes { .. })),
                |tx, (d, digest, by, clock)| {
                    Box::pin(async move {
                        partners::touch(tx, &d.partner).await?;
                        let leads = leads(tx, &d.partner, &d.function).await?;
                        let old = leads.complete(&effective_grants(tx, &d.partner, &d.function).await?);
                        let Some(asked) = &d.grants else { return Ok(Approved::Changed) };
                        let asked = &leads.bind(asked);
                        if check::digest(&old, asked) != *digest {
                            return Ok(Approved::Changed);
                        }
                        if wants_another(tx, &d.partner).await? && asked_for(tx, d, by).await? {
                            return Ok(Approved::OwnUpload);
                        }
                        let now = clock.now_ms();
                        let args = args![json(asked), *by, now, now, &d.partner, &d.id];
                        tx.run(APPROVE, args).await?.exactly_one("deployment")?;
                        let kind = GrantChangeKind::Approved;
                        let change = Change::new(&d.partner, Some(&d.function), kind, Some(by)).by_way_of(&d.id);
                        change.record(tx, &old, asked, clock).await?;
                        let rows = tx.locked(Lock::Exclusive, STATUS, args![&d.partner, &d.id]).await?;
                        let row = rows.first().ok_or(Error::NotFound { what: "deployment" })?;
                        let ready = row.parse(0, "deployments.status", BuildStatus::from_word)? == BuildStatus::Ready;
                        let runs = tx.row(RUNS, args![&d.partner, &d.function, &d.id]).await?.is_some();
                        let active = ready
                            && (d.activate || runs)
                            && !deployments::newer_is_active(tx, d).await?
                            && activate(tx, d, Some(by), clock).await?;
                        Ok(Approved::Yes { active })
                    })
                },
            )
            .await
    }

    /// Returns where an upstream's name leads a partner now.
    pub async fn lead_of_upstream(&self, partner: &PartnerId, name: &str) -> Result<String> {
        let mut upstreams = self.upstreams(Some(partner)).await?;
        upstreams.extend(self.upstreams(None).await?);
        Ok(Leads::new(&names::called(upstreams)).upstream(name).to_owned())
    }

    /// Returns where the names of a function lead now.
    pub async fn leads(&self, partner: &PartnerId, function: &FunctionId) -> Result<Leads> {
        let mut upstreams = self.upstreams(Some(partner)).await?;
        upstreams.extend(self.upstreams(None).await?);
        let own = self.variables_of(partner, Some(function)).await?;
        let variables = effective(own, &self.variables_of(partner, None).await?);
        Ok(Leads::new(&names::called(upstreams)).of(&variables))
    }

    pub async fn list_grant_changes(&self, partner: &PartnerId, listing: &Listing) -> Result<Page<GrantChange>> {
        listing::list(&self.lists, &SOURCE, vec![("partner_id", partner.into())], listing, change).await
    }
}

/// Activates a ready deployment with the settings and grants that it requests. Returns `false` if that would extend the
/// grants without an approval. `RouteTaken`, with nothing changed, if another function has one of its routes.
pub(super) async fn activate(tx: &mut Tx<'_>, d: &Deployment, by: Option<&KeyId>, clock: &Clock) -> Result<bool> {
    const APPROVED: &str = "-- approved_grants
        SELECT grants FROM deployments WHERE partner_id = ? AND id = ? AND approved_by IS NOT NULL AND grants IS NOT NULL";
    const ACTIVATE: &str = "-- activate_deployment
        UPDATE functions SET deployment_id = ?, grants = ?, updated_at_ms = ? WHERE partner_id = ? AND id = ?";
    let leads = leads(tx, &d.partner, &d.function).await?;
    let old = leads.complete(&effective_grants(tx, &d.partner, &d.function).await?);
    let approved = tx.locked(Lock::Exclusive, APPROVED, args![&d.partner, &d.id]).await?;
    let approved: Option<Grants> = approved.first().map(|row| row.json(0, "deployments.grants")).transpose()?;
    // An approval of what names led to before does not cover what they lead to now.
    let new = match approved.filter(|approved| leads.are_of(approved)) {
        Some(approved) => approved,
        None => {
            let inherited = leads.inherit(&old, d.grants.as_ref().unwrap_or(&old));
            if !covers(&old, &inherited) {
                return Ok(false);
            }
            inherited
        }
    };
    let now = clock.now_ms();
    if let Some(settings) = &d.settings {
        functions::change(tx, &d.partner, &d.function, now, |function| settings.apply(function)).await?;
    }
    let args = args![&d.id, json(&new), now, &d.partner, &d.function];
    tx.run(ACTIVATE, args).await?.exactly_one("function")?;
    let change = Change::new(&d.partner, Some(&d.function), GrantChangeKind::Activated, by).by_way_of(&d.id);
    change.record(tx, &old, &new, clock).await?;
    Ok(true)
}

async fn lead_of_upstream(tx: &mut Tx<'_>, partner: Option<&PartnerId>, name: &str) -> Result<String> {
    let called = match partner {
        Some(partner) => upstreams::called(tx, partner).await?,
        None => vec![],
    };
    Ok(Leads::new(&called).upstream(name).to_owned())
}

/// Returns where the names of this function lead now.
async fn leads(tx: &mut Tx<'_>, partner: &PartnerId, function: &FunctionId) -> Result<Leads> {
    let upstreams = upstreams::called(tx, partner).await?;
    Ok(Leads::new(&upstreams).of(&variables::effective(tx, partner, function).await?))
}

/// Returns the function's effective grants, locked for this transaction.
async fn effective_grants(tx: &mut Tx<'_>, partner: &PartnerId, function: &FunctionId) -> Result<Grants> {
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

/// Has whoever this is uploaded something of the function?
async fn has_asked(tx: &mut Tx<'_>, partner: &PartnerId, function: &FunctionId, by: &KeyId) -> Result<bool> {
    const UPLOADED: &str = "-- has_uploaded
        SELECT 1 FROM deployments WHERE partner_id = ? AND function_id = ? AND (asked_by = ? OR uploader = ?) LIMIT 1";
    let who = partners::behind(tx, partner, by.as_str()).await?;
    let uploaded = tx.row(UPLOADED, args![partner, function, &who, &who]).await?.is_some();
    Ok(uploaded || who.starts_with(RUNS_KEY))
}

/// Is this who asked for what the deployment wants, whichever key they use now? A run's key is nobody's, so it counts as theirs.
async fn asked_for(tx: &mut Tx<'_>, d: &Deployment, by: &KeyId) -> Result<bool> {
    const ASKED: &str = "-- who_asked
        SELECT asked_by FROM deployments WHERE partner_id = ? AND id = ?";
    let asked = tx.row(ASKED, args![&d.partner, &d.id]).await?.map(|row| row.maybe_text(0)).transpose()?.flatten();
    let asked = asked.or_else(|| d.uploader.as_ref().map(KeyId::to_string));
    let by = partners::behind(tx, &d.partner, by.as_str()).await?;
    Ok(by.starts_with(RUNS_KEY) || asked.as_deref() == Some(by.as_str()))
}

/// The author of a change of what names lead to.
#[derive(Clone, Copy)]
pub struct Changer<'a> {
    /// `None` is the operator.
    pub key: Option<&'a KeyId>,
    /// May the author approve grants? Then the change is also the approval.
    pub approves: bool,
    /// May the author upload? Partners can require the approval of a key that may not.
    pub may_upload: bool,
    /// May the author decide what feeds poll?
    pub names_feeds: bool,
    pub clock: &'a Clock,
}

/// The state before a change of what names lead to.
pub(super) struct Before {
    kind: GrantChangeKind,
    /// For example, `the upstream bank`.
    what: String,
    partner: Option<PartnerId>,
    function: Option<FunctionId>,
    names: Vec<Name>,
    granted: Vec<Granted>,
    /// The feeds that poll the upstream, each with where it led.
    polling: Vec<(Feed, String)>,
}

/// A function that has grants for some of the names, and where they led.
struct Granted {
    partner: PartnerId,
    function: FunctionId,
    grants: Grants,
    led: Leads,
}

enum Name {
    Upstream(String),
    Secret(String),
}

impl Name {
    fn key(&self) -> String {
        match self {
            Name::Upstream(name) => names::upstream_key(name),
            Name::Secret(name) => names::secret_key(name),
        }
    }

    fn lead<'a>(&self, of: &'a Leads) -> &'a str {
        match self {
            Name::Upstream(name) => of.upstream(name),
            Name::Secret(name) => of.secret(name),
        }
    }

    fn is_in(&self, grants: &Grants) -> bool {
        match self {
            Name::Upstream(name) => grants.upstreams.contains(name),
            Name::Secret(name) => grants.secrets.contains(name),
        }
    }
}

const OF_PARTNER: &str = "-- functions_with_grants
    SELECT partner_id, id, grants FROM functions WHERE partner_id = ?";

/// Reads the state before an upstream changes. Call it after `touch`.
pub(super) async fn by_name(tx: &mut Tx<'_>, owner: Option<&PartnerId>, name: &str) -> Result<Before> {
    const OF_ALL: &str = "-- all_functions_with_grants
        SELECT partner_id, id, grants FROM functions";
    let rows = match owner {
        Some(partner) => tx.locked(Lock::Exclusive, OF_PARTNER, args![partner]).await?,
        None => tx.locked(Lock::Exclusive, OF_ALL, args![]).await?,
    };
    let what = format!("the {}upstream {name}", if owner.is_some() { "" } else { "operator's " });
    let names = vec![Name::Upstream(name.to_owned())];
    let mut polling = vec![];
    for feed in feeds::polling(tx, owner, name).await? {
        let led = lead_of_upstream(tx, feed.owner.as_ref(), name).await?;
        polling.push((feed, led));
    }
    let (kind, partner) = (GrantChangeKind::Upstream, owner.cloned());
    let before = Before { kind, what, partner, function: None, names, granted: vec![], polling };
    before.with(tx, &rows).await
}

/// Reads the state before variables with these keys change. Call it after `touch`.
pub(super) async fn by_secret(tx: &mut Tx<'_>, v: &Variable, keys: &[&str]) -> Result<Before> {
    const OF_FUNCTION: &str = "-- function_with_grants
        SELECT partner_id, id, grants FROM functions WHERE partner_id = ? AND id = ?";
    // One of the project concerns every function that does not have its own of that name: where the others lead stays the same.
    let rows = match &v.function {
        Some(function) => tx.locked(Lock::Exclusive, OF_FUNCTION, args![&v.partner, function]).await?,
        None => tx.locked(Lock::Exclusive, OF_PARTNER, args![&v.partner]).await?,
    };
    let before = Before {
        kind: GrantChangeKind::Variable,
        what: format!(
            "the {}{} {}",
            if v.function.is_some() { "" } else { "project's " },
            if v.secret { "secret" } else { "variable" },
            keys[0]
        ),
        partner: Some(v.partner.clone()),
        function: v.function.clone(),
        names: keys.iter().map(|key| Name::Secret((*key).to_owned())).collect(),
        granted: vec![],
        polling: vec![],
    };
    before.with(tx, &rows).await
}

impl Before {
    async fn with(mut self, tx: &mut Tx<'_>, rows: &[Row]) -> Result<Before> {
        for row in rows {
            let grants: Grants = row.json(2, "functions.grants")?;
            if !self.names.iter().any(|name| name.is_in(&grants)) {
                continue;
            }
            let (partner, function) = (row.id(0, "functions.partner_id")?, row.id(1, "functions.id")?);
            let led = leads(tx, &partner, &function).await?;
            self.granted.push(Granted { partner, function, grants, led });
        }
        Ok(self)
    }

    /// After the change: what now leads elsewhere needs approval, unless the author of the change has given it.
    pub(super) async fn changed(self, tx: &mut Tx<'_>, by: &Changer<'_>, how: &str) -> Result<()> {
        const SET: &str = "-- set_leads
            UPDATE functions SET grants = ? WHERE partner_id = ? AND id = ?";
        let note = format!("{} {how}", self.what);
        let mut told = false;
        for Granted { partner, function, grants, led } in &self.granted {
            let leads = leads(tx, partner, function).await?;
            let old = led.complete(grants);
            let mut new = old.clone();
            let approves = by.approves && !(by.may_upload && wants_another(tx, partner).await?);
            for name in self.names.iter().filter(|name| name.is_in(grants)) {
                let now = name.lead(&leads);
                if approves && now != name.lead(led) && now != names::NOWHERE {
                    new.leads.insert(name.key(), now.to_owned());
                }
            }
            let (before, after) = (led.effective(&old), leads.effective(&new));
            if before == after {
                continue;
            }
            tx.run(SET, args![json(&new), partner, function]).await?.exactly_one("function")?;
            let change = Change::new(partner, Some(function), self.kind, by.key).noted(&note);
            change.record(tx, &before, &after, by.clock).await?;
            told = true;
        }
        for (feed, led) in &self.polling {
            let now = match (&self.names[..], by.names_feeds) {
                ([Name::Upstream(name)], true) => lead_of_upstream(tx, feed.owner.as_ref(), name).await?,
                _ => led.clone(),
            };
            let kept = feed.lead.as_ref().unwrap_or(led);
            feeds::set_lead(tx, feed, if kept == led { &now } else { kept }).await?;
        }
        match &self.partner {
            Some(partner) if !told => {
                let change = Change::new(partner, self.function.as_ref(), self.kind, by.key).noted(&note);
                change.record(tx, &Grants::default(), &Grants::default(), by.clock).await
            }
            _ => Ok(()),
        }
    }
}

/// A history entry to be written.
struct Change<'a> {
    partner: &'a PartnerId,
    function: Option<&'a FunctionId>,
    kind: GrantChangeKind,
    deployment: Option<&'a DeploymentId>,
    key: Option<&'a KeyId>,
    note: &'a str,
}

impl<'a> Change<'a> {
    fn new(
        partner: &'a PartnerId,
        function: Option<&'a FunctionId>,
        kind: GrantChangeKind,
        key: Option<&'a KeyId>,
    ) -> Change<'a> {
        Change { partner, function, kind, deployment: None, key, note: "" }
    }

    fn by_way_of(self, deployment: &'a DeploymentId) -> Change<'a> {
        Change { deployment: Some(deployment), ..self }
    }

    fn noted(self, note: &'a str) -> Change<'a> {
        Change { note, ..self }
    }

    async fn record(self, tx: &mut Tx<'_>, old: &Grants, new: &Grants, clock: &Clock) -> Result<()> {
        if old == new && self.note.is_empty() {
            return Ok(());
        }
        let row = args![
            self.partner,
            clock.ulid(),
            self.function.map_or("", FunctionId::as_str),
            self.kind.word(),
            self.deployment,
            self.key,
            json(old),
            json(new),
            clock.now_ms(),
            self.note
        ];
        tx.insert(&format!("-- insert_grant_change\n INSERT INTO grant_changes ({COLUMNS})"), vec![row]).await
    }
}

fn change(row: &Row) -> Result<GrantChange> {
    Ok(GrantChange {
        partner: row.id(0, "grant_changes.partner_id")?,
        id: row.text(1)?,
        function: Some(row.text(2)?)
            .filter(|id| !id.is_empty())
            .map(|_| row.id(2, "grant_changes.function_id"))
            .transpose()?,
        kind: row.parse(3, "grant_changes.kind", GrantChangeKind::from_word)?,
        deployment: row.maybe_id(4, "grant_changes.deployment_id")?,
        key: row.maybe_id(5, "grant_changes.key_id")?,
        old: row.json(6, "grant_changes.old_grants")?,
        new: row.json(7, "grant_changes.new_grants")?,
        created_at_ms: row.int(8)?,
        note: row.maybe_text(9)?.unwrap_or_default(),
    })
}
