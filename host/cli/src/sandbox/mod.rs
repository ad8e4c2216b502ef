//! `larder test --sandbox`: the built component in the real sandbox, under the limits and grants of `larder.toml`. Shows what
//! each run would save, emit, store and ask outside, and applies nothing.
//!
//! It is Larder's own runtime in this process, with the compiler in its child. [`world`] answers for everything around it.

mod report;
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use larder_model::time::{Clock, instant};
use larder_model::{EventRules, Function, cloudevents};
use larder_runtime::{
    Answer, Backends, Call, CompileError, Digest, Enrolment, Event, Lane, Limits, Program, Run, Runtime, Settings,
    Source,
};
use serde_json::json;

use self::world::{Answers, World};
use crate::console::Console;
use crate::failure::{Failure, Result};
use crate::manifest::Manifest;
use crate::{Session, component, events, input};

/// CPU time of the compiler. Python takes 15 s where it is slow.
const COMPILE_DEADLINE: std::time::Duration = std::time::Duration::from_secs(300);
const COMPILE_MEMORY_BYTES: u64 = 4 << 30;

#[derive(Debug, clap::Args)]
pub struct SandboxArgs {
    /// Run the built component in the sandbox, with the limits and grants of larder.toml, and apply nothing
    #[arg(long)]
    pub sandbox: bool,
    /// File of CloudEvents to run, one after the other; may be given several times [default: event.json]
    #[arg(long, value_name = "FILE", requires = "sandbox")]
    event: Vec<String>,
    /// Event that Larder has accepted, by its id there, to run as well; may be given several times. Needs a key with events.data
    #[arg(long, value_name = "ID", requires = "sandbox")]
    recorded: Vec<String>,
    /// Where recorded events come from: their ids are their own then
    #[arg(long, value_name = "URI", requires = "recorded")]
    source: Option<String>,
    /// A request to run instead, `GET /path`
    #[arg(long, value_name = "REQUEST", requires = "sandbox", conflicts_with_all = ["event", "recorded"])]
    request: Option<String>,
    /// The request's body: text, @FILE, or - for stdin
    #[arg(long, value_name = "DATA", requires = "request")]
    data: Option<String>,
    /// Who is enrolled
    #[arg(long, value_name = "ID", requires = "sandbox", default_value = "anna")]
    end_user: String,
    /// What the end user chose, as JSON
    #[arg(long, value_name = "JSON", requires = "sandbox", default_value = "{}")]
    settings: String,
    /// What outside services answer [default: answers.json, if it is there]
    #[arg(long, value_name = "FILE", requires = "sandbox")]
    answers: Option<PathBuf>,
}

/// One thing to run.
enum Input {
    Event(Event),
    Request { line: String, call: Call },
}

