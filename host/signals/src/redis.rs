//! Notifications between processes, through Redis 6.2 or later.
//!
//! Each kind of work has one stream with one consumer group, so an entry notifies one process: the one that has waited
//! longest. Entries are read without acknowledgement (`NOACK`). They carry no data, and an entry that is lost with its reader
//! delays the work until the next poll. Several pushes of one kind are coalesced into one entry. Tenant changes and the
//! messages of [`crate::tail`] are published on channels instead, because every process must receive them.
//!
//! **Redis may become unavailable at any moment**: flushed, restarted, disconnected or unresponsive. Missing consumer groups
//! are created again, and connections are retried without limit. After each outage every kind of work is notified once,
//! because notifications may have been lost. Commands: Redis documentation of XADD, XREADGROUP, XGROUP CREATE, PUBLISH.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fred::clients::{Client, SubscriberClient};
use fred::prelude::{
    Builder, ClientLike, Config, EventInterface, KeysInterface, LuaInterface, PubsubInterface, ReconnectPolicy,
    StreamsInterface, Value,
};
use fred::types::config::{Options, TlsConnector};
use fred::types::{Expiration, InfoKind};
use larder_model::ids::PartnerId;
use larder_model::settings;
use larder_secrets::read_private;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::tail::Message;
use crate::{Signals, Work};

const GROUP: &str = "larder";
/// The maximum length of a stream that nobody reads.
const ENTRIES_MAX: i64 = 1_000;
/// How long a read blocks in Redis for an entry.
const BLOCK: Duration = Duration::from_secs(2);
const OLDEST: (u32, u32) = (6, 2);
/// The shortest and the longest delay between two connection attempts.
const RECONNECT_MS: (u32, u32) = (100, 3_000);
/// The generic cell rate algorithm over all processes: the value is the time at which everything that was taken is paid for. Times
/// are microseconds, which a Lua number tells apart until the year 2255.
const TAKE_RATE: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local paid = tonumber(redis.call('GET', KEYS[1]) or '0')
if paid < now then paid = now end
local room = math.floor((now + interval * burst - paid) / interval)
local granted = math.max(0, math.min(wanted, room))
if granted > 0 then
  paid = paid + granted * interval
  redis.call('SET', KEYS[1], string.format('%.0f', paid), 'PX', math.ceil((paid - now) / 1000) + 1000)
end
local wait = 0
if room < 1 then wait = paid + interval - now - interval * burst end
return {granted, math.max(0, room - granted), wait, paid - now}";
/// Received messages that wait to be processed.
const MESSAGES_MAX: usize = 1_024;
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("redis.{setting}: {why}")]
    Settings { setting: &'static str, why: String },
    #[error("redis.url: Redis 6.2 or later is needed, this is {0}")]
    TooOld(String),
}

/// Requests that were taken of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leased {
    pub granted: i64,
    /// How many more there are.
    pub left: i64,
    /// Until there is one again, if none was granted.
    pub wait_us: i64,
    /// Until all are there again.
    pub reset_us: i64,
}

pub struct Redis {
    config: Config,
    prefix: String,
    /// Distinguishes the messages of this process from those of others.
    origin: u64,
    timeout: Duration,
    /// For commands that do not block.
    client: Client,
    /// The kinds that were pushed and have not been sent yet.
    pushed: [AtomicBool; Work::ALL.len()],
    sender: Notify,
    /// When Redis became unreachable; `None` while it is reachable.
    down_since: Mutex<Option<Instant>>,
}

impl Redis {
    pub async fn open(settings: &settings::Redis) -> Result<Redis, Error> {
        let wrong = |setting, why: String| Error::Settings { setting, why };
        let mut config = Config::from_url(&settings.url).map_err(|err| wrong("url", err.details().to_owned()))?;
        if !settings.password_file.as_os_str().is_empty() {
            let password = read_private(&settings.password_file)
                .map_err(|err| wrong("password_file", format!("{}: {err}", settings.password_file.display())))?;
            config.password = Some(password.trim().to_owned());
        }
        let authority = &settings.ca_file;
        if config.tls.is_some() {
            let tls = crate::tls::client(authority, authority.as_os_str().is_empty());
            let (tls, _) = tls.map_err(|err| wrong("ca_file", format!("{err:#}")))?;
            config.tls = Some(TlsConnector::from(tls).into());
        } else if !authority.as_os_str().is_empty() {
            return Err(wrong("ca_file", "redis.url must begin with rediss:// then".into()));
        }
        config.fail_fast = false;
        let client = builder(&config, settings.timeout).build();
        let redis = Redis {
            client: client.map_err(|err| wrong("url", err.details().to_owned()))?,
            config,
            prefix: settings.prefix.clone(),
            origin: getrandom::u64().expect("the operating system gives random bytes"),
            timeout: settings.timeout,
            pushed: Default::default(),
            sender: Notify::new(),
            down_since: Mutex::new(Some(Instant::now())),
        };
        redis.check().await?;
        Ok(redis)
    }

