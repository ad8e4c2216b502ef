//! `larder events`: CloudEvents from a file or from the command line, and what became of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use larder_model::Per;
use larder_wire::events::{Accepted, AcceptedEvent, Counts, DeliveryObject, EventObject};
use larder_wire::functions::{FunctionList, FunctionObject};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::client::{Answer, Client};
use crate::console::{Console, count};
use crate::failure::{Failure, Result};
use crate::{Session, input};

/// Small enough for any request limit, large enough to be quick.
const BATCH_EVENTS: usize = 200;
const SOURCE: &str = "urn:larder:cli";
const POLL: Duration = Duration::from_millis(100);
/// Functions that are named to somebody whose event reached none.
const NAMED_MAX: usize = 10;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Send one event or many, and wait for what becomes of them
    Send(Send),
    /// Show what became of an event
    Show(Named),
    /// Print an event as it was accepted, with its data; needs a key with events.data
    Content(Content),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A CloudEvent in its JSON format, as `larder events send` and `larder test --sandbox --event` read it. It may say who bought what: reading it \
needs a key with the scope events.data, and Larder's log has who read it.

Examples:
  larder events content purchase-1 --source /cards > event.json
  larder test --sandbox --recorded purchase-1 --source /cards")]
pub struct Content {
    #[command(flatten)]
    named: Named,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A file holds a CloudEvent in its JSON format, an array of them, or one behind the other (JSON lines). An event that \
Larder has already accepted (same source and id) is told as duplicate and takes no effect again, so sending a file twice \
is safe. One that says something else than the accepted one is told as such, with exit code 1.

It waits until all that the events set off has ended, for --wait seconds at most, and tells whom they reached.

Examples:
  larder events send examples/round-up/event.json
  larder events send --type card.purchase --subject anna --data '{\"amount\":\"12.30\",\"currency\":\"SEK\"}'
  generate-events | larder events send - --json --wait 0")]
pub struct Send {
    /// File of events, or - for stdin
    #[arg(value_name = "FILE", required_unless_present = "kind")]
    file: Option<String>,
    /// Send one event of this type instead of a file
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "file")]
    kind: Option<String>,
    /// Whom or what it is about
    #[arg(long, requires = "kind")]
    subject: Option<String>,
    /// Where it comes from, a URI reference
    #[arg(long, requires = "kind", default_value = SOURCE, value_name = "URI")]
    source: String,
    /// Its id, unique for its source [default: a random one]
    #[arg(long, requires = "kind")]
    id: Option<String>,
    /// Its data: JSON, @FILE, or - for stdin
    #[arg(long, requires = "kind", value_name = "DATA")]
    data: Option<String>,
    /// Wait so long for what becomes of them; 0: not at all
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    wait: u64,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder events show 01KB9M6QX5T4Z1R0A3C7D8E9FG
  larder events show purchase-1 --source /cards
  larder events show purchase-1 --source /cards --json | jq .deliveries")]
pub struct Named {
    /// The id that Larder gave it; with --source its own
    id: String,
    /// Where it comes from
    #[arg(long, value_name = "URI")]
    source: Option<String>,
}

/// An event that is told by flags, with its data as they were written: numbers keep their digits.
#[derive(Serialize)]
struct Event<'a> {
    specversion: &'static str,
    id: String,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
}

pub async fn run(command: Command, session: &Session) -> Result<()> {
    match command {
        Command::Send(args) => send(&args, session).await,
        Command::Content(Content { named: Named { id, source } }) => {
            let content = content(&session.client()?, &id, source.as_deref()).await?;
            session.console.line(&content)
        }
        Command::Show(Named { id, source }) => {
            let client = session.client()?;
            let mut url = client.url(&["events", &id])?;
            if let Some(source) = source {
                url.query_pairs_mut().append_pair("source", &source);
            }
            let event = client.get_url::<EventObject>(url).await?;
            if session.console.json {
                return session.console.object(&event);
            }
            show(&event, &client, &session.console).await
        }
    }
}

/// An accepted event in its JSON format. Numbers keep their digits.
pub async fn content(client: &Client, id: &str, source: Option<&str>) -> Result<String> {
    let mut url = client.url(&["events", id, "content"])?;
    if let Some(source) = source {
        url.query_pairs_mut().append_pair("source", source);
    }
    client.text(url).await
}

