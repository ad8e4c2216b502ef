//! Runtimes and specifications of functions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::pages::{Row, page};

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Runtime {
    #[serde(rename = "$id")]
    pub id: String,
    pub key: String,
    pub name: String,
    pub version: String,
    pub base: String,
    pub image: String,
    pub logo: String,
    #[schema(value_type = [String; 2])]
    pub supports: Vec<String>,
}

page!(RuntimeList { total: usize, runtimes: Runtime });

impl Row for Runtime {
    fn id(&self) -> &str {
        &self.id
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Specification {
    pub memory: u32,
    pub cpus: f64,
    pub enabled: bool,
    pub slug: String,
}

page!(SpecificationList { total: usize, specifications: Specification });

impl Row for Specification {
    fn id(&self) -> &str {
        &self.slug
    }
}

/// There are no templates of functions.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct TemplateList {
    pub total: usize,
    #[schema(value_type = Vec<Object>)]
    pub templates: Vec<serde_json::Value>,
}
