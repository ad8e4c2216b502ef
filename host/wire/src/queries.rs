//! What a list is asked for: the JSON texts of its `queries[]`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One condition, order, bound or cursor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Query {
    pub method: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Value>,
}

impl Query {
    fn of(method: &str, attribute: Option<&str>, values: Vec<Value>) -> Query {
        Query { method: method.to_owned(), attribute: attribute.map(str::to_owned), values }
    }

    pub fn equal(attribute: &str, value: &str) -> Query {
        Query::of("equal", Some(attribute), vec![value.into()])
    }

    pub fn from_on(attribute: &str, value: &str) -> Query {
        Query::of("greaterThanEqual", Some(attribute), vec![value.into()])
    }

    pub fn limit(rows: usize) -> Query {
        Query::of("limit", None, vec![rows.into()])
    }

    /// The rows behind the one with this id.
    pub fn after(id: &str) -> Query {
        Query::of("cursorAfter", None, vec![id.into()])
    }

    pub fn oldest_first() -> Query {
        Query::of("orderAsc", Some("$createdAt"), vec![])
    }

    pub fn newest_first() -> Query {
        Query::of("orderDesc", Some("$createdAt"), vec![])
    }
}
