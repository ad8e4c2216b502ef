//! Uploads in progress. They are hashed while they are written to a file, so only the one that is being stored is whole in
//! memory.
//!
//! The file has no name, so the system removes it with the process, however that ends. Nothing abandoned has to be swept.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use bytes::{Bytes, BytesMut};
use larder_model::{Digest, settings};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use crate::objects::{self, Objects};
use crate::quotas::{Cap, Exceeded};

/// Bytes that are collected before they are written and hashed, off the async threads.
const PIECE_BYTES: usize = 256 << 10;
/// Uploads of the process that are whole in memory while they are put into the object store.
const STORED_AT_ONCE: usize = 1;

/// The folder for uploads in progress, with their limits. Cheap to clone.
#[derive(Clone)]
pub struct Staging {
    folder: Arc<PathBuf>,
    per_tenant: u64,
    tenant_bytes: u64,
    stores: Arc<Semaphore>,
}

/// The uploads in progress of one tenant. Outlives reloads.
#[derive(Default)]
pub struct TenantUploads {
    count: AtomicU64,
    bytes: AtomicU64,
}

impl TenantUploads {
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    #[error("the folder of uploads: {0}")]
    Folder(#[from] std::io::Error),
    #[error(transparent)]
    Objects(#[from] objects::Error),
}

impl Staging {
    pub fn open(settings: &settings::Build, data: &Path) -> std::io::Result<Staging> {
        let folder = data.join("uploads");
        std::fs::create_dir_all(&folder)?;
        Ok(Staging {
            folder: Arc::new(folder),
            per_tenant: settings.uploads_per_partner,
            tenant_bytes: settings.staged_bytes_per_partner,
            stores: Arc::new(Semaphore::new(STORED_AT_ONCE)),
        })
    }

    /// Begins an upload of the tenant, within its limit.
    pub fn begin(&self, tenant: &Arc<TenantUploads>) -> Result<Upload, Error> {
        let before = tenant.count.fetch_add(1, Relaxed);
        // From here on, dropping it releases the tenant's slot.
        let upload = Upload {
            staging: self.clone(),
            tenant: tenant.clone(),
            gathered: BytesMut::new(),
            written: Some(Written { file: None, hash: Sha256::new() }),
            bytes: 0,
            kept: None,
        };
        if before >= self.per_tenant {
            return Err(Exceeded::new(Cap::Uploads, self.per_tenant, before).into());
        }
        Ok(upload)
    }
}

/// One upload in progress.
pub struct Upload {
    staging: Staging,
    tenant: Arc<TenantUploads>,
    gathered: BytesMut,
    /// `None` while a blocking thread has it, and after an error.
    written: Option<Written>,
    bytes: u64,
    kept: Option<Range<u64>>,
}

struct Written {
    file: Option<File>,
    hash: Sha256,
}

impl Upload {
    /// Those that are to be stored.
    pub fn bytes(&self) -> u64 {
        self.kept.as_ref().map_or(self.bytes, |kept| kept.end - kept.start)
    }

    /// Only this part of it is to be stored.
    pub fn keep(&mut self, part: Range<u64>) {
        self.kept = (part != (0..self.bytes)).then_some(part);
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let more = bytes.len() as u64;
        let before = self.tenant.bytes.fetch_add(more, Relaxed);
        self.bytes += more;
        if before + more > self.staging.tenant_bytes {
            return Err(Exceeded::new(Cap::UploadBytes, self.staging.tenant_bytes, before).into());
        }
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= PIECE_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let mut written = self.written.take().ok_or_else(lost)?;
        let (piece, folder) = (self.gathered.split().freeze(), self.staging.folder.clone());
        let done = tokio::task::spawn_blocking(move || {
            let file = match &mut written.file {
                Some(file) => file,
                none => none.insert(tempfile::tempfile_in(&*folder)?),
            };
            file.write_all(&piece)?;
            written.hash.update(&piece);
            std::io::Result::Ok(written)
        });
        self.written = Some(done.await.map_err(std::io::Error::other)??);
        Ok(())
    }

    /// Puts the upload into the object store under its hash.
    pub async fn store(mut self, objects: &Objects) -> Result<Digest, Error> {
        self.flush().await?;
        let Written { file, hash } = self.written.take().ok_or_else(lost)?;
        let (mut file, kept, length) = (file.ok_or_else(lost)?, self.kept.take(), self.bytes as usize);
        let _one = self.staging.stores.acquire().await.map_err(std::io::Error::other)?;
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; kept.as_ref().map_or(length, |kept| (kept.end - kept.start) as usize)];
            file.seek(SeekFrom::Start(kept.as_ref().map_or(0, |kept| kept.start)))?;
            file.read_exact(&mut bytes)?;
            let digest = match kept {
                Some(_) => Digest::of(&bytes),
                None => Digest(hash.finalize().into()),
            };
            std::io::Result::Ok((digest, Bytes::from(bytes)))
        });
        let (digest, bytes) = read.await.map_err(std::io::Error::other)??;
        objects.put(&digest, bytes).await?;
        Ok(digest)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.tenant.bytes.fetch_sub(self.bytes, Relaxed);
        self.tenant.count.fetch_sub(1, Relaxed);
    }
}

