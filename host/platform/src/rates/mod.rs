//! Rate limits: requests of a partner, of a key, of an end user and of an address, over all processes.
//!
//! * [`Rates`]: the limiters of everybody. [`Limited`]: a refusal, with what a client is told.
//! * [`gcra`]: the rule. Without Redis each process applies it by itself.
//!
//! With Redis the rule is applied there, by one script. A call does not wait for it: a process takes a tenth of a burst in
//! advance and gives it out from memory ([`Limiter`]). What it has taken and does not need within [`LEASE_MS`] is lost, so
//! several processes may together let in a little less than the rate, and never more. A refusal is remembered until there is
//! something again. While Redis is unreachable each process applies the whole rate by itself.

pub mod gcra;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;
use larder_model::settings;
use larder_model::time::{Clock, Millis};
use larder_model::trigger_key;
use larder_signals::Signals;
use metrics::counter;

use self::gcra::{Gcra, Left, Rate};

/// Locks of the limiters that are looked up, so that callers on several cores rarely meet.
const SHARDS: usize = 64;
/// Limiters of one shard. Beyond that those go that lose nothing by it, and then any.
const PER_SHARD_MAX: usize = 4_096;
const LEASE_MS: Millis = 10_000;
const LEASED_MAX: i64 = 1_000;
/// A refusal is remembered for so long at most: the rate may have been raised meanwhile.
const REFUSED_US_MAX: i64 = 1_000_000;

/// Whose requests are limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Partner,
    Key,
    EndUser,
    Address,
}

impl Of {
    const ALL: [Of; 4] = [Of::Partner, Of::Key, Of::EndUser, Of::Address];

    /// The setting.
    pub fn setting(self) -> &'static str {
        match self {
            Of::Partner => "rates.per_partner",
            Of::Key => "rates.per_key",
            Of::EndUser => "rates.per_end_user",
            Of::Address => "rates.per_address",
        }
    }

    fn who(self) -> &'static str {
        match self {
            Of::Partner => "the project",
            Of::Key => "this key",
            Of::EndUser => "an end user",
            Of::Address => "this address",
        }
    }
}

/// Too many requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} may send {per_minute} requests a minute ({} = {per_minute})", .of.who(), .of.setting())]
pub struct Limited {
    pub of: Of,
    pub per_minute: u64,
    /// How many may come at once.
    pub burst: u64,
    /// Seconds until the next one.
    pub retry_after_s: u32,
    /// When all of the burst is there again, in seconds since 1970.
    pub reset_at_s: i64,
}

/// What one caller may send. With Redis, `leased` of it were taken there in advance.
#[derive(Debug, Default)]
pub struct Limiter {
    own: Gcra,
    leased: AtomicI64,
    leased_until_ms: AtomicI64,
    /// There is nothing before this time, says Redis.
    refused_until_us: AtomicI64,
    refused_reset_us: AtomicI64,
    /// One exchange at a time.
    leasing: tokio::sync::Mutex<()>,
}

/// The limiters of everybody. Cheap to clone.
#[derive(Clone)]
pub struct Rates(Arc<Shared>);

struct Shared {
    /// By [`Of`], with the requests of a minute; `None`: as many as they like.
    rates: [Option<(u64, Rate)>; 4],
    exempt: Vec<IpNet>,
    clock: Clock,
    signals: Signals,
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<u64, Arc<Limiter>>>>,
}

impl Rates {
    pub fn new(settings: &settings::Rates, clock: Clock, signals: Signals) -> Rates {
        let rate = |of: Of| {
            let per_minute = match of {
                Of::Partner => settings.per_partner,
                Of::Key => settings.per_key,
                Of::EndUser => settings.per_end_user,
                Of::Address => settings.per_address,
            };
            let rate = Rate::new(per_minute, settings.burst).filter(|_| settings.enabled)?;
            Some((per_minute, rate))
        };
        Rates(Arc::new(Shared {
            rates: Of::ALL.map(rate),
            exempt: settings.exempt.clone(),
            clock,
            signals,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }))
    }

    /// Takes one request of this caller. `id` is what tells them from others of their kind.
    pub async fn take(&self, of: Of, id: &[&str]) -> Result<(), Limited> {
        let Some((per_minute, rate)) = self.0.rates[of as usize] else { return Ok(()) };
        let limiter = self.limiter(of, id);
        self.take_of(&limiter, of, id, per_minute, rate).await
    }

    /// The same for a partner, whose limiter is at hand.
    pub async fn take_partner(&self, limiter: &Limiter, id: &str) -> Result<(), Limited> {
        let Some((per_minute, rate)) = self.0.rates[Of::Partner as usize] else { return Ok(()) };
        self.take_of(limiter, Of::Partner, &[id], per_minute, rate).await
    }

