//! What the settings of a function's enrolments must be: a [`JsonSchema`] of an object.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::json_schema::JsonSchema;

/// Of settings.
const DEPTH_MAX: u8 = 16;

/// A schema that was checked. The empty one allows any object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct SettingsSchema(Option<JsonSchema>);

impl TryFrom<Value> for SettingsSchema {
    type Error = String;

    /// Or what of it is wrong, and where.
    fn try_from(schema: Value) -> Result<SettingsSchema, String> {
        if schema.as_object().is_some_and(Map::is_empty) {
            return Ok(SettingsSchema::default());
        }
        if schema.get("type") != Some(&Value::String("object".into())) {
            return Err("must have \"type\": \"object\", which settings are, or be {}".into());
        }
        Ok(SettingsSchema(Some(JsonSchema::compile(&schema).map_err(|wrong| wrong.to_string())?)))
    }
}

impl From<SettingsSchema> for Value {
    fn from(schema: SettingsSchema) -> Value {
        schema.value()
    }
}

impl SettingsSchema {
    pub fn value(&self) -> Value {
        self.0.as_ref().map_or_else(|| Value::Object(Map::new()), JsonSchema::value)
    }

    /// Do these settings keep to it? Or which member does not, and why.
    pub fn check(&self, settings: &str) -> Result<(), String> {
        self.0.as_ref().map_or(Ok(()), |schema| schema.check_text(settings.as_bytes(), "", DEPTH_MAX))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_an_object() {
        let schema =
            json!({ "type": "object", "properties": { "stake": { "type": "number" } }, "required": ["stake"] });
        let schema = SettingsSchema::try_from(schema).unwrap();
        assert_eq!(schema.check(r#"{"stake":1}"#), Ok(()));
        assert_eq!(schema.check("{}"), Err("stake is required".into()));
        assert_eq!(schema.check("[]"), Err("the whole must be object, not a list".into()));
        assert!(schema.check(r#"{"stake":1e999}"#).is_err());
        assert_eq!(SettingsSchema::try_from(json!({})).unwrap().check(r#"{"a":[1]}"#), Ok(()));
        for wrong in [json!(7), json!({ "type": "array" })] {
            assert!(SettingsSchema::try_from(wrong).unwrap_err().contains("\"type\": \"object\""));
        }
        assert_eq!(serde_json::to_value(SettingsSchema::default()).unwrap(), json!({}));
    }
}
