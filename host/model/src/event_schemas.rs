//! What the data of events must be.
//!
//! * [`EventSchemas`]: what a function says of the types that it takes or emits.
//! * [`EventRules`]: what follows for events of its partner, from all functions that check a type that they take.
//!
//! The rule: **an event that does not fit one of the functions that it would reach is refused before it is stored**, with the
//! place that does not fit, and whoever sends it is told.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Function;
use crate::cloudevents::is_json;
use crate::grants::check::check_pattern;
use crate::grants::covers_type;
use crate::ids::FunctionId;
use crate::json_schema::JsonSchema;
use crate::strict_json;

/// Types of which a function has a schema.
const TYPES_MAX: usize = 20;
/// All schemas of a function, as JSON.
const BYTES_MAX: usize = 32 << 10;
/// Different schemas that events of one type must fit.
pub const PER_TYPE_MAX: usize = 8;
/// How deep data that is checked may be nested.
const DEPTH_MAX: u8 = 64;

/// The schema of one type of event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventSchema {
    pub schema: JsonSchema,
    /// Are events that do not fit refused?
    pub validate: bool,
}

impl EventSchema {
    /// Do the data of an event fit?
    pub fn check(&self, data_content_type: &str, data: &[u8]) -> Result<(), String> {
        self.schema.check(&read(data_content_type, data)?, "data")
    }
}

/// By the type of the event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Value>")]
pub struct EventSchemas(BTreeMap<String, EventSchema>);

impl TryFrom<BTreeMap<String, Value>> for EventSchemas {
    type Error = String;

    /// Or which type is wrong, and what of it.
    fn try_from(all: BTreeMap<String, Value>) -> Result<EventSchemas, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Given {
            schema: Value,
            #[serde(default)]
            validate: bool,
        }
        let read = |(kind, given): (String, Value)| {
            let given: Given = serde_json::from_value(given).map_err(|err| format!("{kind:?}: {err}"))?;
            let schema = JsonSchema::compile(&given.schema);
            let schema = schema.map_err(|wrong| format!("{kind:?}: {wrong} (at {:?} of its schema)", wrong.pointer))?;
            Ok::<_, String>((kind, EventSchema { schema, validate: given.validate }))
        };
        EventSchemas::new(all.into_iter().map(read).collect::<Result<_, String>>()?)
    }
}

impl EventSchemas {
    pub fn new(all: BTreeMap<String, EventSchema>) -> Result<EventSchemas, String> {
        if all.len() > TYPES_MAX {
            return Err(format!("may name at most {TYPES_MAX} types, not {}", all.len()));
        }
        if let Some((kind, why)) = all.keys().find_map(|kind| Some((kind, check_type(kind).err()?))) {
            return Err(format!("{kind:?} {why}"));
        }
        let bytes: usize = all.values().map(|one| one.schema.text().len()).sum();
        if bytes > BYTES_MAX {
            return Err(format!("must have at most {BYTES_MAX} bytes as JSON, not {bytes}"));
        }
        Ok(EventSchemas(all))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &EventSchema)> {
        self.0.iter().map(|(kind, schema)| (kind.as_str(), schema))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// May a schema be for this type?
pub fn check_type(kind: &str) -> Result<(), &'static str> {
    if kind.contains('*') {
        return Err("is a pattern: a schema is for one type of event");
    }
    crate::grants::reserved_type(kind).map_or(Ok(()), Err)?;
    check_pattern(kind)
}

/// The schemas that events of one partner must fit.
#[derive(Clone, Debug, Default)]
pub struct EventRules(HashMap<String, Vec<(FunctionId, JsonSchema)>>);

/// Why an event is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// `data.amount must be string, not 12.5`
    pub why: String,
    /// Whose schema says so.
    pub function: FunctionId,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, by the schema of function {}", self.why, self.function)
    }
}

impl EventRules {
    /// Of the functions that events reach at present: those that are enabled and deployed.
    pub fn of<'a>(functions: impl IntoIterator<Item = &'a Function>) -> EventRules {
        let mut rules: HashMap<String, Vec<(FunctionId, JsonSchema)>> = HashMap::new();
        for function in functions.into_iter().filter(|function| function.enabled && function.deployment.is_some()) {
            for (kind, one) in function.event_schemas.iter().filter(|(_, one)| one.validate) {
                if function.events.iter().any(|pattern| covers_type(pattern, kind)) {
                    let of_kind = rules.entry(kind.to_owned()).or_default();
                    // Functions that say the same cost nothing more.
                    if of_kind.iter().all(|(_, known)| *known != one.schema) {
                        of_kind.push((function.id.clone(), one.schema.clone()));
                    }
                }
            }
        }
        EventRules(rules)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Would this schema be one too many for the type?
    pub fn is_full(&self, kind: &str, function: &FunctionId, schema: &JsonSchema) -> bool {
        let others = self.0.get(kind).into_iter().flatten();
        others.filter(|(of, known)| of != function && known != schema).count() >= PER_TYPE_MAX
    }

    /// Does an event of this type with these data fit?
    pub fn check(&self, kind: &str, data_content_type: &str, data: &[u8]) -> Result<(), Unfit> {
        let Some(of_kind) = self.0.get(kind) else { return Ok(()) };
        let Some((first, _)) = of_kind.first() else { return Ok(()) };
        let unfit = |function: &FunctionId, why: String| Unfit { why, function: function.clone() };
        let value = read(data_content_type, data).map_err(|why| unfit(first, why))?;
        let fits = |(function, schema): &(FunctionId, JsonSchema)| {
            schema.check(&value, "data").map_err(|why| unfit(function, why))
        };
        of_kind.iter().try_for_each(fits)
    }
}

