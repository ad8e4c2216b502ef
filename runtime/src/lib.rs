//! Runs a WebAssembly component safely. Knows no HTTP server, no SQL and no Redis, and works without `larder`.
//!
//! * [`Runtime::compile`]: uploaded bytes → a checked, sealed artifact in the cache folder, made in a bounded process.
//! * [`Runtime::load`]: digest → [`Program`], from memory, else from the sealed artifact, else compiled again.
//! * [`Program::run`]: one call in a fresh store and instance under [`Limits`] → [`Outcome`].
//! * [`Batch::run`]: work that nobody waits for, on threads of its own that tenants share by CPU time.
//!
//! The rules: **no instance ever serves two calls**, **nothing that a guest does is applied here** (effects are
//! returned, [`Backends`] only answer), and **machine code is loaded only under this installation's seal**.
//!
//! ```standalone_crate
//! use std::process::ExitCode;
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use larder_runtime::{Backends, Call, Digest, End, Event, Limits, LoadError, Run, Runtime, Settings, Source};
//!
//! /// There is no upload to fall back to.
//! struct Nowhere;
//!
//! #[async_trait::async_trait]
//! impl Source for Nowhere {
//!     async fn upload(&self, digest: &Digest) -> Result<bytes::Bytes, String> {
//!         Err(format!("there is no {digest}"))
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     // Components are compiled in a process of their own: this program again, with this argument.
//!     if std::env::args().nth(1).as_deref() == Some("compile") {
//!         return larder_runtime::compiler_main();
//!     }
//!     tokio::runtime::Runtime::new().unwrap().block_on(greet());
//!     ExitCode::SUCCESS
//! }
//!
//! async fn greet() {
//!     let folder = tempfile::tempdir().unwrap();
//!     let runtime = Runtime::new(Settings {
//!         cache_dir: folder.path().join("artifacts"),
//!         seal_key: [7; 32],
//!         compiler: vec![std::env::current_exe().unwrap().into(), "compile".into()],
//!         compile_deadline: Duration::from_secs(60),
//!         compile_memory_bytes: 4 << 30,
//!         instances_max: 4,
//!         memory_bytes_max: 1 << 30,
//!         memory_bytes_per_tenant: 1 << 30,
//!         builds_max: 1,
//!     })
//!     .unwrap();
//!     // What a toolchain has made.
//!     let wasm = wat::parse_file("tests/hello.wat").unwrap();
//!     let digest = Digest::of(&wasm);
//!     let artifact = runtime.compile(wasm.into()).await.unwrap();
//!     assert!(artifact.exports.handler && !artifact.may_have_effects);
//!
//!     let program = runtime.load(&digest, &Nowhere).await.unwrap();
//!     let event = Event {
//!         id: "1".into(),
//!         source: "/examples".into(),
//!         kind: "example.happened".into(),
//!         subject: None,
//!         time: "2026-11-25T12:00:00Z".into(),
//!         data_content_type: "application/json".into(),
//!         data: "{}".into(),
//!         attributes: Default::default(),
//!     };
//!     let run = Run {
//!         execution: "example".into(),
//!         limits: Limits::DEFAULT,
//!         lane: Arc::default(),
//!         grants: Arc::default(),
//!         backends: Backends::default(),
//!     };
//!     let outcome = program.run(Call::Event { event, headers: Default::default() }, run).await;
//!     assert!(matches!(outcome.end, End::Returned(Some(answer)) if answer == b"hello"));
//!     assert!(outcome.effects.is_empty());
//!
//!     let unknown = runtime.load(&Digest::of(b"something else"), &Nowhere).await;
//!     assert!(matches!(unknown.map(drop), Err(LoadError::Source(_))));
//! }
//! ```

mod adapt;
mod answer;
pub mod backends;
mod batch;
mod bindings;
mod build;
mod cache;
mod call;
mod cgi;
mod compile;
mod compiler;
mod cpu;
mod engine;
mod event_http;
mod fairness;
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
mod shared;
mod source;
mod split;
mod stream;
pub mod toolchain;
mod world;

pub use backends::{Backends, Enrolment};
pub use batch::{Batch, Class};
pub use call::{Answer, Call, RequestBody, Run, Sanitize, TakesTrailers};
pub use compile::{Artifact, CompileError, Shared, WALL_FACTOR};
pub use compiler::{COMPILE, compiler_main};
pub use fairness::Lane;
pub use inspect::Found;
pub use larder_model::{
    Amount, Currency, Digest, Effect, End, Event, Exceeded, Exports, Failure, Grants, HttpGrant, LimitKind, Limits,
    Logs, Outcome, Period, Scheme, TransactionGrant, TransactionGrants, Usage,
};
pub use runtime::Runtime;
pub use settings::Settings;
pub use source::{LoadError, Source};
pub use stream::StreamedBody;
pub use world::Program;
