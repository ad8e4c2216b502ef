//! The layers of the settings: the table of the defaults, and over it a file, the environment and the command line.
//!
//! The defaults say what type a setting has, and a text of the environment is read as that type: `2026` is a text for
//! `redis.prefix` and a number for `records.buffer`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::settings::{Complaints, DEFAULTS};

const PREFIX: &str = "LARDER_";

/// Names of the environment that are no settings although they look like them, for the commands and the tests.
const NOT_SETTINGS: [&str; 6] =
    ["LARDER_CRASH", "LARDER_DEV_ENV", "LARDER_ENDPOINT", "LARDER_KEY", "LARDER_OPERATOR_KEY", "LARDER_PARTNER"];

/// Where a setting's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File,
    /// The variable.
    Environment(String),
    CommandLine,
}

/// A setting as it was read, without passwords that its value has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    pub key: String,
    pub value: String,
    pub origin: Origin,
}

pub struct Layers {
    defaults: Table,
    table: Table,
    /// What the file says.
    of_file: Table,
    /// The settings that the command line sets.
    given: BTreeSet<String>,
    /// The settings that the environment sets, and by which variable.
    variables: BTreeMap<String, String>,
    pub complaints: Complaints,
}

impl Layers {
    pub fn new() -> Layers {
        let defaults: Table = DEFAULTS.parse().expect("the defaults are TOML");
        Layers {
            table: defaults.clone(),
            defaults,
            of_file: Table::new(),
            given: BTreeSet::new(),
            variables: BTreeMap::new(),
            complaints: Complaints::default(),
        }
    }

    pub fn file(&mut self, file: &Path) {
        let name = file.display();
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(err) => return self.complaints.add(format!("--config: {name}: {err}")),
        };
        match text.parse::<Table>() {
            Ok(table) => {
                self.of_file = table.clone();
                lay(&mut self.table, table);
            }
            Err(err) => self.complaints.add(format!("--config: {name}: {err}")),
        }
    }

    /// Every variable whose name is a setting's.
    pub fn environment(&mut self) {
        for (variable, value) in variables() {
            let Name::Setting(key) = name(&variable, &self.defaults) else { continue };
            match value.into_string() {
                Ok(value) => self.text(&key, &value, Some(&variable)),
                Err(_) => self.complaints.add(format!("{variable} is no text in UTF-8")),
            }
        }
    }

    /// A setting as text. `variable` is the one of the environment that it comes from.
    pub fn text(&mut self, key: &str, text: &str, variable: Option<&str>) {
        let by = variable.map_or(key.to_owned(), |variable| format!("{variable} ({key})"));
        let (section, field) = key.split_once('.').map_or((None, key), |(section, field)| (Some(section), field));
        let of = |table: &Table| match section {
            Some(section) => table.get(section).and_then(Value::as_table).cloned(),
            None => Some(table.clone()),
        };
        let Some(known) = of(&self.defaults) else {
            let sections: Vec<&str> =
                self.defaults.iter().filter(|(_, value)| value.is_table()).map(|(name, _)| name.as_str()).collect();
            return self.complaints.add(format!("{by}: there is no such section; there are {}", sections.join(" ")));
        };
        let Some(default) = known.get(field).filter(|value| !value.is_table()) else {
            let names: Vec<&str> = known.keys().map(String::as_str).collect();
            return self.complaints.add(format!("{by}: there is no such setting; there are {}", names.join(" ")));
        };
        let value = match read(text, default) {
            Ok(value) => value,
            Err(why) => return self.complaints.add(format!("{by} {why}")),
        };
        let table = match section {
            Some(section) => self.table.entry(section).or_insert_with(|| Value::Table(Table::new())).as_table_mut(),
            None => Some(&mut self.table),
        };
        if let Some(table) = table {
            table.insert(field.to_owned(), value);
        }
        match variable {
            Some(variable) => drop(self.variables.insert(key.to_owned(), variable.to_owned())),
            None => drop(self.given.insert(key.to_owned())),
        }
    }

    /// Every setting with what has set it, in the order of their names.
    pub fn in_force(&self) -> Vec<InForce> {
        let mut all = Vec::new();
        for (name, value) in &self.table {
            match value.as_table() {
                Some(section) => all.extend(section.iter().map(|(field, value)| (format!("{name}.{field}"), value))),
                None => all.push((name.clone(), value)),
            }
        }
        let is_in_file = |key: &str| match key.split_once('.') {
            Some((section, field)) => self.of_file.get(section).is_some_and(|section| section.get(field).is_some()),
            None => self.of_file.contains_key(key),
        };
        all.into_iter()
            .map(|(key, value)| {
                // As `load` lays them: the command line is the uppermost.
                let origin = match self.variables.get(&key) {
                    _ if self.given.contains(&key) => Origin::CommandLine,
                    Some(variable) => Origin::Environment(variable.clone()),
                    None if is_in_file(&key) => Origin::File,
                    None => Origin::Default,
                };
                let value = match key.ends_with(".password") && value.as_str() != Some("") {
                    true => "\"***\"".to_owned(),
                    false => without_password(&value.to_string()),
                };
                InForce { value, key, origin }
            })
            .collect()
    }

    /// All layers as settings.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_path_to_error::deserialize(Value::Table(self.table.clone())).map_err(|err| {
            let key = err.path().to_string();
            let default =
                key.split('.').try_fold(&Value::Table(self.defaults.clone()), |at, part| at.get(part)).cloned();
            let example = match (key.rsplit('.').next(), default) {
                (Some(field), Some(default)) if !default.is_table() => format!("; the default is {field} = {default}"),
                _ => String::new(),
            };
            format!("{}: {}{example}", self.named(&key), err.inner().to_string().trim_end())
        })
    }

    /// A setting's name for whoever has to change it.
    pub fn named(&self, key: &str) -> String {
        self.variables.get(key).map_or(key.to_owned(), |variable| format!("{key} (by {variable})"))
    }
}

