//! Administrators, as the operator manages them, and their sessions.

use larder_model::administrators::{Administrator, Role, RoleIn, Session};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::datetime;
use crate::pages::{Row, page};

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Administrator)]
pub struct AdministratorObject {
    #[serde(rename = "$id")]
    pub id: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    #[serde(rename = "$updatedAt")]
    pub updated_at: String,
    pub email: String,
    pub name: String,
    pub email_verification: bool,
    /// Signing in needs a second factor.
    pub mfa: bool,
    /// They sign in at the operator's provider, which gives them their roles; no password of theirs counts.
    pub of_provider: bool,
    pub roles: Vec<RoleObject>,
    /// When the password was set.
    pub password_update: String,
}

page!(AdministratorList { total: usize, administrators: AdministratorObject });

impl Row for AdministratorObject {
    fn id(&self) -> &str {
        &self.id
    }
}

impl From<Administrator> for AdministratorObject {
    fn from(a: Administrator) -> AdministratorObject {
        AdministratorObject {
            id: a.id.into(),
            created_at: datetime(a.created_at_ms),
            updated_at: datetime(a.updated_at_ms),
            email: a.email,
            name: a.name,
            email_verification: a.email_verified_at_ms.is_some(),
            mfa: a.second_factor,
            of_provider: a.is_of_provider,
            roles: a.roles.into_iter().map(Into::into).collect(),
            password_update: datetime(a.password_at_ms),
        }
    }
}

/// A role in a partner or in the installation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Role)]
pub struct RoleObject {
    /// The partner; empty for the installation.
    #[serde(default)]
    pub partner_id: String,
    /// `viewer`, `developer`, `approver` or `administrator` of a partner; `viewer` or `operator` of the installation.
    pub role: String,
}

impl From<RoleIn> for RoleObject {
    fn from(role: RoleIn) -> RoleObject {
        RoleObject { partner_id: role.partner.map(Into::into).unwrap_or_default(), role: role.role.word().into() }
    }
}

impl RoleObject {
    /// Says what is wrong with it.
    pub fn read(&self) -> Result<RoleIn, String> {
        let role = Role::from_word(&self.role);
        let role = role.ok_or_else(|| format!("{:?} is no role; there are {}", self.role, Role::WORDS.join(", ")))?;
        let partner = match self.partner_id.as_str() {
            "" => None,
            id => Some(id.parse().map_err(|err| format!("partnerId {err}"))?),
        };
        Ok(RoleIn { partner, role })
    }
}

/// `email` and `roles` are needed to create one; what is left out of a change stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdministratorInput {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// 12 to 256 characters. A new one ends all sessions. Created without one, they set it by a link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<RoleObject>>,
    /// Only `false`, and only in a change: takes the second factor away, with all sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mfa: Option<bool>,
}

/// A link with which somebody sets a password, once. It is shown here alone; a newer one replaces it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AdministratorLink)]
pub struct LinkObject {
    pub url: String,
    pub expires_at: String,
    /// A letter with it is on its way.
    #[serde(default)]
    pub mailed: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Session)]
pub struct SessionObject {
    #[serde(rename = "$id")]
    pub id: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    #[serde(rename = "$updatedAt")]
    pub updated_at: String,
    pub user_id: String,
    /// The latest end.
    pub expire: String,
    pub provider: String,
    pub provider_uid: String,
    pub provider_access_token: String,
    pub provider_access_token_expiry: String,
    pub provider_refresh_token: String,
    pub ip: String,
    pub os_code: String,
    pub os_name: String,
    pub os_version: String,
    pub client_type: String,
    pub client_code: String,
    /// The client as it named itself.
    pub client_name: String,
    pub client_version: String,
    pub client_engine: String,
    pub client_engine_version: String,
    pub device_name: String,
    pub device_brand: String,
    pub device_model: String,
    pub country_code: String,
    pub country_name: String,
    /// It is the one of this request.
    pub current: bool,
    pub factors: Vec<String>,
    /// Never told: the token is in the cookie.
    pub secret: String,
    pub mfa_updated_at: String,
}

page!(SessionList { total: usize, sessions: SessionObject });

impl Row for SessionObject {
    fn id(&self) -> &str {
        &self.id
    }
}

impl SessionObject {
    pub fn new(session: Session, email: &str, current: bool) -> SessionObject {
        SessionObject {
            id: session.id.into(),
            created_at: datetime(session.created_at_ms),
            updated_at: datetime(session.updated_at_ms),
            user_id: session.administrator.into(),
            expire: datetime(session.expires_at_ms),
            provider: "email".into(),
            provider_uid: email.into(),
            ip: session.address,
            client_name: session.agent,
            current,
            factors: vec!["password".into()],
            ..SessionObject::default()
        }
    }
}

/// Who is signed in.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Account)]
pub struct AccountObject {
    #[serde(rename = "$id")]
    pub id: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    #[serde(rename = "$updatedAt")]
    pub updated_at: String,
    pub name: String,
    pub registration: String,
    pub status: bool,
    pub labels: Vec<String>,
    pub password_update: String,
    pub email: String,
    pub phone: String,
    pub email_verification: bool,
    pub phone_verification: bool,
    pub mfa: bool,
    #[schema(value_type = Object)]
    pub prefs: serde_json::Map<String, serde_json::Value>,
    #[schema(value_type = Vec<Object>)]
    pub targets: Vec<serde_json::Value>,
    pub accessed_at: String,
}

impl AccountObject {
    pub fn new(a: Administrator, session: &Session) -> AccountObject {
        AccountObject {
            id: a.id.into(),
            created_at: datetime(a.created_at_ms),
            updated_at: datetime(a.updated_at_ms),
            name: a.name,
            registration: datetime(a.created_at_ms),
            status: true,
            password_update: datetime(a.password_at_ms),
            email: a.email,
            email_verification: a.email_verified_at_ms.is_some(),
            mfa: a.second_factor,
            accessed_at: datetime(session.updated_at_ms),
            ..AccountObject::default()
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignIn {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_password: Option<String>,
}
