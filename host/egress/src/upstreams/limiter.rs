//! Limits the requests to an upstream: concurrent ones in each process, and requests per minute over all processes that share
//! Redis.

use std::collections::{BTreeSet, HashMap};
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder_model::ids::PartnerId;
use larder_model::time::{Clock, Millis};
use larder_signals::Signals;
use tokio::sync::Notify;

use crate::upstreams::Error;

const MINUTE_MS: Millis = 60_000;
/// How long a minute's count is stored for other processes.
const COUNT_TTL: Duration = Duration::from_secs(120);

/// The limits of one upstream.
pub struct Limiter {
    concurrency: usize,
    /// The tenants that have requests in flight or waiting.
    partners: Mutex<HashMap<PartnerId, Share>>,
    tickets: AtomicU64,
    /// Notified when a request ends or stops waiting.
    changed: Notify,
    /// The current minute and the requests that this process has sent in it: the count while Redis is unreachable.
    sent: Mutex<(Millis, u64)>,
}

#[derive(Default)]
struct Share {
    in_flight: usize,
    /// The tickets of the waiting requests; the lowest is next.
    waiting: BTreeSet<u64>,
}

impl Limiter {
    pub fn new(concurrency: u32) -> Limiter {
        Limiter {
            concurrency: concurrency as usize,
            partners: Mutex::default(),
            tickets: AtomicU64::new(0),
            changed: Notify::new(),
            sent: Mutex::default(),
        }
    }

    /// Waits for a permit for one request. A tenant may use the whole concurrency while no other waits. As soon as another waits,
    /// permits beyond an equal share pass to the waiting tenants as requests end.
    pub async fn acquire(&self, partner: &PartnerId, wait: Duration) -> Result<Permit<'_>, Error> {
        let waiter = Waiter::enqueue(self, partner);
        let permit = async {
            loop {
                let mut changed = pin!(self.changed.notified());
                changed.as_mut().enable();
                if let Some(permit) = waiter.try_acquire() {
                    return permit;
                }
                changed.await;
            }
        };
        tokio::time::timeout(wait, permit).await.map_err(|_| {
            Error::Crowded(format!(
                "its concurrency limit is reached, and no request ended within {} ms (concurrency, waitMs)",
                wait.as_millis()
            ))
        })
    }

    fn of<T>(&self, partner: &PartnerId, change: impl FnOnce(&mut Share, Others) -> T) -> T {
        let mut partners = self.partners.lock().expect("no panic under the lock");
        let mut share = partners.remove(partner).unwrap_or_default();
        let others = Others {
            partners: partners.len(),
            in_flight: partners.values().map(|other| other.in_flight).sum(),
            wait: partners.values().any(|other| !other.waiting.is_empty()),
        };
        let done = change(&mut share, others);
        if share.in_flight > 0 || !share.waiting.is_empty() {
            partners.insert(partner.clone(), share);
        }
        done
    }

    /// Counts one request in this minute, or in the next one if that begins within `wait`. `key` is the upstream's key in Redis.
    pub async fn acquire_rate(
        &self,
        clock: &Clock,
        signals: &Signals,
        key: &str,
        most: u64,
        wait: Duration,
    ) -> Result<(), Error> {
        if most == 0 || self.count(clock, signals, key).await <= most {
            return Ok(());
        }
        let left = Duration::from_millis((MINUTE_MS - clock.now_ms().rem_euclid(MINUTE_MS)) as u64);
        if left <= wait {
            tokio::time::sleep(left + Duration::from_millis(1)).await;
            if self.count(clock, signals, key).await <= most {
                return Ok(());
            }
        }
        Err(Error::Crowded(format!(
            "its rate limit of {most} requests per minute is reached; the next minute begins in {} s (ratePerMinute)",
            left.as_secs() + 1
        )))
    }

    async fn count(&self, clock: &Clock, signals: &Signals, key: &str) -> u64 {
        let minute = clock.now_ms().div_euclid(MINUTE_MS);
        let own = {
            let mut sent = self.sent.lock().expect("no panic under the lock");
            if sent.0 != minute {
                *sent = (minute, 0);
            }
            sent.1 += 1;
            sent.1
        };
        let all = signals.increment(&format!("upstream:{key}:{minute}"), 1, COUNT_TTL).await;
        // After a flush, Redis has counted less than this process.
        all.map_or(own, |all| all.max(own))
    }
}

