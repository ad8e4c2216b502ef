//! Functions.

use larder_model::LimitSettings;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::known::Known;
use crate::pages::{Row, page};
use crate::variables::VariableObject;

/// A function. Names of the formats up to 1.8 and from 1.9 on stand side by side.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Function)]
pub struct FunctionObject {
    #[serde(rename = "$id")]
    pub id: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    #[serde(rename = "$updatedAt")]
    pub updated_at: String,
    pub name: String,
    pub execute: Vec<String>,
    pub enabled: bool,
    /// Always true: every change takes effect with the next execution.
    pub live: bool,
    pub logging: bool,
    pub runtime: String,
    pub deployment_retention: u32,
    /// The active deployment, or empty.
    pub deployment_id: String,
    pub deployment_created_at: String,
    pub latest_deployment_id: String,
    pub latest_deployment_created_at: String,
    pub latest_deployment_status: String,
    pub scopes: Vec<String>,
    /// Patterns over the type of CloudEvents.
    pub events: Vec<String>,
    pub vars: Vec<VariableObject>,
    pub schedule: String,
    pub timezone: String,
    pub timeout: u32,
    pub entrypoint: String,
    pub commands: String,
    pub version: String,
    pub installation_id: String,
    pub provider_repository_id: String,
    pub provider_branch: String,
    pub provider_root_directory: String,
    pub provider_silent_mode: bool,
    #[schema(value_type = [String; 0])]
    pub provider_branches: Vec<String>,
    #[schema(value_type = [String; 0])]
    pub provider_paths: Vec<String>,
    pub specification: String,
    pub build_specification: String,
    pub runtime_specification: String,
    /// `event` or `enrolment`.
    pub per: String,
    /// `subject` or `all`.
    pub topics: String,
    pub routes: Vec<String>,
    #[schema(value_type = LimitSettings)]
    pub limits: Known<LimitSettings>,
    /// `partner`: by a key; `self`: by end users, too.
    #[serde(default)]
    pub enrol: String,
    /// The topics that end users may choose: `{user}` is their id, `*` at the end anything. None: their id.
    #[serde(default)]
    pub enrol_topics: Vec<String>,
    /// A JSON Schema for the settings of enrolments; empty: any object.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub settings_schema: Value,
    /// What the data of events must be, by their type: `{"card.purchase": {"schema": {..}, "validate": true}}`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub event_schemas: Value,
}

page!(FunctionList { total: u64, functions: FunctionObject });

impl Row for FunctionObject {
    fn id(&self) -> &str {
        &self.id
    }
}

/// The body of create and update. An update replaces: what it leaves out goes back to its default, but for `runtime`,
/// `entrypoint` and the specification, which stay, and so do `timezone`, `per`, `topics`, `routes`, `limits`, `enrol`,
/// `enrolTopics`, `settingsSchema` and `eventSchemas`, of which clients of the replaced platform know nothing.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FunctionInput {
    /// Your own id or `unique()`; create only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execute: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commands: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_retention: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub specification: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_specification: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_specification: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_repository_id: Option<String>,
    /// `event`: once for each trigger; `enrolment`: once for each enrolment that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per: Option<String>,
    /// `subject`: enrolments whose topic is the event's subject; `all`: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics: Option<String>,
    /// Path prefixes at the partner's web endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitSettings>,
    /// `partner`: by a key; `self`: by end users, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enrol: Option<String>,
    /// The topics that end users may choose: `{user}` is their id, `*` at the end anything. None: their id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enrol_topics: Option<Vec<String>>,
    /// A JSON Schema for the settings of enrolments, `{}` for none: the guide says what of it is supported.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings_schema: Option<Value>,
    /// What the data of events must be, by their type: a JSON Schema each, and `validate`: whether events that do not fit are
    /// refused. `{}` for none.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_schemas: Option<Value>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Activation {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<String>,
}
