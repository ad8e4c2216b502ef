//! An in-memory snapshot of the tenants: all that a call needs before it runs.
//!
//! [`Directory`] maps each partner to its [`Tenant`], and each domain to its partner. Reading takes no lock that
//! cores share; a change swaps one tenant.
//!
//! The rule: **code that changes a partner, key, function, deployment, variable, rule or upstream reloads the tenant before it
//! answers**. The store counts these changes, so other processes detect them by comparing a number.
//! [`watch`](Directory::watch) does so on each notification and every `partners.poll`. Work that must not use an outdated
//! snapshot (routing an event, claiming, firing) calls [`refresh`](Directory::refresh) first.

mod backlog;
mod calls;
mod environment;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use backlog::Backlog;
use calls::Calls;
use futures::{StreamExt, TryStreamExt, stream};
use larder_egress::Tenants;
use larder_egress::upstreams::UpstreamView;
use larder_model::doors::Host;
use larder_model::grants::{Leads, leads};
use larder_model::ids::{DeploymentId, FunctionId, KeyId, PartnerId};
use larder_model::rules::{Reaches, check_domain};
use larder_model::variables::effective;
use larder_model::zones::{Zone, Zones};
use larder_model::{
    ApiKey, Digest, EventRules, Exports, Function, Grants, Limits, Partner, Rule, Upstream, Variable, settings,
};
use larder_runtime::Lane;
use larder_runtime::backends::Variables;
use larder_secrets::Secrets;
use larder_secrets::keyring::MasterKeyId;
use larder_signals::lifecycle::Lifecycle;
use larder_signals::{Signals, Work};
use larder_store::{ActiveDeployment, Store};
use tokio::sync::Semaphore;

use crate::admission::EndUsers;
use crate::bodies::TenantBytes;
use crate::execution::reads::Reads;
use crate::identity::IdentityView;
use crate::rates::Limiter;
use crate::stored::Stored;
use crate::uploads::TenantUploads;

/// The snapshot of one partner.
pub struct Tenant {
    pub partner: Partner,
    pub keys: HashMap<KeyId, ApiKey>,
    pub functions: HashMap<FunctionId, Arc<FunctionView>>,
    /// Its own upstreams and the operator's, by the names that its functions use.
    pub upstreams: HashMap<String, Arc<UpstreamView>>,
    /// How its end users prove who they are, if it says so.
    pub identity: Option<Arc<IdentityView>>,
    /// Its domains, as far as it has proved them: domain → what is reached there.
    pub domains: Arc<HashMap<String, Reaches>>,
    /// What the data of its events must be.
    pub event_rules: Arc<EventRules>,
    /// Sorted by prefix length, the longest first.
    routes: Vec<(String, Arc<FunctionView>)>,
    /// Permits for concurrent calls. Outlives reloads.
    pub permits: Arc<Semaphore>,
    /// Permits for looks at the proofs of its domains. Outlives reloads.
    pub looks: Arc<Semaphore>,
    /// Permits for answers that are compressed. Outlives reloads.
    pub compressing: Arc<Semaphore>,
    /// Permits for concurrent reads through the API. Outlives reloads.
    pub reads: Arc<Semaphore>,
    /// What it may send. Outlives reloads.
    pub rate: Arc<Limiter>,
    /// Requests of its end users for what is theirs. Outlives reloads.
    pub end_users: Arc<EndUsers>,
    /// The number of calls in this minute. Outlives reloads.
    pub calls: Arc<Calls>,
    /// Bytes that its requests and answers hold. Outlives reloads.
    pub bodies: Arc<TenantBytes>,
    /// Its uploads in progress. Outlives reloads.
    pub uploads: Arc<TenantUploads>,
    /// Memory reserved by admitted synchronous calls. Outlives reloads.
    pub memory: Arc<AtomicU64>,
    /// Its waiting executions, fan-outs and events. Outlives reloads.
    pub backlog: Arc<Backlog>,
    /// If something of it could not be decrypted: the master keys that were known then. With other keys it is read again.
    undecryptable_with: Option<Vec<MasterKeyId>>,
    /// Schedules its runs in the runtime. Outlives reloads.
    lane: Arc<Lane>,
    /// Bytes that it stores. Outlives reloads.
    pub stored: Arc<Stored>,
}

