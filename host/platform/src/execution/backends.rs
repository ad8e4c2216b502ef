//! The runtime's backends on top of the store and egress.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Request, Response};
use larder_egress::Calls;
use larder_egress::upstreams::Signer;
use larder_model::Currency;
use larder_model::outgoing::{self, Body, Times};
use larder_model::state::Version;
use larder_runtime::backends::{self, Error};
use larder_store::state::Scope;

use crate::common::Common;
use crate::execution::reads::Reads;

/// The state of one scope.
pub struct State {
    common: Common,
    scope: Arc<Scope>,
    /// The function's.
    reads: Arc<Reads>,
}

impl State {
    pub fn new(common: Common, scope: Arc<Scope>, reads: Arc<Reads>) -> State {
        State { common, scope, reads }
    }
}

#[async_trait]
impl backends::State for State {
    async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, Error> {
        self.reads.state(&self.common.store, &self.scope, key).await.map_err(Error)
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, Vec<u8>, Version)>, Error> {
        self.common.store.list_state(&self.scope, prefix, after, limit).await.map_err(|err| Error(err.to_string()))
    }
}

/// The end users for whom one function may save.
pub struct Savings {
    common: Common,
    scope: Arc<Scope>,
    /// The function's.
    reads: Arc<Reads>,
}

impl Savings {
    pub fn new(common: Common, scope: Arc<Scope>, reads: Arc<Reads>) -> Savings {
        Savings { common, scope, reads }
    }
}

#[async_trait]
impl backends::Savings for Savings {
    fn currency(&self, code: &str) -> Result<Currency, String> {
        Currency::current(code)
    }

    async fn may_save_for(&self, end_user: &str) -> Result<Result<(), String>, Error> {
        let enrolled = self.reads.is_enrolled(&self.common.store, &self.scope, end_user).await;
        Ok(if enrolled.map_err(Error)? {
            Ok(())
        } else {
            Err(format!("end user {end_user:?} has no active enrolment in this function"))
        })
    }
}

/// The outgoing calls of one run.
pub struct Http(pub Calls);

#[async_trait]
impl backends::Http for Http {
    async fn send(
        &self,
        ordinal: u32,
        request: Request<Body>,
        times: Times,
    ) -> Result<Response<Body>, outgoing::Error> {
        self.0.send(ordinal, request, times).await
    }
}

/// The signatures that one function may request.
pub struct Signing(pub Signer);

impl backends::Signing for Signing {
    fn sign(&self, upstream: &str, data: &[u8]) -> Result<Vec<u8>, String> {
        self.0.sign(upstream, data)
    }
}
