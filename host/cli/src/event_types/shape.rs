//! A schema as a type that every language can have.
//!
//! The rule: **what a schema leaves open has no type, and is refused**. No member is silently of any type.

use std::collections::BTreeMap;

use larder_model::json_schema::{Format, JsonSchema, Kind, Node, Rules, Wrong, escaped};
use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Text,
    /// An amount: decimal text.
    Decimal,
    Time,
    /// One of these words.
    Words(Words),
    Integer,
    Number,
    Boolean,
    List(Box<Shape>),
    /// Members of any name that are all alike.
    Map(Box<Shape>),
    Object(Object),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Words {
    pub name: String,
    pub words: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub name: String,
    pub doc: Option<String>,
    pub members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// In JSON.
    pub name: String,
    /// In code: `merchant_name`.
    pub field: String,
    pub shape: Shape,
    /// It may be away or null.
    pub optional: bool,
    /// It may be null.
    pub nullable: bool,
    pub doc: Option<String>,
    /// Characters of a text.
    pub length_max: Option<u64>,
}

impl Shape {
    /// The data of an event.
    pub fn of_event(name: &str, schema: &JsonSchema) -> Result<Object, Wrong> {
        let at = At { pointer: String::new(), of: String::new() };
        let wrong = || {
            at.inside("type")
                .wrong("the data of an event must be an object: { \"type\": \"object\", \"properties\": .. }")
        };
        match schema.root() {
            Node::Rules(rules) if kinds(rules).0 == [Kind::Object] && !kinds(rules).1 => object(name, rules, &at),
            _ => Err(wrong()),
        }
    }

    /// Itself and what it is made of that has a name, what is inside first.
    fn named<'a>(&'a self, found: &mut Vec<Named<'a>>) {
        match self {
            Shape::Words(words) => found.push(Named::Words(words)),
            Shape::List(of) | Shape::Map(of) => of.named(found),
            Shape::Object(object) => object.collect(found),
            Shape::Text | Shape::Decimal | Shape::Time | Shape::Integer | Shape::Number | Shape::Boolean => {}
        }
    }
}

/// A type with a name.
pub enum Named<'a> {
    Object(&'a Object),
    Words(&'a Words),
}

impl Object {
    /// All types that its code consists of, what is inside first.
    pub fn named(&self) -> Vec<Named<'_>> {
        let mut found = Vec::new();
        self.collect(&mut found);
        found
    }

    fn collect<'a>(&'a self, found: &mut Vec<Named<'a>>) {
        self.members.iter().for_each(|member| member.shape.named(found));
        found.push(Named::Object(self));
    }

    /// Has it an amount and a currency? Their names in code.
    pub fn money(&self) -> Option<(&Member, &Member)> {
        let find = |name: &str| self.members.iter().find(|member| member.name == name && !member.optional);
        let (amount, currency) = (find("amount")?, find("currency")?);
        if self.members.iter().any(|member| member.field == "money") {
            return None;
        }
        let fits = amount.shape == Shape::Decimal && matches!(currency.shape, Shape::Text | Shape::Words(_));
        fits.then_some((amount, currency))
    }

    /// Is it an amount and a currency and nothing else?
    pub fn is_money(&self) -> bool {
        self.money().is_some() && self.members.len() == 2
    }
}

/// A place in a schema.
struct At {
    pointer: String,
    of: String,
}

impl At {
    fn inside(&self, keyword: &str) -> At {
        At { pointer: format!("{}/{keyword}", self.pointer), of: self.of.clone() }
    }

    fn member(&self, name: &str) -> At {
        let of = if self.of.is_empty() { name.to_owned() } else { format!("{}.{name}", self.of) };
        At { pointer: format!("{}/properties/{}", self.pointer, escaped(name)), of }
    }

    fn wrong(&self, why: impl Into<String>) -> Wrong {
        Wrong { pointer: self.pointer.clone(), of: self.of.clone(), why: why.into() }
    }

    fn is_wrong<T>(&self, why: &str) -> Result<T, Wrong> {
        Err(self.wrong(format!("{} {why}", self.of)))
    }
}

/// Its types but null, and whether null is one of them. Words are text.
fn kinds(rules: &Rules) -> (Vec<Kind>, bool) {
    let nullable = rules.kinds.contains(&Kind::Null);
    let kinds: Vec<Kind> = rules.kinds.iter().copied().filter(|kind| *kind != Kind::Null).collect();
    let is_words = kinds.is_empty() && words(rules).is_some_and(|words| !words.is_empty());
    (if is_words { vec![Kind::String] } else { kinds }, nullable)
}

/// If only words are allowed.
fn words(rules: &Rules) -> Option<Vec<String>> {
    let allowed = rules.allowed.first()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    allowed.values.iter().filter(|value| !value.is_null()).map(text).collect()
}

