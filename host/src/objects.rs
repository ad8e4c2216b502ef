//! Uploaded bytes, under their SHA-256. Any `object_store` backend serves; today a local folder.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use larder_runtime::Digest;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use sha2::{Digest as _, Sha256};

use crate::model::hex;

#[derive(Clone)]
pub struct Objects(Arc<dyn ObjectStore>);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("object {key}: {source}")]
    Store { key: String, source: object_store::Error },
    #[error("object {key} is corrupt: its bytes do not have that hash")]
    Corrupt { key: String },
    #[error("object folder: {0}")]
    Folder(String),
}

impl Objects {
    pub fn in_folder(folder: &Path) -> Result<Objects, Error> {
        let bad = |err: &dyn std::fmt::Display| Error::Folder(format!("{}: {err}", folder.display()));
        std::fs::create_dir_all(folder).map_err(|err| bad(&err))?;
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|err| bad(&err))?.with_fsync(true);
        Ok(Objects(Arc::new(store)))
    }

    pub async fn put(&self, bytes: Bytes) -> Result<Digest, Error> {
        let digest = Digest(Sha256::digest(&bytes).into());
        let key = key(&digest);
        self.0
            .put(&Key::from(key.as_str()), PutPayload::from_bytes(bytes))
            .await
            .map_err(|source| Error::Store { key, source })?;
        Ok(digest)
    }

    pub async fn get(&self, digest: &Digest) -> Result<Bytes, Error> {
        let key = key(digest);
        let failed = |source| Error::Store { key: key.clone(), source };
        let bytes = self.0.get(&Key::from(key.as_str())).await.map_err(failed)?.bytes().await.map_err(failed)?;
        if Sha256::digest(&bytes)[..] != digest.0 { Err(Error::Corrupt { key }) } else { Ok(bytes) }
    }
}

fn key(digest: &Digest) -> String {
    let hex = hex(&digest.0);
    format!("{}/{hex}", &hex[..2])
}

#[async_trait::async_trait]
impl larder_runtime::Source for Objects {
    async fn upload(&self, digest: &Digest) -> Result<Bytes, String> {
        self.get(digest).await.map_err(|err| err.to_string())
    }
}
