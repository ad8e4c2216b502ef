//! JSON Schema, as far as it is known here.
//!
//! Known are `type`, `enum`, `const`; `properties`, `required`, `additionalProperties`; `items`, `minItems`, `maxItems`,
//! `uniqueItems`; `minLength`, `maxLength`; `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`; and of `format`
//! `decimal` (an amount as text), `date` and `date-time`. `title`, `description`, `default`, `examples`, `$schema`, `$id` and
//! `$comment` are for people and forms. Everything else, such as `pattern`, `$ref` and `oneOf`, is refused where the schema is
//! set: a rule that is not checked must not look like one that is.
//!
//! A schema is compiled once. The rule: **a check takes no longer than reading the value**, whatever schema a partner writes.

mod check;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use check::{Path, Step, key};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::strict_json;
use crate::words::words;

/// Of a schema as JSON.
pub const BYTES_MAX: usize = 16 << 10;
const DEPTH_MAX: u8 = 16;
const FOR_PEOPLE: [&str; 7] = ["title", "description", "default", "examples", "$schema", "$id", "$comment"];
const KNOWN: [&str; 17] = [
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
    "format",
];

words! {
    /// A type of JSON.
    Kind {
        Object = "object",
        Array = "array",
        String = "string",
        Integer = "integer",
        Number = "number",
        Boolean = "boolean",
        Null = "null",
    }
}

words! {
    /// What a text must be.
    Format {
        /// An amount: decimal text such as `12.50`.
        Decimal = "decimal",
        Date = "date",
        DateTime = "date-time",
    }
}

/// A schema that was checked and compiled. Cheap to clone.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct JsonSchema {
    text: Arc<str>,
    root: Arc<Node>,
}

impl PartialEq for JsonSchema {
    fn eq(&self, other: &JsonSchema) -> bool {
        self.text == other.text
    }
}

impl Eq for JsonSchema {}

impl fmt::Debug for JsonSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What of a schema is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Where in the schema, as a JSON pointer.
    pub pointer: String,
    /// The value that it describes there: `price.amount`, empty for the whole.
    pub of: String,
    pub why: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = if self.of.is_empty() { "the schema" } else { &self.of };
        write!(f, "{of}: {}", self.why)
    }
}

impl TryFrom<Value> for JsonSchema {
    type Error = Wrong;

    fn try_from(schema: Value) -> Result<JsonSchema, Wrong> {
        JsonSchema::compile(&schema)
    }
}

impl From<JsonSchema> for Value {
    fn from(schema: JsonSchema) -> Value {
        schema.value()
    }
}

impl JsonSchema {
    pub fn compile(schema: &Value) -> Result<JsonSchema, Wrong> {
        let text = schema.to_string();
        if text.len() > BYTES_MAX {
            let why = format!("must have at most {BYTES_MAX} bytes as JSON, not {}", text.len());
            return Err(Wrong { pointer: String::new(), of: String::new(), why });
        }
        let root = node(schema, &At::default(), DEPTH_MAX)?;
        Ok(JsonSchema { text: text.into(), root: Arc::new(root) })
    }

    pub fn value(&self) -> Value {
        serde_json::from_str(&self.text).expect("the text was written from a value")
    }

    /// As JSON.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn root(&self) -> &Node {
        &self.root
    }

    /// Does this value, which a refusal calls `name`, keep to it? Or which member does not, and why.
    pub fn check(&self, value: &Value, name: &str) -> Result<(), String> {
        check::check(&self.root, value, &Path { above: None, step: Step::Root(name) })
    }

    /// The same for text of JSON that is nested no deeper than `depth`.
    pub fn check_text(&self, text: &[u8], name: &str, depth: u8) -> Result<(), String> {
        self.check(&strict_json::read(text, depth)?, name)
    }
}

/// What one value must be.
#[derive(Debug)]
pub enum Node {
    Anything,
    Nothing,
    Rules(Box<Rules>),
}

#[derive(Debug, Default)]
pub struct Rules {
    /// None: any.
    pub kinds: Vec<Kind>,
    pub description: Option<String>,
    /// Each of them: of `enum`, and of `const`.
    pub allowed: Vec<Allowed>,
    pub properties: BTreeMap<String, Node>,
    pub required: BTreeSet<String>,
    /// Members that `properties` does not name.
    pub rest: Option<Node>,
    pub items: Option<Node>,
    pub length: Bounds,
    pub count: Bounds,
    pub unique: bool,
    pub range: Vec<(Bound, Number)>,
    pub format: Option<Format>,
}

/// Least and most, inclusive.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds(pub Option<u64>, pub Option<u64>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    AtLeast,
    AtMost,
    MoreThan,
    LessThan,
}

#[derive(Debug)]
pub struct Allowed {
    pub values: Vec<Value>,
    keys: HashSet<String>,
}

impl Allowed {
    fn new(values: Vec<Value>) -> Allowed {
        Allowed { keys: values.iter().map(key).collect(), values }
    }
}

/// A place in a schema.
#[derive(Clone, Default)]
struct At {
    pointer: String,
    of: String,
}

