//! Uploaded bytes → an artifact file, in a process of its own.
//!
//! Compiling an untrusted upload can hang, crash or exhaust memory, and the compiler's authors do not count that as a
//! vulnerability. It therefore happens in a child ([`compiler_main`]) that limits its own memory and CPU time before it reads
//! a byte of the upload; the parent kills it when that takes far too long. Any other failure of the child is the upload's
//! fault, and the text says what happened.
//!
//! The protocol: one line of JSON ([`Order`]) and then the bytes go in on stdin, one [`Done`] comes out on stdout, the artifact
//! goes to the file that the order names.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use larder_model::{Digest, Exports};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::inspect::{Found, may_have_effects};
use crate::settings::Settings;

/// The deadline counts CPU time. How much longer than that a compile may last on a machine that has other things to do.
pub const WALL_FACTOR: u32 = 10;
/// Threads of one compile.
const THREADS_MAX: usize = 4;
/// Limits of the report and of the last output of a crashed compiler.
const REPORT_BYTES_MAX: u64 = 1 << 20;
const STDERR_BYTES_MAX: u64 = 64 << 10;

/// What is known of a compiled component.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Artifact {
    pub digest: String,
    pub exports: Exports,
    /// All imports, `wasi:io/streams@0.2.6` and so on.
    pub imports: Vec<String>,
    /// It imports a capability that can change something.
    pub may_have_effects: bool,
    pub wasm_bytes: u64,
    /// Without the modules that it shares.
    pub artifact_bytes: u64,
    pub compile_ms: u64,
    /// Core modules that have artifacts of their own, which all programs with them share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<Shared>,
}

/// A core module that a program shares.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shared {
    pub digest: Digest,
    pub wasm_bytes: u64,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum CompileError {
    /// The upload is at fault; the text names the problem and, where it helps, what to change.
    #[error("{0}")]
    Rejected(String),
    /// The machine had too little time: it may succeed at another time.
    #[error("{0}")]
    Late(String),
    #[error("the host failed to compile: {0}")]
    Host(String),
}

/// The first line to the child.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    pub what: What,
    /// The process that wants it; the child ends when that process is gone.
    pub parent: u32,
    pub artifact: PathBuf,
    pub memory_bytes: u64,
    pub cpu_seconds: u64,
}

/// What is compiled.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    Upload,
    /// A component whose modules were cut out ([`crate::split`]).
    Rest,
    /// One of those modules.
    Module,
}

/// What the child tells at its end.
#[derive(Serialize, Deserialize)]
pub(crate) struct Done {
    pub report: Report,
    /// CPU time that it has used.
    pub cpu: Duration,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Report {
    Compiled(Facts),
    Rejected(String),
    OutOfMemory,
    Host(String),
}

/// What is known of a compiled component; nothing of its parts.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub exports: Exports,
    pub imports: Vec<String>,
    pub may_have_effects: bool,
}

impl From<Found> for Facts {
    fn from(found: Found) -> Facts {
        let may_have_effects = may_have_effects(&found.imports);
        Facts { exports: found.exports, imports: found.imports, may_have_effects }
    }
}

