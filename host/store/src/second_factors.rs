//! Second factors of administrators and the codes that stand in for them. These queries belong to the installation.

use larder_model::ids::{AdministratorId, SessionId};
use larder_model::time::Millis;

use crate::{Result, Store, args};

const FORGET_CODES: &str = "-- delete_recovery_codes
    DELETE FROM recovery_codes WHERE administrator_id = ?";
const END_OTHERS: &str = "-- end_sessions_before_second_factor
    DELETE FROM sessions WHERE administrator_id = ? AND id <> ?";

impl Store {
    /// The sealed secret of a second factor.
    pub async fn second_factor(&self, of: &AdministratorId) -> Result<Option<Vec<u8>>> {
        const FIND: &str = "-- find_second_factor
            SELECT sealed_totp FROM administrators WHERE id = ?";
        self.db.row(FIND, args![of]).await?.map_or(Ok(None), |row| row.maybe_bytes(0))
    }

    /// Sets a second factor up, or another one. All sessions but `keep` end. Codes up to `step` count as used.
    pub async fn set_second_factor(
        &self,
        of: &AdministratorId,
        sealed: &[u8],
        step: i64,
        code_hashes: &[String],
        keep: &SessionId,
        now: Millis,
    ) -> Result<()> {
        const SET: &str = "-- set_second_factor
            UPDATE administrators SET sealed_totp = ?, totp_step = ?, updated_at_ms = ? WHERE id = ?";
        const HEAD: &str = "-- insert_recovery_codes
            INSERT INTO recovery_codes (administrator_id, code_hash)";
        self.db
            .tx(
                "set_second_factor",
                &(of, sealed, step, code_hashes, keep, now),
                |tx, (of, sealed, step, codes, keep, now)| {
                    Box::pin(async move {
                        tx.run(SET, args![sealed.to_vec(), *step, *now, *of]).await?.exactly_one("administrator")?;
                        let _ = tx.run(FORGET_CODES, args![*of]).await?;
                        let _ = tx.run(END_OTHERS, args![*of, *keep]).await?;
                        tx.insert(HEAD, codes.iter().map(|hash| args![*of, hash]).collect()).await
                    })
                },
            )
            .await
    }

    /// Takes a second factor away, with all sessions.
    pub async fn delete_second_factor(&self, of: &AdministratorId, now: Millis) -> Result<()> {
        const UNSET: &str = "-- delete_second_factor
            UPDATE administrators SET sealed_totp = NULL, updated_at_ms = ? WHERE id = ?";
        self.db
            .tx("delete_second_factor", &(of, now), |tx, (of, now)| {
                Box::pin(async move {
                    tx.run(UNSET, args![*now, *of]).await?.exactly_one("administrator")?;
                    let _ = tx.run(FORGET_CODES, args![*of]).await?;
                    tx.run(END_OTHERS, args![*of, ""]).await.map(|_| ())
                })
            })
            .await
    }

    /// Uses a step of the second factor up. `false`: it, or a later one, was used before.
    pub async fn use_second_factor(&self, of: &AdministratorId, step: i64) -> Result<bool> {
        const USE: &str = "-- use_second_factor
            UPDATE administrators SET totp_step = ? WHERE id = ? AND totp_step < ?";
        Ok(self.db.run(USE, args![step, of, step]).await?.0 == 1)
    }

    /// Uses a recovery code up. `false`: there is none with this hash.
    pub async fn use_recovery_code(&self, of: &AdministratorId, code_hash: &str) -> Result<bool> {
        const USE: &str = "-- use_recovery_code
            DELETE FROM recovery_codes WHERE administrator_id = ? AND code_hash = ?";
        Ok(self.db.run(USE, args![of, code_hash]).await?.0 == 1)
    }

    pub async fn count_recovery_codes(&self, of: &AdministratorId) -> Result<u64> {
        const COUNT: &str = "-- count_recovery_codes
            SELECT COUNT(*) FROM recovery_codes WHERE administrator_id = ?";
        Ok(self.db.row(COUNT, args![of]).await?.map_or(Ok(0), |row| row.int(0))? as u64)
    }
}
