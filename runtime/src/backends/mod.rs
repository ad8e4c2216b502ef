//! Everything that a guest is told while it runs comes through [`Backends`], and through nothing else.
//!
//! What is known before the run begins is a value, what is found when the guest asks is a trait. So whoever wraps the traits
//! and keeps the values beside the [`Call`](crate::Call), the grants, the limits and the execution's id of a
//! [`Run`](crate::Run) has all that the guest's answers depended on. Compiled code adds nothing to it: NaNs are canonical,
//! relaxed SIMD is deterministic, and memory grows by the function's limit alone. Ids of transactions and emitted events are
//! made of the execution's id and an ordinal, and source and time of an event are not the guest's to know.
//!
//! A backend only answers. What a guest changes stays in its run and comes out as [`Effect`](larder_model::Effect)s.
//!
//! # What is not told here and can still differ between two runs
//!
//! * **Where a limit ends a run**: CPU and wall-clock time are measured, and how deep a stack may become hangs on the frames
//!   of compiled code. A run that ends within its limits does not depend on them.
//! * **What becomes ready first**: which of several pollables `wasi:io/poll` reports (timers, answers on their way), and the
//!   order in which outgoing requests that the guest has open at once are answered. Each keeps its ordinal.
//! * **How a body is cut**: how many bytes one read of a request's or an answer's body gives. A request whose body is whole
//!   comes in one piece.
//! * **When output is taken**: how much of a body a guest may write before it must wait for a slow client.
//! * **Faults of the host**: no free instance, no memory, a backend that is away. The guest is never told; the run fails
//!   with [`Failure::Host`](larder_model::Failure::Host).

mod nothing;
mod system;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response};
use larder_model::outgoing::{self, Body, Times};
use larder_model::state::Version;
use larder_model::{Currency, EventRules};

pub use nothing::Nothing;
pub use system::{SystemClocks, SystemRandom};

/// An environment: names and values.
pub type Variables = Vec<(Cow<'static, str>, Cow<'static, str>)>;

/// What one run may ask. The default has clocks and randomness and nothing else: no state, no currencies, nobody to save
/// for.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use larder_runtime::backends::{Backends, Clocks};
///
/// /// For runs that are to be the same each time.
/// struct Noon;
///
/// impl Clocks for Noon {
///     fn wall(&self) -> Duration {
///         Duration::from_secs(1_795_608_000)
///     }
///
///     fn monotonic(&self) -> Duration {
///         Duration::ZERO
///     }
/// }
///
/// let backends = Backends { clocks: Arc::new(Noon), ..Backends::default() };
/// assert!(backends.http.is_none() && backends.enrolment.is_none());
/// ```
#[derive(Clone)]
pub struct Backends {
    /// The guest's whole environment.
    pub variables: Arc<Variables>,
    /// Whom the run is for.
    pub enrolment: Option<Enrolment>,
    pub state: Arc<dyn State>,
    pub savings: Arc<dyn Savings>,
    /// `None`: every outgoing request is refused.
    pub http: Option<Arc<dyn Http>>,
    /// `None`: nothing is signed.
    pub signing: Option<Arc<dyn Signing>>,
    /// What the data of events that it emits must be.
    pub event_rules: Arc<EventRules>,
    pub clocks: Arc<dyn Clocks>,
    pub random: Arc<dyn Random>,
}

impl Backends {
    /// Over this state and these savings, with the system's clocks and randomness.
    pub fn new(state: Arc<dyn State>, savings: Arc<dyn Savings>) -> Backends {
        Backends {
            variables: Arc::default(),
            enrolment: None,
            state,
            savings,
            http: None,
            signing: None,
            event_rules: Arc::default(),
            clocks: Arc::new(SystemClocks),
            random: Arc::new(SystemRandom),
        }
    }
}

impl Default for Backends {
    fn default() -> Backends {
        Backends::new(Arc::new(Nothing), Arc::new(Nothing))
    }
}

