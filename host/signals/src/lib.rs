//! Notifications, shared counters and the live tail, within a process and between processes.
//!
//! * [`Signals`]: [`push`](Signals::push) and [`wait`](Signals::wait) notify the tasks of one process.
//! * [`redis`]: carries notifications between processes while Redis is reachable.
//! * [`tail`]: streams executions to watchers as they end.
//! * [`lifecycle`]: starts and stops the tasks of the process. [`crash`]: the points at which crash tests end it. [`tls`]: the
//!   trusted certificate authorities.
//!
//! A notification carries no data: the database is the queue of record, and a notified task reads it. A lost notification
//! delays the work until the next poll.

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

pub use self::redis::{Error, Leased};
pub use self::tail::{DeploymentNotice, LiveTail, TailEvent, Watch};

/// The kinds of work that a notification announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Executions,
    Events,
    Fanouts,
    BulkActions,
    Builds,
    Schedules,
    Feeds,
    Mails,
    /// A tenant's snapshot has changed. Every process is notified; for the other kinds, one process is enough.
    Tenants,
}

impl Work {
    pub const ALL: [Work; 9] = [
        Work::Executions,
        Work::Events,
        Work::Fanouts,
        Work::BulkActions,
        Work::Builds,
        Work::Schedules,
        Work::Feeds,
        Work::Mails,
        Work::Tenants,
    ];

    fn word(self) -> &'static str {
        match self {
            Work::Executions => "executions",
            Work::Events => "events",
            Work::Fanouts => "fanouts",
            Work::BulkActions => "bulk_actions",
            Work::Builds => "builds",
            Work::Schedules => "schedules",
            Work::Feeds => "feeds",
            Work::Mails => "mails",
            Work::Tenants => "tenants",
        }
    }
}

/// The notifications, counters and live tail of this process. Clones share their state.
#[derive(Clone)]
pub struct Signals(Arc<Shared>);

struct Shared {
    local: [Notify; Work::ALL.len()],
    redis: Option<Redis>,
    live_tail: LiveTail,
    /// Live-tail messages for other processes. [`Signals::start`] takes the receiver.
    out: Mutex<Option<mpsc::Receiver<tail::Message>>>,
}

impl Signals {
    /// Opens the Redis of the settings, if they name one. Redis may be unreachable now; a version that is too old is refused.
    pub async fn open(settings: &settings::Redis) -> Result<Signals, Error> {
        let redis = if settings.url.is_empty() { None } else { Some(Redis::open(settings).await?) };
        let (out, outgoing) = mpsc::channel(tail::OUT_MAX);
        let shared =
            Shared { local: Default::default(), redis, live_tail: LiveTail::new(out), out: Mutex::new(Some(outgoing)) };
        Ok(Signals(Arc::new(shared)))
    }

    /// Notifies one waiter, or the next one to wait, for this kind of work, in this process and in another. It never blocks and
    /// never fails.
    pub fn push(&self, work: Work) {
        self.wake(work);
        if let Some(redis) = &self.0.redis {
            redis.push(work);
        }
    }

    /// The same in this process only.
    pub fn wake(&self, work: Work) {
        self.0.local[work as usize].notify_one();
    }

    /// Waits until there may be work of this kind, for at most `poll`.
    pub async fn wait(&self, work: Work, poll: Duration) {
        let _ = tokio::time::timeout(poll, self.0.local[work as usize].notified()).await;
    }

    /// Starts the tasks that send notifications to other processes and receive those of the `wanted` kinds, and that of the live
    /// tail.
    pub fn start(&self, wanted: &[Work], life: &Lifecycle) {
        life.spawn_last("live tail", self.live_tail().clone().tell_left_out());
        if self.0.redis.is_none() {
            return;
        }
        // A draining process still notifies others.
        life.spawn_last("notifications out", redis::send(self.clone()));
        life.spawn("notifications in", redis::receive(self.clone(), wanted.to_vec(), life.drain()));
        life.spawn("changes in", redis::listen(self.clone(), life.drain()));
        if let Some(out) = self.0.out.lock().expect("no panic under the lock").take() {
            life.spawn_last("live tail out", redis::publish(self.clone(), out));
        }
    }

    /// Adds to a counter that all processes share and that expires after `ttl`. Returns the sum, or `None` without Redis.
    pub async fn increment(&self, key: &str, by: u64, ttl: Duration) -> Option<u64> {
        self.0.redis.as_ref()?.increment(key, by, ttl).await
    }

    /// Are counters shared with other processes at this moment?
    pub fn has_shared(&self) -> bool {
        self.0.redis.as_ref().is_some_and(Redis::is_up)
    }

    /// Takes up to `wanted` requests of a rate that all processes share; `None` without Redis.
    pub async fn take_rate(&self, key: &str, interval_us: i64, burst: i64, wanted: i64) -> Option<Leased> {
        self.0.redis.as_ref()?.take_rate(key, interval_us, burst, wanted).await
    }

    /// Stores a value for all processes until `ttl`. Without Redis it does nothing.
    pub async fn set(&self, key: &str, value: Bytes, ttl: Duration) {
        if let Some(redis) = &self.0.redis {
            redis.set(key, value, ttl).await;
        }
    }

    /// Returns the stored value; `None` also without Redis.
    pub async fn get(&self, key: &str) -> Option<Bytes> {
        self.0.redis.as_ref()?.get(key).await
    }

    /// Deletes a stored value.
    pub async fn delete(&self, key: &str) {
        if let Some(redis) = &self.0.redis {
            redis.delete(key).await;
        }
    }

    /// The live tail of executions.
    pub fn live_tail(&self) -> &LiveTail {
        &self.0.live_tail
    }

    /// The state of Redis as text; `None` if none is configured.
    pub fn redis(&self) -> Option<String> {
        self.0.redis.as_ref().map(Redis::state)
    }
}
