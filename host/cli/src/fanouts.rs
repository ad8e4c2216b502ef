//! `larder fanouts`: runs of a function for all its enrolments.

use larder_wire::fanouts::{FanoutList, FanoutObject};
use larder_wire::queries::Query;
use serde_json::json;

use crate::Session;
use crate::client::{Answer, Client};
use crate::dead_letters::redrive_all;
use crate::failure::Result;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List fan-outs, newest first
    List(List),
    /// Show one: how far it is, and when it will have ended
    #[command(after_help = "\
Examples:
  larder fanouts show 01K9Z4
  larder fanouts show 01K9Z4 --json | jq .failed")]
    Show(Id),
    /// Begin nothing more of it until it is resumed
    #[command(after_help = "\
Examples:
  larder fanouts pause 01K9Z4")]
    Pause(Id),
    /// Go on with a paused one
    #[command(after_help = "\
Examples:
  larder fanouts resume 01K9Z4")]
    Resume(Id),
    /// End it for good; what is saved stays saved
    #[command(after_help = "\
Examples:
  larder fanouts cancel 01K9Z4")]
    Cancel(Id),
    /// Run again what was given up of it
    #[command(after_help = "\
Examples:
  larder fanouts redrive 01K9Z4")]
    Redrive(Id),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder fanouts list
  larder fanouts list --function payday --status running
  larder fanouts list --json | jq -r '.fanouts[].failed'")]
pub struct List {
    /// Only of this function
    #[arg(long, value_name = "ID")]
    function: Option<String>,
    /// Only of this event
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    /// Only with this status
    #[arg(long, value_parser = ["running", "paused", "completed", "cancelled"])]
    status: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 25, value_name = "N")]
    limit: usize,
}

#[derive(Debug, clap::Args)]
pub struct Id {
    /// The fan-out's id, or its beginning
    id: String,
}

pub async fn run(command: Command, session: &Session) -> Result<()> {
    let client = session.client()?;
    match command {
        Command::List(args) => list(&args, &client, session).await,
        Command::Show(Id { id }) => {
            let id = &whole(&id, &client).await?;
            show(&client.get::<FanoutObject>(&["fanouts", id]).await?, session)
        }
        Command::Pause(Id { id }) => change(&id, "pause", &client, session).await,
        Command::Resume(Id { id }) => change(&id, "resume", &client, session).await,
        Command::Cancel(Id { id }) => change(&id, "cancel", &client, session).await,
        Command::Redrive(Id { id }) => {
            let id = whole(&id, &client).await?;
            redrive_all(&["fanouts", &id, "redrive"], None, &client, session).await
        }
    }
}

async fn list(args: &List, client: &Client, session: &Session) -> Result<()> {
    let filters = [("functionId", &args.function), ("eventId", &args.event), ("status", &args.status)];
    let mut queries: Vec<Query> =
        filters.iter().filter_map(|(name, value)| value.as_ref().map(|value| Query::equal(name, value))).collect();
    queries.extend([Query::newest_first(), Query::limit(args.limit)]);
    let answer = client.list::<FanoutList>(&["fanouts"], &queries).await?;
    if session.console.json {
        return session.console.object(&answer);
    }
    let rows: Vec<_> = answer
        .fanouts
        .iter()
        .map(|row| {
            let of = row.enrolments.map_or_else(|| "?".to_owned(), |count| count.to_string());
            let runs = format!("{}/{of}", row.done + row.failed + row.conflicts);
            let status = if row.held_back { format!("{} (held back)", row.status) } else { row.status.clone() };
            [row.created_at.clone(), row.function_id.clone(), status, runs, row.failed.to_string(), row.id.clone()]
        })
        .collect();
    session.console.table(["CREATED", "FUNCTION", "STATUS", "RUNS", "FAILED", "ID"], &rows)?;
    session.console.note(&format!("{} of {}", rows.len(), answer.total));
    Ok(())
}

async fn whole(id: &str, client: &Client) -> Result<String> {
    client.whole_id::<FanoutList>(&["fanouts"], id).await
}

fn show(fanout: &Answer<FanoutObject>, session: &Session) -> Result<()> {
    if session.console.json {
        return session.console.object(fanout);
    }
    let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
    for (label, value) in [
        ("id", fanout.id.clone()),
        ("function", fanout.function_id.clone()),
        ("trigger", fanout.trigger.clone()),
        ("event", fanout.event_id.clone()),
        ("nominal", or_empty(&fanout.nominal_at)),
        ("topic", or_empty(&fanout.topic)),
        ("created", fanout.created_at.clone()),
        ("status", if fanout.held_back { format!("{}, held back", fanout.status) } else { fanout.status.clone() }),
        ("reason", fanout.reason.clone()),
        ("enrolments", fanout.enrolments.map(|count| count.to_string()).unwrap_or_default()),
        ("done", fanout.done.to_string()),
        ("failed", fanout.failed.to_string()),
        ("conflicts", fanout.conflicts.to_string()),
        ("rate", format!("{} runs a second", fanout.rate)),
        ("ends", or_empty(&fanout.expected_end)),
    ] {
        if !value.is_empty() {
            session.console.line(&format!("{label:<12}{value}"))?;
        }
    }
    Ok(())
}

async fn change(id: &str, action: &str, client: &Client, session: &Session) -> Result<()> {
    let id = &whole(id, client).await?;
    let fanout = client.post::<FanoutObject>(&["fanouts", id, action], &json!({})).await?;
    if session.console.json {
        return session.console.object(&fanout);
    }
    session.console.note(&format!("{id} is {}", fanout.status));
    Ok(())
}