fn lost() -> std::io::Error {
    std::io::Error::other("the file of an upload is lost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staging(folder: &Path) -> Staging {
        Staging {
            folder: Arc::new(folder.to_owned()),
            per_tenant: 2,
            tenant_bytes: 1_000_000,
            stores: Arc::new(Semaphore::new(1)),
        }
    }

    #[tokio::test]
    async fn uploads_are_stored_under_their_hash_and_the_folder_stays_empty() {
        let folder = tempfile::tempdir().unwrap();
        let (uploads, objects) = (folder.path().join("uploads"), folder.path().join("objects"));
        std::fs::create_dir(&uploads).unwrap();
        let url = format!("file://{}", objects.display());
        let settings =
            settings::Objects { url, endpoint: String::new(), region: String::new(), access_key_file: PathBuf::new() };
        let objects = Objects::open(&settings, folder.path()).unwrap();
        let (staging, tenant) = (staging(&uploads), Arc::default());
        let bytes: Vec<u8> = (0..900_000u32).map(|at| (at * 7) as u8).collect();
        let mut upload = staging.begin(&tenant).unwrap();
        for piece in bytes.chunks(70_001) {
            upload.write(piece).await.unwrap();
        }
        assert_eq!((tenant.count(), tenant.bytes()), (1, 900_000));
        assert_eq!(std::fs::read_dir(&uploads).unwrap().count(), 0);
        let digest = upload.store(&objects).await.unwrap();
        assert_eq!(digest, Digest::of(&bytes));
        assert_eq!(objects.get(&digest).await.unwrap(), bytes);
        assert_eq!((tenant.count(), tenant.bytes()), (0, 0));
        // A part of it.
        let mut upload = staging.begin(&tenant).unwrap();
        upload.write(&bytes).await.unwrap();
        upload.keep(100..300_000);
        assert_eq!(upload.bytes(), 299_900);
        let digest = upload.store(&objects).await.unwrap();
        assert_eq!(objects.get(&digest).await.unwrap(), bytes[100..300_000]);
        assert_eq!((tenant.count(), tenant.bytes()), (0, 0));
    }

    #[tokio::test]
    async fn uploads_and_bytes_of_a_tenant_are_limited() {
        let folder = tempfile::tempdir().unwrap();
        let (staging, tenant) = (staging(folder.path()), Arc::default());
        let mut first = staging.begin(&tenant).unwrap();
        let second = staging.begin(&tenant).unwrap();
        assert!(matches!(staging.begin(&tenant), Err(Error::Exceeded(why)) if why.cap == Cap::Uploads));
        first.write(&vec![0; 999_999]).await.unwrap();
        assert!(matches!(first.write(&[0; 2]).await, Err(Error::Exceeded(why)) if why.cap == Cap::UploadBytes));
        drop((first, second));
        assert_eq!((tenant.count(), tenant.bytes()), (0, 0));
        assert!(staging.begin(&tenant).is_ok());
    }
}
