//! `larder.toml`: what a project says about its function.
//!
//! * [`Manifest::read`] checks all of it and reports every complaint at once, each with its line.
//! * [`Manifest::settings`] is the wire's form of it.
//! * [`Manifest::explain`] gives an API refusal the line of the key that it is about.
//!
//! A key that this file does not know is refused: a misspelt limit must not become no limit.

mod events;
mod grants;
mod reader;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use larder_model::cron::Cron;
use larder_model::grants::covers_type;
use larder_model::settings_schema::SettingsSchema;
use larder_model::zones::Zones;
use larder_model::{Enrolling, EventSchemas, Grants};
use larder_wire::problem::Kind;
use serde_json::{Map, Value, json};

pub use self::events::EventType;
use self::reader::{Reader, Section};
use crate::failure::{Failure, Refusal, Result};

pub const FILE_NAME: &str = "larder.toml";
pub const RUNTIME: &str = "wasi-0.2";

#[derive(Debug)]
pub struct Manifest {
    /// As complaints name it.
    file: PathBuf,
    /// Where each key stands: `function.per` → 7.
    lines: BTreeMap<String, usize>,
    pub function: Function,
    pub limits: Limits,
    pub variables: BTreeMap<String, Variable>,
    /// What it asks for.
    pub grants: Grants,
    /// The types of events that have a schema.
    pub events: BTreeMap<String, EventType>,
    pub build: Build,
}

#[derive(Debug)]
pub struct Function {
    pub id: String,
    name: String,
    per: String,
    topics: String,
    events: Vec<String>,
    pub schedule: String,
    timezone: String,
    pub routes: Vec<String>,
    timeout: u64,
    /// `None`: as it is.
    pub enabled: Option<bool>,
    logging: bool,
    /// `None`: as it is.
    execute: Option<Vec<String>>,
    enrol: String,
    enrol_topics: Vec<String>,
    settings_schema: SettingsSchema,
}

impl Function {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Patterns of the types that come to it.
    pub fn events(&self) -> &[String] {
        &self.events
    }
}

/// What is `None` is left to Larder.
#[derive(Debug, Default)]
pub struct Limits {
    memory_bytes: Option<u64>,
    cpu_ms: Option<u64>,
    log_bytes: Option<u64>,
    response_bytes: Option<u64>,
    effects: Option<u64>,
    stream_s: Option<u64>,
    attempts: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Variable {
    pub value: String,
    pub secret: bool,
}

#[derive(Debug, Default)]
pub struct Build {
    /// What the project is written in; `command` says how it is built otherwise.
    pub language: Language,
    pub engine: Engine,
    pub command: Option<String>,
    pub component: Option<PathBuf>,
}

/// A language that `larder build` knows how to build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    #[default]
    Rust,
    Ts,
    Js,
    C,
    Zig,
    Python,
    Go,
    AssemblyScript,
}

/// What runs a function in TypeScript or JavaScript.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    #[default]
    QuickJs,
    /// StarlingMonkey: web APIs, promises, and the standard guests of wasi:http.
    Starling,
}

/// Parameters of the wire and the keys that they come from.
const WIRE_KEYS: [(&str, &str); 23] = [
    ("functionId", "function.id"),
    ("name", "function.name"),
    ("per", "function.per"),
    ("topics", "function.topics"),
    ("events", "function.events"),
    ("schedule", "function.schedule"),
    ("timezone", "function.timezone"),
    ("routes", "function.routes"),
    ("timeout", "function.timeout"),
    ("enabled", "function.enabled"),
    ("logging", "function.logging"),
    ("execute", "function.execute"),
    ("enrol", "function.enrol"),
    ("enrolTopics", "function.enrol_topics"),
    ("settingsSchema", "settings_schema"),
    ("eventSchemas", "events"),
    ("memoryBytes", "limits.memory_bytes"),
    ("cpuMs", "limits.cpu_ms"),
    ("logBytes", "limits.log_bytes"),
    ("responseBytes", "limits.response_bytes"),
    ("effects", "limits.effects"),
    ("streamS", "limits.stream_s"),
    ("attempts", "limits.attempts"),
];