    /// The same for an address, unless it is exempt. An IPv6 client usually has a whole /64 network.
    pub async fn take_address(&self, peer: IpAddr) -> Result<(), Limited> {
        if self.0.rates[Of::Address as usize].is_none() {
            return Ok(());
        }
        let peer = peer.to_canonical();
        if self.0.exempt.iter().any(|network| network.contains(&peer)) {
            return Ok(());
        }
        let address = match peer {
            IpAddr::V4(_) => peer,
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        };
        self.take(Of::Address, &[&address.to_string()]).await
    }

    /// How many requests of a partner are taken by this process at this moment.
    pub fn taken(&self, limiter: &Limiter) -> u64 {
        let rate = self.0.rates[Of::Partner as usize];
        rate.map_or(0, |(_, rate)| limiter.own.taken(rate, self.now_us()))
    }

    fn now_us(&self) -> i64 {
        self.0.clock.now_ms() * 1_000
    }

    async fn take_of(
        &self,
        limiter: &Limiter,
        of: Of,
        id: &[&str],
        per_minute: u64,
        rate: Rate,
    ) -> Result<(), Limited> {
        let now_us = self.now_us();
        let taken = match self.0.signals.has_shared() {
            true => self.take_shared(limiter, of, id, rate, now_us).await,
            false => limiter.own.take(rate, now_us),
        };
        taken.map(|_| ()).map_err(|left| {
            counter!("larder_refused_total", "cap" => of.setting()).increment(1);
            Limited {
                of,
                per_minute,
                burst: rate.burst as u64,
                retry_after_s: u32::try_from(left.wait_us.max(1) / 1_000_000 + 1).unwrap_or(u32::MAX),
                reset_at_s: (now_us + left.reset_us).div_euclid(1_000_000) + 1,
            }
        })
    }

    /// Takes one of those that were leased, or leases more.
    async fn take_shared(&self, limiter: &Limiter, of: Of, id: &[&str], rate: Rate, now_us: i64) -> Result<Left, Left> {
        if let Some(known) = limiter.known(now_us) {
            return known;
        }
        let _one = limiter.leasing.lock().await;
        // Somebody may have leased more meanwhile.
        if let Some(known) = limiter.known(now_us) {
            return known;
        }
        let wanted = (rate.burst / 10).clamp(1, LEASED_MAX);
        let word = of.setting();
        let key = trigger_key(&[&["rate", word][..], id].concat());
        match self.0.signals.take_rate(&key, rate.interval_us, rate.burst, wanted).await {
            Some(leased) if leased.granted > 0 => {
                limiter.leased.store(leased.granted - 1, Relaxed);
                limiter.leased_until_ms.store(now_us / 1_000 + LEASE_MS, Relaxed);
                let requests = leased.left + leased.granted - 1;
                Ok(Left { requests, wait_us: 0, reset_us: leased.reset_us })
            }
            Some(refused) => {
                limiter.refused_reset_us.store(now_us + refused.reset_us, Relaxed);
                limiter.refused_until_us.store(now_us + refused.wait_us.min(REFUSED_US_MAX), Relaxed);
                Err(Left { requests: 0, wait_us: refused.wait_us, reset_us: refused.reset_us })
            }
            // Redis went away.
            None => limiter.own.take(rate, now_us),
        }
    }

    fn limiter(&self, of: Of, id: &[&str]) -> Arc<Limiter> {
        let hash = self.0.hasher.hash_one((of as u8, id));
        let shard = &self.0.shards[hash as usize % SHARDS];
        let mut limiters = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limiter) = limiters.get(&hash) {
            return limiter.clone();
        }
        if limiters.len() >= PER_SHARD_MAX {
            let now_us = self.now_us();
            limiters.retain(|_, limiter| !limiter.is_idle(now_us));
            if limiters.len() >= PER_SHARD_MAX {
                limiters.clear();
            }
        }
        limiters.entry(hash).or_default().clone()
    }
}

impl Limiter {
    /// What is known without asking: one was leased, or there is nothing for a while.
    fn known(&self, now_us: i64) -> Option<Result<Left, Left>> {
        if now_us / 1_000 < self.leased_until_ms.load(Relaxed) {
            let one = self.leased.fetch_update(Relaxed, Relaxed, |left| (left > 0).then_some(left - 1));
            if let Ok(before) = one {
                return Some(Ok(Left { requests: before - 1, wait_us: 0, reset_us: 0 }));
            }
        }
        let wait_us = self.refused_until_us.load(Relaxed) - now_us;
        let reset_us = (self.refused_reset_us.load(Relaxed) - now_us).max(0);
        (1..=REFUSED_US_MAX).contains(&wait_us).then_some(Err(Left { requests: 0, wait_us, reset_us }))
    }

    /// Is nothing lost with it?
    fn is_idle(&self, now_us: i64) -> bool {
        self.own.is_idle(now_us)
            && (self.leased.load(Relaxed) == 0 || self.leased_until_ms.load(Relaxed) <= now_us / 1_000)
            && self.refused_until_us.load(Relaxed) <= now_us
    }
}
