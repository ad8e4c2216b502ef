//! The only writer of outcomes.
//!
//! * [`Ledger::commit`]: an outcome whose fate somebody waits for. Those that arrive while a group is being written are
//!   the next group, so there is no waiting for company and no fsync per outcome.
//! * [`Ledger::record`]: the record of a call that has answered and changes nothing. It is written behind, from a
//!   bounded buffer; a full buffer slows the callers rather than dropping records.
//!
//! What is written, and when it drops out, is [`crate::store::ledger`]'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::histogram;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::store::ledger::{Ended, Verdict};
use crate::store::{self, Store};

/// Outcomes in one database transaction.
const GROUP_MAX: usize = 512;
/// Outcomes that wait to be written.
const AWAITED_MAX: usize = 1_024;
/// Between two tries to write records.
const PAUSE: Duration = Duration::from_millis(200);
const TRIES_AT_THE_END: u32 = 25;

/// Bytes of text in records that wait, over all of them.
const BUFFER_BYTES_MAX: usize = 64 << 20;

#[derive(Clone)]
pub struct Ledger {
    awaited: mpsc::Sender<(Ended, oneshot::Sender<Result<Verdict, Unwritten>>)>,
    records: mpsc::Sender<Record>,
    /// KiB of records that may still come.
    room: Arc<Semaphore>,
    close: mpsc::Sender<oneshot::Sender<()>>,
    writes: Arc<AtomicBool>,
}

/// A record that waits, and the room that it takes.
type Record = (Ended, OwnedSemaphorePermit);

/// The database did not take the outcome. Whether it was written is unknown if the connection broke: look it up.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the outcome could not be written: {0}")]
pub struct Unwritten(pub String);

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
        let room = Arc::new(Semaphore::new(BUFFER_BYTES_MAX / 1024));
        let writes = Arc::new(AtomicBool::new(true));
        let writer = Writer {
            store,
            clock,
            flush: settings.flush,
            awaited: awaited_rx,
            records: records_rx,
            close: close_rx,
            writes: writes.clone(),
        };
        (Ledger { awaited, records, room, close, writes }, writer.run())
    }

    pub async fn commit(&self, ended: Ended) -> Result<Verdict, Unwritten> {
        let (tell, told) = oneshot::channel();
        let gone = || Unwritten("the ledger is closed".into());
        self.awaited.send((ended, tell)).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }

    pub async fn record(&self, ended: Ended) {
        let kib = ((ended.execution.logs.len() + ended.execution.errors.len()) / 1024 + 1).min(BUFFER_BYTES_MAX / 1024);
        let room = self.room.clone().acquire_many_owned(kib as u32).await.expect("never closed");
        if self.records.send((ended, room)).await.is_err() {
            tracing::error!("a record came after the ledger was closed");
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
    awaited: mpsc::Receiver<(Ended, oneshot::Sender<Result<Verdict, Unwritten>>)>,
    records: mpsc::Receiver<Record>,
    close: mpsc::Receiver<oneshot::Sender<()>>,
    writes: Arc<AtomicBool>,
}

/// Records that were taken from the buffer and are not written yet.
#[derive(Default)]
struct Waiting {
    ended: Vec<Ended>,
    rooms: Vec<OwnedSemaphorePermit>,
}

impl Waiting {
    fn extend(&mut self, records: impl Iterator<Item = Record>) {
        for (ended, room) in records {
            self.ended.push(ended);
            self.rooms.push(room);
        }
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
            let room = GROUP_MAX - records.ended.len();
            let mut group = Vec::new();
            let mut waiters = Vec::new();
            tokio::select! {
                biased;
                Some(first) = self.awaited.recv() => {
                    let mut next = Some(first);
                    while let Some((ended, tell)) = next {
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
            let verdicts = self.write(&group).await.unwrap_or_else(|err| {
                tracing::error!(error = %err, outcomes = group.len(), "outcomes could not be written");
                group.iter().map(|_| Err(Unwritten(err.to_string()))).collect()
            });
            for (verdict, waiter) in verdicts.into_iter().zip(waiters) {
                let _ = waiter.send(verdict);
            }
            if Instant::now() >= records_since + self.flush && !self.write_records(&mut records).await {
                records_since = Instant::now() + PAUSE;
            }
        }
    }

    /// Records have answered already, so they stay until they are written; meanwhile the buffer fills and slows the
    /// callers. One try: what others wait for must not wait behind it. `false`: the database did not take them.
    async fn write_records(&self, records: &mut Waiting) -> bool {
        while !records.ended.is_empty() {
            let count = records.ended.len().min(GROUP_MAX);
            if let Err(err) = self.write(&records.ended[..count]).await {
                tracing::warn!(error = %err, records = records.ended.len(), "records could not be written; trying again");
                return false;
            }
            records.ended.drain(..count);
            records.rooms.drain(..count);
        }
        true
    }

    /// The verdicts of a group. `Err`: the database could not be worked with, and nothing was written, or it is unknown.
    async fn write(&self, group: &[Ended]) -> store::Result<Vec<Result<Verdict, Unwritten>>> {
        histogram!("larder_ledger_group_outcomes").record(group.len() as f64);
        let begun = Instant::now();
        let written = self.store.commit_outcomes(group, &self.clock).await;
        histogram!("larder_ledger_commit_seconds").record(begun.elapsed().as_secs_f64());
        self.writes
            .store(!matches!(written, Err(store::Error::Unavailable(_) | store::Error::Unknown(_))), Ordering::Relaxed);
        match written {
            Ok(verdicts) => Ok(verdicts.into_iter().map(Ok).collect()),
            Err(err @ (store::Error::Unavailable(_) | store::Error::Contended(_) | store::Error::Unknown(_))) => {
                Err(err)
            }
            // One of them is at fault: it must not take the others with it.
            Err(_) if group.len() > 1 => {
                let mut each = Vec::with_capacity(group.len());
                for ended in group {
                    each.extend(Box::pin(self.write(std::slice::from_ref(ended))).await?);
                }
                Ok(each)
            }
            Err(err) => {
                tracing::error!(error = %err, execution.id = %group[0].execution.id, "an outcome could not be written");
                Ok(vec![Err(Unwritten(err.to_string()))])
            }
        }
    }
}