/// Compiles into `artifact`. The child is gone when this returns, and when its future is dropped. `cpu` is the CPU time that
/// it may use; what it has used is taken off.
pub(crate) async fn compile(
    settings: &Settings,
    what: What,
    wasm: &[u8],
    artifact: &Path,
    cpu: &mut Duration,
) -> Result<Facts, CompileError> {
    // A child that ends without a word may have used all of it.
    let allotted = std::mem::take(cpu);
    let (program, arguments) =
        settings.compiler.split_first().ok_or_else(|| CompileError::Host("no compiler command is set".into()))?;
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(THREADS_MAX));
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        // Every thread and every arena of the allocator reserves address space, which is what is limited: on a machine
        // with many cores they alone would use it up.
        .env("RAYON_NUM_THREADS", threads.to_string())
        .env("MALLOC_ARENA_MAX", "2")
        .env("_RJEM_MALLOC_CONF", "narenas:2,retain:false,background_thread:false")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|err| CompileError::Host(format!("cannot start the compiler {}: {err}", program.display())))?;
    let order = Order {
        what,
        parent: std::process::id(),
        artifact: artifact.into(),
        memory_bytes: settings.compile_memory_bytes,
        // All threads together.
        cpu_seconds: allotted.as_secs().max(1),
    };
    let wall = settings.compile_deadline * WALL_FACTOR;
    let talked = tokio::time::timeout(wall, talk(&mut child, &order, wasm)).await;
    let Ok(talked) = talked else {
        // `kill` also waits for the end.
        child.kill().await.map_err(host)?;
        return Err(CompileError::Late(format!(
            "compiling did not end within {} s, in which this machine did not give it {} s of CPU time",
            wall.as_secs_f32(),
            settings.compile_deadline.as_secs_f32()
        )));
    };
    let (status, stdout, stderr) = talked.map_err(host)?;
    let Ok(Done { report, cpu: used }) = serde_json::from_slice(&stdout) else {
        return Err(crashed(settings, status, &stderr));
    };
    *cpu = allotted.saturating_sub(used);
    match report {
        Report::Compiled(facts) if status.success() => Ok(facts),
        Report::Rejected(why) => Err(CompileError::Rejected(why)),
        Report::OutOfMemory => Err(out_of_memory(settings)),
        Report::Host(why) => Err(CompileError::Host(why)),
        Report::Compiled(_) => Err(crashed(settings, status, &stderr)),
    }
}

async fn talk(child: &mut Child, order: &Order, wasm: &[u8]) -> std::io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let missing = || std::io::Error::other("the compiler has no pipes");
    let mut stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    let mut line = serde_json::to_vec(order)?;
    line.push(b'\n');
    let feed = async move {
        // A child that has seen enough closes its end; its report says why.
        if stdin.write_all(&line).await.is_ok() && stdin.write_all(wasm).await.is_ok() {
            let _ = stdin.shutdown().await;
        }
    };
    let ((), stdout, stderr) = tokio::join!(feed, read(stdout, REPORT_BYTES_MAX), read(stderr, STDERR_BYTES_MAX));
    Ok((child.wait().await?, stdout?, stderr?))
}

/// Keeps the beginning and reads to the end, so that a talkative child does not block.
async fn read(mut from: impl AsyncRead + Unpin, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    (&mut from).take(bytes_max).read_to_end(&mut kept).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(kept)
}

/// The child ended without a report. Its text goes to the uploader only as far as it names the cause.
fn crashed(settings: &Settings, status: ExitStatus, stderr: &[u8]) -> CompileError {
    use std::os::unix::process::ExitStatusExt;

    let stderr = String::from_utf8_lossy(stderr);
    if is_out_of_memory(&stderr) {
        return out_of_memory(settings);
    }
    if status.signal() == Some(rustix::process::Signal::XCPU.as_raw()) {
        let deadline = settings.compile_deadline.as_secs().max(1);
        return CompileError::Rejected(format!("compiling needed more than {deadline} s of CPU time"));
    }
    if status.signal() == Some(rustix::process::Signal::KILL.as_raw()) {
        // Mostly by the kernel, when this machine has no memory left.
        return CompileError::Late("the compiler was ended from outside (SIGKILL)".into());
    }
    tracing::warn!(status = %status, stderr = %stderr, "the compiler crashed: {status}");
    match status.code() {
        // A panic: the compiler met something that it cannot do.
        Some(101) => CompileError::Rejected("the compiler crashed on this component".into()),
        Some(_) => CompileError::Host(format!("the compiler ended with {status} and without a report")),
        None => CompileError::Rejected(format!("the compiler crashed on this component ({status})")),
    }
}

fn out_of_memory(settings: &Settings) -> CompileError {
    CompileError::Rejected(format!("compiling needed more than {} MiB of memory", settings.compile_memory_bytes >> 20))
}

/// The ways in which the address-space limit shows.
pub(crate) fn is_out_of_memory(text: &str) -> bool {
    [
        "memory allocation of",
        "Cannot allocate memory",
        "out of memory",
        "os error 12",
        "Resource temporarily unavailable",
    ]
    .iter()
    .any(|sign| text.contains(sign))
}

fn host(err: std::io::Error) -> CompileError {
    CompileError::Host(err.to_string())
}
