//! The live tail: executions, told as they end to whoever watches their function.
//!
//! * [`LiveTail::watch`] gives a [`Watch`]; [`LiveTail::publish`] tells all watches of a function.
//! * Between processes [`crate::redis`] carries [`Message`]s. A process announces what is watched in it every
//!   [`ANNOUNCE`], and others tell it of those functions until [`REMEMBERED`] after its last announcement.
//!
//! Nothing is kept: who is away has missed it, and the record is in the database. Telling never waits, and of a function
//! that nobody watches it costs one load.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use larder_model::Execution;
use larder_model::ids::{FunctionId, PartnerId};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, mpsc};

/// Between two announcements of what is watched here.
pub const ANNOUNCE: Duration = Duration::from_secs(20);
const REMEMBERED: Duration = Duration::from_secs(60);
/// Watches of this process, and those of one partner among them.
const WATCHES_MAX: usize = 64;
const WATCHES_PER_PARTNER: usize = 8;
/// Functions of which others may announce that they watch them.
const ANNOUNCED_MAX: usize = 1_024;
/// Executions that a slow reader has not taken; older ones are dropped.
const WAITING_MAX: usize = 64;
/// Bytes of an execution's logs and errors, each: their end.
const TEXT_MAX: usize = 16 * 1024;
/// Messages for other processes that wait to be sent.
pub const OUT_MAX: usize = 256;

/// What processes say to each other.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// What do the others watch?
    Ask,
    /// Somebody watches this function.
    Watched(PartnerId, FunctionId),
    Ended(Box<Execution>),
}

/// What a watch sees.
#[derive(Clone, Debug)]
pub enum TailEvent {
    Ended(Arc<Execution>),
    /// So many were dropped here, because the reader is too slow.
    Dropped(u64),
}

type Key = (PartnerId, FunctionId);

#[derive(Clone)]
pub struct LiveTail(Arc<Shared>);

struct Shared {
    functions: Mutex<HashMap<Key, Function>>,
    /// Functions in the map.
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
    /// `out` takes what other processes should know.
    pub fn new(out: mpsc::Sender<Message>) -> LiveTail {
        LiveTail(Arc::new(Shared {
            functions: Mutex::default(),
            count: AtomicUsize::new(0),
            changed: Notify::new(),
            out,
        }))
    }

    /// Watches a function until the watch is dropped; `None` if this process or this partner has as many as it may.
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

    /// Tells whoever watches the execution's function that it has ended.
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
            // It fails when the last watch has just gone.
            let _ = here.send(Arc::new(execution));
        }
    }

    /// What another process says.
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

    /// What is watched in this process.
    pub fn watched_here(&self) -> Vec<Key> {
        self.lock().iter().filter(|(_, function)| function.watches() > 0).map(|(key, _)| key.clone()).collect()
    }

    /// Until what is watched in this process has changed, [`ANNOUNCE`] at most.
    pub async fn changed(&self) {
        let _ = tokio::time::timeout(ANNOUNCE, self.0.changed.notified()).await;
    }

    /// Asks the others what they watch.
    pub fn ask(&self) {
        let _ = self.0.out.try_send(Message::Ask);
    }

    /// Tells the others what is watched here.
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
    /// The next execution that ends. It may be dropped while it waits, nothing is lost by that.
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
            // Under the lock, so that the last one to go sees that it is the last.
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
