//! What is no program of ours is refused at upload, and the text says what it is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use larder_runtime::{CompileError, Runtime};
use tempfile::TempDir;

use crate::guests::{self, binary};
use crate::{Bench, settings};

macro_rules! contains {
    ($text:expr, $($part:expr),+) => {{
        let text = $text;
        $(assert!(text.contains($part), "{text:?} does not contain {:?}", $part);)+
    }};
}

#[tokio::test]
async fn uploads_that_are_no_components_are_refused() {
    let t = Bench::new();
    contains!(t.rejection(b"").await, "empty");
    contains!(t.rejection(b"GIF89a").await, "not WebAssembly");
    contains!(t.rejection(b"\n (component)").await, "text", "wasm-tools parse");
    contains!(t.rejection(&binary("(module)")).await, "core WebAssembly module", "_start", "wasm32-wasip2");
    let whole = guests::typed(guests::ANSWERS);
    for cut in [3, 100, whole.len() / 2, whole.len() - 1] {
        contains!(t.rejection(&whole[..cut]).await, "cut off");
    }
}

#[tokio::test]
async fn uploaded_machine_code_is_refused() {
    let t = Bench::new();
    t.program(guests::typed(guests::ANSWERS)).await;
    let artifact = crate::artifacts::files(&t, "cwasm").remove(0);
    contains!(t.rejection(&std::fs::read(artifact).unwrap()).await, "machine code", "upload the WebAssembly");
}

#[tokio::test]
async fn unknown_imports_and_unusable_exports_are_named() {
    let t = Bench::new();
    let importing = |name: &str| binary(&format!(r#"(component (import "{name}" (instance)))"#));
    for unknown in ["wasi:keyvalue/store@0.2.0", "acme:bank/money@1.0.0", "larder:function/treasury@0.1.0"] {
        contains!(t.rejection(&importing(unknown)).await, unknown, "does not have");
    }
    // Known, so the complaint is about what it exports.
    for known in ["wasi:sockets/tcp@0.2.4", "larder:function/state@0.1.0"] {
        contains!(t.rejection(&importing(known)).await, "exports nothing", "wasi:http/incoming-handler");
    }
    let runs = r#"(component (instance $run) (export "wasi:cli/run@0.2.0" (instance $run)))"#;
    contains!(t.rejection(&binary(runs)).await, "does not fit its world", "run");
    let aborts = r#"(module (import "env" "abort" (func)) (func (export "_start")))"#;
    contains!(t.rejection(&binary(aborts)).await, "env.abort", "AssemblyScript", "--use abort=");
    let hollow = r#"(component (instance $it) (export "larder:function/handler@0.1.0" (instance $it)))"#;
    contains!(t.rejection(&binary(hollow)).await, "does not fit its world", "handle");
}

#[tokio::test]
async fn components_that_cannot_be_compiled_or_run_are_refused() {
    let t = Bench::new();
    let with = |core: &str| guests::typed(&format!("{} {core}", guests::ANSWERS));
    let long = format!("(func (drop (i32.const 1)) {})", "(drop (i32.const 1))".repeat(200_000));
    contains!(t.rejection(&with(&long)).await, "bytes of code");
    let locals = format!("(func {})", "(local i32)".repeat(20_001));
    contains!(t.rejection(&with(&locals)).await, "20001 locals");
    contains!(t.rejection(&with("(memory 1) (memory 1)")).await, "3 memories");
    contains!(t.rejection(&with("(memory 5000)")).await, "memory of 327680000 bytes");
    contains!(t.rejection(&with("(table 20001 funcref)")).await, "table of 20001 elements");
    contains!(t.rejection(&with("(func (i32.add))")).await, "does not compile");
    // Only the pool of the running engine knows this bound; asking again must not get around it.
    let many = format!("(core module $empty) {}", "(core instance (instantiate $empty))".repeat(30));
    let many = guests::typed_with(&many, guests::ANSWERS);
    for _ in 0..2 {
        contains!(t.rejection(&many).await, "cannot be run", "20");
    }
}

#[tokio::test]
async fn compiler_that_exceeds_its_limits_is_stopped() {
    let folder = Arc::new(TempDir::new().unwrap());
    let wasm = Bytes::from(guests::typed(guests::ANSWERS));
    let compile = async |change: &dyn Fn(&mut larder_runtime::Settings)| {
        let mut settings = settings(folder.path());
        change(&mut settings);
        Runtime::new(settings).unwrap().compile(wasm.clone()).await.unwrap_err()
    };
    let rejected = compile(&|it| it.compile_memory_bytes = 24 << 20).await;
    assert!(matches!(&rejected, CompileError::Rejected(why) if why.contains("more than 24 MiB")), "{rejected}");
    // One that gets no time: a fast machine would be done within any short deadline.
    let rejected = compile(&|it| {
        it.compiler = vec!["sleep".into(), "60".into()];
        it.compile_deadline = Duration::from_millis(1);
    })
    .await;
    // No CPU time was used up: that says nothing about the upload.
    assert!(matches!(&rejected, CompileError::Late(why) if why.contains("within 0.01 s")), "{rejected}");
    // A compiler that is not there or not a compiler is our fault, not the upload's.
    for command in ["/nonexistent", "false", "true"] {
        let failed = compile(&|it| it.compiler = vec![command.into()]).await;
        assert!(matches!(failed, CompileError::Host(_)), "{command}: {failed}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path().join("artifacts")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