pub async fn run(args: &SandboxArgs, folder: &Path, manifest: &Manifest, session: &Session) -> Result<()> {
    let console = &session.console;
    let mut inputs = inputs(args, folder, manifest)?;
    for id in &args.recorded {
        let text = events::content(&session.client()?, id, args.source.as_deref()).await?;
        inputs.push(Input::Event(checked(&text, id)?));
    }
    input::json(&args.settings, "--settings")?;
    let world = World::new(&manifest.grants, answers(args, folder)?, vec![args.end_user.clone()])?;
    let world = Arc::new(world);
    let file = component::locate(folder, manifest).await?;
    let scratch = tempfile::tempdir().map_err(|err| Failure::failed(format!("no temporary folder: {err}")))?;
    let program = compiled(&file, scratch.path()).await?;
    let limits = manifest.run_limits();
    let event_rules = Arc::new(EventRules::of(&[deployed(manifest)]));
    let mut reports = Vec::new();
    for (number, input) in inputs.into_iter().enumerate() {
        let (title, call, topic) = match input {
            Input::Request { line, call } => (line, call, None),
            Input::Event(event) => {
                let title = format!("{} {}", event.kind, event.id);
                if !manifest.takes(&event.kind) {
                    console.note(&format!(
                        "{title}: [function].events does not name this type, so it would not come here"
                    ));
                }
                let topic = event.subject.clone();
                fits(manifest, &event, &title, console)?;
                (title, Call::Event { event, headers: HeaderMap::new() }, topic)
            }
        };
        let enrolment = manifest.is_per_enrolment().then(|| Enrolment {
            end_user: args.end_user.clone(),
            topic: topic.unwrap_or_default(),
            settings: args.settings.clone(),
        });
        let enrolled = enrolment.as_ref().map(|enrolment| enrolment.end_user.clone());
        let run = Run {
            execution: format!("test-{}", number + 1),
            limits,
            lane: Arc::new(Lane::default()),
            grants: Arc::new(manifest.grants.clone()),
            backends: Backends {
                variables: Arc::new(variables(manifest)),
                enrolment,
                http: Some(world.clone()),
                signing: Some(world.clone()),
                event_rules: event_rules.clone(),
                ..Backends::new(world.clone(), world.clone())
            },
        };
        let outcome = program.run(call, run).await;
        let refused = world.apply(&outcome.effects, enrolled.as_deref()).err();
        reports.push(report::Report { title, enrolled, limits, asked: world.take_asked(), outcome, refused });
    }
    report::print(&reports, console)?;
    let failed = reports.iter().filter(|report| !report.is_well()).count();
    match failed {
        0 => Ok(()),
        _ => Err(Failure::failed(format!("{failed} of {} runs did not end well", reports.len()))),
    }
}

/// The function as Larder would have it, as far as its events go.
fn deployed(manifest: &Manifest) -> Function {
    let id = |id: &str| id.parse().ok();
    let (partner, function) =
        ("sandbox".parse().expect("an id"), manifest.function.id.parse().expect("the manifest was checked"));
    Function {
        events: manifest.function.events().to_vec(),
        event_schemas: manifest.event_schemas(),
        deployment: id("sandbox"),
        ..Function::new(partner, function, 0)
    }
}

/// Do the event's data keep to its schema? Where they are not checked at the door, that is worth a word.
fn fits(manifest: &Manifest, event: &Event, title: &str, console: &Console) -> Result<()> {
    let Some(of) = manifest.events.get(&event.kind) else { return Ok(()) };
    let fits = of.schema.check(&event.data_content_type, &event.data);
    match fits {
        Ok(()) => Ok(()),
        Err(why) if of.schema.validate => {
            Err(Failure::failed(format!("{title}: {why}, so Larder would refuse it ([events.{:?}])", event.kind)))
        }
        Err(why) => {
            console.note(&format!("{title}: {why}; Larder would let it pass without `validate = true`"));
            Ok(())
        }
    }
}

/// Variables of the manifest; those that are secret only where they are granted.
fn variables(manifest: &Manifest) -> Vec<(std::borrow::Cow<'static, str>, std::borrow::Cow<'static, str>)> {
    let seen = manifest.variables.iter().filter(|(key, of)| !of.secret || manifest.grants.secrets.contains(*key));
    seen.map(|(key, of)| (key.clone().into(), of.value.clone().into())).collect()
}

fn answers(args: &SandboxArgs, folder: &Path) -> Result<Answers> {
    let usual = folder.join("answers.json");
    let file = match &args.answers {
        Some(file) => file,
        None if usual.is_file() => &usual,
        None => return Ok(BTreeMap::new()),
    };
    let file = file.display().to_string();
    serde_json::from_str(&input::file(&file)?).map_err(|err| Failure::usage(format!("{file}:{}: {err}", err.line())))
}

