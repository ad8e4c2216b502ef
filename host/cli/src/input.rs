//! Data that a command is given: on the line, in a file, or on stdin.

use std::io::Read;
use std::path::Path;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::failure::{Failure, Result};

/// `-` is stdin, `@path` a file, anything else the data itself.
pub fn data(given: &str) -> Result<String> {
    match given.strip_prefix('@') {
        _ if given == "-" => file(given),
        Some(path) => file(path),
        None => Ok(given.to_owned()),
    }
}

/// A file's text; `-` is stdin.
pub fn file(path: &str) -> Result<String> {
    let mut text = String::new();
    let read = if path == "-" {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(Path::new(path)).map(|read| text = read)
    };
    read.map_err(|err| Failure::usage(format!("cannot read {}: {err}", name(path))))?;
    Ok(text)
}

/// JSON, or where it stops being JSON.
pub fn json(text: &str, from: &str) -> Result<Value> {
    // Some editors begin a file with a mark of its byte order.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str(text).map_err(|err| Failure::usage(format!("{}:{}: {err}", name(from), err.line())))
}

/// The same as it is written, so that numbers keep their digits.
pub fn raw(text: &str, from: &str) -> Result<Box<RawValue>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str(text).map_err(|err| Failure::usage(format!("{}:{}: {err}", name(from), err.line())))
}

/// JSON values as they are written, one behind the other: a file of lines, say.
pub fn raws(text: &str, from: &str) -> Result<Vec<Box<RawValue>>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let all: std::result::Result<Vec<Box<RawValue>>, _> =
        serde_json::Deserializer::from_str(text).into_iter().collect();
    match all {
        Ok(all) if all.is_empty() => Err(Failure::usage(format!("{} is empty; JSON is wanted", name(from)))),
        Ok(all) => Ok(all),
        Err(err) => Err(Failure::usage(format!("{}:{}: {err}", name(from), err.line()))),
    }
}

fn name(path: &str) -> &str {
    if path == "-" { "stdin" } else { path.trim_start_matches('@') }
}