/// The state of the other tenants.
struct Others {
    partners: usize,
    in_flight: usize,
    wait: bool,
}

/// A request that waits for a permit.
struct Waiter<'a> {
    limiter: &'a Limiter,
    partner: PartnerId,
    ticket: u64,
}

impl<'a> Waiter<'a> {
    fn enqueue(limiter: &'a Limiter, partner: &PartnerId) -> Waiter<'a> {
        let ticket = limiter.tickets.fetch_add(1, Ordering::Relaxed);
        limiter.of(partner, |share, _| share.waiting.insert(ticket));
        Waiter { limiter, partner: partner.clone(), ticket }
    }

    fn try_acquire(&self) -> Option<Permit<'a>> {
        let most = self.limiter.concurrency;
        let begun = self.limiter.of(&self.partner, |share, others| {
            let room = share.in_flight + others.in_flight < most;
            let within = !others.wait || share.in_flight < most.div_ceil(others.partners + 1);
            let begins = room && within && share.waiting.first() == Some(&self.ticket);
            if begins {
                share.in_flight += 1;
            }
            begins
        });
        begun.then(|| Permit { limiter: self.limiter, partner: self.partner.clone() })
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.limiter.of(&self.partner, |share, _| share.waiting.remove(&self.ticket));
        self.limiter.changed.notify_waiters();
    }
}

/// The right to one request in flight. Dropping it releases the right.
pub struct Permit<'a> {
    limiter: &'a Limiter,
    partner: PartnerId,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.limiter.of(&self.partner, |share, _| share.in_flight -= 1);
        self.limiter.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn partners() -> [PartnerId; 2] {
        ["acme", "zeta"].map(|id| id.parse().expect("an id"))
    }

    #[tokio::test]
    async fn a_tenant_uses_all_permits_until_another_waits_and_then_an_equal_share() {
        let (limiter, [acme, zeta]) = (Limiter::new(4), partners());
        let mut acmes = Vec::new();
        for _ in 0..4 {
            acmes.push(limiter.acquire(&acme, Duration::ZERO).await.expect("a permit"));
        }
        assert!(limiter.acquire(&acme, Duration::from_millis(20)).await.is_err(), "all are taken");

        // More requests of the first tenant wait, and have waited longer.
        let more = async {
            let mut permit = pin!(limiter.acquire(&acme, LONG));
            assert!(futures::poll!(permit.as_mut()).is_pending());
            let mut zetas = Vec::new();
            for _ in 0..2 {
                let mut other = pin!(limiter.acquire(&zeta, LONG));
                assert!(futures::poll!(other.as_mut()).is_pending());
                drop(acmes.pop());
                zetas.push(other.await.expect("what the first has beyond its part"));
                assert!(futures::poll!(permit.as_mut()).is_pending(), "the first has its part");
            }
            drop(acmes.pop());
            let third = permit.await.expect("its own part");
            assert!(limiter.acquire(&zeta, Duration::from_millis(20)).await.is_err(), "so has the other");
            // Permits are not reserved for a tenant that does not wait.
            drop(zetas.pop());
            let beyond = limiter.acquire(&acme, Duration::ZERO).await.expect("what the other does not need");
            drop((third, zetas, beyond));
        };
        more.await;
        drop(acmes);
        assert!(limiter.partners.lock().expect("no panic").is_empty());
    }

    #[tokio::test]
    async fn requests_of_one_tenant_are_served_in_order_and_an_abandoned_one_blocks_none() {
        let (limiter, [acme, _]) = (Limiter::new(1), partners());
        let held = limiter.acquire(&acme, Duration::ZERO).await.expect("a permit");
        let mut gives_up = Box::pin(limiter.acquire(&acme, LONG));
        let mut next = Box::pin(limiter.acquire(&acme, LONG));
        assert!(futures::poll!(gives_up.as_mut()).is_pending() && futures::poll!(next.as_mut()).is_pending());
        drop(held);
        assert!(limiter.acquire(&acme, Duration::ZERO).await.is_err(), "others wait already");
        drop(gives_up);
        next.await.expect("a permit");
    }
}