impl Manifest {
    pub fn read(file: &Path) -> Result<Manifest> {
        let text = std::fs::read_to_string(file).map_err(|err| {
            Failure::usage(format!("cannot read {}: {err}; `larder new` makes a project that has one", file.display()))
        })?;
        // Until November 2026 the server's file had the same name.
        let is_section = |line: &str| ["[server]", "[database]", "[secrets]", "[worker]"].contains(&line.trim());
        if !text.contains("[function]") && text.lines().any(is_section) {
            return Err(Failure::usage(format!(
                "{} has the settings of the server, not of a function: call it larder-server.toml \
                 (larder serve --config larder-server.toml), and `larder new` makes a project with a larder.toml",
                file.display()
            )));
        }
        Manifest::parse(&text, file).map_err(Failure::Usage)
    }

    pub fn parse(text: &str, file: &Path) -> std::result::Result<Manifest, String> {
        let mut reader = Reader::new(text);
        let manifest = reader.root().and_then(|mut root| {
            let function = function(&mut reader, &mut root);
            let limits = limits(&mut reader, &mut root);
            let variables = variables(&mut reader, &mut root);
            let grants = grants::read(&mut reader, &mut root);
            let taken = function.as_ref().map_or(&[][..], |function| &function.events);
            let folder = file.parent().unwrap_or(Path::new(""));
            let events = events::read(&mut reader, &mut root, folder, taken, &grants);
            let build = build(&mut reader, &mut root);
            root.finish(&mut reader);
            Some((function?, limits, variables, grants, events, build))
        });
        let (lines, complaints) = reader.into_parts();
        match manifest {
            Some((function, limits, variables, grants, events, build)) if complaints.is_empty() => {
                Ok(Manifest { file: file.to_owned(), lines, function, limits, variables, grants, events, build })
            }
            _ => {
                let complaints: Vec<String> =
                    complaints.into_iter().map(|(line, text)| format!("{}:{line}: {text}", file.display())).collect();
                Err(complaints.join("\n"))
            }
        }
    }

    /// The limits of a run, within those that Larder has by itself.
    pub fn run_limits(&self) -> larder_model::Limits {
        let (own, usual, most) = (&self.limits, larder_model::Limits::DEFAULT, larder_model::Limits::CEILING);
        let of = |own: Option<u64>, usual: u64, most: u64| own.filter(|own| *own > 0).unwrap_or(usual).min(most);
        let ms = |duration: Duration| duration.as_millis() as u64;
        larder_model::Limits {
            memory_bytes: of(own.memory_bytes, usual.memory_bytes, most.memory_bytes),
            cpu: Duration::from_millis(of(own.cpu_ms, ms(usual.cpu), ms(most.cpu))),
            wall: Duration::from_secs(of(Some(self.function.timeout), usual.wall.as_secs(), most.wall.as_secs())),
            stream: usual.stream,
            log_bytes: of(own.log_bytes, usual.log_bytes, most.log_bytes),
            response_bytes: of(own.response_bytes, usual.response_bytes, most.response_bytes),
            effects: of(own.effects, usual.effects.into(), most.effects.into()) as u32,
        }
    }

    /// Do events of this type come to the function?
    pub fn takes(&self, kind: &str) -> bool {
        self.function.events.iter().any(|pattern| covers_type(pattern, kind))
    }

    pub fn is_per_enrolment(&self) -> bool {
        self.function.per == "enrolment"
    }

    /// What a deployment asks of its function's settings: all that the manifest has a key for.
    pub fn settings(&self) -> Value {
        let Function { name, per, topics, events, schedule, timezone, routes, timeout, logging, .. } = &self.function;
        let Function { enabled, execute, enrol, enrol_topics, settings_schema, .. } = &self.function;
        let mut limits = Map::new();
        for (key, value) in [
            ("memoryBytes", self.limits.memory_bytes),
            ("cpuMs", self.limits.cpu_ms),
            ("logBytes", self.limits.log_bytes),
            ("responseBytes", self.limits.response_bytes),
            ("effects", self.limits.effects),
            ("streamS", self.limits.stream_s),
            ("attempts", self.limits.attempts),
        ] {
            limits.extend(value.map(|value| (key.to_owned(), json!(value))));
        }
        let mut settings = json!({
            "name": name, "per": per, "topics": topics, "events": events, "schedule": schedule, "timezone": timezone,
            "routes": routes, "timeout": timeout, "logging": logging, "limits": limits, "enrol": enrol,
            "enrolTopics": enrol_topics, "settingsSchema": settings_schema, "eventSchemas": self.event_schemas(),
        });
        // Whoever switched the function off must not find it on after a deploy that does not speak of it.
        if let Some(enabled) = enabled {
            settings["enabled"] = (*enabled).into();
        }
        if let Some(execute) = execute {
            settings["execute"] = json!(execute);
        }
        settings
    }

