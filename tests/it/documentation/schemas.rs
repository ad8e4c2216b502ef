//! The schemas of `/v1/openapi.json`: of two types with one name, the document would have only the later one.

use std::collections::BTreeMap;

use super::architecture::{files, read};

/// The names under which a source text adds schemas to the document.
fn schemas(text: &str) -> Vec<String> {
    let (mut found, mut derived, mut renamed) = (vec![], false, None);
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric()).collect::<String>();
    for line in text.lines().map(str::trim) {
        if let Some(list) = line.strip_prefix("page!(") {
            found.push(word(list));
        } else if line.starts_with("#[derive(") {
            (derived, renamed) = (line.contains("ToSchema"), None);
        } else if let Some((_, name)) = line.split_once("schema(as = ") {
            renamed = Some(word(name));
        } else if let Some((_, name)) = line.split_once("struct ").or(line.split_once("enum "))
            && !line.starts_with("//")
            && std::mem::take(&mut derived)
        {
            found.push(renamed.take().unwrap_or_else(|| word(name)));
        }
    }
    // The name of a macro's own type is that of whoever calls it.
    found.retain(|name| !name.is_empty());
    found
}

#[test]
fn every_schema_of_the_document_has_a_name_of_its_own() {
    let twice =
        "#[derive(ToSchema)]\nstruct A {}\n#[derive(ToSchema)]\n#[schema(as = A)]\npub struct B {}\npage!(L { .. });";
    assert_eq!(schemas(twice), ["A", "A", "L"]);
    let mut of = BTreeMap::new();
    for file in files("host", ".rs") {
        for name in schemas(&read(&file)) {
            if let Some(other) = of.insert(name.clone(), file.clone()) {
                panic!("the schema {name} is in {} and in {}", other.display(), file.display());
            }
        }
    }
    assert!(of.len() > 40, "{of:?}");
}
