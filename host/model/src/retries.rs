//! What becomes of a queued execution after a run: the one rule of what is tried again, and the time until then.

use std::time::Duration;

use crate::time::{Millis, jitter};
use crate::{End, Failure, LimitKind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has ended: well, by the function's own no, or by the will of whoever stopped it.
    Ended,
    /// It is tried again. `spent`: through the function's fault, so this was one of its attempts.
    Again { spent: bool },
    /// It becomes a dead letter.
    Buried,
}

impl Fate {
    /// The fate after this end, when `failures` attempts had failed before it and there are `attempts` in all.
    ///
    /// What another run may do better is tried again while there are attempts left; what would fail again (a limit
    /// on anything but time, a program without the export) is not. The host's faults spend no attempt: what was accepted
    /// must not be lost to a full disk. How long they are tried is [`host_gives_up`]'s.
    pub fn of(end: &End, failures: u32, attempts: u32) -> Fate {
        let once_more = if failures + 1 < attempts { Fate::Again { spent: true } } else { Fate::Buried };
        match end {
            End::Answered(response) if response.status().is_server_error() => once_more,
            End::Streamed { status: 500.., .. } | End::Retry(_) => once_more,
            End::Returned(_) | End::Answered(_) | End::Streamed { .. } | End::Reject(_) => Fate::Ended,
            End::Failed(failure) => match failure {
                Failure::Host(_) => Fate::Again { spent: false },
                Failure::Trap(_) | Failure::BadResponse(_) => once_more,
                Failure::Limit(exceeded) if exceeded.limit == LimitKind::WallMs => once_more,
                Failure::Limit(_) | Failure::NoExport(_) | Failure::BadRequest(_) => Fate::Buried,
            },
        }
    }
}

/// Has the host failed for too long now, at an execution that it has failed at and nothing else since then?
pub fn host_gives_up(since: Millis, now: Millis, most: Duration) -> bool {
    u128::try_from(now - since).unwrap_or(0) >= most.as_millis()
}

/// How long an execution rests that the host has failed at since then: as long as that, so it doubles with each try, from
/// `first` to `most`, and up to half as much again.
pub fn delay_of_host(first: Duration, most: Duration, since: Millis, now: Millis) -> Duration {
    let rest = Duration::from_millis(u64::try_from(now - since).unwrap_or(0)).clamp(first, most.max(first));
    rest + Duration::from_millis(jitter(u64::try_from(rest.as_millis()).unwrap_or(u64::MAX) / 2))
}

/// How long an execution rests after `failures` failed attempts before this one: `first`, doubled for each of them up to
/// `most`, and up to half as much again, so that what failed together does not come back together.
pub fn delay(first: Duration, most: Duration, failures: u32) -> Duration {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let rest = ms(first).saturating_mul(1 << failures.min(32)).min(ms(most));
    Duration::from_millis(rest.saturating_add(jitter(rest / 2)))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::Exceeded;

    fn answered(status: u16) -> End {
        End::Answered(http::Response::builder().status(status).body(Bytes::new()).unwrap())
    }

    fn limit(limit: LimitKind) -> End {
        End::Failed(Failure::Limit(Exceeded { limit, value: 1, used: 2 }))
    }

    #[test]
    fn every_end_has_its_fate() {
        let again = Fate::Again { spent: true };
        let text = || "why".to_owned();
        for (what, end, early, last) in [
            ("returned", End::Returned(None), Fate::Ended, Fate::Ended),
            ("200", answered(200), Fate::Ended, Fate::Ended),
            ("404", answered(404), Fate::Ended, Fate::Ended),
            ("500", answered(500), again, Fate::Buried),
            ("503", answered(503), again, Fate::Buried),
            ("streamed 200", End::Streamed { status: 200, body_bytes: 0 }, Fate::Ended, Fate::Ended),
            ("streamed 502", End::Streamed { status: 502, body_bytes: 0 }, again, Fate::Buried),
            ("retry", End::Retry(text()), again, Fate::Buried),
            ("reject", End::Reject(text()), Fate::Ended, Fate::Ended),
            ("trap", End::Failed(Failure::Trap(text())), again, Fate::Buried),
            ("bad response", End::Failed(Failure::BadResponse(text())), again, Fate::Buried),
            ("bad request", End::Failed(Failure::BadRequest(text())), Fate::Buried, Fate::Buried),
            ("no export", End::Failed(Failure::NoExport(text())), Fate::Buried, Fate::Buried),
            ("host", End::Failed(Failure::Host(text())), Fate::Again { spent: false }, Fate::Again { spent: false }),
            ("wall", limit(LimitKind::WallMs), again, Fate::Buried),
            ("cpu", limit(LimitKind::CpuMs), Fate::Buried, Fate::Buried),
            ("memory", limit(LimitKind::MemoryBytes), Fate::Buried, Fate::Buried),
            ("response", limit(LimitKind::ResponseBytes), Fate::Buried, Fate::Buried),
            ("effects", limit(LimitKind::Effects), Fate::Buried, Fate::Buried),
            ("host resources", limit(LimitKind::HostResources), Fate::Buried, Fate::Buried),
            ("stack", limit(LimitKind::StackBytes), Fate::Buried, Fate::Buried),
        ] {
            assert_eq!(Fate::of(&end, 0, 3), early, "{what}, the first of three attempts");
            assert_eq!(Fate::of(&end, 1, 3), early, "{what}, the second of three");
            assert_eq!(Fate::of(&end, 2, 3), last, "{what}, the last of three");
            assert_eq!(Fate::of(&end, 0, 1), last, "{what}, the only one");
            // The limit was lowered meanwhile.
            assert_eq!(Fate::of(&end, 7, 3), last, "{what}, one too many");
        }
    }

    #[test]
    fn what_the_host_fails_at_is_tried_ever_more_rarely_and_not_for_ever() {
        let (first, most) = (Duration::from_secs(2), Duration::from_secs(600));
        let day = Duration::from_secs(24 * 60 * 60);
        const SINCE: Millis = 1_795_262_400_000;
        let (mut now, mut tries, mut later) = (SINCE, 0, 0);
        while !host_gives_up(SINCE, now, day) {
            let rest = delay_of_host(first, most, SINCE, now);
            let least = Duration::from_millis((now - SINCE) as u64).clamp(first, most);
            assert!((least..=least * 3 / 2).contains(&rest), "{rest:?} after {} ms", now - SINCE);
            later += u32::from(rest > least * 5 / 4);
            now += rest.as_millis() as Millis;
            tries += 1;
        }
        assert!((tries / 4..=tries * 3 / 4).contains(&later), "{later} of {tries} rest in the later half");
        let day_ms = day.as_millis() as Millis;
        assert!(host_gives_up(SINCE, SINCE + day_ms, day) && !host_gives_up(SINCE, SINCE + day_ms - 1, day));
        assert!((100..200).contains(&tries), "{tries} tries in a day");
        // A clock that was set back.
        assert!(!host_gives_up(1_000, 0, day) && delay_of_host(first, most, 1_000, 0) <= first * 3 / 2);
    }

    #[test]
    fn delays_double_up_to_a_bound_and_differ() {
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
