//! `larder dead-letters`: executions that were given up.

use larder_wire::dead_letters::{DeadLetterList, LetterGroupList, RedriveInput, RedrivenObject};
use larder_wire::executions::ExecutionObject;
use larder_wire::queries::Query;
use serde_json::json;

use crate::Session;
use crate::client::Client;
use crate::console::count;
use crate::failure::{Failure, Result};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List dead letters, newest first
    List(List),
    /// Count them by function and by what they were given up for
    Groups(Groups),
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
  larder dead-letters groups
  larder dead-letters groups --json | jq -r '.groups[].reason'")]
pub struct Groups {
    /// At most so many
    #[arg(long, default_value_t = 100, value_name = "N")]
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
        Command::Groups(args) => groups(&args, &client, session).await,
        Command::Show(args) => show(&args.id, &client, session).await,
        Command::Redrive(Redrive { function: Some(function), .. }) => {
            redrive_all(&["dead-letters", "redrive"], Some(&function), &client, session).await
        }
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
    let mut queries: Vec<Query> =
        filters.iter().filter_map(|(name, value)| value.as_ref().map(|value| Query::equal(name, value))).collect();
    queries.extend([Query::newest_first(), Query::limit(args.limit)]);
    let answer = client.list::<DeadLetterList>(&["dead-letters"], &queries).await?;
    if session.console.json {
        return session.console.object(&answer);
    }
    let rows: Vec<_> = answer
        .dead_letters
        .iter()
        .map(|row| {
            let why = row.errors.lines().next().unwrap_or_default().chars().take(80).collect();
            let [function, trigger, id] = [&row.function_id, &row.trigger, &row.id].map(Clone::clone);
            [row.buried_at.clone().unwrap_or_default(), function, trigger, row.attempt.to_string(), id, why]
        })
        .collect();
    session.console.table(["GIVEN UP", "FUNCTION", "TRIGGER", "ATTEMPTS", "ID", "WHY"], &rows)?;
    session.console.note(&format!("{} of {}", rows.len(), answer.total));
    Ok(())
}

async fn groups(args: &Groups, client: &Client, session: &Session) -> Result<()> {
    let mut url = client.url(&["dead-letters", "groups"])?;
    url.query_pairs_mut().append_pair("limit", &args.limit.to_string());
    let answer = client.get_url::<LetterGroupList>(url).await?;
    if session.console.json {
        return session.console.object(&answer);
    }
    let rows: Vec<_> = answer
        .groups
        .iter()
        .map(|row| {
            let count = if row.at_least { format!("{}+", row.count) } else { row.count.to_string() };
            let [oldest, newest, function, reason] =
                [&row.oldest_at, &row.newest_at, &row.function_id, &row.reason].map(Clone::clone);
            [count, function, oldest, newest, reason]
        })
        .collect();
    session.console.table(["COUNT", "FUNCTION", "OLDEST", "NEWEST", "REASON"], &rows)?;
    if answer.more {
        session.console.note("there are more: --limit");
    }
    Ok(())
}

async fn whole(id: &str, client: &Client) -> Result<String> {
    client.whole_id::<DeadLetterList>(&["dead-letters"], id).await
}

async fn show(id: &str, client: &Client, session: &Session) -> Result<()> {
    let id = &whole(id, client).await?;
    let letter = client.get::<ExecutionObject>(&["dead-letters", id]).await?;
    if session.console.json {
        return session.console.object(&letter);
    }
    for (label, value) in [
        ("id", &letter.id),
        ("function", &letter.function_id),
        ("deployment", &letter.deployment_id),
        ("trigger", &letter.trigger),
        ("event", &letter.event_id),
        ("enrolment", &letter.enrolment_id),
        ("created", &letter.created_at),
        ("given up", letter.buried_at.as_ref().unwrap_or(&String::new())),
        ("attempts", &letter.attempt.to_string()),
        ("status code", &letter.response_status_code.to_string()),
    ] {
        if !value.is_empty() {
            session.console.line(&format!("{label:<12}{value}"))?;
        }
    }
    for (label, text) in [("logs", &letter.logs), ("errors", &letter.errors)] {
        if !text.is_empty() {
            session.console.line(&format!("{label}:\n{text}"))?;
        }
    }
    Ok(())
}

async fn redrive(ids: &[String], client: &Client, session: &Session) -> Result<()> {
    for id in ids {
        let id = &whole(id, client).await?;
        let execution = client.post::<ExecutionObject>(&["dead-letters", id, "redrive"], &json!({})).await?;
        if session.console.json {
            session.console.object_line(&execution)?;
        }
        session.console.note(&format!("redriven: {id}"));
    }
    Ok(())
}

/// Redrives all of them. One call redrives so many; what fails again meanwhile is not redriven once more.
pub async fn redrive_all(path: &[&str], function: Option<&str>, client: &Client, session: &Session) -> Result<()> {
    let mut total = 0;
    let mut body = RedriveInput { function_id: function.map(str::to_owned), buried_before: None };
    loop {
        let answer = client.post::<RedrivenObject>(path, &body).await?;
        total += answer.total;
        if session.console.json {
            session.console.object_line(&answer)?;
        }
        if !answer.more {
            session.console.note(&format!("redriven: {}", count(total as usize, "dead letter")));
            return Ok(());
        }
        if answer.total == 0 {
            return Err(Failure::failed("there are more, but none of them could be redriven"));
        }
        body.buried_before = Some(answer.buried_before.clone());
    }
}
