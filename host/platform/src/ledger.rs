//! The only writer of outcomes.
//!
//! * [`Ledger::commit`] writes an outcome and waits for its result. Outcomes that arrive while a group is being written form
//!   the next group: no outcome waits for others, and there is no fsync per outcome.
//! * [`Ledger::record`] buffers the record of a call that has answered and has no effects. Records are written in the
//!   background. A full buffer slows callers down and never drops records.
//! * [`Ledger::settle`] writes a buffered record before it is read, so that readers see their own writes. It asks nothing of the
//!   database if the record is not in the buffer.
//!
//! [`larder_store::ledger`] decides what is written and what is refused.
//!
//! The rule: **each outcome gets its own result**: committed or refused, not written ([`Unwritten::No`]), or unknown
//! ([`Unwritten::Unknown`]).

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
use tokio_util::sync::CancellationToken;

/// Outcomes in one database transaction.
const GROUP_MAX: usize = 512;
/// Approximate keys and bytes of a group, unless one outcome alone has more: a group is one transaction, and others wait for
/// it.
const GROUP_KEYS_MAX: usize = 20_000;
const GROUP_BYTES_MAX: usize = 16 << 20;
/// Outcomes that may wait to be written.
const AWAITED_MAX: usize = 1_024;
/// Between two tries to write records.
const PAUSE: Duration = Duration::from_millis(200);
const TRIES_AT_THE_END: u32 = 25;

/// How long a reader waits for its own records.
const SETTLE_WAIT: Duration = Duration::from_secs(5);

/// Bytes of text in all buffered records.
const BUFFER_BYTES_MAX: usize = 64 << 20;

/// The handle of the ledger. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    awaited: mpsc::Sender<Awaited>,
    records: mpsc::Sender<Record>,
    /// Executions whose records are not written yet.
    unwritten: Arc<DashMap<ExecutionId, PartnerId>>,
    settle: mpsc::Sender<oneshot::Sender<()>>,
    /// KiB of records that the buffer can still take.
    room: Arc<Semaphore>,
    closing: CancellationToken,
    closed: CancellationToken,
    writes: Arc<AtomicBool>,
}

type Written = Result<CommitResult, Unwritten>;

/// An outcome, and the sender of its result.
type Awaited = (Ended, oneshot::Sender<Written>);

/// A buffered record, and the permit for its bytes.
type Record = (Ended, OwnedSemaphorePermit);

/// Why an outcome was not written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unwritten {
    /// Nothing of it was written; a retry may succeed.
    #[error("the outcome could not be written: {0}")]
    No(String),
    /// Nothing of it was written, and a retry would fail again.
    #[error("the database rejects the outcome: {0}")]
    Never(String),
    /// The connection broke during COMMIT, and the database could not be asked afterwards.
    #[error("it is not known whether the outcome was written: {0}")]
    Unknown(String),
}

pub struct Settings {
    /// How long a record may be buffered.
    pub flush: Duration,
    /// The number of buffered records.
    pub buffer: usize,
}

impl Ledger {
    /// Returns the ledger and its writers, a task that must run until [`Ledger::close`].
    pub fn new(store: Store, clock: Clock, settings: &Settings) -> (Ledger, impl Future<Output = ()> + Send + 'static) {
        let (awaited, awaited_rx) = mpsc::channel(AWAITED_MAX);
        let (records, records_rx) = mpsc::channel(settings.buffer);
        let (settle, settle_rx) = mpsc::channel(AWAITED_MAX);
        let unwritten = Arc::new(DashMap::new());
        let room = Arc::new(Semaphore::new(BUFFER_BYTES_MAX / 1024));
        let writes = Arc::new(AtomicBool::new(true));
        let (closing, closed) = (CancellationToken::new(), CancellationToken::new());
        let writer = || Writer {
            store: store.with_own_commits(),
            clock: clock.clone(),
            closing: closing.clone(),
            writes: writes.clone(),
        };
        // One group after the other: two at once commit no faster, and wait for each other's rows (docs/performance.md).
        let outcomes_written = writer().write_outcomes(Queue { awaited: awaited_rx, over: None });
        let buffer =
            Buffer { records: records_rx, unwritten: unwritten.clone(), settle: settle_rx, flush: settings.flush };
        let records_written = writer().write_records(buffer);
        let end = closed.clone().drop_guard();
        let run = async move {
            // Last: whoever waits for the end may open the database again.
            let _end = end;
            tokio::join!(outcomes_written, records_written);
        };
        (Ledger { awaited, records, unwritten, settle, room, closing, closed, writes }, run)
    }

    /// Writes an outcome and waits for its result.
    pub async fn commit(&self, ended: Ended) -> Result<CommitResult, Unwritten> {
        let (sender, result) = oneshot::channel();
        let gone = || Unwritten::No("the ledger is closed".into());
        self.awaited.send((ended, sender)).await.map_err(|_| gone())?;
        // The writer took the outcome and ended, so it may have written it.
        result.await.map_err(|_| Unwritten::Unknown("the ledger has ended".into()))?
    }

