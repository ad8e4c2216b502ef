//! The role `front`: a process without database, Redis and master key that stands before the core and passes on to it what
//! may be reached by everybody.
//!
//! * [`pass_on`]: one request. [`request_body`]: its body. [`told`]: what the core is told of its client.
//! * [`cores`]: the cores, and connections to them. [`control`]: what a front asks for itself.
//! * [`names`]: which names are ours, with their certificates. [`identity`]: the certificate of the front itself.
//! * [`internal`]: probes and metrics.
//!
//! The listeners are those of every process ([`crate::listener`]), with all their bounds. What a front decides, the core decides
//! again: the front is believed in nothing but the address of the client.

pub mod control;
mod cores;
mod identity;
pub mod internal;
mod names;
mod pass_on;
mod request_body;
pub mod told;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cores::Cores;
use http::{Request, Response};
use larder_model::settings::Settings;
use larder_model::time::Clock;
use larder_platform::bodies::{AnswerBody, Bodies};
use larder_platform::tls::Certificates;
use larder_signals::lifecycle::Lifecycle;
use names::Names;

use crate::client_body::ClientBody;
use told::Told;

/// Cheap to clone.
#[derive(Clone)]
pub struct Front(Arc<Parts>);

pub struct Parts {
    pub settings: Settings,
    pub clock: Clock,
    pub life: Lifecycle,
    pub bodies: Bodies,
    pub certificates: Certificates,
    pub(crate) cores: Cores,
    pub(crate) names: Names,
}

impl std::ops::Deref for Front {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Front {
    /// Reads the certificate of the front; its folder must have one that is good now.
    pub fn open(settings: Settings, clock: Clock, life: &Lifecycle) -> anyhow::Result<Front> {
        let identity = identity::load(&settings.front.folder, clock.now_ms()).map_err(anyhow::Error::msg)?;
        tracing::info!(
            front = identity.name,
            cores = settings.front.cores.join(","),
            "this is the front {}",
            identity.name
        );
        let front = Front(Arc::new(Parts {
            bodies: Bodies::new(&settings.server),
            certificates: Certificates::default(),
            cores: Cores::new(&settings.front.cores, identity),
            names: Names::default(),
            settings,
            clock,
            life: life.clone(),
        }));
        front.certificates.answer_by(Arc::new(names::OfCores(front.clone())));
        Ok(front)
    }

    /// Starts what a front does beside passing on.
    pub fn start(&self) {
        self.life.spawn("front", tend(self.clone()));
        self.life.spawn("idle connections", tidy(self.clone()));
    }

    pub(crate) async fn pass_on(&self, told: &Told, request: Request<ClientBody>) -> Response<AnswerBody> {
        pass_on::pass_on(self, told, request).await
    }

    /// When its certificate ends.
    pub fn certificate_ends_ms(&self) -> i64 {
        self.cores.identity.load().not_after_ms
    }

    /// Asks a core for something that can be asked again.
    async fn ask(&self, method: http::Method, path: &str) -> Result<Option<Bytes>, String> {
        control::ask(self, method, path).await
    }
}

/// Keeps the front's certificate and those of names true until the process drains.
async fn tend(front: Front) {
    let drain = front.life.drain();
    loop {
        let _ = front.ask(http::Method::GET, "/ping").await;
        identity::tend(&front).await;
        front.names.refresh(&front).await;
        tokio::select! {
            () = tokio::time::sleep(front.settings.front.poll) => {}
            () = drain.cancelled() => return,
        }
    }
}

async fn tidy(front: Front) {
    let drain = front.life.drain();
    loop {
        front.cores.tidy();
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = drain.cancelled() => return front.cores.close().await,
        }
    }
}