    /// Refuses a Redis that is too old. A Redis that does not answer now may answer later.
    async fn check(&self) -> Result<(), Error> {
        let _connecting = self.client.connect();
        let asked = async {
            self.client.wait_for_connect().await?;
            self.version().await
        };
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(Ok(version)) => {
                if !supported(&version) {
                    return Err(Error::TooOld(version));
                }
                let _ = self.mark_up();
            }
            Ok(Err(err)) => {
                tracing::warn!(error = %err, "Redis does not answer; until it does, work is found by polling")
            }
            Err(_) => tracing::warn!("Redis cannot be reached; until it can, work is found by polling"),
        }
        Ok(())
    }

    async fn version(&self) -> Result<String, fred::error::Error> {
        let info: String = self.client.info(Some(InfoKind::Server)).await?;
        Ok(info.lines().find_map(|line| line.trim().strip_prefix("redis_version:")).unwrap_or("").to_owned())
    }

    /// Notifies every kind of work after an outage or a flush, and checks the version again: it may be another server.
    async fn wake_all(&self, signals: &Signals) {
        Work::ALL.into_iter().for_each(|work| signals.wake(work));
        if let Ok(version) = self.version().await
            && !supported(&version)
        {
            tracing::error!("{}: commands may fail silently", Error::TooOld(version));
        }
    }

    pub fn push(&self, work: Work) {
        self.pushed[work as usize].store(true, Ordering::Release);
        self.sender.notify_one();
    }

    pub fn state(&self) -> String {
        match *self.down_since.lock().expect("no panic under the lock") {
            None => "ok".into(),
            Some(since) => format!("gone for {} s; work is found by polling", since.elapsed().as_secs()),
        }
    }

    /// Records that Redis answers. Returns `true` if it did not before.
    fn mark_up(&self) -> bool {
        metrics::gauge!("larder_redis_up").set(1.0);
        let gone = self.down_since.lock().expect("no panic under the lock").take();
        if let Some(since) = gone {
            tracing::info!(gone_ms = since.elapsed().as_millis() as u64, "Redis is reachable");
        }
        gone.is_some()
    }

    fn mark_down(&self, why: &fred::error::Error) {
        metrics::gauge!("larder_redis_up").set(0.0);
        let mut gone = self.down_since.lock().expect("no panic under the lock");
        if gone.is_none() {
            *gone = Some(Instant::now());
            tracing::warn!(error = %why, "Redis is unreachable; until it is back, work is found by polling");
        }
    }

    /// The client, unless Redis is unreachable: optional commands do not wait for it.
    fn if_up(&self) -> Option<&Client> {
        self.down_since.lock().expect("no panic under the lock").is_none().then_some(&self.client)
    }

    pub async fn set(&self, key: &str, value: Bytes, ttl: Duration) {
        let Some(client) = self.if_up() else { return };
        let ms = Expiration::PX(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX).max(1));
        if let Err(err) = client.set::<(), _, _>(format!("{}:{key}", self.prefix), value, Some(ms), None, false).await {
            tracing::debug!(error = %err, "a value was not stored in Redis");
        }
    }

    pub async fn get(&self, key: &str) -> Option<Bytes> {
        self.if_up()?.get(format!("{}:{key}", self.prefix)).await.ok()?
    }

    pub async fn delete(&self, key: &str) {
        let Some(client) = self.if_up() else { return };
        let _ = client.del::<(), _>(format!("{}:{key}", self.prefix)).await;
    }

    pub async fn increment(&self, key: &str, by: u64, ttl: Duration) -> Option<u64> {
        self.if_up()?;
        let key = format!("{}:{key}", self.prefix);
        let sum: i64 = self.client.incr_by(&key, i64::try_from(by).ok()?).await.ok()?;
        let _ = self.client.expire::<(), _>(&key, ttl.as_secs() as i64, None).await;
        u64::try_from(sum).ok()
    }

    pub fn is_up(&self) -> bool {
        self.down_since.lock().expect("no panic under the lock").is_none()
    }

    pub async fn take_rate(&self, key: &str, interval_us: i64, burst: i64, wanted: i64) -> Option<Leased> {
        self.if_up()?;
        let key = format!("{}:rate:{key}", self.prefix);
        let taken: Vec<i64> = self.client.eval(TAKE_RATE, vec![key], vec![interval_us, burst, wanted]).await.ok()?;
        let [granted, left, wait_us, reset_us] = <[i64; 4]>::try_from(taken).ok()?;
        Some(Leased { granted, left, wait_us, reset_us })
    }

    fn stream(&self, work: Work) -> String {
        format!("{}:wake:{}", self.prefix, work.word())
    }

    fn channel(&self) -> String {
        format!("{}:{}", self.prefix, Work::Tenants.word())
    }

    fn watched_channel(&self) -> String {
        format!("{}:watched", self.prefix)
    }

    /// One for each partner, so that nobody is told twice who watches a function and its partner.
    fn tail_channel(&self, partner: &PartnerId) -> String {
        format!("{}:tail:{partner}", self.prefix)
    }
}

