//! What the settings of a function's enrolments must be: a JSON Schema, as far as it is known here.
//!
//! Known are `type`, `enum`, `const`; `properties`, `required`, `additionalProperties`; `items`, `minItems`, `maxItems`,
//! `uniqueItems`; `minLength`, `maxLength`; `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`. `title`,
//! `description`, `default`, `examples`, `$schema` and `$comment` are for people and forms. Everything else, such as `pattern`,
//! `format`, `$ref` and `oneOf`, is refused where the schema is set: a rule that is not checked must not look like one that is.
//! So a check takes no longer than reading the value, whatever schema a partner writes.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use crate::strict_json;

const SCHEMA_BYTES_MAX: usize = 16 << 10;
const SCHEMA_DEPTH_MAX: u8 = 16;
/// Of settings.
const DEPTH_MAX: u8 = 16;
const TYPES: [&str; 7] = ["object", "array", "string", "integer", "number", "boolean", "null"];
const FOR_PEOPLE: [&str; 6] = ["title", "description", "default", "examples", "$schema", "$comment"];
const KNOWN: [&str; 16] = [
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
];

/// A schema that was checked. The empty one allows any object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct SettingsSchema(Value);

impl Default for SettingsSchema {
    fn default() -> SettingsSchema {
        SettingsSchema(Value::Object(Map::new()))
    }
}

impl TryFrom<Value> for SettingsSchema {
    type Error = String;

    /// Or what of it is wrong, and where.
    fn try_from(schema: Value) -> Result<SettingsSchema, String> {
        if schema.as_object().is_some_and(Map::is_empty) {
            return Ok(SettingsSchema::default());
        }
        if schema.to_string().len() > SCHEMA_BYTES_MAX {
            return Err(format!("must have at most {SCHEMA_BYTES_MAX} bytes as JSON"));
        }
        if schema.get("type") != Some(&Value::String("object".into())) {
            return Err("must have \"type\": \"object\", which settings are, or be {}".into());
        }
        check_schema(&schema, "", SCHEMA_DEPTH_MAX)?;
        Ok(SettingsSchema(schema))
    }
}

impl From<SettingsSchema> for Value {
    fn from(schema: SettingsSchema) -> Value {
        schema.0
    }
}

impl SettingsSchema {
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// Do these settings keep to it? Or which member does not, and why.
    pub fn check(&self, settings: &str) -> Result<(), String> {
        if *self == SettingsSchema::default() {
            return Ok(());
        }
        let settings = strict_json::read(settings.as_bytes(), DEPTH_MAX)?;
        check(&self.0, &settings, "")
    }
}

fn check_schema(schema: &Value, at: &str, depth: u8) -> Result<(), String> {
    let place = if at.is_empty() { "the schema" } else { at };
    let below = depth.checked_sub(1).ok_or_else(|| format!("{place} is nested too deep"))?;
    let members = match schema {
        Value::Bool(_) => return Ok(()),
        Value::Object(members) => members,
        _ => return Err(format!("{place} must be an object or a boolean")),
    };
    for (name, value) in members {
        let wrong = |wanted: &str| Err(format!("{place}: {name} must be {wanted}"));
        let at = |inner: &str| if at.is_empty() { inner.to_owned() } else { format!("{at}.{inner}") };
        match name.as_str() {
            "type" => {
                let is_type = |one: &Value| one.as_str().is_some_and(|one| TYPES.contains(&one));
                let fine = match value {
                    Value::Array(all) => !all.is_empty() && all.iter().all(is_type),
                    one => is_type(one),
                };
                if !fine {
                    return wrong(&format!("one or more of {}", TYPES.join(", ")));
                }
            }
            "enum" if value.as_array().is_none_or(Vec::is_empty) => return wrong("a list of values"),
            "properties" => {
                let Some(properties) = value.as_object() else { return wrong("an object") };
                properties.iter().try_for_each(|(name, schema)| check_schema(schema, &at(name), below))?;
            }
            "required" if !value.as_array().is_some_and(|all| all.iter().all(Value::is_string)) => {
                return wrong("a list of names");
            }
            "additionalProperties" => check_schema(value, &at("*"), below)?,
            "items" => check_schema(value, &at("[]"), below)?,
            "minItems" | "maxItems" | "minLength" | "maxLength" if !value.is_u64() => return wrong("a whole number"),
            "uniqueItems" if !value.is_boolean() => return wrong("true or false"),
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" if !value.is_number() => {
                return wrong("a number");
            }
            known if KNOWN.contains(&known) || FOR_PEOPLE.contains(&known) => {}
            _ => {
                let known = KNOWN.join(", ");
                return Err(format!("{place}: {name} is not supported, so it would not be checked; there are {known}"));
            }
        }
    }
    Ok(())
}