impl At {
    fn keyword(&self, keyword: &str) -> At {
        At { pointer: format!("{}/{}", self.pointer, escaped(keyword)), of: self.of.clone() }
    }

    fn inner(&self, keyword: &str, inner: &str) -> At {
        let of = if self.of.is_empty() { inner.to_owned() } else { format!("{}.{inner}", self.of) };
        At { pointer: self.keyword(keyword).pointer, of }
    }

    fn wrong(&self, why: impl Into<String>) -> Wrong {
        Wrong { pointer: self.pointer.clone(), of: self.of.clone(), why: why.into() }
    }
}

/// A name as JSON pointers write it.
pub fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn node(schema: &Value, at: &At, depth: u8) -> Result<Node, Wrong> {
    let below = depth.checked_sub(1).ok_or_else(|| at.wrong("is nested too deep"))?;
    let members = match schema {
        Value::Bool(true) => return Ok(Node::Anything),
        Value::Bool(false) => return Ok(Node::Nothing),
        Value::Object(members) if members.is_empty() => return Ok(Node::Anything),
        Value::Object(members) => members,
        _ => return Err(at.wrong("must be an object or a boolean")),
    };
    let mut rules = Rules::default();
    for (name, value) in members {
        let here = at.keyword(name);
        let wrong = |wanted: &str| here.wrong(format!("{name} must be {wanted}"));
        let whole = || value.as_u64().map(Some).ok_or_else(|| wrong("a whole number"));
        let mut bound = |bound| match value {
            Value::Number(number) => {
                rules.range.push((bound, number.clone()));
                Ok(())
            }
            _ => Err(wrong("a number")),
        };
        match name.as_str() {
            "type" => {
                let all = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                let kinds = all.iter().map(|one| one.as_str().and_then(Kind::from_word));
                rules.kinds = kinds
                    .collect::<Option<_>>()
                    .filter(|kinds: &Vec<_>| !kinds.is_empty())
                    .ok_or_else(|| wrong(&format!("one or more of {}", Kind::WORDS.join(", "))))?;
            }
            "enum" => match value.as_array() {
                Some(values) if !values.is_empty() => rules.allowed.push(Allowed::new(values.clone())),
                _ => return Err(wrong("a list of values")),
            },
            "const" => rules.allowed.push(Allowed::new(vec![value.clone()])),
            "properties" => {
                for (inner, schema) in value.as_object().ok_or_else(|| wrong("an object"))? {
                    let mut at = at.inner(name, inner);
                    at.pointer = format!("{}/{}", at.pointer, escaped(inner));
                    rules.properties.insert(inner.clone(), node(schema, &at, below)?);
                }
            }
            "required" => {
                let names = value.as_array().into_iter().flatten().map(|name| name.as_str().map(str::to_owned));
                let names: Option<_> = names.collect();
                rules.required = names.filter(|_| value.is_array()).ok_or_else(|| wrong("a list of names"))?;
            }
            "additionalProperties" => rules.rest = Some(node(value, &at.inner(name, "*"), below)?),
            "items" => rules.items = Some(node(value, &at.inner(name, "[]"), below)?),
            "minItems" => rules.count.0 = whole()?,
            "maxItems" => rules.count.1 = whole()?,
            "minLength" => rules.length.0 = whole()?,
            "maxLength" => rules.length.1 = whole()?,
            "uniqueItems" => rules.unique = value.as_bool().ok_or_else(|| wrong("true or false"))?,
            "minimum" => bound(Bound::AtLeast)?,
            "maximum" => bound(Bound::AtMost)?,
            "exclusiveMinimum" => bound(Bound::MoreThan)?,
            "exclusiveMaximum" => bound(Bound::LessThan)?,
            "format" => {
                let format = value.as_str().and_then(Format::from_word);
                rules.format = Some(format.ok_or_else(|| unsupported(&here, name))?);
            }
            "description" => rules.description = value.as_str().map(str::to_owned),
            for_people if FOR_PEOPLE.contains(&for_people) => {}
            _ => return Err(unsupported(&here, name)),
        }
    }
    Ok(Node::Rules(Box::new(rules)))
}

fn unsupported(at: &At, keyword: &str) -> Wrong {
    let instead = match keyword {
        "$ref" | "$defs" | "definitions" | "$anchor" | "$dynamicRef" => {
            "write the schema out where it is used; nothing is fetched".to_owned()
        }
        "oneOf" | "anyOf" | "allOf" | "not" | "if" | "then" | "else" | "dependentSchemas" | "dependentRequired" => {
            "describe one shape whose members are optional unless `required` names them, or give each shape an event \
             type of its own"
                .to_owned()
        }
        "pattern" | "patternProperties" | "propertyNames" => {
            "list what is allowed (enum), or bound it (minLength, maxLength, format)".to_owned()
        }
        "format" => format!("there are {}", Format::WORDS.join(", ")),
        _ => format!("there are {}", KNOWN.join(", ")),
    };
    let what = if keyword == "format" { "this format" } else { keyword };
    at.wrong(format!("{what} is not supported, so it would not be checked: {instead}"))
}

#[cfg(test)]
mod tests;
