//! The one wasmtime [`Engine`] of the process: its configuration, its pool, and the ticker behind CPU limits.
//!
//! The rule: **code compiled by [`for_compiling`] runs on [`for_running`]**. Whatever shapes machine code is set in
//! [`common`], which both use; they differ only in how instances are allocated.

use std::time::Duration;

use larder_model::limits::Limits;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy, WasmBacktraceDetails,
    WasmFeatures,
};

/// How often guests are interrupted to check whether they may continue. Bounds the overrun of a CPU limit.
const TICK: Duration = Duration::from_millis(10);

/// What one component may consist of. JavaScript and Python guests (14 and 18 MB) stay below.
pub const MEMORIES_MAX: u32 = 2;
pub const TABLES_MAX: u32 = 8;
pub const TABLE_ELEMENTS_MAX: usize = 20_000;
const CORE_INSTANCES_MAX: u32 = 20;

/// Depth of a guest's call stack; well below the stack it runs on, so that host functions have room on top.
pub const WASM_STACK_BYTES: usize = 512 << 10;
const ASYNC_STACK_BYTES: usize = 2 << 20;

/// Pool slots above the number of admitted calls, because a slot is released slightly after its call has ended.
const SPARE_SLOTS: u32 = 8;

/// The engine that runs guests, at most `instances_max` at once.
pub fn for_running(instances_max: u32) -> wasmtime::Result<Engine> {
    let slots = instances_max.saturating_add(SPARE_SLOTS);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES_MAX))
        .total_memories(slots.saturating_mul(MEMORIES_MAX))
        .total_tables(slots.saturating_mul(TABLES_MAX))
        .total_stacks(slots)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_memory_size(Limits::CEILING.memory_bytes as usize)
        .table_elements(TABLE_ELEMENTS_MAX)
        // Resetting what a guest touched in place instead of returning it to the kernel is what makes calls on
        // several threads scale; the page map scan (Linux 6.7) finds what was touched, without it this is a memset.
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    let mut config = common();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let engine = Engine::new(&config)?;
    tick(&engine)?;
    Ok(engine)
}

/// The engine of the compiling process: reserves no address space and never runs anything.
pub fn for_compiling() -> wasmtime::Result<Engine> {
    let mut config = common();
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Engine::new(&config)
}

fn common() -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .epoch_interruption(true)
        // The same call gives the same bits on every machine: only then can an execution be repeated elsewhere. The
        // artifact's seal covers both, so what was compiled without them is compiled again.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .memory_init_cow(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(ASYNC_STACK_BYTES)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_component_model(true)
        // Only WASI 0.2 is served; with it a call costs a fifth more.
        .concurrency_support(false)
        .shared_memory(false)
        .wasm_features(
            WasmFeatures::THREADS
                | WasmFeatures::MEMORY64
                | WasmFeatures::GC
                | WasmFeatures::FUNCTION_REFERENCES
                | WasmFeatures::CUSTOM_PAGE_SIZES
                | WasmFeatures::EXCEPTIONS,
            false,
        );
    config
}

/// One thread for the process, not a task: it must tick while every executor thread is busy. Ends with the engine.
fn tick(engine: &Engine) -> wasmtime::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new().name("larder-epoch".into()).spawn(move || {
        loop {
            std::thread::sleep(TICK);
            match engine.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => return,
            }
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash, Hasher};

    use super::*;

    fn seal_input(config: &Config) -> u64 {
        let mut hasher = DefaultHasher::new();
        Engine::new(config).unwrap().precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn artifacts_without_repeatable_arithmetic_are_incompatible() {
        let now = seal_input(&common());
        assert_eq!(now, seal_input(&common()));
        assert_ne!(now, seal_input(common().cranelift_nan_canonicalization(false)));
        assert_ne!(now, seal_input(common().relaxed_simd_deterministic(false)));
    }
}