/// The backend could not answer. The run ends with [`Failure::Host`](larder_model::Failure::Host).
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

/// Whom a run is for, as the guest may know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// A pseudonym.
    pub end_user: String,
    pub topic: String,
    /// JSON text.
    pub settings: String,
}

/// `larder:function/state`, of one scope (partner, function, enrolment).
///
/// ```
/// use std::collections::BTreeMap;
///
/// use async_trait::async_trait;
/// use larder_model::state::Version;
/// use larder_runtime::backends::{Error, State};
///
/// struct Values(BTreeMap<String, Vec<u8>>);
///
/// #[async_trait]
/// impl State for Values {
///     async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, Error> {
///         Ok(self.0.get(key).map(|value| (value.clone(), "1".into())))
///     }
///
///     async fn list(
///         &self,
///         prefix: &str,
///         after: Option<&str>,
///         limit: u32,
///     ) -> Result<Vec<(String, Vec<u8>, Version)>, Error> {
///         let wanted = |key: &str| key.starts_with(prefix) && after.is_none_or(|after| key > after);
///         let values = self.0.iter().filter(|(key, _)| wanted(key)).take(limit as usize);
///         Ok(values.map(|(key, value)| (key.clone(), value.clone(), "1".into())).collect())
///     }
/// }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let values = Values([("cap".into(), b"200".to_vec())].into());
/// assert_eq!(values.get("cap").await.unwrap(), Some((b"200".to_vec(), "1".into())));
/// assert_eq!(values.list("c", Some("cap"), 100).await.unwrap(), []);
/// # });
/// ```
#[async_trait]
pub trait State: Send + Sync {
    async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, Error>;
    /// Keys that begin with `prefix`, after `after`, in byte order.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, Vec<u8>, Version)>, Error>;
}

/// `larder:function/savings`: what the host knows of money, and of whom a function may save for.
#[async_trait]
pub trait Savings: Send + Sync {
    /// The currency with this code of ISO 4217, as from [`Currency::current`]. The guest is given the text of a refusal: there
    /// is no such currency, or it is not valid any more.
    fn currency(&self, code: &str) -> Result<Currency, String>;
    /// May a run that is not for an enrolment save for this end user? The guest is given the text of a refusal.
    async fn may_save_for(&self, end_user: &str) -> Result<Result<(), String>, Error>;
}

/// Outgoing `wasi:http`: where the requests of one run go.
#[async_trait]
pub trait Http: Send + Sync {
    /// Sends one request of the guest, the run's `ordinal`th; a run that does the same counts the same. Whatever this
    /// starts ends when its future and the answer's body are dropped.
    async fn send(&self, ordinal: u32, request: Request<Body>, times: Times)
    -> Result<Response<Body>, outgoing::Error>;
}

/// `larder:function/signing`: who has the keys.
pub trait Signing: Send + Sync {
    /// HMAC-SHA256 under the signing key of this upstream. The guest is given the text of a refusal.
    fn sign(&self, upstream: &str, data: &[u8]) -> Result<Vec<u8>, String>;
}

/// `wasi:clocks`. The guest is told less than these say: whole milliseconds, counted from the beginning of its run, so that
/// neither clock goes back whatever is done to the machine's.
pub trait Clocks: Send + Sync {
    /// Time since the Unix epoch. Asked once, when the run begins.
    fn wall(&self) -> Duration;
    /// Time since any moment that stays the same during a run. Never goes back.
    fn monotonic(&self) -> Duration;
}

/// `wasi:random`.
pub trait Random: Send + Sync {
    /// Fills `bytes` with what nobody can guess.
    fn secure(&self, bytes: &mut [u8]) -> Result<(), Error>;
    /// Fills `bytes` with what need not be unguessable.
    fn insecure(&self, bytes: &mut [u8]) -> Result<(), Error>;
    /// The seed of a run's hash tables. Asked once in a run at most.
    fn insecure_seed(&self) -> Result<u128, Error>;
}
