//! When a function's schedule fires next.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Schedule {
    /// Empty: the function has none.
    pub schedule: String,
    pub timezone: String,
    /// What happens when the clocks change.
    pub rule: String,
    /// It fires only while the function is enabled and has an active deployment.
    pub armed: bool,
    /// The next times by the schedule, whether or not it is armed.
    pub next: Vec<String>,
}
