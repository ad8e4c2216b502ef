//! The child's side of compiling: a process that does nothing else and may crash.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use larder_model::Exports;
use larder_model::limits::Limits;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Module};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::adapt;
use crate::bindings::EventFunctionPre;
use crate::compile::{Done, Facts, Order, Report, What, is_out_of_memory};
use crate::engine::{self, MEMORIES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX};
use crate::imports;
use crate::inspect::inspect;

const WASM_PAGE_BYTES: u64 = 64 << 10;

/// The argument by which this project's own programs call [`compiler_main`].
pub const COMPILE: &str = "__compile";

/// The child's side of [`crate::Runtime::compile`]: call it in `main` for the hidden argument, before anything else
/// starts, and exit with what it gives.
pub fn compiler_main() -> ExitCode {
    let report = match work() {
        Ok(report) => report,
        Err(err) if is_out_of_memory(&err) => Report::OutOfMemory,
        Err(err) => Report::Host(err),
    };
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let done = Done { report, cpu: Duration::new(used.tv_sec as u64, used.tv_nsec as u32) };
    let said = serde_json::to_writer(std::io::stdout().lock(), &done).is_ok();
    if said && matches!(done.report, Report::Compiled(_)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Beyond the limit of CPU time, so that the signal which names it comes first.
const CPU_SECONDS_MORE: u64 = 5;

/// An error is the host's.
fn work() -> Result<Report, String> {
    // Calls take precedence over compiling, from the very beginning.
    let _ = rustix::process::nice(19);
    let mut stdin = std::io::stdin().lock();
    let mut line = Vec::new();
    stdin.by_ref().take(1 << 20).read_until(b'\n', &mut line).map_err(|err| format!("no order: {err}"))?;
    let order: Order = serde_json::from_slice(&line).map_err(|err| format!("not an order: {err}"))?;
    end_with(order.parent)?;
    // From here on the component is read, and nothing can exceed this.
    for (resource, value, most) in [
        (Resource::As, order.memory_bytes, order.memory_bytes),
        // At the first of these the kernel says why it ends the process, at the second it does not.
        (Resource::Cpu, order.cpu_seconds, order.cpu_seconds + CPU_SECONDS_MORE),
        (Resource::Core, 0, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(value), maximum: Some(most) })
            .map_err(|err| format!("cannot limit the compiler's {resource:?}: {err}"))?;
    }
    let mut wasm = Vec::new();
    stdin.read_to_end(&mut wasm).map_err(|err| format!("cannot read the component: {err}"))?;

    let compiled = match order.what {
        What::Upload => compile(&wasm)?,
        What::Rest => compile_alone(|engine| Component::from_binary(engine, &wasm)?.serialize())?,
        What::Module => compile_alone(|engine| Module::from_binary(engine, &wasm)?.serialize())?,
    };
    let (facts, artifact) = match compiled {
        Ok(compiled) => compiled,
        Err(refusal) => return Ok(refusal),
    };
    File::create(&order.artifact)
        .and_then(|mut file| file.write_all(&artifact))
        .map_err(|err| format!("cannot write the artifact: {err}"))?;
    Ok(Report::Compiled(facts))
}

/// What is known and the artifact, or why it is refused. An error is the host's.
type Compiled = Result<Result<(Facts, Vec<u8>), Report>, String>;

/// A part of an upload. Whether the parts fit each other is seen where they are linked.
pub(crate) fn compile_alone(compile: impl FnOnce(&Engine) -> wasmtime::Result<Vec<u8>>) -> Compiled {
    let engine = engine::for_compiling().map_err(|err| format!("no engine: {err:#}"))?;
    Ok(match compile(&engine) {
        Ok(artifact) => Ok((Facts::default(), artifact)),
        Err(err) => Err(refused(&err)),
    })
}

fn refused(err: &wasmtime::Error) -> Report {
    let why = format!("{err:#}");
    if is_out_of_memory(&why) { Report::OutOfMemory } else { Report::Rejected(format!("it does not compile: {why}")) }
}

pub(crate) fn compile(wasm: &[u8]) -> Compiled {
    let looked = inspect(wasm).and_then(|found| {
        if !found.is_module {
            return Ok((found, Cow::Borrowed(wasm)));
        }
        let component = adapt::component(wasm, &found)?;
        // The adapter's imports count as those of any other component.
        Ok((inspect(&component)?, Cow::Owned(component)))
    });
    let (found, wasm) = match looked {
        Ok(looked) => looked,
        Err(why) => return Ok(Err(Report::Rejected(why))),
    };
    let engine = engine::for_compiling().map_err(|err| format!("no engine: {err:#}"))?;
    let component = match Component::from_binary(&engine, &wasm) {
        Ok(component) => component,
        Err(err) => return Ok(Err(refused(&err))),
    };
    if let Err(why) = check_needs(&component) {
        return Ok(Err(Report::Rejected(why)));
    }
    let mut linker = Linker::new(&engine);
    imports::link(&mut linker).map_err(|err| format!("cannot link: {err:#}"))?;
    let fits = linker.instantiate_pre(&component).and_then(|pre| {
        let Exports { http, command, .. } = found.exports;
        (http && !command).then(|| ProxyPre::new(pre.clone())).transpose()?;
        command.then(|| CommandPre::new(pre.clone())).transpose()?;
        found.exports.handler.then(|| EventFunctionPre::new(pre)).transpose()
    });
    if let Err(err) = fits {
        return Ok(Err(Report::Rejected(format!("it does not fit its world: {err:#}"))));
    }
    let artifact = component.serialize().map_err(|err| format!("cannot serialize: {err:#}"))?;
    Ok(Ok((found.into(), artifact)))
}

/// Ends this process soon after its parent, which may have been killed. (The kernel could do it, but it goes by the thread
/// that started us, and those come and go.)
fn end_with(parent: u32) -> Result<(), String> {
    let gone = move || rustix::process::getppid().is_none_or(|pid| pid.as_raw_nonzero().get() as u32 != parent);
    let watch = move || {
        while !gone() {
            std::thread::sleep(Duration::from_millis(500));
        }
        std::process::exit(1);
    };
    let thread = std::thread::Builder::new().name("parent".into()).stack_size(64 << 10);
    thread.spawn(watch).map(drop).map_err(|err| format!("cannot watch the parent: {err}"))
}

/// Compares what its instantiation needs with the limits of the engine.
fn check_needs(component: &Component) -> Result<(), String> {
    let Some(needs) = component.resources_required() else {
        return Err("it imports core modules, which Larder does not have".into());
    };
    if needs.num_memories > MEMORIES_MAX {
        return Err(format!("it has {} memories, up to {MEMORIES_MAX} are supported", needs.num_memories));
    }
    if needs.num_tables > TABLES_MAX {
        return Err(format!("it has {} tables, up to {TABLES_MAX} are supported", needs.num_tables));
    }
    let memory_bytes = needs.max_initial_memory_size.unwrap_or(0).saturating_mul(WASM_PAGE_BYTES);
    if memory_bytes > Limits::CEILING.memory_bytes {
        return Err(format!(
            "it begins with a memory of {memory_bytes} bytes, a function can have up to {}",
            Limits::CEILING.memory_bytes
        ));
    }
    let elements = needs.max_initial_table_size.unwrap_or(0);
    if elements > TABLE_ELEMENTS_MAX as u64 {
        return Err(format!("it begins with a table of {elements} elements, up to {TABLE_ELEMENTS_MAX} are supported"));
    }
    Ok(())
}
