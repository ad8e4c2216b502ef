//! How many requests an upstream bears: at once, in each process; in a minute, over all processes as far as Redis tells.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::Error;
use crate::clock::{Clock, Millis};
use crate::queue::Queue;

const MINUTE_MS: Millis = 60_000;
/// How long a minute's count is kept for others.
const KEPT: Duration = Duration::from_secs(120);

pub struct Turns {
    at_once: Semaphore,
    /// The minute, and what this process has sent in it: what counts while Redis does not.
    sent: Mutex<(Millis, u64)>,
}

impl Turns {
    pub fn new(concurrency: u32) -> Turns {
        Turns { at_once: Semaphore::new(concurrency as usize), sent: Mutex::default() }
    }

    /// Room for one more at once.
    pub async fn at_once(&self, wait: Duration) -> Result<SemaphorePermit<'_>, Error> {
        if let Ok(permit) = self.at_once.try_acquire() {
            return Ok(permit);
        }
        match tokio::time::timeout(wait, self.at_once.acquire()).await {
            Ok(permit) => Ok(permit.expect("never closed")),
            Err(_) => Err(Error::Crowded(format!(
                "as many requests are under way as it bears, and none ended within {} ms (concurrency, waitMs)",
                wait.as_millis()
            ))),
        }
    }

    /// Counts one more in this minute, or in the next one if that begins within `wait`. `key` is the upstream's in Redis.
    pub async fn in_a_minute(
        &self,
        clock: &Clock,
        queue: &Queue,
        key: &str,
        most: u64,
        wait: Duration,
    ) -> Result<(), Error> {
        if most == 0 || self.count(clock, queue, key).await <= most {
            return Ok(());
        }
        let left = Duration::from_millis((MINUTE_MS - clock.now_ms().rem_euclid(MINUTE_MS)) as u64);
        if left <= wait {
            tokio::time::sleep(left + Duration::from_millis(1)).await;
            if self.count(clock, queue, key).await <= most {
                return Ok(());
            }
        }
        Err(Error::Crowded(format!(
            "{most} requests have been made in this minute, which is what it bears; the next begins in {} s (ratePerMinute)",
            left.as_secs() + 1
        )))
    }

    async fn count(&self, clock: &Clock, queue: &Queue, key: &str) -> u64 {
        let minute = clock.now_ms().div_euclid(MINUTE_MS);
        let own = {
            let mut sent = self.sent.lock().expect("no panic under the lock");
            if sent.0 != minute {
                *sent = (minute, 0);
            }
            sent.1 += 1;
            sent.1
        };
        let all = queue.count(&format!("upstream:{key}:{minute}"), 1, KEPT).await;
        // A Redis that was flushed knows less than this process.
        all.map_or(own, |all| all.max(own))
    }
}