fn builder(config: &Config, timeout: Duration) -> Builder {
    let mut builder = Builder::from_config(config.clone());
    builder
        .with_performance_config(|performance| {
            performance.default_command_timeout = timeout;
            performance.broadcast_channel_capacity = MESSAGES_MAX;
        })
        .with_connection_config(|connection| {
            connection.connection_timeout = timeout;
            connection.internal_command_timeout = timeout;
            connection.max_command_attempts = 1;
            // A connection that accepts commands and never answers is closed and retried.
            connection.unresponsive.max_timeout = Some(BLOCK + timeout);
        })
        .set_policy(ReconnectPolicy::new_exponential(0, RECONNECT_MS.0, RECONNECT_MS.1, 2));
    builder
}

fn supported(version: &str) -> bool {
    let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= OLDEST
}

fn redis(signals: &Signals) -> &Redis {
    signals.0.redis.as_ref().expect("only started with one")
}

/// Sends pushed notifications for as long as the process lives. A notification that cannot be sent is dropped: after an outage
/// every kind of work is notified anyway.
pub async fn send(signals: Signals) {
    let redis = redis(&signals);
    let client = &redis.client;
    loop {
        redis.sender.notified().await;
        for work in Work::ALL {
            if !redis.pushed[work as usize].swap(false, Ordering::AcqRel) {
                continue;
            }
            let sent = if work == Work::Tenants {
                client.publish::<(), _, _>(redis.channel(), "").await
            } else {
                client.xadd(redis.stream(work), false, ("MAXLEN", "~", ENTRIES_MAX), "*", ("w", "")).await
            };
            if let Err(err) = sent {
                tracing::debug!(error = %err, work = work.word(), "a notification was not sent");
            }
        }
    }
}