fn inputs(args: &SandboxArgs, folder: &Path, manifest: &Manifest) -> Result<Vec<Input>> {
    if let Some(line) = &args.request {
        return Ok(vec![request(line, args.data.as_deref())?]);
    }
    let usual = folder.join("event.json");
    let files = match args.event.is_empty() {
        true if !args.recorded.is_empty() => vec![],
        true if usual.is_file() => vec![usual.display().to_string()],
        true => {
            let first = manifest.function.routes.first().map_or("/", String::as_str);
            let what = format!("there is no event.json; give --event FILE, or --request 'GET {first}'");
            return Err(Failure::usage(what));
        }
        false => args.event.clone(),
    };
    let mut all = Vec::new();
    for file in files {
        for event in events::from_file(&file)? {
            all.push(Input::Event(checked(event.get(), &file)?));
        }
    }
    Ok(all)
}

/// A CloudEvent as the platform takes it in, or has it from a function.
fn checked(text: &str, file: &str) -> Result<Event> {
    let parsed = cloudevents::recorded(text.as_bytes(), instant(Clock::System.now_ms()));
    let event = parsed.map_err(|wrong| Failure::usage(format!("{file}: {}: {}", wrong.name(), wrong.why)))?;
    Ok(Event {
        id: event.id,
        source: event.source,
        kind: event.kind,
        subject: event.subject,
        time: event.time,
        data_content_type: event.data_content_type,
        data: event.data.into(),
        attributes: event.attributes,
    })
}

fn request(line: &str, data: Option<&str>) -> Result<Input> {
    let wrong = |why: &str| Failure::usage(format!("--request is `GET /path?query`; {line:?} {why}"));
    let (method, target) = line.split_once(' ').ok_or_else(|| wrong("has no method"))?;
    if !target.starts_with('/') {
        return Err(wrong("has no path that begins with /"));
    }
    let body = data.map(input::data).transpose()?.unwrap_or_default();
    let mut request = Request::builder().method(method).uri(target).header("host", "sandbox.localhost");
    if serde_json::from_str::<serde_json::Value>(&body).is_ok() {
        request = request.header("content-type", "application/json");
    }
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    let request = request.body(body).map_err(|err| wrong(&err.to_string()))?;
    let call = Call::Http { request, answer: Answer::Buffered, sanitize: None };
    Ok(Input::Request { line: line.to_owned(), call })
}

/// There is no upload to fall back to.
struct Nowhere;

#[async_trait::async_trait]
impl Source for Nowhere {
    async fn upload(&self, digest: &Digest) -> std::result::Result<Bytes, String> {
        Err(format!("the artifact of {digest} is gone"))
    }
}

async fn compiled(file: &Path, scratch: &Path) -> Result<Arc<Program>> {
    let wasm = Bytes::from(component::read(file)?);
    let host = |err: String| Failure::failed(format!("the sandbox: {err}"));
    let binary = std::env::current_exe().map_err(|err| host(format!("the path of this program: {err}")))?;
    // Machine code is only ever loaded by the process that had it made.
    let mut seal_key = [0; 32];
    getrandom::fill(&mut seal_key).map_err(|err| host(format!("no random bytes: {err}")))?;
    let runtime = Runtime::new(Settings {
        cache_dir: scratch.join("artifacts"),
        seal_key,
        compiler: vec![binary.into(), larder_runtime::COMPILE.into()],
        compile_deadline: COMPILE_DEADLINE,
        compile_memory_bytes: COMPILE_MEMORY_BYTES,
        instances_max: 1,
        memory_bytes_max: Limits::CEILING.memory_bytes,
        memory_bytes_per_tenant: Limits::CEILING.memory_bytes,
        builds_max: 1,
    })
    .map_err(host)?;
    let digest = Digest::of(&wasm);
    runtime.compile(wasm).await.map_err(|err| match err {
        CompileError::Rejected(why) => Failure::failed(format!("{}: {why}", file.display())),
        other => host(other.to_string()),
    })?;
    runtime.load(&digest, &Nowhere).await.map_err(|err| host(err.to_string()))
}

/// For `--json`.
fn bytes_as_json(bytes: &[u8]) -> serde_json::Value {
    let text = || json!(String::from_utf8_lossy(bytes));
    serde_json::from_slice(bytes).unwrap_or_else(|_| text())
}
