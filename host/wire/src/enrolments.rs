//! Enrolments: which end users take part in which functions.

use larder_model::{Enrolment, EnrolmentStatus, PausedBy};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::datetime;
use crate::pages::{Row, page};

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Enrolment)]
pub struct EnrolmentObject {
    #[serde(rename = "$id")]
    pub id: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    #[serde(rename = "$updatedAt")]
    pub updated_at: String,
    pub function_id: String,
    /// Your own id of the end user.
    pub end_user: String,
    pub topic: String,
    /// An object.
    #[schema(value_type = Object)]
    pub settings: Box<RawValue>,
    /// `active` or `paused`.
    pub status: String,
    /// Who has paused it: `partner`, or `self` for its end user. Or empty.
    #[serde(default)]
    pub paused_by: String,
}

page!(EnrolmentList { total: u64, enrolments: EnrolmentObject });

impl Row for EnrolmentObject {
    fn id(&self) -> &str {
        &self.id
    }
}

impl From<Enrolment> for EnrolmentObject {
    fn from(e: Enrolment) -> EnrolmentObject {
        EnrolmentObject {
            id: e.id.into(),
            created_at: datetime(e.created_at_ms),
            updated_at: datetime(e.updated_at_ms),
            function_id: e.function.into(),
            end_user: e.end_user,
            topic: e.topic,
            settings: RawValue::from_string(e.settings).unwrap_or_default(),
            paused_by: match e.status {
                EnrolmentStatus::Paused => e.paused_by.unwrap_or(PausedBy::Partner).word().into(),
                EnrolmentStatus::Active => String::new(),
            },
            status: e.status.word().into(),
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewEnrolment {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_id: Option<String>,
    /// Another name for `functionId`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// An object; digits and order stay as they are sent.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<Box<RawValue>>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct EnrolmentChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// An object; digits and order stay as they are sent.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<Box<RawValue>>,
}
