//! HTTP answers: what looks complete was completed by the guest.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use larder_model::{End, Failure, LimitKind, Limits};
use larder_runtime::{Answer, StreamedBody};
use tokio::sync::oneshot;

use crate::guests::{self, ANSWERS, HELLO};
use crate::{Bench, event, get, run};

const DIES: &str = "(func $run (param i32)
    (call $begin (local.get 0) (i32.const 200)) (call $write (i32.const 5)) unreachable)";
const LEAVES: &str = "(func $run (param i32)
    (call $begin (local.get 0) (i32.const 200)) (call $write (i32.const 5)))";
/// Writes without end.
const FLOODS: &str = "(func $run (param i32)
    (call $begin (local.get 0) (i32.const 200)) (loop $again (call $write (i32.const 4096)) (br $again)))";

async fn whole(t: &Bench, core: &str, limits: Limits) -> End {
    t.program(guests::http(core)).await.run(get(Answer::Buffered), run(limits)).await.end
}

fn why(end: End) -> String {
    match end {
        End::Failed(Failure::BadResponse(why)) => why,
        End::Failed(other) => panic!("{other}"),
        _ => panic!("did not fail"),
    }
}

fn status(status: u16) -> String {
    format!(
        "(func $run (param i32) (call $begin (local.get 0) (i32.const {status})) (call $write (i32.const 5)) (call $finish))"
    )
}

#[tokio::test]
async fn buffered_answer_is_returned_whole() {
    let t = Bench::new();
    let End::Answered(response) = whole(&t, HELLO, Limits::DEFAULT).await else { panic!("no answer") };
    assert_eq!((response.status().as_u16(), response.into_body()), (200, Bytes::from_static(b"hello")));
}

#[tokio::test]
async fn invalid_answers_fail_with_a_reason() {
    let t = Bench::new();
    assert!(why(whole(&t, "(func $run (param i32))", Limits::DEFAULT).await).contains("without a response"));
    assert!(
        why(whole(&t, "(func $run (param i32) (call $fail (local.get 0)))", Limits::DEFAULT).await)
            .contains("LoopDetected")
    );
    assert!(why(whole(&t, &status(101), Limits::DEFAULT).await).contains("status 101"));
    assert!(why(whole(&t, LEAVES, Limits::DEFAULT).await).contains("middle of its body"));
    assert!(matches!(whole(&t, DIES, Limits::DEFAULT).await, End::Failed(Failure::Trap(_))));
    let program = t.program(guests::typed(ANSWERS)).await;
    let outcome = program.run(get(Answer::Buffered), run(Limits::DEFAULT)).await;
    assert!(matches!(outcome.end, End::Failed(Failure::NoExport(_))));
}

#[tokio::test]
async fn endless_body_exceeds_the_response_limit() {
    let t = Bench::new();
    match whole(&t, FLOODS, Limits { response_bytes: 1 << 20, ..Limits::DEFAULT }).await {
        End::Failed(Failure::Limit(exceeded)) => {
            assert_eq!((exceeded.limit, exceeded.value), (LimitKind::ResponseBytes, 1 << 20));
        }
        _ => panic!("no limit"),
    }
}

#[tokio::test]
async fn http_program_receives_events_as_posts() {
    let t = Bench::new();
    for code in [200, 503, 422] {
        let program = t.program(guests::http(&status(code))).await;
        let end = program.run(event(b"{}"), run(Limits::DEFAULT)).await.end;
        match (code, end) {
            (200, End::Returned(Some(body))) => assert_eq!(body, b"hello"),
            (503, End::Retry(why)) => assert_eq!(why, "status 503: hello"),
            (422, End::Reject(why)) => assert_eq!(why, "status 422: hello"),
            _ => panic!("{code}"),
        }
    }
}

/// Runs with a client, who gets the streamed response if there is one.
async fn streamed<T>(
    t: &Bench,
    core: &str,
    limits: Limits,
    client: impl AsyncFnOnce(Option<http::Response<StreamedBody>>) -> T,
) -> (End, T) {
    let program = t.program(guests::http(core)).await;
    let (to, from) = oneshot::channel();
    let (outcome, seen) =
        tokio::join!(program.run(get(Answer::Streamed(to)), run(limits)), async { client(from.await.ok()).await });
    (outcome.end, seen)
}

#[tokio::test]
async fn small_answer_is_not_streamed() {
    let t = Bench::new();
    let (end, seen) = streamed(&t, HELLO, Limits::DEFAULT, async |response| response.is_some()).await;
    assert!(matches!(end, End::Answered(_)) && !seen);
    let (end, seen) = streamed(&t, DIES, Limits::DEFAULT, async |response| response.is_some()).await;
    assert!(matches!(end, End::Failed(Failure::Trap(_))) && !seen);
}

fn writes(chunks: u32, then: &str) -> String {
    format!(
        "(func $run (param i32) (local $n i32)
           (call $begin (local.get 0) (i32.const 200))
           (loop $again (call $write (i32.const 4000))
             (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {chunks}))))
           {then})"
    )
}

#[tokio::test]
async fn large_answer_streams_and_breaks_if_the_guest_fails() {
    let t = Bench::new();
    let collect = async |response: Option<http::Response<StreamedBody>>| {
        response.unwrap().into_body().collect().await.map(|body| body.to_bytes().len())
    };
    let (end, seen) = streamed(&t, &writes(100, "(call $finish)"), Limits::DEFAULT, collect).await;
    assert!(matches!(end, End::Streamed { status: 200, body_bytes: 400_000 }));
    assert_eq!(seen.unwrap(), 400_000);
    for (then, says) in [("unreachable", "unreachable"), ("", "middle of its body")] {
        let (end, seen) = streamed(&t, &writes(100, then), Limits::DEFAULT, collect).await;
        assert!(matches!(end, End::Failed(failure) if failure.to_string().contains(says)));
        assert!(seen.is_err(), "a broken body looked complete");
    }
}

#[tokio::test]
async fn complete_answer_leaves_while_the_guest_continues() {
    let t = Bench::new();
    let spins_on = "(func $run (param i32) (call $begin (local.get 0) (i32.const 200)) (call $write (i32.const 5))
        (call $finish) (loop $again (br $again)))";
    let limits = Limits { cpu: Duration::from_millis(200), ..Limits::DEFAULT };
    let (end, seen) = streamed(&t, spins_on, limits, async |response| {
        let mut body = response.unwrap().into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        (first, body.frame().await.unwrap().is_err())
    })
    .await;
    assert!(matches!(end, End::Failed(Failure::Limit(exceeded)) if exceeded.limit == LimitKind::CpuMs));
    assert_eq!(seen, (Bytes::from_static(b"hello"), true));
}

#[tokio::test]
async fn disconnected_client_stops_the_guest() {
    let t = Bench::new();
    let (end, ()) = streamed(&t, FLOODS, Limits::DEFAULT, async |response| drop(response)).await;
    assert_eq!(why(end), "the client went away");
}

#[tokio::test]
async fn slow_client_applies_backpressure_to_the_guest() {
    let t = Bench::new();
    let limits = Limits { wall: Duration::from_millis(300), ..Limits::DEFAULT };
    let (end, _response) = streamed(&t, FLOODS, limits, async |response| response).await;
    // It neither ran out of CPU time nor filled the host's memory: it waited.
    assert!(matches!(end, End::Failed(Failure::Limit(exceeded)) if exceeded.limit == LimitKind::WallMs));
}
