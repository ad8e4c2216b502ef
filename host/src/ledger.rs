//! The only writer of outcomes.
//!
//! * [`Ledger::commit`]: an outcome whose fate somebody waits for. Those that arrive while a group is being written are
//!   the next group, so there is no waiting for company and no fsync per outcome.
//! * [`Ledger::record`]: the record of a call that has answered and changes nothing. It is written behind, from a
//!   bounded buffer; a full buffer slows the callers rather than dropping records.
//!
//! What is written, and when it drops out, is [`crate::store::ledger`]'s.

use std::time::Duration;

use metrics::histogram;
use tokio::sync::{mpsc, oneshot};
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

#[derive(Clone)]
pub struct Ledger {
    awaited: mpsc::Sender<(Ended, oneshot::Sender<Result<Verdict, Unwritten>>)>,
    records: mpsc::Sender<Ended>,
    close: mpsc::Sender<oneshot::Sender<()>>,
}

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
        let writer =
            Writer { store, clock, flush: settings.flush, awaited: awaited_rx, records: records_rx, close: close_rx };
        (Ledger { awaited, records, close }, writer.run())
    }

    pub async fn commit(&self, ended: Ended) -> Result<Verdict, Unwritten> {
        let (tell, told) = oneshot::channel();
        let gone = || Unwritten("the ledger is closed".into());
        self.awaited.send((ended, tell)).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }

    pub async fn record(&self, ended: Ended) {
        if self.records.send(ended).await.is_err() {
            tracing::error!("a record came after the ledger was closed");
        }
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
    records: mpsc::Receiver<Ended>,
    close: mpsc::Receiver<oneshot::Sender<()>>,
}

impl Writer {
    async fn run(mut self) {
        let mut records: Vec<Ended> = Vec::new();
        let mut records_since = Instant::now();
        loop {
            let due = records_since + self.flush;
            let had_records = !records.is_empty();
            let room = GROUP_MAX - records.len();
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
                _ = self.records.recv_many(&mut records, room), if room > 0 => {
                    if !had_records {
                        records_since = Instant::now();
                    }
                    if records.len() < GROUP_MAX {
                        continue;
                    }
                }
                () = tokio::time::sleep_until(due), if had_records => {}
                Some(done) = self.close.recv() => {
                    while let Ok(record) = self.records.try_recv() {
                        records.push(record);
                    }
                    self.write_records(&mut records, Some(TRIES_AT_THE_END)).await;
                    let _ = done.send(());
                    return;
                }
            }
            if group.is_empty() {
                self.write_records(&mut records, None).await;
                continue;
            }
            let verdicts = self.write(&group).await.unwrap_or_else(|err| {
                tracing::error!(error = %err, outcomes = group.len(), "outcomes could not be written");
                group.iter().map(|_| Err(Unwritten(err.to_string()))).collect()
            });
            for (verdict, waiter) in verdicts.into_iter().zip(waiters) {
                let _ = waiter.send(verdict);
            }
            if Instant::now() >= records_since + self.flush || records.len() >= GROUP_MAX {
                self.write_records(&mut records, None).await;
            }
        }
    }

    /// Records have answered already, so they are tried until they are written; meanwhile the buffer fills and slows the callers.
    async fn write_records(&self, records: &mut Vec<Ended>, tries: Option<u32>) {
        for chunk in std::mem::take(records).chunks(GROUP_MAX) {
            let mut tried = 0;
            while let Err(err) = self.write(chunk).await {
                tried += 1;
                if tries == Some(tried) {
                    tracing::error!(error = %err, records = chunk.len(), "records are lost: the database did not take them before the end");
                    break;
                }
                tracing::warn!(error = %err, tried, "records could not be written; trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// The verdicts of a group. `Err`: the database could not be worked with, and nothing was written.
    async fn write(&self, group: &[Ended]) -> store::Result<Vec<Result<Verdict, Unwritten>>> {
        histogram!("larder_ledger_group_outcomes").record(group.len() as f64);
        let begun = Instant::now();
        let written = self.store.commit_outcomes(group, &self.clock).await;
        histogram!("larder_ledger_commit_seconds").record(begun.elapsed().as_secs_f64());
        match written {
            Ok(verdicts) => Ok(verdicts.into_iter().map(Ok).collect()),
            Err(err @ (store::Error::Unavailable(_) | store::Error::Contended(_))) => Err(err),
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