fn check(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let place = if at.is_empty() { "the whole" } else { at };
    let schema = match schema {
        Value::Bool(true) => return Ok(()),
        Value::Bool(false) => return Err(format!("{place} is not allowed")),
        schema => schema,
    };
    let types: Vec<&str> = match &schema["type"] {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    if !types.is_empty() && !types.iter().any(|one| is_of(one, value)) {
        return Err(format!("{place} must be {}, not {}", types.join(" or "), shown(value)));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.iter().any(|one| same(one, value))
    {
        let allowed: Vec<String> = allowed.iter().take(20).map(shown).collect();
        return Err(format!("{place} must be one of {}, not {}", allowed.join(", "), shown(value)));
    }
    if let Some(only) = schema.get("const")
        && !same(only, value)
    {
        return Err(format!("{place} must be {}, not {}", shown(only), shown(value)));
    }
    match value {
        Value::Object(members) => object(schema, members, at),
        Value::Array(items) => {
            count(schema, "Items", items.len(), place, "values")?;
            let twice = |(n, item): (usize, &Value)| items[..n].iter().any(|earlier| same(earlier, item));
            // Quadratic, and bounded by the bytes of settings.
            if schema["uniqueItems"] == true && items.iter().enumerate().any(twice) {
                return Err(format!("{place} has a value twice"));
            }
            match schema.get("items") {
                Some(each) => items.iter().try_for_each(|item| check(each, item, &join(at, "[]"))),
                None => Ok(()),
            }
        }
        Value::String(text) => count(schema, "Length", text.chars().count(), place, "characters"),
        Value::Number(number) => range(schema, number, place),
        Value::Bool(_) | Value::Null => Ok(()),
    }
}

fn object(schema: &Value, members: &Map<String, Value>, at: &str) -> Result<(), String> {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(missing) = required.into_iter().find(|name| !members.contains_key(*name)) {
        return Err(format!("{} is required", join(at, missing)));
    }
    let rest = schema.get("additionalProperties");
    for (name, value) in members {
        match schema["properties"].get(name).or(rest) {
            Some(Value::Bool(false)) => {
                let known = schema["properties"].as_object().into_iter().flat_map(Map::keys).cloned();
                let known: Vec<String> = known.collect();
                return Err(format!("{} is not known; there are {}", join(at, name), known.join(", ")));
            }
            Some(each) => check(each, value, &join(at, name))?,
            None => {}
        }
    }
    Ok(())
}

fn count(schema: &Value, what: &str, has: usize, place: &str, unit: &str) -> Result<(), String> {
    let bound = |name: &str| schema[format!("{name}{what}")].as_u64();
    let has = has as u64;
    match (bound("min"), bound("max")) {
        (Some(least), _) if has < least => Err(format!("{place} must have at least {least} {unit}, not {has}")),
        (_, Some(most)) if has > most => Err(format!("{place} must have at most {most} {unit}, not {has}")),
        _ => Ok(()),
    }
}

fn range(schema: &Value, number: &Number, place: &str) -> Result<(), String> {
    let bounds: [(&str, &[Ordering], &str); 4] = [
        ("minimum", &[Ordering::Greater, Ordering::Equal], "at least"),
        ("maximum", &[Ordering::Less, Ordering::Equal], "at most"),
        ("exclusiveMinimum", &[Ordering::Greater], "more than"),
        ("exclusiveMaximum", &[Ordering::Less], "less than"),
    ];
    for (name, fine, words) in bounds {
        if let Value::Number(bound) = &schema[name]
            && !fine.contains(&compare(number, bound))
        {
            return Err(format!("{place} must be {words} {bound}, not {number}"));
        }
    }
    Ok(())
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.as_number().is_some_and(|number| {
            number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
        }),
        _ => false,
    }
}

/// Equal as JSON Schema means it: 1 is 1.0.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => compare(one, other) == Ordering::Equal,
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| same(value, other)))
        }
        (one, other) => one == other,
    }
}

fn compare(one: &Number, other: &Number) -> Ordering {
    let whole = |number: &Number| number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => {
            let float = |number: &Number| number.as_f64().unwrap_or(f64::NAN);
            float(one).total_cmp(&float(other))
        }
    }
}

