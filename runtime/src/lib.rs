//! Runs a WebAssembly component safely. Knows no HTTP server, no SQL, no Redis, and works without `larder`.
//!
//! * [`Runtime::compile`]: uploaded bytes → a checked, sealed artifact in the cache folder, made in a bounded process.
//! * [`Runtime::load`]: digest → [`Program`], from memory, else from the sealed artifact, else compiled again.
//! * [`Program::run`]: one call in a fresh store and instance under [`Limits`] → [`Outcome`].
//!
//! The rules: **no instance ever serves two calls**, **nothing that a guest does is applied here** (effects are
//! returned, backends only read), and **machine code is loaded only under this installation's seal**.

mod answer;
mod bindings;
mod cache;
mod call;
mod compile;
mod compiler;
mod engine;
mod event_http;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod imports;
mod inspect;
mod instances;
mod meter;
mod runtime;
mod seal;
mod stream;
pub mod toolchain;
mod turns;
mod world;

pub use call::{Answer, Call, Enrolment, RequestBody, Run, Sanitize};
pub use compile::{Artifact, CompileError, WALL_FACTOR};
pub use compiler::compiler_main;
pub use inspect::Found;
pub use larder_model::Digest;
pub use larder_model::Effect;
pub use larder_model::End;
pub use larder_model::Event;
pub use larder_model::Exceeded;
pub use larder_model::Exports;
pub use larder_model::Failure;
pub use larder_model::Grants;
pub use larder_model::HttpGrant;
pub use larder_model::LimitKind;
pub use larder_model::Limits;
pub use larder_model::Logs;
pub use larder_model::Outcome;
pub use larder_model::Period;
pub use larder_model::Scheme;
pub use larder_model::TransactionGrant;
pub use larder_model::Usage;
pub use runtime::{LoadError, Runtime, Settings, Source};
pub use stream::StreamedBody;
pub use turns::Lane;
pub use world::Program;
