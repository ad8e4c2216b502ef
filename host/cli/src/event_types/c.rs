//! Structs and functions that read them, for C and Zig. Text has room for its `maxLength`, an amount is whole hundredths, and lists
//! and maps are text of JSON, which `larder_json_item` and `larder_json_value` walk. What is optional has a `has_…` beside it.

use super::shape::{Member, Named, Object, Shape, Words, snake};
use super::{ABOUT, Types, doc, free, quoted};

/// Characters of a text whose schema does not say.
const TEXT_CHARS: u64 = 255;
const RESERVED: [&str; 24] = [
    "auto", "bool", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern",
    "float", "for", "goto", "if", "int", "long", "register", "return", "short", "struct", "switch",
];
const RESERVED_TOO: [&str; 12] = [
    "signed", "sizeof", "static", "typedef", "union", "unsigned", "void", "volatile", "while", "type", "error", "test",
];

pub fn header(types: &Types) -> String {
    let mut code = format!(
        "// {ABOUT}\n#ifndef LARDER_EVENTS_H\n#define LARDER_EVENTS_H\n\n#include \"guide.h\"\n\n#ifdef __cplusplus\nextern \"C\" {{\n#endif\n"
    );
    for (kind, root) in types {
        for named in root.named() {
            match named {
                Named::Words(words) => code += &enumeration(words),
                Named::Object(object) => code += &structure(object, (object == *root).then_some(kind)),
            }
        }
        code += &format!(
            "\n// Reads the data of an event. False if they do not fit, and `why` says so. Text of JSON in it lies in `data`.\n\
             bool {}(const larder_list_u8_t *data, {} *to, char why[160]);\n",
            reader(root),
            type_name(&root.name)
        );
    }
    code + "\n#ifdef __cplusplus\n}\n#endif\n#endif\n"
}

pub fn source(types: &Types) -> String {
    let mut code = format!("// {ABOUT}\n#include \"events.h\"\n");
    if types.is_empty() {
        return code;
    }
    code += "\n#include <stdio.h>\n#include <string.h>\n\n\
             static bool unfit(char why[160], const char *place, const char *wanted) {\n  \
             snprintf(why, 160, \"%s must be %s\", place, wanted);\n  return false;\n}\n\n\
             static bool there(const larder_list_u8_t *json, const char *name, larder_list_u8_t *value) {\n  \
             return larder_json_value(json, name, value) && !(value->len == 4 && memcmp(value->ptr, \"null\", 4) == 0);\n}\n";
    for (_, root) in types {
        for named in root.named() {
            if let Named::Object(object) = named {
                let is_root = object == *root;
                code += &function(object, is_root);
            }
        }
    }
    code
}

fn enumeration(words: &Words) -> String {
    let prefix = snake(&words.name).to_ascii_uppercase();
    let all: Vec<String> =
        words.words.iter().map(|word| format!("  {prefix}_{}", snake(word).to_ascii_uppercase())).collect();
    format!("\ntypedef enum {{\n{},\n}} {};\n", all.join(",\n"), type_name(&words.name))
}

fn structure(object: &Object, kind: Option<&str>) -> String {
    let mut code = String::from("\n");
    if let Some(kind) = kind {
        code += &format!("// The data of {kind}.\n");
    }
    code += &doc(object.doc.as_deref(), "//");
    code += "typedef struct {\n";
    for member in &object.members {
        code += &doc(member.doc.as_deref(), "  //");
        let field = field(member);
        code += &match &member.shape {
            Shape::Text | Shape::Time => format!("  char {field}[{}];\n", size(member)),
            Shape::Decimal => format!("  int64_t {field}; // in hundredths\n"),
            Shape::Words(words) => format!("  {} {field};\n", type_name(&words.name)),
            Shape::Integer => format!("  int64_t {field};\n"),
            Shape::Number => format!("  double {field};\n"),
            Shape::Boolean => format!("  bool {field};\n"),
            Shape::List(_) | Shape::Map(_) => format!("  larder_list_u8_t {field}; // JSON\n"),
            Shape::Object(object) => format!("  {} {field};\n", type_name(&object.name)),
        };
        if member.optional {
            code += &format!("  bool has_{field};\n");
        }
    }
    code + &format!("}} {};\n", type_name(&object.name))
}

