//! Uploads that come in chunks: which of them are stored.
//!
//! A chunk's bytes are in the object store before its row is here. With the last row the upload is complete, in the same
//! transaction, and from then on its deployment can be claimed by a builder, which puts the chunks together. So a process may
//! die at any line: what was acknowledged stays, and what was not is sent again.

use hex::FromHex;
use larder_model::ids::{DeploymentId, PartnerId};
use larder_model::time::Millis;
use larder_model::{BuildStatus, Deployment, Digest};

use crate::db::{Lock, Row, Tx};
use crate::{Error, Result, Store, args};

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkResult {
    /// It is stored, perhaps since before. The number of chunks that are.
    Stored { chunks: u32 },
    /// It was the last one: the upload is complete.
    Completed,
    /// All chunks were there before.
    AlreadyComplete,
    /// The chunk at its place has other bytes.
    Differs,
    /// The upload was canceled.
    Canceled,
}

/// A chunk of a deployment's upload.
pub struct Chunk<'a> {
    pub deployment: &'a Deployment,
    /// Its place, from 0 on, of so many.
    pub ordinal: u32,
    pub of: u32,
    pub digest: Digest,
}

const DELETE: &str = "-- delete_upload_chunks
    DELETE FROM upload_chunks WHERE partner_id = ? AND deployment_id = ?";

impl Store {
    pub async fn insert_chunk(&self, chunk: &Chunk<'_>, now: Millis) -> Result<ChunkResult> {
        self.db.tx("insert_chunk", &(chunk, now), |tx, (chunk, now)| Box::pin(insert_chunk(tx, chunk, *now))).await
    }

    /// The stored chunks of an upload, in order.
    pub async fn upload_chunks(&self, partner: &PartnerId, deployment: &DeploymentId) -> Result<Vec<(u32, Digest)>> {
        const CHUNKS: &str = "-- upload_chunks
            SELECT ordinal, digest FROM upload_chunks WHERE partner_id = ? AND deployment_id = ? ORDER BY ordinal";
        let read = |row: &Row| Ok((row.int(0)? as u32, digest(row, 1)?));
        self.db.rows(CHUNKS, args![partner, deployment]).await?.iter().map(read).collect()
    }

    /// Deletes up to `limit` deployments, across all partners, whose upload is not complete and had no chunk since `before`.
    pub async fn delete_unfinished_uploads(&self, before: Millis, limit: u32) -> Result<u64> {
        const ABANDONED: &str = "-- delete_unfinished_upload
            DELETE FROM deployments WHERE partner_id = ? AND id = ? AND uploading = 1 AND status = 'waiting' AND updated_at_ms < ?";
        let find = format!(
            "-- unfinished_uploads
            SELECT partner_id, id FROM deployments WHERE uploading = 1 AND status = 'waiting' AND updated_at_ms < ? LIMIT {limit}"
        );
        let mut deleted = 0;
        for row in self.db.rows(&find, args![before]).await? {
            let key = (row.id(0, "deployments.partner_id")?, row.id(1, "deployments.id")?, before);
            deleted += self
                .db
                .tx("delete_unfinished_upload", &key, |tx, (partner, id, before)| {
                    Box::pin(async move {
                        let gone = tx.run(ABANDONED, args![partner, id, *before]).await?.0;
                        if gone > 0 {
                            delete(tx, partner, id).await?;
                        }
                        Ok(gone)
                    })
                })
                .await?;
        }
        Ok(deleted)
    }
}

async fn insert_chunk(tx: &mut Tx<'_>, chunk: &Chunk<'_>, now: Millis) -> Result<ChunkResult> {
    const UPLOAD: &str = "-- lock_upload
        SELECT uploading, status FROM deployments WHERE partner_id = ? AND function_id = ? AND id = ?";
    const FIND: &str = "-- find_chunk
        SELECT digest FROM upload_chunks WHERE partner_id = ? AND deployment_id = ? AND ordinal = ?";
    const INSERT: &str = "-- insert_chunk
        INSERT INTO upload_chunks (partner_id, deployment_id, ordinal, function_id, digest) VALUES (?, ?, ?, ?, ?)";
    const COUNT: &str = "-- count_chunks
        SELECT COUNT(*) FROM upload_chunks WHERE partner_id = ? AND deployment_id = ?";
    const UPDATE: &str = "-- upload_received_chunk
        UPDATE deployments SET uploading = ?, updated_at_ms = ? WHERE partner_id = ? AND id = ?";
    let Deployment { partner, function, id, .. } = chunk.deployment;
    // Chunks of one upload are recorded one after the other, so exactly one of them is the last.
    let locked = tx.locked(Lock::Exclusive, UPLOAD, args![partner, function, id]).await?;
    let upload = locked.first().ok_or(Error::NotFound { what: "deployment" })?;
    if !upload.flag(0)? {
        return Ok(ChunkResult::AlreadyComplete);
    }
    if upload.text(1)? == BuildStatus::Canceled.word() {
        return Ok(ChunkResult::Canceled);
    }
    match tx.row(FIND, args![partner, id, chunk.ordinal]).await? {
        Some(stored) if digest(&stored, 0)? != chunk.digest => return Ok(ChunkResult::Differs),
        Some(_) => {}
        None => {
            let row = args![partner, id, chunk.ordinal, function, hex::encode(chunk.digest.0)];
            tx.run(INSERT, row).await?.exactly_one("chunk")?;
        }
    }
    let chunks = tx.row(COUNT, args![partner, id]).await?.map_or(Ok(0), |row| row.int(0))? as u32;
    tx.run(UPDATE, args![chunks < chunk.of, now, partner, id]).await?.exactly_one("deployment")?;
    Ok(if chunks < chunk.of { ChunkResult::Stored { chunks } } else { ChunkResult::Completed })
}

/// Deletes the chunks of an upload that are needed no more.
pub(super) async fn delete(tx: &mut Tx<'_>, partner: &PartnerId, deployment: &DeploymentId) -> Result<()> {
    let _ = tx.run(DELETE, args![partner, deployment]).await?;
    Ok(())
}

fn digest(row: &Row, at: usize) -> Result<Digest> {
    Ok(Digest(row.parse(at, "upload_chunks.digest", |text| FromHex::from_hex(text).ok())?))
}