    /// As Larder takes them.
    pub fn event_schemas(&self) -> EventSchemas {
        let all = self.events.iter().map(|(kind, of)| (kind.clone(), of.schema.clone()));
        EventSchemas::new(all.collect()).expect("the manifest was checked")
    }

    /// What to change: the complaint beside the line of `key`, or of the file if the key is not written there.
    pub fn complaint(&self, key: &str, text: impl Display) -> String {
        match self.lines.get(key) {
            Some(line) => format!("{}:{line}: {key}: {text}", self.file.display()),
            None => format!("{}: {key}: {text}", self.file.display()),
        }
    }

    /// A refused argument becomes a complaint about the key that it came from; anything else stays what it is.
    pub fn explain(&self, failure: Failure) -> Failure {
        match &failure {
            Failure::Refused(Refusal { status: 400, message, .. }) => match key_of(message) {
                Some(key) => Failure::Usage(self.complaint(key, message)),
                None => failure,
            },
            Failure::Refused(Refusal { message, .. }) if failure.is(Kind::RouteExists) => {
                Failure::Failed(self.complaint("function.routes", message))
            }
            _ => failure,
        }
    }

    /// The same for a request about one variable.
    pub fn explain_variable(&self, key: &str, failure: Failure) -> Failure {
        match &failure {
            Failure::Refused(Refusal { status: 400, message, .. }) => {
                Failure::Usage(self.complaint(&format!("variables.{key}"), message))
            }
            _ => failure,
        }
    }
}

/// The manifest's key for the parameter that the message names: the first quoted one, else the first of all.
fn key_of(message: &str) -> Option<&'static str> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let find = |text: &str| WIRE_KEYS.iter().find(|(name, _)| *name == text).map(|(_, key)| *key);
    let quoted = message.split(['`', '"', '\'']).skip(1).step_by(2).flat_map(|text| text.split(word)).find_map(find);
    quoted.or_else(|| message.split(word).find_map(find))
}

fn function<'a>(reader: &mut Reader<'a>, root: &mut Section<'a>) -> Option<Function> {
    let Some(mut of) = root.section(reader, "function") else {
        reader.complain(1, "[function] is missing");
        return None;
    };
    let id = of.text(reader, "id");
    match &id {
        None if !reader.lines.contains_key("function.id") => reader.complain(of.line, "function.id is missing"),
        Some(id) if !is_id(id) => {
            let rule = "1 to 36 letters, digits, `.`, `_` or `-`, and begin with a letter or digit";
            reader.complain_at("function.id", format!("must have {rule}, not {id:?}"));
        }
        _ => {}
    }
    let schedule = of.text(reader, "schedule").unwrap_or_default();
    if !schedule.is_empty()
        && let Err(err) = Cron::parse(&schedule)
    {
        reader.complain_at("function.schedule", format!("is no schedule: {err}"));
    }
    let timezone = of.text(reader, "timezone").unwrap_or_else(|| "UTC".into());
    if Zones::new(Path::new("")).zone(&timezone).is_none() {
        let text = format!("must be an IANA time zone such as \"Europe/Stockholm\", not {timezone:?}");
        reader.complain_at("function.timezone", text);
    }
    let routes = of.texts(reader, "routes");
    if let Some(route) = routes.iter().find(|route| !route.starts_with('/')) {
        reader.complain_at("function.routes", format!("must begin with \"/\", not {route:?}"));
    }
    let schema = root.json(reader, "settings_schema").unwrap_or_else(|| json!({}));
    let settings_schema = SettingsSchema::try_from(schema).unwrap_or_else(|why| {
        reader.complain_at("settings_schema", why);
        SettingsSchema::default()
    });
    let enrol_topics = of.texts(reader, "enrol_topics");
    let wrong = enrol_topics.iter().find_map(|topic| Some((topic, Enrolling::check_topic(topic).err()?)));
    if let Some((topic, why)) = wrong {
        reader.complain_at("function.enrol_topics", format!("{why}, not {topic:?}"));
    }
    let function = Function {
        name: of.text(reader, "name").or_else(|| id.clone()).unwrap_or_default(),
        per: of.choice(reader, "per", ["event", "enrolment"]),
        topics: of.choice(reader, "topics", ["subject", "all"]),
        events: of.texts(reader, "events"),
        schedule,
        timezone,
        routes,
        timeout: of.number(reader, "timeout", 1, 900).unwrap_or(15),
        enabled: of.flag(reader, "enabled"),
        logging: of.flag(reader, "logging").unwrap_or(true),
        execute: of.has("execute").then(|| of.texts(reader, "execute")),
        enrol: of.choice(reader, "enrol", ["partner", "self"]),
        enrol_topics,
        settings_schema,
        id: id.unwrap_or_default(),
    };
    if function.name.is_empty() || function.name.chars().count() > 128 {
        reader.complain_at("function.name", "must have 1 to 128 characters");
    }
    of.finish(reader);
    Some(function)
}

