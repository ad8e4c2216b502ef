//! The Function object, and the variables within it.

use std::collections::HashMap;

use larder_model::ids::{FunctionId, PartnerId};
use larder_model::{Function, LimitSettings};
use larder_platform::app::App;
use larder_store::Heads;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::variables::VariableObject;
use crate::api::wire::datetime;

/// A function. Names of the formats up to 1.8 and from 1.9 on stand side by side.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Function)]
pub struct FunctionObject {
    #[serde(rename = "$id")]
    id: String,
    #[serde(rename = "$createdAt")]
    created_at: String,
    #[serde(rename = "$updatedAt")]
    updated_at: String,
    name: String,
    execute: Vec<String>,
    enabled: bool,
    /// Always true: every change takes effect with the next execution.
    live: bool,
    logging: bool,
    runtime: String,
    deployment_retention: u32,
    /// The active deployment, or empty.
    deployment_id: String,
    deployment_created_at: String,
    latest_deployment_id: String,
    latest_deployment_created_at: String,
    latest_deployment_status: &'static str,
    scopes: Vec<String>,
    /// Patterns over the type of CloudEvents.
    events: Vec<String>,
    vars: Vec<VariableObject>,
    schedule: String,
    timezone: String,
    timeout: u32,
    entrypoint: String,
    commands: String,
    version: &'static str,
    installation_id: &'static str,
    provider_repository_id: &'static str,
    provider_branch: &'static str,
    provider_root_directory: &'static str,
    provider_silent_mode: bool,
    provider_branches: [String; 0],
    provider_paths: [String; 0],
    specification: String,
    build_specification: String,
    runtime_specification: String,
    /// `event` or `enrolment`.
    per: &'static str,
    /// `subject` or `all`.
    topics: &'static str,
    routes: Vec<String>,
    limits: LimitSettings,
}

/// What the objects of a partner's functions are made of besides the functions.
pub struct Context {
    heads: HashMap<FunctionId, Heads>,
    variables: HashMap<FunctionId, Vec<VariableObject>>,
}

impl Context {
    pub async fn read(app: &App, partner: &PartnerId, functions: &[Function]) -> larder_store::Result<Context> {
        let ids: Vec<&FunctionId> = functions.iter().map(|function| &function.id).collect();
        let heads = app.store.deployment_heads(partner, &ids).await?;
        let one = if let [only] = &ids[..] { Some(*only) } else { None };
        let mut variables: HashMap<FunctionId, Vec<VariableObject>> = HashMap::new();
        for variable in app.store.variables(partner, one).await? {
            let id = variable.function.clone();
            variables.entry(id).or_default().push(VariableObject::new(app, variable));
        }
        Ok(Context { heads, variables })
    }

    pub fn object(&mut self, f: Function) -> FunctionObject {
        let heads = self.heads.remove(&f.id).unwrap_or_default();
        let (latest_id, latest_status, latest_at) = match heads.latest {
            Some((id, status, at)) => (id.into(), status.word(), datetime(at)),
            None => Default::default(),
        };
        FunctionObject {
            vars: self.variables.remove(&f.id).unwrap_or_default(),
            id: f.id.into(),
            created_at: datetime(f.created_at_ms),
            updated_at: datetime(f.updated_at_ms),
            name: f.name,
            execute: f.execute,
            enabled: f.enabled,
            live: true,
            logging: f.logging,
            runtime: f.runtime,
            deployment_retention: f.deployment_retention,
            deployment_id: f.deployment.map(String::from).unwrap_or_default(),
            deployment_created_at: heads.active_created_at_ms.map(datetime).unwrap_or_default(),
            latest_deployment_id: latest_id,
            latest_deployment_created_at: latest_at,
            latest_deployment_status: latest_status,
            scopes: f.scopes,
            events: f.events,
            schedule: f.schedule,
            timezone: f.timezone,
            timeout: f.timeout_s,
            entrypoint: f.entrypoint,
            commands: f.commands,
            version: "v5",
            installation_id: "",
            provider_repository_id: "",
            provider_branch: "",
            provider_root_directory: "",
            provider_silent_mode: false,
            provider_branches: [],
            provider_paths: [],
            build_specification: f.specification.clone(),
            runtime_specification: f.specification.clone(),
            specification: f.specification,
            per: f.per.word(),
            topics: f.topics.word(),
            routes: f.routes,
            limits: f.limits,
        }
    }
}
