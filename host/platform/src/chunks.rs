//! Uploads in chunks: the bytes of a deployment that come with several requests, in any order and to any process.
//!
//! * [`add`] stores one chunk. [`source`] gives the whole upload, however it came.
//!
//! Nothing of an unfinished upload is in memory: its chunks are in the object store, and which of them are there is in the
//! database.

use bytes::{Bytes, BytesMut};
use larder_model::{Deployment, Digest};
use larder_signals::Work;
use larder_store::{Chunk, ChunkResult, Store};

use crate::common::Common;
use crate::error::{Error, Result};
use crate::objects::{self, Objects};
use crate::uploads::Upload;

/// Bytes of each chunk but the last: as every client cuts them.
pub const CHUNK_BYTES: u64 = 5 << 20;

/// The chunks of an upload of so many bytes.
pub fn count(bytes: u64) -> u32 {
    bytes.div_ceil(CHUNK_BYTES) as u32
}

/// Stores the chunk at this place, and queues the build if it was the last that was missing. Returns how many are stored.
pub async fn add(
    common: &Common,
    objects: &Objects,
    deployment: &Deployment,
    ordinal: u32,
    bytes: Upload,
) -> Result<u32> {
    let of = count(deployment.source_bytes);
    let digest = bytes.store(objects).await?;
    let chunk = Chunk { deployment, ordinal, of, digest };
    match common.store.insert_chunk(&chunk, common.clock.now_ms()).await? {
        ChunkResult::Stored { chunks } => Ok(chunks),
        ChunkResult::Completed => {
            common.signals.push(Work::Builds);
            Ok(of)
        }
        ChunkResult::AlreadyComplete => Ok(of),
        ChunkResult::Differs => Err(Error::ChunkDiffers { number: ordinal + 1, of }),
        ChunkResult::Canceled => Err(Error::BuildCompleted),
    }
}

/// The uploaded bytes; `None` while chunks of it are missing.
pub async fn source(
    store: &Store,
    objects: &Objects,
    deployment: &Deployment,
) -> std::result::Result<Option<Bytes>, SourceError> {
    if deployment.source_digest != Digest::UNKNOWN {
        return Ok(Some(objects.get(&deployment.source_digest).await?));
    }
    let chunks = store.upload_chunks(&deployment.partner, &deployment.id).await?;
    if chunks.len() as u32 != count(deployment.source_bytes) {
        return Ok(None);
    }
    let mut whole = BytesMut::with_capacity(deployment.source_bytes as usize);
    for (_, digest) in chunks {
        whole.extend_from_slice(&objects.get(&digest).await?);
    }
    Ok(Some(whole.freeze()))
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Store(#[from] larder_store::Error),
    #[error(transparent)]
    Objects(#[from] objects::Error),
}
