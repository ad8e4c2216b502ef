//! Enrolments: the end users of a function.

use serde::{Deserialize, Serialize};

use crate::ids::{EnrolmentId, FunctionId, PartnerId};
use crate::time::Millis;
use crate::words::words;

words! {
    EnrolmentStatus { Active = "active", Paused = "paused", }
}

words! {
    /// Who has paused an enrolment. What the partner has paused, its end user cannot resume.
    PausedBy { Partner = "partner", EndUser = "self", }
}

/// An end user's part in a function.
#[derive(Clone, Debug)]
pub struct Enrolment {
    pub partner: PartnerId,
    pub id: EnrolmentId,
    pub function: FunctionId,
    /// The partner's own id of the end user; guests see a pseudonym.
    pub end_user: String,
    pub topic: String,
    /// A JSON object as text.
    pub settings: String,
    pub status: EnrolmentStatus,
    /// Of a paused one.
    pub paused_by: Option<PausedBy>,
    pub created_at_ms: Millis,
    pub updated_at_ms: Millis,
}