fn read(data_content_type: &str, data: &[u8]) -> Result<Value, String> {
    match data {
        [] => Err("data is required".into()),
        _ if !data_content_type.is_empty() && !is_json(data_content_type) => {
            Err(format!("data must be JSON, not {data_content_type}"))
        }
        data => strict_json::read(data, DEPTH_MAX).map_err(|why| format!("data: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn function(id: &str, events: &[&str], schemas: Value) -> Function {
        let mut function = Function::new("demo".parse().unwrap(), id.parse().unwrap(), 0);
        function.events = events.iter().map(|pattern| (*pattern).to_owned()).collect();
        function.deployment = Some("d1".parse().unwrap());
        function.event_schemas = serde_json::from_value(schemas).unwrap();
        function
    }

    fn amount() -> Value {
        json!({ "type": "object", "properties": { "amount": { "type": "string" } } })
    }

    #[test]
    fn each_function_that_checks_a_type_must_be_content() {
        let checks = json!({ "card.purchase": { "schema": amount(), "validate": true } });
        let other = json!({ "type": "object", "required": ["merchant"] });
        let mut functions = vec![
            function("a", &["card.*"], checks.clone()),
            function("b", &["card.purchase"], json!({ "card.purchase": { "schema": other, "validate": true } })),
            function("c", &["card.purchase"], json!({ "card.purchase": { "schema": false, "validate": false } })),
            function("d", &["match.goal"], json!({ "card.purchase": { "schema": false, "validate": true } })),
            function("e", &["card.purchase"], checks),
        ];
        let why = |functions: &[Function], data: &str| {
            let refused = EventRules::of(functions).check("card.purchase", "application/json", data.as_bytes());
            refused.err().map(|unfit| unfit.to_string())
        };
        assert_eq!(why(&functions, r#"{"amount":"1","merchant":"x"}"#), None);
        let amount = "data.amount must be string, not 1, by the schema of function a";
        assert_eq!(why(&functions, r#"{"amount":1,"merchant":"x"}"#).as_deref(), Some(amount));
        assert_eq!(why(&functions, "{}").as_deref(), Some("data.merchant is required, by the schema of function b"));
        assert!(why(&functions, r#"{"amount":"1","amount":"2"}"#).unwrap().contains("data: \"amount\" occurs twice"));
        assert!(why(&functions, "").unwrap().starts_with("data is required"));
        let rules = EventRules::of(&functions);
        assert!(rules.check("card.purchase", "text/plain", b"x").unwrap_err().why.contains("JSON, not text/plain"));
        assert_eq!(rules.check("card.refund", "text/plain", b"x"), Ok(()));
        // What does not serve decides nothing.
        functions[1].enabled = false;
        assert_eq!(why(&functions, "{}"), None);
        functions[0].deployment = None;
        functions[4].events.clear();
        assert_eq!(why(&functions, r#"{"amount":1}"#), None);
    }

    #[test]
    fn the_number_and_size_of_schemas_are_limited() {
        let refused = |all: Value| serde_json::from_value::<EventSchemas>(all).unwrap_err().to_string();
        let one = json!({ "schema": amount() });
        let many: BTreeMap<String, Value> = (0..21).map(|n| (format!("a.b{n}"), one.clone())).collect();
        assert!(refused(json!(many)).contains("at most 20 types, not 21"));
        let large: BTreeMap<String, Value> =
            (0..5).map(|n| (format!("a.b{n}"), json!({ "schema": { "title": "a".repeat(16_000) } }))).collect();
        assert!(refused(json!(large)).contains("at most 32768 bytes"));
        for (kind, schema, why) in [
            ("card.*", amount(), "a schema is for one type"),
            ("larder.x", amount(), "larder"),
            ("card.purchase", json!({ "$ref": "https://example.com/x" }), "\"card.purchase\": the schema: $ref"),
            ("card.purchase", json!({ "items": { "oneOf": [] } }), "(at \"/items/oneOf\" of its schema)"),
        ] {
            let why_not = refused(json!({ kind: { "schema": schema } }));
            assert!(why_not.contains(why), "{why_not}");
        }
        assert!(refused(json!({ "a.b": { "schema": true, "validat": true } })).contains("unknown field `validat`"));
        let kind = "card.purchase";
        let of = |n: usize| {
            let schema = json!({ "type": "object", "title": n.to_string() });
            function(&format!("f{n}"), &[kind], json!({ kind: { "schema": schema, "validate": true } }))
        };
        let rules = EventRules::of(&(0..PER_TYPE_MAX).map(of).collect::<Vec<_>>());
        let (own, more) = (of(0), of(99));
        let schema = |of: &Function| of.event_schemas.iter().next().unwrap().1.schema.clone();
        assert!(rules.is_full(kind, &more.id, &schema(&more)));
        assert!(!rules.is_full(kind, &own.id, &schema(&more)), "it replaces its own");
    }
}
