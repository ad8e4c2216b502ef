//! The one rule of which queued executions are retried after a run, and when.

use std::time::Duration;

use crate::time::{Millis, jitter};
use crate::{End, Failure, LimitKind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// It has ended: it succeeded, was rejected by the function, or was stopped by somebody.
    Final,
    /// It is retried. `spent`: the function was at fault, so the run counts as one of its attempts.
    Retry { spent: bool },
    /// It is given up and becomes a dead letter.
    DeadLetter,
}

impl RetryDecision {
    /// The decision after this end, if `failures` attempts failed before it and there are `attempts` in all.
    ///
    /// A failure that another run may avoid is retried while attempts are left. A failure that would occur again (a limit on
    /// anything but time, a missing export) is not. Failures of the host do not count as attempts: an accepted execution must
    /// not be lost to a full disk. [`host_gives_up`] decides how long these are retried.
    pub fn of(end: &End, failures: u32, attempts: u32) -> RetryDecision {
        let once_more =
            if failures + 1 < attempts { RetryDecision::Retry { spent: true } } else { RetryDecision::DeadLetter };
        match end {
            End::Answered(response) if response.status().is_server_error() => once_more,
            End::Streamed { status: 500.., .. } | End::Retry(_) => once_more,
            End::Returned(_) | End::Answered(_) | End::Streamed { .. } | End::Reject(_) => RetryDecision::Final,
            End::Failed(failure) => match failure {
                Failure::Host(_) => RetryDecision::Retry { spent: false },
                Failure::Trap(_) | Failure::BadResponse(_) => once_more,
                Failure::Limit(exceeded) if exceeded.limit == LimitKind::WallMs => once_more,
                Failure::Limit(_) | Failure::NoExport(_) | Failure::BadRequest(_) => RetryDecision::DeadLetter,
            },
        }
    }
}

/// Has an execution failed for too long, if all its runs since `since` failed because of the host?
pub fn host_gives_up(since: Millis, now: Millis, most: Duration) -> bool {
    u128::try_from(now - since).unwrap_or(0) >= most.as_millis()
}

/// The delay after a failure of the host. It equals the time since the first such failure, so it doubles with each retry, from
/// `first` to `most`, plus up to half as much jitter.
pub fn host_delay(first: Duration, most: Duration, since: Millis, now: Millis) -> Duration {
    let rest = Duration::from_millis(u64::try_from(now - since).unwrap_or(0)).clamp(first, most.max(first));
    rest + Duration::from_millis(jitter(u64::try_from(rest.as_millis()).unwrap_or(u64::MAX) / 2))
}

/// The delay after a failed attempt that `failures` others preceded: `first`, doubled for each of them up to `most`, plus up
/// to half as much jitter, so that executions that failed together are not retried together.
pub fn delay(first: Duration, most: Duration, failures: u32) -> Duration {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let rest = ms(first).saturating_mul(1 << failures.min(32)).min(ms(most));
    Duration::from_millis(rest.saturating_add(jitter(rest / 2)))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::RetryDecision::{DeadLetter, Final, Retry};
    use super::*;
    use crate::Exceeded;

    fn answered(status: u16) -> End {
        End::Answered(http::Response::builder().status(status).body(Bytes::new()).unwrap())
    }

    fn limit(limit: LimitKind) -> End {
        End::Failed(Failure::Limit(Exceeded { limit, value: 1, used: 2 }))
    }

    #[test]
    fn every_end_has_a_retry_decision() {
        let again = Retry { spent: true };
        let text = || "why".to_owned();
        for (what, end, early, last) in [
            ("returned", End::Returned(None), Final, Final),
            ("200", answered(200), Final, Final),
            ("404", answered(404), Final, Final),
            ("500", answered(500), again, DeadLetter),
            ("503", answered(503), again, DeadLetter),
            ("streamed 200", End::Streamed { status: 200, body_bytes: 0 }, Final, Final),
            ("streamed 502", End::Streamed { status: 502, body_bytes: 0 }, again, DeadLetter),
            ("retry", End::Retry(text()), again, DeadLetter),
            ("reject", End::Reject(text()), Final, Final),
            ("trap", End::Failed(Failure::Trap(text())), again, DeadLetter),
            ("bad response", End::Failed(Failure::BadResponse(text())), again, DeadLetter),
            ("bad request", End::Failed(Failure::BadRequest(text())), DeadLetter, DeadLetter),
            ("no export", End::Failed(Failure::NoExport(text())), DeadLetter, DeadLetter),
            ("host", End::Failed(Failure::Host(text())), Retry { spent: false }, Retry { spent: false }),
            ("wall", limit(LimitKind::WallMs), again, DeadLetter),
            ("cpu", limit(LimitKind::CpuMs), DeadLetter, DeadLetter),
            ("memory", limit(LimitKind::MemoryBytes), DeadLetter, DeadLetter),
            ("response", limit(LimitKind::ResponseBytes), DeadLetter, DeadLetter),
            ("effects", limit(LimitKind::Effects), DeadLetter, DeadLetter),
            ("host resources", limit(LimitKind::HostResources), DeadLetter, DeadLetter),
            ("stack", limit(LimitKind::StackBytes), DeadLetter, DeadLetter),
        ] {
            assert_eq!(RetryDecision::of(&end, 0, 3), early, "{what}, the first of three attempts");
            assert_eq!(RetryDecision::of(&end, 1, 3), early, "{what}, the second of three");
            assert_eq!(RetryDecision::of(&end, 2, 3), last, "{what}, the last of three");
            assert_eq!(RetryDecision::of(&end, 0, 1), last, "{what}, the only one");
            // The limit was lowered in the meantime.
            assert_eq!(RetryDecision::of(&end, 7, 3), last, "{what}, one too many");
        }
    }

    #[test]
    fn host_failures_are_retried_with_growing_delays_and_given_up() {
        let (first, most) = (Duration::from_secs(2), Duration::from_secs(600));
        let day = Duration::from_secs(24 * 60 * 60);
        let (mut now, mut tries) = (0, 0);
        while !host_gives_up(0, now, day) {
            let rest = host_delay(first, most, 0, now);
            let least = Duration::from_millis(now as u64).clamp(first, most);
            assert!((least..=least * 3 / 2).contains(&rest), "{rest:?} after {now} ms");
            now += rest.as_millis() as Millis;
            tries += 1;
        }
        assert!((100..200).contains(&tries), "{tries} tries in a day");
        // A clock that was set back.
        assert!(!host_gives_up(1_000, 0, day) && host_delay(first, most, 1_000, 0) <= first * 3 / 2);
    }

    #[test]
    fn delays_double_up_to_a_bound_with_jitter() {
        let (first, most) = (Duration::from_secs(2), Duration::from_secs(600));
        for (failures, seconds) in [(0, 2), (1, 4), (2, 8), (8, 512), (9, 600), (40, 600), (u32::MAX, 600)] {
            let shortest = Duration::from_secs(seconds);
            let all: Vec<Duration> = (0..200).map(|_| delay(first, most, failures)).collect();
            assert!(all.iter().all(|d| (shortest..=shortest * 3 / 2).contains(d)), "{failures}: {all:?}");
            assert!(all.iter().any(|d| *d != all[0]), "{failures}: none differs");
        }
        assert_eq!(delay(Duration::from_millis(1), Duration::from_millis(1), 5), Duration::from_millis(1));
    }
}