async fn send(send: &Send, session: &Session) -> Result<()> {
    let events = match &send.kind {
        Some(kind) => vec![event(send, kind)?],
        None => from_file(send.file.as_deref().unwrap_or("-"))?,
    };
    let client = session.client()?;
    let console = &session.console;
    let mut accepted: Vec<AcceptedEvent> = Vec::new();
    for batch in events.chunks(BATCH_EVENTS) {
        let answer = post(&client, batch).await.inspect_err(|_| {
            if !accepted.is_empty() {
                eprintln!("{} of {} events were accepted; sending them again is safe", accepted.len(), events.len());
            }
        })?;
        accepted.extend(answer.into_object().events);
        if events.len() > BATCH_EVENTS {
            console.note(&format!("sent {} of {} events", accepted.len(), events.len()));
        }
    }
    let known = accepted.iter().filter(|event| event.duplicate).count();
    let duplicates = if known > 0 { format!(", {known} of them already known") } else { String::new() };
    console.note(&format!("accepted {}{duplicates}", count(accepted.len(), "event")));
    let became = became(&client, &accepted, Duration::from_secs(send.wait), console).await?;
    if console.json {
        let events: Vec<Reported> =
            accepted.iter().zip(&became).map(|(event, became)| reported(event, became)).collect();
        console.value(&json!({ "total": events.len(), "events": events }))?;
    } else {
        let rows: Vec<_> = accepted
            .iter()
            .zip(&became)
            .map(|(event, became)| {
                let new = match (event.duplicate, event.differs) {
                    (false, _) => "new",
                    (true, false) => "duplicate",
                    (true, true) => "other content",
                };
                let [id, source, row] = [&event.id, &event.source, &event.row].map(Clone::clone);
                [id, source, new.to_owned(), became.as_ref().map(reached).unwrap_or_default(), row]
            })
            .collect();
        console.table(["ID", "SOURCE", "", "REACHED", "LARDER'S ID"], &rows)?;
        let mut nobody = became.iter().flatten().filter(|event| is_done(event) && event.executions.all() == 0);
        if let Some(event) = nobody.next() {
            why_nobody(event, &client, console).await?;
        }
    }
    match accepted.iter().find(|event| event.differs) {
        Some(event) => Err(Failure::failed(format!(
            "an event with the id {} of {} was accepted before, and says something else; that one alone takes effect: \
             give this one an id of its own",
            event.id, event.source
        ))),
        None => Ok(()),
    }
}

/// What became of each event once all of it has ended, or as far as it is when the time is over. `None`: nobody looked.
async fn became(
    client: &Client,
    accepted: &[AcceptedEvent],
    most: Duration,
    console: &Console,
) -> Result<Vec<Option<EventObject>>> {
    let deadline = Instant::now() + most;
    let mut became = Vec::with_capacity(accepted.len());
    for event in accepted {
        if most.is_zero() || Instant::now() > deadline {
            became.push(None);
            continue;
        }
        became.push(loop {
            let now = match client.get::<EventObject>(&["events", &event.row]).await {
                Ok(now) => now.into_object(),
                Err(failure) if failure.is_unavailable() => break None,
                Err(failure) => return Err(failure),
            };
            if is_done(&now) || Instant::now() > deadline {
                break Some(now);
            }
            tokio::time::sleep(POLL).await;
        });
    }
    let open: Vec<&AcceptedEvent> = became
        .iter()
        .zip(accepted)
        .filter(|(event, _)| event.as_ref().is_none_or(|event| !is_done(event)))
        .map(|(_, event)| event)
        .collect();
    if let Some(first) = open.first().filter(|_| !most.is_zero()) {
        console.note(&format!(
            "{} not done after {} s; later:\n  larder events show {}",
            count(open.len(), "event"),
            most.as_secs(),
            first.row
        ));
    }
    Ok(became)
}

/// The accepted event with what became of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reported<'a> {
    #[serde(flatten)]
    accepted: &'a AcceptedEvent,
    #[serde(flatten)]
    became: Option<Became<'a>>,
}