/// Variables that begin like ours and are no settings: the environment is shared with others.
pub fn left_alone() -> Vec<String> {
    let defaults: Table = DEFAULTS.parse().expect("the defaults are TOML");
    variables()
        .map(|(variable, _)| variable)
        .filter(|variable| matches!(name(variable, &defaults), Name::Foreign))
        .collect()
}

/// Those of ours by their names; what others have put into the environment need not be text.
fn variables() -> impl Iterator<Item = (String, std::ffi::OsString)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
}

enum Name {
    Setting(String),
    /// Documented, but not as a setting.
    Documented,
    /// Somebody else's.
    Foreign,
    /// Of no concern.
    Other,
}

/// `LARDER_SECTION__FIELD` is a setting, and so is `LARDER_DATA`. Kubernetes sets variables for each service that it has: of
/// one called `larder` they are `LARDER_PORT`, `LARDER_SERVICE_HOST` and the like.
fn name(variable: &str, defaults: &Table) -> Name {
    let Some(rest) = variable.strip_prefix(PREFIX) else { return Name::Other };
    if NOT_SETTINGS.contains(&variable) || rest.starts_with("TEST_") {
        return Name::Documented;
    }
    let key = rest.to_ascii_lowercase().replacen("__", ".", 1);
    let known = match key.split_once('.') {
        Some((section, field)) => defaults.get(section).and_then(|section| section.get(field)).is_some(),
        None => {
            let known = defaults.get(&key).is_some_and(|value| !value.is_table());
            return if known { Name::Setting(key) } else { Name::Foreign };
        }
    };
    // Two hyphens in a service's name are two underscores here.
    if known || !(key.starts_with('.') || of_a_service(rest)) { Name::Setting(key) } else { Name::Foreign }
}

fn of_a_service(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.split("_PORT_").skip(1).any(|port| port.starts_with(|c: char| c.is_ascii_digit()))
}

/// A text as the type that the default has.
fn read(text: &str, default: &Value) -> Result<Value, String> {
    let trimmed = text.trim();
    Ok(match default {
        Value::Integer(example) => Value::Integer(
            trimmed
                .replace('_', "")
                .parse()
                .map_err(|_| format!("must be a whole number, written {example}, not {text:?}"))?,
        ),
        Value::Float(example) => {
            Value::Float(trimmed.parse().map_err(|_| format!("must be a number, written {example}, not {text:?}"))?)
        }
        Value::Boolean(_) => {
            Value::Boolean(trimmed.parse().map_err(|_| format!("must be true or false, not {text:?}"))?)
        }
        Value::Array(_) => Value::Array(texts(trimmed)?),
        _ => Value::String(text.to_owned()),
    })
}

/// `a, b` or, as in a file, `["a", "b"]`.
fn texts(text: &str) -> Result<Vec<Value>, String> {
    if text.starts_with('[') {
        let table = format!("list = {text}").parse::<Table>().ok();
        return match table.and_then(|mut table| table.remove("list")) {
            Some(Value::Array(list)) => Ok(list),
            _ => Err(format!("must be a list, written a,b or [\"a\", \"b\"], not {text:?}")),
        };
    }
    let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
    Ok(members.map(|member| Value::String(member.to_owned())).collect())
}

/// The same with a mark in place of what an address has between its scheme and its host.
fn without_password(text: &str) -> String {
    match text.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
        Some((scheme, host)) => format!("{scheme}://***@{host}"),
        None => text.to_owned(),
    }
}

/// What the upper table says goes; sections are laid over each other.
fn lay(under: &mut Table, over: Table) {
    for (name, value) in over {
        match (under.get_mut(&name), value) {
            (Some(Value::Table(under)), Value::Table(over)) => lay(under, over),
            (_, value) => drop(under.insert(name, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_says_what_has_set_it_and_no_password() {
        let folder = std::env::temp_dir().join(format!("larder-layers-{}", std::process::id()));
        std::fs::write(&folder, "[redis]\nurl = \"redis://u:p@ss@cache/0\"\n").unwrap();
        let mut layers = Layers::new();
        layers.file(&folder);
        layers.text("database.url", "mysql://larder:s3cret@db:3306/larder", Some("LARDER_DATABASE__URL"));
        layers.text("data", "/var/lib/larder", None);
        std::fs::remove_file(&folder).unwrap();
        let all = layers.in_force();
        let of = |key: &str| {
            let found = all.iter().find(|one| one.key == key).unwrap();
            (found.value.as_str(), found.origin.clone())
        };
        let variable = Origin::Environment("LARDER_DATABASE__URL".into());
        assert_eq!(of("database.url"), ("\"mysql://***@db:3306/larder\"", variable));
        assert_eq!(of("redis.url"), ("\"redis://***@cache/0\"", Origin::File));
        assert_eq!(of("data"), ("\"/var/lib/larder\"", Origin::CommandLine));
        assert_eq!(of("redis.prefix").1, Origin::Default);
    }
}
