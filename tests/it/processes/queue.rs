//! Wake-ups between processes, each played by a queue of its own, through a Redis that comes and goes.

use std::time::{Duration, Instant};

use larder_model::{Execution, settings};
use larder_signals::lifecycle::Lifecycle;
use larder_signals::{Signals, TailEvent, Watch, Work};
use larder_tests::eventually;
use larder_tests::services::Redis;

/// Longer than any wake-up takes, and nothing is woken by it.
const POLL: Duration = Duration::from_secs(20);

fn settings(url: &str) -> settings::Redis {
    settings::Redis {
        url: url.into(),
        password_file: Default::default(),
        ca_file: Default::default(),
        prefix: "larder-test-queue".into(),
        timeout: Duration::from_millis(500),
    }
}

/// A process that works on these kinds.
async fn process(redis: &str, works_on: &[Work]) -> Signals {
    let signals = Signals::open(&settings(redis)).await.unwrap();
    signals.start(works_on, &Lifecycle::default());
    signals
}

async fn is_woken(signals: &Signals, work: Work, within: Duration) -> bool {
    tokio::time::timeout(within, signals.wait(work, POLL)).await.is_ok()
}

/// Consumes notifications from before the test.
async fn settle(all_signals: &[&Signals], work: Work) {
    for signals in all_signals {
        while is_woken(signals, work, Duration::from_millis(150)).await {}
    }
}

/// Waits until a push of one reaches the other.
async fn reaches(from: &Signals, to: &Signals, work: Work) {
    eventually("a push to arrive", async || {
        from.push(work);
        is_woken(to, work, Duration::from_millis(200)).await.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_push_wakes_one_process_and_a_change_of_a_partner_wakes_all() {
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(folder.path());
    let web = process(&redis.url(), &[]).await;
    let one = process(&redis.url(), &[Work::Executions]).await;
    let two = process(&redis.url(), &[Work::Executions, Work::Events]).await;
    reaches(&web, &two, Work::Executions).await;
    reaches(&web, &one, Work::Executions).await;
    settle(&[&one, &two], Work::Executions).await;
    web.push(Work::Executions);
    let short = Duration::from_secs(1);
    let woken = futures::join!(is_woken(&one, Work::Executions, short), is_woken(&two, Work::Executions, short));
    assert!(woken.0 ^ woken.1, "{woken:?}");

    reaches(&web, &one, Work::Tenants).await;
    reaches(&web, &two, Work::Tenants).await;
    settle(&[&one, &two], Work::Tenants).await;
    web.push(Work::Tenants);
    let woken = futures::join!(is_woken(&one, Work::Tenants, short), is_woken(&two, Work::Tenants, short));
    assert_eq!(woken, (true, true));
    // Whoever works on no events is not woken for them, but for a look when it has found its Redis.
    settle(&[&one], Work::Events).await;
    web.push(Work::Events);
    assert!(!is_woken(&one, Work::Events, Duration::from_millis(300)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_continue_after_redis_is_flushed_or_restarted() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = Redis::start(folder.path());
    let web = process(&redis.url(), &[]).await;
    let worker = process(&redis.url(), &[Work::Executions]).await;
    reaches(&web, &worker, Work::Executions).await;
    redis.send("FLUSHALL\r\n").unwrap();
    reaches(&web, &worker, Work::Executions).await;

    redis.kill();
    let begun = Instant::now();
    web.push(Work::Executions);
    assert!(begun.elapsed() < Duration::from_millis(100), "a push waited");
    eventually("the loss to be noticed", async || worker.redis().unwrap().starts_with("gone").then_some(())).await;
    settle(&[&worker], Work::Executions).await;
    redis.restart();
    // Nobody pushes: what was lost meanwhile is looked for once it is back.
    assert!(is_woken(&worker, Work::Executions, Duration::from_secs(15)).await);
    eventually("its return to be noticed", async || (worker.redis().unwrap() == "ok").then_some(())).await;
    reaches(&web, &worker, Work::Executions).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unavailable_or_silent_redis_delays_nobody() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging = listener.local_addr().unwrap().port();
    let accepted = tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            kept.push(listener.accept().await.unwrap());
        }
    });
    let nowhere = larder_tests::services::free_port();
    for port in [hanging, nowhere] {
        let begun = Instant::now();
        let signals = process(&format!("redis://127.0.0.1:{port}"), &[Work::Executions]).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "the start waited for it");
        let begun = Instant::now();
        for _ in 0..1_000 {
            signals.push(Work::Executions);
        }
        assert!(begun.elapsed() < Duration::from_millis(100), "a push waited");
        assert!(is_woken(&signals, Work::Executions, Duration::from_millis(100)).await, "not even within the process");
        assert!(signals.redis().unwrap().starts_with("gone"));
    }
    accepted.abort();
}

fn ended(id: &str) -> Execution {
    let text = r#"{"partner":"acme","id":"ID","function":"round-up","deployment":null,"trigger":"http","status":"completed",
        "trigger_key":null,"event":null,"enrolment":null,"nominal_at_ms":null,"late_ms":null,"scheduled_at_ms":null,
        "request":{"method":"GET","path":"/","headers":[["authorization","secret"]]},"attempt":1,"failures":0,"lost":0,
        "buried_at_ms":null,"response_status":200,"response_headers":[],"logs":"","errors":"","wall_us":1,"cpu_us":1,
        "memory_peak_bytes":1,"created_at_ms":1,"updated_at_ms":2}"#;
    serde_json::from_str(&text.replace("ID", id)).unwrap()
}