/// A function with all that a call of it needs.
pub struct FunctionView {
    pub function: Function,
    /// The active deployment, if there is one.
    pub active: Option<Active>,
    pub limits: Limits,
    /// The partner's.
    pub lane: Arc<Lane>,
    /// The partner's.
    pub stored: Arc<Stored>,
    /// What the data of its partner's events must be.
    pub event_rules: Arc<EventRules>,
    /// The effective grants: without those whose names resolve to something other than was approved.
    pub grants: Arc<Grants>,
    pub timezone: Zone,
    environment: environment::Parts,
    /// What its runs read at the same moment.
    pub reads: Arc<Reads>,
    /// A variable that cannot be decrypted. The function is not run without it.
    pub undecryptable: Option<String>,
}

impl FunctionView {
    /// The guest's environment.
    pub fn variables(&self) -> Arc<Variables> {
        let deployment = self.active.as_ref().map(|active| &active.deployment);
        deployment.map(|id| self.environment.get(&self.function, id, &self.limits)).unwrap_or_default()
    }
}

/// The active deployment of a function.
#[derive(Clone, Debug)]
pub struct Active {
    pub deployment: DeploymentId,
    pub digest: Digest,
    pub exports: Exports,
}

impl Tenant {
    /// Memory that its calls and executions in progress may use by the limits of their functions.
    pub fn memory_in_use(&self) -> u64 {
        self.lane.reserved_bytes()
    }

    /// The same, including calls that wait for an instance.
    pub fn memory_reserved(&self) -> u64 {
        self.memory_in_use().max(self.memory.load(Relaxed))
    }

    /// The origins whose pages may call its end users' endpoints and its functions.
    fn origins(&self) -> &[String] {
        self.identity.as_deref().map_or(&[], |view| &view.identity.settings.origins)
    }

    /// The enabled and deployed function whose route is the longest prefix of the path, by whole segments.
    pub fn route(&self, path: &str) -> Option<&Arc<FunctionView>> {
        self.routes.iter().find(|(prefix, _)| covers(prefix, path)).map(|(_, function)| function)
    }
}

