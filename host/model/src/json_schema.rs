//! JSON Schema, as far as it is known here.
//!
//! Known are `type`, `enum`, `const`; `properties`, `required`, `additionalProperties`; `items`, `minItems`, `maxItems`,
//! `uniqueItems`; `minLength`, `maxLength`; `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`; and of `format`
//! `decimal` (an amount as text), `date` and `date-time`. `title`, `description`, `default`, `examples`, `$schema`, `$id` and
//! `$comment` are for people and forms. Everything else, such as `pattern`, `$ref` and `oneOf`, is refused where the schema is
//! set: a rule that is not checked must not look like one that is.
//!
//! A schema is compiled once. The rule: **a check takes no longer than reading the value**, whatever schema a partner writes.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use crate::strict_json;
use crate::words::words;

/// Of a schema as JSON.
pub const BYTES_MAX: usize = 16 << 10;
const DEPTH_MAX: u8 = 16;
/// Values and names that a refusal lists.
const LISTED_MAX: usize = 20;
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
        check(&self.root, value, &Path { above: None, step: Step::Root(name) })
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

/// A place in a value.
struct Path<'a> {
    above: Option<&'a Path<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    /// What the whole is called; empty: nothing.
    Root(&'a str),
    Name(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    fn of(&'a self, step: Step<'a>) -> Path<'a> {
        Path { above: Some(self), step }
    }

    fn write(&self, to: &mut String) {
        if let Some(above) = self.above {
            above.write(to);
        }
        match self.step {
            Step::Root(name) => to.push_str(name),
            Step::Index(at) => to.push_str(&format!("[{at}]")),
            Step::Name(name) => {
                if !to.is_empty() {
                    to.push('.');
                }
                to.push_str(&cut(name));
            }
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        f.write_str(if text.is_empty() { "the whole" } else { &text })
    }
}

fn check(node: &Node, value: &Value, at: &Path) -> Result<(), String> {
    let rules = match node {
        Node::Anything => return Ok(()),
        Node::Nothing => return Err(format!("{at} is not allowed")),
        Node::Rules(rules) => rules,
    };
    if !rules.kinds.is_empty() && !rules.kinds.iter().any(|kind| is_of(*kind, value)) {
        let kinds: Vec<&str> = rules.kinds.iter().map(|kind| kind.word()).collect();
        return Err(format!("{at} must be {}, not {}", kinds.join(" or "), shown(value)));
    }
    if let Some(allowed) = rules.allowed.iter().find(|allowed| !allowed.keys.contains(&key(value))) {
        let words: Vec<String> = allowed.values.iter().take(LISTED_MAX).map(|one| cut(&one.to_string())).collect();
        let one_of = if words.len() == 1 { "" } else { "one of " };
        return Err(format!("{at} must be {one_of}{}, not {}", words.join(", "), shown(value)));
    }
    match value {
        Value::Object(members) => object(rules, members, at),
        Value::Array(items) => {
            within(rules.count, items.len(), at, "values")?;
            let mut seen = HashSet::new();
            if rules.unique && !items.iter().all(|item| seen.insert(key(item))) {
                return Err(format!("{at} has a value twice"));
            }
            let Some(each) = &rules.items else { return Ok(()) };
            items.iter().enumerate().try_for_each(|(n, item)| check(each, item, &at.of(Step::Index(n))))
        }
        Value::String(text) => {
            within(rules.length, text.chars().count(), at, "characters")?;
            match rules.format {
                Some(format) if !is_format(format, text) => {
                    let wanted = match format {
                        Format::Decimal => "decimal text such as \"12.50\"",
                        Format::Date => "a day such as \"2026-11-25\"",
                        Format::DateTime => "a time such as \"2026-11-25T06:00:00Z\"",
                    };
                    Err(format!("{at} must be {wanted}, not {}", shown(value)))
                }
                _ => Ok(()),
            }
        }
        Value::Number(number) => rules.range.iter().try_for_each(|(bound, limit)| {
            let (fine, words): (&[Ordering], _) = match bound {
                Bound::AtLeast => (&[Ordering::Greater, Ordering::Equal], "at least"),
                Bound::AtMost => (&[Ordering::Less, Ordering::Equal], "at most"),
                Bound::MoreThan => (&[Ordering::Greater], "more than"),
                Bound::LessThan => (&[Ordering::Less], "less than"),
            };
            let is_fine = fine.contains(&compare(number, limit));
            if is_fine { Ok(()) } else { Err(format!("{at} must be {words} {limit}, not {number}")) }
        }),
        Value::Bool(_) | Value::Null => Ok(()),
    }
}

fn object(rules: &Rules, members: &Map<String, Value>, at: &Path) -> Result<(), String> {
    if let Some(missing) = rules.required.iter().find(|name| !members.contains_key(*name)) {
        return Err(format!("{} is required", at.of(Step::Name(missing))));
    }
    for (name, value) in members {
        let at = at.of(Step::Name(name));
        match rules.properties.get(name).or(rules.rest.as_ref()) {
            Some(Node::Nothing) => {
                let known: Vec<String> = rules.properties.keys().take(LISTED_MAX).map(|name| cut(name)).collect();
                return Err(format!("{at} is not known; there are {}", known.join(", ")));
            }
            Some(each) => check(each, value, &at)?,
            None => {}
        }
    }
    Ok(())
}

fn within(Bounds(least, most): Bounds, has: usize, at: &Path, unit: &str) -> Result<(), String> {
    let has = has as u64;
    match (least, most) {
        (Some(least), _) if has < least => Err(format!("{at} must have at least {least} {unit}, not {has}")),
        (_, Some(most)) if has > most => Err(format!("{at} must have at most {most} {unit}, not {has}")),
        _ => Ok(()),
    }
}

fn is_of(kind: Kind, value: &Value) -> bool {
    match kind {
        Kind::Object => value.is_object(),
        Kind::Array => value.is_array(),
        Kind::String => value.is_string(),
        Kind::Boolean => value.is_boolean(),
        Kind::Null => value.is_null(),
        Kind::Number => value.is_number(),
        Kind::Integer => value.as_number().is_some_and(|number| whole(number).is_some() || is_round(number)),
    }
}

fn is_format(format: Format, text: &str) -> bool {
    match format {
        Format::Decimal => {
            let (major, minor) = text
                .strip_prefix('-')
                .unwrap_or(text)
                .split_once('.')
                .map_or_else(|| (text.strip_prefix('-').unwrap_or(text), None), |(major, minor)| (major, Some(minor)));
            let are_digits =
                |text: &str, most: usize| (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            are_digits(major, 15) && minor.is_none_or(|minor| are_digits(minor, 9))
        }
        Format::Date => text.len() == 10 && chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok(),
        Format::DateTime => chrono::DateTime::parse_from_rfc3339(text).is_ok(),
    }
}

fn whole(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or(number.as_u64().map(i128::from))
}

fn is_round(number: &Number) -> bool {
    number.as_f64().is_some_and(|number| number.fract() == 0.0)
}

/// The same text for values that are equal as JSON Schema means it: 1 is 1.0.
fn key(value: &Value) -> String {
    fn write(value: &Value, to: &mut String) {
        match value {
            Value::Number(number) => {
                let float = number.as_f64().unwrap_or(f64::NAN);
                match whole(number) {
                    Some(whole) => to.push_str(&whole.to_string()),
                    None if float.fract() == 0.0 && float.abs() < 1e18 => to.push_str(&(float as i128).to_string()),
                    None => to.push_str(&format!("{float:e}")),
                }
            }
            Value::Array(items) => {
                to.push('[');
                for item in items {
                    write(item, to);
                    to.push(',');
                }
                to.push(']');
            }
            Value::Object(members) => {
                to.push('{');
                // In the order of their names.
                for (name, value) in members.iter().collect::<BTreeMap<_, _>>() {
                    to.push_str(&Value::from(name.as_str()).to_string());
                    to.push(':');
                    write(value, to);
                    to.push(',');
                }
                to.push('}');
            }
            other => to.push_str(&other.to_string()),
        }
    }
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn compare(one: &Number, other: &Number) -> Ordering {
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => {
            let float = |number: &Number| number.as_f64().unwrap_or(f64::NAN);
            float(one).total_cmp(&float(other))
        }
    }
}

/// A value in a message, cut.
fn shown(value: &Value) -> String {
    match value {
        // Nobody waits for the text of all of it.
        Value::Object(_) => "an object".into(),
        Value::Array(_) => "a list".into(),
        Value::String(text) => Value::from(cut(text)).to_string(),
        other => other.to_string(),
    }
}

fn cut(text: &str) -> String {
    if text.chars().nth(40).is_some() {
        format!("{}…", text.chars().take(39).collect::<String>())
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> JsonSchema {
        JsonSchema::compile(&json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "title": "Your team",
            "properties": {
                "stake": { "type": "number", "minimum": 1, "exclusiveMaximum": 500.5 },
                "games": { "type": "integer" },
                "name": { "type": ["string", "null"], "minLength": 2, "maxLength": 5 },
                "when": { "enum": ["home", "away", 1] },
                "days": { "type": "array", "items": { "type": "string" }, "minItems": 1, "maxItems": 2, "uniqueItems": true },
                "fixed": { "const": { "a": 1 } },
                "open": { "type": "object", "additionalProperties": { "type": "boolean" } },
                "price": { "type": "object", "properties": { "amount": { "type": "string", "format": "decimal" } } },
                "on": { "type": "string", "format": "date" },
                "at": { "type": "string", "format": "date-time" },
            },
            "required": ["stake"], "additionalProperties": false,
        }))
        .unwrap()
    }

    #[test]
    fn values_keep_to_their_schema() {
        let schema = schema();
        for fine in [
            json!({ "stake": 1 }),
            json!({ "stake": 500.25, "games": 3.0, "name": null, "when": 1.0, "days": ["a", "b"] }),
            json!({ "stake": 2, "name": "åäöüé", "fixed": { "a": 1.0 }, "open": { "x": true } }),
            json!({ "stake": 2, "price": { "amount": "-12.50" }, "on": "2026-02-28", "at": "2026-11-25T06:00:00+01:00" }),
        ] {
            assert_eq!(schema.check(&fine, "data"), Ok(()), "{fine}");
        }
        for (value, why) in [
            (json!({}), "data.stake is required"),
            (json!({ "stake": "1" }), "data.stake must be number, not \"1\""),
            (json!({ "stake": 0.99 }), "data.stake must be at least 1, not 0.99"),
            (json!({ "stake": 500.5 }), "data.stake must be less than 500.5, not 500.5"),
            (json!({ "stake": 1, "games": 1.5 }), "data.games must be integer, not 1.5"),
            (json!({ "stake": 1, "name": "a" }), "data.name must have at least 2 characters, not 1"),
            (json!({ "stake": 1, "name": "abcdef" }), "data.name must have at most 5 characters, not 6"),
            (json!({ "stake": 1, "when": "Home" }), "data.when must be one of \"home\", \"away\", 1, not \"Home\""),
            (json!({ "stake": 1, "days": [] }), "data.days must have at least 1 values, not 0"),
            (json!({ "stake": 1, "days": ["a", "a"] }), "data.days has a value twice"),
            (json!({ "stake": 1, "days": ["a", 1] }), "data.days[1] must be string, not 1"),
            (json!({ "stake": 1, "fixed": { "a": 2 } }), "data.fixed must be {\"a\":1}, not an object"),
            (json!({ "stake": 1, "open": { "x": [1] } }), "data.open.x must be boolean, not a list"),
            (json!({ "stake": 1, "price": { "amount": 12.5 } }), "data.price.amount must be string, not 12.5"),
            (
                json!({ "stake": 1, "price": { "amount": "12,50" } }),
                "data.price.amount must be decimal text such as \"12.50\", not \"12,50\"",
            ),
            (
                json!({ "stake": 1, "on": "2026-02-30" }),
                "data.on must be a day such as \"2026-11-25\", not \"2026-02-30\"",
            ),
            (
                json!({ "stake": 1, "at": "yesterday" }),
                "data.at must be a time such as \"2026-11-25T06:00:00Z\", not \"yesterday\"",
            ),
            (
                json!({ "stake": 1, "stakes": 1 }),
                "data.stakes is not known; there are at, days, fixed, games, name, on, open, price, stake, when",
            ),
            (json!([]), "data must be object, not a list"),
        ] {
            assert_eq!(schema.check(&value, "data"), Err(why.to_owned()), "{value}");
        }
        let twice = schema.check_text(br#"{"stake":1,"stake":9999}"#, "data", 16).unwrap_err();
        assert!(twice.contains("occurs twice"), "{twice}");
        for (text, fits) in [("0", true), ("-0.1", true), ("1.", false), (".5", false), ("+1", false), ("1e3", false)] {
            assert_eq!(is_format(Format::Decimal, text), fits, "{text}");
        }
        assert!(!is_format(Format::Decimal, "") && !is_format(Format::Decimal, &"1".repeat(16)));
    }

    #[test]
    fn numbers_are_compared_beyond_what_a_float_tells_apart() {
        let most = JsonSchema::compile(&json!({ "maximum": 9007199254740992_u64 })).unwrap();
        assert!(most.check(&json!(9007199254740993_u64), "").is_err());
        assert!(most.check(&json!(9007199254740992_u64), "").is_ok());
        assert_ne!(key(&json!(9007199254740993_u64)), key(&json!(9007199254740992_u64)));
        assert_eq!(key(&json!({ "a": 1, "b": [2.0] })), key(&json!({ "b": [2], "a": 1.0 })));
    }

    #[test]
    fn a_schema_that_would_not_be_checked_is_refused_where_it_says_so() {
        for (schema, pointer, why) in [
            (json!(7), "", "the schema: must be an object or a boolean"),
            (json!({ "pattern": "a" }), "/pattern", "the schema: pattern is not supported"),
            (json!({ "properties": { "a": { "format": "email" } } }), "/properties/a/format", "a: this format is not"),
            (
                json!({ "properties": { "a": { "items": { "$ref": "#" } } } }),
                "/properties/a/items/$ref",
                "a.[]: $ref is",
            ),
            (json!({ "properties": { "a": { "oneOf": [] } } }), "/properties/a/oneOf", "give each shape an event type"),
            (
                json!({ "properties": { "a/b": { "type": "text" } } }),
                "/properties/a~1b/type",
                "type must be one or more",
            ),
            (json!({ "properties": { "a": 1 } }), "/properties/a", "a: must be an object or a boolean"),
            (json!({ "properties": [] }), "/properties", "properties must be an object"),
            (json!({ "required": "a" }), "/required", "required must be a list of names"),
            (json!({ "required": [1] }), "/required", "required must be a list of names"),
            (json!({ "properties": { "a": { "minimum": "1" } } }), "/properties/a/minimum", "minimum must be a number"),
            (json!({ "additionalProperties": { "maxLength": -1 } }), "/additionalProperties/maxLength", "*: maxLength"),
            (json!({ "enum": [] }), "/enum", "enum must be a list of values"),
            (json!({ "title": "a".repeat(BYTES_MAX) }), "", "must have at most 16384 bytes"),
        ] {
            let wrong = JsonSchema::compile(&schema).unwrap_err();
            assert_eq!(wrong.pointer, pointer, "{schema}");
            assert!(wrong.to_string().contains(why), "{schema}: {wrong}");
        }
        let deep = (0..20).fold(json!({}), |inner, _| json!({ "items": inner }));
        assert!(JsonSchema::compile(&deep).unwrap_err().why.contains("nested too deep"));
    }

    /// Each of these takes quadratic time where the check is written naively.
    #[test]
    fn hostile_schemas_take_no_longer_than_their_values() {
        let long: Vec<u32> = (0..200_000).collect();
        let words: Vec<String> = (0..2_000).map(|n| format!("w{n}")).collect();
        let names: Vec<String> = (0..2_000).map(|n| format!("n{n}")).collect();
        for (schema, value) in [
            (json!({ "uniqueItems": true }), json!(long)),
            (json!({ "items": { "enum": words } }), json!(vec!["w1999"; 200_000])),
            (json!({ "items": { "required": names } }), json!(vec![json!({}); 200_000])),
            (json!({ "items": { "const": 1 } }), json!(vec![vec![1; 100_000]; 2])),
        ] {
            let (schema, began) = (JsonSchema::compile(&schema).unwrap(), std::time::Instant::now());
            let refused = schema.check(&value, "data").err().unwrap_or_default();
            assert!(refused.len() < 200, "{refused}");
            assert!(began.elapsed().as_secs() < 5, "{:?} for {schema:?}", began.elapsed());
        }
    }
}
