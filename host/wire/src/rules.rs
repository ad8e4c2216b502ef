//! Proxy rules.

use larder_model::Rule;
use larder_model::ids::DeploymentId;
use larder_model::rules::{Reaches, check_domain};
use larder_model::time::Millis;
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
    /// `deployment`: it calls functions. `api`: it is the project's API.
    pub r#type: String,
    /// `manual`: it follows the function's active deployment.
    pub trigger: String,
    pub redirect_url: String,
    pub redirect_status_code: u16,
    /// The function's active deployment, or empty.
    pub deployment_id: String,
    /// `function`; `site`: the functions of the project, by their routes. Of `api` there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_resource_type: Option<String>,
    /// The function, or the project.
    pub deployment_resource_id: String,
    pub deployment_vcs_provider_branch: String,
    /// `verified`, or `unverified`: nothing is served there until DNS says whose it is.
    pub status: String,
    /// What is missing for it, or for its certificate.
    pub logs: String,
    /// When its certificate is renewed; empty if there is none.
    pub renew_at: String,
}

page!(RuleList { total: u64, rules: RuleObject });

impl Row for RuleObject {
    fn id(&self) -> &str {
        &self.id
    }
}

impl RuleObject {
    /// `parent` is the domain of functions. `certificate` says what the domain's certificate lacks, and when it is renewed.
    pub fn new(
        rule: Rule,
        deployment: Option<DeploymentId>,
        parent: &str,
        certificate: (Option<String>, Option<Millis>),
    ) -> RuleObject {
        let (status, why) = match rule.proof {
            None => match check_domain(&rule.domain, parent) {
                Ok(_) => ("verified", String::new()),
                Err(why) => ("unverified", format!("The domain {why}")),
            },
            Some(proof) => (if proof.holds { "verified" } else { "unverified" }, proof.why),
        };
        let (missing, renew_at_ms) = certificate;
        let missing = missing.filter(|why| !why.is_empty()).map(|why| format!("certificate: {why}"));
        let (resource, resource_id) = match &rule.reaches {
            Reaches::Function(function) => (Some("function"), function.as_str()),
            Reaches::Functions => (Some("site"), rule.partner.as_str()),
            Reaches::Api => (None, ""),
        };
        RuleObject {
            id: rule.id.into(),
            created_at: datetime(rule.created_at_ms),
            updated_at: datetime(rule.updated_at_ms),
            domain: rule.domain,
            r#type: if rule.reaches == Reaches::Api { "api" } else { "deployment" }.into(),
            trigger: "manual".into(),
            redirect_url: String::new(),
            redirect_status_code: 301,
            deployment_id: deployment.map(Into::into).unwrap_or_default(),
            deployment_resource_type: resource.map(Into::into),
            deployment_resource_id: resource_id.into(),
            deployment_vcs_provider_branch: String::new(),
            status: status.into(),
            logs: [Some(why), missing]
                .into_iter()
                .flatten()
                .filter(|text| !text.is_empty())
                .collect::<Vec<_>>()
                .join("; "),
            renew_at: renew_at_ms.map(datetime).unwrap_or_default(),
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewRule {
    /// One label below the domain of functions (`server.functions_domain`), or a domain of the project's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_id: Option<String>,
    /// There is no version control here: empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewApiRule {
    /// A domain of the project's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewSiteRule {
    /// A domain of the project's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The project: its functions by their routes are its one site. It may be left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site_id: Option<String>,
    /// There is no version control here: empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
}