fn function(object: &Object, is_root: bool) -> String {
    let linkage = if is_root { "" } else { "static " };
    let mut code = format!(
        "\n{linkage}bool {}(const larder_list_u8_t *data, {} *to, char why[160]) {{\n  larder_list_u8_t value;\n  \
         memset(to, 0, sizeof *to);\n  if (!larder_json_is_object(data)) return unfit(why, {}, \"an object\");\n",
        reader(object),
        type_name(&object.name),
        quoted(if is_root { "data" } else { &object.name })
    );
    for member in &object.members {
        let (field, key) = (field(member), quoted(&member.name));
        let (reads, wanted) = read(member, &field);
        match member.optional {
            true => {
                code += &format!(
                    "  if (there(data, {key}, &value)) {{\n    to->has_{field} = true;\n    {}  }}\n",
                    reads.replace("\n  ", "\n    ")
                );
            }
            false => {
                code += &format!(
                    "  if (!there(data, {key}, &value)) return unfit(why, {key}, {});\n  {reads}",
                    quoted(&format!("there: {wanted}"))
                );
            }
        }
    }
    code + "  return true;\n}\n"
}

/// Statements that read `value` into a field or return, and what it must be.
fn read(member: &Member, field: &str) -> (String, String) {
    let key = quoted(&member.name);
    let test = |call: String, wanted: &str| {
        (format!("if (!{call}) return unfit(why, {key}, {});\n", quoted(wanted)), wanted.to_owned())
    };
    match &member.shape {
        Shape::Text | Shape::Time => test(
            format!("larder_json_string(&value, to->{field}, sizeof to->{field})"),
            &format!("text of at most {} characters", size(member) / 4),
        ),
        Shape::Decimal => {
            let (reads, wanted) = test(
                format!(
                    "(larder_json_string(&value, amount, sizeof amount) && larder_hundredths(amount, &to->{field}))"
                ),
                "decimal text such as \"12.50\"",
            );
            (format!("{{\n    char amount[32];\n    {reads}  }}\n"), wanted)
        }
        Shape::Integer => test(format!("larder_json_integer(&value, &to->{field})"), "a whole number"),
        Shape::Number => test(format!("larder_json_number(&value, &to->{field})"), "a number"),
        Shape::Boolean => test(format!("larder_json_boolean(&value, &to->{field})"), "true or false"),
        Shape::Words(words) => {
            let prefix = snake(&words.name).to_ascii_uppercase();
            let cases: String = words
                .words
                .iter()
                .map(|word| {
                    let constant = format!("{prefix}_{}", snake(word).to_ascii_uppercase());
                    format!("    if (strcmp(word, {}) == 0) to->{field} = {constant};\n    else ", quoted(word))
                })
                .collect::<String>()
                .replace("else     if", "else if");
            let longest = words.words.iter().map(String::len).max().unwrap_or_default() + 2;
            let wanted = format!("one of {}", words.words.join(", "));
            let wanted: String = wanted.chars().take(100).collect();
            let reads = format!(
                "{{\n    char word[{longest}];\n    if (!larder_json_string(&value, word, sizeof word)) return unfit(why, {key}, {0});\n\
                 {cases}return unfit(why, {key}, {0});\n  }}\n",
                quoted(&wanted)
            );
            (reads, wanted)
        }
        Shape::List(_) => {
            let (reads, wanted) = test("larder_json_is_list(&value)".into(), "a list");
            (format!("{reads}  to->{field} = value;\n"), wanted)
        }
        Shape::Map(_) => {
            let (reads, wanted) = test("larder_json_is_object(&value)".into(), "an object");
            (format!("{reads}  to->{field} = value;\n"), wanted)
        }
        Shape::Object(object) => {
            (format!("if (!{}(&value, &to->{field}, why)) return false;\n", reader(object)), "an object".into())
        }
    }
}

fn reader(object: &Object) -> String {
    format!("larder_read_{}", snake(&object.name))
}

fn type_name(name: &str) -> String {
    format!("larder_{}_t", snake(name))
}

/// Bytes of a text, as UTF-8 that ends with a zero.
fn size(member: &Member) -> u64 {
    member.length_max.unwrap_or(TEXT_CHARS).min(4_096) * 4 + 1
}

fn field(member: &Member) -> String {
    let taken: Vec<&str> = RESERVED.into_iter().chain(RESERVED_TOO).collect();
    free(&member.field, &taken)
}
