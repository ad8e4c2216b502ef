//! TOML with a memory for lines: values are taken out of sections by name, what does not fit is noted and reading goes
//! on, and what nobody took is unknown.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;

use serde_json::{Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub struct Reader<'a> {
    text: &'a str,
    /// Where each key that was read stands, by its dotted path.
    pub lines: BTreeMap<String, usize>,
    complaints: Vec<(usize, String)>,
}

/// What is left of a table.
pub struct Section<'a> {
    path: String,
    pub line: usize,
    known: Vec<String>,
    rest: BTreeMap<String, (usize, Spanned<DeValue<'a>>)>,
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a str) -> Reader<'a> {
        Reader { text, lines: BTreeMap::new(), complaints: Vec::new() }
    }

    /// `None` if the text is not TOML at all.
    pub fn root(&mut self) -> Option<Section<'a>> {
        match DeTable::parse(self.text) {
            Ok(table) => Some(self.open(String::new(), 1, table.into_inner())),
            Err(err) => {
                let line = err.span().map_or(1, |span| self.line(span));
                self.complain(line, err.message());
                None
            }
        }
    }

    pub fn complain(&mut self, line: usize, text: impl Display) {
        self.complaints.push((line, text.to_string()));
    }

    /// About a key that was read.
    pub fn complain_at(&mut self, path: &str, text: impl Display) {
        let line = self.line_of(path).unwrap_or(1);
        self.complain(line, format!("{path} {text}"));
    }

    /// Of a key, or of the nearest one above it that was written.
    fn line_of(&self, path: &str) -> Option<usize> {
        fn above<'p>(path: &&'p str) -> Option<&'p str> {
            path.rfind(['.', '[']).map(|end| &path[..end])
        }
        std::iter::successors(Some(path), above).find_map(|path| self.lines.get(path).copied())
    }

    /// Lines by key, and complaints in the order of the file.
    pub fn into_parts(mut self) -> (BTreeMap<String, usize>, Vec<(usize, String)>) {
        self.complaints.sort_by_key(|(line, _)| *line);
        (self.lines, self.complaints)
    }

    fn line(&self, span: Range<usize>) -> usize {
        1 + self.text.as_bytes()[..span.start.min(self.text.len())].iter().filter(|b| **b == b'\n').count()
    }

    fn open(&mut self, path: String, line: usize, table: DeTable<'a>) -> Section<'a> {
        let rest = table.into_iter().map(|(key, value)| {
            let line = self.line(key.span());
            (key.into_inner().into_owned(), (line, value))
        });
        Section { path, line, known: Vec::new(), rest: rest.collect() }
    }
}

impl<'a> Section<'a> {
    pub fn keys(&self) -> Vec<String> {
        self.rest.keys().cloned().collect()
    }

    pub fn is_table(&self, key: &str) -> bool {
        self.rest.get(key).is_some_and(|(_, value)| value.get_ref().is_table())
    }

