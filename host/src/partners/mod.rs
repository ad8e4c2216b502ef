//! The tenants, as a snapshot in memory: all that a call needs to know before it runs.
//!
//! * [`Directory`]: partner → [`Tenant`]. Reading takes no lock that cores share; a change swaps one tenant.
//! * [`doors`]: Host header → partner and door.
//!
//! The rule: **whoever changes a partner, key, function, deployment or variable reloads the tenant before answering**.

pub mod doors;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use chrono_tz::Tz;
use larder_runtime::{Digest, Exports, Limits};
use tokio::sync::Semaphore;

use crate::ids::{DeploymentId, FunctionId, KeyId, PartnerId};
use crate::model::{ApiKey, Function, Partner};
use crate::secrets::Secrets;
use crate::store::listing::Listing;
use crate::store::{self, Store};

/// One partner's part of the snapshot.
pub struct Tenant {
    pub partner: Partner,
    pub keys: HashMap<KeyId, ApiKey>,
    pub functions: HashMap<FunctionId, Arc<FunctionView>>,
    /// The longest prefix first.
    routes: Vec<(String, Arc<FunctionView>)>,
    /// Calls of the partner that may run at once. Outlives reloads.
    pub permits: Arc<Semaphore>,
}

/// A function as a call sees it.
pub struct FunctionView {
    pub function: Function,
    /// What runs; `None` while no deployment is active.
    pub active: Option<Active>,
    pub limits: Limits,
    pub timezone: Tz,
    /// The guest's environment.
    pub variables: Arc<Vec<(String, String)>>,
}

/// The deployment that runs.
#[derive(Clone, Debug)]
pub struct Active {
    pub deployment: DeploymentId,
    pub digest: Digest,
    pub exports: Exports,
}

impl Tenant {
    /// The enabled function with an active deployment whose route is the longest prefix of the path, by whole segments.
    pub fn route(&self, path: &str) -> Option<&Arc<FunctionView>> {
        self.routes.iter().find(|(prefix, _)| covers(prefix, path)).map(|(_, function)| function)
    }
}

fn covers(prefix: &str, path: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[derive(Clone)]
pub struct Directory(Arc<Shared>);

struct Shared {
    tenants: ArcSwap<HashMap<PartnerId, Arc<Tenant>>>,
    store: Store,
    secrets: Secrets,
    calls_max: usize,
    /// One reload at a time, so that an older snapshot never replaces a newer one.
    reloading: tokio::sync::Mutex<()>,
}

impl Directory {
    /// Reads all partners. `calls_max` is how many calls of one partner may run at once in this process.
    pub async fn load(store: Store, secrets: Secrets, calls_max: usize) -> store::Result<Directory> {
        let directory = Directory(Arc::new(Shared {
            tenants: ArcSwap::default(),
            store,
            secrets,
            calls_max,
            reloading: tokio::sync::Mutex::new(()),
        }));
        for partner in directory.0.store.partners().await? {
            directory.reload(&partner.id).await?;
        }
        Ok(directory)
    }

    pub fn tenant(&self, partner: &PartnerId) -> Option<Arc<Tenant>> {
        self.0.tenants.load().get(partner).cloned()
    }

    pub fn function(&self, partner: &PartnerId, function: &FunctionId) -> Option<Arc<FunctionView>> {
        self.0.tenants.load().get(partner)?.functions.get(function).cloned()
    }

    pub fn partners(&self) -> Vec<Partner> {
        let mut all: Vec<Partner> = self.0.tenants.load().values().map(|tenant| tenant.partner.clone()).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// Reads one partner anew and swaps it in.
    pub async fn reload(&self, id: &PartnerId) -> store::Result<()> {
        let _one = self.0.reloading.lock().await;
        let found = self.0.store.partners().await?.into_iter().find(|partner| partner.id == *id);
        let tenant = match found {
            Some(partner) => Some(Arc::new(self.read(partner).await?)),
            None => None,
        };
        let mut tenants = HashMap::clone(&self.0.tenants.load());
        match tenant {
            Some(tenant) => tenants.insert(id.clone(), tenant),
            None => tenants.remove(id),
        };
        self.0.tenants.store(Arc::new(tenants));
        Ok(())
    }

    async fn read(&self, partner: Partner) -> store::Result<Tenant> {
        let id = partner.id.clone();
        let keys = self.0.store.keys(&id).await?.into_iter().map(|key| (key.id.clone(), key)).collect();
        let mut functions = HashMap::new();
        for function in self.0.store.list_functions(&id, &Listing::first(Listing::LIMIT_MAX)).await?.rows {
            functions.insert(function.id.clone(), Arc::new(self.view(function).await?));
        }
        let mut routes: Vec<(String, Arc<FunctionView>)> = functions
            .values()
            .filter(|view| view.function.enabled && view.active.as_ref().is_some_and(|active| active.exports.http))
            .flat_map(|view| view.function.routes.iter().map(|prefix| (prefix.clone(), view.clone())))
            .collect();
        routes.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        let permits =
            self.tenant(&id).map_or_else(|| Arc::new(Semaphore::new(self.0.calls_max)), |old| old.permits.clone());
        Ok(Tenant { partner, keys, functions, routes, permits })
    }

    async fn view(&self, function: Function) -> store::Result<FunctionView> {
        let store = &self.0.store;
        let active = match &function.deployment {
            Some(id) => store.deployment(&function.partner, &function.id, id).await?.and_then(|deployment| {
                Some(Active { deployment: deployment.id, digest: deployment.digest, exports: deployment.exports? })
            }),
            None => None,
        };
        let mut variables = Vec::new();
        for variable in
            store.list_variables(&function.partner, &function.id, &Listing::first(Listing::LIMIT_MAX)).await?.rows
        {
            let place = [function.partner.as_str(), function.id.as_str(), variable.name.as_str()];
            match self.0.secrets.open(&place, &variable.sealed) {
                Ok(value) => variables.push((variable.name, String::from_utf8_lossy(&value).into_owned())),
                Err(err) => tracing::error!(
                    partner.id = %function.partner, function.id = %function.id, variable = %variable.name, error = %err,
                    "a variable is left out of the function's environment"
                ),
            }
        }
        Ok(FunctionView {
            limits: function.limits.limits(function.timeout_s),
            timezone: function.timezone.parse().unwrap_or(Tz::UTC),
            variables: Arc::new(variables),
            active,
            function,
        })
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
