//! The live tail: publishes executions, as they end, and deployments, as they change, to the watchers of their function or of
//! their whole partner.
//!
//! * [`LiveTail::watch`] and [`LiveTail::watch_all`] return a [`Watch`]; [`LiveTail::publish`] sends an execution to all watches
//!   of its function and of its partner, [`LiveTail::deployment`] tells that a deployment has changed.
//! * [`crate::redis`] carries [`Message`]s between processes. A process announces what is watched in it every [`ANNOUNCE`], and
//!   others publish to it until [`REMEMBERED`] after its last announcement.
//!
//! Nothing is stored: a watcher that is disconnected misses executions, and their records are in the database. Publishing never
//! blocks, and costs one atomic load while nobody watches anything.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use larder_model::Execution;
use larder_model::ids::{DeploymentId, FunctionId, PartnerId};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, mpsc};

/// The interval between two announcements of what is watched here.
pub const ANNOUNCE: Duration = Duration::from_secs(20);
const REMEMBERED: Duration = Duration::from_secs(60);
/// The maximum number of watches of functions in this process, and of one tenant among them.
const WATCHES_MAX: usize = 64;
const WATCHES_PER_PARTNER: usize = 8;
/// The same of watches of whole partners.
const PARTNER_WATCHES_MAX: usize = 512;
const PARTNER_WATCHES_PER_PARTNER: usize = 32;
/// The maximum number of watched things that other processes can announce.
const ANNOUNCED_MAX: usize = 1_024;
/// Executions buffered for a slow reader; older ones are dropped.
const WAITING_MAX: usize = 64;
/// The maximum bytes of an execution's logs and of its errors; their end is sent.
const TEXT_MAX: usize = 16 * 1024;
/// The maximum number of messages that wait to be sent to other processes.
pub const OUT_MAX: usize = 256;

/// A message between processes.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// Asks the other processes what they watch.
    Ask,
    /// A process watches this function.
    Watched(PartnerId, FunctionId),
    Ended(Box<Execution>),
    /// A process watches all functions of this partner.
    WatchedAll(PartnerId),
    Deployment(Box<DeploymentNotice>),
}

/// A deployment has changed. What it is now, the database says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentNotice {
    pub partner: PartnerId,
    pub function: FunctionId,
    pub id: DeploymentId,
    /// It is new.
    pub created: bool,
}

/// An event that a watch receives.
#[derive(Clone, Debug)]
pub enum TailEvent {
    Ended(Arc<Execution>),
    Deployment(Arc<DeploymentNotice>),
    /// This many events were dropped because the reader is too slow.
    Dropped(u64),
}

/// What is watched: a function, or with `None` all of the partner's.
type Key = (PartnerId, Option<FunctionId>);

/// What a channel carries.
#[derive(Clone)]
enum Notice {
    Ended(Arc<Execution>),
    Deployment(Arc<DeploymentNotice>),
}

/// The watches of this process. Clones share their state.
#[derive(Clone)]
pub struct LiveTail(Arc<Shared>);

struct Shared {
    watched: Mutex<HashMap<Key, Watched>>,
    /// The number of keys in the map.
    count: AtomicUsize,
    /// Notified when what is watched in this process changes.
    changed: Notify,
    out: mpsc::Sender<Message>,
}

/// What somebody watches.
#[derive(Default)]
struct Watched {
    here: Option<broadcast::Sender<Notice>>,
    elsewhere_until: Option<Instant>,
}

impl Watched {
    fn watches(&self) -> usize {
        self.here.as_ref().map_or(0, broadcast::Sender::receiver_count)
    }

    fn is_watched_elsewhere(&self) -> bool {
        self.elsewhere_until.is_some_and(|until| until > Instant::now())
    }
}

impl LiveTail {
    /// `out` receives the messages for other processes.
    pub fn new(out: mpsc::Sender<Message>) -> LiveTail {
        LiveTail(Arc::new(Shared {
            watched: Mutex::default(),
            count: AtomicUsize::new(0),
            changed: Notify::new(),
            out,
        }))
    }

    /// Watches a function until the watch is dropped. Returns `None` if this process or this tenant has reached its limit.
    pub fn watch(&self, partner: &PartnerId, function: &FunctionId) -> Option<Watch> {
        self.watch_key((partner.clone(), Some(function.clone())), WATCHES_MAX, WATCHES_PER_PARTNER)
    }

    /// Watches all functions of a partner in the same way.
    pub fn watch_all(&self, partner: &PartnerId) -> Option<Watch> {
        self.watch_key((partner.clone(), None), PARTNER_WATCHES_MAX, PARTNER_WATCHES_PER_PARTNER)
    }

    fn watch_key(&self, key: Key, most: usize, most_of_partner: usize) -> Option<Watch> {
        let receiver = {
            let mut watched = self.lock();
            let alike = || watched.iter().filter(|((_, function), _)| function.is_some() == key.1.is_some());
            let all: usize = alike().map(|(_, watched)| watched.watches()).sum();
            let of_partner: usize = alike().filter(|((p, _), _)| *p == key.0).map(|(_, w)| w.watches()).sum();
            if all >= most || of_partner >= most_of_partner {
                return None;
            }
            let here = &mut watched.entry(key.clone()).or_default().here;
            let receiver = here.get_or_insert_with(|| broadcast::channel(WAITING_MAX).0).subscribe();
            self.0.count.store(watched.len(), Ordering::Relaxed);
            receiver
        };
        self.0.changed.notify_one();
        Some(Watch { receiver: Some(receiver), key, tail: self.clone() })
    }

