//! Does a value keep to a schema? It takes no longer than reading the value.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde_json::{Map, Number, Value};

use super::{Bound, Bounds, Format, Kind, Node, Rules};

/// Values and names that a refusal lists.
const LISTED_MAX: usize = 20;

/// A place in a value.
pub(super) struct Path<'a> {
    pub above: Option<&'a Path<'a>>,
    pub step: Step<'a>,
}

pub(super) enum Step<'a> {
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

pub(super) fn check(node: &Node, value: &Value, at: &Path) -> Result<(), String> {
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

pub(super) fn is_format(format: Format, text: &str) -> bool {
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
pub(super) fn key(value: &Value) -> String {
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
