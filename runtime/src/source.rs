//! Where uploads come from when their artifact is missing, and why there is no program.

use bytes::Bytes;
use larder_model::Digest;

use crate::compile::CompileError;

#[derive(Clone, Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the upload is missing: {0}")]
    Source(String),
    #[error(transparent)]
    Compile(#[from] CompileError),
}

/// Provides the uploaded bytes when there is no valid artifact.
#[async_trait::async_trait]
pub trait Source: Send + Sync {
    async fn upload(&self, digest: &Digest) -> Result<Bytes, String>;
}
