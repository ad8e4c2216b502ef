//! The Function object of a stored function, with its variables.

use std::collections::HashMap;

use larder_model::Function;
use larder_model::ids::{FunctionId, PartnerId};
use larder_platform::common::Sealer;
use larder_store::Heads;
use larder_wire::datetime;
use larder_wire::functions::FunctionObject;
use larder_wire::known::Known;
use larder_wire::variables::VariableObject;

use crate::api::variables;

/// What the objects of a partner's functions are made of besides the functions.
pub struct Context {
    heads: HashMap<FunctionId, Heads>,
    variables: HashMap<FunctionId, Vec<VariableObject>>,
}

impl Context {
    pub async fn read(sealer: &Sealer, partner: &PartnerId, functions: &[Function]) -> larder_store::Result<Context> {
        let ids: Vec<&FunctionId> = functions.iter().map(|function| &function.id).collect();
        let heads = sealer.store.deployment_heads(partner, &ids).await?;
        let one = if let [only] = &ids[..] { Some(*only) } else { None };
        let mut variables: HashMap<FunctionId, Vec<VariableObject>> = HashMap::new();
        let all = match one {
            Some(one) => sealer.store.variables_of(partner, Some(one)).await?,
            None => sealer.store.variables(partner).await?,
        };
        for variable in all {
            let Some(id) = variable.function.clone() else { continue };
            variables.entry(id).or_default().push(variables::object(sealer, variable));
        }
        Ok(Context { heads, variables })
    }

    pub fn object(&mut self, f: Function) -> FunctionObject {
        let heads = self.heads.remove(&f.id).unwrap_or_default();
        let (latest_id, latest_status, latest_at) = match heads.latest {
            Some((id, status, at)) => (id.into(), status.word().to_owned(), datetime(at)),
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
            version: "v5".into(),
            installation_id: String::new(),
            provider_repository_id: String::new(),
            provider_branch: String::new(),
            provider_root_directory: String::new(),
            provider_silent_mode: false,
            provider_branches: vec![],
            provider_paths: vec![],
            build_specification: f.specification.clone(),
            runtime_specification: f.specification.clone(),
            specification: f.specification,
            per: f.per.word().into(),
            topics: f.topics.word().into(),
            routes: f.routes,
            limits: Known::Known(f.limits),
            enrol: f.enrolling.by.word().into(),
            enrol_topics: f.enrolling.topics,
            settings_schema: f.enrolling.schema.into(),
            event_schemas: serde_json::to_value(f.event_schemas).expect("schemas serialise"),
        }
    }
}
