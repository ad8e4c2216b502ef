//! Circuit breakers: a failing service gets no requests for a while.
//!
//! Closed: requests are sent and counted. Open: no request is sent for `rest_ms`. Half-open: one probe is sent, and its result
//! decides. Each tenant has its own breaker for each upstream in each process, so that one tenant's requests cannot make a
//! shared upstream unavailable to another.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use larder_model::breakers::{BreakerState, BreakerStatus};
use larder_model::time::Millis;
use larder_model::upstreams::BreakerSettings;

/// The longest pause that a service can request with `Retry-After`.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

#[derive(Default)]
pub struct Breaker(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    status: BreakerStatus,
    /// While it is open: when a probe may be sent.
    until: Option<Instant>,
    /// The start of the current window, and the calls and failures in it.
    window: Option<Instant>,
    calls: u32,
    failures: u32,
}

/// Permission to send one request. If it is dropped without a result (the calling function was stopped), it is not counted.
pub struct Pass {
    breaker: Arc<Breaker>,
    probe: bool,
    settled: bool,
}

impl Breaker {
    /// Admits one request, or returns why none may be sent.
    pub fn admit(self: &Arc<Breaker>, now: Instant, now_ms: Millis) -> Result<Pass, String> {
        let mut inner = self.0.lock().expect("no panic under the lock");
        let refused = |inner: &Inner, when: String| {
            Err(format!("its circuit breaker is {}: {} ({when})", inner.status.state.word(), inner.status.reason))
        };
        let probe = match inner.status.state {
            BreakerState::Closed => false,
            BreakerState::HalfOpen => return refused(&inner, "a probe is in progress".into()),
            BreakerState::Open => match inner.until {
                Some(until) if until > now => {
                    return refused(&inner, format!("the next attempt is in {} ms", (until - now).as_millis()));
                }
                _ => {
                    inner.status.state = BreakerState::HalfOpen;
                    inner.status.since_ms = now_ms;
                    true
                }
            },
        };
        Ok(Pass { breaker: self.clone(), probe, settled: false })
    }

    pub fn status(&self) -> BreakerStatus {
        self.0.lock().expect("no panic under the lock").status.clone()
    }
}

