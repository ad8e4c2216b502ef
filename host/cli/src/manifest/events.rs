//! `[events."card.purchase"]`: what the data of an event are, as a JSON Schema in a file beside the manifest or in it.

use std::collections::BTreeMap;
use std::path::Path;

use larder_model::Grants;
use larder_model::event_schemas::{EventSchema, EventSchemas, check_type};
use larder_model::grants::covers_type;
use larder_model::json_schema::{JsonSchema, Wrong};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::event_types::shape::{Object, Shape, type_name};
use crate::manifest::reader::{Reader, Section};

/// A type of events that has a schema.
#[derive(Debug)]
pub struct EventType {
    pub schema: EventSchema,
    /// What its data are in code.
    pub shape: Object,
}

/// A schema as it was written.
struct Source {
    value: Value,
    /// Its file and that file's text.
    file: Option<(String, String)>,
}

pub fn read<'a>(
    reader: &mut Reader<'a>,
    root: &mut Section<'a>,
    folder: &Path,
    taken: &[String],
    grants: &Grants,
) -> BTreeMap<String, EventType> {
    let Some(mut all) = root.section(reader, "events") else { return BTreeMap::new() };
    let mut found: BTreeMap<String, EventType> = BTreeMap::new();
    for kind in all.keys() {
        let Some(mut of) = all.section(reader, &kind) else { continue };
        let path = format!("events.{kind}");
        let is_taken = taken.iter().any(|pattern| covers_type(pattern, &kind));
        let is_emitted = grants.events.iter().any(|pattern| covers_type(pattern, &kind));
        if let Err(why) = check_type(&kind) {
            reader.complain_at(&path, why);
        } else if !is_taken && !is_emitted {
            reader.complain_at(&path, "is neither taken (function.events) nor emitted (grants.events) by the function");
        }
        let validate = of.flag(reader, "validate").unwrap_or(false);
        if validate && !is_taken {
            let what = format!("is for events that come to the function: add {kind:?} to function.events");
            reader.complain_at(&format!("{path}.validate"), what);
        }
        let source = source(reader, &mut of, folder);
        of.finish(reader);
        let Some(source) = source else { continue };
        let made = JsonSchema::compile(&source.value).and_then(|schema| {
            let shape = Shape::of_event(&type_name(&kind), &schema)?;
            Ok(EventType { schema: EventSchema { schema, validate }, shape })
        });
        match made {
            Ok(made) => match found.iter().find(|(_, other)| other.shape.name == made.shape.name) {
                Some((other, _)) => {
                    let what = format!("and {other} would have the same name in code, {}", made.shape.name);
                    reader.complain_at(&path, what);
                }
                None => drop(found.insert(kind, made)),
            },
            Err(wrong) => reader.complain_at(&format!("{path}.schema"), told(&source, &wrong)),
        }
    }
    let schemas = found.iter().map(|(kind, of)| (kind.clone(), of.schema.clone()));
    if let Err(why) = EventSchemas::new(schemas.collect()) {
        reader.complain_at("events", why);
    }
    found
}

fn source<'a>(reader: &mut Reader<'a>, of: &mut Section<'a>, folder: &Path) -> Option<Source> {
    let path = of.path_of("schema");
    if !of.has("schema") {
        reader.complain(of.line, format!("{path} is missing: the path of a JSON Schema, from the folder of this file"));
        of.text(reader, "schema");
        return None;
    }
    if of.is_table("schema") {
        return of.json(reader, "schema").map(|value| Source { value, file: None });
    }
    let name = of.text_or(reader, "schema", "the path of a file or a table")?;
    let text = match std::fs::read_to_string(folder.join(&name)) {
        Ok(text) => text,
        Err(err) => {
            reader.complain_at(&path, format!("cannot be read: {name}: {err}"));
            return None;
        }
    };
    match serde_json::from_str(&text) {
        Ok(value) => Some(Source { value, file: Some((name, text)) }),
        Err(err) => {
            reader.complain_at(&path, format!("{name}:{}: {err}", err.line()));
            None
        }
    }
}

/// What is wrong with a schema and where: by the line of its file, or the place in the manifest's table.
fn told(source: &Source, wrong: &Wrong) -> String {
    match &source.file {
        Some((name, text)) => format!("{name}:{}: {}", line(text, &wrong.pointer), wrong.why),
        None => format!("at {}: {}", wrong.pointer, wrong.why),
    }
}

/// The line of the value at a JSON pointer.
fn line(text: &str, pointer: &str) -> usize {
    let mut at: &RawValue = match serde_json::from_str(text) {
        Ok(whole) => whole,
        Err(_) => return 1,
    };
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        let inner = serde_json::from_str::<BTreeMap<String, &RawValue>>(at.get()).ok();
        let Some(inner) = inner.and_then(|mut members| members.remove(&step)) else { break };
        at = inner;
    }
    let offset = at.get().as_ptr() as usize - text.as_ptr() as usize;
    1 + text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count()
}
