//! The crate at its own door: every test compiles a guest in the compiler's process, loads it and runs it.

#![allow(clippy::disallowed_methods, reason = "tests spawn as they like and ask the real time")]

mod answers;
mod artifacts;
mod bounds;
mod determinism;
mod effects;
mod guests;
mod refusals;
mod seam;
mod sharing;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use larder_model::{Currency, Digest, Event, Grants, Limits, Outcome};
use larder_runtime::backends::{self, Backends, Nothing};
use larder_runtime::{Answer, Call, CompileError, Enrolment, Program, RequestBody, Run, Runtime, Settings, Source};
use tempfile::TempDir;

struct Bench {
    runtime: Arc<Runtime>,
    folder: Arc<TempDir>,
}

fn settings(folder: &Path) -> Settings {
    Settings {
        cache_dir: folder.join("artifacts"),
        seal_key: [7; 32],
        compiler: vec![env!("CARGO_BIN_EXE_larder-compile").into()],
        compile_deadline: Duration::from_secs(60),
        compile_memory_bytes: 4 << 30,
        instances_max: 16,
        memory_bytes_max: 4 << 30,
        memory_bytes_per_tenant: 4 << 30,
        builds_max: 1,
    }
}

impl Bench {
    fn new() -> Bench {
        Bench::within(&Arc::new(TempDir::new().unwrap()))
    }

    /// Another process's view of the same folder.
    fn within(folder: &Arc<TempDir>) -> Bench {
        Bench { runtime: Runtime::new(settings(folder.path())).unwrap(), folder: folder.clone() }
    }

    async fn program(&self, wasm: Vec<u8>) -> Arc<Program> {
        let upload = Upload::of(wasm);
        self.runtime.compile(upload.bytes.clone()).await.unwrap();
        self.runtime.load(&upload.digest, &upload).await.unwrap()
    }

    async fn rejection(&self, wasm: &[u8]) -> String {
        match self.runtime.compile(Bytes::copy_from_slice(wasm)).await {
            Err(CompileError::Rejected(why)) => why,
            other => panic!("not rejected: {other:?}"),
        }
    }

    /// Runs one event through a new typed guest.
    async fn event(&self, core: &str, limits: Limits) -> Outcome {
        self.program(guests::typed(core)).await.run(event(b"data"), run(limits)).await
    }
}

/// The store of uploads, which counts how often it is asked.
struct Upload {
    bytes: Bytes,
    digest: Digest,
    asked: AtomicUsize,
}

impl Upload {
    fn of(wasm: Vec<u8>) -> Upload {
        Upload { digest: Digest::of(&wasm), bytes: wasm.into(), asked: AtomicUsize::new(0) }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Source for Upload {
    async fn upload(&self, _digest: &Digest) -> Result<Bytes, String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(self.bytes.clone())
    }
}

fn event(data: &[u8]) -> Call {
    let event = Event {
        id: "1".into(),
        source: "/test".into(),
        kind: "test.happened".into(),
        subject: None,
        time: "2026-01-02T03:04:05Z".into(),
        data_content_type: "text/plain".into(),
        attributes: Default::default(),
        data: Bytes::copy_from_slice(data),
    };
    Call::Event { event, headers: Default::default() }
}

fn get(answer: Answer) -> Call {
    let body: RequestBody = Empty::new().map_err(|never| match never {}).boxed_unsync();
    Call::Http { request: http::Request::get("http://acme.example/").body(body).unwrap(), answer, sanitize: None }
}

fn run(limits: Limits) -> Run {
    Run {
        execution: "run".into(),
        limits,
        grants: Arc::new(everything()),
        lane: Arc::default(),
        backends: Backends::new(Arc::new(Nothing), Arc::new(Money)),
    }
}

fn everything() -> Grants {
    let grants = r#"{
        "state": true, "events": ["test.*"], "transactions": { "SEK": { "max": "500", "sum": "500", "period": "day" } }
    }"#;
    serde_json::from_str(grants).unwrap()
}

fn enrolled() -> Run {
    let mut run = run(Limits::DEFAULT);
    run.backends.enrolment =
        Some(Enrolment { end_user: "someone".into(), topic: "team".into(), settings: "{}".into() });
    run
}

struct Money;

#[async_trait]
impl backends::Savings for Money {
    fn currency(&self, code: &str) -> Result<Currency, String> {
        if code == "SEK" { Currency::current(code) } else { Err(format!("{code} is not a currency")) }
    }

    async fn may_save_for(&self, end_user: &str) -> Result<Result<(), String>, backends::Error> {
        match end_user {
            "someone" => Ok(Ok(())),
            // A name that stands in the memory of guests.
            "key" => Err(backends::Error("away".into())),
            other => Ok(Err(format!("{other} is not enrolled"))),
        }
    }
}