#[derive(Serialize)]
struct Became<'a> {
    status: &'a str,
    functions: usize,
    enrolments: u64,
    executions: Counts,
    more: bool,
    deliveries: &'a [DeliveryObject],
}

fn reported<'a>(accepted: &'a AcceptedEvent, became: &'a Option<EventObject>) -> Reported<'a> {
    let became = became.as_ref().map(|event| Became {
        status: &event.status,
        functions: event.functions,
        enrolments: event.enrolments,
        executions: event.executions,
        more: event.more,
        deliveries: &event.deliveries,
    });
    Reported { accepted, became }
}

fn is_done(event: &EventObject) -> bool {
    event.status == "done"
}

/// `2 functions, 14 enrolments: 15 completed, 1 failed`.
fn reached(event: &EventObject) -> String {
    if event.status == "waiting" {
        return "waits to be handed over".into();
    }
    let mut text = count(event.functions, "function");
    if event.deliveries.iter().any(|delivery| delivery.per == Per::Enrolment.word()) {
        text += &format!(", {}", count(event.enrolments as usize, "enrolment"));
    }
    let counts = event.executions;
    let states = [(counts.completed, "completed"), (counts.failed, "failed"), (counts.open(), "under way")];
    let states: Vec<String> =
        states.iter().filter(|(number, _)| *number != 0).map(|(number, word)| format!("{number} {word}")).collect();
    if !states.is_empty() {
        text += &format!(": {}", states.join(", "));
    }
    if event.more { format!("{text} (and more)") } else { text }
}

