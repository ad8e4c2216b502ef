//! The live tail: publishes executions, as they end, and deployments, as they change, to the watchers of their function or of
//! their whole partner.
//!
//! * [`LiveTail::watch`] and [`LiveTail::watch_all`] return a [`Watch`]; [`LiveTail::publish`] sends an execution to all watches
//!   of its function and of its partner, [`LiveTail::deployment`] tells that a deployment has changed.
//! * [`crate::redis`] carries [`Message`]s between processes. A process announces what is watched in it every [`ANNOUNCE`], and
//!   others publish to it until [`REMEMBERED`] after its last announcement.
//!
//! Nothing is stored: a watcher that is disconnected misses executions, and their records are in the database. Publishing never
//! blocks, and costs one atomic load while nobody watches anything. However much happens, watchers are told of
//! [`PER_WINDOW`] executions of what they watch in each [`WINDOW`], and of the number of the others: what watching costs does
//! not grow with what is watched.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures::FutureExt;
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
/// The executions that are told in one [`WINDOW`] for a watched function, and for all of a partner together if that is watched.
/// Of further ones only the number is told, after it.
pub const PER_WINDOW: u32 = 32;
pub const WINDOW: Duration = Duration::from_millis(250);
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
    /// So many executions of what is watched ended and are not told one by one.
    LeftOut(PartnerId, Option<FunctionId>, u64),
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
    /// This many events are not told: too much happened at once, or the reader is too slow.
    Dropped(u64),
}

/// What is watched: a function, or with `None` all of the partner's.
type Key = (PartnerId, Option<FunctionId>);

/// What a channel carries: something that happened, if it is told, and the number of things that have happened up to here.
type Told = (u64, Option<Notice>);

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
    /// Notified when something is left out.
    left_out: Notify,
    out: mpsc::Sender<Message>,
}

/// What somebody watches.
#[derive(Default)]
struct Watched {
    here: Option<broadcast::Sender<Told>>,
    /// Things that have happened, also those that are not told.
    happened: u64,
    elsewhere_until: Option<Instant>,
    /// When the window began that is counted now.
    window: Option<Instant>,
    in_window: u32,
    left_out: u64,
}

impl Watched {
    fn watches(&self) -> usize {
        self.here.as_ref().map_or(0, broadcast::Sender::receiver_count)
    }

    fn is_watched_elsewhere(&self) -> bool {
        self.elsewhere_until.is_some_and(|until| until > Instant::now())
    }

    /// Is there room for one more execution in this window?
    fn takes(&mut self) -> bool {
        if self.window.is_none_or(|begun| begun.elapsed() >= WINDOW) {
            (self.window, self.in_window) = (Some(Instant::now()), 0);
        }
        let takes = self.in_window < PER_WINDOW;
        self.in_window += u32::from(takes);
        takes
    }

    /// Tells the watches here of this, or that so many things have happened.
    fn tell(&mut self, count: u64, notice: Option<Notice>) {
        self.happened += count;
        if let Some(here) = &self.here {
            // It fails when the last watch has just been dropped.
            let _ = here.send((self.happened, notice));
        }
    }
}