    /// Buffers a record; waits while the buffer is full.
    pub async fn record(&self, ended: Ended) {
        let kib = ((ended.execution.logs.len() + ended.execution.errors.len()) / 1024 + 1).min(BUFFER_BYTES_MAX / 1024);
        let room = self.room.clone().acquire_many_owned(kib as u32).await.expect("never closed");
        let id = ended.execution.id.clone();
        self.unwritten.insert(id.clone(), ended.execution.partner.clone());
        if self.records.send((ended, room)).await.is_err() {
            self.unwritten.remove(&id);
            tracing::error!("a record arrived after the ledger was closed");
        }
    }

    /// Writes the record of this execution now, if it is in the buffer. `Err`: the database does not accept it now.
    pub async fn settle(&self, id: &ExecutionId) -> Result<(), Unwritten> {
        if self.unwritten.contains_key(id) { self.write_now().await } else { Ok(()) }
    }

    /// The same for all records of a partner.
    pub async fn settle_all(&self, partner: &PartnerId) -> Result<(), Unwritten> {
        let any = self.unwritten.iter().any(|entry| entry.value() == partner);
        if any { self.write_now().await } else { Ok(()) }
    }

    async fn write_now(&self) -> Result<(), Unwritten> {
        let (done, written) = oneshot::channel();
        let gone = || Unwritten::No("the ledger is closed".into());
        self.settle.send(done).await.map_err(|_| gone())?;
        match tokio::time::timeout(SETTLE_WAIT, written).await {
            Ok(written) => written.map_err(|_| gone()),
            Err(_) => Err(Unwritten::No("records wait for the database".into())),
        }
    }

    /// Did the last write succeed?
    pub fn writes(&self) -> bool {
        self.writes.load(Ordering::Relaxed)
    }

    /// Writes what waits and ends the writers.
    pub async fn close(&self) {
        self.closing.cancel();
        self.closed.cancelled().await;
    }
}

/// Outcomes that wait to be written.
struct Queue {
    awaited: mpsc::Receiver<Awaited>,
    /// An outcome that did not fit into the last group: the first of the next.
    over: Option<Awaited>,
}

impl Queue {
    /// The next group, and the senders of its results. `None`: no outcome will come.
    async fn group(&mut self) -> Option<(Vec<Ended>, Vec<oneshot::Sender<Written>>)> {
        let mut next = match self.over.take() {
            Some(over) => Some(over),
            None => Some(self.awaited.recv().await?),
        };
        let (mut group, mut waiters, mut keys, mut bytes) = (vec![], vec![], 0, 0);
        while let Some((ended, waiter)) = next {
            keys += ended.keys();
            bytes += ended.bytes();
            if !group.is_empty() && (keys > GROUP_KEYS_MAX || bytes > GROUP_BYTES_MAX) {
                self.over = Some((ended, waiter));
                break;
            }
            group.push(ended);
            waiters.push(waiter);
            next = if group.len() < GROUP_MAX { self.awaited.try_recv().ok() } else { None };
        }
        Some((group, waiters))
    }
}

/// Records that wait to be written.
struct Buffer {
    records: mpsc::Receiver<Record>,
    unwritten: Arc<DashMap<ExecutionId, PartnerId>>,
    settle: mpsc::Receiver<oneshot::Sender<()>>,
    flush: Duration,
}

struct Writer {
    store: Store,
    clock: Clock,
    closing: CancellationToken,
    writes: Arc<AtomicBool>,
}

/// Records that were taken from the channel and are not written yet.
#[derive(Default)]
struct PendingRecords {
    ended: Vec<Ended>,
    rooms: Vec<OwnedSemaphorePermit>,
    /// Readers that wait until these are written.
    readers: Vec<oneshot::Sender<()>>,
}

impl PendingRecords {
    fn extend(&mut self, records: impl Iterator<Item = Record>) {
        for (ended, room) in records {
            self.ended.push(ended);
            self.rooms.push(room);
        }
    }

    /// Of the first records, retains those for which `stay` is true.
    fn retain(&mut self, stay: impl Iterator<Item = bool> + Clone) {
        let mut ended = stay.clone();
        self.ended.retain(|_| ended.next().unwrap_or(true));
        let mut rooms = stay;
        self.rooms.retain(|_| rooms.next().unwrap_or(true));
    }
}

impl Writer {
    /// Writes group after group, until the ledger is closed and no outcome waits.
    async fn write_outcomes(self, mut queue: Queue) {
        loop {
            let group = tokio::select! {
                biased;
                group = queue.group() => group,
                () = self.closing.cancelled() => return,
            };
            let Some((group, waiters)) = group else { return };
            for (result, waiter) in self.write(&group).await.into_iter().zip(waiters) {
                let _ = waiter.send(result);
            }
        }
    }

