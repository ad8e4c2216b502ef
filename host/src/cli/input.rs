//! Data that a command is given: on the line, in a file, or on stdin.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::failure::{Failure, Result};

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
    serde_json::from_str(text).map_err(|err| Failure::usage(format!("{}:{}: {err}", name(from), err.line())))
}

fn name(path: &str) -> &str {
    if path == "-" { "stdin" } else { path.trim_start_matches('@') }
}
