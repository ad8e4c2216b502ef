//! Proxy rules.

use larder_model::Rule;
use larder_model::ids::DeploymentId;
use larder_model::rules::check_domain;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::datetime;
use crate::pages::{Row, page};

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Rule)]
pub struct RuleObject {
    #[serde(rename = "$id")]
    pub id: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    #[serde(rename = "$updatedAt")]
    pub updated_at: String,
    pub domain: String,
    /// `deployment`: it calls a function.
    pub r#type: String,
    /// `manual`: it follows the function's active deployment.
    pub trigger: String,
    pub redirect_url: String,
    pub redirect_status_code: u16,
    /// The function's active deployment, or empty.
    pub deployment_id: String,
    pub deployment_resource_type: String,
    /// The function.
    pub deployment_resource_id: String,
    pub deployment_vcs_provider_branch: String,
    /// `verified`, or `unverified` while the domain of functions is another one.
    pub status: String,
    pub logs: String,
    pub renew_at: String,
}

page!(RuleList { total: u64, rules: RuleObject });

impl Row for RuleObject {
    fn id(&self) -> &str {
        &self.id
    }
}

impl RuleObject {
    /// `parent` is the domain of functions.
    pub fn new(rule: Rule, deployment: Option<DeploymentId>, parent: &str) -> RuleObject {
        let (status, logs) = match check_domain(&rule.domain, parent) {
            Ok(_) => ("verified", String::new()),
            Err(why) => ("unverified", format!("The domain {why}")),
        };
        RuleObject {
            id: rule.id.into(),
            created_at: datetime(rule.created_at_ms),
            updated_at: datetime(rule.updated_at_ms),
            domain: rule.domain,
            r#type: "deployment".into(),
            trigger: "manual".into(),
            redirect_url: String::new(),
            redirect_status_code: 301,
            deployment_id: deployment.map(Into::into).unwrap_or_default(),
            deployment_resource_type: "function".into(),
            deployment_resource_id: rule.function.into(),
            deployment_vcs_provider_branch: String::new(),
            status: status.into(),
            logs,
            renew_at: String::new(),
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewRule {
    /// One label below the domain of functions (`server.functions_domain`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_id: Option<String>,
    /// There is no version control here: empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
}
