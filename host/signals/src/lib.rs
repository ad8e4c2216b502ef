//! Wake-ups between the parts of Larder. They carry nothing: the database is the queue of record, and whoever wakes
//! looks there. A lost wake-up costs the time to the next poll.
//!
//! * [`Signals`]: [`push`](Signals::push) and [`wait`](Signals::wait), within one process.
//! * [`redis`]: the same between processes, as long as there is a Redis.
//! * [`tail`]: executions as they end, for whoever watches.
//! * [`lifecycle`]: starting and stopping the tasks of the process. [`crash`]: where tests end it. [`tls`]: whose certificates
//!   are believed.

pub mod crash;
pub mod lifecycle;
mod redis;
mod tail;
pub mod tls;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use larder_model::settings;
use tokio::sync::{Notify, mpsc};

use self::redis::Redis;
use crate::lifecycle::Lifecycle;

pub use self::redis::Error;
pub use self::tail::{LiveTail, TailEvent, Watch};

/// What there may be something of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Executions,
    Events,
    Fanouts,
    Builds,
    Schedules,
    Feeds,
    /// Something of a partner's snapshot has changed: every process looks, for the other kinds one is enough.
    Tenants,
}

impl Work {
    pub const ALL: [Work; 7] =
        [Work::Executions, Work::Events, Work::Fanouts, Work::Builds, Work::Schedules, Work::Feeds, Work::Tenants];

    fn word(self) -> &'static str {
        match self {
            Work::Executions => "executions",
            Work::Events => "events",
            Work::Fanouts => "fanouts",
            Work::Builds => "builds",
            Work::Schedules => "schedules",
            Work::Feeds => "feeds",
            Work::Tenants => "tenants",
        }
    }
}

#[derive(Clone)]
pub struct Signals(Arc<Shared>);

struct Shared {
    local: [Notify; Work::ALL.len()],
    redis: Option<Redis>,
    live_tail: LiveTail,
    /// What other processes should know of the tails, until [`Signals::start`] takes it.
    out: Mutex<Option<mpsc::Receiver<tail::Message>>>,
}

impl Signals {
    /// With the Redis of the settings, if they name one. It need not be there yet; one that is too old is refused.
    pub async fn open(settings: &settings::Redis) -> Result<Signals, Error> {
        let redis = if settings.url.is_empty() { None } else { Some(Redis::open(settings).await?) };
        let (out, outgoing) = mpsc::channel(tail::OUT_MAX);
        let shared =
            Shared { local: Default::default(), redis, live_tail: LiveTail::new(out), out: Mutex::new(Some(outgoing)) };
        Ok(Signals(Arc::new(shared)))
    }

    /// Wakes whoever waits for this kind of work, or the next one who comes to wait, here and in another process. It never
    /// waits and never fails.
    pub fn push(&self, work: Work) {
        self.wake(work);
        if let Some(redis) = &self.0.redis {
            redis.push(work);
        }
    }

    fn wake(&self, work: Work) {
        self.0.local[work as usize].notify_one();
    }

    /// Until there may be work of this kind, `poll` at most.
    pub async fn wait(&self, work: Work, poll: Duration) {
        let _ = tokio::time::timeout(poll, self.0.local[work as usize].notified()).await;
    }

    /// Carries wake-ups to other processes, and those of the kinds that this process works on from them.
    pub fn start(&self, wanted: &[Work], life: &Lifecycle) {
        if self.0.redis.is_none() {
            return;
        }
        // Whoever drains still wakes others.
        life.spawn_last("wake-ups out", redis::send(self.clone()));
        life.spawn("wake-ups in", redis::receive(self.clone(), wanted.to_vec(), life.drain()));
        life.spawn("changes in", redis::listen(self.clone(), life.drain()));
        if let Some(out) = self.0.out.lock().expect("no panic under the lock").take() {
            life.spawn_last("tails out", redis::publish(self.clone(), out));
        }
    }

    /// Adds to a count that all processes share and that is forgotten after a time; gives its sum, `None` without Redis.
    pub async fn increment(&self, key: &str, by: u64, ttl: Duration) -> Option<u64> {
        self.0.redis.as_ref()?.increment(key, by, ttl).await
    }

    /// Keeps a value for all processes, if it can be kept.
    pub async fn set(&self, key: &str, value: Bytes, ttl: Duration) {
        if let Some(redis) = &self.0.redis {
            redis.set(key, value, ttl).await;
        }
    }

    /// What was kept; `None` also without Redis.
    pub async fn get(&self, key: &str) -> Option<Bytes> {
        self.0.redis.as_ref()?.get(key).await
    }

    pub async fn delete(&self, key: &str) {
        if let Some(redis) = &self.0.redis {
            redis.delete(key).await;
        }
    }

    pub fn live_tail(&self) -> &LiveTail {
        &self.0.live_tail
    }

    /// How it stands with Redis, for people; `None` if there is none.
    pub fn redis(&self) -> Option<String> {
        self.0.redis.as_ref().map(Redis::state)
    }
}