fn covers(prefix: &str, path: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The snapshots of all tenants. Cheap to clone.
#[derive(Clone)]
pub struct Directory(Arc<Shared>);

struct Shared {
    tenants: ArcSwap<HashMap<PartnerId, Arc<Tenant>>>,
    /// The partners of all domains. A tenant's own say whether that is still so.
    domains: ArcSwap<HashMap<String, PartnerId>>,
    /// The origins of pages that any partner lists.
    origins: ArcSwap<HashSet<String>>,
    store: Store,
    secrets: Secrets,
    signals: Signals,
    zones: Zones,
    end_users_max: usize,
    server: settings::Server,
    /// One reload at a time, so that an older snapshot never replaces a newer one.
    reloading: tokio::sync::Mutex<()>,
    last_refresh: tokio::sync::Mutex<Option<Instant>>,
}

/// The shortest time between two refreshes that callers cause by naming something unknown, so that callers cannot put load on
/// the database.
const REFRESH_INTERVAL_MIN: Duration = Duration::from_millis(50);
/// Partners whose snapshots are exchanged together, because that copies the map of all; and how many of them are read at once.
const RELOADED_TOGETHER: usize = 256;
const READ_AT_ONCE: usize = 4;
/// Answers of one partner, and its domains.
const COMPRESSED_AT_ONCE: usize = 1;
const LOOKS_AT_ONCE: usize = 2;

impl Directory {
    /// Reads all partners.
    pub async fn load(
        store: Store,
        secrets: Secrets,
        signals: Signals,
        zones: Zones,
        settings: &settings::Settings,
    ) -> larder_store::Result<Directory> {
        let directory = Directory(Arc::new(Shared {
            tenants: ArcSwap::default(),
            domains: ArcSwap::default(),
            origins: ArcSwap::default(),
            store,
            secrets,
            signals,
            zones,
            end_users_max: settings.identity.requests_per_partner,
            server: settings.server.clone(),
            reloading: tokio::sync::Mutex::new(()),
            last_refresh: tokio::sync::Mutex::default(),
        }));
        directory.refresh_all().await?;
        Ok(directory)
    }

    pub fn tenant(&self, partner: &PartnerId) -> Option<Arc<Tenant>> {
        self.0.tenants.load().get(partner).cloned()
    }

    /// The partner that has this domain, and what is reached there.
    pub fn at_domain(&self, domain: &str) -> Option<(Arc<Tenant>, Reaches)> {
        let tenant = self.tenant(self.0.domains.load().get(domain)?)?;
        let reaches = tenant.domains.get(domain)?.clone();
        Some((tenant, reaches))
    }

    /// What a name that is not the installation's stands for.
    pub fn host(&self, name: &str) -> Host {
        match self.at_domain(name) {
            Some((_, Reaches::Function(_))) => Host::Function(name.to_owned()),
            Some((tenant, Reaches::Functions)) => Host::Domain(tenant.partner.id.clone()),
            Some((tenant, Reaches::Api)) => Host::Api(tenant.partner.id.clone()),
            None => Host::Unknown,
        }
    }

    /// Does any partner list this origin of pages?
    pub fn knows_origin(&self, origin: &str) -> bool {
        self.0.origins.load().contains(origin)
    }

    /// The lane of a partner's runs. A partner that is not known has one of its own each time.
    pub fn lane(&self, partner: &PartnerId) -> Arc<Lane> {
        self.0.tenants.load().get(partner).map(|tenant| tenant.lane.clone()).unwrap_or_default()
    }

    /// All tenants at this moment.
    pub fn tenants(&self) -> Arc<HashMap<PartnerId, Arc<Tenant>>> {
        self.0.tenants.load_full()
    }

    /// The operator's upstream of this name, for work on behalf of no partner.
    pub async fn operators_upstream(&self, name: &str) -> larder_store::Result<Option<Arc<UpstreamView>>> {
        let found = self.0.store.upstreams(None).await?.into_iter().find(|upstream| upstream.name == name);
        Ok(found.map(|upstream| Arc::new(self.0.upstream(upstream))))
    }

    pub fn function(&self, partner: &PartnerId, function: &FunctionId) -> Option<Arc<FunctionView>> {
        self.0.tenants.load().get(partner)?.functions.get(function).cloned()
    }

    pub fn partners(&self) -> Vec<Partner> {
        let mut all: Vec<Partner> = self.0.tenants.load().values().map(|tenant| tenant.partner.clone()).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// Reloads the partner after a change by this process and notifies the other processes.
    pub async fn reload(&self, id: &PartnerId) -> larder_store::Result<()> {
        self.reload_now(std::slice::from_ref(id)).await?;
        self.0.signals.push(Work::Tenants);
        Ok(())
    }

    /// Reloads all partners after a change by this process that affects all of them.
    pub async fn reload_all(&self) -> larder_store::Result<()> {
        self.refresh_all().await?;
        self.0.signals.push(Work::Tenants);
        Ok(())
    }

    /// Ensures that the snapshot has every change that was committed before this call.
    pub async fn refresh(&self, id: &PartnerId) -> larder_store::Result<()> {
        let now = self.0.store.partner(id).await?.map(|partner| partner.version);
        if now != self.version(id) {
            self.reload_now(std::slice::from_ref(id)).await?;
        }
        Ok(())
    }

    /// The same for all partners, with a single query if nothing has changed.
    pub async fn refresh_all(&self) -> larder_store::Result<()> {
        let now: HashMap<PartnerId, i64> =
            self.0.store.partners().await?.into_iter().map(|partner| (partner.id, partner.version)).collect();
        let known = self.tenants();
        let all = now.keys().chain(known.keys().filter(|id| !now.contains_key(id)));
        let is_stale = |id: &&PartnerId| now.get(*id).copied() != self.version(id) || self.may_decrypt(id);
        let stale: Vec<PartnerId> = all.filter(is_stale).cloned().collect();
        for some in stale.chunks(RELOADED_TOGETHER) {
            self.reload_now(some).await?;
        }
        Ok(())
    }

    /// Could something of the partner not be decrypted, and have the master keys changed since?
    fn may_decrypt(&self, id: &PartnerId) -> bool {
        let tenant = self.tenant(id);
        let with = tenant.as_ref().and_then(|tenant| tenant.undecryptable_with.as_ref());
        with.is_some_and(|known| *known != self.0.secrets.known())
    }

    /// Refreshes all partners, because a caller names something that the snapshot does not have. Concurrent calls share one
    /// refresh, and the next one waits, which bounds the load on the database.
    pub async fn refresh_soon(&self) {
        let asked = Instant::now();
        let mut last = self.0.last_refresh.lock().await;
        if let Some(at) = *last {
            if at > asked {
                return;
            }
            tokio::time::sleep(REFRESH_INTERVAL_MIN.saturating_sub(at.elapsed())).await;
        }
        *last = Some(Instant::now());
        if let Err(err) = self.refresh_all().await {
            tracing::warn!(error = %err, "changes of partners could not be queried");
        }
    }

    /// Follows the changes of other processes, for as long as the process lives.
    pub async fn watch(self, poll: Duration, life: Lifecycle) {
        let drain = life.drain();
        while !drain.is_cancelled() {
            if let Err(err) = self.refresh_all().await {
                tracing::warn!(error = %err, "changes of partners could not be queried; retrying");
            }
            tokio::select! {
                () = self.0.signals.wait(Work::Tenants, poll) => {}
                () = drain.cancelled() => {}
            }
        }
    }

    /// The version of the partner's snapshot.
    pub fn version(&self, id: &PartnerId) -> Option<i64> {
        self.tenant(id).map(|tenant| tenant.partner.version)
    }

    async fn reload_now(&self, ids: &[PartnerId]) -> larder_store::Result<()> {
        let _one = self.0.reloading.lock().await;
        let read = async |id: &PartnerId| {
            // The version is read before the rest, so the next refresh detects changes made in the meantime.
            let tenant = match self.0.store.partner(id).await? {
                Some(partner) => Some(Arc::new(self.read(partner).await?)),
                None => None,
            };
            larder_store::Result::Ok((id.clone(), tenant))
        };
        let read = stream::iter(ids).map(read).buffer_unordered(READ_AT_ONCE);
        let read: Vec<(PartnerId, Option<Arc<Tenant>>)> = read.try_collect().await?;
        let mut tenants = HashMap::clone(&self.0.tenants.load());
        let (mut new_domains, mut are_other_origins) = (HashMap::new(), false);
        for (id, tenant) in read {
            let new = tenant.as_ref().map(|tenant| tenant.domains.clone()).unwrap_or_default();
            let origins = tenant.as_deref().map(|tenant| tenant.origins().to_vec());
            let before = match tenant {
                Some(tenant) => tenants.insert(id.clone(), tenant),
                None => tenants.remove(&id),
            };
            are_other_origins |= before.as_deref().map(Tenant::origins) != origins.as_deref();
            if before.map(|tenant| tenant.domains.clone()).unwrap_or_default() != new {
                new_domains.insert(id, new);
            }
        }
        if are_other_origins {
            let all = tenants.values().flat_map(|tenant| tenant.origins()).cloned();
            self.0.origins.store(Arc::new(all.collect()));
        }
        self.0.tenants.store(Arc::new(tenants));
        if !new_domains.is_empty() {
            let mut domains = HashMap::clone(&self.0.domains.load());
            // A domain that another partner has taken over stays its.
            domains.retain(|domain, of| new_domains.get(of).is_none_or(|new| new.contains_key(domain)));
            for (id, new) in &new_domains {
                domains.extend(new.keys().map(|domain| (domain.clone(), id.clone())));
            }
            self.0.domains.store(Arc::new(domains));
        }
        Ok(())
    }

    async fn read(&self, partner: Partner) -> larder_store::Result<Tenant> {
        let (store, id) = (&self.0.store, partner.id.clone());
        let (keys, deployments, functions, of_variables, rules, own_upstreams, operators_upstreams, identity) = tokio::try_join!(
            store.keys(&id),
            store.active_deployments(&id),
            store.functions(&id),
            store.variables(&id),
            store.rules(&id),
            store.upstreams(Some(&id)),
            store.upstreams(None),
            store.identity(&id),
        )?;
        let keys = keys.into_iter().map(|key| (key.id.clone(), key)).collect();
        let deployments = deployments.into_iter().map(|d| (d.id.clone(), d));
        let mut deployments: HashMap<DeploymentId, ActiveDeployment> = deployments.collect();
        // Those of the project are under `None`.
        let mut variables: HashMap<Option<FunctionId>, Vec<Variable>> = HashMap::new();
        for variable in of_variables {
            variables.entry(variable.function.clone()).or_default().push(variable);
        }
        let functions_domain = &self.0.server.functions_domain;
        let is_served = |rule: &Rule| match &rule.proof {
            Some(proof) => proof.holds,
            None => check_domain(&rule.domain, functions_domain).is_ok(),
        };
        let served = rules.into_iter().filter(is_served).map(|rule| (rule.domain, rule.reaches));
        let domains = Arc::new(served.collect());
        let known = self.0.secrets.known();
        let old = self.tenant(&id);
        let old = old.as_deref();
        let permits =
            old.map_or_else(|| Arc::new(Semaphore::new(self.0.server.calls_per_partner)), |old| old.permits.clone());
        let reads =
            old.map_or_else(|| Arc::new(Semaphore::new(self.0.server.reads_per_partner)), |old| old.reads.clone());
        let looks = old.map_or_else(|| Arc::new(Semaphore::new(LOOKS_AT_ONCE)), |old| old.looks.clone());
        let compressing =
            old.map_or_else(|| Arc::new(Semaphore::new(COMPRESSED_AT_ONCE)), |old| old.compressing.clone());
        let rate = old.map(|old| old.rate.clone()).unwrap_or_default();
        let end_users = old.map_or_else(|| Arc::new(EndUsers::new(self.0.end_users_max)), |old| old.end_users.clone());
        let stored = old.map(|old| old.stored.clone()).unwrap_or_default();
        let calls = old.map(|old| old.calls.clone()).unwrap_or_default();
        let backlog = old.map(|old| old.backlog.clone()).unwrap_or_default();
        let bodies = old.map(|old| old.bodies.clone()).unwrap_or_default();
        let uploads = old.map(|old| old.uploads.clone()).unwrap_or_default();
        let memory = old.map(|old| old.memory.clone()).unwrap_or_default();
        let lane = old.map(|old| old.lane.clone()).unwrap_or_default();
        let upstreams = leads::called([own_upstreams, operators_upstreams].concat());
        let leads = Leads::new(&upstreams);
        let upstreams: HashMap<String, Arc<UpstreamView>> = upstreams
            .into_iter()
            .map(|upstream| (upstream.name.clone(), Arc::new(self.0.upstream(upstream))))
            .collect();
        let old_identity = old.and_then(|old| old.identity.as_deref());
        let identity = identity.and_then(|identity| IdentityView::new(identity, old_identity)).map(Arc::new);
        let of_project = variables.remove(&None).unwrap_or_default();
        let endpoint: Arc<str> = format!("{}/v1", self.0.server.url_of(&format!("{id}-api"))).into();
        let event_rules = Arc::new(EventRules::of(&functions));
        let shared = (&lane, &stored, &endpoint, &event_rules);
        let mut views = HashMap::new();
        for function in functions {
            let active = function.deployment.as_ref().and_then(|id| deployments.remove(id));
            let own = variables.remove(&Some(function.id.clone())).unwrap_or_default();
            let variables = effective(own, &of_project);
            let view = self.view(function, active, variables, &leads, shared);
            views.insert(view.function.id.clone(), Arc::new(view));
        }
        let functions = views;
        let mut routes: Vec<(String, Arc<FunctionView>)> = functions
            .values()
            .filter(|view| view.function.enabled && view.active.as_ref().is_some_and(|active| active.exports.http))
            .flat_map(|view| view.function.routes.iter().map(|prefix| (prefix.clone(), view.clone())))
            .collect();
        routes.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        let has_failed = functions.values().any(|view| view.undecryptable.is_some())
            || upstreams.values().any(|view| view.upstream.sealed.is_some() && view.secret.is_none());
        let undecryptable_with = has_failed.then_some(known);
        Ok(Tenant {
            partner,
            keys,
            functions,
            upstreams,
            identity,
            domains,
            event_rules,
            routes,
            permits,
            looks,
            compressing,
            reads,
            rate,
            end_users,
            stored,
            calls,
            backlog,
            bodies,
            uploads,
            memory,
            lane,
            undecryptable_with,
        })
    }

    fn view(
        &self,
        function: Function,
        active: Option<ActiveDeployment>,
        sealed: Vec<Variable>,
        leads: &Leads,
        (lane, stored, endpoint, event_rules): (&Arc<Lane>, &Arc<Stored>, &Arc<str>, &Arc<EventRules>),
    ) -> FunctionView {
        let mut variables = Vec::new();
        let mut undecryptable = None;
        let grants = leads.of(&sealed).effective(&function.grants);
        // A secret is in the environment only if it is granted.
        let granted = |variable: &Variable| !variable.secret || grants.secrets.contains(&variable.name);
        for variable in sealed.into_iter().filter(granted) {
            match self.0.secrets.open(&variable.place(), &variable.sealed) {
                Ok(value) => variables.push((variable.name, value.text().to_string())),
                Err(err) => {
                    tracing::error!(
                        partner.id = %function.partner, function.id = %function.id, variable = %variable.name, error = %err,
                        "a variable cannot be decrypted, so the function is not run"
                    );
                    undecryptable = Some(variable.name);
                }
            }
        }
        let limits = function.limits.limits(function.timeout_s);
        let kind = active.as_ref().map(|deployment| deployment.kind.clone()).unwrap_or_default();
        let active = active.and_then(|deployment| {
            Some(Active { deployment: deployment.id, digest: deployment.digest, exports: deployment.exports? })
        });
        FunctionView {
            limits,
            lane: lane.clone(),
            stored: stored.clone(),
            event_rules: event_rules.clone(),
            grants: Arc::new(grants),
            timezone: self.0.zones.zone(&function.timezone).unwrap_or_else(|| self.0.zones.utc()),
            environment: environment::Parts::new(variables, kind, endpoint.clone()),
            reads: Arc::default(),
            undecryptable,
            active,
            function,
        }
    }
}

impl Shared {
    fn upstream(&self, upstream: Upstream) -> UpstreamView {
        let secret = upstream.sealed.as_ref().and_then(|sealed| {
            let place = upstream.place();
            let opened = self.secrets.open(&place.each_ref().map(String::as_str), sealed);
            let text = opened.map(|text| String::from_utf8_lossy(&text).into_owned());
            text.inspect_err(
                |err| tracing::error!(upstream = %upstream.name, error = %err, "the upstream cannot be called"),
            )
            .ok()
        });
        UpstreamView { upstream, secret }
    }
}

impl Tenants for Directory {
    fn upstream(&self, partner: &PartnerId, name: &str) -> Option<Arc<UpstreamView>> {
        self.0.tenants.load().get(partner)?.upstreams.get(name).cloned()
    }

    fn grants(&self, partner: &PartnerId, function: &FunctionId) -> Result<Arc<Grants>, String> {
        match self.function(partner, function) {
            Some(view) if view.function.enabled => Ok(view.grants.clone()),
            Some(_) => Err("the function is disabled: it reaches nothing".into()),
            None => Err("the function was deleted: it reaches nothing".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn a_route_covers_whole_segments() {
        for (prefix, path, expected) in [
            ("/", "/any/thing", true),
            ("/hello", "/hello", true),
            ("/hello", "/hello/", true),
            ("/hello/", "/hello/you", true),
            ("/hello", "/helloo", false),
            ("/hello", "/", false),
        ] {
            assert_eq!(covers(prefix, path), expected, "{prefix} {path}");
        }
    }
}
