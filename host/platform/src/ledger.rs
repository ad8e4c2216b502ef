//! The only writer of outcomes.
//!
//! * [`Ledger::commit`]: an outcome whose fate somebody waits for. Those that arrive while a group is being written are
//!   the next group, so there is no waiting for company and no fsync per outcome.
//! * [`Ledger::record`]: the record of a call that has answered and changes nothing. It is written behind, from a
//!   bounded buffer; a full buffer slows the callers rather than dropping records.
//! * [`Ledger::settle`]: whoever reads what may still be in that buffer has it written first, so that everybody reads
//!   their own writes. Nothing is asked of the database for it, and only the buffered record of a reader's own hurries.
//!
//! What is written, and when it drops out, is [`larder_store::ledger`]'s.
//!
//! The rule: **each outcome is told what became of it, and of it alone**: that it was committed or refused, that nothing of it was
//! written ([`Unwritten::No`]), or that this is not known ([`Unwritten::Unknown`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use larder_model::ids::{ExecutionId, PartnerId};
use larder_model::time::Clock;
use larder_store::Store;
use larder_store::ledger::{CommitResult, Ended};
use metrics::histogram;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

/// Outcomes in one database transaction.
const GROUP_MAX: usize = 512;
/// Keys and bytes of a group, about, unless one outcome alone has more: a group is one transaction, which others wait for.
const GROUP_KEYS_MAX: usize = 20_000;
const GROUP_BYTES_MAX: usize = 16 << 20;
/// Outcomes that wait to be written.
const AWAITED_MAX: usize = 1_024;
/// Between two tries to write records.
const PAUSE: Duration = Duration::from_millis(200);
const TRIES_AT_THE_END: u32 = 25;

/// How long a reader waits for records of its own.
const SETTLE_WAIT: Duration = Duration::from_secs(5);

/// Bytes of text in records that wait, over all of them.
const BUFFER_BYTES_MAX: usize = 64 << 20;

#[derive(Clone)]
pub struct Ledger {
    awaited: mpsc::Sender<Awaited>,
    records: mpsc::Sender<Record>,
    /// Whose records are not written yet.
    unwritten: Arc<DashMap<ExecutionId, PartnerId>>,
    settle: mpsc::Sender<oneshot::Sender<()>>,
    /// KiB of records that may still come.
    room: Arc<Semaphore>,
    close: mpsc::Sender<oneshot::Sender<()>>,
    writes: Arc<AtomicBool>,
}

/// An outcome, and who waits for its verdict.
type Awaited = (Ended, oneshot::Sender<Result<CommitResult, Unwritten>>);

/// A record that waits, and the room that it takes.
type Record = (Ended, OwnedSemaphorePermit);

/// The database did not take the outcome.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unwritten {
    /// Nothing of it was written; later it may be.
    #[error("the outcome could not be written: {0}")]
    No(String),
    /// Nothing of it was written, and the same will not be.
    #[error("the database does not take the outcome: {0}")]
    Never(String),
    /// The connection broke during COMMIT, and the database could not be asked afterwards.
    #[error("it is not known whether the outcome was written: {0}")]
    Unknown(String),
}

pub struct Settings {
    /// How long a record may wait for others.
    pub flush: Duration,
    /// Records that wait to be written.
    pub buffer: usize,
}

impl Ledger {
    /// The ledger and the task that must run for it, until [`Ledger::close`].
    pub fn new(store: Store, clock: Clock, settings: &Settings) -> (Ledger, impl Future<Output = ()> + Send + 'static) {
        let (awaited, awaited_rx) = mpsc::channel(AWAITED_MAX);
        let (records, records_rx) = mpsc::channel(settings.buffer);
        let (close, close_rx) = mpsc::channel(1);
        let (settle, settle_rx) = mpsc::channel(AWAITED_MAX);
        let unwritten = Arc::new(DashMap::new());
        let room = Arc::new(Semaphore::new(BUFFER_BYTES_MAX / 1024));
        let writes = Arc::new(AtomicBool::new(true));
        let writer = Writer {
            store,
            clock,
            flush: settings.flush,
            awaited: awaited_rx,
            over: None,
            records: records_rx,
            unwritten: unwritten.clone(),
            settle: settle_rx,
            close: close_rx,
            writes: writes.clone(),
        };
        (Ledger { awaited, records, unwritten, settle, room, close, writes }, writer.run())
    }

    pub async fn commit(&self, ended: Ended) -> Result<CommitResult, Unwritten> {
        let (tell, told) = oneshot::channel();
        let gone = || Unwritten::No("the ledger is closed".into());
        self.awaited.send((ended, tell)).await.map_err(|_| gone())?;
        // Whoever had it and is gone may have written it.
        told.await.map_err(|_| Unwritten::Unknown("the ledger has ended".into()))?
    }

