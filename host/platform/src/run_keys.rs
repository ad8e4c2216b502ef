//! Keys of runs: with one a function calls the API while it runs, in its own name.
//!
//! A run has a key if its function has scopes and a grant for them (`api`). The text is `ephemeral_<execution>_<64 hex
//! digits>_<8 hex digits>`, otherwise made like other keys ([`crate::keys`]). What it may do is decided at each use: the scopes
//! that the function has and the grant names at that moment.
//!
//! The rule: **a key is void when its run has ended**. The process of the run has it in memory. Other processes find it in the
//! database, so a run with a key costs two statements where there are other processes. If the process of a run dies, its key
//! expires.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use hex::FromHex;
use larder_model::RunKey;
use larder_model::ids::{ExecutionId, FunctionId, KeyId, PartnerId};
use larder_model::time::Millis;
use larder_wire::scopes::Scope;

use crate::common::Common;
use crate::directory::{FunctionView, Tenant};
use crate::keys::{self, Denied};

const PREFIX: &str = "ephemeral_";
/// How long a key outlasts the time that its run may take, if nothing ends it.
const MARGIN: Duration = Duration::from_secs(60);

/// The keys of the runs of this process.
#[derive(Clone, Default)]
pub struct RunKeys(Arc<DashMap<ExecutionId, RunKey>>);

/// The key of a run in progress. [`end`](Held::end) makes it void everywhere; dropping it does in this process.
pub struct Held {
    pub text: String,
    key: RunKey,
    keys: RunKeys,
}

impl RunKeys {
    /// The key for a run of this function, if it may have one.
    pub async fn begin(
        &self,
        common: &Common,
        view: &FunctionView,
        execution: &ExecutionId,
    ) -> larder_store::Result<Option<Held>> {
        if scopes(view).is_empty() {
            return Ok(None);
        }
        let text = keys::text(PREFIX, execution.as_str());
        let now = common.clock.now_ms();
        let key = RunKey {
            partner: view.function.partner.clone(),
            execution: execution.clone(),
            function: view.function.id.clone(),
            secret_hash: hex::encode(keys::hash(&text)),
            created_at_ms: now,
            expires_at_ms: now + (view.limits.wall + MARGIN).as_millis() as Millis,
        };
        if !common.store.is_embedded() {
            common.store.put_run_key(&key).await?;
        }
        self.0.insert(execution.clone(), key.clone());
        Ok(Some(Held { text, key, keys: self.clone() }))
    }
}

impl Held {
    pub async fn end(self, common: &Common) {
        let key = self.key.clone();
        drop(self);
        if !common.store.is_embedded()
            && let Err(err) = common.store.delete_run_key(&key).await
        {
            tracing::warn!(error = %err, execution.id = %key.execution, "the key of a run could not be deleted; it expires");
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.keys.0.remove_if(&self.key.execution, |_, held| held.secret_hash == self.key.secret_hash);
    }
}

/// What a function may do by the key of its run.
pub struct Verified {
    /// Who it is in the history of changes: the execution.
    pub id: KeyId,
    pub function: FunctionId,
    pub scopes: Vec<String>,
}

/// Is this the text of a run's key, whoever's?
pub fn is_text(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// What the key with this text may do, if a run of this partner that has not ended has it.
pub async fn verify(
    keys: &RunKeys,
    common: &Common,
    tenant: &Tenant,
    text: &str,
) -> std::result::Result<Verified, Refused> {
    let id = keys::id_of(PREFIX, text).and_then(|id| id.parse().ok()).ok_or(Denied::Unknown)?;
    let key = find(keys, common, &tenant.partner.id, &id).await?.ok_or(Denied::Unknown)?;
    let stored = <[u8; 32]>::from_hex(&key.secret_hash).map_err(|_| Denied::Unknown)?;
    if key.partner != tenant.partner.id || !keys::is_text(text, &stored) {
        return Err(Denied::Unknown.into());
    }
    if key.expires_at_ms <= common.clock.now_ms() {
        return Err(Denied::Expired.into());
    }
    let view = tenant.functions.get(&key.function).filter(|view| view.function.enabled).ok_or(Denied::Unknown)?;
    let id = format!("run-{}", &key.execution.as_str()[..key.execution.as_str().len().min(32)]);
    let id = id.parse().map_err(|_| Denied::Unknown)?;
    Ok(Verified { id, function: key.function, scopes: scopes(view) })
}

async fn find(
    keys: &RunKeys,
    common: &Common,
    partner: &PartnerId,
    execution: &ExecutionId,
) -> larder_store::Result<Option<RunKey>> {
    let own = keys.0.get(execution).map(|key| key.clone());
    if own.is_some() || common.store.is_embedded() {
        return Ok(own);
    }
    common.store.run_key(partner, execution).await
}

/// Why the key of a run is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Store(#[from] larder_store::Error),
}

/// The scopes that the function has and its grant names.
fn scopes(view: &FunctionView) -> Vec<String> {
    if view.grants.api.is_empty() {
        return vec![];
    }
    effective(&view.function.scopes, &view.grants.api)
}

fn effective(own: &[String], granted: &BTreeSet<String>) -> Vec<String> {
    let words = Scope::ALL.into_iter().map(Scope::words);
    let both = words.filter(|words| {
        words.iter().any(|word| own.iter().any(|scope| scope == word))
            && words.iter().any(|word| granted.contains(*word))
    });
    both.map(|words| words[0].to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use larder_model::grants::check::API_SCOPES;

    use super::*;

    #[test]
    fn a_key_may_do_what_the_function_wants_and_the_grant_names() {
        let granted = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<BTreeSet<_>>();
        let own = ["execution.write", "functions.read", "documents.read"].map(str::to_owned);
        assert_eq!(effective(&own, &granted(&["executions.write", "events.write"])), ["executions.write"]);
        assert_eq!(effective(&own, &granted(&[])), [] as [&str; 0]);
        assert_eq!(effective(&[], &granted(&["functions.read"])), [] as [&str; 0]);
    }

    #[test]
    fn every_scope_can_be_granted_but_those_that_lead_to_more() {
        let known: BTreeSet<&str> = Scope::ALL.into_iter().map(|scope| scope.words()[0]).collect();
        let mut granted: BTreeSet<&str> = API_SCOPES.into();
        for (scope, why) in [
            ("grants.write", "a function does not approve grants"),
            ("audit.read", "records name people, and from where they sign in"),
            ("events.data", "a function is told of its own events, and of no others"),
            ("identity.write", "it would become any end user"),
            ("identity.read", "nobody needs it without the other"),
            ("project.write", "it would change what approvals of other functions cover"),
            ("project.read", "variables of the project are other functions' too"),
        ] {
            assert!(granted.insert(scope), "{scope}: {why}");
        }
        assert_eq!(granted, known);
    }
}
