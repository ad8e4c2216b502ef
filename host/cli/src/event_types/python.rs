//! Dataclasses that the SDK reads. An amount is text, as `Money` takes it, and an object of an amount and a currency is `Money`.

use super::shape::{Named, Object, Shape};
use super::{ABOUT, Types, free, quoted};

const RESERVED: [&str; 38] = [
    "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif", "else", "except",
    "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise",
    "return", "try", "while", "with", "yield", "str", "int", "float", "bool", "list", "dict",
];

pub fn module(types: &Types) -> String {
    let mut code = format!("\"\"\"{ABOUT}\"\"\"\n");
    if types.is_empty() {
        return code;
    }
    code += "\nfrom __future__ import annotations\n\nfrom dataclasses import dataclass as _dataclass, field as _field\n\
             from datetime import datetime as _datetime\nfrom typing import Literal as _Literal\n\nfrom .money import Money as _Money\n";
    for (kind, root) in types {
        for named in root.named() {
            match named {
                Named::Words(words) => {
                    let all: Vec<String> = words.words.iter().map(|word| quoted(word)).collect();
                    code += &format!("\n{} = _Literal[{}]\n", words.name, all.join(", "));
                }
                Named::Object(object) if object == *root => code += &dataclass(object, Some(kind)),
                Named::Object(object) if object.is_money() => {}
                Named::Object(object) => code += &dataclass(object, None),
            }
        }
    }
    code + "\n__all__ = [" + &types.iter().map(|(_, of)| quoted(&of.name)).collect::<Vec<_>>().join(", ") + "]\n"
}

fn dataclass(object: &Object, kind: Option<&str>) -> String {
    let about = kind.map(|kind| format!("The data of `{kind}`."));
    let about: Vec<String> = about.into_iter().chain(object.doc.clone()).collect();
    let mut code = format!("\n\n@_dataclass(frozen=True, kw_only=True)\nclass {}:\n", object.name);
    if !about.is_empty() {
        code += &format!("    \"\"\"{}\"\"\"\n\n", plain(&about.join(" ")));
    }
    for member in &object.members {
        let field = free(&member.field, &RESERVED);
        let mut of = name(&member.shape);
        let mut options = Vec::new();
        if field != member.name {
            options.push(format!("metadata={{\"json\": {}}}", quoted(&member.name)));
        }
        if member.optional {
            of += " | None";
            options.insert(0, "default=None".into());
        }
        let default = match &options[..] {
            [] => String::new(),
            [only] if member.optional && only == "default=None" => " = None".into(),
            options => format!(" = _field({})", options.join(", ")),
        };
        code += &format!("    {field}: {of}{default}\n");
        if let Some(doc) = &member.doc {
            code += &format!("    \"\"\"{}\"\"\"\n", plain(doc));
        }
    }
    if object.members.is_empty() && about.is_empty() {
        code += "    pass\n";
    }
    if object.money().is_some() {
        code += "\n    @property\n    def money(self) -> _Money:\n        \"\"\"Its amount and currency.\"\"\"\n        \
                 return _Money(self.amount, self.currency)\n";
    }
    code
}

/// Text of one line within three quotes.
fn plain(text: &str) -> String {
    text.replace('\\', "/").replace('"', "'").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn name(shape: &Shape) -> String {
    match shape {
        Shape::Text | Shape::Decimal => "str".into(),
        Shape::Time => "_datetime".into(),
        Shape::Words(words) => words.name.clone(),
        Shape::Integer => "int".into(),
        Shape::Number => "float".into(),
        Shape::Boolean => "bool".into(),
        Shape::List(of) => format!("list[{}]", name(of)),
        Shape::Map(of) => format!("dict[str, {}]", name(of)),
        Shape::Object(object) if object.is_money() => "_Money".into(),
        Shape::Object(object) => object.name.clone(),
    }
}
