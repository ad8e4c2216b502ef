//! Wake-ups between processes, each played by a queue of its own, through a Redis that comes and goes.

use std::time::{Duration, Instant};

use larder::config;
use larder::lifecycle::Lifecycle;
use larder::queue::{Queue, Work};
use larder_tests::eventually;
use larder_tests::services::Redis;

/// Longer than any wake-up takes, and nothing is woken by it.
const POLL: Duration = Duration::from_secs(20);

fn settings(url: &str) -> config::Redis {
    config::Redis {
        url: url.into(),
        password_file: Default::default(),
        prefix: "larder-test-queue".into(),
        timeout: Duration::from_millis(500),
    }
}

/// A process that works on these kinds.
async fn process(redis: &str, works_on: &[Work]) -> Queue {
    let queue = Queue::open(&settings(redis)).await.unwrap();
    queue.start(works_on, &Lifecycle::default());
    queue
}

async fn is_woken(queue: &Queue, work: Work, within: Duration) -> bool {
    tokio::time::timeout(within, queue.wait(work, POLL)).await.is_ok()
}

/// What was pushed or woken before is no wake-up of the test's.
async fn settle(queues: &[&Queue], work: Work) {
    for queue in queues {
        while is_woken(queue, work, Duration::from_millis(150)).await {}
    }
}

/// Waits until a push of one reaches the other.
async fn reaches(from: &Queue, to: &Queue, work: Work) {
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
    // Whoever works on no events is not woken for them.
    web.push(Work::Events);
    assert!(!is_woken(&one, Work::Events, Duration::from_millis(300)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn flushed_or_restarted_it_carries_wake_ups_again() {
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
async fn one_that_is_away_or_never_answers_holds_nobody_up() {
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
        let queue = process(&format!("redis://127.0.0.1:{port}"), &[Work::Executions]).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "the start waited for it");
        let begun = Instant::now();
        for _ in 0..1_000 {
            queue.push(Work::Executions);
        }
        assert!(begun.elapsed() < Duration::from_millis(100), "a push waited");
        assert!(is_woken(&queue, Work::Executions, Duration::from_millis(100)).await, "not even within the process");
        assert!(queue.redis().unwrap().starts_with("gone"));
    }
    accepted.abort();
}
