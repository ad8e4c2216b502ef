//! Keys of runs in progress.

use larder_model::RunKey;
use larder_model::ids::{ExecutionId, PartnerId};

use crate::{Result, Store, args};

impl Store {
    /// Stores the key of a run. It replaces that of an earlier run of the same execution.
    pub async fn put_run_key(&self, key: &RunKey) -> Result<()> {
        self.db
            .tx("put_run_key", key, |tx, k| {
                Box::pin(async move {
                    let set = ["function_id", "secret_hash", "created_at_ms", "expires_at_ms"];
                    let row =
                        args![&k.partner, &k.execution, &k.function, &k.secret_hash, k.created_at_ms, k.expires_at_ms];
                    tx.upsert("run_keys", &["partner_id", "id"], &set, vec![row]).await
                })
            })
            .await
    }

    pub async fn run_key(&self, partner: &PartnerId, execution: &ExecutionId) -> Result<Option<RunKey>> {
        const FIND: &str = "-- find_run_key
            SELECT function_id, secret_hash, created_at_ms, expires_at_ms FROM run_keys WHERE partner_id = ? AND id = ?";
        let Some(row) = self.db.row(FIND, args![partner, execution]).await? else { return Ok(None) };
        Ok(Some(RunKey {
            partner: partner.clone(),
            execution: execution.clone(),
            function: row.id(0, "run_keys.function_id")?,
            secret_hash: row.text(1)?,
            created_at_ms: row.int(2)?,
            expires_at_ms: row.int(3)?,
        }))
    }

    /// Deletes the key of a run, unless a later run of the same execution has replaced it.
    pub async fn delete_run_key(&self, key: &RunKey) -> Result<()> {
        const DELETE: &str = "-- delete_run_key
            DELETE FROM run_keys WHERE partner_id = ? AND id = ? AND secret_hash = ?";
        self.db.run(DELETE, args![&key.partner, &key.execution, &key.secret_hash]).await.map(|_| ())
    }
}
