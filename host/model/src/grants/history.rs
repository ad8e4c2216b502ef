//! The history of grants.

use serde::{Deserialize, Serialize};

use super::Grants;
use crate::ids::{DeploymentId, FunctionId, KeyId, PartnerId};
use crate::time::Millis;
use crate::words::words;

words! {
    /// Why a function's grants changed.
    GrantChangeKind {
        /// A key set them.
        Set = "set",
        /// A key approved what a deployment asks for; they are effective once it is active.
        Approved = "approved",
        /// A deployment became active that asks for other ones.
        Activated = "activated",
        /// An upstream was changed.
        Upstream = "upstream",
        /// A variable was changed.
        Variable = "variable",
    }
}

/// One line of the history of grants.
#[derive(Clone, Debug)]
pub struct GrantChange {
    pub partner: PartnerId,
    pub id: String,
    /// `None`: what was changed is no function's.
    pub function: Option<FunctionId>,
    pub kind: GrantChangeKind,
    pub deployment: Option<DeploymentId>,
    /// Who did it; `None`: a build that ended, or the operator.
    pub key: Option<KeyId>,
    pub old: Grants,
    pub new: Grants,
    /// What happened to what a name leads to; else empty.
    pub note: String,
    pub created_at_ms: Millis,
}