fn limits<'a>(reader: &mut Reader<'a>, root: &mut Section<'a>) -> Limits {
    let Some(mut of) = root.section(reader, "limits") else { return Limits::default() };
    let mut limit = |key| of.number(reader, key, 0, i64::MAX as u64);
    let limits = Limits {
        memory_bytes: limit("memory_bytes"),
        cpu_ms: limit("cpu_ms"),
        log_bytes: limit("log_bytes"),
        response_bytes: limit("response_bytes"),
        effects: limit("effects"),
        stream_s: limit("stream_s"),
        attempts: limit("attempts"),
    };
    of.finish(reader);
    limits
}

/// `KEY = "value"` or `KEY = { value = "..", secret = true }`.
fn variables<'a>(reader: &mut Reader<'a>, root: &mut Section<'a>) -> BTreeMap<String, Variable> {
    let Some(mut of) = root.section(reader, "variables") else { return BTreeMap::new() };
    let mut variables = BTreeMap::new();
    for key in of.keys() {
        let variable = if of.is_table(&key) {
            of.section(reader, &key).map(|mut table| {
                let value = table.text(reader, "value");
                if value.is_none() && !reader.lines.contains_key(&format!("variables.{key}.value")) {
                    reader.complain(table.line, format!("variables.{key}.value is missing"));
                }
                let secret = table.flag(reader, "secret").unwrap_or(false);
                table.finish(reader);
                Variable { value: value.unwrap_or_default(), secret }
            })
        } else {
            of.text(reader, &key).map(|value| Variable { value, secret: false })
        };
        variables.extend(variable.map(|variable| (key, variable)));
    }
    variables
}

fn build<'a>(reader: &mut Reader<'a>, root: &mut Section<'a>) -> Build {
    let Some(mut of) = root.section(reader, "build") else { return Build::default() };
    let languages = ["rust", "ts", "js", "python", "c", "zig", "go", "assemblyscript"];
    let language = match of.choice(reader, "language", languages).as_str() {
        "ts" => Language::Ts,
        "js" => Language::Js,
        "python" => Language::Python,
        "c" => Language::C,
        "zig" => Language::Zig,
        "go" => Language::Go,
        "assemblyscript" => Language::AssemblyScript,
        _ => Language::Rust,
    };
    let engine = match of.choice(reader, "engine", ["quickjs", "starling"]).as_str() {
        "starling" => Engine::Starling,
        _ => Engine::QuickJs,
    };
    if reader.lines.contains_key("build.engine") && !matches!(language, Language::Ts | Language::Js) {
        reader.complain_at("build.engine", "is for TypeScript and JavaScript: set language = \"ts\" or \"js\"");
    }
    let (command, component) = (of.text(reader, "command"), of.text(reader, "component").map(PathBuf::from));
    let build = Build { language, engine, command, component };
    of.finish(reader);
    build
}

fn is_id(text: &str) -> bool {
    let rest = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    text.len() <= 36 && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) && text.bytes().all(rest)
}

#[cfg(test)]
mod tests;
