//! Deployments: immutable builds of a function.

use serde::{Deserialize, Serialize};

use crate::artifact::{Digest, Exports};
use crate::functions::FunctionSettings;
use crate::grants::Grants;
use crate::ids::{DeploymentId, FunctionId, KeyId, PartnerId};
use crate::time::Millis;
use crate::words::words;

words! {
    /// Where a deployment's build stands.
    BuildStatus {
        Waiting = "waiting",
        Processing = "processing",
        Building = "building",
        Ready = "ready",
        Failed = "failed",
        Canceled = "canceled",
    }
}

impl BuildStatus {
    pub fn has_ended(self) -> bool {
        matches!(self, BuildStatus::Ready | BuildStatus::Failed | BuildStatus::Canceled)
    }
}

words! {
    /// How an upload holds its component.
    SourceFormat {
        /// It is the component.
        Wasm = "wasm",
        /// It is an archive with the component in it.
        TarGz = "tar.gz",
    }
}

#[derive(Clone, Debug)]
pub struct Deployment {
    pub partner: PartnerId,
    pub id: DeploymentId,
    pub function: FunctionId,
    pub status: BuildStatus,
    /// Becomes the active one when it is ready, unless a newer one did.
    pub activate: bool,
    /// `manual` or `cli`.
    pub kind: String,
    pub entrypoint: String,
    pub source_format: SourceFormat,
    /// Of the uploaded bytes. Unknown until the build has put the chunks of an upload together.
    pub source_digest: Digest,
    pub source_bytes: u64,
    /// Chunks of the upload are missing, so it is not built yet.
    pub uploading: bool,
    /// Of the component, which is what runs. Until the build has found it, that of the upload.
    pub digest: Digest,
    /// Bytes of the component where it is not the upload itself.
    pub component_bytes: u64,
    pub build_bytes: u64,
    pub build_ms: u64,
    pub build_logs: String,
    /// How often a build was begun without an end.
    pub build_lost: u32,
    /// Known once it is ready.
    pub exports: Option<Exports>,
    /// What it asks for; `None`: whatever the function has.
    pub grants: Option<Grants>,
    /// Of its function, from the moment on in which it becomes active; `None`: they stay as they are.
    pub settings: Option<FunctionSettings>,
    /// The project that it was uploaded from, as the client tells it.
    pub origin: Option<String>,
    /// The key that uploaded it.
    pub uploader: Option<KeyId>,
    /// Of what it asks for, if that was needed.
    pub approval: Option<Approval>,
    pub created_at_ms: Millis,
    pub updated_at_ms: Millis,
}

/// Somebody's yes to the grants that a deployment asks for.
#[derive(Clone, Debug)]
pub struct Approval {
    pub by: KeyId,
    pub at_ms: Millis,
}

/// The line of a build log after which the log lists what its grants extend.
pub const WAITS: &str = "waits until somebody says yes to its grants. The function";
