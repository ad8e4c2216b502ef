//! Between a function and the host. Public for [`function!`](crate::function) only.

use serde::de::DeserializeOwned;

use crate::bindings::larder::function::event_types;
use crate::{Answer, Error, Run};

pub use crate::bindings::exports::larder::function::handler::Guest as Handler;
pub use event_types::{Event, HandlerError as Failed};

/// What a handler looks like, for the targets that only check it.
pub const fn check<T: DeserializeOwned, A: Answer>(_: fn(crate::Event<T>, &mut Run) -> Result<A, Error>) {}

/// One run: read the event, call the handler, put its answer into bytes.
pub(crate) fn run<T: DeserializeOwned, A: Answer>(
    event: Event,
    handler: impl FnOnce(crate::Event<T>, &mut Run) -> Result<A, Error>,
    run: &mut Run,
) -> Result<Option<Vec<u8>>, Error> {
    handler(crate::Event::read(event)?, run)?.bytes()
}

#[cfg(target_arch = "wasm32")]
pub use wasm::*;

#[cfg(target_arch = "wasm32")]
mod wasm {
    use super::*;
    use crate::bindings::larder::function::{attributes, enrolment, events, savings, signing, state};
    use crate::http::{Request, Response};

    pub fn handle<T: DeserializeOwned, A: Answer>(
        event: Event,
        handler: impl FnOnce(crate::Event<T>, &mut Run) -> Result<A, Error>,
    ) -> Result<Option<Vec<u8>>, Failed> {
        run(event, handler, &mut Run::current()).map_err(|err| match err {
            Error::Retry(why) => Failed::Retry(why),
            Error::Reject(why) => Failed::Reject(why),
        })
    }

    /// The host's side of a run. [`crate::testing`] has another of the same shape.
    pub struct Host;

    impl Host {
        pub fn enrolment(&self) -> Option<enrolment::Details> {
            enrolment::current()
        }
        pub fn create_transaction(&mut self, transaction: &savings::Transaction) -> Result<String, String> {
            savings::create_transaction(transaction)
        }
        pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
            state::get(key)
        }
        pub fn set(&mut self, key: &str, value: &[u8]) -> Result<(), String> {
            state::set(key, value)
        }
        pub fn delete(&mut self, key: &str) -> Result<(), String> {
            state::delete(key)
        }
        pub fn increment(&mut self, key: &str, by: &str) -> Result<(), String> {
            state::increment(key, by)
        }
        pub fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<state::Entry>, String> {
            state::list(prefix, after)
        }
        pub fn attributes(&self) -> Vec<event_types::Attribute> {
            attributes::current()
        }
        pub fn emit(&mut self, event: &events::NewEvent) -> Result<String, String> {
            events::emit(event)
        }
        pub fn emit_with(
            &mut self,
            event: &events::NewEvent,
            attributes: &[event_types::Attribute],
        ) -> Result<String, String> {
            events::emit_with(event, attributes)
        }
        pub fn send(&mut self, request: &Request) -> Result<Response, Error> {
            crate::http::wasm::send(request)
        }
        pub fn sign(&self, upstream: &str, data: &[u8]) -> Result<Vec<u8>, String> {
            signing::sign(upstream, data)
        }
    }
}
