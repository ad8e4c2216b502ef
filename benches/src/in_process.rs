//! The runtime by itself: warm calls, and the first call of a program from its sealed artifact.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use larder_model::Digest;
use larder_runtime::{Runtime, Settings};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::bare::Bare;
use crate::guests::{self, Around, Hellos};
use crate::measure::{Kind, Line, Row};
use crate::{Plan, say};

/// A runtime by itself, with its artifacts there.
pub fn runtime(cache: &Path) -> anyhow::Result<Arc<Runtime>> {
    Runtime::new(Settings {
        cache_dir: cache.into(),
        seal_key: [7; 32],
        compiler: vec![std::env::current_exe()?.into(), larder_runtime::COMPILE.into()],
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
async fn time<F: Future>(calls: usize, call: impl Fn() -> F) -> Vec<u64> {
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

/// The guests that are called warm: an instance is fresh each time, everything else is there.
pub async fn warm(plan: &Plan, hellos: &Hellos) -> anyhow::Result<Vec<Line>> {
    say("warm calls in process");
    let folder = TempDir::new()?;
    let bare = Bare::new().map_err(anyhow::Error::msg)?;
    let runtime = runtime(&folder.path().join("artifacts"))?;
    let around = Around::new();
    let compiled = |name: &str, wasm: &[u8]| {
        let file = folder.path().join(name);
        bare.compile(wasm, &file).map(|()| file)
    };
    let mut lines = vec![];

    let http = [("hello-http (SDK)", &hellos.sdk), ("wstd-hello", &hellos.wstd), ("raw-hello", &hellos.raw)];
    for (at, (name, wasm)) in http.into_iter().enumerate() {
        let component = Arc::new(bare.http(&compiled(name, wasm)?).map_err(anyhow::Error::msg)?);
        let program = guests::program(&runtime, wasm).await?;
        let mut one = Row::new(format!("warm call, {name}"), Kind::Latency, Some(1.08));
        let mut cores = Row::new(format!("warm call, {name}, on every core"), Kind::Rate, None);
        // The first round only warms up.
        for round in 0..=plan.rounds {
            for side in plan.order(round) {
                let calls = plan.warm_calls;
                let (nanos, (per_second, cores_nanos)) = if side.is_bare() {
                    let task = || {
                        let component = component.clone();
                        async move { time(calls, || guests::bare_hello(&component)).await }
                    };
                    (task().await, rate(task).await)
                } else {
                    let task = || {
                        let (program, around) = (program.clone(), around.clone());
                        async move { time(calls, || guests::larder_hello(&program, &around)).await }
                    };
                    (task().await, rate(task).await)
                };
                if round > 0 {
                    side.of(&mut one).add_latencies(nanos);
                    side.of(&mut cores).add_rate(per_second, cores_nanos);
                }
            }
        }
        lines.insert(at, one.into());
        lines.push(cores.into());
    }

    let typed = [
        ("typed, without std", guests::small(), guests::ANYTHING, 1.08),
        ("typed round-up with 2 effects", larder_tests::guests::guest("round-up"), guests::PURCHASE, 1.25),
    ];
    for (name, wasm, told, aim) in typed {
        let component = bare.handler(&compiled(name, &wasm)?).map_err(anyhow::Error::msg)?;
        let program = guests::program(&runtime, &wasm).await?;
        let mut row = Row::new(format!("warm call, {name}"), Kind::Latency, Some(aim));
        for round in 0..=plan.rounds {
            for side in plan.order(round) {
                let nanos = match side.is_bare() {
                    true => time(plan.warm_calls, || guests::bare_event(&component, told)).await,
                    false => time(plan.warm_calls, || guests::larder_event(&program, &around, told)).await,
                };
                if round > 0 {
                    side.of(&mut row).add_latencies(nanos);
                }
            }
        }
        lines.push(row.into());
    }
    Ok(lines)
}

/// A guest that only computes, beside the same function without a sandbox.
pub async fn cpu(plan: &Plan) -> anyhow::Result<Vec<Line>> {
    say("a guest that computes");
    let folder = TempDir::new()?;
    let wasm = larder_tests::guests::guest("probe");
    let bare = Bare::new().map_err(anyhow::Error::msg)?;
    let file = folder.path().join("probe");
    bare.compile(&wasm, &file)?;
    let component = bare.handler(&file).map_err(anyhow::Error::msg)?;
    let runtime = runtime(&folder.path().join("artifacts"))?;
    let program = guests::program(&runtime, &wasm).await?;
    let around = Around::new();
    let name = "a guest that computes for some 10 ms";
    let mut row = Row::new(name, Kind::Latency, Some(1.03));
    let mut native = Row::new(name, Kind::Latency, None).against("native");
    for round in 0..=plan.rounds {
        for side in plan.order(round) {
            if side.is_bare() {
                let natively = async || {
                    std::hint::black_box(guests::spin(std::hint::black_box(guests::SPIN_ROUNDS)));
                };
                let (nanos, bare_nanos) = (
                    time(plan.cpu_calls, natively).await,
                    time(plan.cpu_calls, || guests::bare_event(&component, guests::SPIN)).await,
                );
                if round > 0 {
                    native.bare.add_latencies(nanos);
                    row.bare.add_latencies(bare_nanos);
                }
            } else {
                let nanos = time(plan.cpu_calls, || guests::larder_event(&program, &around, guests::SPIN)).await;
                if round > 0 {
                    row.larder.add_latencies(nanos);
                }
            }
        }
    }
    native.larder = row.larder.clone();
    Ok(vec![row.into(), native.into()])
}

/// Every round has a new engine and a new [`Runtime`], which have loaded none of the programs and checked no seal.
pub async fn cold(plan: &Plan, hellos: &Hellos) -> anyhow::Result<Vec<Line>> {
    let hello = &hellos.sdk;
    say(&format!("cold starts in process: compiling {} programs", plan.programs));
    let folder = TempDir::new()?;
    let cache = folder.path().join("artifacts");
    let files = bare_files(folder.path(), hellos, plan.programs)?;
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
    let mut row = Row::new("cold start in process, first call of hello", Kind::Latency, Some(1.3));
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
    Ok(vec![row.into()])
}

/// Calls of another program before the first cold one: the pool, the threads and the allocator are warm.
pub const WARM_UP: usize = 100;

/// Compiled components of the bare embedding.
pub struct BareFiles {
    pub warm: PathBuf,
    pub programs: Vec<PathBuf>,
}

/// `hello.cwasm` and `raw.cwasm`, and copies of the first, `0.cwasm` and so on.
pub fn bare_files(folder: &Path, hellos: &Hellos, programs: u32) -> anyhow::Result<BareFiles> {
    let bare = Bare::new().map_err(anyhow::Error::msg)?;
    let files = BareFiles {
        warm: folder.join("hello.cwasm"),
        programs: (0..programs).map(|n| folder.join(format!("{n}.cwasm"))).collect(),
    };
    bare.compile(&hellos.sdk, &files.warm)?;
    bare.compile(&hellos.raw, &folder.join("raw.cwasm"))?;
    for (n, file) in (0..).zip(&files.programs) {
        bare.compile(&guests::distinct(&hellos.sdk, n), file)?;
    }
    Ok(files)
}
