//! The runtime's backends over the store and egress.

use async_trait::async_trait;
use larder_egress::Calls;
use larder_egress::upstreams::Signer;
use larder_model::amount;
use larder_model::outgoing::{Body, Error, Times};
use larder_model::state::Version;
use larder_runtime::imports::state::{self, BackendError};
use larder_runtime::imports::{http, savings, signing};
use larder_store::Store;
use larder_store::state::Scope;

/// State of one scope.
pub struct State {
    store: Store,
    scope: Scope,
}

impl State {
    pub fn new(store: Store, scope: Scope) -> State {
        State { store, scope }
    }
}

#[async_trait]
impl state::Backend for State {
    async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, BackendError> {
        self.store.get_state(&self.scope, key).await.map_err(|err| BackendError(err.to_string()))
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, Vec<u8>, Version)>, BackendError> {
        self.store.list_state(&self.scope, prefix, after, limit).await.map_err(|err| BackendError(err.to_string()))
    }
}

/// Outgoing calls of one run.
pub struct Outgoing(pub Calls);

#[async_trait]
impl http::Backend for Outgoing {
    async fn send(
        &self,
        ordinal: u32,
        request: ::http::Request<Body>,
        times: Times,
    ) -> Result<::http::Response<Body>, Error> {
        self.0.send(ordinal, request, times).await
    }
}

/// Signatures for one function.
pub struct Signing(pub Signer);

impl signing::Backend for Signing {
    fn sign(&self, upstream: &str, data: &[u8]) -> Result<Vec<u8>, String> {
        self.0.sign(upstream, data)
    }
}

/// Whom one function may save for.
pub struct Savings {
    store: Store,
    scope: Scope,
}

impl Savings {
    pub fn new(store: Store, scope: Scope) -> Savings {
        Savings { store, scope }
    }
}

#[async_trait]
impl savings::Backend for Savings {
    fn exponent(&self, currency: &str) -> Result<u32, String> {
        amount::current(currency)
    }

    async fn may_save_for(&self, end_user: &str) -> Result<Result<(), String>, BackendError> {
        let enrolled = self.store.is_enrolled(&self.scope.partner, &self.scope.function, end_user).await;
        let enrolled = enrolled.map_err(|err| BackendError(err.to_string()))?;
        Ok(if enrolled {
            Ok(())
        } else {
            Err(format!("end user {end_user:?} has no active enrolment in this function"))
        })
    }
}
