//! Runs a WebAssembly component safely. Knows no HTTP server, no SQL, no Redis, and works without `larder`.
//!
//! * [`Runtime::compile`]: uploaded bytes → a checked, sealed artifact in the cache folder, made in a bounded process.
//! * [`Runtime::load`]: digest → [`Program`], from memory, else from the sealed artifact, else compiled again.
//! * [`Program::run`]: one call in a fresh store and instance under [`Limits`] → [`Outcome`].
//!
//! The rules: **no instance ever serves two calls**, **nothing that a guest does is applied here** (effects are
//! returned, backends only read), and **machine code is loaded only under this installation's seal**.

mod answer;
pub mod backends;
mod bindings;
mod cache;
mod call;
mod compile;
mod compiler;
mod engine;
mod event_http;
mod fault;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod imports;
mod inspect;
mod instances;
mod logs;
mod meter;
mod runtime;
mod seal;
mod settings;
mod source;
mod stream;
pub mod toolchain;
mod turns;
mod world;

pub use backends::{Backends, Enrolment};
pub use call::{Answer, Call, RequestBody, Run, Sanitize};
pub use compile::{Artifact, CompileError, WALL_FACTOR};
pub use compiler::compiler_main;
pub use inspect::Found;
pub use larder_model::{
    Digest, Effect, End, Event, Exceeded, Exports, Failure, Grants, HttpGrant, LimitKind, Limits, Logs, Outcome,
    Period, Scheme, TransactionGrant, Usage,
};
pub use runtime::Runtime;
pub use settings::Settings;
pub use source::{LoadError, Source};
pub use stream::StreamedBody;
pub use turns::Lane;
pub use world::Program;
