//! The ledger: commits many outcomes in one database transaction.
//!
//! For each outcome: does its attempt still hold the lease? are its reads still valid? can its effects be applied? Only
//! then is anything of it written. A rejected outcome leaves nothing behind and does not affect the others. The outcomes of
//! a group see each other's state in their order.
//!
//! A group is committed in three steps, so that the number of statements does not grow with the outcomes:
//! [`load`](Commit::load) locks and reads what the decisions depend on, [`decide`](Commit::decide) runs without the
//! database, and [`write`](Commit::write) writes. Locks are taken in one order everywhere (functions, executions,
//! enrolments, state; each by key), so that the groups of several processes wait for each other without deadlocks.

mod commit_marks;
mod decide;
mod load;
mod ranges;
mod write;

use std::sync::Mutex;

use larder_model::state::Read;
use larder_model::time::{Clock, Millis};
use larder_model::{Effect, Execution};
use larder_signals::crash::{self, Point};

use self::decide::Commit;
pub(super) use self::load::{Neighbours, look_ups};
pub use self::ranges::{RangePart, progress};
use crate::event_roots::Root;
use crate::{Error, Result, Store};

/// Where an execution came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A call. It has no row yet.
    Call,
    /// The queue: this holder has claimed its row.
    Row(String),
    /// A range of a fan-out, which is claimed as a whole ([`crate::ranges`]). It has no row yet.
    Range,
}

impl Origin {
    /// Is it run again after a failure?
    pub fn is_queued(&self) -> bool {
        *self != Origin::Call
    }
}

/// An execution that has ended, with the changes that it requests.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The record to be written.
    pub execution: Execution,
    pub origin: Origin,
    /// If set, the execution returns to the queue for this time instead of ending.
    pub retry_at_ms: Option<Millis>,
    pub reads: Vec<Read>,
    pub effects: Vec<Effect>,
    /// The end user of an enrolled run.
    pub end_user: Option<String>,
    /// The depth of the events that it emits.
    pub depth: u32,
    pub root: Root,
    /// When the function that ran was created; `None` accepts any function with its id. A function that was deleted and
    /// created again is another one.
    pub function_made_at_ms: Option<Millis>,
}

impl Ended {
    /// The approximate number of keys that it reads or writes.
    pub fn keys(&self) -> usize {
        let read = |read: &Read| match read {
            Read::Key { .. } => 1,
            Read::List { seen, .. } => 1 + seen.len(),
        };
        self.reads.iter().map(read).sum::<usize>() + self.effects.len()
    }

    /// The approximate number of bytes that it writes.
    pub fn bytes(&self) -> usize {
        self.effects.iter().map(Effect::bytes).sum::<usize>() + self.execution.logs.len() + self.execution.errors.len()
    }
}

/// The result of committing one outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitResult {
    Committed {
        emitted: bool,
    },
    /// Something that the run has read has changed: run it again. One of a range is an execution of its own from now on.
    Conflict,
    /// The lease expired and another holder has it, or the execution is already written: the outcome is dropped.
    Fenced,
    /// The function was deleted: the outcome is dropped.
    Gone,
    /// An effect cannot be applied. The execution is recorded as failed with this text, and as a dead letter if another run
    /// would fail in the same way.
    Refused {
        why: String,
        dead_lettered: bool,
    },
}

/// Creates a unique name for a handle.
pub(super) fn committer() -> String {
    commit_marks::mark()
}

impl Store {
    /// Commits a group and returns the results in its order. Groups that are committed at once need handles of their own
    /// ([`Store::with_own_commits`]). `Unknown` if the connection broke during COMMIT and the
    /// outcome could not be looked up.
    pub async fn commit_outcomes(&self, group: &[Ended], clock: &Clock) -> Result<Vec<CommitResult>> {
        self.write_outcomes(group, None, clock).await
    }

    /// Records an outcome as failed for this reason, without any of its effects.
    pub async fn refuse_outcome(&self, ended: &Ended, why: &str, clock: &Clock) -> Result<CommitResult> {
        let results = self.write_outcomes(std::slice::from_ref(ended), Some(why), clock).await?;
        Ok(results.into_iter().next().expect("one for each"))
    }

    async fn write_outcomes(&self, group: &[Ended], refused: Option<&str>, clock: &Clock) -> Result<Vec<CommitResult>> {
        loop {
            let decided = Mutex::new(vec![]);
            let mark = commit_marks::mark();
            let with = (group, refused, clock, &decided, (&*self.committer, mark.as_str()));
            let written = self
                .ledger
                .tx("commit_outcomes", &with, |tx, (group, refused, clock, decided, (committer, mark))| {
                    Box::pin(async move {
                        let mut commit = Commit::load(tx, group, *refused, Neighbours::Unknown, clock).await?;
                        let results = group.iter().map(|ended| commit.decide(ended)).collect();
                        *decided.lock().expect("no panic under the lock") = results;
                        let now = commit.now;
                        commit.write(tx).await?;
                        commit_marks::leave(tx, committer, mark, now).await?;
                        crash::point(Point::LedgerWriting);
                        Ok(())
                    })
                })
                .await;
            let results = decided.into_inner().expect("no panic under the lock");
            match written {
                Ok(()) => {
                    crash::point(Point::LedgerCommitted);
                    return Ok(results);
                }
                Err(Error::Unknown(why)) => match self.was_committed(&mark).await {
                    Some(true) => return Ok(results),
                    // Nothing was written, so everything can be decided again.
                    Some(false) => {
                        tracing::info!(why, "a commit whose answer was lost did not take place; it is repeated")
                    }
                    None => return Err(Error::Unknown(why)),
                },
                Err(err) => return Err(err),
            }
        }
    }
}