    /// Writes records as they are due, and all of them at the end.
    async fn write_records(self, mut buffer: Buffer) {
        let mut records = PendingRecords::default();
        let mut incoming = Vec::new();
        let mut due = Instant::now();
        loop {
            let had_records = !records.ended.is_empty();
            let room = GROUP_MAX.saturating_sub(records.ended.len());
            tokio::select! {
                biased;
                1.. = buffer.records.recv_many(&mut incoming, room), if room > 0 => {
                    records.extend(incoming.drain(..));
                    if !had_records {
                        due = Instant::now() + buffer.flush;
                    }
                    if records.ended.len() < GROUP_MAX {
                        continue;
                    }
                }
                Some(reader) = buffer.settle.recv() => {
                    // Every record that was buffered before this request is in the channel by now.
                    records.extend(std::iter::from_fn(|| buffer.records.try_recv().ok()));
                    records.readers.push(reader);
                    records.readers.extend(std::iter::from_fn(|| buffer.settle.try_recv().ok()));
                }
                () = tokio::time::sleep_until(due), if had_records => {}
                () = self.closing.cancelled() => break,
            }
            if !self.write_all(&mut records, &buffer.unwritten).await {
                due = Instant::now() + PAUSE;
            }
        }
        records.extend(std::iter::from_fn(|| buffer.records.try_recv().ok()));
        for _ in 0..TRIES_AT_THE_END {
            if self.write_all(&mut records, &buffer.unwritten).await {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        tracing::error!(records = records.ended.len(), "records are lost: the database did not accept them");
    }

    /// Tries once to write the records. Their calls have answered already, so records are retained until they are written;
    /// meanwhile the buffer fills up and slows callers down. `false`: the database did not accept them.
    async fn write_all(&self, records: &mut PendingRecords, known: &DashMap<ExecutionId, PartnerId>) -> bool {
        while !records.ended.is_empty() {
            let count = records.ended.len().min(GROUP_MAX);
            let results = self.write(&records.ended[..count]).await;
            // A record with unknown result is written again. If it was written before, this changes nothing.
            let unwritten = |result: &Written| matches!(result, Err(Unwritten::No(_) | Unwritten::Unknown(_)));
            for (ended, _) in records.ended.iter().zip(&results).filter(|(_, result)| !unwritten(result)) {
                known.remove(&ended.execution.id);
            }
            records.retain(results.iter().map(unwritten));
            if results.iter().any(unwritten) {
                tracing::warn!(records = records.ended.len(), "records could not be written; retrying");
                return false;
            }
        }
        for reader in records.readers.drain(..) {
            let _ = reader.send(());
        }
        true
    }

    /// Writes a group and returns the result of each outcome. On an error the group is halved until the outcome at fault is
    /// alone.
    async fn write(&self, group: &[Ended]) -> Vec<Written> {
        histogram!("larder_ledger_group_outcomes").record(group.len() as f64);
        let begun = Instant::now();
        let mut results = Vec::with_capacity(group.len());
        let mut parts = vec![group];
        // Why the rest is not tried.
        let mut away: Option<String> = None;
        while let Some(part) = parts.pop() {
            if let Some(why) = &away {
                results.extend(part.iter().map(|_| Err(Unwritten::No(why.clone()))));
                continue;
            }
            match self.store.commit_outcomes(part, &self.clock).await {
                Ok(verdicts) => results.extend(verdicts.into_iter().map(Ok)),
                Err(err @ larder_store::Error::Unavailable(_)) => {
                    results.extend(part.iter().map(|_| Err(Unwritten::No(err.to_string()))));
                    away = Some(err.to_string());
                }
                Err(err @ larder_store::Error::Unknown(_)) => {
                    results.extend(part.iter().map(|_| Err(Unwritten::Unknown(err.to_string()))));
                    away = Some("the database became unavailable".into());
                }
                // One of them is at fault, or needs a row that is locked.
                Err(_) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Err(err) => results.push(self.alone(&part[0], err).await),
            }
        }
        histogram!("larder_ledger_commit_seconds").record(begun.elapsed().as_secs_f64());
        self.writes.store(away.is_none(), Ordering::Relaxed);
        if let Some(why) = away {
            tracing::error!(error = %why, outcomes = group.len(), "outcomes could not be written");
        }
        results
    }

    /// The result of a single outcome that the database did not accept.
    async fn alone(&self, ended: &Ended, err: larder_store::Error) -> Written {
        let id = &ended.execution.id;
        match err {
            larder_store::Error::Contended(_) => {
                tracing::warn!(execution.id = %id, error = %err, "an outcome could not be written: it lost too many races");
                Err(Unwritten::No(err.to_string()))
            }
            larder_store::Error::Conflict { .. } => {
                let why = format!("something that it creates exists already: {err}");
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
    tracing::error!(execution.id = %id, error = %err, "the database rejects an outcome");
    Unwritten::Never(err.to_string())
}
