//! The bounds of a partner.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::pages::{Row, page};

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = Limit)]
pub struct LimitObject {
    /// The operator's setting that holds it.
    #[serde(rename = "$id")]
    pub id: String,
    /// What is counted.
    pub unit: String,
    /// 0: there is none.
    pub limit: u64,
    /// Now; of what counts at once, in the process that answers.
    pub used: u64,
}

page!(LimitList { total: u64, limits: LimitObject });

impl Row for LimitObject {
    fn id(&self) -> &str {
        &self.id
    }
}