/// Receives the notifications of other processes until this one drains. A process without work of its own only pings Redis.
pub async fn receive(signals: Signals, wanted: Vec<Work>, drain: CancellationToken) {
    let redis = redis(&signals);
    // A blocking read occupies its connection, so it has one of its own.
    let client = redis.client.clone_new();
    let _connecting = client.connect();
    let streams: Vec<(String, Work)> = wanted.into_iter().map(|work| (redis.stream(work), work)).collect();
    let keys: Vec<&str> = streams.iter().map(|(key, _)| key.as_str()).collect();
    let options = Options { timeout: Some(BLOCK + redis.timeout), ..Options::default() };
    let mut had_groups = false;
    while !drain.is_cancelled() {
        let read = async {
            if keys.is_empty() {
                tokio::time::sleep(BLOCK).await;
                return client.ping::<Value>(None).await.map(|_| Value::Null);
            }
            let (keys, new) = (keys.clone(), vec![">"; keys.len()]);
            // One at a time, so that the next entry goes to the next process.
            let block = Some(BLOCK.as_millis() as u64);
            client.with_options(&options).xreadgroup(GROUP, GROUP, Some(1), block, true, keys, new).await
        };
        let read = tokio::select! {
            read = read => read,
            () = drain.cancelled() => break,
        };
        match read {
            Ok(found) => {
                if redis.mark_up() {
                    redis.wake_all(&signals).await;
                }
                for key in streams_in(found) {
                    if let Some((_, work)) = streams.iter().find(|(stream, _)| *stream == key) {
                        signals.wake(*work);
                    }
                }
            }
            // The group or the whole stream does not exist: flushed, evicted, or not created yet.
            Err(err) if ["NOGROUP", "UNBLOCKED"].iter().any(|word| err.details().contains(word)) => {
                if make_groups(&client, &keys).await && had_groups {
                    metrics::counter!("larder_queue_groups_recreated_total").increment(1);
                    tracing::info!("the notification streams were missing and have been created again");
                }
                had_groups = true;
                let _ = redis.mark_up();
                redis.wake_all(&signals).await;
            }
            Err(err) => {
                redis.mark_down(&err);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    let _ = client.quit().await;
}

/// Creates the missing consumer groups. Returns whether any was created.
async fn make_groups(client: &Client, keys: &[&str]) -> bool {
    let mut made = false;
    for key in keys {
        // From the first entry, so that entries pushed before the group existed are delivered.
        match client.xgroup_create::<(), _, _, _>(*key, GROUP, "0", true).await {
            Ok(()) => made = true,
            Err(err) if err.details().contains("BUSYGROUP") => {}
            Err(err) => {
                tracing::debug!(error = %err, "a consumer group could not be created");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    made
}

/// The names of the streams in an answer to XREADGROUP: `[[name, entries], …]`, or nothing.
fn streams_in(found: Value) -> Vec<String> {
    let names =
        found.into_array().into_iter().filter_map(|stream| stream.into_array().into_iter().next()?.into_string());
    names.collect()
}

/// Publishes live-tail messages to other processes. While Redis is unreachable they are dropped.
pub async fn publish(signals: Signals, mut out: mpsc::Receiver<Message>) {
    let redis = redis(&signals);
    while let Some(message) = out.recv().await {
        if redis.down_since.lock().expect("no panic under the lock").is_some() {
            continue;
        }
        let channel = match &message {
            Message::Ask | Message::Watched(..) | Message::WatchedAll(_) => redis.watched_channel(),
            Message::Ended(execution) => redis.tail_channel(&execution.partner),
            Message::Deployment(notice) => redis.tail_channel(&notice.partner),
            Message::LeftOut(partner, ..) => redis.tail_channel(partner),
        };
        let text = serde_json::to_string(&(redis.origin, message)).expect("texts and numbers");
        if let Err(err) = redis.client.publish::<(), _, _>(channel, text).await {
            tracing::debug!(error = %err, "a live-tail message was not sent");
        }
    }
}

/// Receives tenant changes and live-tail messages of other processes until this one drains.
pub async fn listen(signals: Signals, drain: CancellationToken) {
    let redis = redis(&signals);
    let Ok(client): Result<SubscriberClient, _> = builder(&redis.config, redis.timeout).build_subscriber_client()
    else {
        return;
    };
    let _connecting = client.connect();
    let mut messages = client.message_rx();
    let mut reconnections = client.reconnect_rx();
    while !drain.is_cancelled() {
        match client.subscribe(vec![redis.channel(), redis.watched_channel()]).await {
            Ok(()) => break,
            Err(err) => {
                tracing::debug!(error = %err, "the subscription to changes failed and is retried");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // What changed before the subscription stood was published to nobody here.
    signals.wake(Work::Tenants);
    signals.live_tail().ask();
    let mut followed = BTreeSet::new();
    loop {
        tokio::select! {
            Ok(_) = reconnections.recv() => {
                // If this fails, the connection is lost again, and there is another reconnection.
                if let Err(err) = client.resubscribe_all().await {
                    tracing::debug!(error = %err, "the subscription to changes could not be renewed");
                }
                signals.wake(Work::Tenants);
            }
            message = messages.recv() => match message {
                Ok(message) if message.channel == redis.channel() => signals.wake(Work::Tenants),
                Ok(message) => receive_message(&signals, message.value),
                // A slow reader has missed messages; one notification replaces them.
                Err(RecvError::Lagged(_)) => signals.wake(Work::Tenants),
                Err(RecvError::Closed) => break,
            },
            () = signals.live_tail().changed() => {
                follow(&signals, &client, &mut followed).await;
                // After subscribing: the others start to publish as soon as they know of the watch.
                signals.live_tail().announce();
            }
            () = drain.cancelled() => break,
        }
    }
    let _ = client.quit().await;
}

fn receive_message(signals: &Signals, text: Value) {
    let message = text.as_str().and_then(|text| serde_json::from_str::<(u64, Message)>(&text).ok());
    match message {
        Some((origin, message)) if origin != redis(signals).origin => signals.live_tail().receive(message),
        Some(_) => {}
        // For example, during an upgrade.
        None => tracing::debug!("a live-tail message could not be parsed"),
    }
}

/// Subscribes to exactly the partners of which something is watched in this process. A failure is retried at the next announcement.
async fn follow(signals: &Signals, client: &SubscriberClient, followed: &mut BTreeSet<String>) {
    let redis = redis(signals);
    let watched = signals.live_tail().watched_here();
    let wanted: BTreeSet<String> = watched.iter().map(|(partner, _)| redis.tail_channel(partner)).collect();
    let (new, old): (Vec<_>, Vec<_>) =
        (wanted.difference(followed).cloned().collect(), followed.difference(&wanted).cloned().collect());
    if !new.is_empty() && client.subscribe(new.clone()).await.is_ok() {
        followed.extend(new);
    }
    if !old.is_empty() && client.unsubscribe(old.clone()).await.is_ok() {
        followed.retain(|channel| !old.contains(channel));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (version, expected) in
            [("7.0.15", true), ("6.2.0", true), ("6.0.16", false), ("5.0.7", false), ("10.1", true), ("", false)]
        {
            assert_eq!(supported(version), expected, "{version}");
        }
    }
}
