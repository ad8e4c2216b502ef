//! What command lines and consoles of the replaced platform ask for once somebody has signed in.

use larder_model::Partner;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::datetime;
use crate::pages::{Row, page};

/// The id of the one team: projects belong to the installation.
pub const TEAM: &str = "larder";

/// Settings of the installation by the names that operators of the replaced platform know.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = ConsoleVariables)]
#[expect(non_snake_case, reason = "the names of the wire")]
pub struct VariablesObject {
    pub _APP_DOMAIN_FUNCTIONS: String,
    pub _APP_DOMAIN_TARGET_CNAME: String,
    pub _APP_DOMAIN_TARGET_A: String,
    pub _APP_DOMAIN_TARGET_AAAA: String,
    pub _APP_DOMAIN_TARGET_CAA: String,
    pub _APP_STORAGE_LIMIT: u64,
    pub _APP_COMPUTE_SIZE_LIMIT: u64,
    /// Seconds.
    pub _APP_COMPUTE_BUILD_TIMEOUT: u64,
    pub _APP_USAGE_STATS: String,
    pub _APP_VCS_ENABLED: bool,
    pub _APP_DOMAIN_ENABLED: bool,
    pub _APP_ASSISTANT_ENABLED: bool,
    pub _APP_DOMAIN_SITES: String,
    pub _APP_OPTIONS_FORCE_HTTPS: String,
}

/// A partner, as the replaced platform names it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Project)]
pub struct ProjectObject {
    #[serde(rename = "$id")]
    pub id: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    #[serde(rename = "$updatedAt")]
    pub updated_at: String,
    pub name: String,
    pub description: String,
    pub team_id: String,
    pub region: String,
    pub status: String,
    pub service_status_for_functions: bool,
    pub service_status_for_health: bool,
    pub service_status_for_account: bool,
    pub service_status_for_avatars: bool,
    pub service_status_for_databases: bool,
    pub service_status_for_locale: bool,
    pub service_status_for_storage: bool,
    pub service_status_for_teams: bool,
    pub service_status_for_users: bool,
    pub service_status_for_sites: bool,
    pub service_status_for_graphql: bool,
    pub service_status_for_messaging: bool,
}

page!(ProjectList { total: usize, projects: ProjectObject });

impl Row for ProjectObject {
    fn id(&self) -> &str {
        &self.id
    }
}

impl From<Partner> for ProjectObject {
    fn from(p: Partner) -> ProjectObject {
        ProjectObject {
            id: p.id.into(),
            created_at: datetime(p.created_at_ms),
            updated_at: datetime(p.updated_at_ms),
            name: p.name,
            team_id: TEAM.into(),
            region: "default".into(),
            status: "active".into(),
            service_status_for_functions: true,
            service_status_for_health: true,
            ..ProjectObject::default()
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewProject {
    /// A DNS label, or `unique()`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Default: the id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Team)]
pub struct TeamObject {
    #[serde(rename = "$id")]
    pub id: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    #[serde(rename = "$updatedAt")]
    pub updated_at: String,
    pub name: String,
    pub total: u64,
    #[schema(value_type = Object)]
    pub prefs: serde_json::Map<String, serde_json::Value>,
}

page!(TeamList { total: usize, teams: TeamObject });

impl Row for TeamObject {
    fn id(&self) -> &str {
        &self.id
    }
}
