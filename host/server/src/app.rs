//! The state of the router. A handler takes the part that it uses: `State<Common>`, `State<Sealer>`, …

use std::sync::Arc;

use axum::extract::FromRef;
use larder_egress::Client;
use larder_egress::upstreams::Upstreams;
use larder_platform::administrators::Administration;
use larder_platform::common::{Common, Sealer};
use larder_platform::execution::Executor;
use larder_platform::fronts::Fronts;
use larder_platform::idempotency_keys::Idempotency;
use larder_platform::identity::Identities;
use larder_platform::objects::Objects;
use larder_platform::providers::Provider;
use larder_platform::uploads::Staging;

use crate::api::realtime::Sockets;
pub use crate::console::live::Streams;

/// Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// Derefs to the [`Executor`], and so to what the whole platform shares.
pub struct Parts {
    pub executor: Executor,
    pub sealer: Sealer,
    pub idempotency: Idempotency,
    pub identities: Identities,
    pub provider: Provider,
    pub fronts: Fronts,
    pub staging: Staging,
    pub administration: Administration,
    pub sockets: Sockets,
    pub streams: Streams,
    /// SHA-256 of the operator key's text.
    pub operator_key_hash: [u8; 32],
}

impl App {
    pub fn new(parts: Parts) -> App {
        App(Arc::new(parts))
    }
}

macro_rules! parts {
    ($($type:ident: $field:ident;)*) => {$(
        impl FromRef<App> for $type {
            fn from_ref(app: &App) -> $type {
                app.$field.clone()
            }
        }
    )*};
}

parts! {
    Administration: administration;
    Client: egress;
    Common: common;
    Executor: executor;
    Fronts: fronts;
    Idempotency: idempotency;
    Identities: identities;
    Objects: objects;
    Provider: provider;
    Sealer: sealer;
    Staging: staging;
    Upstreams: upstreams;
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl std::ops::Deref for Parts {
    type Target = Executor;

    fn deref(&self) -> &Executor {
        &self.executor
    }
}