    pub async fn record(&self, ended: Ended) {
        let kib = ((ended.execution.logs.len() + ended.execution.errors.len()) / 1024 + 1).min(BUFFER_BYTES_MAX / 1024);
        let room = self.room.clone().acquire_many_owned(kib as u32).await.expect("never closed");
        let id = ended.execution.id.clone();
        self.unwritten.insert(id.clone(), ended.execution.partner.clone());
        if self.records.send((ended, room)).await.is_err() {
            self.unwritten.remove(&id);
            tracing::error!("a record came after the ledger was closed");
        }
    }

    /// Has the record of this execution written, if it waits in the buffer. `Err`: the database does not take it now.
    pub async fn settle(&self, id: &ExecutionId) -> Result<(), Unwritten> {
        if self.unwritten.contains_key(id) { self.write_now().await } else { Ok(()) }
    }

    /// The same for all records of a partner.
    pub async fn settle_all(&self, partner: &PartnerId) -> Result<(), Unwritten> {
        let any = self.unwritten.iter().any(|entry| entry.value() == partner);
        if any { self.write_now().await } else { Ok(()) }
    }

    async fn write_now(&self) -> Result<(), Unwritten> {
        let (done, told) = oneshot::channel();
        let gone = || Unwritten::No("the ledger is closed".into());
        self.settle.send(done).await.map_err(|_| gone())?;
        match tokio::time::timeout(SETTLE_WAIT, told).await {
            Ok(told) => told.map_err(|_| gone()),
            Err(_) => Err(Unwritten::No("records wait for the database".into())),
        }
    }

    /// Did the database take the last write?
    pub fn writes(&self) -> bool {
        self.writes.load(Ordering::Relaxed)
    }

    /// Writes what is buffered and ends the task.
    pub async fn close(&self) {
        let (done, told) = oneshot::channel();
        if self.close.send(done).await.is_ok() {
            let _ = told.await;
        }
    }
}

struct Writer {
    store: Store,
    clock: Clock,
    flush: Duration,
    awaited: mpsc::Receiver<Awaited>,
    /// One that did not fit into a group any more: the first of the next.
    over: Option<Awaited>,
    records: mpsc::Receiver<Record>,
    unwritten: Arc<DashMap<ExecutionId, PartnerId>>,
    settle: mpsc::Receiver<oneshot::Sender<()>>,
    close: mpsc::Receiver<oneshot::Sender<()>>,
    writes: Arc<AtomicBool>,
}

/// Records that were taken from the buffer and are not written yet.
#[derive(Default)]
struct Waiting {
    ended: Vec<Ended>,
    rooms: Vec<OwnedSemaphorePermit>,
    /// Readers that wait until these are written.
    readers: Vec<oneshot::Sender<()>>,
}

impl Waiting {
    fn extend(&mut self, records: impl Iterator<Item = Record>) {
        for (ended, room) in records {
            self.ended.push(ended);
            self.rooms.push(room);
        }
    }

    /// Drops of the first ones those that need not stay.
    fn keep(&mut self, stay: impl Iterator<Item = bool> + Clone) {
        let mut ended = stay.clone();
        self.ended.retain(|_| ended.next().unwrap_or(true));
        let mut rooms = stay;
        self.rooms.retain(|_| rooms.next().unwrap_or(true));
    }
}

