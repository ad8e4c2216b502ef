//! Deployments of functions.

use larder_model::{Deployment, FunctionSettings, Grants};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::datetime;
use crate::grants::shown;
use crate::known::Known;
use crate::pages::{Row, page};

/// A deployment. There is no version control, so the fields of its providers are empty.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Deployment)]
pub struct DeploymentObject {
    #[serde(rename = "$id")]
    pub id: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    #[serde(rename = "$updatedAt")]
    pub updated_at: String,
    pub r#type: String,
    pub resource_id: String,
    pub resource_type: String,
    pub entrypoint: String,
    pub source_size: u64,
    pub build_size: u64,
    pub total_size: u64,
    /// Seconds.
    pub build_duration: u64,
    pub build_id: String,
    /// Becomes the active one when it is ready.
    pub activate: bool,
    /// Of an upload in chunks, in the answer to each of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunks_total: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunks_uploaded: Option<u32>,
    pub screenshot_light: String,
    pub screenshot_dark: String,
    /// `waiting`, `processing`, `building`, `ready`, `failed` or `canceled`.
    pub status: String,
    pub build_logs: String,
    /// What it asks for; not there: it was uploaded without, and has whatever the function has.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grants: Option<Known<Grants>>,
    /// What it asks of its function's settings once it is active; not there: they stay as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<FunctionSettings>)]
    pub settings: Option<Known<FunctionSettings>>,
    /// The project that it was uploaded from, as the client told it, or empty.
    pub origin: String,
    /// The key that uploaded it, or empty.
    pub uploaded_by: String,
    /// The key that said yes to them, or empty.
    pub grants_approved_by: String,
    pub grants_approved_at: String,
    pub provider_repository_name: String,
    pub provider_repository_owner: String,
    pub provider_repository_url: String,
    pub provider_commit_hash: String,
    pub provider_commit_author_url: String,
    pub provider_commit_author: String,
    pub provider_commit_message: String,
    pub provider_commit_url: String,
    pub provider_branch: String,
    pub provider_branch_url: String,
}

page!(DeploymentList { total: u64, deployments: DeploymentObject });

impl Row for DeploymentObject {
    fn id(&self) -> &str {
        &self.id
    }
}

impl From<Deployment> for DeploymentObject {
    fn from(d: Deployment) -> DeploymentObject {
        DeploymentObject {
            // A deployment has one build, which has no id of its own.
            build_id: d.id.to_string(),
            id: d.id.into(),
            created_at: datetime(d.created_at_ms),
            updated_at: datetime(d.updated_at_ms),
            r#type: d.kind,
            resource_id: d.function.into(),
            resource_type: "functions".into(),
            entrypoint: d.entrypoint,
            source_size: d.source_bytes,
            build_size: d.build_bytes,
            total_size: d.source_bytes + d.build_bytes,
            build_duration: d.build_ms.div_ceil(1_000),
            activate: d.activate,
            chunks_total: None,
            chunks_uploaded: None,
            screenshot_light: String::new(),
            screenshot_dark: String::new(),
            status: d.status.word().into(),
            build_logs: d.build_logs,
            grants: d.grants.map(|grants| Known::Known(shown(grants))),
            settings: d.settings.map(Known::Known),
            origin: d.origin.unwrap_or_default(),
            uploaded_by: d.uploader.map(String::from).unwrap_or_default(),
            grants_approved_at: d.approval.as_ref().map(|approval| datetime(approval.at_ms)).unwrap_or_default(),
            grants_approved_by: d.approval.map(|approval| approval.by.into()).unwrap_or_default(),
            provider_repository_name: String::new(),
            provider_repository_owner: String::new(),
            provider_repository_url: String::new(),
            provider_commit_hash: String::new(),
            provider_commit_author_url: String::new(),
            provider_commit_author: String::new(),
            provider_commit_message: String::new(),
            provider_commit_url: String::new(),
            provider_branch: String::new(),
            provider_branch_url: String::new(),
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Duplicate {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<String>,
}

/// The build of a deployment, as older clients see it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Build)]
pub struct BuildObject {
    #[serde(rename = "$id")]
    pub id: String,
    pub deployment_id: String,
    pub status: String,
    pub stdout: String,
    pub stderr: String,
    pub start_time: String,
    pub end_time: String,
    /// Seconds.
    pub duration: u64,
    pub size: u64,
}

impl From<Deployment> for BuildObject {
    fn from(d: Deployment) -> BuildObject {
        BuildObject {
            id: d.id.to_string(),
            deployment_id: d.id.into(),
            status: d.status.word().into(),
            stdout: d.build_logs,
            stderr: String::new(),
            start_time: datetime(d.created_at_ms),
            end_time: if d.status.has_ended() { datetime(d.updated_at_ms) } else { String::new() },
            duration: d.build_ms.div_ceil(1_000),
            size: d.build_bytes,
        }
    }
}