    pub fn section(&mut self, reader: &mut Reader<'a>, key: &str) -> Option<Section<'a>> {
        let path = self.path_of(key);
        let (line, value) = self.take(reader, key)?;
        match value {
            DeValue::Table(table) => Some(reader.open(path, line, table)),
            other => wrong(reader, line, &path, "a table", &other),
        }
    }

    /// A list of tables (`[[key]]`), each by the path `key[0]`.
    pub fn sections(&mut self, reader: &mut Reader<'a>, key: &str) -> Vec<Section<'a>> {
        let path = self.path_of(key);
        let Some((line, value)) = self.take(reader, key) else { return Vec::new() };
        let DeValue::Array(items) = value else {
            return wrong(reader, line, &path, "a list of tables", &value).unwrap_or_default();
        };
        let mut sections = Vec::new();
        for (at, item) in items.into_iter().enumerate() {
            let line = reader.line(item.span());
            match item.into_inner() {
                DeValue::Table(table) => {
                    let path = format!("{path}[{at}]");
                    reader.lines.insert(path.clone(), line);
                    sections.push(reader.open(path, line, table));
                }
                other => sections.extend(wrong::<Section>(reader, line, &path, "a list of tables", &other)),
            }
        }
        sections
    }

    pub fn has(&self, key: &str) -> bool {
        self.rest.contains_key(key)
    }

    pub fn text(&mut self, reader: &mut Reader<'a>, key: &str) -> Option<String> {
        match self.take(reader, key)? {
            (_, DeValue::String(text)) => Some(text.into_owned()),
            (line, other) => wrong(reader, line, &self.path_of(key), "a text in quotes", &other),
        }
    }

    pub fn flag(&mut self, reader: &mut Reader<'a>, key: &str) -> Option<bool> {
        match self.take(reader, key)? {
            (_, DeValue::Boolean(flag)) => Some(flag),
            (line, other) => wrong(reader, line, &self.path_of(key), "true or false", &other),
        }
    }

    pub fn number(&mut self, reader: &mut Reader<'a>, key: &str, min: u64, max: u64) -> Option<u64> {
        let (line, value) = self.take(reader, key)?;
        let number = value.as_integer().and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
        match number {
            Some(number) if (min..=max).contains(&number) => Some(number),
            _ if max < i64::MAX as u64 => {
                wrong(reader, line, &self.path_of(key), &format!("a number from {min} to {max}"), &value)
            }
            _ => wrong(reader, line, &self.path_of(key), "a whole number, not below zero", &value),
        }
    }

    pub fn texts(&mut self, reader: &mut Reader<'a>, key: &str) -> Vec<String> {
        let path = self.path_of(key);
        let Some((line, value)) = self.take(reader, key) else { return Vec::new() };
        let DeValue::Array(items) = value else {
            return wrong(reader, line, &path, "a list of texts", &value).unwrap_or_default();
        };
        let mut texts = Vec::new();
        for item in items {
            let line = reader.line(item.span());
            match item.into_inner() {
                DeValue::String(text) => texts.push(text.into_owned()),
                other => texts.extend(wrong::<String>(reader, line, &path, "a list of texts", &other)),
            }
        }
        texts
    }

    /// A text, where something else may be as well: `wanted` names both.
    pub fn text_or(&mut self, reader: &mut Reader<'a>, key: &str, wanted: &str) -> Option<String> {
        let path = self.path_of(key);
        match self.take(reader, key)? {
            (_, DeValue::String(text)) => Some(text.into_owned()),
            (line, other) => wrong(reader, line, &path, wanted, &other),
        }
    }

    /// A table as JSON.
    pub fn json(&mut self, reader: &mut Reader<'a>, key: &str) -> Option<Value> {
        let path = self.path_of(key);
        match self.take(reader, key)? {
            (line, table @ DeValue::Table(_)) => {
                let value = as_json(table);
                if value.is_none() {
                    reader.complain(line, format!("{path} has a date or a number that JSON does not have"));
                }
                value
            }
            (line, other) => wrong(reader, line, &path, "a table", &other),
        }
    }

    /// One of the words, the first unless the key is there.
    pub fn choice<const N: usize>(&mut self, reader: &mut Reader<'a>, key: &str, words: [&str; N]) -> String {
        let default = words[0];
        let Some((line, value)) = self.take(reader, key) else { return default.to_owned() };
        match value.as_str() {
            Some(word) if words.contains(&word) => word.to_owned(),
            _ => {
                let words = words.map(|word| format!("{word:?}")).join(" or ");
                wrong(reader, line, &self.path_of(key), &words, &value).unwrap_or_else(|| default.to_owned())
            }
        }
    }

    /// Refuses what is left, naming the known key that it resembles.
    pub fn finish(self, reader: &mut Reader<'a>) {
        for (key, (line, _)) in &self.rest {
            let near =
                self.known.iter().filter(|known| distance(known, key) <= 2).min_by_key(|known| distance(known, key));
            let hint = match near {
                Some(known) => format!("did you mean {known}?"),
                None => format!("known are {}", self.known.join(", ")),
            };
            reader.complain(*line, format!("unknown key {}; {hint}", self.path_of(key)));
        }
    }

    fn take(&mut self, reader: &mut Reader<'a>, key: &str) -> Option<(usize, DeValue<'a>)> {
        self.known.push(key.to_owned());
        let (line, value) = self.rest.remove(key)?;
        reader.lines.insert(self.path_of(key), line);
        Some((line, value.into_inner()))
    }

    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

fn as_json(value: DeValue) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Boolean(flag) => Value::Bool(flag),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()?.into(),
        DeValue::Float(number) => Value::Number(Number::from_f64(number.as_str().parse().ok()?)?),
        DeValue::Array(items) => items.into_iter().map(|item| as_json(item.into_inner())).collect::<Option<_>>()?,
        DeValue::Table(table) => {
            let members = table
                .into_iter()
                .map(|(key, value)| Some((key.into_inner().into_owned(), as_json(value.into_inner())?)));
            Value::Object(members.collect::<Option<_>>()?)
        }
        DeValue::Datetime(_) => return None,
    })
}

fn wrong<T>(reader: &mut Reader, line: usize, path: &str, wanted: &str, found: &DeValue) -> Option<T> {
    let found = match found {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        other => format!("this {}", other.type_str()),
    };
    reader.complain(line, format!("{path} must be {wanted}, not {found}"));
    None
}

/// How many letters to change, add or drop to come from one word to the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}