async fn show(event: &EventObject, client: &Client, console: &Console) -> Result<()> {
    for (label, value) in [
        ("id", &event.id),
        ("source", &event.source),
        ("type", &event.r#type),
        ("subject", &event.subject),
        ("time", &event.time),
        ("accepted", &event.created_at),
        ("larder's id", &event.row),
        ("status", &event.status),
    ] {
        if !value.is_empty() {
            console.line(&format!("{label:<12}{value}"))?;
        }
    }
    console.line(&format!("{:<12}{}", "reached", reached(event)))?;
    for delivery in &event.deliveries {
        let one = EventObject {
            status: "done".into(),
            functions: 1,
            enrolments: delivery.enrolments,
            executions: delivery.executions,
            deliveries: vec![delivery.clone()],
            ..EventObject::default()
        };
        let text = reached(&one);
        let text = text.strip_prefix("1 function").unwrap_or(&text).trim_start_matches([',', ':', ' ']);
        console.line(&format!("  {:<10}{text}", delivery.function_id))?;
    }
    if is_done(event) && event.executions.all() == 0 {
        why_nobody(event, client, console).await?;
    }
    Ok(())
}

/// Why an event came to nothing, as far as can be told from outside.
async fn why_nobody(event: &EventObject, client: &Client, console: &Console) -> Result<()> {
    let EventObject { r#type: kind, subject, .. } = event;
    let reached: Vec<&str> = event.deliveries.iter().map(|delivery| delivery.function_id.as_str()).collect();
    if !reached.is_empty() {
        console.note(&format!(
            "nothing ran: {} for enrolments whose topic is the event's subject, and no active one has the topic \"{subject}\"",
            if reached.len() == 1 { format!("{} runs", reached[0]) } else { format!("{} run", reached.join(", ")) }
        ));
        console.note("  larder enrolments list --topic TOPIC        (or without, to see all)");
        return Ok(());
    }
    let functions = match client.list_all::<FunctionList>(&["functions"], &[]).await {
        Ok(functions) => functions,
        // Sending needs no right to look.
        Err(_) => return Ok(()),
    };
    let listens = |function: &&Answer<FunctionObject>| {
        function.events.iter().any(|pattern| larder_model::grants::covers_type(pattern, kind))
    };
    console.note(&format!("nothing ran: no function that is on and deployed was reached by the type {kind}"));
    for function in functions.iter().filter(listens).take(NAMED_MAX) {
        let why = if !function.enabled {
            "is switched off"
        } else if function.deployment_id.is_empty() {
            "listens to it, but has no active deployment"
        } else if function.per == Per::Enrolment.word() && subject.is_empty() {
            "runs for enrolments whose topic is the event's subject, and the event has none"
        } else {
            "listens to it now, but did not when the event came"
        };
        console.note(&format!("  {} {why}", function.id));
    }
    let others = functions.iter().filter(|function| !listens(function));
    for function in others.filter(|function| !function.events.is_empty()).take(NAMED_MAX) {
        console.note(&format!("  {} listens to {}", function.id, json!(function.events)));
    }
    Ok(())
}

async fn post(client: &Client, batch: &[Box<RawValue>]) -> Result<Answer<Accepted>> {
    let (media_type, body) = match batch {
        [event] => ("application/cloudevents+json", event.get().to_owned()),
        _ => {
            let events: Vec<&str> = batch.iter().map(|event| event.get()).collect();
            ("application/cloudevents-batch+json", format!("[{}]", events.join(",")))
        }
    };
    client.post_as(&["events"], media_type, body.into_bytes()).await
}

/// The CloudEvents of a file, as they are written.
pub fn from_file(path: &str) -> Result<Vec<Box<RawValue>>> {
    let mut events = Vec::new();
    for value in input::raws(&input::file(path)?, path)? {
        match serde_json::from_str::<Vec<Box<RawValue>>>(value.get()) {
            Ok(array) => events.extend(array),
            Err(_) => events.push(value),
        }
    }
    if events.is_empty() {
        return Err(Failure::usage(format!("{path} has no events")));
    }
    for (index, event) in events.iter().enumerate() {
        let number = index + 1;
        // Not as values: whatever its data are is none of our business.
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(event.get()).unwrap_or_default();
        let text = |name: &str| serde_json::from_str::<String>(members.get(name)?.get()).ok();
        for name in ["specversion", "id", "source", "type"] {
            if text(name).is_none_or(|text| text.is_empty()) {
                return Err(Failure::usage(format!("{path}: event {number} has no `{name}`, so it is no CloudEvent")));
            }
        }
    }
    Ok(events)
}

fn event(send: &Send, kind: &str) -> Result<Box<RawValue>> {
    let id = match &send.id {
        Some(id) => id.clone(),
        None => random_id()?,
    };
    let data = send.data.as_deref();
    let data = data
        .map(|given| input::raw(&input::data(given)?, if given.starts_with('@') { given } else { "--data" }))
        .transpose()?;
    let event = Event {
        specversion: "1.0",
        id,
        source: &send.source,
        kind,
        subject: send.subject.as_deref(),
        datacontenttype: data.as_ref().map(|_| "application/json"),
        data,
    };
    serde_json::value::to_raw_value(&event).map_err(Failure::failed)
}

fn random_id() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|err| Failure::failed(format!("no random bytes: {err}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_an_event_or_an_array_and_each_must_be_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("e.json").display().to_string();
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            from_file(&file).map(|events| events.len()).map_err(|failure| failure.text().unwrap())
        };
        let good = r#"{"specversion":"1.0","id":"1","source":"/t","type":"a.b"}"#;
        assert_eq!(read(good), Ok(1));
        assert_eq!(read(&format!("[{good},{good}]")), Ok(2));
        assert!(read("[]").unwrap_err().ends_with("has no events"));
        assert!(read(&format!("[{good},{{\"id\":\"2\"}}]")).unwrap_err().contains("event 2 has no `specversion`"));
        assert!(read("{\n\n!").unwrap_err().contains("e.json:3: "));
        // Lines, a mark of the byte order, and both.
        assert_eq!(read(&format!("{good}\n{good}\n")), Ok(2));
        assert_eq!(read(&format!("\u{feff}{good}")), Ok(1));
        assert!(read("").unwrap_err().ends_with("is empty; JSON is wanted"));
    }

    #[test]
    fn numbers_keep_their_digits() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("e.json").display().to_string();
        let data = r#"{"a": 12.10, "b": 98765432109876543210987, "c": 90071992547409.93, "d": 1E400}"#;
        let one = format!(r#"{{"specversion":"1.0","id":"1","source":"/t","type":"a.b","data":{data}}}"#);
        for text in [one.clone(), format!("[{one}]"), format!("[{one},\n{one}]"), format!("{one}\n{one}")] {
            std::fs::write(&file, &text).unwrap();
            for event in from_file(&file).unwrap() {
                assert_eq!(event.get(), one);
            }
        }
    }
}