/// The id of the next execution that a watch sees.
async fn next(watch: &mut Watch, within: Duration) -> Option<String> {
    match tokio::time::timeout(within, watch.next()).await.ok()?? {
        TailEvent::Ended(execution) => {
            assert!(execution.request.headers.is_empty(), "a credential went out: {execution:?}");
            Some(execution.id.to_string())
        }
        TailEvent::Deployment(_) => panic!("nothing was deployed"),
        TailEvent::Dropped(count) => panic!("{count} were dropped"),
    }
}

/// Publishes executions with this name until one arrives, and drops those that follow.
async fn heard(from: &Signals, watch: &mut Watch, name: &str) {
    eventually("an execution to be told of", async || {
        from.live_tail().publish(&ended(name));
        next(watch, Duration::from_millis(200)).await.filter(|id| id == name)
    })
    .await;
    while next(watch, Duration::from_millis(150)).await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_hears_every_process_once_also_after_redis_was_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = Redis::start(folder.path());
    let web = process(&redis.url(), &[]).await;
    let worker = process(&redis.url(), &[Work::Executions]).await;
    let (partner, function) = ("acme".parse().unwrap(), "round-up".parse().unwrap());
    let mut watch = web.live_tail().watch(&partner, &function).unwrap();
    let mut other = web.live_tail().watch(&partner, &"payday".parse().unwrap()).unwrap();
    heard(&worker, &mut watch, "first").await;
    let short = Duration::from_millis(300);
    for (from, name) in [(&worker, "theirs"), (&web, "own")] {
        from.live_tail().publish(&ended(name));
        assert_eq!(next(&mut watch, Duration::from_secs(5)).await.as_deref(), Some(name));
        assert_eq!(next(&mut watch, short).await, None, "{name} came twice");
    }
    assert_eq!(next(&mut other, short).await, None);

    redis.kill();
    web.live_tail().publish(&ended("alone"));
    assert_eq!(next(&mut watch, short).await.as_deref(), Some("alone"));
    redis.restart();
    heard(&worker, &mut watch, "again").await;
}

/// What a watch is told within this time: names, and of how many it is told by their number alone.
async fn told(watch: &mut Watch, within: Duration) -> (Vec<String>, u64) {
    let (mut names, mut dropped) = (vec![], 0);
    while let Ok(Some(event)) = tokio::time::timeout(within, watch.next()).await {
        match event {
            TailEvent::Ended(execution) => names.push(execution.id.to_string()),
            TailEvent::Deployment(_) => panic!("nothing was deployed"),
            TailEvent::Dropped(count) => dropped += count,
        }
    }
    (names, dropped)
}

#[tokio::test(flavor = "multi_thread")]
async fn tails_are_told_of_some_and_of_the_number_of_the_others_and_are_limited() {
    let signals = process("", &[]).await;
    let (partner, function) = ("acme".parse().unwrap(), "round-up".parse().unwrap());
    signals.live_tail().publish(&ended("unheard"));
    let mut watches: Vec<Watch> =
        std::iter::from_fn(|| signals.live_tail().watch(&partner, &function)).take(100).collect();
    assert!((1..100).contains(&watches.len()), "{}", watches.len());
    assert!(signals.live_tail().watch(&"other".parse().unwrap(), &function).is_some());
    // Much at once, three times, so that one who does not read meanwhile has too much to read.
    for number in 0..3 * 1_000 {
        signals.live_tail().publish(&ended(&format!("e{number}")));
        if number % 1_000 == 999 {
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
    }
    let number = |name: &str| name[1..].parse::<u32>().unwrap();
    for watch in &mut watches[..2] {
        let (names, dropped) = told(watch, Duration::from_millis(400)).await;
        assert!((32..=64).contains(&names.len()), "{names:?}");
        assert!(names.is_sorted_by(|one, next| number(one) < number(next)), "{names:?}");
        assert_eq!(names.len() as u64 + dropped, 3_000);
    }
    signals.live_tail().publish(&ended("calm"));
    assert_eq!(told(&mut watches[0], Duration::from_millis(50)).await, (vec!["calm".to_owned()], 0));
    watches.pop();
    assert!(signals.live_tail().watch(&partner, &function).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_is_told_how_much_it_misses_of_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(folder.path());
    let web = process(&redis.url(), &[]).await;
    let worker = process(&redis.url(), &[Work::Executions]).await;
    let mut watch = web.live_tail().watch_all(&"acme".parse().unwrap()).unwrap();
    heard(&worker, &mut watch, "first").await;
    for number in 0..500 {
        worker.live_tail().publish(&ended(&format!("e{number}")));
    }
    let (names, dropped) = told(&mut watch, Duration::from_secs(1)).await;
    assert!((1..=100).contains(&names.len()) && names.len() as u64 + dropped == 500, "{names:?} {dropped}");
}