fn join(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

/// A value in a message, cut.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 40 { format!("{}…", text.chars().take(39).collect::<String>()) } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> SettingsSchema {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "title": "Your team",
            "properties": {
                "stake": { "type": "number", "minimum": 1, "exclusiveMaximum": 500.5 },
                "games": { "type": "integer" },
                "name": { "type": ["string", "null"], "minLength": 2, "maxLength": 5 },
                "when": { "enum": ["home", "away", 1] },
                "days": { "type": "array", "items": { "type": "string" }, "minItems": 1, "maxItems": 2, "uniqueItems": true },
                "fixed": { "const": { "a": 1 } },
                "open": { "type": "object", "additionalProperties": { "type": "boolean" } },
            },
            "required": ["stake"], "additionalProperties": false,
        });
        SettingsSchema::try_from(schema.clone()).unwrap()
    }

    #[test]
    fn settings_keep_to_their_schema() {
        let schema = schema();
        for fine in [
            json!({ "stake": 1 }),
            json!({ "stake": 500.25, "games": 3.0, "name": null, "when": 1.0, "days": ["a", "b"] }),
            json!({ "stake": 2, "name": "åäöüé", "fixed": { "a": 1.0 }, "open": { "x": true } }),
        ] {
            assert_eq!(schema.check(&fine.to_string()), Ok(()), "{fine}");
        }
        for (settings, why) in [
            (json!({}), "stake is required"),
            (json!({ "stake": "1" }), "stake must be number, not \"1\""),
            (json!({ "stake": 0.99 }), "stake must be at least 1"),
            (json!({ "stake": 500.5 }), "stake must be less than 500.5"),
            (json!({ "stake": 1, "games": 1.5 }), "games must be integer"),
            (json!({ "stake": 1, "name": "a" }), "name must have at least 2 characters"),
            (json!({ "stake": 1, "name": "abcdef" }), "name must have at most 5 characters"),
            (json!({ "stake": 1, "when": "Home" }), "when must be one of \"home\", \"away\", 1, not \"Home\""),
            (json!({ "stake": 1, "days": [] }), "days must have at least 1 values"),
            (json!({ "stake": 1, "days": ["a", "a"] }), "days has a value twice"),
            (json!({ "stake": 1, "days": [1] }), "days.[] must be string"),
            (json!({ "stake": 1, "fixed": { "a": 2 } }), "fixed must be"),
            (json!({ "stake": 1, "open": { "x": 1 } }), "open.x must be boolean"),
            (json!({ "stake": 1, "stakes": 1 }), "stakes is not known; there are"),
            (json!([]), "the whole must be object"),
        ] {
            let refused = schema.check(&settings.to_string()).unwrap_err();
            assert!(refused.contains(why), "{settings}: {refused}");
        }
        assert_eq!(SettingsSchema::try_from(json!({})).unwrap().check(r#"{"a":[1]}"#), Ok(()));
        assert!(schema.check(r#"{"stake":1,"stake":9999}"#).unwrap_err().contains("occurs twice"));
        assert!(schema.check(r#"{"stake":1e999}"#).is_err());
        // Beyond what a float tells apart.
        let most = SettingsSchema::try_from(
            json!({ "type": "object", "properties": { "a": { "maximum": 9007199254740992_u64 } } }),
        )
        .unwrap();
        assert!(most.check(r#"{"a":9007199254740993}"#).is_err() && most.check(r#"{"a":9007199254740992}"#).is_ok());
    }

    #[test]
    fn a_schema_that_would_not_be_checked_is_refused() {
        for (schema, why) in [
            (json!(7), "\"type\": \"object\""),
            (json!({ "type": "array" }), "\"type\": \"object\""),
            (json!({ "type": "object", "pattern": "a" }), "the schema: pattern is not supported"),
            (json!({ "type": "object", "properties": { "a": { "format": "date" } } }), "a: format is not supported"),
            (json!({ "type": "object", "properties": { "a": { "items": { "$ref": "#" } } } }), "a.[]: $ref is not"),
            (json!({ "type": "object", "properties": { "a": { "type": "text" } } }), "a: type must be one or more of"),
            (json!({ "type": "object", "properties": { "a": 1 } }), "a must be an object or a boolean"),
            (json!({ "type": "object", "properties": [] }), "properties must be an object"),
            (json!({ "type": "object", "required": "a" }), "required must be a list of names"),
            (json!({ "type": "object", "properties": { "a": { "minimum": "1" } } }), "a: minimum must be a number"),
            (json!({ "type": "object", "properties": { "a": { "maxLength": -1 } } }), "a: maxLength must be a whole"),
            (json!({ "type": "object", "properties": { "a": { "enum": [] } } }), "a: enum must be a list of values"),
        ] {
            let refused = SettingsSchema::try_from(schema.clone()).unwrap_err();
            assert!(refused.contains(why), "{schema}: {refused}");
        }
        let deep = (0..20)
            .fold(json!({ "type": "object" }), |inner, _| json!({ "type": "object", "properties": { "a": inner } }));
        assert!(SettingsSchema::try_from(deep).unwrap_err().contains("nested too deep"));
        let long = json!({ "type": "object", "title": "a".repeat(SCHEMA_BYTES_MAX) });
        assert!(SettingsSchema::try_from(long).unwrap_err().contains("bytes"));
    }
}
