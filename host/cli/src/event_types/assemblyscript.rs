//! Classes that read themselves from `Json`. An amount is text, as `Money.of` takes it, and an object of an amount and a currency
//! is `Money`. What is optional is null, or where the language has no null, as for numbers, it has a `has…` beside it.

use super::shape::{Member, Named, Object, Shape, Words};
use super::{ABOUT, Types, camel, doc, free, quoted};

const RESERVED: [&str; 20] = [
    "class", "const", "default", "delete", "enum", "export", "extends", "for", "function", "if", "import", "in", "new",
    "null", "return", "switch", "this", "type", "var", "while",
];

pub fn module(types: &Types) -> String {
    let mut code = format!("// {ABOUT}\n");
    if types.is_empty() {
        return code + "\nexport {};\n";
    }
    code += "\nimport { reject } from \"./end\";\nimport { Event } from \"./event\";\nimport { Json } from \"./json\";\n\
             import { Money } from \"./money\";\n\n\
             function oneOf(text: string, words: StaticArray<string>, place: string): string {\n  \
             if (!words.includes(text)) reject(`${place} is \"${text}\"; it must be one of ${words.join(\", \")}`);\n  return text;\n}\n\n\
             function there(value: Json | null): bool {\n  return value !== null && !value.isNull;\n}\n";
    for (kind, root) in types {
        for named in root.named() {
            match named {
                Named::Words(words) => code += &constants(words),
                Named::Object(object) if object == *root => code += &class(object, Some(kind)),
                Named::Object(object) if object.is_money() => {}
                Named::Object(object) => code += &class(object, None),
            }
        }
    }
    code
}

fn constants(words: &Words) -> String {
    let all: Vec<String> = words.words.iter().map(|word| quoted(word)).collect();
    format!("\n/** What it can be. */\nexport const {}: StaticArray<string> = [{}];\n", words.name, all.join(", "))
}

fn class(object: &Object, kind: Option<&str>) -> String {
    let about = kind.map(|kind| format!("The data of `{kind}`.")).into_iter().chain(object.doc.clone());
    let about = about.collect::<Vec<_>>().join(" ");
    let mut code = String::from("\n");
    if !about.is_empty() {
        code += &format!("/** {} */\n", doc(Some(&about), "").trim().replace('\n', " "));
    }
    code += &format!("@final\nexport class {} {{\n", object.name);
    for member in &object.members {
        let field = field(member);
        // The language lets no constructor set what has a first value and is readonly.
        match (member.optional, initial(&member.shape)) {
            (true, Some(zero)) => {
                code += &format!("  {field}: {} = {zero};\n", name(&member.shape));
                code += &format!("  has{}: bool = false;\n", capital(&field));
            }
            (true, None) => code += &format!("  {field}: {} | null = null;\n", name(&member.shape)),
            (false, _) => code += &format!("  readonly {field}: {};\n", name(&member.shape)),
        }
    }
    code += "\n  constructor(json: Json) {\n";
    for member in &object.members {
        let (field, key) = (field(member), quoted(&member.name));
        if member.optional {
            code += &format!("    if (there(json.get({key}))) {{\n");
            code +=
                &format!("      this.{field} = {};\n", read(&member.shape, &format!("json.need({key})"), &member.name));
            if initial(&member.shape).is_some() {
                code += &format!("      this.has{} = true;\n", capital(&field));
            }
            code += "    }\n";
        } else {
            code +=
                &format!("    this.{field} = {};\n", read(&member.shape, &format!("json.need({key})"), &member.name));
        }
    }
    code += "  }\n";
    if kind.is_some() {
        code += &format!(
            "\n  /** Reads the data of an event; what does not fit rejects it. */\n  static of(event: Event): {0} {{\n    \
             return new {0}(event.json());\n  }}\n",
            object.name
        );
    }
    if object.money().is_some() {
        code += "\n  /** Its amount and currency. */\n  get money(): Money {\n    return Money.of(this.amount, this.currency);\n  }\n";
    }
    code + "}\n"
}

/// An expression that reads the value of the expression `json`.
fn read(shape: &Shape, json: &str, place: &str) -> String {
    match shape {
        Shape::Text | Shape::Time | Shape::Decimal => format!("{json}.asText()"),
        Shape::Words(words) => format!("oneOf({json}.asText(), {}, {})", words.name, quoted(place)),
        Shape::Integer => format!("{json}.asInteger()"),
        Shape::Number => format!("{json}.asNumber()"),
        Shape::Boolean => format!("{json}.asBoolean()"),
        Shape::List(of) => {
            format!("{json}.asList().map<{}>((item: Json): {} => {})", name(of), name(of), read(of, "item", place))
        }
        // As JSON: the members of a map are asked for by name.
        Shape::Map(_) => json.to_owned(),
        Shape::Object(object) if object.is_money() => {
            format!("Money.of({json}.text(\"amount\"), {json}.text(\"currency\"))")
        }
        Shape::Object(object) => format!("new {}({json})", object.name),
    }
}

fn name(shape: &Shape) -> String {
    match shape {
        Shape::Text | Shape::Decimal | Shape::Time | Shape::Words(_) => "string".into(),
        Shape::Integer => "i64".into(),
        Shape::Number => "f64".into(),
        Shape::Boolean => "bool".into(),
        Shape::List(of) => format!("{}[]", name(of)),
        Shape::Map(_) => "Json".into(),
        Shape::Object(object) if object.is_money() => "Money".into(),
        Shape::Object(object) => object.name.clone(),
    }
}

/// Of a value that cannot be null.
fn initial(shape: &Shape) -> Option<&'static str> {
    match shape {
        Shape::Integer | Shape::Number => Some("0"),
        Shape::Boolean => Some("false"),
        _ => None,
    }
}

fn field(member: &Member) -> String {
    free(&camel(&member.field), &RESERVED)
}

fn capital(field: &str) -> String {
    let mut chars = field.chars();
    chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect()
}
