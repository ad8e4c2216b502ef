//! The runtime by itself: warm calls, and the first call of a program from its sealed artifact.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use larder_model::Digest;
use larder_runtime::{Runtime, Settings};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::bare::Bare;
use crate::guests::{self, Around};
use crate::measure::{Kind, Row};
use crate::{Plan, say};

/// A process with this argument compiles one component for a [`Runtime`].
pub const COMPILE: &str = "__compile";

fn runtime(cache: &Path) -> anyhow::Result<Arc<Runtime>> {
    Runtime::new(Settings {
        cache_dir: cache.into(),
        seal_key: [7; 32],
        compiler: vec![std::env::current_exe()?.into(), COMPILE.into()],
        compile_deadline: Duration::from_secs(60),
        compile_memory_bytes: 4 << 30,
        instances_max: 64,
        memory_bytes_max: 16 << 30,
        memory_bytes_per_tenant: 16 << 30,
        builds_max: 1,
    })
    .map_err(anyhow::Error::msg)
}

/// Nanoseconds of each of so many calls, one after the other.
async fn time<F: Future<Output = ()>>(calls: usize, call: impl Fn() -> F) -> Vec<u64> {
    let mut nanos = Vec::with_capacity(calls);
    for _ in 0..calls {
        let begun = Instant::now();
        call().await;
        nanos.push(begun.elapsed().as_nanos() as u64);
    }
    nanos
}

/// Calls per second of a task for each core; a task gives the nanoseconds of its calls.
async fn rate<F: Future<Output = Vec<u64>> + Send + 'static>(task: impl Fn() -> F) -> (f64, Vec<u64>) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let begun = Instant::now();
    let mut tasks: JoinSet<Vec<u64>> = (0..cores).map(|_| task()).collect();
    let mut nanos = Vec::new();
    while let Some(done) = tasks.join_next().await {
        nanos.extend(done.expect("the task ends"));
    }
    (nanos.len() as f64 / begun.elapsed().as_secs_f64(), nanos)
}

pub async fn warm(plan: &Plan, hello: &[u8], round_up: &[u8]) -> anyhow::Result<Vec<Row>> {
    say("warm calls in process");
    let folder = TempDir::new()?;
    let bare = Bare::new().map_err(anyhow::Error::msg)?;
    let (bare_hello, bare_round_up) = (folder.path().join("hello"), folder.path().join("round-up"));
    bare.compile(hello, &bare_hello)?;
    bare.compile(round_up, &bare_round_up)?;
    let bare_hello = Arc::new(bare.http(&bare_hello).map_err(anyhow::Error::msg)?);
    let bare_round_up = bare.handler(&bare_round_up).map_err(anyhow::Error::msg)?;

    let cache = folder.path().join("artifacts");
    let runtime = runtime(&cache)?;
    let hello = guests::program(&runtime, hello).await?;
    let round_up = guests::program(&runtime, round_up).await?;
    let around = Around::new();

    let mut http = Row::new("warm call, wasi:http hello", Kind::Latency, Some(1.5));
    let mut typed = Row::new("warm call, typed round-up with 2 effects", Kind::Latency, Some(1.5));
    let mut cores = Row::new("warm call, wasi:http hello, on every core", Kind::Rate, Some(1.0 / 1.5));
    // The first round of each only warms up.
    for round in 0..=plan.rounds {
        for side in plan.order(round) {
            let calls = plan.warm_calls;
            let (http_nanos, typed_nanos, (per_second, cores_nanos)) = if side.is_bare() {
                (
                    time(calls, || guests::bare_hello(&bare_hello)).await,
                    time(calls, || guests::bare_purchase(&bare_round_up)).await,
                    rate(|| {
                        let component = bare_hello.clone();
                        async move { time(calls, || guests::bare_hello(&component)).await }
                    })
                    .await,
                )
            } else {
                (
                    time(calls, || guests::larder_hello(&hello, &around)).await,
                    time(calls, || guests::larder_purchase(&round_up, &around)).await,
                    rate(|| {
                        let (program, around) = (hello.clone(), around.clone());
                        async move { time(calls, || guests::larder_hello(&program, &around)).await }
                    })
                    .await,
                )
            };
            if round > 0 {
                side.of(&mut http).add_latencies(http_nanos);
                side.of(&mut typed).add_latencies(typed_nanos);
                side.of(&mut cores).add_rate(per_second, cores_nanos);
            }
        }
    }
    Ok(vec![http, typed, cores])
}

/// Every round has a new engine and a new [`Runtime`], which have loaded none of the programs and checked no seal.
pub async fn cold(plan: &Plan, hello: &[u8]) -> anyhow::Result<Vec<Row>> {
    say(&format!("cold starts in process: compiling {} programs", plan.programs));
    let folder = TempDir::new()?;
    let cache = folder.path().join("artifacts");
    let files = bare_files(folder.path(), hello, plan.programs)?;
    let mut digests = Vec::new();
    {
        let runtime = runtime(&cache)?;
        runtime.compile(hello.to_vec().into()).await?;
        for n in 0..plan.programs {
            let copy = guests::distinct(hello, n);
            digests.push(Digest::of(&copy));
            runtime.compile(copy.into()).await?;
        }
    }
    say("cold starts in process");
    let around = Around::new();
    let mut row = Row::new("cold start in process, first call of hello", Kind::Latency, None);
    for round in 1..=plan.rounds {
        for side in plan.order(round) {
            let mut nanos = Vec::new();
            if side.is_bare() {
                let bare = Bare::new().map_err(anyhow::Error::msg)?;
                let warm = bare.http(&files.warm).map_err(anyhow::Error::msg)?;
                time(WARM_UP, || guests::bare_hello(&warm)).await;
                // Larder keeps what it loaded, too.
                let mut kept = Vec::new();
                for file in &files.programs {
                    let begun = Instant::now();
                    let program = bare.http(file).map_err(anyhow::Error::msg)?;
                    guests::bare_hello(&program).await;
                    nanos.push(begun.elapsed().as_nanos() as u64);
                    kept.push(program);
                }
            } else {
                let runtime = runtime(&cache)?;
                let warm = guests::load(&runtime, &Digest::of(hello)).await?;
                time(WARM_UP, || guests::larder_hello(&warm, &around)).await;
                for digest in &digests {
                    let begun = Instant::now();
                    let program = guests::load(&runtime, digest).await?;
                    guests::larder_hello(&program, &around).await;
                    nanos.push(begun.elapsed().as_nanos() as u64);
                }
            }
            side.of(&mut row).add_latencies(nanos);
        }
    }
    Ok(vec![row])
}

/// Calls of another program before the first cold one: the pool, the threads and the allocator are warm.
pub const WARM_UP: usize = 100;

/// Compiled components of the bare embedding.
pub struct BareFiles {
    pub warm: PathBuf,
    pub programs: Vec<PathBuf>,
}

/// `hello.cwasm` and `0.cwasm` and so on.
pub fn bare_files(folder: &Path, hello: &[u8], programs: u32) -> anyhow::Result<BareFiles> {
    let bare = Bare::new().map_err(anyhow::Error::msg)?;
    let files = BareFiles {
        warm: folder.join("hello.cwasm"),
        programs: (0..programs).map(|n| folder.join(format!("{n}.cwasm"))).collect(),
    };
    bare.compile(hello, &files.warm)?;
    for (n, file) in (0..).zip(&files.programs) {
        bare.compile(&guests::distinct(hello, n), file)?;
    }
    Ok(files)
}
