//! The live tail: publishes executions, as they end, to the watchers of their function.
//!
//! * [`LiveTail::watch`] returns a [`Watch`]; [`LiveTail::publish`] sends an execution to all watches of its function.
//! * [`crate::redis`] carries [`Message`]s between processes. A process announces the functions watched in it every
//!   [`ANNOUNCE`], and others publish to it until [`REMEMBERED`] after its last announcement.
//!
//! Nothing is stored: a watcher that is disconnected misses executions, and their records are in the database. Publishing never
//! blocks, and costs one atomic load for a function that nobody watches.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use larder_model::Execution;
use larder_model::ids::{FunctionId, PartnerId};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, mpsc};

/// The interval between two announcements of the functions watched here.
pub const ANNOUNCE: Duration = Duration::from_secs(20);
const REMEMBERED: Duration = Duration::from_secs(60);
/// The maximum number of watches in this process, and of one tenant among them.
const WATCHES_MAX: usize = 64;
const WATCHES_PER_PARTNER: usize = 8;
/// The maximum number of functions that other processes can announce as watched.
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
    /// Asks the other processes which functions they watch.
    Ask,
    /// A process watches this function.
    Watched(PartnerId, FunctionId),
    Ended(Box<Execution>),
}

/// An event that a watch receives.
#[derive(Clone, Debug)]
pub enum TailEvent {
    Ended(Arc<Execution>),
    /// This many executions were dropped because the reader is too slow.
    Dropped(u64),
}

type Key = (PartnerId, FunctionId);

/// The watches of this process. Clones share their state.
#[derive(Clone)]
pub struct LiveTail(Arc<Shared>);

struct Shared {
    functions: Mutex<HashMap<Key, Function>>,
    /// The number of functions in the map.
    count: AtomicUsize,
    /// Notified when the set of functions watched in this process changes.
    changed: Notify,
    out: mpsc::Sender<Message>,
}

/// A function that somebody watches.
#[derive(Default)]
struct Function {
    here: Option<broadcast::Sender<Arc<Execution>>>,
    elsewhere_until: Option<Instant>,
}

impl Function {
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
            functions: Mutex::default(),
            count: AtomicUsize::new(0),
            changed: Notify::new(),
            out,
        }))
    }

    /// Watches a function until the watch is dropped. Returns `None` if this process or this tenant has reached its limit.
    pub fn watch(&self, partner: &PartnerId, function: &FunctionId) -> Option<Watch> {
        let key = (partner.clone(), function.clone());
        let receiver = {
            let mut functions = self.lock();
            let all: usize = functions.values().map(Function::watches).sum();
            let partners: usize = functions.iter().filter(|((p, _), _)| p == partner).map(|(_, f)| f.watches()).sum();
            if all >= WATCHES_MAX || partners >= WATCHES_PER_PARTNER {
                return None;
            }
            let here = &mut functions.entry(key.clone()).or_default().here;
            let receiver = here.get_or_insert_with(|| broadcast::channel(WAITING_MAX).0).subscribe();
            self.0.count.store(functions.len(), Ordering::Relaxed);
            receiver
        };
        self.0.changed.notify_one();
        Some(Watch { receiver: Some(receiver), key, tail: self.clone() })
    }

    /// Publishes an execution that has ended to the watchers of its function.
    pub fn publish(&self, execution: &Execution) {
        if self.0.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let Some((here, elsewhere)) = self
            .lock()
            .get(&(execution.partner.clone(), execution.function.clone()))
            .map(|function| (function.here.clone(), function.is_watched_elsewhere()))
        else {
            return;
        };
        let mut execution = execution.clone();
        execution.request = execution.request.recorded();
        for text in [&mut execution.logs, &mut execution.errors] {
            let from = text.ceil_char_boundary(text.len().saturating_sub(TEXT_MAX));
            text.drain(..from);
        }
        if elsewhere && self.0.out.try_send(Message::Ended(Box::new(execution.clone()))).is_err() {
            metrics::counter!("larder_tail_dropped_total").increment(1);
        }
        if let Some(here) = here {
            // It fails when the last watch has just been dropped.
            let _ = here.send(Arc::new(execution));
        }
    }

    /// Handles a message of another process.
    pub fn receive(&self, message: Message) {
        let mut functions = self.lock();
        match message {
            Message::Ask => self.0.changed.notify_one(),
            Message::Watched(partner, function) => {
                functions.retain(|_, function| function.watches() > 0 || function.is_watched_elsewhere());
                let key = (partner, function);
                if functions.len() < ANNOUNCED_MAX || functions.contains_key(&key) {
                    functions.entry(key).or_default().elsewhere_until = Some(Instant::now() + REMEMBERED);
                }
                self.0.count.store(functions.len(), Ordering::Relaxed);
            }
            Message::Ended(execution) => {
                let key = (execution.partner.clone(), execution.function.clone());
                if let Some(here) = functions.get(&key).and_then(|function| function.here.as_ref()) {
                    let _ = here.send(Arc::from(execution));
                }
            }
        }
    }

    /// The functions watched in this process.
    pub fn watched_here(&self) -> Vec<Key> {
        self.lock().iter().filter(|(_, function)| function.watches() > 0).map(|(key, _)| key.clone()).collect()
    }

    /// Waits until the functions watched in this process change, for at most [`ANNOUNCE`].
    pub async fn changed(&self) {
        let _ = tokio::time::timeout(ANNOUNCE, self.0.changed.notified()).await;
    }

    /// Asks the other processes which functions they watch.
    pub fn ask(&self) {
        let _ = self.0.out.try_send(Message::Ask);
    }

    /// Announces the functions watched here to the other processes.
    pub fn announce(&self) {
        for (partner, function) in self.watched_here() {
            let _ = self.0.out.try_send(Message::Watched(partner, function));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Function>> {
        self.0.functions.lock().expect("no panic under the lock")
    }
}

/// One reader's view of a function's executions.
pub struct Watch {
    /// `None` only while it is dropped.
    receiver: Option<broadcast::Receiver<Arc<Execution>>>,
    key: Key,
    tail: LiveTail,
}

impl Watch {
    /// Waits for the next event. It is cancel-safe: dropping the future loses no event.
    pub async fn next(&mut self) -> Option<TailEvent> {
        match self.receiver.as_mut()?.recv().await {
            Ok(execution) => Some(TailEvent::Ended(execution)),
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
            let mut functions = self.tail.lock();
            // Under the lock, so that the last watch to be dropped sees that it is the last.
            self.receiver = None;
            if let Some(function) = functions.get_mut(&self.key)
                && function.watches() == 0
            {
                function.here = None;
                if !function.is_watched_elsewhere() {
                    functions.remove(&self.key);
                }
            }
            self.tail.0.count.store(functions.len(), Ordering::Relaxed);
        }
        self.tail.0.changed.notify_one();
    }
}
