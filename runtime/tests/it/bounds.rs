//! Each limit, run into by a guest; the end names the limit, its value and what was used.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use larder_model::state::Version;
use larder_model::{End, Exceeded, Failure, LimitKind, Limits, Outcome};
use larder_runtime::backends::{self, Backends};

use crate::guests::{self, ANSWERS, ECHOES};
use crate::{Bench, event, run};

fn exceeded(outcome: &Outcome) -> Exceeded {
    match &outcome.end {
        End::Failed(Failure::Limit(exceeded)) => exceeded.clone(),
        End::Failed(other) => panic!("{other}"),
        _ => panic!("did not fail"),
    }
}

const SPINS: &str = "(func $run (param i32 i32) (result i32) (loop $again (br $again)) unreachable)";

fn short_cpu() -> Limits {
    Limits { cpu: Duration::from_millis(100), ..Limits::DEFAULT }
}

#[tokio::test]
async fn cpu_limit_ends_calls_and_start_functions() {
    let t = Bench::new();
    let starts = format!("(func $spin (loop $again (br $again))) (start $spin) {ANSWERS}");
    for core in [SPINS, &starts] {
        let outcome = t.event(core, short_cpu()).await;
        let exceeded = exceeded(&outcome);
        assert_eq!((exceeded.limit, exceeded.value), (LimitKind::CpuMs, 100));
        assert!((100..200).contains(&exceeded.used), "{exceeded}");
        assert!(outcome.usage.cpu >= Duration::from_millis(100));
    }
}

#[tokio::test]
async fn spinning_guest_yields_its_thread() {
    // One thread for both: the other call and the timer get their turn while the guest spins.
    let t = Bench::new();
    let spinner = t.program(guests::typed(SPINS)).await;
    let neighbour = t.program(guests::typed(ECHOES)).await;
    let limits = Limits { cpu: Duration::from_secs(1), ..Limits::DEFAULT };
    let began = Instant::now();
    let (spun, others) = tokio::join!(spinner.run(event(b""), run(limits)), async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let outcome = neighbour.run(event(b"hi"), run(Limits::DEFAULT)).await;
            assert!(matches!(outcome.end, End::Returned(Some(answer)) if answer == b"hi"));
        }
        began.elapsed()
    });
    assert_eq!(exceeded(&spun).limit, LimitKind::CpuMs);
    assert!(others < Duration::from_millis(600), "{others:?}");
}

/// A backend that never answers.
struct Silent;

#[async_trait]
impl backends::State for Silent {
    async fn get(&self, _key: &str) -> Result<Option<(Vec<u8>, Version)>, backends::Error> {
        std::future::pending().await
    }

    async fn list(
        &self,
        _prefix: &str,
        _after: Option<&str>,
        _limit: u32,
    ) -> Result<Vec<(String, Vec<u8>, Version)>, backends::Error> {
        Err(backends::Error("unused".into()))
    }
}

#[tokio::test]
async fn wall_clock_limit_ends_a_waiting_guest() {
    let t = Bench::new();
    let waits = "(func $run (param i32 i32) (result i32)
        (call $get (i32.const 0) (i32.const 3) (i32.const 256)) (call $answer (i32.const 0) (i32.const 0)))";
    let program = t.program(guests::typed(waits)).await;
    let limits = Limits { wall: Duration::from_millis(50), ..Limits::DEFAULT };
    let mut run = run(limits);
    run.backends = Backends { state: Arc::new(Silent), ..run.backends };
    let outcome = program.run(event(b""), run).await;
    let exceeded = exceeded(&outcome);
    assert_eq!((exceeded.limit, exceeded.value), (LimitKind::WallMs, 50));
    assert!(outcome.usage.cpu < Duration::from_millis(50));
}

#[tokio::test]
async fn memory_is_the_sum_over_memories_and_tables() {
    let t = Bench::new();
    let limits = Limits { memory_bytes: 1 << 20, ..Limits::DEFAULT };
    let grows = "(memory $second 1) (table $t 1 20000 funcref)
        (func $run (param i32 i32) (result i32)
          (drop (memory.grow 0 (i32.const 5)))
          (drop (memory.grow $second (i32.const 5)))
          (drop (table.grow $t (ref.null func) (i32.const 9999)))
          (if (i32.eq (memory.grow 0 (i32.const 4)) (i32.const -1)) (then unreachable))
          (call $answer (i32.const 0) (i32.const 0)))";
    let outcome = t.event(grows, limits).await;
    let exceeded = exceeded(&outcome);
    // 13 pages and 10,000 elements; four pages more were asked for.
    let before = 13 * 65_536 + 80_000;
    assert_eq!(exceeded, Exceeded { limit: LimitKind::MemoryBytes, value: 1 << 20, used: before + 4 * 65_536 });
    assert_eq!(outcome.usage.memory_peak_bytes, before);
}

