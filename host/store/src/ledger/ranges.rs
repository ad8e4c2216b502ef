//! Commits a part of a range: the outcomes of its next enrolments, with the range's own progress, in one transaction.
//!
//! The range's row fences it: the transaction moves the range from the enrolment that was committed last, under the holder and
//! attempt of the claim. It also resolves commits whose answer was lost: nobody else moves the range under this claim.

use std::sync::Mutex;

use larder_model::ExecutionStatus;
use larder_model::fanouts::Progress;
use larder_model::time::{Clock, Millis};
use larder_signals::crash::{self, Point};

use super::decide::Commit;
use super::load::Neighbours;
use super::{CommitResult, Ended};
use crate::db::Tx;
use crate::ranges::{self, ClaimedRange};
use crate::{Error, Result, Store};

/// The outcomes of the next enrolments of a range.
pub struct RangePart<'a> {
    pub range: &'a ClaimedRange,
    pub group: &'a [Ended],
    /// The last of these enrolments; or the end of the range, if no further enrolment of it takes part.
    pub to: &'a str,
    /// The end of the lease on the rest of the range.
    pub lease: Millis,
    /// Records the only outcome of the part as failed for this reason, without any of its effects.
    pub refused: Option<&'a str>,
}

impl Store {
    /// Commits a part of a range and returns the results in the order of its group. `None`: the claim is lost, and nothing was
    /// written. `Unknown` if the connection broke during COMMIT and the range could not be looked up.
    pub async fn commit_range(&self, part: &RangePart<'_>, clock: &Clock) -> Result<Option<Vec<CommitResult>>> {
        loop {
            let decided = Mutex::new(None);
            let with = (part, clock, &decided);
            let written = self.ledger.tx("commit_range", &with, |tx, (part, clock, decided)| {
                Box::pin(async move {
                    let results = write(tx, part, clock).await?;
                    *decided.lock().expect("no panic under the lock") = results;
                    crash::point(Point::RangeCommitting);
                    Ok(())
                })
            });
            let written = written.await;
            let results = decided.into_inner().expect("no panic under the lock");
            match written {
                Ok(()) => {
                    crash::point(Point::RangeCommitted);
                    return Ok(results);
                }
                Err(Error::Unknown(why)) => match self.position(part.range).await? {
                    Some(at) if at == part.to => return Ok(results),
                    Some(at) if at == part.range.after => {
                        tracing::info!(why, "a commit whose answer was lost did not take place; it is repeated");
                    }
                    // The range has ended since, or another worker has it.
                    _ => return Err(Error::Unknown(why)),
                },
                Err(err) => return Err(err),
            }
        }
    }

    async fn position(&self, range: &ClaimedRange) -> Result<Option<String>> {
        // The lock waits for the transaction, if the server is still committing it.
        let found = self.ledger.tx("look_up_range", range, |tx, range| Box::pin(ranges::position(tx, range))).await;
        found.map_err(|err| Error::Unknown(err.to_string()))
    }
}

async fn write(tx: &mut Tx<'_>, part: &RangePart<'_>, clock: &Clock) -> Result<Option<Vec<CommitResult>>> {
    if !ranges::lock(tx, part.range, &part.range.after).await? {
        return Ok(None);
    }
    // Those of a topic have others between them.
    let neighbours = if part.range.fanout.topic.is_none() { Neighbours::Yes } else { Neighbours::Unknown };
    let mut commit = Commit::load(tx, part.group, part.refused, neighbours, clock).await?;
    // A thousand decisions take milliseconds, in which other tasks run on another thread.
    let results: Vec<CommitResult> = tokio::task::block_in_place(|| {
        let results = part.group.iter().map(|ended| commit.decide(ended)).collect();
        commit.pack();
        results
    });
    let lease_until = (part.to < part.range.until.as_str()).then_some(commit.now + part.lease);
    commit.write(tx).await?;
    ranges::advance(tx, part.range, part.to, progress(part.group, &results), lease_until).await?;
    Ok(Some(results))
}

/// What these results add to the progress of a fan-out.
pub fn progress(group: &[Ended], results: &[CommitResult]) -> Progress {
    let mut progress = Progress::default();
    for (ended, result) in group.iter().zip(results) {
        match result {
            CommitResult::Committed { .. } if ended.execution.status == ExecutionStatus::Completed => {
                progress.done += 1
            }
            CommitResult::Conflict => progress.conflicts += 1,
            // Nothing of it is left with its function.
            CommitResult::Gone => {}
            CommitResult::Committed { .. } | CommitResult::Refused { .. } | CommitResult::Fenced => {
                progress.failed += 1
            }
        }
    }
    progress
}
