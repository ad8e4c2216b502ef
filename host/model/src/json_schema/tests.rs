use serde_json::json;

use super::check::is_format;
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
        (json!({ "stake": 1, "on": "2026-02-30" }), "data.on must be a day such as \"2026-11-25\", not \"2026-02-30\""),
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
        (json!({ "properties": { "a": { "items": { "$ref": "#" } } } }), "/properties/a/items/$ref", "a.[]: $ref is"),
        (json!({ "properties": { "a": { "oneOf": [] } } }), "/properties/a/oneOf", "give each shape an event type"),
        (json!({ "properties": { "a/b": { "type": "text" } } }), "/properties/a~1b/type", "type must be one or more"),
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

/// Where a check is written naively, each of these takes quadratic time: hours.
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
        let schema = JsonSchema::compile(&schema).unwrap();
        let refused = schema.check(&value, "data").err().unwrap_or_default();
        assert!(refused.len() < 200, "{refused}");
    }
}
