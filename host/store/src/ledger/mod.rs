//! Outcomes, many in one database transaction.
//!
//! For each: is its attempt still the holder? would its reads give the same again? can its effects be applied? Only
//! then anything of it is written; what drops out leaves nothing behind and does not disturb the others. The outcomes
//! of a group see each other's state in their order.
//!
//! A group is three steps, so that the statements do not grow in number with the outcomes: [`load`](Commit::load) locks
//! and reads what the decisions depend on, [`decide`](Commit::decide) needs no database, [`write`](Commit::write) writes.
//! Locks are taken in one order everywhere (functions, executions, enrolments, state; each by key), so that groups of
//! several processes wait for each other rather than for ever.

mod commit_marks;
mod decide;
mod load;
mod write;

use std::sync::Mutex;

use larder_model::state::Read;
use larder_model::time::{Clock, Millis};
use larder_model::{Effect, Execution};
use larder_signals::crash::{self, Point};

use self::decide::Commit;
use crate::event_roots::Root;
use crate::{Error, Result, Store};

/// An execution that has ended, with what it wants to change.
#[derive(Clone, Debug)]
pub struct Ended {
    /// As it shall be recorded.
    pub execution: Execution,
    /// Who claimed it from the queue; `None` if it has no row yet.
    pub holder: Option<String>,
    /// Put back into the queue, to run then, instead of being ended.
    pub retry_at_ms: Option<Millis>,
    pub reads: Vec<Read>,
    pub effects: Vec<Effect>,
    /// Whom an enrolled run saves for.
    pub end_user: Option<String>,
    /// Of the events that it emits.
    pub depth: u32,
    pub root: Root,
    /// When the function was made that ran; `None`: whichever has its id. One that was deleted and made again is another.
    pub function_made_at_ms: Option<Millis>,
}

impl Ended {
    /// Keys that it asks for or writes, about.
    pub fn keys(&self) -> usize {
        let read = |read: &Read| match read {
            Read::Key { .. } => 1,
            Read::List { seen, .. } => 1 + seen.len(),
        };
        self.reads.iter().map(read).sum::<usize>() + self.effects.len()
    }

    /// Bytes that it writes, about.
    pub fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let effect = |effect: &Effect| match effect {
            Effect::SetState { key, value } => key.len() + value.len(),
            Effect::DeleteState { key } | Effect::IncrementState { key, .. } => key.len(),
            Effect::Transaction { id, end_user, memo, .. } => id.len() + text(end_user) + text(memo),
            Effect::Emit(event) => event.data.len() + event.kind.len() + text(&event.subject),
        };
        self.effects.iter().map(effect).sum::<usize>() + self.execution.logs.len() + self.execution.errors.len()
    }
}

/// What became of an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitResult {
    Committed {
        emitted: bool,
    },
    /// Something that the run read has changed: run it again.
    Conflict,
    /// The claim ran out and somebody else has it, or the execution was written already: the outcome is dropped.
    Fenced,
    /// The function was deleted: the outcome is dropped.
    Gone,
    /// An effect cannot be applied; the execution is recorded as failed with this text, and as given up if the run would
    /// come to the same again.
    Refused {
        why: String,
        dead_lettered: bool,
    },
}

/// A name that no other process has.
pub(super) fn process() -> String {
    commit_marks::mark()
}

impl Store {
    /// Writes a group. The results are in its order. `Unknown` if the connection broke during COMMIT and the database
    /// could not be asked afterwards.
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
            let with = (group, refused, clock, &decided, (&*self.process, mark.as_str()));
            let written = self
                .ledger
                .tx("commit_outcomes", &with, |tx, (group, refused, clock, decided, (process, mark))| {
                    Box::pin(async move {
                        let mut commit = Commit::load(tx, group, *refused, clock).await?;
                        let results = group.iter().map(|ended| commit.decide(ended)).collect();
                        *decided.lock().expect("no panic under the lock") = results;
                        let now = commit.now;
                        commit.write(tx).await?;
                        commit_marks::leave(tx, process, mark, now).await?;
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
                    // Nothing of it stands, so all of it can be decided again.
                    Some(false) => {
                        tracing::info!(why, "a commit whose answer was lost had not taken entry; writing again")
                    }
                    None => return Err(Error::Unknown(why)),
                },
                Err(err) => return Err(err),
            }
        }
    }
}
