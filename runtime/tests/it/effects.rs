//! What a run wants to change comes out of it, or does not if it ended badly.

use larder_model::state::Read;
use larder_model::{Amount, Currency, Effect, End, Exceeded, Failure, LimitKind, Limits};
use larder_runtime::Run;

use crate::{Bench, enrolled, event, guests, run};

/// Sets `key` to `value`, adds 1 to `value`, creates a transaction of 12.5 SEK, reads `key`.
const WORKS: &str = "(func $work
    (call $set (i32.const 0) (i32.const 3) (i32.const 4) (i32.const 5) (i32.const 256))
    (call $increment (i32.const 4) (i32.const 5) (i32.const 10) (i32.const 1) (i32.const 256))
    (call $create (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 4) (i32.const 12) (i32.const 3)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 256)))";

fn guest(run: &str) -> Vec<u8> {
    guests::typed(&format!("{WORKS} (func $run (param i32 i32) (result i32) (call $work) {run})"))
}

#[tokio::test]
async fn effects_are_returned_in_order() {
    let t = Bench::new();
    // Answers with what the transaction's result points to.
    let program = t.program(guest("(call $answer (i32.load (i32.const 260)) (i32.load (i32.const 264)))")).await;
    let outcome = program.run(event(b""), enrolled()).await;
    assert!(matches!(outcome.end, End::Returned(Some(id)) if id == b"run-1"));
    assert_eq!(
        outcome.effects,
        [
            Effect::SetState { key: "key".into(), value: "value".into() },
            Effect::IncrementState { key: "value".into(), by: 1 },
            Effect::Transaction {
                id: "run-1".into(),
                end_user: None,
                amount: Amount::from_minor_units(1_250, Currency::current("SEK").unwrap()),
                memo: None
            },
        ]
    );
    assert_eq!(outcome.reads, []);
}

#[tokio::test]
async fn transaction_without_end_user_is_refused() {
    let t = Bench::new();
    let program = t.program(guest("(call $answer (i32.load (i32.const 260)) (i32.load (i32.const 264)))")).await;
    let outcome = program.run(event(b""), run(Limits::DEFAULT)).await;
    let End::Returned(Some(why)) = outcome.end else { panic!("no answer") };
    assert!(String::from_utf8(why).unwrap().contains("end-user is missing"));
    assert_eq!(outcome.effects.len(), 2);
}

#[tokio::test]
async fn failed_run_has_no_effects() {
    let t = Bench::new();
    let rejects = t.program(guest("(call $reject (i32.const 4) (i32.const 5))")).await;
    let outcome = rejects.run(event(b""), enrolled()).await;
    assert!(matches!(&outcome.end, End::Reject(why) if why == "value"));
    assert_eq!((outcome.effects, outcome.reads), (vec![], vec![]));

    let outcome = t.program(guest("unreachable")).await.run(event(b""), enrolled()).await;
    assert!(matches!(outcome.end, End::Failed(Failure::Trap(_))));
    assert_eq!(outcome.effects, []);
}

#[tokio::test]
async fn reads_are_returned() {
    let t = Bench::new();
    let reads = "(func $run (param i32 i32) (result i32)
        (call $get (i32.const 0) (i32.const 3) (i32.const 256)) (call $answer (i32.const 0) (i32.const 0)))";
    let outcome = t.event(reads, Limits::DEFAULT).await;
    assert_eq!(outcome.reads, [Read::Key { key: "key".into(), version: None }]);
}

#[tokio::test]
async fn too_many_effects_end_the_run() {
    let t = Bench::new();
    let limits = Limits { effects: 2, ..Limits::DEFAULT };
    let program = t.program(guest("(call $answer (i32.const 0) (i32.const 0))")).await;
    let outcome = program.run(event(b""), Run { limits, ..enrolled() }).await;
    match outcome.end {
        End::Failed(Failure::Limit(exceeded)) => {
            assert_eq!(exceeded, Exceeded { limit: LimitKind::Effects, value: 2, used: 3 });
        }
        _ => panic!("went on"),
    }
    assert_eq!(outcome.effects, []);
}

#[tokio::test]
async fn guest_hears_a_refusal_but_not_a_backend_failure() {
    let t = Bench::new();
    let saves_for = |name: &str| {
        let create = format!(
            "(call $create (i32.const 1) {name} (i32.const 16) (i32.const 4) (i32.const 12) (i32.const 3)
              (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 256))"
        );
        let answer = "(call $answer (i32.load (i32.const 260)) (i32.load (i32.const 264)))";
        guests::typed(&format!("(func $run (param i32 i32) (result i32) {create} {answer})"))
    };
    let told = t.program(saves_for("(i32.const 4) (i32.const 5)")).await.run(event(b""), run(Limits::DEFAULT)).await;
    assert!(matches!(told.end, End::Returned(Some(why)) if why == b"value is not enrolled"));
    let away = t.program(saves_for("(i32.const 0) (i32.const 3)")).await.run(event(b""), run(Limits::DEFAULT)).await;
    assert!(matches!(&away.end, End::Failed(Failure::Host(why)) if why.contains("away")));
    assert!(told.effects.is_empty() && away.effects.is_empty());
}