impl Writer {
    async fn run(mut self) {
        let mut records = Waiting::default();
        let mut incoming = Vec::new();
        let mut records_since = Instant::now();
        loop {
            let due = records_since + self.flush;
            let had_records = !records.ended.is_empty();
            let room = GROUP_MAX.saturating_sub(records.ended.len());
            let mut group = Vec::new();
            let mut waiters = Vec::new();
            tokio::select! {
                biased;
                Some(first) = first(&mut self.over, &mut self.awaited) => {
                    let (mut keys, mut bytes) = (0, 0);
                    let mut next = Some(first);
                    while let Some((ended, tell)) = next {
                        keys += ended.keys();
                        bytes += ended.bytes();
                        if !group.is_empty() && (keys > GROUP_KEYS_MAX || bytes > GROUP_BYTES_MAX) {
                            self.over = Some((ended, tell));
                            break;
                        }
                        group.push(ended);
                        waiters.push(tell);
                        next = if group.len() < GROUP_MAX { self.awaited.try_recv().ok() } else { None };
                    }
                }
                _ = self.records.recv_many(&mut incoming, room), if room > 0 => {
                    records.extend(incoming.drain(..));
                    if !had_records {
                        records_since = Instant::now();
                    }
                    if records.ended.len() < GROUP_MAX {
                        continue;
                    }
                }
                Some(reader) = self.settle.recv() => {
                    // All that was handed in before is in the channel by now.
                    records.extend(std::iter::from_fn(|| self.records.try_recv().ok()));
                    records.readers.push(reader);
                    records.readers.extend(std::iter::from_fn(|| self.settle.try_recv().ok()));
                }
                () = tokio::time::sleep_until(due), if had_records => {}
                Some(done) = self.close.recv() => {
                    records.extend(std::iter::from_fn(|| self.records.try_recv().ok()));
                    for _ in 0..TRIES_AT_THE_END {
                        if self.write_records(&mut records).await {
                            break;
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                    if !records.ended.is_empty() {
                        tracing::error!(records = records.ended.len(), "records are lost: the database did not take them");
                    }
                    // Whoever waits for the end may open the database again.
                    drop(self);
                    let _ = done.send(());
                    return;
                }
            }
            if group.is_empty() {
                if !self.write_records(&mut records).await {
                    records_since = Instant::now() + PAUSE;
                }
                continue;
            }
            for (verdict, waiter) in self.write(&group).await.into_iter().zip(waiters) {
                let _ = waiter.send(verdict);
            }
            let due = Instant::now() >= records_since + self.flush || !records.readers.is_empty();
            if due && !self.write_records(&mut records).await {
                records_since = Instant::now() + PAUSE;
            }
        }
    }

    /// Records have answered already, so they stay until they are written; meanwhile the buffer fills and slows the
    /// callers. One try: what others wait for must not wait behind it. `false`: the database did not take them.
    async fn write_records(&self, records: &mut Waiting) -> bool {
        while !records.ended.is_empty() {
            let count = records.ended.len().min(GROUP_MAX);
            let told = self.write(&records.ended[..count]).await;
            // One of unknown fate is written again: should its record be there, it is written once.
            let unwritten =
                |told: &Result<CommitResult, Unwritten>| matches!(told, Err(Unwritten::No(_) | Unwritten::Unknown(_)));
            for (ended, _) in records.ended.iter().zip(&told).filter(|(_, told)| !unwritten(told)) {
                self.unwritten.remove(&ended.execution.id);
            }
            records.keep(told.iter().map(unwritten));
            if told.iter().any(unwritten) {
                tracing::warn!(records = records.ended.len(), "records could not be written; trying again");
                return false;
            }
        }
        for reader in records.readers.drain(..) {
            let _ = reader.send(());
        }
        true
    }

    /// What became of each of a group. What goes wrong with one is told of that one: the group is halved until it is alone.
    async fn write(&self, group: &[Ended]) -> Vec<Result<CommitResult, Unwritten>> {
        histogram!("larder_ledger_group_outcomes").record(group.len() as f64);
        let begun = Instant::now();
        let mut told = Vec::with_capacity(group.len());
        let mut parts = vec![group];
        // Why nothing more is tried.
        let mut away: Option<String> = None;
        while let Some(part) = parts.pop() {
            if let Some(why) = &away {
                told.extend(part.iter().map(|_| Err(Unwritten::No(why.clone()))));
                continue;
            }
            match self.store.commit_outcomes(part, &self.clock).await {
                Ok(verdicts) => told.extend(verdicts.into_iter().map(Ok)),
                Err(err @ larder_store::Error::Unavailable(_)) => {
                    told.extend(part.iter().map(|_| Err(Unwritten::No(err.to_string()))));
                    away = Some(err.to_string());
                }
                Err(err @ larder_store::Error::Unknown(_)) => {
                    told.extend(part.iter().map(|_| Err(Unwritten::Unknown(err.to_string()))));
                    away = Some("the database went away".into());
                }
                // One of them is at fault, or somebody holds what one of them needs.
                Err(_) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Err(err) => told.push(self.alone(&part[0], err).await),
            }
        }
        histogram!("larder_ledger_commit_seconds").record(begun.elapsed().as_secs_f64());
        self.writes.store(away.is_none(), Ordering::Relaxed);
        if let Some(why) = away {
            tracing::error!(error = %why, outcomes = group.len(), "outcomes could not be written");
        }
        told
    }

    /// What becomes of an outcome that the database does not take.
    async fn alone(&self, ended: &Ended, err: larder_store::Error) -> Result<CommitResult, Unwritten> {
        let id = &ended.execution.id;
        match err {
            larder_store::Error::Contended(_) => {
                tracing::warn!(execution.id = %id, error = %err, "an outcome could not be written: it lost too many races");
                Err(Unwritten::No(err.to_string()))
            }
            larder_store::Error::Conflict { .. } => {
                let why = format!("something that it creates is there already: {err}");
                match self.store.refuse_outcome(ended, &why, &self.clock).await {
                    Ok(verdict) => Ok(verdict),
                    Err(err @ larder_store::Error::Unknown(_)) => Err(Unwritten::Unknown(err.to_string())),
                    Err(err @ (larder_store::Error::Unavailable(_) | larder_store::Error::Contended(_))) => {
                        Err(Unwritten::No(err.to_string()))
                    }
                    Err(err) => Err(never(id, err)),
                }
            }
            err => Err(never(id, err)),
        }
    }
}

fn never(id: &ExecutionId, err: larder_store::Error) -> Unwritten {
    tracing::error!(execution.id = %id, error = %err, "the database does not take an outcome");
    Unwritten::Never(err.to_string())
}

/// What could not go with the last group, or what comes next.
async fn first(over: &mut Option<Awaited>, awaited: &mut mpsc::Receiver<Awaited>) -> Option<Awaited> {
    match over.take() {
        Some(over) => Some(over),
        None => awaited.recv().await,
    }
}
