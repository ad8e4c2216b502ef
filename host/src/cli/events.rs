//! `larder events send`: CloudEvents from a file or from the command line.

use serde_json::{Value, json};

use super::client::Client;
use super::console::{count, field};
use super::failure::{Failure, Result};
use super::{Session, input};

/// Small enough for any request limit, large enough to be quick.
const BATCH_EVENTS: usize = 200;
const SOURCE: &str = "urn:larder:cli";

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Send one event or many
    Send(Send),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A file holds a CloudEvent in its JSON format, or an array of them. An event that Larder has already accepted \
(same source and id) is told as duplicate and takes no effect again, so sending a file twice is safe.

Examples:
  larder events send examples/round-up/event.json
  larder events send --type card.purchase --subject anna --data '{\"amount\":\"12.30\",\"currency\":\"SEK\"}'
  generate-events | larder events send - --json")]
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
}

pub async fn run(Command::Send(send): Command, session: &Session) -> Result<()> {
    let events = match &send.kind {
        Some(kind) => vec![event(&send, kind)?],
        None => from_file(send.file.as_deref().unwrap_or("-"))?,
    };
    let client = session.client()?;
    let mut accepted: Vec<Value> = Vec::new();
    for batch in events.chunks(BATCH_EVENTS) {
        let answer = post(&client, batch).await.inspect_err(|_| {
            if !accepted.is_empty() {
                eprintln!("{} of {} events were accepted; sending them again is safe", accepted.len(), events.len());
            }
        })?;
        accepted.extend(answer["events"].as_array().cloned().unwrap_or_default());
        if events.len() > BATCH_EVENTS {
            session.console.note(&format!("sent {} of {} events", accepted.len(), events.len()));
        }
    }
    if session.console.json {
        return session.console.object(&json!({ "total": accepted.len(), "events": accepted }));
    }
    let known = accepted.iter().filter(|event| event["duplicate"] == true).count();
    let duplicates = if known > 0 { format!(", {known} of them already known") } else { String::new() };
    session.console.note(&format!("accepted {}{duplicates}", count(accepted.len(), "event")));
    let rows: Vec<_> = accepted
        .iter()
        .map(|event| {
            let new = if event["duplicate"] == true { "duplicate" } else { "new" };
            [field(event, "id"), field(event, "source"), new.to_owned()]
        })
        .collect();
    session.console.table(["ID", "SOURCE", ""], &rows)
}

async fn post(client: &Client, batch: &[Value]) -> Result<Value> {
    let (media_type, body) = match batch {
        [event] => ("application/cloudevents+json", event.to_string()),
        _ => ("application/cloudevents-batch+json", json!(batch).to_string()),
    };
    client.post_as(&["events"], media_type, body.into_bytes()).await
}

fn from_file(path: &str) -> Result<Vec<Value>> {
    let events = match input::json(&input::file(path)?, path)? {
        Value::Array(events) => events,
        event => vec![event],
    };
    if events.is_empty() {
        return Err(Failure::usage(format!("{path} has no events")));
    }
    for (index, event) in events.iter().enumerate() {
        for name in ["specversion", "id", "source", "type"] {
            if event[name].as_str().is_none_or(str::is_empty) {
                let number = index + 1;
                return Err(Failure::usage(format!("{path}: event {number} has no `{name}`, so it is no CloudEvent")));
            }
        }
    }
    Ok(events)
}

fn event(send: &Send, kind: &str) -> Result<Value> {
    let id = match &send.id {
        Some(id) => id.clone(),
        None => random_id()?,
    };
    let mut event = json!({ "specversion": "1.0", "id": id, "source": send.source, "type": kind });
    if let Some(subject) = &send.subject {
        event["subject"] = json!(subject);
    }
    if let Some(data) = &send.data {
        event["datacontenttype"] = "application/json".into();
        event["data"] = input::json(&input::data(data)?, if data.starts_with('@') { data } else { "--data" })?;
    }
    Ok(event)
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
    }
}
