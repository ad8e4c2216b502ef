//! Write Larder functions in Rust.
//!
//! A savehack is a function of an [`Event`] and a [`Run`], and one line that makes a component of it:
//!
//! ```
//! use larder_sdk::prelude::*;
//!
//! #[derive(Deserialize)]
//! struct Goal {
//!     own_goal: bool,
//! }
//!
//! #[derive(Deserialize)]
//! struct Settings {
//!     stake: Decimal,
//! }
//!
//! fn cheer(goal: Event<Goal>, run: &mut Run) -> Result<(), Error> {
//!     if goal.data.own_goal {
//!         return Ok(());
//!     }
//!     let settings: Settings = run.enrolment()?.settings()?;
//!     run.save(Money::new(settings.stake, "SEK".parse()?).memo("Goal!"))?;
//!     Ok(())
//! }
//!
//! larder_sdk::function!(cheer);
//!
//! # fn main() {
//! // And its test, without Larder:
//! use larder_sdk::testing::{TestEvent, TestRun};
//! let goal = TestEvent::new("match.goal", json!({ "own_goal": false })).subject("hammarby");
//! let ended = TestRun::new().enrolment("anna", "hammarby", json!({ "stake": "25" })).handle(cheer, goal);
//! assert_eq!(ended.transactions[0].amount, "25.00");
//! # }
//! ```
//!
//! * [`Event`]: what happened, its data read into a type of yours.
//! * [`events`]: the types of events that have a schema in `larder.toml`.
//! * [`Run`]: what a function may do: save, keep state, emit events, ask whom the run is for, call outside services.
//! * [`Money`] and [`Currency`]: decimal amounts, rounding that never saves more than was asked for.
//! * [`Error`]: `retry` or `reject`; any other error becomes a `reject` through `?`.
//! * [`serve`]: answer HTTP requests.
//! * [`testing`]: run a function natively under the host's rules.
//!
//! One rule holds everywhere: **a run takes effect as a whole or not at all.** Nothing of it is applied if the function
//! returns an error, panics or exceeds a limit.
//!
//! A component imports only the Larder interfaces that its code calls, so a function that never saves needs no grant to
//! save. That is why the calls to the host are chosen at compile time and not behind a trait object.

pub mod currencies;
mod error;
mod event;
pub mod events;
pub mod http;
mod money;
mod run;
pub mod serve;

/// The bindings of `larder:function`, for what this crate does not cover.
#[allow(clippy::all, reason = "generated")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "event-function",
        default_bindings_module: "larder_sdk::bindings",
        pub_export_macro: true,
        export_macro_name: "export",
    });
}

#[doc(hidden)]
pub mod guest;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use error::Error;
pub use event::{Event, Firing};
pub use money::{Currency, Money};
pub use run::{Answer, Enrolment, Run, Saving, State};
pub use {rust_decimal, serde, serde_json};

/// What nearly every function needs: `use larder_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::http::{Request, Response};
    pub use crate::{Currency, Enrolment, Error, Event, Firing, Money, Run, Saving};
    pub use rust_decimal::Decimal;
    pub use serde::{Deserialize, Serialize};
    pub use serde_json::{Value, json};
}

/// Makes a component of a handler: once in a crate of type `cdylib`.
///
/// The handler has the form `fn(Event<T>, &mut Run) -> Result<A, Error>` for any `T: Deserialize` and any
/// [`Answer`] `A`. On targets other than WebAssembly its type is checked and nothing is exported.
///
/// ```
/// use larder_sdk::prelude::*;
///
/// fn greet(event: Event<Value>, _run: &mut Run) -> Result<String, Error> {
///     Ok(format!("{} happened", event.type_))
/// }
///
/// larder_sdk::function!(greet);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! function {
    ($handler:path) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Function;
            impl $crate::guest::Handler for Function {
                fn handle(
                    event: $crate::guest::Event,
                ) -> ::core::result::Result<Option<Vec<u8>>, $crate::guest::Failed> {
                    $crate::guest::handle(event, $handler)
                }
            }
    $crate::bindings::export!(Function with_types_in $crate::bindings);
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = $crate::guest::check($handler);
    };
}
