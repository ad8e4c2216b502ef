//! What becomes of a queued execution that did not go well: it is tried again, it is over, or it is given up.
//!
//! What is given up is a *dead letter*: its execution keeps the whole request, and somebody looks at it and has it run again
//! or discards it.

use larder_runtime::{End, Failure, LimitKind};

use crate::clock::{Millis, jitter};
use crate::config;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It went well, or the function itself said no.
    Over,
    /// An attempt is spent, and there are more.
    Again,
    /// The host is at fault: nothing is spent, it is tried until it goes well.
    Later,
    /// No attempt is left, or further ones would come to the same.
    Bury,
}

/// `failures` are the attempts spent before this one, `attempts` how many there are.
pub fn next(end: &End, failures: u32, attempts: u32) -> Next {
    let spent = if failures + 1 < attempts { Next::Again } else { Next::Bury };
    match end {
        End::Returned(_) | End::Reject(_) => Next::Over,
        End::Answered(response) if response.status().as_u16() < 500 => Next::Over,
        End::Streamed { status, .. } if *status < 500 => Next::Over,
        End::Answered(_) | End::Streamed { .. } | End::Retry(_) => spent,
        End::Failed(Failure::Host(_)) => Next::Later,
        End::Failed(Failure::Trap(_) | Failure::BadResponse(_)) => spent,
        // The same work takes the same CPU time, memory and effects; how long others took to answer may change.
        End::Failed(Failure::Limit(exceeded)) if exceeded.limit == LimitKind::WallMs => spent,
        End::Failed(Failure::Limit(_) | Failure::NoExport(_)) => Next::Bury,
    }
}

/// Milliseconds until the next attempt: doubled with each failure up to the longest, then lengthened by up to a half at
/// random, so that what failed together does not come back together.
pub fn delay_ms(worker: &config::Worker, failures: u32) -> Millis {
    let most = worker.retry_delay_max.as_millis() as u64;
    let delay = (worker.retry_delay.as_millis() as u64).saturating_mul(1 << failures.min(30)).min(most);
    (delay + jitter(delay / 2)) as Millis
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::Response;
    use larder_runtime::Exceeded;

    use super::*;

    #[test]
    fn what_may_change_is_tried_again_and_what_would_repeat_is_not() {
        let answered = |status: u16| End::Answered(Response::builder().status(status).body(Bytes::new()).unwrap());
        let limit = |limit| End::Failed(Failure::Limit(Exceeded { limit, value: 1, used: 2 }));
        let failed = |failure: fn(String) -> Failure| End::Failed(failure("why".into()));
        for (end, first, last) in [
            (End::Returned(None), Next::Over, Next::Over),
            (End::Reject("no".into()), Next::Over, Next::Over),
            (answered(404), Next::Over, Next::Over),
            (answered(503), Next::Again, Next::Bury),
            (End::Retry("busy".into()), Next::Again, Next::Bury),
            (failed(Failure::Trap), Next::Again, Next::Bury),
            (failed(Failure::BadResponse), Next::Again, Next::Bury),
            (limit(LimitKind::WallMs), Next::Again, Next::Bury),
            (limit(LimitKind::CpuMs), Next::Bury, Next::Bury),
            (limit(LimitKind::MemoryBytes), Next::Bury, Next::Bury),
            (limit(LimitKind::Effects), Next::Bury, Next::Bury),
            (failed(Failure::NoExport), Next::Bury, Next::Bury),
            (failed(Failure::Host), Next::Later, Next::Later),
        ] {
            assert_eq!((next(&end, 0, 3), next(&end, 1, 3), next(&end, 2, 3)), (first, first, last));
            assert_eq!(next(&end, 0, 1), last);
        }
    }

    #[test]
    fn delays_double_up_to_the_longest_and_differ() {
        let mut worker = config::Settings::load(None, &[]).unwrap().worker;
        (worker.retry_delay, worker.retry_delay_max) = (Duration::from_secs(2), Duration::from_secs(60));
        for (failures, least) in [(0, 2_000), (1, 4_000), (4, 32_000), (5, 60_000), (4_000_000, 60_000)] {
            let delays: Vec<Millis> = (0..50).map(|_| delay_ms(&worker, failures)).collect();
            assert!(delays.iter().all(|delay| (least..=least + least / 2).contains(delay)), "{failures}: {delays:?}");
            assert!(delays.iter().any(|delay| *delay != delays[0]), "{failures}: {delays:?}");
        }
    }
}