impl Pass {
    /// Records the result of the request: on a failure, the reason and the pause that the service requests (`Retry-After`).
    /// Returns the new status if the state changes.
    pub fn settle(
        mut self,
        failure: Option<(&str, Duration)>,
        settings: &BreakerSettings,
        now: Instant,
        now_ms: Millis,
    ) -> Option<BreakerStatus> {
        self.settled = true;
        let mut inner = self.breaker.0.lock().expect("no panic under the lock");
        let window = Duration::from_millis(settings.window_ms);
        if inner.window.is_none_or(|begun| now.duration_since(begun) > window) {
            (inner.window, inner.calls, inner.failures) = (Some(now), 0, 0);
        }
        inner.calls += 1;
        let state = match failure {
            None if self.probe => BreakerState::Closed,
            None => return None,
            Some((reason, retry_after)) => {
                inner.failures += 1;
                let many = inner.failures >= settings.failures && inner.failures * 2 >= inner.calls;
                // A request that started before the breaker opened changes nothing.
                let opens = self.probe || inner.status.state == BreakerState::Closed && settings.failures > 0 && many;
                if !opens {
                    return None;
                }
                inner.status.reason = reason.chars().take(300).collect();
                let rest = Duration::from_millis(settings.rest_ms).max(retry_after.min(RETRY_AFTER_MAX));
                inner.until = Some(now + rest);
                BreakerState::Open
            }
        };
        if state == BreakerState::Closed {
            (inner.window, inner.calls, inner.failures) = (None, 0, 0);
            inner.status.reason.clear();
        }
        (inner.status.state, inner.status.since_ms) = (state, now_ms);
        Some(inner.status.clone())
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.probe && !self.settled {
            let mut inner = self.breaker.0.lock().expect("no panic under the lock");
            // The next request may be the probe at once.
            (inner.status.state, inner.until) = (BreakerState::Open, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: BreakerSettings = BreakerSettings { failures: 3, window_ms: 1_000, rest_ms: 500 };

    struct Test {
        breaker: Arc<Breaker>,
        begun: Instant,
        at_ms: u64,
    }

    impl Test {
        fn new() -> Test {
            Test { breaker: Arc::default(), begun: Instant::now(), at_ms: 0 }
        }

        fn now(&self) -> Instant {
            self.begun + Duration::from_millis(self.at_ms)
        }

        fn pass(&self) -> Result<Pass, String> {
            self.breaker.admit(self.now(), self.at_ms as Millis)
        }

        fn end(&self, pass: Pass, failure: Option<&str>) -> Option<BreakerState> {
            let failure = failure.map(|why| (why, Duration::ZERO));
            pass.settle(failure, &SETTINGS, self.now(), self.at_ms as Millis).map(|status| status.state)
        }

        fn call(&self, failure: Option<&str>) -> Option<BreakerState> {
            self.end(self.pass().unwrap(), failure)
        }
    }

    #[test]
    fn it_opens_probes_and_closes() {
        let mut t = Test::new();
        assert_eq!(t.call(Some("503")), None);
        assert_eq!(t.call(Some("503")), None);
        assert_eq!(t.call(Some("timeout")), Some(BreakerState::Open));
        let why = t.pass().err().unwrap();
        assert!(why.contains("timeout") && why.contains("breaker is open") && why.contains("500 ms"), "{why}");
        t.at_ms = 500;
        let probe = t.pass().unwrap();
        assert!(t.pass().err().unwrap().contains("half-open"));
        assert_eq!(t.end(probe, Some("still")), Some(BreakerState::Open));
        assert!(t.pass().is_err());
        t.at_ms = 1_000;
        assert_eq!(t.call(None), Some(BreakerState::Closed));
        assert_eq!(
            t.breaker.status(),
            BreakerStatus { state: BreakerState::Closed, since_ms: 1_000, reason: String::new() }
        );
        assert_eq!(t.call(Some("503")), None);
    }

    #[test]
    fn retry_after_extends_the_pause_up_to_a_limit() {
        for (wish_s, rest_ms) in [(0, 500), (90, 90_000), (u64::MAX, 3_600_000)] {
            let mut t = Test::new();
            for _ in 0..3 {
                let failure = Some(("503", Duration::from_secs(wish_s)));
                t.pass().unwrap().settle(failure, &SETTINGS, t.now(), t.at_ms as Millis);
            }
            t.at_ms = rest_ms - 1;
            assert!(t.pass().is_err(), "{wish_s}");
            t.at_ms = rest_ms;
            assert!(t.pass().is_ok(), "{wish_s}");
        }
    }

    #[test]
    fn a_dropped_probe_lets_the_next_request_probe() {
        let mut t = Test::new();
        for _ in 0..3 {
            t.call(Some("503"));
        }
        t.at_ms = 500;
        drop(t.pass().unwrap());
        assert_eq!(t.breaker.status().state, BreakerState::Open);
        assert_eq!(t.call(None), Some(BreakerState::Closed));
    }

    #[test]
    fn few_or_spread_out_failures_leave_it_closed() {
        let t = Test::new();
        for _ in 0..4 {
            t.call(None);
        }
        for _ in 0..3 {
            assert_eq!(t.call(Some("503")), None, "3 of 7");
        }
        assert_eq!(t.call(Some("503")), Some(BreakerState::Open), "4 of 8");
        let mut t = Test::new();
        for at in 0..9 {
            t.at_ms = at * 600;
            assert_eq!(t.call(Some("503")), None, "at most two in a window");
        }
    }

    #[test]
    fn a_request_started_before_opening_changes_nothing() {
        let t = Test::new();
        let early = t.pass().unwrap();
        for _ in 0..3 {
            t.call(Some("503"));
        }
        assert_eq!(t.end(early, None), None);
        assert_eq!(t.breaker.status().state, BreakerState::Open);
    }
}