impl LiveTail {
    /// `out` receives the messages for other processes.
    pub fn new(out: mpsc::Sender<Message>) -> LiveTail {
        LiveTail(Arc::new(Shared {
            watched: Mutex::default(),
            count: AtomicUsize::new(0),
            changed: Notify::new(),
            left_out: Notify::new(),
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
        let (receiver, seen) = {
            let mut watched = self.lock();
            let alike = || watched.iter().filter(|((_, function), _)| function.is_some() == key.1.is_some());
            let all: usize = alike().map(|(_, watched)| watched.watches()).sum();
            let of_partner: usize = alike().filter(|((p, _), _)| *p == key.0).map(|(_, w)| w.watches()).sum();
            if all >= most || of_partner >= most_of_partner {
                return None;
            }
            let own = watched.entry(key.clone()).or_default();
            let receiver = own.here.get_or_insert_with(|| broadcast::channel(WAITING_MAX).0).subscribe();
            let seen = own.happened;
            self.0.count.store(watched.len(), Ordering::Relaxed);
            (receiver, seen)
        };
        self.0.changed.notify_one();
        Some(Watch { receiver: Some(receiver), seen, after: None, key, tail: self.clone() })
    }

    /// Publishes an execution that has ended to the watchers of its function and of its partner.
    pub fn publish(&self, execution: &Execution) {
        let Some((takers, elsewhere)) = self.takers(&execution.partner, &execution.function, true) else { return };
        let mut execution = execution.clone();
        execution.request = execution.request.recorded();
        for text in [&mut execution.logs, &mut execution.errors] {
            let from = text.ceil_char_boundary(text.len().saturating_sub(TEXT_MAX));
            text.drain(..from);
        }
        if elsewhere {
            self.send_out(Message::Ended(Box::new(execution.clone())));
        }
        self.tell(&takers, &Notice::Ended(Arc::new(execution)));
    }

    /// Tells the watchers of its function and of its partner that a deployment has changed.
    pub fn deployment(&self, notice: impl FnOnce() -> DeploymentNotice) {
        if self.0.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let notice = notice();
        let Some((takers, elsewhere)) = self.takers(&notice.partner, &notice.function, false) else { return };
        if elsewhere {
            self.send_out(Message::Deployment(Box::new(notice.clone())));
        }
        self.tell(&takers, &Notice::Deployment(Arc::new(notice)));
    }

    /// What is watched of this function and its partner, and is told of one thing more; and whether other processes watch it.
    /// `None` if nobody is told. What is `paced` counts in its window.
    fn takers(&self, partner: &PartnerId, function: &FunctionId, paced: bool) -> Option<(Vec<Key>, bool)> {
        if self.0.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let (mut takers, mut elsewhere, mut any_takes) = (vec![], false, !paced);
        let mut all = self.lock();
        for key in [(partner.clone(), Some(function.clone())), (partner.clone(), None)] {
            let Some(watched) = all.get_mut(&key) else { continue };
            any_takes |= paced && watched.takes();
            elsewhere |= watched.is_watched_elsewhere();
            takers.push(key);
        }
        if any_takes {
            return (!takers.is_empty()).then_some((takers, elsewhere));
        }
        // All or none, here and elsewhere: nobody counts what they were told of.
        for key in takers {
            all.entry(key).or_default().left_out += 1;
            self.0.left_out.notify_one();
        }
        None
    }

    fn tell(&self, takers: &[Key], notice: &Notice) {
        let mut all = self.lock();
        for key in takers {
            if let Some(watched) = all.get_mut(key) {
                watched.tell(1, Some(notice.clone()));
            }
        }
    }

    /// Tells watchers how many executions were left out, soon after the first of them.
    pub async fn tell_left_out(self) {
        loop {
            self.0.left_out.notified().await;
            tokio::time::sleep(WINDOW).await;
            for ((partner, function), watched) in self.lock().iter_mut() {
                let count = std::mem::take(&mut watched.left_out);
                if count == 0 {
                    continue;
                }
                if watched.is_watched_elsewhere() {
                    self.send_out(Message::LeftOut(partner.clone(), function.clone(), count));
                }
                watched.tell(count, None);
            }
        }
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
                if let Some((takers, _)) = self.takers(&execution.partner, &execution.function, true) {
                    self.tell(&takers, &Notice::Ended(Arc::from(execution)));
                }
            }
            Message::Deployment(notice) => {
                if let Some((takers, _)) = self.takers(&notice.partner, &notice.function, false) {
                    self.tell(&takers, &Notice::Deployment(Arc::from(notice)));
                }
            }
            Message::LeftOut(partner, function, count) => {
                if let Some(watched) = self.lock().get_mut(&(partner, function)) {
                    watched.tell(count, None);
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

/// One reader's view of what is watched.
pub struct Watch {
    /// `None` only while it is dropped.
    receiver: Option<broadcast::Receiver<Told>>,
    /// Things that have happened and that this reader knows of.
    seen: u64,
    /// What comes after the number of those that were missed before it.
    after: Option<Notice>,
    key: Key,
    tail: LiveTail,
}

impl Watch {
    /// Waits for the next event. It is cancel-safe: dropping the future loses no event.
    pub async fn next(&mut self) -> Option<TailEvent> {
        loop {
            if let Some(event) = self.after.take() {
                return Some(event.into());
            }
            match self.receiver.as_mut()?.recv().await {
                Ok(told) => {
                    if let Some(event) = self.take(told) {
                        return Some(event);
                    }
                }
                // The next number says how many were missed.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// The next event, if there is one now.
    pub fn next_now(&mut self) -> Option<TailEvent> {
        self.next().now_or_never().flatten()
    }

    fn take(&mut self, (happened, notice): Told) -> Option<TailEvent> {
        let missed = happened - self.seen - u64::from(notice.is_some());
        self.seen = happened;
        if missed == 0 {
            return notice.map(TailEvent::from);
        }
        metrics::counter!("larder_tail_dropped_total").increment(missed);
        self.after = notice;
        Some(TailEvent::Dropped(missed))
    }
}

impl From<Notice> for TailEvent {
    fn from(notice: Notice) -> TailEvent {
        match notice {
            Notice::Ended(execution) => TailEvent::Ended(execution),
            Notice::Deployment(notice) => TailEvent::Deployment(notice),
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
