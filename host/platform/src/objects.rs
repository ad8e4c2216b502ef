//! The object store of uploads, addressed by SHA-256: a folder, which processes may share, or an S3-compatible store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use hex::FromHex;
use larder_model::time::Millis;
use larder_model::{Digest, settings};
use larder_secrets::read_private;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig};
use sha2::{Digest as _, Sha256};

/// How long a request to S3 may take, its retries included.
const S3_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct Objects(Arc<dyn ObjectStore>);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("object {key}: {source}")]
    Store { key: String, source: object_store::Error },
    #[error("object {key} is corrupt: its bytes do not have that hash")]
    Corrupt { key: String },
    /// The settings of the store are invalid. Names the setting.
    #[error("{setting}: {why}")]
    Settings { setting: &'static str, why: String },
}

impl Objects {
    /// Opens the store of `objects.url`: a folder, a bucket, or by default the folder `objects` in the data folder.
    pub fn open(settings: &settings::Objects, data: &Path) -> Result<Objects, Error> {
        if let Some(place) = settings.url.strip_prefix("s3://") {
            return Objects::in_bucket(settings, place);
        }
        match settings.url.strip_prefix("file://") {
            Some(folder) => Objects::in_folder(Path::new(folder)),
            None => Objects::in_folder(&data.join("objects")),
        }
    }

    fn in_folder(folder: &Path) -> Result<Objects, Error> {
        let bad = |err: &dyn std::fmt::Display| Error::Settings {
            setting: "objects.url",
            why: format!("{}: {err}", folder.display()),
        };
        std::fs::create_dir_all(folder).map_err(|err| bad(&err))?;
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|err| bad(&err))?.with_fsync(true);
        Ok(Objects(Arc::new(store)))
    }

    /// `place` is `bucket` or `bucket/prefix`.
    fn in_bucket(settings: &settings::Objects, place: &str) -> Result<Objects, Error> {
        // The client panics without a default provider, even if it makes no TLS connection.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let (id, secret) = access_key(&settings.access_key_file)?;
        let http = settings.endpoint.starts_with("http://");
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&settings.region)
            .with_access_key_id(id)
            .with_secret_access_key(secret)
            .with_virtual_hosted_style_request(false)
            .with_client_options(ClientOptions::new().with_allow_http(http).with_timeout(S3_TIMEOUT))
            .with_retry(RetryConfig { retry_timeout: S3_TIMEOUT, ..RetryConfig::default() });
        if !settings.endpoint.is_empty() {
            builder = builder.with_endpoint(settings.endpoint.trim_end_matches('/'));
        }
        let bad = |err: object_store::Error| Error::Settings { setting: "objects.url", why: err.to_string() };
        Ok(Objects(Arc::new(PrefixStore::new(builder.build().map_err(bad)?, prefix))))
    }

    /// Stores bytes under their hash, which the caller has computed.
    pub async fn put(&self, digest: &Digest, bytes: Bytes) -> Result<(), Error> {
        let key = key(digest);
        let put = self.0.put(&Key::from(key.as_str()), PutPayload::from_bytes(bytes)).await;
        put.map(drop).map_err(|source| Error::Store { key, source })
    }

    pub async fn get(&self, digest: &Digest) -> Result<Bytes, Error> {
        let key = key(digest);
        let failed = |source| Error::Store { key: key.clone(), source };
        let bytes = self.0.get(&Key::from(key.as_str())).await.map_err(failed)?.bytes().await.map_err(failed)?;
        // Off the async threads: an upload takes tens of milliseconds to hash.
        let hashed = bytes.clone();
        let found = tokio::task::spawn_blocking(move || Sha256::digest(&hashed)).await;
        if found.is_ok_and(|found| found[..] == digest.0) { Ok(bytes) } else { Err(Error::Corrupt { key }) }
    }
}

impl Objects {
    /// Asks the store for an object that need not be there.
    pub async fn ping(&self) -> Result<(), Error> {
        let key = key(&Digest::UNKNOWN);
        match self.0.head(&Key::from(key.as_str())).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(Error::Store { key, source }),
        }
    }

    /// The objects that were stored before this time, in no order.
    pub fn older(&self, before: Millis) -> impl Stream<Item = Result<Digest, Error>> + Send {
        let old = move |object: ObjectMeta| {
            let name = object.location.filename()?;
            let digest = FromHex::from_hex(name).ok().map(Digest)?;
            (object.last_modified.timestamp_millis() < before).then_some(digest)
        };
        self.0.list(None).filter_map(move |found| {
            std::future::ready(match found {
                Ok(object) => old(object).map(Ok),
                Err(source) => Some(Err(Error::Store { key: "list".into(), source })),
            })
        })
    }

    /// Removes an object, unless it was stored again since that time.
    pub async fn delete_older(&self, digest: &Digest, before: Millis) -> Result<bool, Error> {
        let key = key(digest);
        let path = Key::from(key.as_str());
        let failed = |source| Error::Store { key: key.clone(), source };
        match self.0.head(&path).await {
            Ok(object) if object.last_modified.timestamp_millis() < before => {
                self.0.delete(&path).await.map_err(failed).map(|()| true)
            }
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(failed(source)),
        }
    }
}

/// Reads the id and the secret, a line each.
fn access_key(file: &Path) -> Result<(String, String), Error> {
    let bad = |why: String| Error::Settings { setting: "objects.access_key_file", why };
    if file.as_os_str().is_empty() {
        return Err(bad("must name a file: objects.url is an S3 store".into()));
    }
    let text = read_private(file).map_err(|err| bad(format!("{}: {err}", file.display())))?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned);
    match (lines.next(), lines.next(), lines.next()) {
        (Some(id), Some(secret), None) => Ok((id, secret)),
        _ => Err(bad(format!("{} must have two lines, the id and the secret", file.display()))),
    }
}

fn key(digest: &Digest) -> String {
    let hex = hex::encode(digest.0);
    format!("{}/{hex}", &hex[..2])
}

#[async_trait::async_trait]
impl larder_runtime::Source for Objects {
    async fn upload(&self, digest: &Digest) -> Result<Bytes, String> {
        self.get(digest).await.map_err(|err| {
            // The caller learns only that the host failed; the object is logged for the operator.
            tracing::error!(error = %err, "an upload could not be fetched: {err}");
            err.to_string()
        })
    }
}
