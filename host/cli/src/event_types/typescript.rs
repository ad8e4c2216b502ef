//! Interfaces, which JavaScript names in JSDoc: `@param {import("@larder/sdk").Event<import("@larder/sdk/events").CardPurchase>}`.
//! They have the names of the JSON, which is what they describe. An amount is text, as `Money.of` takes it.

use super::shape::{Named, Object, Shape};
use super::{ABOUT, Types, doc, quoted};

pub fn module(types: &Types) -> String {
    let mut code = format!("// {ABOUT}\n\n");
    if types.is_empty() {
        return code + "export {};\n";
    }
    for (kind, root) in types {
        for named in root.named() {
            match named {
                Named::Words(words) => {
                    let all: Vec<String> = words.words.iter().map(|word| quoted(word)).collect();
                    code += &format!("export type {} = {};\n\n", words.name, all.join(" | "));
                }
                Named::Object(object) => code += &interface(object, (object == *root).then_some(kind)),
            }
        }
    }
    let all: String = types.iter().map(|(kind, of)| format!("  {}: {};\n", quoted(kind), of.name)).collect();
    code + &format!("/** The data of each type of event. */\nexport interface Events {{\n{all}}}\n")
}

fn interface(object: &Object, kind: Option<&str>) -> String {
    let about = kind.map(|kind| format!("The data of `{kind}`."));
    let about: Vec<&str> = about.iter().map(String::as_str).chain(object.doc.as_deref()).collect();
    let mut code = comment(&about.join(" "), "");
    code += &format!("export interface {} {{\n", object.name);
    for member in &object.members {
        let amount = matches!(member.shape, Shape::Decimal).then_some("Decimal text: numbers lose digits of money.");
        code += &comment(member.doc.as_deref().or(amount).unwrap_or_default(), "  ");
        let (mark, null) = (if member.optional { "?" } else { "" }, if member.nullable { " | null" } else { "" });
        let is_plain = member.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !member.name.starts_with(|c: char| c.is_ascii_digit());
        let key = if is_plain { member.name.clone() } else { quoted(&member.name) };
        code += &format!("  readonly {key}{mark}: {}{null};\n", name(&member.shape));
    }
    code + "}\n\n"
}

fn comment(text: &str, indent: &str) -> String {
    match doc(Some(text), "").trim() {
        "" => String::new(),
        text => format!("{indent}/** {} */\n", text.replace('\n', " ")),
    }
}

fn name(shape: &Shape) -> String {
    match shape {
        Shape::Text | Shape::Decimal | Shape::Time => "string".into(),
        Shape::Words(words) => words.name.clone(),
        Shape::Integer | Shape::Number => "number".into(),
        Shape::Boolean => "boolean".into(),
        Shape::List(of) => format!("ReadonlyArray<{}>", name(of)),
        Shape::Map(of) => format!("Readonly<Record<string, {}>>", name(of)),
        Shape::Object(object) => object.name.clone(),
    }
}