#[tokio::test]
async fn initial_memory_counts_against_the_limit() {
    let t = Bench::new();
    let limits = Limits { memory_bytes: 1 << 20, ..Limits::DEFAULT };
    let outcome = t.event(&format!("(memory $second 20) {ANSWERS}"), limits).await;
    assert_eq!(exceeded(&outcome).limit, LimitKind::MemoryBytes);
}

#[tokio::test]
async fn guest_that_handles_a_refused_growth_continues() {
    let t = Bench::new();
    let limits = Limits { memory_bytes: 1 << 20, ..Limits::DEFAULT };
    let copes = "(func $run (param i32 i32) (result i32)
        (drop (memory.grow (i32.const 1000))) (call $answer (i32.const 4) (i32.const 5)))";
    assert!(matches!(t.event(copes, limits).await.end, End::Returned(Some(answer)) if answer == b"value"));
}

#[tokio::test]
async fn recursion_exceeds_the_stack_limit() {
    let t = Bench::new();
    let recurses = "(func $run (param i32 i32) (result i32)
        (i32.add (i32.const 1) (call $run (local.get 0) (local.get 1))))";
    let outcome = t.event(recurses, Limits::DEFAULT).await;
    assert_eq!((exceeded(&outcome).limit, exceeded(&outcome).value), (LimitKind::StackBytes, 512 << 10));
}

#[tokio::test]
async fn trap_names_the_function_it_occurred_in() {
    let t = Bench::new();
    let outcome = t.event("(func $run (param i32 i32) (result i32) unreachable)", Limits::DEFAULT).await;
    match outcome.end {
        End::Failed(Failure::Trap(text)) => {
            assert!(text.contains("unreachable") && text.contains("(in run)"), "{text}")
        }
        _ => panic!("no trap"),
    }
}

#[tokio::test]
async fn oversized_answer_exceeds_the_response_limit() {
    let t = Bench::new();
    let limits = Limits { response_bytes: 1_000, ..Limits::DEFAULT };
    let large = "(func $run (param i32 i32) (result i32) (call $answer (i32.const 0) (i32.const 1001)))";
    let over = exceeded(&t.event(large, limits).await);
    assert_eq!(over, Exceeded { limit: LimitKind::ResponseBytes, value: 1_000, used: 1_001 });
    // So large that the host does not even take it out.
    let huge = "(func $run (param i32 i32) (result i32)
        (drop (memory.grow (i32.const 100))) (call $answer (i32.const 0) (i32.const 6000000)))";
    let over = exceeded(&t.event(huge, limits).await);
    assert_eq!((over.limit, over.value), (LimitKind::ResponseBytes, 1_000));
}

#[tokio::test]
async fn oversized_host_call_exceeds_the_limit() {
    let t = Bench::new();
    let hands = "(func $run (param i32 i32) (result i32)
        (drop (memory.grow (i32.const 400)))
        (call $set (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 20000000) (i32.const 256))
        (call $answer (i32.const 0) (i32.const 0)))";
    assert_eq!(exceeded(&t.event(hands, Limits::DEFAULT).await).limit, LimitKind::HostResources);
}

/// Does it again and again.
fn repeats(what: &str) -> String {
    format!("(loop $again {what} (br $again))")
}

#[tokio::test]
async fn host_resources_of_a_guest_are_limited() {
    let t = Bench::new();
    let typed = |what: &str| guests::typed(&format!("(func $run (param i32 i32) (result i32) {what} unreachable)"));
    let http = |what: &str| guests::http(&format!("(func $run (param i32) (local $f i32) {what})"));
    let append = "(call $append (local.get $f) (i32.const 1024) (i32.const 5) (i32.const 1024) (i32.const 20)
        (i32.const 64))";
    for (guest, value) in [
        (typed("(call $random (i64.const 65537) (i32.const 256))"), 65_536),
        (typed(&repeats("(drop (call $mint (i32.const 1)))")), 4_096),
        (http(&repeats("(drop (call $fields))")), 1_024),
        (http(&format!("(local.set $f (call $fields)) {}", repeats(append))), 32 << 10),
    ] {
        let outcome = t.program(guest).await.run(event(b""), run(Limits::DEFAULT)).await;
        assert_eq!((exceeded(&outcome).limit, exceeded(&outcome).value), (LimitKind::HostResources, value));
    }
}

#[tokio::test]
async fn calls_beyond_the_instances_wait() {
    let t = Bench::new();
    let program = t.program(guests::typed(SPINS)).await;
    let limits = Limits { cpu: Duration::from_millis(20), wall: Duration::from_secs(20), ..Limits::DEFAULT };
    let calls = (0..40).map(|_| {
        let program = program.clone();
        tokio::spawn(async move { program.run(event(b""), run(limits)).await })
    });
    for call in calls.collect::<Vec<_>>() {
        // None was refused, and none ran out of wall time, which counts from its turn.
        assert_eq!(exceeded(&call.await.unwrap()).limit, LimitKind::CpuMs);
    }
}
