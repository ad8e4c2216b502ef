//! Structs that serde reads. An amount is a `Decimal`, and an object of an amount and a currency is `Money`.

use super::shape::{Member, Named, Object, Shape, Words, pascal};
use super::{ABOUT, Types, doc, quoted};

const RESERVED: [&str; 38] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn", "else", "enum",
    "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod", "move",
    "mut", "override", "pub", "ref", "return", "static", "struct", "trait", "type", "use",
];
const RESERVED_TOO: [&str; 10] =
    ["self", "super", "crate", "true", "typeof", "unsafe", "unsized", "virtual", "where", "while"];

pub fn module(types: &Types) -> String {
    let mut code = format!("//! {ABOUT}\n");
    for (kind, root) in types {
        for named in root.named() {
            match named {
                Named::Words(words) => code += &enumeration(words),
                Named::Object(object) if object == *root => code += &structure(object, Some(kind)),
                Named::Object(object) if object.is_money() => {}
                Named::Object(object) => code += &structure(object, None),
            }
        }
    }
    code
}

fn structure(object: &Object, kind: Option<&str>) -> String {
    let mut code = String::from("\n");
    if let Some(kind) = kind {
        code += &format!("/// The data of `{kind}`.\n");
    }
    code += &doc(object.doc.as_deref(), "///");
    code += &format!(
        "#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]\npub struct {} {{\n",
        object.name
    );
    for member in &object.members {
        code += &doc(member.doc.as_deref(), "    ///");
        let field = field(member);
        let mut serde = Vec::new();
        if field != member.name {
            serde.push(format!("rename = {}", quoted(&member.name)));
        }
        if member.optional {
            serde.push("default, skip_serializing_if = \"Option::is_none\"".into());
        }
        if !serde.is_empty() {
            code += &format!("    #[serde({})]\n", serde.join(", "));
        }
        let of = name(&member.shape);
        let of = if member.optional { format!("Option<{of}>") } else { of };
        code += &format!("    pub {field}: {of},\n");
    }
    code += "}\n";
    let of_kind = kind.map(|kind| format!("    pub const TYPE: &'static str = {};\n", quoted(kind)));
    let money = object.money().map(|(_, currency)| {
        let text = if matches!(currency.shape, Shape::Words(_)) { "self.currency.word()" } else { "self.currency" };
        format!(
            "    /// Its amount and currency.\n    pub fn money(&self) -> Result<crate::Money, crate::Error> {{\n        \
             Ok(crate::Money::new(self.amount, {text}.parse()?))\n    }}\n"
        )
    });
    let inside: Vec<String> = of_kind.into_iter().chain(money).collect();
    if !inside.is_empty() {
        code += &format!("\nimpl {} {{\n{}}}\n", object.name, inside.join("\n"));
    }
    code
}

fn enumeration(words: &Words) -> String {
    let variant = |word: &String| Some(pascal(word)).filter(|it| it != "Self").unwrap_or_else(|| "Self_".into());
    let variants: String = words
        .words
        .iter()
        .map(|word| format!("    #[serde(rename = {})]\n    {},\n", quoted(word), variant(word)))
        .collect();
    let arms: String =
        words.words.iter().map(|word| format!("            Self::{} => {},\n", variant(word), quoted(word))).collect();
    format!(
        "\n#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]\npub enum {name} {{\n{variants}}}\n\n\
         impl {name} {{\n    pub const fn word(self) -> &'static str {{\n        match self {{\n{arms}        }}\n    }}\n}}\n",
        name = words.name
    )
}

fn name(shape: &Shape) -> String {
    match shape {
        Shape::Text | Shape::Time => "String".into(),
        Shape::Decimal => "rust_decimal::Decimal".into(),
        Shape::Words(words) => words.name.clone(),
        Shape::Integer => "i64".into(),
        Shape::Number => "f64".into(),
        Shape::Boolean => "bool".into(),
        Shape::List(of) => format!("Vec<{}>", name(of)),
        Shape::Map(of) => format!("std::collections::BTreeMap<String, {}>", name(of)),
        Shape::Object(object) if object.is_money() => "crate::Money".into(),
        Shape::Object(object) => object.name.clone(),
    }
}

fn field(member: &Member) -> String {
    let name = member.field.as_str();
    let taken = RESERVED.contains(&name) || RESERVED_TOO.contains(&name);
    if taken { format!("{name}_") } else { name.to_owned() }
}