fn shape(name: &str, node: &Node, at: &At) -> Result<(Shape, bool), Wrong> {
    let rules = match node {
        Node::Rules(rules) => rules,
        Node::Anything => return at.is_wrong("has no type, so no language could read it: say \"type\""),
        Node::Nothing => return at.is_wrong("can have no value: leave it out"),
    };
    let (kinds, nullable) = kinds(rules);
    let kind = match kinds[..] {
        [kind] => kind,
        [] => return at.is_wrong("has no type, so no language could read it: say \"type\""),
        _ => return at.is_wrong("has several types, and may have one, or one and null"),
    };
    let shape = match kind {
        Kind::String => match (words(rules), rules.format) {
            (Some(words), _) => {
                let mut names: BTreeMap<String, &str> = BTreeMap::new();
                for word in &words {
                    if let Some(other) = names.insert(pascal(word), word) {
                        return at
                            .is_wrong(&format!("has {other:?} and {word:?}, which would have the same name in code"));
                    }
                }
                Shape::Words(Words { name: name.to_owned(), words })
            }
            (None, Some(Format::Decimal)) => Shape::Decimal,
            (None, Some(Format::DateTime)) => Shape::Time,
            (None, Some(Format::Date) | None) => Shape::Text,
        },
        Kind::Integer => Shape::Integer,
        Kind::Number => Shape::Number,
        Kind::Boolean => Shape::Boolean,
        Kind::Array => match &rules.items {
            Some(items) => Shape::List(Box::new(inner(name, items, &at.inside("items"))?)),
            None => return at.is_wrong("does not say what it is a list of: add items"),
        },
        Kind::Object => match &rules.rest {
            _ if !rules.properties.is_empty() => Shape::Object(object(name, rules, at)?),
            Some(rest @ Node::Rules(_)) => Shape::Map(Box::new(inner(name, rest, &at.inside("additionalProperties"))?)),
            _ => {
                return at
                    .is_wrong("has no properties: name them, or say what all its members are (additionalProperties)");
            }
        },
        Kind::Null => return at.is_wrong("can only be null: leave it out"),
    };
    Ok((shape, nullable))
}

/// What a list or a map holds.
fn inner(name: &str, node: &Node, at: &At) -> Result<Shape, Wrong> {
    match shape(name, node, at)? {
        (shape, false) => Ok(shape),
        (_, true) => at.is_wrong("holds values that may be null: leave these out of it"),
    }
}

fn object(name: &str, rules: &Rules, at: &At) -> Result<Object, Wrong> {
    if let Some(missing) = rules.required.iter().find(|name| !rules.properties.contains_key(*name)) {
        return Err(at.inside("required").wrong(format!("required names {missing:?}, which properties does not have")));
    }
    if matches!(rules.rest, Some(Node::Rules(_))) {
        let why = "additionalProperties has a type beside properties, which no language can have: name the members";
        return Err(at.inside("additionalProperties").wrong(why));
    }
    let mut fields: BTreeMap<String, &str> = BTreeMap::new();
    let mut members = Vec::new();
    for (member, node) in &rules.properties {
        let here = at.member(member);
        let field = snake(member);
        if let Some(other) = fields.insert(field.clone(), member) {
            return Err(here.wrong(format!("{other} and {member} would have the same name in code, {field}")));
        }
        let (shape, nullable) = shape(&format!("{name}{}", pascal(member)), node, &here)?;
        let rules_of = if let Node::Rules(rules) = node { Some(rules) } else { None };
        members.push(Member {
            name: member.clone(),
            field,
            shape,
            optional: nullable || !rules.required.contains(member),
            nullable,
            doc: rules_of.and_then(|rules| rules.description.clone()),
            length_max: rules_of.and_then(|rules| rules.length.1),
        });
    }
    Ok(Object { name: name.to_owned(), doc: rules.description.clone(), members })
}

/// The name of an event's type in code, which no name of the SDK is.
pub fn type_name(kind: &str) -> String {
    let name = pascal(kind);
    let is_taken = ["Money", "Event", "Events", "Json", "Error", "Self"].contains(&name.as_str());
    if is_taken { format!("{name}Data") } else { name }
}

/// `card.purchase` → `CardPurchase`
pub fn pascal(text: &str) -> String {
    let name: String = parts(text)
        .iter()
        .map(|part| {
            let mut chars = part.chars();
            chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect::<String>()
        })
        .collect();
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { format!("Of{name}") }
}

/// `merchantName` → `merchant_name`
pub fn snake(text: &str) -> String {
    let name = parts(text).join("_").to_ascii_lowercase();
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { format!("of_{name}") }
}

/// The words of a name: `merchantName`, `merchant-name` and `merchant_name` have two.
fn parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut was_lower = false;
    for c in text.chars() {
        if !c.is_ascii_alphanumeric() || (was_lower && c.is_ascii_uppercase()) {
            parts.push(String::new());
        }
        if c.is_ascii_alphanumeric() {
            parts.last_mut().expect("one at least").push(c);
        }
        was_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_those_of_code() {
        for (name, in_code, type_name) in [
            ("merchantName", "merchant_name", "MerchantName"),
            ("merchant-name", "merchant_name", "MerchantName"),
            ("card.purchase", "card_purchase", "CardPurchase"),
            ("MCC", "mcc", "MCC"),
            ("2nd", "of_2nd", "Of2nd"),
            ("é", "of_", "Of"),
        ] {
            assert_eq!((snake(name).as_str(), pascal(name).as_str()), (in_code, type_name), "{name}");
        }
    }
}
