//! `larder dead-letters`: executions that were given up.

use serde_json::{Value, json};

use crate::Session;
use crate::client::{Client, equal, limit, newest_first};
use crate::console::{count, field};
use crate::failure::{Failure, Result};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List dead letters, newest first
    List(List),
    /// Show one with its errors
    Show(Show),
    /// Put them back into the queue, with all their attempts before them
    Redrive(Redrive),
    /// Leave them as failed executions, for good
    Discard(Discard),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder dead-letters list
  larder dead-letters list --function round-up --limit 5
  larder dead-letters list --json | jq -r '.deadLetters[].errors'")]
pub struct List {
    /// Only of this function
    #[arg(long, value_name = "ID")]
    function: Option<String>,
    /// Only of this kind
    #[arg(long, value_parser = ["http", "event", "schedule"])]
    trigger: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 25, value_name = "N")]
    limit: usize,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder dead-letters show 01K9Z4
  larder dead-letters show 01K9Z4 --json | jq -r .errors")]
pub struct Show {
    /// The execution's id
    id: String,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder dead-letters redrive 01K9Z4 01K9Z5
  larder dead-letters redrive --function round-up --all")]
pub struct Redrive {
    /// The executions' ids
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,
    /// Those of this function, with --all
    #[arg(long, value_name = "ID", requires = "all")]
    function: Option<String>,
    /// All dead letters of the function
    #[arg(long, requires = "function")]
    all: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder dead-letters discard 01K9Z4")]
pub struct Discard {
    /// The executions' ids
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

pub async fn run(command: Command, session: &Session) -> Result<()> {
    let client = session.client()?;
    match command {
        Command::List(args) => list(&args, &client, session).await,
        Command::Show(args) => show(&args.id, &client, session).await,
        Command::Redrive(Redrive { function: Some(function), .. }) => redrive_all(&function, &client, session).await,
        Command::Redrive(Redrive { ids, .. }) => redrive(&ids, &client, session).await,
        Command::Discard(Discard { ids }) => {
            for id in ids {
                let id = whole(&id, &client).await?;
                client.delete(&["dead-letters", &id]).await?;
                session.console.note(&format!("discarded {id}"));
            }
            Ok(())
        }
    }
}

async fn list(args: &List, client: &Client, session: &Session) -> Result<()> {
    let filters = [("functionId", &args.function), ("trigger", &args.trigger)];
    let mut queries: Vec<Value> =
        filters.iter().filter_map(|(name, value)| value.as_ref().map(|value| equal(name, value))).collect();
    queries.extend([newest_first(), limit(args.limit)]);
    let answer = client.list(&["dead-letters"], &queries).await?;
    if session.console.json {
        return session.console.object(&answer);
    }
    let rows: Vec<_> = answer["deadLetters"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| {
            let why = field(row, "errors").lines().next().unwrap_or_default().chars().take(80).collect();
            let [buried, function, trigger, attempt, id] =
                ["buriedAt", "functionId", "trigger", "attempt", "$id"].map(|name| field(row, name));
            [buried, function, trigger, attempt, id, why]
        })
        .collect();
    session.console.table(["GIVEN UP", "FUNCTION", "TRIGGER", "ATTEMPTS", "ID", "WHY"], &rows)?;
    session.console.note(&format!("{} of {}", rows.len(), field(&answer, "total")));
    Ok(())
}

async fn whole(id: &str, client: &Client) -> Result<String> {
    client.whole_id(&["dead-letters"], "deadLetters", id).await
}

async fn show(id: &str, client: &Client, session: &Session) -> Result<()> {
    let id = &whole(id, client).await?;
    let letter = client.get(&["dead-letters", id]).await?;
    if session.console.json {
        return session.console.object(&letter);
    }
    for (label, name) in [
        ("id", "$id"),
        ("function", "functionId"),
        ("deployment", "deploymentId"),
        ("trigger", "trigger"),
        ("event", "eventId"),
        ("enrolment", "enrolmentId"),
        ("created", "$createdAt"),
        ("given up", "buriedAt"),
        ("attempts", "attempt"),
        ("status code", "responseStatusCode"),
    ] {
        let value = field(&letter, name);
        if !value.is_empty() {
            session.console.line(&format!("{label:<12}{value}"))?;
        }
    }
    for (label, name) in [("logs", "logs"), ("errors", "errors")] {
        let text = field(&letter, name);
        if !text.is_empty() {
            session.console.line(&format!("{label}:\n{text}"))?;
        }
    }
    Ok(())
}

async fn redrive(ids: &[String], client: &Client, session: &Session) -> Result<()> {
    for id in ids {
        let id = &whole(id, client).await?;
        let execution = client.post(&["dead-letters", id, "redrive"], &json!({})).await?;
        if session.console.json {
            session.console.object_line(&execution)?;
        }
        session.console.note(&format!("redriven: {id}"));
    }
    Ok(())
}

/// One call redrives so many; what fails again meanwhile is not redriven once more.
async fn redrive_all(function: &str, client: &Client, session: &Session) -> Result<()> {
    let mut total = 0;
    let mut body = json!({ "functionId": function });
    loop {
        let answer = client.post(&["dead-letters", "redrive"], &body).await?;
        let redriven = answer["total"].as_u64().unwrap_or(0);
        total += redriven;
        if session.console.json {
            session.console.object_line(&answer)?;
        }
        if answer["more"] != true {
            session.console.note(&format!("redriven: {}", count(total as usize, "dead letter")));
            return Ok(());
        }
        if redriven == 0 {
            return Err(Failure::failed("there are more, but none of them could be redriven"));
        }
        body["buriedBefore"] = answer["buriedBefore"].clone();
    }
}