    /// Publishes an execution that has ended to the watchers of its function and of its partner.
    pub fn publish(&self, execution: &Execution) {
        let Some((here, elsewhere)) = self.watchers(&execution.partner, &execution.function) else { return };
        let mut execution = execution.clone();
        execution.request = execution.request.recorded();
        for text in [&mut execution.logs, &mut execution.errors] {
            let from = text.ceil_char_boundary(text.len().saturating_sub(TEXT_MAX));
            text.drain(..from);
        }
        if elsewhere {
            self.send_out(Message::Ended(Box::new(execution.clone())));
        }
        send(&here, Notice::Ended(Arc::new(execution)));
    }

    /// Tells the watchers of its function and of its partner that a deployment has changed.
    pub fn deployment(&self, notice: impl FnOnce() -> DeploymentNotice) {
        if self.0.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let notice = notice();
        let Some((here, elsewhere)) = self.watchers(&notice.partner, &notice.function) else { return };
        if elsewhere {
            self.send_out(Message::Deployment(Box::new(notice.clone())));
        }
        send(&here, Notice::Deployment(Arc::new(notice)));
    }

    /// Who watches this function or all of the partner's: in this process, and whether in others; `None` if nobody does.
    fn watchers(&self, partner: &PartnerId, function: &FunctionId) -> Option<(Vec<broadcast::Sender<Notice>>, bool)> {
        if self.0.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let watched = self.lock();
        let keys = [(partner.clone(), Some(function.clone())), (partner.clone(), None)];
        let found: Vec<&Watched> = keys.iter().filter_map(|key| watched.get(key)).collect();
        let elsewhere = found.iter().any(|watched| watched.is_watched_elsewhere());
        let here: Vec<_> = found.iter().filter_map(|watched| watched.here.clone()).collect();
        (elsewhere || !here.is_empty()).then_some((here, elsewhere))
    }

    fn send_out(&self, message: Message) {
        if self.0.out.try_send(message).is_err() {
            metrics::counter!("larder_tail_dropped_total").increment(1);
        }
    }

    /// Handles a message of another process.
    pub fn receive(&self, message: Message) {
        match message {
            Message::Ask => self.0.changed.notify_one(),
            Message::Watched(partner, function) => self.remember((partner, Some(function))),
            Message::WatchedAll(partner) => self.remember((partner, None)),
            Message::Ended(execution) => {
                if let Some((here, _)) = self.watchers(&execution.partner, &execution.function) {
                    send(&here, Notice::Ended(Arc::from(execution)));
                }
            }
            Message::Deployment(notice) => {
                if let Some((here, _)) = self.watchers(&notice.partner, &notice.function) {
                    send(&here, Notice::Deployment(Arc::from(notice)));
                }
            }
        }
    }

    fn remember(&self, key: Key) {
        let mut watched = self.lock();
        watched.retain(|_, watched| watched.watches() > 0 || watched.is_watched_elsewhere());
        if watched.len() < ANNOUNCED_MAX || watched.contains_key(&key) {
            watched.entry(key).or_default().elsewhere_until = Some(Instant::now() + REMEMBERED);
        }
        self.0.count.store(watched.len(), Ordering::Relaxed);
    }

    /// What is watched in this process.
    pub fn watched_here(&self) -> Vec<Key> {
        self.lock().iter().filter(|(_, watched)| watched.watches() > 0).map(|(key, _)| key.clone()).collect()
    }

    /// Waits until what is watched in this process changes, for at most [`ANNOUNCE`].
    pub async fn changed(&self) {
        let _ = tokio::time::timeout(ANNOUNCE, self.0.changed.notified()).await;
    }

    /// Asks the other processes what they watch.
    pub fn ask(&self) {
        let _ = self.0.out.try_send(Message::Ask);
    }

    /// Announces the watches of this process to the other processes.
    pub fn announce(&self) {
        for (partner, function) in self.watched_here() {
            let _ = self.0.out.try_send(match function {
                Some(function) => Message::Watched(partner, function),
                None => Message::WatchedAll(partner),
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Watched>> {
        self.0.watched.lock().expect("no panic under the lock")
    }
}

fn send(here: &[broadcast::Sender<Notice>], notice: Notice) {
    for sender in here {
        // It fails when the last watch has just been dropped.
        let _ = sender.send(notice.clone());
    }
}

/// One reader's view of what is watched.
pub struct Watch {
    /// `None` only while it is dropped.
    receiver: Option<broadcast::Receiver<Notice>>,
    key: Key,
    tail: LiveTail,
}

impl Watch {
    /// Waits for the next event. It is cancel-safe: dropping the future loses no event.
    pub async fn next(&mut self) -> Option<TailEvent> {
        match self.receiver.as_mut()?.recv().await {
            Ok(Notice::Ended(execution)) => Some(TailEvent::Ended(execution)),
            Ok(Notice::Deployment(notice)) => Some(TailEvent::Deployment(notice)),
            Err(RecvError::Lagged(dropped)) => {
                metrics::counter!("larder_tail_dropped_total").increment(dropped);
                Some(TailEvent::Dropped(dropped))
            }
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        {
            let mut watched = self.tail.lock();
            // Under the lock, so that the last watch to be dropped sees that it is the last.
            self.receiver = None;
            if let Some(own) = watched.get_mut(&self.key)
                && own.watches() == 0
            {
                own.here = None;
                if !own.is_watched_elsewhere() {
                    watched.remove(&self.key);
                }
            }
            self.tail.0.count.store(watched.len(), Ordering::Relaxed);
        }
        self.tail.0.changed.notify_one();
    }
}
