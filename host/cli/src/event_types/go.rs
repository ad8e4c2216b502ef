//! Structs that `larder.Read` reads, which refuses what is missing. An amount is a `larder.Amount`; what is optional is a pointer.

use super::shape::{Member, Named, Object, Shape, Words, pascal};
use super::{ABOUT, Types, doc, quoted};

pub fn module(types: &Types) -> String {
    let mut code = format!("// {ABOUT}\n\n// Package events has the types of the data of events.\npackage events\n");
    let body: String = types
        .iter()
        .flat_map(|(kind, root)| {
            root.named().into_iter().map(move |named| match named {
                Named::Words(words) => enumeration(words),
                Named::Object(object) => structure(object, (object == *root).then_some(kind)),
            })
        })
        .collect();
    if body.contains("larder.") {
        code += "\nimport \"larder\"\n";
    }
    code + &body
}

fn structure(object: &Object, kind: Option<&str>) -> String {
    let about = kind.map_or_else(String::new, |kind| format!("// {} is the data of {kind}.\n", object.name));
    let about = about + &doc(object.doc.as_deref(), "//");
    let members: String = object.members.iter().map(member).collect();
    format!("\n{about}type {} struct {{\n{members}}}\n", object.name)
}

fn member(member: &Member) -> String {
    let of = name(&member.shape);
    let is_nil = matches!(member.shape, Shape::List(_) | Shape::Map(_));
    let (of, empty) = match member.optional {
        true if is_nil => (of, ",omitempty"),
        true => (format!("*{of}"), ",omitempty"),
        false => (of, ""),
    };
    let doc = doc(member.doc.as_deref(), "\t//");
    // The name of a field begins with a capital, or encoding/json does not see it.
    format!("{doc}\t{} {of} `json:{}`\n", pascal(&member.field), quoted(&format!("{}{empty}", member.name)))
}

fn enumeration(words: &Words) -> String {
    let name = &words.name;
    let constants: String =
        words.words.iter().map(|word| format!("\t{name}{} {name} = {}\n", pascal(word), quoted(word))).collect();
    let all: Vec<String> = words.words.iter().map(|word| format!("{name}{}", pascal(word))).collect();
    format!(
        "\ntype {name} string\n\nconst (\n{constants})\n\n// Words are all that it can be.\nfunc ({name}) Words() []string {{\n\treturn []string{{{}}}\n}}\n",
        all.iter().map(|one| format!("string({one})")).collect::<Vec<_>>().join(", ")
    )
}

fn name(shape: &Shape) -> String {
    match shape {
        Shape::Text | Shape::Time => "string".into(),
        Shape::Decimal => "larder.Amount".into(),
        Shape::Words(words) => words.name.clone(),
        Shape::Integer => "int64".into(),
        Shape::Number => "float64".into(),
        Shape::Boolean => "bool".into(),
        Shape::List(of) => format!("[]{}", name(of)),
        Shape::Map(of) => format!("map[string]{}", name(of)),
        Shape::Object(object) => object.name.clone(),
    }
}
