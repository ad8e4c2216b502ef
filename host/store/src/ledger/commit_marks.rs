//! Resolves commits whose answer was lost: did they take place?
//!
//! Each commit writes a unique mark into the one row of its handle, `process_id`. The rows of outcomes cannot serve for this: other
//! processes continue with what was committed, or create the same execution under the same idempotency key.

use std::time::Duration;

use larder_model::time::Millis;

use crate::db::{Lock, Tx};
use crate::{Result, Store, args};

/// The number of look-ups, and the time between them.
const LOOKS: u32 = 10;
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// Creates a unique mark.
pub(crate) fn mark() -> String {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the operating system gives random bytes");
    hex::encode(random)
}

pub(super) async fn leave(tx: &mut Tx<'_>, committer: &str, mark: &str, now: Millis) -> Result<()> {
    let row = args![committer, mark, now];
    tx.upsert("ledger_commits", &["process_id"], &["mark", "committed_at_ms"], vec![row]).await
}

impl Store {
    /// Is this the mark of this handle's last commit? `None` if the database does not answer.
    pub(super) async fn was_committed(&self, mark: &str) -> Option<bool> {
        const LAST: &str = "-- last_commit
            SELECT mark FROM ledger_commits WHERE process_id = ?";
        for _ in 0..LOOKS {
            let found = self.ledger.tx("look_up_commit", &*self.committer, |tx, committer| {
                Box::pin(async move {
                    // The lock waits for the transaction, if the server is still committing it.
                    let rows = tx.locked(Lock::Exclusive, LAST, args![committer]).await?;
                    rows.first().map(|row| row.text(0)).transpose()
                })
            });
            match found.await {
                Ok(last) => return Some(last.as_deref() == Some(mark)),
                Err(err) => tracing::warn!(error = %err, "a commit whose answer was lost could not be looked up"),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        None
    }

    /// Deletes the marks of handles that have committed nothing since `before`.
    pub async fn delete_old_commits(&self, before: Millis) -> Result<u64> {
        const DELETE: &str = "-- delete_old_commits
            DELETE FROM ledger_commits WHERE committed_at_ms < ?";
        Ok(self.db.run(DELETE, args![before]).await?.0)
    }
}
