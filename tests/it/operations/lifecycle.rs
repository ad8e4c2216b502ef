//! Starting, draining, one process for one data folder, probes.

use larder_tests::{Backend, Larder, Options, both, eventually, guests};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;

/// Sleeps for a second and a half in the guest.
const SLOW: &str = "/hello/slow?ms=1500";

/// Waits until the process has taken its signal.
async fn draining(larder: &Larder) {
    let ready = async || larder.internal("/health/ready").await.0;
    eventually("it to drain", async || (ready().await == 503).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_folder_is_refused() {
    let larder = Larder::start_on(Backend::Embedded).await;
    let output = std::process::Command::new(Larder::binary())
        .args(["dev", "--listen", "127.0.0.1:0", "--internal", "127.0.0.1:0", "--data"])
        .arg(larder.data())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("another Larder process") && text.contains(larder.data().to_str().unwrap()), "{text}");
}

both!(running_calls_finish_after_the_first_signal, async |on| {
    let mut larder = Larder::start_on(on).await;
    larder.api().deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/hello"] })).await;
    assert_eq!(larder.internal("/health/ready").await.0, 200);
    let slow = tokio::spawn(larder.web("demo", Method::GET, SLOW).send());
    larder.api().in_progress(1).await;
    larder.signal(Signal::TERM);
    draining(&larder).await;
    assert_eq!(larder.internal("/health/live").await.0, 200);
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    assert_eq!(larder.ended().await, Some(0));
    // Its record was written before the end.
    larder.restart().await;
    let executions = larder.api().executions("hello").await;
    assert_eq!(executions.len(), 1, "{executions:?}");
});

both!(a_second_signal_and_the_grace_period_abort, async |on| {
    for second_signal in [true, false] {
        let grace = if second_signal { "60s" } else { "300ms" };
        let mut larder = Larder::start_with(Options::on(on).set("LARDER_SERVER__GRACE", grace)).await;
        larder
            .api()
            .deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/hello"], "timeout": 60 }))
            .await;
        let slow = tokio::spawn(larder.web("demo", Method::GET, "/hello/slow?ms=20000").send());
        larder.api().in_progress(1).await;
        larder.signal(Signal::INT);
        if second_signal {
            draining(&larder).await;
            larder.signal(Signal::INT);
        }
        assert_eq!(larder.ended().await, Some(0));
        assert!(slow.await.unwrap().is_err());
    }
});

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_setting_is_named_and_stops_the_process() {
    let output = std::process::Command::new(Larder::binary())
        .args(["serve"])
        .env("LARDER_WORKER__LEASE", "1s")
        .env("LARDER_WORKER__ATTEMPTS", "0")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("worker.lease") && text.contains("worker.attempts"), "{text}");
    let output = std::process::Command::new(Larder::binary()).args(["serve"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("secrets.master_key_file"));
}
